"""Connections that break, fall silent or are refused, on a server of the test's own."""

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path

import orjson
import pytest
from aiohttp import WSMsgType, web

from research.live.clock import ReplayClock, WallClock
from research.live.feed.binance import Binance
from research.live.feed.bybit import Bybit
from research.live.feed.limits import Limits
from research.live.feed.rest import Host, Refused, Unanswered
from research.live.feed.skew import measure
from research.live.feed.stream import Line
from research.live.net import Network
from research.sim import tls

from .feeds import QUICK

MINUTE = 60_000_000


class Server:
    """Answers everything by one handler, with TLS, under any name."""

    def __init__(self, handle):
        self.handle, self.opened, self.open, self.requests = handle, 0, 0, []

    async def __aenter__(self):
        self.folder = tempfile.TemporaryDirectory()
        context, self.ca = tls.server(Path(self.folder.name))
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=context).start()
        self.network = Network(self.runner.addresses[0][1], self.ca)
        return self

    async def _take(self, request):
        self.requests.append((time.monotonic(), request.path))
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return await self.handle(request)
        self.opened += 1
        self.open += 1
        ws = web.WebSocketResponse(autoping=True)
        await ws.prepare(request)
        with contextlib.suppress(ConnectionError):
            await self.handle(ws, request, self.opened)
        self.open -= 1
        return ws

    async def __aexit__(self, *_):
        await self.network.close()
        await self.runner.cleanup()
        self.folder.cleanup()


def frame(symbol="BTCUSDT", minute=1, *, final=False):
    t = minute * 60_000
    k = {"t": t, "T": t + 59_999, "s": symbol, "i": "1m", "o": "1", "c": "1", "h": "1", "l": "1",
         "v": "1", "n": 1, "x": final, "q": "1", "V": "1", "Q": "1"}  # fmt: skip
    data = {"e": "kline", "E": t + 60_001, "s": symbol, "k": k}
    return orjson.dumps({"stream": f"{symbol.lower()}@kline_1m", "data": data}).decode()


class Heard:
    def __init__(self, server, *, symbols=("BTCUSDT",), limits=QUICK, venue=Binance, clock=None):
        self.events, self.notes = [], []
        made = venue(list(symbols), MINUTE)
        self.line = Line(
            made.routes()[0], made, server.network, clock or WallClock(), hear=self.events.append,
            note=lambda *note: self.notes.append((time.monotonic(), *note)),
            stale_us=3_600_000_000, limits=limits,
        )  # fmt: skip

    async def until(self, test, seconds=5.0):
        """Run the line until `test` holds; return how long that took."""
        task, began = asyncio.create_task(self.line.run()), time.monotonic()
        try:
            while not test(self) and time.monotonic() - began < seconds and not task.done():
                await asyncio.sleep(0.01)
            if task.done():
                task.result()
            assert test(self), f"not within {seconds} s: {self.notes}"
            return time.monotonic() - began
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def whys(self):
        return [body["why"] for _, kind, body in self.notes if kind == "reconnect"]

    def kinds(self):
        return [kind for _, kind, _ in self.notes]


async def forever(ws):
    async for _ in ws:
        pass


async def talking(ws, seconds=1e9, every=0.02):
    """Send candles; answer nothing but pings."""
    reading = asyncio.create_task(forever(ws))
    try:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not ws.closed:
            await ws.send_str(frame())
            await asyncio.sleep(every)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 1013])
async def test_each_close_code_is_followed_by_a_connection(code):
    async def handle(ws, request, count):
        await ws.send_str(frame())
        if count == 1:
            await ws.close(code=code)
        else:
            await talking(ws)

    async with Server(handle) as server:
        heard = Heard(server)
        took = await heard.until(lambda h: len(h.events) > 2)
    assert took < 2 and f"code {code}" in heard.whys()[0]
    assert ("alarm" in heard.kinds()) == (code == 1008)


async def test_a_server_that_stops_reading_and_writing_is_left():
    """Half-open: the socket is up, nothing comes, not even a pong; market time says nothing."""
    stop = asyncio.Event()

    async def handle(ws, request, count):
        await ws.send_str(frame())
        if count == 1:
            await stop.wait()  # neither reads, so no pong, nor writes
        else:
            await talking(ws)

    async with Server(handle) as server:
        heard = Heard(server, clock=ReplayClock(0))
        took = await heard.until(lambda h: len(h.events) > 2)
        stop.set()
    assert 0.5 < took < 2.5
    assert len(heard.whys()) == 1 and "half-open" in heard.whys()[0]


