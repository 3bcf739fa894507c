"""Plays a recording: each thing when it is due, to all who asked for it, and to books for REST."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from heapq import heappop, heappush
from time import monotonic, time
from typing import Any

from research.sim import binance_ws
from research.sim.clock import Clock
from research.sim.faults import FRAME, Plan
from research.sim.flow import binance, bybit
from research.sim.flow.books import Book, View
from research.sim.flow.faults import skew
from research.sim.flow.lines import FlowLine
from research.sim.flow.played import Depth, Item, Played, Quote, Trade
from research.sim.wire import Frame, text_of

FULL = 4096
"""Frames a connection may be behind before a recording played at full speed waits for it."""
PATIENCE = 2.0
"""Real seconds that it waits for one that takes nothing."""
LEAD = 1_000_000
"""Microseconds played before a fast recording waits for those who will ask for a snapshot."""
SLOW = 20.0
"""Times real time at which nobody needs waiting for."""
ASKING = 5.0
"""Real seconds that it waits at most."""
Text = Callable[[float], str]


class Player:
    """Goes through a recording.

    Parameters
    ----------
    played : Played
        What is played.
    speed : float
        Seconds of the recording per real second; infinite: as fast as clients take it.
    plan : Plan
        What goes wrong.
    lines : dict of str to FlowLine
        Connections; the owner adds and removes them.
    live : bool
        Whether its times are moved, so that it happens now.
    """

    def __init__(
        self, played: Played, speed: float, plan: Plan, lines: dict[str, FlowLine], live: bool
    ) -> None:
        self.played, self.speed, self.lines = played, speed, lines
        self.started, self.over = asyncio.Event(), asyncio.Event()
        self.served: set[str] = set()
        """Symbols whose snapshot somebody got."""
        self.aggregates: dict[str, list[Trade]] = defaultdict(list)
        self.books: dict[str, Book] = {}
        self.clock: Clock | None = None
        self._plan, self._live = plan, live
        self._views: dict[str, View] = {}
        self._numbers: dict[str, int] = defaultdict(int)
        self._late: list[tuple[int, int, Callable[[], None]]] = []
        self._wanted: dict[tuple[str, str], list[tuple[FlowLine, str]]] | None = None
        self._text = {s: self._written(s) for s in played.symbols}
        self._hopeless: set[str] = set()
        self._skewed = bool(plan.of("skew"))
        self._ready()

    @property
    def bybit(self) -> bool:
        """Whether it speaks as Bybit does."""
        return self.played.venue == "bybit"

    def now(self) -> int:
        """Return the venue's time, microseconds UTC."""
        if self.clock is None:
            return _real() if self._live else self.moment
        return self.moment if math.isinf(self.speed) else self.clock.now()

    def ask(self) -> None:
        """Say that what is subscribed has changed."""
        self._wanted = None

    def written(self, symbol: str) -> tuple[Text, Text]:
        """Return how a symbol's prices and quantities are written."""
        return self._text[symbol]

    async def play(self) -> None:
        """Play to the end, once started."""
        await self.started.wait()
        self._ready()
        clock = Clock(self.played.start, [self.played.end], speed=self.speed, grace=0)
        self.clock = clock
        clock.join(self)
        gate = self.speed > SLOW and not self.bybit
        for count, item in enumerate(self.played.items()):
            if gate and item.due > self.played.start + LEAD:
                gate = await self._asked_for()
            if item.due > self.moment:
                await self._reach(item.due)
            self._happen(item)
            if count % 64 == 0:
                await self._breathe()
        await self._reach(self.played.end + 1)
        while self._late:
            heappop(self._late)[2]()
        await self._breathe(1)
        self.over.set()

    def _ready(self) -> None:
        """Begin with the books the recording first tells of, at their time or now."""
        if self._live:
            self.played.shift((_real() - self.played.start) // 1000 * 1000)
        self.moment = self.played.start
        self.books.update({s: Book(first) for s, first in self.played.snapshots().items()})

    def _written(self, symbol: str) -> tuple[Text, Text]:
        spot = self.played.market == "spot"
        digits = (8, 8) if spot else self.played.digits(symbol)
        price, quantity = (f"{{:.{d}f}}".format for d in digits)
        return price, quantity

    async def _asked_for(self) -> bool:
        """Wait until who asked for differences asked for the book; at most a moment."""
        wanted = {symbol for symbol, channel in self._index() if channel == "depth"}
        until = monotonic() + ASKING
        while not wanted <= self.served and monotonic() < until:
            await asyncio.sleep(0.005)
        return False

    async def _reach(self, moment: int) -> None:
        """Wait for `moment`, doing on the way what was delayed."""
        while self._late and self._late[0][0] <= moment:
            due, _, action = heappop(self._late)
            await self._wait(due)
            action()
        await self._wait(moment)

    async def _wait(self, moment: int) -> None:
        if self.clock is not None and self.clock.now() < moment:
            await self.clock.wait(moment)
        self.moment = max(self.moment, moment)

    async def _breathe(self, full: int | None = None) -> None:
        """Let others run; at full speed, also let them keep up."""
        await asyncio.sleep(0)
        for line in [line for line in self.lines.values() if not line.muted]:
            if not self.bybit:
                binance_ws.tick(line, self.moment)
            if math.isinf(self.speed) and line.name not in self._hopeless:
                await self._kept_up(line, full or FULL)

    async def _kept_up(self, line: FlowLine, full: int) -> None:
        """Wait for a connection that is behind, as long as it takes anything at all."""
        until, least = monotonic() + PATIENCE, line.behind
        while line.behind >= full and not line.muted:
            if line.behind < least:
                until, least = monotonic() + PATIENCE, line.behind
            elif monotonic() > until:
                self._hopeless.add(line.name)
                return
            await asyncio.sleep(0.001)

    def _happen(self, item: Item) -> None:
        if self._skewed and (off := skew(self._plan, item.due)):
            told = {name: getattr(item, name) for name in ("sent", "time")}
            item = item._replace(**{name: t + off for name, t in told.items() if t is not None})
        if isinstance(item, Depth):
            self._depth(item)
        elif isinstance(item, Quote):
            self._quote(item)
        else:
            self._trade(item)

    def _depth(self, item: Depth) -> None:
        held = self.books.get(item.symbol)
        if held is None:
            self.books[item.symbol] = Book(item)
        elif item.kind != "update" and item == held.last:
            return  # what everybody began with
        else:
            held.take(item, anew=self.bybit and item.kind != "update")
        if self.bybit:
            self._topics(item)
            return
        if item.kind == "update":
            text = self._text[item.symbol]
            body = partial(binance.depth, item, self.played.market, *text)
            self._publish(item, "depth", body)
        if item.kind != "snapshot":
            self._partials(item)

    def _partials(self, item: Depth) -> None:
        book, market = self.books[item.symbol], self.played.market
        for channel in binance.PARTIALS:
            levels = int(channel.removeprefix("depth"))
            text = self._text[item.symbol]
            self._publish(
                item, channel, partial(binance.partial, book, item, levels, market, *text)
            )

    def _topics(self, item: Depth) -> None:
        """Tell what changed in each view of a book; where it begins anew, the whole view."""
        for depth in bybit.DEPTHS[self.played.has_quotes :]:
            topic = f"orderbook.{depth}.{item.symbol}"
            view = self._views.get(topic)
            if view is None or not self._index().get((item.symbol, f"orderbook.{depth}")):
                continue
            sides, anew = view.changes(self.books[item.symbol]), item.kind != "update"
            if not (anew or sides[1] or sides[-1]):
                continue
            view.update_id = 1 if anew and item.last_id == 1 else view.update_id + 1
            whole = anew or depth == 1
            kind, told = ("snapshot", view.whole()) if whole else ("delta", sides)
            text = self._text[item.symbol]
            body = partial(bybit.book, topic, kind, told, item, view.update_id, *text)
            self._publish(item, f"orderbook.{depth}", body)

    def subscribed(self, line: FlowLine, topic: str) -> None:
        """Send the view that a new topic of Bybit's begins with."""
        symbol, name = bybit.channel(topic)
        held = self.books.get(symbol)
        if held is None or not name.startswith("orderbook."):
            return
        if name == "orderbook.1" and self.played.has_quotes:
            return
        view = self._views.get(topic)
        idle = view is None or not self._index().get((symbol, name))
        if view is None:
            view = self._views[topic] = View(int(name.removeprefix("orderbook.")))
        if idle:
            view.changes(held)
            view.update_id = max(view.update_id + 1, held.last.last_id)
        text = self._text[symbol]
        body = bybit.book(topic, "snapshot", view.whole(), held.last, view.update_id, *text)
        line.send(text_of(body), topic)

    def _quote(self, item: Quote) -> None:
        text = self._text[item.symbol]
        if self.bybit:
            body = partial(bybit.best, f"orderbook.1.{item.symbol}", item, *text)
            self._publish(item, "orderbook.1", body)
        else:
            body = partial(binance.quote, item, self.played.market, *text)
            self._publish(item, "bookTicker", body)

    def _trade(self, item: Trade) -> None:
        text, market = self._text[item.symbol], self.played.market
        if self.bybit:
            body = partial(bybit.trades, f"publicTrade.{item.symbol}", item, *text)
            self._publish(item, "publicTrade", body)
            return
        self._publish(item, "trade", partial(binance.trade, item, market, *text))
        if item.whole:
            self.aggregates[item.symbol].append(item)
            self._publish(item, "aggTrade", partial(binance.agg_trade, item, market, *text))

    def _index(self) -> dict[tuple[str, str], list[tuple[FlowLine, str]]]:
        """Return who gets what: connections and stream names by symbol and channel."""
        if self._wanted is None:
            self._wanted = defaultdict(list)
            for line in self.lines.values():
                for stream in line.streams:
                    if self.bybit:
                        self._wanted[bybit.channel(stream)].append((line, stream))
                    elif binance.served(line, stream, self.played.market):
                        self._wanted[binance.channel(stream)].append((line, stream))
        return self._wanted

    def _publish(self, item: Item, channel: str, made: Callable[[], dict[str, Any]]) -> None:
        takers = self._index().get((item.symbol, channel))
        if not takers:
            return
        body = made()
        if self._plan.faults:
            self._spoiled(item, channel, body, takers)
            return
        text = text_of(body)
        for line, stream in takers:
            line.send(_wrapped(text, stream) if self._combined(line) else text, stream)

    def _combined(self, line: FlowLine) -> bool:
        return not self.bybit and binance_ws.combined(line)

    def _spoiled(
        self, item: Item, channel: str, body: dict[str, Any], takers: list[tuple[FlowLine, str]]
    ) -> None:
        """Send a frame as its faults leave it."""
        for stream, lines in _by_stream(takers):
            number = self._numbers[stream]
            self._numbers[stream] += 1
            frame = Frame(lines[0].host, stream, item.symbol, channel, body, item.due, number, True)
            key = f"{stream}|{number}"
            hits = self._plan.hits(
                FRAME, frame.names, bar=number, time=item.due, final=True, key=key
            )
            for line in lines:
                mine = [f for f in hits if str(f.args.get("line", line.name)) == line.name]
                wrap = binance_ws.wrap(line, stream) if not self.bybit else _as_it_is
                for delay, action in line.deliver(frame, wrap, mine, self._plan):
                    heappush(self._late, (item.due + delay, number, action))


def _by_stream(takers: list[tuple[FlowLine, str]]) -> Iterator[tuple[str, list[FlowLine]]]:
    for stream in dict.fromkeys(stream for _, stream in takers):
        yield stream, [line for line, name in takers if name == stream]


def _as_it_is(body: dict[str, Any]) -> Any:
    return body


def _wrapped(text: str, stream: str) -> str:
    return f'{{"stream":"{stream}","data":{text}}}'


def _real() -> int:
    return int(time() * 1_000_000)
