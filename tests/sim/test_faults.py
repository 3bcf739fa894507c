"""Every fault does what its name says, and nothing else."""

import asyncio
import json
import math
import time

import aiohttp
import pytest

from research.errors import UserError
from research.sim import faults, lines
from research.sim.faults import Fault
from research.sim.wire import WRONG

MINUTE = 60_000_000
BAR = 2
STREAM = "aaausdt@kline_1m"
TEXT = aiohttp.WSMsgType.TEXT
OVER = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


def fault(kind, **args):
    return Fault(kind, at=BAR, target="AAAUSDT", args=args)


async def raw(ws, seconds=0.15):
    """Return the messages of a connection until it is silent or over."""
    out = []
    try:
        while not out or out[-1].type not in OVER:
            out.append(await ws.receive(timeout=seconds))
    except TimeoutError:
        pass
    return out


async def struck(playing, bars, *plan, speed=math.inf, run=4, partials=0, **options):
    """Play with a plan; return the messages, the close struck, and the log."""
    async with playing(bars, faults=plan, partials=partials, speed=speed) as client:
        ws = await client.stream(STREAM, **options)
        await client.run(run)
        found = await raw(ws)
        start = client.exchange.market.start
        return found, start + (BAR + 1) * MINUTE, client.exchange.log


def kline(message):
    return json.loads(message.data)["data"]["k"]


