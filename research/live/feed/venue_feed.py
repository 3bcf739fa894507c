"""A live venue: streams for speed, REST for certainty, one moment after another out of both."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from research.errors import UserError
from research.live.clock import Clock
from research.live.feed.asking import Asker
from research.live.feed.assembly import Assembly, Note
from research.live.feed.checking import PrintCheck
from research.live.feed.limits import Limits
from research.live.feed.records import Bad, Depth, Event, Print, Seen, Venue
from research.live.feed.shown import Shown
from research.live.feed.stream import Line
from research.live.feed.waiting import end, first
from research.live.moments import Moment
from research.live.net import Network

if TYPE_CHECKING:
    import polars as pl

_NOTES_A_MINUTE = 30
_POLL = 0.02
_BEHIND = 0.25
_MEASURE = 60.0
_AHEAD = 5_000_000


class VenueFeed:
    """Bars of one venue.

    Parameters
    ----------
    venue : Venue
        Its addresses and messages.
    network, clock
        How it is reached, and market time.
    symbols : list of str
        As the venue writes them.
    interval : int
        Length of a bar, microseconds.
    deadline_us : int
        After a close, market microseconds, when a bar that has not come is asked for by REST.
    stale_us : int
        Silence of a stream, market microseconds, that is an alarm.
    note : callable
        Told what happens beside bars: a kind and a body.
    book_delay : int, optional
        After a bar's open, when its book is needed, microseconds; None: books are not.
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
        deadline_us: int,
        stale_us: int,
        note: Note,
        book_delay: int | None,
        limits: Limits,
    ) -> None:
        self._clock, self._interval, self._deadline = clock, interval, deadline_us
        self._note, self._limits, self._venue = note, limits, venue
        self._assembly = Assembly(symbols, interval, note)
        self._asker = Asker(
            venue,
            network,
            clock,
            self._assembly,
            deadline_us=deadline_us,
            note=self._told_bad,
            tell=note,
            limits=limits,
        )
        self._check = PrintCheck(venue, self._asker.host, interval, note)
        self._shown = None if book_delay is None else Shown(interval, book_delay)
        self._lines = [
            Line(
                route, venue, network, clock,
                hear=self._hear, note=note, stale_us=stale_us, limits=limits,
            )
            for route in venue.routes()
        ]  # fmt: skip
        self._heard = 0
        self._bad: deque[float] = deque(maxlen=_NOTES_A_MINUTE)
        self._tasks: list[asyncio.Task[None]] = []

    async def history(self, start_us: int, end_us: int) -> pl.DataFrame:
        """Return the closed bars with ``start_us < time <= end_us``, by REST.

        Returns
        -------
        pl.DataFrame
            `schema.BARS`; a bar the venue does not have is absent.

        Raises
        ------
        UserError
            If the venue does not know a symbol, or does not answer.
        """
        return await self._asker.history(start_us, end_us)

    async def moments(self, after_us: int) -> AsyncIterator[Moment]:
        """Yield each close after `after_us`, in order, once; missed ones by REST, then live.

        A close at which the venue has no bar of any symbol is passed over with its ``gap`` notes.
        """
        self._assembly.begin(after_us - after_us % self._interval + self._interval)
        self._start()
        while True:
            await self._gather()
            moment = self._assembly.take(self._clock.now())
            if moment.bars:
                yield moment if self._shown is None else await self._with_books(moment, self._shown)
            else:
                await self._clock.ack(moment.time)  # nobody else will

    async def _with_books(self, moment: Moment, shown: Shown) -> Moment:
        """Lay the books beside the bars; they come by another connection, which may be behind."""
        bars, until = moment.bars, time.monotonic() + _BEHIND
        while time.monotonic() < until:
            if all(shown.settled(bar.symbol, bar.open_time) for bar in bars):
                break
            await asyncio.sleep(_POLL / 4)
        found = {bar.symbol: shown.at(bar.symbol, bar.open_time) for bar in bars}
        return moment._replace(levels={s: book for s, book in found.items() if book is not None})

    def checks(self) -> dict[str, int]:
        """Return how klines and trades agree, see `PrintCheck`; empty: trades are not streamed."""
        return dict(self._check.counts) if self._venue.traded else {}

    def health(self) -> list[dict[str, Any]]:
        """Return a row for each stream and one for REST.

        `skew_us` is the venue's clock minus ours, less what the measurement's error
        (`skew_error_us`: half of its round trip) can explain.
        """
        skew, host = self._asker.skew, self._asker.host
        both = {"skew_us": skew.sure, "skew_error_us": skew.error}
        rows = [
            {
                "name": s.name,
                "state": s.state,
                "last_us": s.last_us or None,
                "messages": s.messages,
                "reconnects": s.reconnects,
                "rejected": s.rejected,
                "route": line.route.name,
                **both,
            }
            for line in self._lines
            for s in line.streams.values()
        ]
        state = "quiet" if host.quiet else "failing" if host.why else "live"
        rest = {"name": "rest", "state": state, "last_us": host.last_us or None}
        rest |= {"messages": host.requests, "reconnects": 0, "rejected": 0}
        return [*rows, rest | {"route": self._venue.base, "why": host.why} | both]

    async def close(self) -> None:
        """End all connections and tasks."""
        await end(self._tasks)
        self._tasks.clear()
        await self._check.close()

    def _start(self) -> None:
        if self._tasks:
            raise UserError(f"{self._venue.name}: moments of a feed are read once. Open another.")
        self._tasks = [
            asyncio.create_task(line.run(), name=line.route.name) for line in self._lines
        ]
        self._tasks += [asyncio.create_task(self._kick(line)) for line in self._lines]
        self._tasks.append(asyncio.create_task(self._measure(), name="venue time"))

    async def _kick(self, line: Line) -> None:
        """When a connection opens, whoever paused before another REST request need not wait."""
        while True:
            await line.opened.wait()
            self._asker.hurry()

    async def _measure(self) -> None:
        while True:
            await self._asker.measure()
            await asyncio.sleep(_MEASURE)

    async def _gather(self) -> None:
        """Return when the moment that is due is complete."""
        if self._assembly.complete.is_set():
            return
        asking = asyncio.create_task(self._ask_when_late())
        going = {asking, *self._tasks}
        try:
            while not self._assembly.complete.is_set():
                await first(self._assembly.complete.wait(), tasks=going)
                for task in [task for task in going if task.done()]:
                    task.result()  # a fault of ours must be seen at once
                    going.remove(task)
        finally:
            await end([asking])

    async def _ask_when_late(self) -> None:
        await self._late(self._assembly.due)
        await asyncio.sleep(self._limits.grace)
        missing = self._assembly.missing()
        await asyncio.gather(*(self._asker.confirm(symbol) for symbol in missing))

    async def _late(self, due: int) -> None:
        """Return when `due` plus the deadline is past by any of the clocks there are.

        Ours; the venue's, as it tells it when asked and in its messages (ours may have been set
        back); and real seconds, if market time stands still at the close for so long.
        """
        closed = None
        while (now := max(self._asker.latest(), self._heard)) < due + self._deadline:
            if now >= due:
                closed = closed or time.monotonic()
                if time.monotonic() - closed >= self._deadline / 1e6:
                    return
            await asyncio.sleep(_POLL)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Seen):
            self._candle(event)
        elif isinstance(event, Print):
            self._check.trade(event)
        elif isinstance(event, Depth):
            if self._shown is not None:
                self._shown.take(event.symbol, event.levels)
        elif isinstance(event, Bad):
            self._told_bad(event)

    def _candle(self, seen: Seen) -> None:
        close = seen.open_time + self._interval
        if (close if seen.bar else seen.open_time) > self._asker.latest() + self._interval + _AHEAD:
            self._told_bad(Bad(seen.stream, "from the future", str(seen)[:300]))
            return
        self._heard = max(self._heard, min(seen.event, self._asker.latest() + _AHEAD))
        self._assembly.proof = max(self._assembly.proof, close if seen.bar else seen.open_time)
        if seen.bar:
            self._assembly.offer(seen.bar, seen.event)
            self._check.kline(seen.bar)

    def _told_bad(self, bad: Bad) -> None:
        """Note a bad record, but not more than a few a minute: a broken venue sends thousands."""
        now = time.monotonic()
        if len(self._bad) < _NOTES_A_MINUTE or now - self._bad[0] > 60:
            self._bad.append(now)
            self._note("rejected", bad._asdict())