@pytest.mark.slow
async def test_half_open_and_silent_are_noticed_within_ten_real_seconds():
    """With the limits of production, nothing shortened: both at once to save time."""
    stop = asyncio.Event()

    async def half_open(ws, request, count):
        await ws.send_str(frame())
        await stop.wait()

    async def silent(ws, request, count):
        await ws.send_str(frame())
        await forever(ws)  # pongs, but not another candle

    async with Server(half_open) as one, Server(silent) as other:
        dead, quiet = Heard(one, limits=Limits()), Heard(other, limits=Limits())

        def noticed(kind):
            return lambda h: kind in h.kinds()

        took = await asyncio.gather(
            dead.until(noticed("reconnect"), 12), quiet.until(noticed("alarm"), 12)
        )
        stop.set()
    assert all(7 < seconds <= 10 for seconds in took), took
    (alarm,) = [body for _, kind, body in quiet.notes if kind == "alarm"]
    assert alarm["what"] == "silent" and alarm["route"].endswith("/market/stream")


async def test_a_route_that_takes_the_streams_and_never_sends_is_named():
    async def handle(ws, request, count):
        await forever(ws)

    async with Server(handle) as server:
        heard = Heard(server, symbols=("BTCUSDT", "ETHUSDT"))
        await heard.until(lambda h: "alarm" in h.kinds())
        (body,) = [b for _, kind, b in heard.notes if kind == "alarm"]
    assert body["route"] == "wss://fstream.binance.com/market/stream"
    assert body["streams"] == ["btcusdt@kline_1m", "ethusdt@kline_1m"]


async def test_one_silent_stream_among_others_is_noticed():
    async def handle(ws, request, count):
        if count == 2:
            await ws.send_str(frame("ETHUSDT"))
        await talking(ws)

    async with Server(handle) as server:
        heard = Heard(server, symbols=("BTCUSDT", "ETHUSDT"))
        await heard.until(lambda h: h.line.streams["ethusdt@kline_1m"].state == "live")
    (body,) = [b for _, kind, b in heard.notes if kind == "alarm"]
    assert body["streams"] == ["ethusdt@kline_1m"]


async def test_vain_renewals_become_rare():
    async def handle(ws, request, count):
        await forever(ws)

    async with Server(handle) as server:
        heard = Heard(server)
        with pytest.raises(AssertionError, match="not within"):
            await heard.until(lambda h: False, seconds=6.0)
        assert 2 <= server.opened <= 6
        await asyncio.sleep(0.2)
        assert server.open == 0, "a connection that was replaced was not closed"
    assert heard.kinds().count("alarm") == 1


async def test_a_loop_of_ours_that_was_blocked_blames_nobody():
    async def handle(ws, request, count):
        await talking(ws)

    limits = Limits(ping=0.1, silence=0.6, tick=0.05)
    async with Server(handle) as server:
        heard = Heard(server, limits=limits)

        async def block():
            await asyncio.sleep(0.3)
            time.sleep(1.5)

        blocking = asyncio.create_task(block())
        await heard.until(lambda h: blocking.done() and len(h.events) > 20)
        await asyncio.sleep(0.1)
    assert not heard.notes and server.opened == 1


async def test_too_many_bad_records_end_a_connection():
    async def handle(ws, request, count):
        if count == 1:
            for _ in range(150):
                await ws.send_str('{"stream":')
        await talking(ws)

    async with Server(handle) as server:
        heard = Heard(server)
        await heard.until(
            lambda h: server.opened > 1 and h.line.streams["btcusdt@kline_1m"].messages
        )
    assert "bad records" in heard.whys()[0]


async def test_a_frame_too_large_ends_the_connection():
    async def handle(ws, request, count):
        if count == 1:
            await ws.send_str("x" * (QUICK.frame + 10))
        await talking(ws)

    async with Server(handle) as server:
        heard = Heard(server)
        await heard.until(lambda h: server.opened > 1 and h.events)
    assert "1009" in heard.whys()[0]


async def test_a_refused_topic_is_named_and_the_others_run():
    async def handle(ws, request, count):
        async for message in ws:
            asked = orjson.loads(message.data)
            assert message.type is WSMsgType.TEXT and len(asked["args"]) == 1
            ok = asked["args"][0].endswith("BTCUSDT")
            said = {"success": ok, "ret_msg": "" if ok else "handler not found", "op": "subscribe"}
            await ws.send_str(orjson.dumps(said | {"req_id": asked["req_id"]}).decode())

    async with Server(handle) as server:
        heard = Heard(server, symbols=("BTCUSDT", "XUSDT"), venue=Bybit)
        await heard.until(lambda h: "alarm" in h.kinds())
        states = {name: s.state for name, s in heard.line.streams.items()}
    (body,) = [b for _, kind, b in heard.notes if kind == "alarm"]
    assert body["streams"] == ["kline.1.XUSDT"] and body["why"] == "handler not found"
    assert states == {"kline.1.BTCUSDT": "connecting", "kline.1.XUSDT": "refused"}


async def test_two_hundred_reconnects_leave_nothing_behind():
    async def handle(ws, request, count):
        await ws.send_str(frame())
        await ws.close(code=1001)

    async def held():
        await asyncio.sleep(0.3)
        return len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks())

    limits = Limits(first=0.001, longest=0.002, tick=0.05)
    async with Server(handle) as server:
        await Heard(server, limits=limits).until(lambda h: server.opened >= 20, seconds=30)
        before = await held()
        await Heard(server, limits=limits).until(lambda h: server.opened >= 220, seconds=60)
        assert await held() == before


