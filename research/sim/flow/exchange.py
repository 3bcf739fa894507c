"""A simulated exchange that plays a recorded market of order books, on real sockets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

from aiohttp import web

from research.errors import UserError
from research.schema import Recording
from research.sim.binance_rest import Query, Refused, Weights, refuse
from research.sim.binance_ws import hear, opened
from research.sim.exchange import Exchange
from research.sim.faults import REQUEST, Fault, Plan
from research.sim.flow import binance, bybit
from research.sim.flow.faults import book_faults, skew
from research.sim.flow.lines import FlowLine
from research.sim.flow.played import Played
from research.sim.flow.player import Player
from research.sim.lines import Line

ANSWERED = ("stale_snapshot", "empty_snapshot")
"""Faults of requests that are answered all the same."""
LIMITS = {"um": 2400, "spot": 6000, "linear": 1 << 30}
"""Weight of requests a minute."""


class FlowExchange(Exchange):
    """Order books, best levels and trades out of a recording, as the venue sent them.

    Parameters
    ----------
    recording : Recording
        Of one venue and market: ``binance`` ``um`` or ``spot``, or ``bybit`` ``linear``.
    speed : float
        Seconds of the recording per real second; infinite: as fast as clients take it.
    faults : iterable of Fault or dict
        What goes wrong, see `research.sim.flow.faults`.
    seed : int
        Of the faults.
    port : int
        0 takes a free one.
    wait_for : int
        Connections that must have asked for a stream before the recording begins.
    live : bool
        Whether all times are moved so that the recording happens now.
    weight_limit : int or None
        Weight of requests a minute before 429; None: the venue's own.
    log : Path or None
        A file that gets everything sent, a JSON object a line.
    record : bool
        Whether `log` in memory is kept too: for tests.

    Attributes
    ----------
    port, ca : int, Path
        Where it listens on 127.0.0.1, and the certificate a client must trust.
    log : list of dict
        Everything sent and answered, in order; a ``frame`` when it left, with its connection
        (``line``), stream, text and faults.
    over : asyncio.Event
        Set when everything has been played and sent.

    Raises
    ------
    UserError
        If there is nothing to play, the market is another, or a fault is none of order books.

    Examples
    --------
    Within an event loop::

        async with FlowExchange(market(symbols=1, minutes=1, seed=1).recording) as exchange:
            ...  # every host of the venue is at 127.0.0.1, exchange.port, signed by exchange.ca
    """

    def __init__(
        self,
        recording: Recording,
        *,
        speed: float = math.inf,
        faults: Iterable[Fault | Mapping[str, Any]] = (),
        seed: int = 0,
        port: int = 0,
        wait_for: int = 1,
        live: bool = False,
        weight_limit: int | None = None,
        log: Path | None = None,
        record: bool = True,
    ) -> None:
        if recording.market not in LIMITS:
            known = ", ".join(LIMITS)
            raise UserError(f"Simulated exchange: plays {known}, found {recording.market!r}.")
        self.played = Played(recording)
        self.plan = Plan(book_faults(faults), seed)
        self.lines: dict[str, Any] = {}
        self.player: Any = Player(self.played, speed, self.plan, self.lines, live)
        self.over = self.player.over
        self.port = port
        self.log: list[dict[str, Any]] = []
        self._wait_for = wait_for
        self._weights = Weights(weight_limit or LIMITS[recording.market])
        self._record, self._log_path = record, log
        self._file: IO[bytes] | None = None
        self._count = 0

    def begin(self) -> None:
        """Begin to play, whoever is there."""
        self.player.started.set()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        host, now = request.host.partition(":")[0], self.player.now()
        names = {host, request.path, request.query.get("symbol", "")}
        hits = self.plan.hits(REQUEST, names, bar=0, time=now, final=True)
        hit = hits[0] if hits else None
        if hit is not None and hit.kind not in ANSWERED:
            return await self._fail(request, hit, now)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._line(request)
        return self._answer(request, host, now, hit)

    def _body(self, request: web.Request, host: str, now: int) -> Any:
        path, query = request.path, request.query
        market, now = self.played.market, now + skew(self.plan, now)
        if self.played.venue == "bybit" and host == bybit.REST:
            return self._bybit(path, query, now)
        base = {"um": (binance.UM, "/fapi/v1/"), "spot": (binance.SPOT, "/api/v3/")}.get(market)
        if base is None or host != base[0] or not path.startswith(base[1]):
            raise Refused(404, {"code": -5000, "msg": f"Path {path} invalid"})
        speed = 0.0 if math.isinf(self.player.speed) else self.player.speed
        self._weights.spend(binance.weight(path, query), now, speed)
        return self._binance(path.removeprefix(base[1]), query, now)

    def _binance(self, what: str, query: Query, now: int) -> Any:
        market, symbols = self.played.market, self.played.symbols
        if what in ("ping", "time"):
            return {"serverTime": now // 1000} if what == "time" else {}
        if what == "exchangeInfo":
            digits = {s: self._digits(s) for s in symbols}
            return binance.exchange_info(digits, market, now, self.played.start)
        if what not in ("depth", "aggTrades"):
            raise Refused(404, {"code": -5000, "msg": f"Path {what} invalid"})
        symbol = query.get("symbol", "")
        if symbol not in symbols:
            missing = "Mandatory parameter 'symbol' was not sent."
            raise refuse(-1121, "Invalid symbol.") if symbol else refuse(-1102, missing)
        text = self.player.written(symbol)
        if what == "aggTrades":
            made = self.player.aggregates[symbol]
            return binance.agg_trades(made, query, now, market, *text)
        limit = binance.limit_of(query, market)
        if symbol not in self.player.books:
            raise Refused(503, {"code": -1001, "msg": "Internal error; no book yet."})
        self.player.served.add(symbol)
        return binance.snapshot(self.player.books[symbol], limit, market, now, *text)

    def _digits(self, symbol: str) -> tuple[int, int]:
        return self.played.digits(symbol)

    def _bybit(self, path: str, query: Query, now: int) -> Any:
        symbol = query.get("symbol", "")
        if path == "/v5/market/time":
            made: Any = lambda: {"timeSecond": str(now // 10**6), "timeNano": str(now * 1000)}  # noqa: E731
        elif path == "/v5/market/instruments-info":
            digits = {s: self._digits(s) for s in self.played.symbols}
            made = partial(bybit.instruments, digits, query, self.played.start)
        elif path == "/v5/market/orderbook":
            known = symbol in self.played.symbols and query.get("category") == "linear"
            text = self.player.written(symbol) if known else (str, str)
            book = self.player.books.get(symbol) if known else None
            made = partial(bybit.orderbook, book, query, now, *text)
        else:
            raise Refused(404, {"retCode": 404, "retMsg": f"Path {path} invalid"})
        return bybit.answer(made, now)

    def _answer(self, request: web.Request, host: str, now: int, hit: Fault | None) -> web.Response:
        if hit is None:
            return super()._answer(request, host, now, None)
        try:
            body = self._body(request, host, now)
        except Refused:
            return super()._answer(request, host, now, None)
        if hit.kind == "stale_snapshot" and "lastUpdateId" in body:
            body["lastUpdateId"] -= int(hit.args.get("ids", 1_000_000))
        if hit.kind == "empty_snapshot":
            body |= {"bids": [], "asks": []}
        self._tell("request", path=request.path_qs, status=200, host=host, faults=(hit.kind,))
        return web.json_response(body)

    async def _line(self, request: web.Request) -> web.StreamResponse:
        """Take a connection to a stream."""
        host = request.host.partition(":")[0]
        linear = self.played.venue == "bybit"
        here = bybit.STREAM if linear else binance.STREAMS[self.played.market]
        if host != here or (linear and request.path != bybit.PATH):
            return web.Response(status=404)
        self._count += 1
        line = FlowLine(str(self._count), request, self.player.now(), self._tell)
        self._tell("open", line=line.name, host=host, path=request.path_qs)
        self.lines[line.name] = line
        if not linear:
            opened(line, request.query.get("streams", ""))
        self._changed()
        try:
            return await line.run(self._heard)
        finally:
            del self.lines[line.name]
            self.player.ask()
            self._tell("gone", line=line.name, count=line.count)

    def _heard(self, line: Line, text: str) -> None:
        if self.played.venue != "bybit":
            hear(line, text)
        else:
            known = partial(bybit.known, symbols=self.played.symbols)
            for topic in bybit.hear(line, text, known):
                self.player.subscribed(line, topic)
        self._changed()

    def _changed(self) -> None:
        self.player.ask()
        if sum(bool(line.streams) for line in self.lines.values()) >= self._wait_for:
            self.begin()
