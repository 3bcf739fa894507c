"""The simulated exchange: one server on this machine that answers for all of a venue's hosts."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

import orjson
import polars as pl
from aiohttp import WSMsgType, web

from research.sim import binance_rest, binance_ws, bybit, tls
from research.sim.binance_rest import Refused, Weights
from research.sim.clock import Clock
from research.sim.faults import REQUEST, Fault, Plan
from research.sim.lines import Line
from research.sim.market import Market
from research.sim.player import Player, required, skew, withhold
from research.sim.wire import text_of

CLOCK = "clock.sim"
TIMES = ("/fapi/v1/time", "/v5/market/time")
CHANGED = ("bad_row", "rest_lag")
"""Faults of requests that are answered all the same."""
BODIES: dict[int, tuple[Any, ...]] = {
    400: ({"code": -1102, "msg": "Mandatory parameter was not sent."},),
    403: ("<html><body><h1>403 Forbidden</h1></body></html>",),
    408: ({"code": -1007, "msg": "Timeout waiting for response from backend server."},),
    418: ({"code": -1003, "msg": "Way too many requests; IP banned."},),
    429: ({"code": -1003, "msg": "Too many requests."},),
    500: ({"code": -1000, "msg": "An unknown error occurred while processing the request."},),
    502: ("<html><body><h1>502 Bad Gateway</h1></body></html>",),
    503: (
        {"code": -1000, "msg": "Unknown error, please check your request or try again later."},
        {"code": -1008, "msg": "Service Unavailable."},
        {"code": -1001, "msg": "Internal error; unable to process your request."},
    ),
    504: ("<html><body><h1>504 Gateway Time-out</h1></body></html>",),
}


class Exchange:
    """Binance USD-M and Bybit linear market data out of a table of bars, in virtual time.

    Parameters
    ----------
    bars : pl.DataFrame
        As `schema.BARS`, all of one interval, several symbols.
    start : int or None
        Bars closed by then, microseconds UTC, are history for REST; the rest is played. None:
        all but the first close is played.
    speed : float
        Virtual seconds per real second; infinite: as fast as bars are acknowledged.
    faults : iterable of Fault or dict
        What goes wrong, see `research.sim.faults`.
    seed : int
        Of the trades within a bar and of the faults.
    port : int
        0 takes a free one.
    interval_us : int or None
        Length of the bars that a client acknowledges; None: that of `bars`.
    partials : int
        Frames of the forming bar between its open and its close.
    weight_limit : int
        Weight of requests a minute before 429.
    grace : float
        Real seconds a client has at least before the deadline of a bar, see `Clock`.
    log : Path or None
        A file that gets everything sent, a JSON object a line.
    record : bool
        Whether `log` in memory is kept too: for tests.

    Attributes
    ----------
    port, ca : int, Path
        Where it listens on 127.0.0.1, and the certificate a client must trust.
    log : list of dict
        Everything sent and answered, in order.

    Raises
    ------
    UserError
        If there is no bar to play.
    """

    def __init__(
        self,
        bars: pl.DataFrame,
        *,
        start: int | None = None,
        speed: float = math.inf,
        faults: Iterable[Fault | Mapping[str, Any]] = (),
        seed: int = 0,
        port: int = 0,
        interval_us: int | None = None,
        partials: int = 1,
        weight_limit: int = 2400,
        grace: float = 0.05,
        log: Path | None = None,
        record: bool = True,
    ) -> None:
        self.market = Market(bars, start=start, seed=seed)
        self.plan = Plan(faults, seed)
        withhold(self.market, self.plan)
        closes = required(self.market, interval_us or self.market.interval)
        self.clock = Clock(self.market.start, closes, speed=speed, grace=grace)
        self.lines: dict[str, Line] = {}
        self.player = Player(self.market, self.clock, self.plan, self.lines, partials)
        self.port = port
        self.log: list[dict[str, Any]] = []
        self._weights = Weights(weight_limit)
        self._record, self._log_path = record, log
        self._file: IO[bytes] | None = None
        self._count = 0

    async def __aenter__(self) -> Self:
        """Listen."""
        self._folder = tempfile.TemporaryDirectory(prefix="simulated-exchange-")
        context, self.ca = tls.server(Path(self._folder.name))
        if self._log_path is not None:
            self._file = self._log_path.open("ab", buffering=0)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._playing = asyncio.create_task(self.player.play())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut everybody off and stop listening."""
        self._playing.cancel()
        with suppress(asyncio.CancelledError):
            await self._playing
        for line in list(self.lines.values()):
            line.stop()
        await self._runner.cleanup()
        if self._file is not None:
            self._file.close()
        self._folder.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        host = request.host.partition(":")[0]
        if host == CLOCK:
            return await self._clock(request)
        now = self.clock.now()
        hit = self._struck(request, host, now)
        if hit is not None and hit.kind not in CHANGED:
            return await self._fail(request, hit, now)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._line(request)
        return self._answer(request, host, now, hit)

    def _struck(self, request: web.Request, host: str, now: int) -> Fault | None:
        names = {host, request.path, request.query.get("symbol", "")}
        bar = self.market.number(now)
        hits = self.plan.hits(REQUEST, names, bar=bar, time=now, final=True)
        return hits[0] if hits else None

    def _answer(self, request: web.Request, host: str, now: int, hit: Fault | None) -> web.Response:
        headers: dict[str, str] = {}
        if hit is not None and hit.kind == "rest_lag":
            now -= int(hit.args.get("us", 70_000_000))
        try:
            status, body = 200, self._body(request, host, now)
            if hit is not None and hit.kind == "bad_row":
                _spoil(body, hit)
        except Refused as no:
            status, body, headers = no.status, no.body, no.headers
        if host == binance_rest.HOST:
            headers |= self._weights.headers()
        kinds = (hit.kind,) if hit is not None else ()
        self._tell("request", path=request.path_qs, status=status, host=host, faults=kinds)
        text = text_of(body)
        return web.Response(
            text=text, status=status, headers=headers, content_type="application/json"
        )

    def _body(self, request: web.Request, host: str, now: int) -> Any:
        path, query = request.path, request.query
        shown = now + skew(self.market, self.plan, now) if path in TIMES else now
        if host == binance_rest.HOST and path in binance_rest.ROUTES:
            speed = self.clock.speed if self.clock.running else 0.0
            self._weights.spend(binance_rest.weight(path, query), now, speed)
            return binance_rest.ROUTES[path](self.market, query, shown)
        if host == bybit.REST and path in bybit.ROUTES:
            return bybit.answer(bybit.ROUTES[path], self.market, query, shown)
        raise Refused(404, {"code": -5000, "msg": f"Path {path}, Method {request.method} invalid"})

    async def _fail(self, request: web.Request, fault: Fault, now: int) -> web.StreamResponse:
        """Answer as a fault wants it."""
        args, status = fault.args, int(fault.args.get("status", 500))
        self._tell("request", path=request.path_qs, status=status, faults=(fault.kind,))
        headers = {}
        if fault.kind == "status":
            draws = self.plan.draw(f"{request.path}|{now}")
            body = args.get("body") or draws.choice(BODIES.get(status, ("",)))
            text = body if isinstance(body, str) else text_of(body)
            if status in (418, 429):
                headers["Retry-After"] = str(args.get("retry_after", 1))
            kind = "text/html" if isinstance(body, str) else "application/json"
            return web.Response(text=text, status=status, headers=headers, content_type=kind)
        if fault.kind == "hang":
            await asyncio.sleep(float(args.get("seconds", 30)))
            return web.Response(text=BODIES[504][0], status=504, content_type="text/html")
        if fault.kind == "redirect":
            place = args.get("location", "https://elsewhere.example/")
            return web.Response(status=302, headers={"Location": place})
        if fault.kind == "rest_rst" and request.transport is not None:
            raw = request.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()
        return web.Response(text='[[1,"2",', content_type="application/json")

    async def _line(self, request: web.Request) -> web.StreamResponse:
        """Take a connection to a stream."""
        host = request.host.partition(":")[0]
        known = host == binance_ws.HOST or (host == bybit.STREAM and request.path == bybit.PATH)
        if not known:
            return web.Response(status=404)
        self._count += 1
        line = Line(str(self._count), request, self.clock.now(), self._tell)
        if host == binance_ws.HOST:
            binance_ws.opened(line, request.query.get("streams", ""))
        self._tell("open", line=line.name, host=host, path=request.path_qs)
        self.lines[line.name] = line
        self.player.ask()
        try:
            return await line.run(self._heard)
        finally:
            del self.lines[line.name]
            self._tell("gone", line=line.name)

    def _heard(self, line: Line, text: str) -> None:
        if line.host == binance_ws.HOST:
            binance_ws.hear(line, text)
        else:
            bybit.hear(line, text, lambda topic: bybit.known(topic, self.market.symbols))
        self.player.ask()

    async def _clock(self, request: web.Request) -> web.StreamResponse:
        """Tell a client the time and take its acknowledgements."""
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        self.clock.join(ws)
        telling = asyncio.create_task(self._tell_time(ws))
        try:
            async for message in ws:
                if message.type == WSMsgType.TEXT:
                    self._told(ws, message.data)
        finally:
            telling.cancel()
            self.clock.leave(ws)
        return ws

    def _told(self, ws: web.WebSocketResponse, text: str) -> None:
        with suppress(ValueError):
            said = orjson.loads(text)
            if isinstance(said, dict) and isinstance(said.get("ack"), int):
                self.clock.ack(said["ack"])
            if isinstance(said, dict) and isinstance(said.get("hold"), bool):
                self.clock.hold(ws, said["hold"])

    async def _tell_time(self, ws: web.WebSocketResponse) -> None:
        with suppress(ConnectionError):
            while True:
                version = self.clock.version
                await ws.send_str(text_of(self.clock.state()))
                while self.clock.version == version:
                    await self.clock.changed()

    def _tell(self, kind: str, **what: Any) -> None:
        entry = {"kind": kind, "time": self.player.moment, **what}
        if self._record:
            self.log.append(entry)
        if self._file is not None:
            self._file.write(orjson.dumps(entry) + b"\n")


def _spoil(body: Any, fault: Fault) -> None:
    """Put a value that cannot be into the newest closed row of klines, and into the unclosed."""
    rows = body.get("result", {}).get("list") if isinstance(body, dict) else body
    if not rows or not isinstance(rows[0], list):
        return
    for row in sorted(rows, key=lambda row: int(row[0]))[-2:]:
        row[int(fault.args.get("column", 4))] = fault.args.get("value")
