"""A venue that is asked after each close: nothing is streamed, all that is known is an answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from research.errors import UserError
from research.live.clock import Clock
from research.live.feed.asking import Asker
from research.live.feed.assembly import Assembly, Note
from research.live.feed.limits import Limits
from research.live.feed.records import Bad, Venue
from research.live.feed.waiting import end, first
from research.live.moments import Moment
from research.live.net import Network

if TYPE_CHECKING:
    import polars as pl

_NOTES_A_MINUTE = 30
_POLL = 0.02
_MEASURE = 30.0
_REVISED = 5
"""Bars behind the one that is due which are asked for again, to see whether they were changed."""


class PolledFeed:
    """Bars of one venue by REST.

    A bar is taken when the venue's answer shows a later one: then it is over by the venue's own
    reckoning. One that has not come is asked for until it has, with growing pauses.

    Parameters
    ----------
    venue : Venue
        One whose answers end with the candle that is open.
    network, clock
        How it is reached, and market time.
    symbols : list of str
        As the venue writes them.
    interval : int
        Length of a bar, microseconds.
    delay_us : int
        After a close, market microseconds, when it is asked for.
    stale_us : int
        Market microseconds beyond a close after which a symbol without an answer is stale.
    note : callable
        Told what happens beside bars: a kind and a body.
    limits : Limits
        In real seconds.
    """

    def __init__(
        self,
        venue: Venue,
        network: Network,
        clock: Clock,
        symbols: list[str],
        interval: int,
        *,
        delay_us: int,
        stale_us: int,
        note: Note,
        limits: Limits,
    ) -> None:
        self._clock, self._interval, self._delay = clock, interval, delay_us
        self._note, self._venue, self._stale_us, self._limits = note, venue, stale_us, limits
        self._assembly = Assembly(symbols, interval, note)
        self._asker = Asker(
            venue,
            network,
            clock,
            self._assembly,
            deadline_us=delay_us,
            note=self._told_bad,
            tell=note,
            limits=limits,
        )
        self._begun = 0
        self._answers, self._rejected = Counter[str](), Counter[str]()
        self._last: dict[str, int] = {}
        self._silent: set[str] = set()
        self._bad: deque[float] = deque(maxlen=_NOTES_A_MINUTE)
        self._untold: list[dict[str, Any]] = []
        self._measuring: asyncio.Task[None] | None = None

    async def history(self, start_us: int, end_us: int) -> pl.DataFrame:
        """Return the closed bars with ``start_us < time <= end_us`` that the venue still has.

        What lies before them is told as a ``gap`` of each symbol, when `moments` begins.

        Raises
        ------
        UserError
            If the venue does not know a symbol, or does not answer.
        """
        import polars as pl

        found = await self._asker.history(start_us, end_us)
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

    async def moments(self, after_us: int) -> AsyncIterator[Moment]:
        """Yield each close after `after_us`, in order, once; missed ones first, then live.

        A close at which the venue has no bar of any symbol is passed over with its ``gap`` notes.
        """
        self._start(after_us)
        while True:
            await self._gather()
            moment = self._assembly.take(self._clock.now())
            if moment.bars:
                yield moment
            else:
                await self._clock.ack(moment.time)  # nobody else will

    def checks(self) -> dict[str, int]:
        """Return nothing: there are no trades to compare bars with."""
        return {}

    def health(self) -> list[dict[str, Any]]:
        """Return a row for each symbol and one for REST; for their skew see `VenueFeed.health`."""
        skew, host = self._asker.skew, self._asker.host
        both = {"skew_us": skew.sure, "skew_error_us": skew.error, "reconnects": 0}
        rows = [
            {
                "name": f"ohlc {symbol}",
                "state": self._state(symbol),
                "last_us": self._last.get(symbol),
                "messages": self._answers[symbol],
                "rejected": self._rejected[f"rest {symbol}"],
                "route": self._venue.base,
                **both,
            }
            for symbol in self._assembly.symbols
        ]
        state = "quiet" if host.quiet else "failing" if host.why else "live"
        rest = {"name": "rest", "state": state, "last_us": host.last_us or None, "rejected": 0}
        rest |= {"messages": host.requests, "route": self._venue.base, "why": host.why}
        return [*rows, rest | both]

    def _state(self, symbol: str) -> str:
        if symbol in self._silent and symbol in self._assembly.missing():
            return "stale"
        return "live" if symbol in self._last else "connecting"

    async def close(self) -> None:
        """End what is going on."""
        if self._measuring is not None:
            await end([self._measuring])
            self._measuring = None

    def _start(self, after_us: int) -> None:
        if self._measuring is not None:
            raise UserError(f"{self._venue.name}: moments of a feed are read once. Open another.")
        self._begun = after_us - after_us % self._interval + self._interval
        self._assembly.begin(self._begun)
        self._measuring = asyncio.create_task(self._measure(), name="venue time")
        for body in self._untold:
            self._note("gap", body)
        self._untold.clear()

    async def _measure(self) -> None:
        while True:
            await self._asker.measure()
            await asyncio.sleep(_MEASURE)

    async def _gather(self) -> None:
        """Return when the moment that is due is complete."""
        if self._assembly.complete.is_set():
            return
        due = self._assembly.due
        await self._late(due + self._delay)
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
        again = min(_REVISED, (due - self._begun) // self._interval)
        await self._asker.confirm(symbol, again)
        self._answers[symbol] += 1
        self._last[symbol] = self._clock.now()

    async def _watch(self, due: int) -> None:
        """Say once which symbols have no answer long after their close."""
        await self._late(due + self._delay + self._stale_us)
        self._silent = set(self._assembly.missing())
        for symbol in sorted(self._silent):
            body = {"stream": f"ohlc {symbol}", "symbol": symbol, "last": self._last.get(symbol)}
            self._note("stale", body)
        await asyncio.Event().wait()

    async def _late(self, moment: int) -> None:
        """Return when `moment` is past by our clock or the venue's, whichever is ahead."""
        while self._asker.latest() < moment:
            await asyncio.sleep(_POLL)

    def _told_bad(self, bad: Bad) -> None:
        """Note a bad record, but not more than a few a minute: a broken venue sends thousands."""
        now = time.monotonic()
        self._rejected[bad.stream] += 1
        if len(self._bad) < _NOTES_A_MINUTE or now - self._bad[0] > 60:
            self._bad.append(now)
            self._note("rejected", bad._asdict())