def of(found, close):
    """Return the klines of a bar among messages."""
    made = [kline(m) for m in found if m.type == TEXT]
    return [k for k in made if (k["T"] + 1) * 1000 == close or k["t"] + 60_000 == close // 1000]


async def test_without_a_fault_each_bar_closes_once(playing, bars):
    found, close, _ = await struck(playing, bars)
    assert [k["x"] for k in of(found, close)] == [True]


@pytest.mark.parametrize("kind", ["drop", "missing_close"])
async def test_a_frame_is_missing(playing, bars, kind):
    found, close, log = await struck(playing, bars, fault(kind))
    assert of(found, close) == [] and len(found) >= 3
    assert [e["text"] for e in log if e.get("faults") == (kind,)] == [None]


async def test_only_the_close_is_missing(playing, bars):
    found, close, _ = await struck(playing, bars, fault("missing_close"), partials=3)
    assert [k["x"] for k in of(found, close)] == [False] * 3
    plan = fault("drop", frame="partial")
    found, close, _ = await struck(playing, bars, plan, partials=3)
    assert [k["x"] for k in of(found, close)] == [True]
    found, close, _ = await struck(playing, bars, fault("drop", frame="any"), partials=3)
    assert of(found, close) == []


async def test_a_frame_comes_several_times(playing, bars):
    found, close, _ = await struck(playing, bars, fault("duplicate", times=3))
    made = of(found, close)
    assert len(made) == 3 and made[0] == made[1] == made[2]


async def test_frames_change_places(playing, bars):
    found, close, _ = await struck(playing, bars, fault("reorder"))
    closes = [(kline(m)["T"] + 1) * 1000 for m in found]
    assert closes.index(close) == closes.index(close + MINUTE) + 1


async def test_a_frame_is_late(playing, bars):
    async with playing(bars, faults=[fault("delay", us=1_500_000)], partials=0) as client:
        ws = await client.stream(STREAM)
        clock = await client.run(BAR)
        close = client.exchange.market.start + (BAR + 1) * MINUTE
        await client.exchange.clock.wait(close)
        assert of(await raw(ws, 0.005), close) == [], "at the close it is not there"
        await client.exchange.clock.wait(close + 1_500_000)
        assert len(of(await raw(ws), close)) == 1
        assert not clock.closed


async def test_a_frame_is_garbled(playing, bars):
    for kind in ("corrupt", "truncate"):
        found, close, _ = await struck(playing, bars, fault(kind))
        bad = [m.data for m in found if not _parses(m.data)]
        assert len(bad) == 1, kind
        good = [m for m in found if _parses(m.data)]
        assert of(good, close) == []


def _parses(text):
    try:
        return json.loads(text) is not None
    except ValueError:
        return False


async def test_rubbish_comes_before_the_frame(playing, bars):
    wanted = {
        "malformed": lambda m: m.type == TEXT and m.data == '{"e":"kline","k":',
        "empty": lambda m: m.type == TEXT and m.data == "",
        "binary": lambda m: m.type == aiohttp.WSMsgType.BINARY,
        "deep": lambda m: m.type == TEXT and m.data.startswith("[[[["),
    }
    for kind, rubbish in wanted.items():
        found, close, _ = await struck(playing, bars, fault(kind))
        places = [i for i, m in enumerate(found) if rubbish(m)]
        assert len(places) == 1, kind
        after = found[places[0] + 1]
        assert (kline(after)["T"] + 1) * 1000 == close


async def test_invalid_text_ends_a_strict_reader(playing, bars):
    found, _, _ = await struck(playing, bars, fault("bad_utf8"))
    assert found[-1].type in OVER


async def test_an_oversize_frame_ends_a_reader_with_a_limit(playing, bars):
    found, _, _ = await struck(playing, bars, fault("oversize"), max_msg_size=4 << 20)
    assert found[-1].type in OVER
    plan = fault("oversize", size=1000)
    found, close, _ = await struck(playing, bars, plan)
    assert [k["x"] for k in of(found, close)] == [True, True]
    assert max(len(m.data) for m in found) > 1000


async def test_an_old_partial_follows_the_close(playing, bars):
    found, close, _ = await struck(playing, bars, fault("stale_partial"))
    assert [k["x"] for k in of(found, close)] == [True, False]


async def test_a_closed_bar_is_revised(playing, bars):
    for rest in (False, True):
        plan = [fault("revised", bps=10, rest=rest)]
        async with playing(bars, faults=plan, partials=0) as client:
            ws = await client.stream(STREAM)
            await client.run(4)
            close = client.exchange.market.start + (BAR + 1) * MINUTE
            first, second = of(await raw(ws), close)
            assert first["x"] and second["x"]
            assert float(second["c"]) == pytest.approx(float(first["c"]) * 1.001, rel=1e-12)
            assert float(second["l"]) <= float(second["c"]) <= float(second["h"])
            ask = {"symbol": "AAAUSDT", "interval": "1m", "startTime": first["t"], "limit": 1}
            row = (await client.binance("klines", **ask))[0]
            assert row[4] == (second if rest else first)["c"]


async def test_a_revision_comes_after_the_decision(playing, bars):
    plan = fault("revised", us=30_000_000)
    found, close, log = await struck(playing, bars, plan, partials=1)
    assert [k["x"] for k in of(found, close)] == [False, True, True]
    times = [e["time"] - close for e in log if e.get("faults")]
    assert times == [0, 30_000_000]


async def test_another_symbol_comes_in(playing, bars):
    found, close, _ = await struck(playing, bars, fault("wrong_symbol"))
    names = [k["s"] for k in of(found, close)]
    assert names == [WRONG, "AAAUSDT"]


@pytest.mark.parametrize(
    ("kind", "args", "bad"),
    [
        ("nan", {"field": "close"}, lambda k: k["c"] in ("NaN", "Infinity", "", None)),
        ("nan", {"field": "volume", "value": "NaN"}, lambda k: k["v"] == "NaN"),
        ("wrong_type", {"field": "open"}, lambda k: k["o"] in ([], {}, True, "twelve")),
        ("missing_key", {"field": "close"}, lambda k: "c" not in k),
        ("negative", {"field": "low"}, lambda k: float(k["l"]) < 0),
        ("negative", {"field": "volume"}, lambda k: float(k["v"]) < 0),
        ("high_below_low", {}, lambda k: float(k["h"]) < float(k["l"])),
        ("off_grid", {}, lambda k: k["t"] % 60_000 != 0),
        ("spike", {"factor": 100}, lambda k: float(k["c"]) > 5000),
    ],
)
async def test_a_value_is_impossible(playing, bars, kind, args, bad):
    found, close, _ = await struck(playing, bars, fault(kind, **args))
    made = of(found, close)
    assert len(made) == 1 and bad(made[0])
    others = [kline(m) for m in found if kline(m) != made[0]]
    assert others and not any(bad(k) for k in others)


async def test_bybit_frames_are_struck_alike(playing, bars, frames):
    plan = [fault("nan", field="close", value="NaN"), fault("revised")]
    plan[1].at = BAR + 1
    async with playing(bars, faults=plan, partials=0) as client:
        ws = await client.session.ws_connect("wss://stream.bybit.com/v5/public/linear")
        await ws.send_json({"op": "subscribe", "args": ["kline.1.AAAUSDT"]})
        await ws.receive_json(timeout=2)
        await client.run(6)
        made = [f["data"][0] for f in await frames(ws)]
        assert [k["close"] for k in made].count("NaN") == 1
        starts = [k["start"] for k in made]
        assert len(starts) - len(set(starts)) == 1


@pytest.mark.parametrize("mid_frame", [False, True])
async def test_a_reset_ends_the_connection_unsaid(playing, bars, mid_frame):
    found, close, _ = await struck(playing, bars, fault("rst", mid_frame=mid_frame))
    assert found[-1].type in OVER
    assert found[-1].type != aiohttp.WSMsgType.CLOSE, "no close frame"
    assert of(found[:-1], close) == []


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1012, 1013])
async def test_a_close_has_its_code(playing, bars, code):
    found, close, _ = await struck(playing, bars, fault("close", code=code))
    end = found[-1]
    assert of(found[:-1], close) == []
    if code == 1006:
        assert end.type != aiohttp.WSMsgType.CLOSE
    else:
        assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, code)


