"""Plays the market: at each moment the frames of that moment, to all who asked for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from heapq import heappop, heappush
from typing import NamedTuple

from research.sim import binance_rest, binance_ws, bybit
from research.sim.clock import Clock
from research.sim.faults import BAR_NUMBERS_BELOW, Fault, Plan
from research.sim.lines import Line
from research.sim.market import MINUTE, Market
from research.sim.prints import Candle, Print
from research.sim.wire import Frame, payload, value

FOR_GOOD = 1 << 40
DAY = 1440 * MINUTE


def withhold(market: Market, plan: Plan) -> None:
    """Hide the bars of a plan's gaps.

    ``length`` bars from `at` (1 if unsaid) come with no stream, and with REST only ``bars`` bars
    later (never if unsaid).
    """
    for fault in plan.of("gap"):
        number = _number(market, fault)
        for place in range(number, min(number + fault.args.get("length", 1), len(market.played))):
            later = place + fault.args.get("bars", FOR_GOOD)
            shown = market.played[later] if later < len(market.played) else None
            for symbol in market.symbols:
                if fnmatchcase(symbol, fault.target):
                    market.withheld[symbol, market.played[place]] = shown


def _number(market: Market, fault: Fault) -> int:
    at = fault.at or 0
    return at if at < BAR_NUMBERS_BELOW else market.number(at - 1) + 1


def required(market: Market, interval: int) -> list[int]:
    """Return the closes on the grid of `interval` at which a bar of any symbol can be seen."""
    seen = {
        candle.close_time + -candle.close_time % interval
        for symbol in market.symbols
        for candle in market.series(symbol).candles
        if candle.close_time > market.start
        and not market.hidden(symbol, candle.close_time, candle.close_time)
    }
    return [close for close in sorted(seen) if close <= market.played[-1]]


def skew(market: Market, plan: Plan, now: int) -> int:
    """Return by how much the venue's clock is off at `now`, microseconds."""
    bar, off = market.number(now), 0
    for fault in plan.of("skew"):
        first = _number(market, fault)
        if first <= bar < first + fault.args.get("bars", FOR_GOOD):
            off += int(fault.args.get("us", 0))
    return off


class Happening(NamedTuple):
    """What is due at one moment within a bar."""

    moment: int
    prints: list[tuple[str, Print]]
    tick: bool
    """Whether forming bars are told."""


