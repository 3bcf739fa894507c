"""What feeds of a venue share: an assembly that is filled somehow, and REST that can be asked."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NamedTuple

from research.errors import UserError
from research.live.clock import Clock
from research.live.feed.asking import Asker
from research.live.feed.assembly import Assembly, Note
from research.live.feed.limits import Limits
from research.live.feed.records import Bad, Venue
from research.live.feed.waiting import end
from research.live.moments import Moment
from research.live.net import Network

if TYPE_CHECKING:
    import polars as pl

POLL = 0.02
"""Real seconds between two looks at a clock."""
_NOTES_A_MINUTE = 30


class Wanted(NamedTuple):
    """What a feed is to bring, and by what way."""

    network: Network
    clock: Clock
    """Market time."""
    symbols: list[str]
    """As the venue writes them."""
    interval: int
    """Length of a bar, microseconds."""
    deadline_us: int
    """After a close, market microseconds, when a bar that has not come is asked for."""
    stale_us: int
    """Silence, market microseconds, that is an alarm."""
    note: Note
    """Told what happens beside bars: a kind and a body."""
    limits: Limits


class VenueFeed(ABC):
    """Moments of one venue, one after another.

    Parameters
    ----------
    venue : Venue
        Its addresses and messages.
    wanted : Wanted
        Which bars, and when.
    measure : float
        Real seconds between two looks at the venue's clock.
    """

    def __init__(self, venue: Venue, wanted: Wanted, *, measure: float) -> None:
        self._venue, self._clock, self._interval = venue, wanted.clock, wanted.interval
        self._deadline, self._note, self._limits = wanted.deadline_us, wanted.note, wanted.limits
        self._assembly = Assembly(wanted.symbols, wanted.interval, wanted.note)
        self._asker = Asker(
            venue,
            wanted.network,
            wanted.clock,
            self._assembly,
            deadline_us=wanted.deadline_us,
            note=self._told_bad,
            tell=wanted.note,
            limits=wanted.limits,
        )
        self._measured, self._rejected = measure, Counter[str]()
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
        if self._tasks:
            raise UserError(f"{self._venue.name}: moments of a feed are read once. Open another.")
        self._assembly.begin(after_us - after_us % self._interval + self._interval)
        self._tasks = [asyncio.create_task(self._measure(), name="venue time"), *self._begun()]
        while True:
            if not self._assembly.complete.is_set():
                await self._gather()
            moment = self._assembly.take(self._clock.now())
            if moment.bars:
                yield await self._laid_out(moment)
            else:
                await self._clock.ack(moment.time)  # nobody else will

    async def close(self) -> None:
        """End all connections and tasks."""
        await end(self._tasks)
        self._tasks.clear()

    def _begun(self) -> list[asyncio.Task[None]]:
        """Begin what goes on while moments are read."""
        return []

    @abstractmethod
    async def _gather(self) -> None:
        """Return when the moment that is due is complete."""

    async def _laid_out(self, moment: Moment) -> Moment:
        """Return a moment with what else belongs to it."""
        return moment

    async def _measure(self) -> None:
        while True:
            await self._asker.measure()
            await asyncio.sleep(self._measured)

    def _skew(self) -> dict[str, Any]:
        """Return the venue's clock minus ours, less what the measurement's error can explain."""
        return {"skew_us": self._asker.skew.sure, "skew_error_us": self._asker.skew.error}

    def _rest(self) -> dict[str, Any]:
        """Return how REST is."""
        host = self._asker.host
        state = "quiet" if host.quiet else "failing" if host.why else "live"
        row = {"name": "rest", "state": state, "last_us": host.last_us or None, "why": host.why}
        row |= {"messages": host.requests, "reconnects": 0, "rejected": 0}
        return {**row, "route": self._venue.base, **self._skew()}

    def _told_bad(self, bad: Bad) -> None:
        """Note a bad record, but not more than a few a minute: a broken venue sends thousands."""
        now = time.monotonic()
        self._rejected[bad.stream] += 1
        if len(self._bad) < _NOTES_A_MINUTE or now - self._bad[0] > 60:
            self._bad.append(now)
            self._note("rejected", bad._asdict())
