"""The venue's klines against bars made of its trades, where both are streamed.

Trades become bars of one second, those the study's bars. What is traded is the kline, whatever
this finds: a difference is told, never repaired. (A venue's klines may count what its trades leave
out: on Binance liquidations and trades of the insurance fund are in no aggregate trade.)
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from research.live.feed.assembly import Note
from research.live.feed.prints import (
    SECOND,
    Building,
    Gathering,
    add,
    differences,
    gather,
    quiet,
)
from research.live.feed.records import Print, Unfit, Venue
from research.live.feed.rest import Host, Refused, Unanswered
from research.live.feed.waiting import end
from research.live.moments import Bar

_WAITING = 20_000
_KEPT = 8
_PAGES = 5


class PrintCheck:
    """Builds bars of trades, fills holes in their ids by REST, and notes where klines differ.

    Nothing waits for it: a bar that cannot be checked in time is not checked. It asks for one page
    at a time, for five of a hole at most, and only with weight that bars do not need.

    Parameters
    ----------
    venue : Venue
        One that has trades; of another none ever come.
    host : Host
        Asked for the trades of a hole.
    interval : int
        Length of a bar, microseconds.
    note : callable
        Told ``trades_disagree``, with the kline, the built bar and the fields that differ, and
        ``trades_missing``, with the ids that a stream left out and whether REST filled them in.

    Attributes
    ----------
    counts : dict
        Klines ``compared``, those that ``disagree``, and trade ids ``missing`` on the streams.
    """

    def __init__(self, venue: Venue, host: Host, interval: int, note: Note) -> None:
        self._venue, self._host, self._interval, self._note = venue, host, interval, note
        self._state: dict[str, Building] = {}
        self._longer: dict[str, Gathering | None] = {}
        self._waiting: dict[str, deque[Print]] = {}
        self._filling: dict[str, asyncio.Task[None]] = {}
        self._asking = asyncio.Lock()  # bars wait for the same few connections
        self._built: dict[str, dict[int, Bar]] = {}
        self._klines: dict[str, dict[int, Bar]] = {}
        self.counts = {"compared": 0, "disagree": 0, "missing": 0}

    def trade(self, trade: Print) -> None:
        """Take a trade; one behind a hole waits until REST has filled it."""
        state = self._state.get(trade.symbol)
        if trade.symbol in self._filling:
            self._waiting[trade.symbol].append(trade)
        elif state is not None and trade.id > state.next_id:
            self._waiting[trade.symbol] = deque(maxlen=_WAITING)
            task = asyncio.create_task(self._fill(trade, state.next_id))
            self._filling[trade.symbol] = task
        else:
            self._add(trade)

    def kline(self, bar: Bar) -> None:
        """Take a closed kline of the stream."""
        self._keep(self._klines, bar)
        self._compare(bar.symbol, bar.open_time)

    async def close(self) -> None:
        """End what is being filled."""
        await end(self._filling.values())

    def _add(self, trade: Print) -> None:
        before = self._state.get(trade.symbol)
        state, closed = add(before, trade, SECOND)
        self._state[trade.symbol] = state
        if before is not None and state.bar.open_time > before.bar.open_time:
            self._second(before.bar, whole=closed is not None, then=state)

    def _second(self, bar: Bar, *, whole: bool, then: Building) -> None:
        """Put a bar of one second into the longer one that it belongs to."""
        symbol, after, step = bar.symbol, then.bar.open_time, self._interval
        longer = self._longer.get(symbol)
        self._longer[symbol], closed = gather(longer, bar, whole=whole, then=after, interval=step)
        if closed is None:
            return
        first = closed.open_time + step
        empty = range(first, after - after % step, step) if then.whole else range(0)
        for made in (closed, *(quiet(closed, opened) for opened in empty[-_KEPT:])):
            self._keep(self._built, made)
            self._compare(symbol, made.open_time)

    async def _fill(self, behind: Print, first: int) -> None:
        """Ask for the trades from id `first` up to the one that came, and go on with those."""
        symbol, until = behind.symbol, behind.id
        made: list[Print] = []
        try:
            made = await self._asked(symbol, first, until)
        except (Unanswered, Refused, Unfit):
            pass  # the hole stays, and with it the bars it touches are not whole
        finally:
            del self._filling[symbol]
        self._missing(behind, first, filled=len(made) == until - first)
        for trade in [*made, behind]:
            self._add(trade)
        for trade in self._waiting.pop(symbol):  # among them there may be another hole
            self.trade(trade)

    def _missing(self, behind: Print, first: int, *, filled: bool) -> None:
        self.counts["missing"] += behind.id - first
        body = {"symbol": behind.symbol, "time": behind.time, "first": first, "filled": filled}
        self._note("trades_missing", {**body, "last": behind.id - 1})

    async def _asked(self, symbol: str, first: int, until: int) -> list[Print]:
        found: list[Print] = []
        venue: Any = self._venue
        for _ in range(_PAGES):
            async with self._asking:
                told = await self._host.get(venue.prints(symbol, first), spare=True)
            page = venue.told_prints(told, symbol)
            found += [trade for trade in page if first <= trade.id < until]
            if not page or not first <= page[-1].id < until - 1:
                break
            first = page[-1].id + 1
        return found

    def _keep(self, where: dict[str, dict[int, Bar]], bar: Bar) -> None:
        bars = where.setdefault(bar.symbol, {})
        bars[bar.open_time] = bar
        while len(bars) > _KEPT:
            del bars[next(iter(bars))]

    def _compare(self, symbol: str, opened: int) -> None:
        kline = self._klines.get(symbol, {}).get(opened)
        built = self._built.get(symbol, {}).get(opened)
        if kline is None or built is None:
            return
        self.counts["compared"] += 1
        if fields := differences(kline, built):
            self.counts["disagree"] += 1
            body = {"symbol": symbol, "time": opened + self._interval, "fields": fields}
            both = {"kline": kline._asdict(), "trades": built._asdict()}
            self._note("trades_disagree", body | both)