async def test_a_refused_connection_is_tried_with_growing_pauses():
    async def handle(request):
        return web.Response(status=503)

    async with Server(handle) as server:
        server.network.port = 9  # nobody listens there
        heard = Heard(server, limits=Limits(first=0.05, longest=0.4))
        with pytest.raises(AssertionError, match="not within"):
            await heard.until(lambda h: False, seconds=2.0)
    attempts = len(heard.whys())
    assert 4 <= attempts <= 13 and "no connection" in heard.whys()[0]


# -- requests ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))


def host(server, venue=None, **limits):
    venue = venue or Binance(["BTCUSDT"], MINUTE)
    return Host(server.network, venue, WallClock(), Limits(**{"first": 0.05} | limits)), venue


@pytest.mark.parametrize("status", [429, 418, 403])
async def test_a_venue_that_wants_silence_gets_it_even_after_a_restart(status):
    async def handle(request):
        if len(server.requests) == 1:
            return web.Response(status=status, headers={"Retry-After": "1"}, text="{}")
        return web.json_response([])

    async with Server(handle) as server:
        first, venue = host(server)
        with pytest.raises(Unanswered, match=f"status {status}"):
            await first.get(venue.page("BTCUSDT", 0, 2))
        again, _ = host(server)  # another process after a kill
        asked = [again.get(venue.page("BTCUSDT", 0, 2)) for _ in range(5)]
        await asyncio.gather(*asked, first.get(venue.time()))
        times = [at for at, _ in server.requests]
    assert min(times[1:]) - times[0] >= 0.95


@pytest.mark.parametrize(("status", "least"), [(429, 59), (418, 119), (403, 599)])
async def test_a_silence_without_a_length_is_long(status, least):
    async def handle(request):
        return web.Response(status=status, text="<html>")

    async with Server(handle) as server:
        asked, venue = host(server)
        with pytest.raises(Unanswered):
            await asked.get(venue.time())
        assert asked.quiet > least


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (500, "{}", Unanswered), (502, "<html>", Unanswered), (503, "{}", Unanswered),
        (504, "<html>", Unanswered), (408, "{}", Unanswered), (302, "", Unanswered),
        (200, '[[1,"2"', Unanswered), (200, "", Unanswered), (404, "{}", Unanswered),
        (400, '{"code":-1121,"msg":"Invalid symbol."}', Refused),
    ],
)  # fmt: skip
async def test_answers_that_are_none(status, text, kind):
    async def handle(request):
        return web.Response(status=status, text=text, headers={"Location": "/elsewhere"})

    async with Server(handle) as server:
        asked, venue = host(server)
        with pytest.raises(kind):
            await asked.get(venue.page("BTCUSDT", 0, 2))
        assert len(server.requests) == 1, "a redirect is not followed"


async def test_an_answer_too_large_and_one_that_never_comes():
    async def handle(request):
        if request.path.endswith("time"):
            await asyncio.sleep(5)
        return web.Response(text=" " * 5_000_000)

    async with Server(handle) as server:
        asked, venue = host(server, connect=0.3)
        with pytest.raises(Unanswered, match="too large"):
            await asked.get(venue.page("BTCUSDT", 0, 2))
        with pytest.raises(Unanswered, match="Timeout"):
            await asked.get(venue.time())


async def test_the_budget_follows_the_venues_own_count():
    async def handle(request):
        return web.json_response([], headers={"X-MBX-USED-WEIGHT-1M": "1199"})

    async with Server(handle) as server:
        asked, venue = host(server)
        await asked.get(venue.page("BTCUSDT", 0, 2))
        assert asked.used == 1199
        await asked.get(venue.page("BTCUSDT", 0, 2))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asked.get(venue.page("BTCUSDT", 0, 1500)), 0.5)
        assert len(server.requests) == 2


async def test_bybit_says_too_often_with_status_200():
    async def handle(request):
        return web.json_response({"retCode": 10006, "retMsg": "Too many visits!"})

    async with Server(handle) as server:
        asked, venue = host(server, Bybit(["BTCUSDT"], MINUTE))
        with pytest.raises(Unanswered, match="too often"):
            await asked.get(venue.page("BTCUSDT", 0, 2))
        assert asked.quiet > 0.5


@pytest.mark.parametrize("off", [0, 3_600_000, -3_600_000])
async def test_the_skew_is_within_its_error(off):
    async def handle(request):
        await asyncio.sleep(0.05)
        return web.json_response({"serverTime": time.time_ns() // 1_000_000 + off})

    async with Server(handle) as server:
        asked, venue = host(server)
        skew, now = await measure(asked, venue, WallClock())
    assert abs(skew.us - off * 1000) <= skew.error < 1_000_000
    assert abs(skew.sure) <= abs(off) * 1000
    assert abs(now - off * 1000 - time.time_ns() // 1000) < 1_000_000