async def test_half_open_neither_speaks_nor_hears(playing, bars):
    async with playing(bars, faults=[fault("half_open")], partials=0) as client:
        ws = await client.stream(STREAM)
        other = await client.stream("bbbusdt@kline_1m")
        await client.run(6)
        assert len(await raw(ws)) == BAR
        await ws.ping()
        assert await raw(ws) == [], "no pong, no frame, no end"
        assert not ws.closed
        assert len(await raw(other)) >= 6
        again = await client.stream(STREAM)
        await client.run(2)
        assert len(await raw(again)) >= 2, "a new connection works"


async def test_half_open_ends_at_last(playing, bars):
    found, _, _ = await struck(playing, bars, fault("half_open", seconds=0.01))
    assert found[-1].type in OVER


async def test_slowloris_sends_byte_by_byte(playing, bars):
    found, _, _ = await struck(playing, bars, fault("slowloris", seconds=0.05), run=6)
    assert len(found) == BAR, "the frame never ends, and all others wait"
    found, close, _ = await struck(playing, bars, fault("slowloris", seconds=0.0))
    assert len(of(found, close)) == 1


async def test_a_silent_stream_comes_back(playing, bars):
    plan = fault("silent", bars=2)
    found, close, _ = await struck(playing, bars, plan, run=6, partials=1)
    assert of(found, close) == [] and of(found, close + MINUTE) == []
    assert len(of(found, close + 2 * MINUTE)) == 2


@pytest.mark.parametrize("status", [403, 408, 418, 429, 500, 502, 503, 504])
async def test_a_status_strikes_once(playing, bars, status):
    plan = [Fault("status", at=-1, target="*/klines", args={"status": status, "retry_after": 7})]
    async with playing(bars, faults=plan) as client:
        url = "https://fapi.binance.com/fapi/v1/klines"
        ask = {"symbol": "AAAUSDT", "interval": "1m"}
        async with client.session.get(url, params=ask) as answer:
            assert answer.status == status
            assert answer.headers.get("Retry-After") == ("7" if status in (418, 429) else None)
            assert await answer.text()
        async with client.session.get(url, params=ask) as answer:
            assert answer.status == 200
        assert client.exchange.log[0]["faults"] == ("status",)


async def test_requests_go_wrong(playing, bars):
    plan = [
        Fault("bad_json", at=-1, target="*/time"),
        Fault("rest_rst", at=-1, target="*/ping"),
        Fault("hang", at=-1, target="*/depth", args={"seconds": 0.1}),
        Fault("redirect", at=-1, target="*/exchangeInfo"),
        Fault("bad_row", at=-1, target="*/klines", args={"column": 4, "value": "NaN"}),
        Fault("bad_row", at=-1, target="*/kline", args={"column": 4, "value": "NaN"}),
        Fault("status", at=-1, target="/market/*", args={"status": 503}),
    ]
    async with playing(bars, faults=plan) as client:
        base = "https://fapi.binance.com/fapi/v1/"
        with pytest.raises(ValueError):
            await client.binance("time")
        session = client.session
        with pytest.raises(aiohttp.ClientError):
            await session.post(base + "ping")
        begun = time.monotonic()
        async with session.get(base + "depth", params={"symbol": "AAAUSDT"}) as answer:
            assert answer.status == 504 and time.monotonic() - begun >= 0.1
        async with session.get(base + "exchangeInfo", allow_redirects=False) as answer:
            assert answer.status == 302
        rows = await client.binance("klines", symbol="AAAUSDT", interval="1m", limit=5)
        assert [row[4] for row in rows].count("NaN") == 2
        rows = (await client.bybit("kline", symbol="AAAUSDT", interval="1", limit=5))["list"]
        assert [row[4] for row in rows].count("NaN") == 2
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            await client.stream(STREAM)
        assert await client.stream(STREAM)


async def test_rest_lags_behind(playing, bars):
    lag = {"us": 5 * MINUTE}
    async with playing(bars, faults=[Fault("rest_lag", at=-1, args=lag)]) as client:
        ask = {"symbol": "AAAUSDT", "interval": "1m", "limit": 1}
        late, now = [(await client.binance("klines", **ask))[-1][0] for _ in range(2)]
        assert now - late == 300_000


