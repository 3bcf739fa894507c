"""A venue that is asked after each close: nothing is streamed, all that is known is an answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from research.live.feed.records import Venue
from research.live.feed.venue_feed import POLL, VenueFeed, Wanted
from research.live.feed.waiting import end, first

if TYPE_CHECKING:
    import polars as pl

_MEASURE = 30.0
_REVISED = 5
"""Bars behind the one that is due which are asked for again, to see whether they were changed."""


class PolledFeed(VenueFeed):
    """Bars of one venue by REST.

    A bar is taken when the venue's answer shows a later one: then it is over by the venue's own
    reckoning. One that has not come is asked for until it has, with growing pauses.

    Parameters
    ----------
    venue : Venue
        One whose answers end with the candle that is open.
    wanted : Wanted
        Every bar is asked for at its deadline; a symbol without an answer long after it is stale.
    """

    def __init__(self, venue: Venue, wanted: Wanted) -> None:
        super().__init__(venue, wanted, measure=_MEASURE)
        self._stale_us, self._first = wanted.stale_us, 0
        self._answers, self._last = Counter[str](), dict[str, int]()
        self._silent: set[str] = set()
        self._untold: list[dict[str, Any]] = []

    async def history(self, start_us: int, end_us: int) -> pl.DataFrame:
        """Return the closed bars with ``start_us < time <= end_us`` that the venue still has.

        What lies before them is told as a ``gap`` of each symbol, when `moments` begins.

        Raises
        ------
        UserError
            If the venue does not know a symbol, or does not answer.
        """
        import polars as pl

        found = await super().history(start_us, end_us)
        if end_us - start_us >= self._interval:
            first_of = found.group_by("symbol").agg(pl.col("time").min().dt.epoch("us"))
            begins, none = dict(first_of.iter_rows()), end_us + self._interval
            for symbol in self._assembly.symbols:
                self._beyond(symbol, start_us, begins.get(symbol, none))
        return found

    def _beyond(self, symbol: str, start: int, begins: int) -> None:
        missed = (begins - start) // self._interval - 1
        if missed > 0:
            why = f"older than the newest {self._venue.limit} bars, which is all that is told"
            body = {"symbol": symbol, "time": begins - self._interval, "start": start}
            self._untold.append({**body, "bars": missed, "why": why})

    def checks(self) -> dict[str, int]:
        """Return nothing: there are no trades to compare bars with."""
        return {}

    def health(self) -> list[dict[str, Any]]:
        """Return a row for each symbol and one for REST; see `StreamedFeed.health`."""
        rows = [
            {
                "name": f"ohlc {symbol}",
                "state": self._state(symbol),
                "last_us": self._last.get(symbol),
                "messages": self._answers[symbol],
                "reconnects": 0,
                "rejected": self._rejected[f"rest {symbol}"],
                "route": self._venue.base,
                **self._skew(),
            }
            for symbol in self._assembly.symbols
        ]
        return [*rows, self._rest()]

    def _state(self, symbol: str) -> str:
        if symbol in self._silent and symbol in self._assembly.missing():
            return "stale"
        return "live" if symbol in self._last else "connecting"

    def _begun(self) -> list[asyncio.Task[None]]:
        self._first = self._assembly.due
        for body in self._untold:
            self._note("gap", body)
        self._untold.clear()
        return []

    async def _gather(self) -> None:
        due = self._assembly.due
        await self._late(due + self._deadline)
        jobs = [asyncio.create_task(self._ask(s, due)) for s in self._assembly.missing()]
        watch = asyncio.create_task(self._watch(due))
        try:
            while not self._assembly.complete.is_set():
                await first(self._assembly.complete.wait(), tasks=[*jobs, watch])
                for task in [task for task in jobs if task.done()]:
                    task.result()  # a fault of ours must be seen at once
                    jobs.remove(task)
        finally:
            await end([*jobs, watch])
        self._silent.clear()

    async def _ask(self, symbol: str, due: int) -> None:
        """Ask until there is the bar, from a few before it on."""
        again = min(_REVISED, (due - self._first) // self._interval)
        await self._asker.confirm(symbol, again)
        self._answers[symbol] += 1
        self._last[symbol] = self._clock.now()

    async def _watch(self, due: int) -> None:
        """Say once which symbols have no answer long after their close."""
        await self._late(due + self._deadline + self._stale_us)
        self._silent = set(self._assembly.missing())
        for symbol in sorted(self._silent):
            body = {"stream": f"ohlc {symbol}", "symbol": symbol, "last": self._last.get(symbol)}
            self._note("stale", body)
        await asyncio.Event().wait()

    async def _late(self, moment: int) -> None:
        """Return when `moment` is past by our clock or the venue's, whichever is ahead."""
        while self._asker.latest() < moment:
            await asyncio.sleep(POLL)
