"""When a polled venue is asked, and what its feed says of it, by a clock that is moved by hand."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

from research.live.feed import Limits
from research.live.feed.kraken import Kraken
from research.live.feed.polled import PolledFeed
from research.live.feed.records import Bad
from research.live.feed.venue_feed import Wanted
from research.live.moments import Bar
from research.live.net import Network

MINUTE = 60_000_000
DAWN = 1_700_006_400_000_000 // MINUTE * MINUTE
SYMBOL = "BTC/USD"


class Clock:
    """Moved by hand."""

    def __init__(self, now):
        self.time = now

    def now(self):
        return self.time

    async def ack(self, moment):
        """Nobody waits for it."""


class Asked:
    """Stands in for the venue: it answers when it is let."""

    skew = SimpleNamespace(sure=0, error=0)
    host = SimpleNamespace(quiet=0.0, why="", last_us=0, requests=0)

    def __init__(self, feed, clock):
        self._feed, self._clock = feed, clock
        self.at, self.silent, self.looks = [], False, 0

    def latest(self):
        self.looks += 1
        return self._clock.time

    async def measure(self):
        return self._clock.time

    async def confirm(self, symbol, again):
        self.at.append(self._clock.time)
        while self.silent:
            await asyncio.sleep(0.001)
        due = self._feed._assembly.due
        self._feed._assembly.offer(Bar(symbol, due - MINUTE, 1.0, 1.0, 1.0, 1.0, 1.0), due)


@asynccontextmanager
async def polled(now, *, deadline=2_000_000, stale=30_000_000):
    notes, clock = [], Clock(now)
    async with Network() as network:
        wanted = Wanted(
            *(network, clock, [SYMBOL], MINUTE, deadline, stale),
            *(lambda *note: notes.append(note), Limits()),
        )
        feed = PolledFeed(Kraken([SYMBOL], MINUTE), wanted)
        feed._asker = Asked(feed, clock)
        try:
            yield feed, clock, notes
        finally:
            await feed.close()


async def until(law):
    """Wait for what must come to be."""
    async with asyncio.timeout(30):
        while not law():
            await asyncio.sleep(0.001)


def state(feed, name=f"ohlc {SYMBOL}"):
    return next(row["state"] for row in feed.health() if row["name"] == name)


async def test_the_first_moment_is_the_first_close_after_the_one_asked_for():
    for after in (DAWN, DAWN + 1, DAWN + MINUTE - 1):
        async with polled(DAWN + 10 * MINUTE) as (feed, _, _):
            assert (await anext(feed.moments(after))).time == DAWN + MINUTE


async def test_a_bar_is_asked_for_at_its_deadline_and_not_before():
    async with polled(DAWN + MINUTE + 1) as (feed, clock, _):
        coming = asyncio.create_task(anext(feed.moments(DAWN)))
        await until(lambda: feed._asker.looks > 3)
        assert feed._asker.at == []
        clock.time = DAWN + MINUTE + 2_000_000
        assert (await coming).time == DAWN + MINUTE
        assert feed._asker.at == [clock.time]


async def test_silence_is_said_once_and_is_over_with_the_answer():
    async with polled(DAWN + MINUTE + 3_000_000) as (feed, clock, notes):
        feed._asker.silent = True
        moments = feed.moments(DAWN)
        coming = asyncio.create_task(anext(moments))
        await until(lambda: feed._asker.at)
        seen = feed._asker.looks
        await until(lambda: feed._asker.looks > seen + 3)
        assert (state(feed), notes) == ("connecting", [])
        clock.time = DAWN + MINUTE + 32_000_000  # the deadline, and as long as silence may last
        await until(lambda: notes)
        assert ([kind for kind, _ in notes], state(feed)) == (["stale"], "stale")
        feed._asker.silent = False
        await coming
        coming = asyncio.create_task(anext(moments))  # the next bar is not late
        await asyncio.sleep(0)
        assert state(feed) == "live" and len(notes) == 1
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def test_a_venue_that_sends_nonsense_fills_no_journal():
    async with polled(DAWN) as (feed, _, notes):
        for number in range(1000):
            feed._told_bad(Bad(f"rest {SYMBOL}", "no number", str(number)))
        rejected = next(row["rejected"] for row in feed.health() if row["name"] == f"ohlc {SYMBOL}")
        assert (len(notes), rejected) == (30, 1000)


async def test_the_state_of_rest_is_that_of_its_host():
    async with polled(DAWN) as (feed, _, _):
        for quiet, why, said in (
            (0.0, "", "live"),
            (0.0, "no answer", "failing"),
            (9.0, "", "quiet"),
        ):
            feed._asker.host = SimpleNamespace(quiet=quiet, why=why, last_us=0, requests=0)
            assert state(feed, "rest") == said
