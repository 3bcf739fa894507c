"""A live venue: streams for speed, REST for certainty, one moment after another out of both."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from research.live.feed.checking import PrintCheck
from research.live.feed.records import Bad, Depth, Event, Print, Route, Seen, Venue
from research.live.feed.shown import Shown
from research.live.feed.stream import Line
from research.live.feed.venue_feed import POLL, VenueFeed, Wanted
from research.live.feed.waiting import end, first
from research.live.moments import Moment

_BEHIND = 0.25
_MEASURE = 60.0
_AHEAD = 5_000_000


class StreamedFeed(VenueFeed):
    """Bars of one venue, from its streams.

    Parameters
    ----------
    venue : Venue
        Its addresses and messages.
    wanted : Wanted
        A bar that the streams do not bring by its deadline is asked for by REST.
    book_delay : int, optional
        After a bar's open, when its book is needed, microseconds; absent: books are not.
    """

    def __init__(self, venue: Venue, wanted: Wanted, *, book_delay: int | None = None) -> None:
        super().__init__(venue, wanted, measure=_MEASURE)
        self._check = PrintCheck(venue, self._asker.host, wanted.interval, wanted.note)
        self._shown = None if book_delay is None else Shown(wanted.interval, book_delay)
        self._lines = [self._line(route, wanted) for route in venue.routes()]
        self._heard = 0

    def _line(self, route: Route, wanted: Wanted) -> Line:
        return Line(
            route,
            self._venue,
            wanted.network,
            wanted.clock,
            hear=self._hear,
            note=wanted.note,
            stale_us=wanted.stale_us,
            limits=wanted.limits,
        )

    async def _laid_out(self, moment: Moment) -> Moment:
        """Lay the books beside the bars; they come by another connection, which may be behind."""
        if self._shown is None:
            return moment
        shown, bars, until = self._shown, moment.bars, time.monotonic() + _BEHIND
        while time.monotonic() < until:
            if all(shown.settled(bar.symbol, bar.open_time) for bar in bars):
                break
            await asyncio.sleep(POLL / 4)
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
        rows = [
            {
                "name": s.name,
                "state": s.state,
                "last_us": s.last_us or None,
                "messages": s.messages,
                "reconnects": s.reconnects,
                "rejected": s.rejected,
                "route": line.route.name,
                **self._skew(),
            }
            for line in self._lines
            for s in line.streams.values()
        ]
        return [*rows, self._rest()]

    async def close(self) -> None:
        """End all connections and tasks."""
        await super().close()
        await self._check.close()

    def _begun(self) -> list[asyncio.Task[None]]:
        lines = [asyncio.create_task(line.run(), name=line.route.name) for line in self._lines]
        return [*lines, *(asyncio.create_task(self._kick(line)) for line in self._lines)]

    async def _kick(self, line: Line) -> None:
        """When a connection opens, whoever paused before another REST request need not wait."""
        while True:
            await line.opened.wait()
            self._asker.hurry()

    async def _gather(self) -> None:
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
            await asyncio.sleep(POLL)

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
