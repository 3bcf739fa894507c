"""What REST is asked: is there a bar, what came before, what time is it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from research.errors import UserError
from research.live.clock import Clock
from research.live.feed.assembly import Assembly, Note
from research.live.feed.limits import Limits, Pauses
from research.live.feed.records import Ask, Bad, Unfit, Venue
from research.live.feed.rest import Host, Refused, Unanswered
from research.live.feed.skew import Skew, measure
from research.live.feed.waiting import end as ended
from research.live.feed.waiting import first
from research.live.moments import Bar
from research.live.net import Network

if TYPE_CHECKING:
    import polars as pl

_TRIES = 6
_BAD_TRIES = 5
_SURE = 2
_SURE_OF_NEWEST = 20
_AHEAD = 5_000_000
_LOUD = 5


class Page(NamedTuple):
    """One answer: its bars, and the close up to which it speaks for the venue.

    Without a later candle that proves more, it speaks for nothing beyond its last bar.
    """

    bars: list[Bar]
    speaks_to: int
    bad: int
    """Close of the first candle that was refused; 0 for none."""


class Asker:
    """All REST questions of one feed.

    Parameters
    ----------
    note : callable
        Given each `Bad` record.
    """

    def __init__(
        self,
        venue: Venue,
        network: Network,
        clock: Clock,
        assembly: Assembly,
        *,
        deadline_us: int,
        note: Callable[[Bad], object],
        tell: Note,
        limits: Limits,
    ) -> None:
        self.host = Host(network, venue, clock, limits)
        self.skew = Skew()
        self._venue, self._clock, self._assembly = venue, clock, assembly
        self._deadline, self._bad, self._tell, self._limits = deadline_us, note, tell, limits
        self._interval = assembly.interval
        self._slack = self._interval if network.simulated else 0
        self._hurry = asyncio.Event()
        self._gone: dict[str, int] = {}

    def latest(self) -> int:
        """Return the latest that the venue's clock can be."""
        return self._clock.now() + max(0, self.skew.us)

    def hurry(self) -> None:
        """End all pauses between tries."""
        self._hurry.set()
        self._hurry = asyncio.Event()

    async def measure(self) -> int:
        """Learn how far the venue's clock is off; return the moment both clocks have passed."""
        try:
            self.skew, now = await measure(self.host, self._venue, self._clock, slack=self._slack)
        except (Unanswered, Refused):
            return 0
        return min(now, self._clock.now())

    async def confirm(self, symbol: str, again: int = 0) -> None:
        """Ask for the bar of `symbol` that is due until the venue has it, or has none.

        All bars up to now come with it, and `again` before it: were they changed? Tries go on until
        there is an answer: a moment is never passed over because a venue was silent.
        """
        pauses, empty, bad = Pauses(self._limits), 0, 0
        while symbol in self._assembly.missing():
            due = self._assembly.due
            try:
                opened = due - (1 + again) * self._interval
                page = await self._page(symbol, opened, self._span(due) + again)
            except Refused:
                self._assembly.cover(symbol, due)  # delisted: it has no bars any more
                return
            except Unanswered as error:
                await self._failed(symbol, pauses, str(error))
                continue
            self._offer(symbol, page)
            if page.bad == due:
                bad += 1
                if bad < _BAD_TRIES:
                    await self._pause(pauses)
                    continue
            if page.bad == due or page.speaks_to >= due:
                self._assembly.cover(symbol, due)
            elif symbol in self._assembly.missing():
                empty += 1
                if await self._is_none(symbol, due, empty):
                    self._assembly.cover(symbol, due)
                else:
                    await self._pause(pauses)

    async def _is_none(self, symbol: str, due: int, empty: int) -> bool:
        """Return whether a venue that shows nothing at or after `due` has nothing.

        It may only be slow: it is asked twice, and the close must be past by both clocks. One
        that had nothing the last time either is asked once a bar.
        """
        sure = _SURE_OF_NEWEST if self._venue.newest else _SURE
        needed = 1 if self._gone.get(symbol) == due - self._interval else sure
        if empty < needed or await self.measure() < due:
            return False
        self._gone[symbol] = due
        return True

    def _span(self, due: int) -> int:
        """Return how many candles to ask for: up to the one that is open now."""
        ahead = (self._clock.now() - due) // self._interval
        return int(min(max(ahead, 0) + 2, self._venue.limit))

    def _offer(self, symbol: str, page: Page) -> None:
        now = self._clock.now()
        fresh = now - self._interval
        due = self._assembly.due
        for bar in page.bars:
            source = "rest" if bar.open_time + self._interval > fresh else "backfill"
            self._assembly.offer(bar._replace(source=source), now)
        closes = [bar.open_time + self._interval for bar in page.bars]
        closes = [close for close in closes if close >= due]
        if any(close <= fresh for close in closes):
            body = {"symbol": symbol, "start": min(closes), "end": max(closes), "bars": len(closes)}
            self._tell("backfill", body)
        if not page.bad:
            self._assembly.cover(symbol, page.speaks_to)
        elif page.bad > due:
            self._assembly.cover(symbol, min(page.speaks_to, page.bad - self._interval))

    async def _page(self, symbol: str, opened: int, count: int) -> Page:
        """Return the closed bars that open at `opened` or in the next ``count - 1`` intervals."""
        asked, ask = self._clock.now(), self._venue.page(symbol, opened, count)
        rows, newest = await self._rows(symbol, ask)
        if self._venue.newest:  # it is open, whatever any clock says
            self._believable(symbol, newest)
            return self._read(symbol, rows, newest)
        past, close = max(newest, self._assembly.proof), newest + self._interval
        if rows and past < close <= asked and await self.measure() >= close:
            # it is over now, and may not have been when it was told: our clock may be ahead
            (rows, _), past = await self._rows(symbol, ask), close
        return self._read(symbol, rows, past)

    async def _rows(self, symbol: str, ask: Ask) -> tuple[list[tuple[int, object]], int]:
        """Return the candles of one answer with their open times, and the newest of these."""
        told = await self.host.get(ask)
        try:
            rows = [(self._venue.opened(row), row) for row in self._venue.rows(told)]
        except Unfit as unfit:
            self._bad(Bad(f"rest {symbol}", str(unfit), str(told)[:300]))
            raise Unanswered(str(unfit)) from unfit
        return rows, max((at for at, _ in rows), default=0)

    def _believable(self, symbol: str, newest: int) -> None:
        """Refuse an answer from the future: it would prove that bars are over that are not."""
        if newest > self.latest() + self._interval + _AHEAD:
            self._bad(Bad(f"rest {symbol}", "from the future", str(newest)))
            raise Unanswered("an answer from the future")

    def _read(self, symbol: str, rows: list[tuple[int, object]], past: int) -> Page:
        bars: list[Bar] = []
        speaks_to, bad = 0, 0
        for opened, row in rows:
            speaks_to = max(speaks_to, opened)  # this candle, whole or not, shows the one before
            close = opened + self._interval
            if close > past:
                continue
            try:
                bars.append(self._venue.bar(row, symbol, "rest"))
                speaks_to = max(speaks_to, close)
            except Unfit as unfit:
                bad = min(bad or close, close)
                self._bad(Bad(f"rest {symbol}", str(unfit), str(row)[:300]))
        return Page(bars, speaks_to, bad)

    async def _failed(self, symbol: str, pauses: Pauses, why: str) -> None:
        if pauses.failures + 1 == _LOUD:
            self._tell("alarm", {"what": "no answer", "route": self._venue.base, "symbol": symbol,
                                 "why": why})  # fmt: skip
        await self._pause(pauses)

    async def _pause(self, pauses: Pauses) -> None:
        await first(self._hurry.wait(), timeout=pauses.next())

    async def history(self, start: int, end: int) -> pl.DataFrame:
        """Return the closed bars with ``start < time <= end`` of all symbols, as `schema.BARS`."""
        jobs = (self._past_of(symbol, start, end) for symbol in self._assembly.symbols)
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            await asyncio.gather(*tasks)
        finally:
            await ended(tasks)
        return table([bar for task in tasks for bar in task.result()], self._interval)

    async def _past_of(self, symbol: str, start: int, end: int) -> list[Bar]:
        bars: list[Bar] = []
        opened, step = start - start % self._interval, self._interval
        while opened + step <= end:
            count = min(self._venue.limit, (end - opened) // step)
            page = await self._patient_page(symbol, opened, count)
            bars += [b for b in page.bars if start < b.open_time + step <= end]
            opened = end if self._venue.newest else opened + count * step
        return bars

    async def _patient_page(self, symbol: str, opened: int, count: int) -> Page:
        pauses, name = Pauses(self._limits), self._venue.name
        while True:
            try:
                return await self._page(symbol, opened, count)
            except Refused as refused:
                raise UserError(
                    f"{name}: the venue does not know {symbol!r} ({refused}). Write the symbol as "
                    f"the venue does, as in {self._venue.like}."
                ) from refused
            except Unanswered as error:
                if pauses.failures + 1 >= _TRIES:
                    raise UserError(
                        f"{name}: {self._venue.base} failed {_TRIES} times, last: {error}. "
                        "Check the connection and start again."
                    ) from error
                await self._pause(pauses)


def table(bars: list[Bar], interval: int) -> pl.DataFrame:
    """Return bars as `schema.BARS`, sorted, one row for each symbol and time.

    >>> table([Bar("A", 0, 1.0, 1.0, 1.0, 1.0, 0.0)], 60_000_000)["time"].dt.minute().item()
    1
    """
    import polars as pl

    from research import schema

    raw = {n: t for n, t in schema.BARS.items() if n != "time"}
    raw["open_time"] = pl.Int64
    columns = list(zip(*bars))[: len(raw)] or [()] * len(raw)
    found = pl.DataFrame(dict(zip(raw, columns)), schema=raw)
    at = pl.col("open_time")
    return (
        found.with_columns(
            time=(at + interval).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            open_time=at.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        )
        .select(list(schema.BARS))
        .unique(schema.KEY, keep="last")
        .sort(schema.KEY)
    )