class Player:
    """Goes through the played bars, as fast as the clock lets it.

    Parameters
    ----------
    market, clock, plan : Market, Clock, Plan
        What is played, when, and what goes wrong with it.
    lines : set of Line
        Connections; the owner adds and removes them.
    partials : int
        Frames of the forming bar between its open and its close.
    """

    def __init__(
        self, market: Market, clock: Clock, plan: Plan, lines: dict[str, Line], partials: int
    ) -> None:
        self.moment = market.start
        self.asked = 0
        self._market, self._clock, self._plan, self._lines = market, clock, plan, lines
        self._ticks = [k / (partials + 1) for k in range(1, partials + 1)]
        self._late: list[tuple[int, int, Callable[[], None]]] = []
        """What a fault delays: moment, order, what to do."""
        self._count = 0

    def ask(self) -> None:
        """Say that what is subscribed has changed."""
        self.asked += 1
        self._clock.wake()

    async def play(self) -> None:
        """Play to the end."""
        for close in self._market.played:
            await self._inside(close)
            self.moment = close
            self._books(close)
            self._klines(close)
            for line in self._lines.values():
                if line.host == binance_ws.HOST:
                    binance_ws.tick(line, close)
            self._clock.published(close)
        await self._reach(self._market.played[-1] + DAY, lambda: False)

    async def _inside(self, close: int) -> None:
        """Play what happens while the bar closing at `close` is open."""
        begun = close - self._market.interval
        done = begun - 1
        while not await self._through(begun, close, done):
            done = max(done, self._clock.now())

    async def _through(self, begun: int, close: int, done: int) -> bool:
        """Play what is due after `done`; return False as soon as somebody asks for more."""
        asked = self.asked

        def stop() -> bool:
            return self.asked != asked

        for happening in self._moments(begun, close, done):
            if not await self._reach(happening.moment, stop):
                return False
            self.moment = happening.moment
            self._happen(happening)
        return await self._reach(close, stop)

    async def _reach(self, moment: int, stop: Callable[[], bool]) -> bool:
        """Wait for `moment`, doing on the way what was delayed; return False if stopped."""
        while self._late and self._late[0][0] <= moment:
            if not await self._clock.wait(self._late[0][0], stop):
                return False
            self.moment, _, action = heappop(self._late)
            action()
        return await self._clock.wait(moment, stop)

    def _moments(self, begun: int, close: int, done: int) -> list[Happening]:
        """Return what is due after `done`, in order."""
        ticks: set[int] = set()
        if any(channel == "kline" for _, _, channel in self._wanted()):
            ticks = {begun + int(part * (close - begun)) // 1000 * 1000 for part in self._ticks}
        at: dict[int, list[tuple[str, Print]]] = {moment: [] for moment in ticks}
        for symbol in sorted({s for _, s, channel in self._wanted() if channel != "kline"}):
            for made in self._market.trades(symbol, begun, close - 1, now=close - 1, most=1 << 30):
                at.setdefault(made.time, []).append((symbol, made))
        return [Happening(m, at[m], m in ticks) for m in sorted(at) if m > done]

    def _happen(self, now: Happening) -> None:
        bar = self._market.number(now.moment) + 1
        for symbol, one in now.prints:
            self._publish(binance_ws.agg_trade(one, symbol, bar))
            self._publish(binance_ws.book_ticker(one, symbol, bar))
            self._publish(bybit.trade(one, symbol, bar))
            self._book(symbol, one.price, now.moment, bar)
        if now.tick:
            self._klines(now.moment)

    def _books(self, moment: int) -> None:
        """Publish the books as they stand when the bars close: the next ones open with them."""
        for _, symbol, channel in self._wanted():
            if channel == "book" and symbol in self._market.symbols:
                price = binance_rest.price(self._market, symbol, moment)
                self._book(symbol, price, moment, self._market.number(moment))

    def _book(self, symbol: str, price: float, moment: int, bar: int) -> None:
        stream = f"{symbol.lower()}@{binance_ws.BOOK}"
        if any(stream in line.streams for line in self._lines.values()):
            levels = self._market.book(symbol, price, moment)
            self._publish(binance_ws.depth(levels, symbol, time=moment, bar=bar))

    def _klines(self, moment: int) -> None:
        """Publish the forming bars, and those that close at `moment`."""
        off = skew(self._market, self._plan, moment)
        for stream, symbol, channel in self._wanted():
            if channel == "kline":
                self._kline(stream, symbol, moment, off)

    def _kline(self, stream: str, symbol: str, moment: int, off: int) -> None:
        ours = "@" in stream
        name = stream.partition("@kline_")[2] if ours else stream.split(".")[1]
        minutes = (binance_ws.INTERVALS if ours else bybit.INTERVALS).get(name)
        if symbol not in self._market.symbols or minutes is None:
            return
        interval = minutes * MINUTE
        if interval % self._market.interval:
            return
        final = moment % interval == 0
        find: Callable[..., Candle | None] = self._market.closed if final else self._market.forming
        if (candle := find(symbol, moment, interval)) is None:
            return
        bar = self._market.number(moment) + (
            moment != self._market.played[self._market.number(moment)]
        )
        make = binance_ws.kline if ours else bybit.kline
        frame = make(candle, symbol, name, time=moment + off, bar=bar, final=final)
        self._publish(frame._replace(time=moment))

    def _wanted(self) -> Iterator[tuple[str, str, str]]:
        """Yield every stream that somebody asked for, its symbol and channel."""
        for stream in sorted({s for line in self._lines.values() for s in line.streams}):
            if "@" in stream:
                symbol, _, rest = stream.partition("@")
                channel = "kline" if rest.startswith("kline") else "trade"
                channel = "book" if rest == binance_ws.BOOK else channel
                yield stream, symbol.upper(), channel
            elif stream.startswith("kline."):
                yield stream, stream.split(".")[2], "kline"
            elif "." in stream:
                yield stream, stream.split(".")[1], "trade"

    def _publish(self, frame: Frame) -> None:
        ours = frame.host == binance_ws.HOST
        takes = binance_ws.takes if ours else bybit.takes
        lines = [line for line in self._lines.values() if takes(line, frame.stream)]
        if not lines:
            return
        key = f"{frame.stream}|{frame.time}"
        names, final = frame.names, frame.final
        hits = self._plan.hits("frame", names, bar=frame.bar, time=frame.time, final=final, key=key)
        self._remember(frame, hits)
        for line in lines:
            wrap = binance_ws.wrap(line, frame.stream) if ours else bybit.wrap
            for delay, action in line.deliver(frame, wrap, hits, self._plan):
                self._count += 1
                heappush(self._late, (frame.time + delay, self._count, action))

    def _remember(self, frame: Frame, hits: list[Fault]) -> None:
        """Let REST give a revised close from now on, where the plan wants that."""
        for fault in hits:
            if fault.kind == "revised" and fault.args.get("rest"):
                close = value(frame.body, "close") * (1 + fault.args.get("bps", 5) / 10_000)
                end = payload(frame.body).get("T") or payload(frame.body)["end"]
                self._market.revised[frame.symbol, (end + 1) * 1000] = close
