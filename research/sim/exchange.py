"""The simulated exchange: one server on this machine that answers for all of a venue's hosts."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

import orjson
import polars as pl
from aiohttp import WSMsgType, web

from research import schema
from research.sim import binance_rest, binance_ws, bybit, kraken, tls
from research.sim.binance_rest import Refused, Weights
from research.sim.clock import Clock
from research.sim.faults import REQUEST, Fault, Plan
from research.sim.lines import Line
from research.sim.market import Market
from research.sim.orders.account import Account
from research.sim.orders.faults import Cut, Gone
from research.sim.orders.private import Private
from research.sim.orders.venues import Call, Route, Venue, venues
from research.sim.orders.words import Key, usual_key
from research.sim.player import Player, required, skew, withhold
from research.sim.wire import text_of

CLOCK = "clock.sim"
TIMES = ("/fapi/v1/time", "/v5/market/time", "/0/public/Time")
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
    names : mapping of str to str, optional
        What the venue calls symbols of `bars`, where it is something else.
    keys : iterable of Key, optional
        Who may sign requests; None: one key for each venue, which may trade and not withdraw.
    order_limits : tuple of int
        New orders in 10 s and in a minute before Binance says 429.

    Attributes
    ----------
    port, ca : int, Path
        Where it listens on 127.0.0.1, and the certificate a client must trust.
    log : list of dict
        Everything sent and answered, in order; ``signed`` are the requests of a key.
    private : Private
        The order side.

    Raises
    ------
    UserError
        If there is no bar to play.
    """

    _beside: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
    """What goes on while it plays."""

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
        names: Mapping[str, str] | None = None,
        keys: Iterable[Key] | None = None,
        order_limits: tuple[int, int] = (300, 1200),
    ) -> None:
        if names:
            bars = bars.with_columns(pl.col("symbol").replace(names)).sort(schema.KEY)
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
        self.pace = kraken.Pace()
        """What Kraken's public limit has counted."""
        self._record, self._log_path = record, log
        self._file: IO[bytes] | None = None
        self._count = 0
        self.private = Private(
            self.market,
            self.clock,
            self.plan,
            map(usual_key, venues()) if keys is None else keys,
            weights=self._weights,
            order_limits=order_limits,
            tell=self._tell,
            skew=lambda now: skew(self.market, self.plan, now),
        )
        self._beside = (self.private.trade,)

    @property
    def accounts(self) -> dict[str, Account]:
        """Accounts by venue."""
        return self.private.accounts

    def strike(self, kind: str, *, target: str = "*", times: int = 1, **args: Any) -> None:
        """Let a fault strike from now on, so many times."""
        self.plan.add(Fault(kind, prob=1.0, target=target, args=args, times=times))

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
        works = (self.player.play, *self._beside)
        self._tasks = [asyncio.create_task(work()) for work in works]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut everybody off and stop listening."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
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
        found = self.private.route(request.method, host, request.path)
        if hit is not None and hit.kind not in CHANGED:
            if found is not None:
                facts = {"does": found[1].does, "cid": "", "accepted": False}
                self._tell("signed", path=request.path, **facts, faults=(hit.kind,))
            return await self._fail(request, hit, now)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._line(request)
        if found is not None:
            return await self._signed(request, *found, now)
        return self._answer(request, host, now, hit)

    async def _signed(
        self, request: web.Request, venue: Venue, route: Route, now: int
    ) -> web.StreamResponse:
        """Answer a request of a key."""
        text, body = request.rel_url.raw_query_string, await request.read()
        host = request.host.partition(":")[0]
        parts = (request.method, host, request.path, text, body)
        call = Call(*parts, request.headers, self.private, now)
        status, headers = 200, dict[str, str]()
        try:
            said, headers = await self.private.answer(venue, route, call)
        except Refused as no:
            status, said, headers = no.status, no.body, no.headers
        except Cut:
            _reset(request)
            return web.Response()
        except Gone:
            return web.Response(text=BODIES[504][0], status=504, content_type="text/html")
        return web.Response(
            text=text_of(said), status=status, headers=headers, content_type="application/json"
        )

    def _struck(self, request: web.Request, host: str, now: int) -> Fault | None:
        names = {host, request.path, request.query.get("symbol", ""), *self._paired(request)}
        bar = self.market.number(now)
        hits = self.plan.hits(REQUEST, names, bar=bar, time=now, final=True)
        return hits[0] if hits else None

    def _paired(self, request: web.Request) -> set[str]:
        """Return the symbol that Kraken is asked for, which calls it something else."""
        try:
            return {kraken.found(self.market, request.query).symbol}
        except kraken.Invalid:
            return set()

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
        if host == kraken.REST:
            if not self.pace.spend(kraken.lane(path, query), now):
                self._tell("limited", venue="kraken", path=path)
                return kraken.error(kraken.TOO_OFTEN)
            return kraken.answer(self.market, path, query, shown)
        raise Refused(404, {"code": -5000, "msg": f"Path {path}, Method {request.method} invalid"})

    async def _fail(self, request: web.Request, fault: Fault, now: int) -> web.StreamResponse:
        """Answer as a fault wants it."""
        args, status = fault.args, int(fault.args.get("status", 500))
        signed = "signature=" in request.query_string
        path = request.path if signed else request.path_qs
        self._tell("request", path=path, status=status, faults=(fault.kind,))
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
        if fault.kind == "rest_rst":
            _reset(request)
        return web.Response(text='[[1,"2",', content_type="application/json")

    async def _line(self, request: web.Request) -> web.StreamResponse:
        """Take a connection to a stream."""
        host = request.host.partition(":")[0]
        known = host == binance_ws.HOST or (host == bybit.STREAM and request.path == bybit.PATH)
        private = self.private.has_stream(host, request.path)
        if not known and not private:
            return web.Response(status=404)
        self._count += 1
        line = Line(str(self._count), request, self.clock.now(), self._tell)
        if host == binance_ws.HOST and not private:
            binance_ws.opened(line, request.query.get("streams", ""))
        path = request.path if private else request.path_qs
        self._tell("open", line=line.name, host=host, path=path)
        self.lines[line.name] = line
        self.player.ask()
        stream = self.private.stream(line, request.query)
        try:
            return await line.run(self._heard if stream is None else stream.hear)
        finally:
            if stream is not None:
                stream.leave()
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


def _reset(request: web.Request) -> None:
    """End a connection with RST."""
    if request.transport is not None:
        raw = request.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()


def _spoil(body: Any, fault: Fault) -> None:
    """Put a value that cannot be into the newest closed row of klines, and into the unclosed."""
    result = body.get("result", {}) if isinstance(body, dict) else {"list": body}
    rows = next((part for part in result.values() if isinstance(part, list)), None)
    if not rows or not isinstance(rows[0], list):
        return
    for row in sorted(rows, key=lambda row: int(row[0]))[-2:]:
        row[int(fault.args.get("column", 4))] = fault.args.get("value")