@pytest.mark.parametrize("back", [None, 3])
async def test_a_gap_is_in_stream_and_rest(playing, bars, back):
    args = {"length": 2} if back is None else {"length": 2, "bars": back}
    async with playing(bars, faults=[fault("gap", **args)], partials=2) as client:
        ws = await client.stream(STREAM, "aaausdt@aggTrade")
        other = await client.stream("bbbusdt@kline_1m")
        clock = await client.run(BAR + 2)
        start = client.exchange.market.start
        close = start + (BAR + 1) * MINUTE
        made = [json.loads(m.data)["data"] for m in await raw(ws)]
        hidden = range((close - MINUTE) // 1000, (close + MINUTE) // 1000)
        assert not [d for d in made if d.get("k", d).get("t", d.get("T")) in hidden]
        assert len(of(await raw(other), close)) == 3

        async def rows():
            ask = {"symbol": "AAAUSDT", "interval": "1m", "limit": 100}
            return [row for row in await client.binance("klines", **ask) if row[0] in hidden]

        assert await rows() == []
        await client.run(5, clock)
        assert len(await rows()) == (0 if back is None else 2)


async def test_nobody_waits_for_a_bar_that_nobody_can_see(playing, bars):
    plan = [Fault("gap", at=BAR, target="*")]
    async with playing(bars, faults=plan) as client:
        start = client.exchange.market.start
        closes = client.exchange.clock._closes
        assert start + (BAR + 1) * MINUTE not in closes
        assert len(closes) == len(client.exchange.market.played) - 1


async def test_the_venue_has_another_clock(playing, bars):
    plan = [Fault("skew", at=1, args={"us": 3_600_000_000, "bars": 2})]
    async with playing(bars, faults=plan, partials=0) as client:
        ws = await client.stream(STREAM)
        off = []
        clock = await client.clock()
        for _ in range(5):
            await client.run(1, clock)
            now = client.exchange.clock.now()
            server = (await client.binance("time"))["serverTime"]
            off.append(round((server * 1000 - now) / MINUTE))
        assert sorted(off) == [0, 0, 0, 60, 60]
        made = [json.loads(m.data)["data"] for m in await raw(ws)]
        late = [(d["E"] - d["k"]["T"] - 1) // 60_000 for d in made]
        assert late[:5] == [0, 60, 60, 0, 0]


def test_a_plan_is_drawn_alike_and_covers_all():
    made = faults.plan(500, 7, 1440, ["AAAUSDT", "BBBUSDT"])
    assert made == faults.plan(500, 7, 1440, ["AAAUSDT", "BBBUSDT"])
    assert made != faults.plan(500, 8, 1440, ["AAAUSDT", "BBBUSDT"])
    assert len(made) == 500
    assert {f.kind for f in made} == set(faults.RECOVERABLE)
    assert all(1 <= f.at < 1440 for f in made)
    assert set(faults.RECOVERABLE) <= set(faults.KINDS)


def test_a_plan_survives_its_file(tmp_path):
    made = faults.plan(50, 7, 100, ["AAAUSDT"])
    faults.write(tmp_path / "plan.json", made)
    assert faults.read(tmp_path / "plan.json") == made


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": "dorp", "at": 1}, "Did you mean 'drop'"),
        ({"kind": "drop"}, "either at or prob"),
        ({"kind": "drop", "at": 1, "prob": 0.5}, "either at or prob"),
        ({"kind": "drop", "at": 1, "traget": "*"}, "Did you mean 'target'"),
        ({"at": 1}, "'kind' is missing"),
    ],
)
def test_a_wrong_plan_is_named(entry, said):
    with pytest.raises(UserError, match=said):
        faults.Plan([entry])


def test_a_file_that_is_no_plan_is_named(tmp_path):
    with pytest.raises(UserError, match="readable JSON"):
        faults.read(tmp_path / "absent.json")
    (tmp_path / "one.json").write_text("{}")
    with pytest.raises(UserError, match="JSON list"):
        faults.read(tmp_path / "one.json")


def test_a_time_and_a_probability_strike_as_often_as_they_should():
    once = faults.Plan([Fault("drop", at=10**12)], 0)
    ask = {"names": {"X"}, "bar": 0, "final": True}
    struck_at = [t for t in (1, 10**12, 10**12 + 1) if once.hits("frame", time=t, **ask)]
    assert struck_at == [10**12]
    often = faults.Plan([Fault("drop", prob=0.3)], 0)
    count = sum(bool(often.hits("frame", time=0, key=str(k), **ask)) for k in range(2000))
    assert 500 < count < 700


async def test_a_slow_reader_is_cut_off(playing, bars):
    async with playing(bars) as client:
        ws = await client.stream(STREAM)
        line = next(iter(client.exchange.lines.values()))
        for _ in range(lines.QUEUE + 1):
            line.say({})
        assert not ws.closed
        await asyncio.sleep(0.1)
        assert not client.exchange.lines
