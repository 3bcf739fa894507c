"""The venue's klines against bars made of its trades, where both are streamed."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from research.live.feed.assembly import Note
from research.live.feed.prints import Building, add, differences
from research.live.feed.records import Print, Unfit, Venue
from research.live.feed.rest import Host, Refused, Unanswered
from research.live.feed.waiting import end
from research.live.moments import Bar

_WAITING = 20_000
_KEPT = 8


class PrintCheck:
    """Builds bars of trades, fills holes in their ids by REST, and notes where klines differ.

    Nothing waits for it: a bar that cannot be checked in time is not checked.

    Parameters
    ----------
    venue : Venue
        One that has trades; of another none ever come.
    host : Host
        Asked for the trades of a hole.
    interval : int
        Length of a bar, microseconds.
    note : callable
        Told ``mismatch``, with the kline, the built bar and the fields that differ.
    """

    def __init__(self, venue: Venue, host: Host, interval: int, note: Note) -> None:
        self._venue, self._host, self._interval, self._note = venue, host, interval, note
        self._state: dict[str, Building] = {}
        self._waiting: dict[str, deque[Print]] = {}
        self._filling: dict[str, asyncio.Task[None]] = {}
        self._built: dict[str, dict[int, Bar]] = {}
        self._klines: dict[str, dict[int, Bar]] = {}
        self.checked = 0
        """Klines compared."""

    def trade(self, trade: Print) -> None:
        """Take a trade; one behind a hole waits until REST has filled it."""
        state = self._state.get(trade.symbol)
        if trade.symbol in self._filling:
            self._waiting[trade.symbol].append(trade)
        elif state is not None and trade.id > state.next_id:
            self._waiting[trade.symbol] = deque([trade], maxlen=_WAITING)
            task = asyncio.create_task(self._fill(trade.symbol, state.next_id, trade.id))
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
        state, closed = add(self._state.get(trade.symbol), trade, self._interval)
        self._state[trade.symbol] = state
        if closed is not None:
            self._keep(self._built, closed)
            self._compare(closed.symbol, closed.open_time)

    async def _fill(self, symbol: str, first: int, until: int) -> None:
        try:
            for trade in await self._asked(symbol, first, until):
                self._add(trade)
        except (Unanswered, Refused, Unfit):
            pass  # the hole stays, and with it the bars it touches are not whole
        finally:
            del self._filling[symbol]
        for trade in self._waiting.pop(symbol):
            self._add(trade)

    async def _asked(self, symbol: str, first: int, until: int) -> list[Print]:
        found: list[Print] = []
        venue: Any = self._venue
        while first < until:
            page = venue.told_prints(await self._host.get(venue.prints(symbol, first)), symbol)
            found += [trade for trade in page if first <= trade.id < until]
            if not page or page[-1].id < first:
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
        self.checked += 1
        if fields := differences(kline, built):
            body = {"symbol": symbol, "time": opened + self._interval, "fields": fields}
            self._note("mismatch", body | {"kline": kline._asdict(), "prints": built._asdict()})
