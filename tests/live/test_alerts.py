"""Alerts: which events are such, and that telling of them never stands in the way of a bar."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from research.errors import UserError
from research.live.alerts import FILE, STORM, Alerts, Judge, address, beside, of

from .shown import CANARY, START


def lines(place):
    return [json.loads(text) for text in (place / FILE).read_text().splitlines()]


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("control", {"state": 2, "why": "drawdown", "by": "risk"}, "halted"),
        ("control", {"state": 1, "why": "silent", "by": "guard"}, "reducing"),
        ("control", {"state": 0, "why": "told to", "by": "command"}, None),
        ("control", {"state": 2, "was": 2, "why": "told to", "by": "command"}, None),
        ("control", {"state": 2, "was": 1, "why": "told to", "by": "command"}, "halted"),
        ("note", {"kind": "stale", "streams": ["a", "b"]}, "stale"),
        ("note", {"kind": "gap", "symbol": "A"}, "gap"),
        ("note", {"kind": "revision", "symbol": "A", "was": {}, "now": {}}, "revision"),
        ("note", {"kind": "alarm", "what": "refused", "why": "1008"}, "feed_refused"),
        ("note", {"kind": "not_flat", "left": {"A": "1.5"}}, "not_flat"),
        ("note", {"kind": "flat", "left": {}}, None),
        ("note", {"kind": "reconnect", "route": "x"}, None),
        ("note", {"kind": "backfill"}, None),
        ("model_late", {"at": 1, "effective": 2}, "model_late"),
        ("train_failed", {"at": 1, "why": "no bars"}, "train_failed"),
        ("retrain", {"trigger": "drift", "evidence": {"feature": "rsi", "psi": 1.0}}, "drift"),
        ("retrain", {"trigger": "scheduled", "evidence": {}}, None),
        ("stop", {"why": "error: JournalError disk full"}, "stopped"),
        ("stop", {"why": "signal SIGINT"}, None),
        ("moment", {"rows": []}, None),
        ("swap", {"model": "m"}, None),
    ],
)
def test_which_events_are_alerts(kind, body, told):
    found = of(kind, {"time": 5, **body})
    assert (None if found is None else (found.kind, found.time)) == (told and (told, 5))


def test_what_is_left_after_a_halt_is_named():
    found = of("note", {"time": 5, "kind": "not_flat", "left": {"A": "1.5", "B": "-2"}})
    assert found.text == "trading is halted, and the account still holds: 1.5 A, -2 B"


def test_a_few_bad_records_are_none_and_a_storm_is_one():
    judge, hour = Judge(), 3_600_000_000
    spread = [judge.see("note", {"kind": "rejected", "time": n * hour // 10}) for n in range(60)]
    assert not any(spread)
    storm = [judge.see("note", {"kind": "rejected", "time": 10 * hour}) for _ in range(5 * STORM)]
    assert [alert.kind for alerts in storm for alert in alerts] == ["rejected"]


def test_the_file_has_them_all_and_the_journal_s_kinds_are_told_apart(tmp_path):
    alerts = Alerts(tmp_path)
    alerts.see(("moment", {}), ("control", {"time": 1, "state": 2, "why": "x", "by": "risk"}))
    alerts.raise_("journal", "cannot be written\n\x1b[2J", time=2, code=13)
    alerts.close()
    assert [(said["kind"], said["time"]) for said in lines(tmp_path)] == [
        ("halted", 1),
        ("journal", 2),
    ]
    assert lines(tmp_path)[1]["facts"] == {"code": 13}
    assert [alert.kind for alert in beside(tmp_path)] == ["journal"]
    assert beside(tmp_path / "nowhere") == []


# -- the web address ------------------------------------------------------------------------------


class Hook:
    """A web server that takes alerts, in a mood."""

    def __init__(self, *moods):
        self.moods, self.got, self.when = list(moods), [], []

    async def answer(self, request):
        mood = self.moods.pop(0) if self.moods else 200
        self.got.append(await request.json())
        self.when.append(time.monotonic())
        if mood == "slow":
            await asyncio.sleep(5)
        if mood == "redirect":
            raise web.HTTPFound("/stolen")
        return web.Response(status=mood if isinstance(mood, int) else 200)


@asynccontextmanager
async def posting(place, hook, path=f"/hooks/{CANARY}", **how):
    """Run alerts that post to `hook`; yields them."""
    server = web.Application()
    server.router.add_route("*", "/{rest:.*}", hook.answer)
    runner = web.AppRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    alerts = Alerts(place, f"http://127.0.0.1:{port}{path}", **how)
    task = asyncio.create_task(alerts.run())
    try:
        yield alerts
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        alerts.close()
        await runner.cleanup()


async def test_an_alert_is_posted_as_json(tmp_path):
    async with posting(tmp_path, hook := Hook()) as alerts:
        alerts.see(("control", {"time": START, "state": 2, "why": "drawdown", "by": "risk"}))
        await alerts.drained()
    (got,) = hook.got
    assert got["text"].endswith("trading is halted: drawdown (risk)")
    assert (got["kind"], got["time"], got["run"]) == ("halted", START, tmp_path.name)


async def test_a_slow_server_keeps_nobody_waiting(tmp_path):
    async with posting(tmp_path, Hook("slow"), timeout=0.3, pauses=()) as alerts:
        alerts.raise_("first", "x")
        await asyncio.sleep(0.2)  # it is being posted now
        begun = time.perf_counter()
        for n in range(200):
            alerts.raise_("other", f"number {n}")
        assert time.perf_counter() - begun < 5  # one after the other they would take a minute
        begun = time.perf_counter()
        await asyncio.sleep(0)
        assert time.perf_counter() - begun < 0.25
        await asyncio.sleep(0.4)
    assert any(
        said["kind"] == "webhook" and "TimeoutError" in said["text"] for said in lines(tmp_path)
    )


async def test_it_is_tried_again_and_then_given_up(tmp_path):
    async with posting(tmp_path, hook := Hook(500, 503), pauses=(0.05, 0.05)) as alerts:
        alerts.raise_("a", "arrives")
        await alerts.drained()
        assert len(hook.got) == 3 and len(lines(tmp_path)) == 1
        hook.moods = [500] * 9
        alerts.raise_("b", "does not")
        await alerts.drained()
        assert len(hook.got) == 6
    assert "b could not be posted after 3 tries: status 500" in lines(tmp_path)[-1]["text"]


async def test_one_kind_is_posted_so_often_and_the_rest_counted(tmp_path):
    async with posting(tmp_path, hook := Hook(), every=0.5) as alerts:
        for n in range(50):
            alerts.raise_("stale", f"stream {n}")
            await asyncio.sleep(0.01)
        alerts.raise_("halted", "now")  # another kind does not wait for it
        await asyncio.sleep(0.25)
        assert "halted" in [got["kind"] for got in hook.got]
        await asyncio.sleep(0.7)
    stale = [got for got in hook.got if got["kind"] == "stale"]
    assert sum(got["count"] for got in stale) == 50 and len(stale) <= 4
    assert any("more of stale" in got["text"] for got in stale) and len(lines(tmp_path)) == 51


async def test_a_redirect_is_not_followed(tmp_path):
    async with posting(tmp_path, hook := Hook("redirect"), pauses=()) as alerts:
        alerts.raise_("a", "x")
        await alerts.drained()
    assert len(hook.got) == 1 and "status 302" in lines(tmp_path)[-1]["text"]


async def test_neither_the_address_nor_a_secret_is_in_file_or_post(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "t0ken-of-some-1")
    async with posting(tmp_path, hook := Hook(404), pauses=()) as alerts:
        text = f"see {alerts.secrets[0]} and /hooks/{CANARY} and t0ken-of-some-1"
        alerts.raise_("a", text, more=[text])
        await alerts.drained()
    told = (tmp_path / FILE).read_text() + json.dumps(hook.got)
    assert CANARY not in told and "t0ken" not in told and told.count("[redacted]") >= 8


async def test_without_an_address_nothing_is_posted(tmp_path):
    alerts = Alerts(tmp_path)
    alerts.raise_("a", "x")
    await asyncio.wait_for(alerts.run(), 1)
    await asyncio.wait_for(alerts.drained(), 1)
    alerts.close()


@pytest.mark.parametrize(
    "wrong",
    [f"ftp://x/{CANARY}", CANARY, f"file:///{CANARY}", f"http:///{CANARY}", f"http://[{CANARY}"],
)
def test_an_address_must_be_one_and_is_not_repeated(tmp_path, wrong):
    with pytest.raises(UserError, match=r"http or https") as told:
        Alerts(tmp_path, wrong)
    assert CANARY not in str(told.value)


def test_an_address_may_stand_in_the_environment(monkeypatch):
    monkeypatch.setenv("MY_HOOK", "https://example.net/h")
    assert address("$MY_HOOK") == "https://example.net/h"
    monkeypatch.delenv("MY_HOOK")
    with pytest.raises(UserError, match="MY_HOOK, it is not set"):
        address("$MY_HOOK")
