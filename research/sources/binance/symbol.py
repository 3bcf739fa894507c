"""The run itself: what each symbol lacks, from where it comes, what is handed to the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from research.errors import UserError
from research.sources.binance.account import Hole, Month, Tally
from research.sources.binance.archive import Archive, Zip
from research.sources.binance.klines import RAW, differences
from research.sources.binance.rest import Rest
from research.sources.binance.venue import DAY, Memory, months, runs, to_moment

Have = Callable[[str, str], Iterable[int]]
Save = Callable[[str, str, pl.DataFrame], None]
Progress = Callable[[int, int, str], None]

_SETTLED = DAY  # younger holes may still be filled by the venue and are asked for again
_AHEAD = 3  # months whose zips are under way: more would make REST wait behind them


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted, in ms: open times on the grid from `start` to `end` (exclusive), closed."""

    symbols: tuple[str, ...]
    start: int
    end: int
    step: int
    now: int


@dataclass(frozen=True, slots=True)
class Job:
    """One run: what its symbols share."""

    wish: Wish
    archive: Archive
    rest: Rest
    memory: Path
    have: Have
    save: Save
    tally: Tally
    progress: Progress | None

    async def run(self) -> None:
        """Work on all symbols at once; the first mistake that a user can mend ends it."""
        try:
            async with asyncio.TaskGroup() as group:
                for symbol in self.wish.symbols:
                    group.create_task(Symbol(self, symbol).run())
        except BaseExceptionGroup as failures:
            raise _telling(failures) from None

    def done(self, label: str) -> None:
        """Report one more month of a symbol as done."""
        if self.progress:
            total = len(self.wish.symbols) * len(months(self.wish.start, self.wish.end))
            self.progress(len(self.tally.months), total, label)


def _telling(failures: BaseExceptionGroup) -> BaseException:
    flat: list[BaseException] = []
    for failure in failures.exceptions:
        flat.append(_telling(failure) if isinstance(failure, BaseExceptionGroup) else failure)
    return next((f for f in flat if isinstance(f, UserError)), flat[0])


@dataclass(frozen=True, slots=True)
class Todo:
    """One month of one symbol: its wanted span and the open times (ms) expected and missing."""

    month: str
    start: int
    end: int
    expected: np.ndarray
    stored: np.ndarray
    missing: np.ndarray


class Symbol:
    """One symbol's part of a run: its listing, then its months in order."""

    def __init__(self, job: Job, symbol: str) -> None:
        self.job, self.symbol, self.wish = job, symbol, job.wish
        self.memory = Memory(job.memory / f"{symbol}.json")
        self.ended: int | None = None
        self.stored = {month: self._stored(month) for month, _, _ in self._months()}

    async def run(self) -> None:
        """Bring every missing bar that the venue has to the store, month by month."""
        if any(len(todo.missing) for todo in self._todo()):
            await self._find_span()
        todos = self._todo()
        self._explain_edges()
        zips: dict[str, asyncio.Task[list[Zip]]] = {}
        async with asyncio.TaskGroup() as group:  # zips come a little ahead, saving is in order
            for place, todo in enumerate(todos):
                for near in todos[place : place + _AHEAD]:
                    if len(near.missing) and near.month not in zips:
                        zips[near.month] = group.create_task(self._zips(near))
                await self._month(todo, await zips[todo.month] if todo.month in zips else [])
                self.job.done(f"{self.symbol} {todo.month}")

    async def _zips(self, todo: Todo) -> list[Zip]:
        return await self.job.archive.covering(self.symbol, todo.missing, self.wish.now)

    def _months(self) -> list[tuple[str, int, int]]:
        return months(self.wish.start, self.wish.end)

    def _stored(self, month: str) -> np.ndarray:
        return np.unique(np.fromiter(self.job.have(self.symbol, month), dtype=np.int64))

    def _todo(self) -> list[Todo]:
        return [self._plan(month, start, end) for month, start, end in self._months()]

    def _plan(self, month: str, start: int, end: int) -> Todo:
        expected = np.arange(start, end, self.wish.step, dtype=np.int64)
        expected = expected[expected >= (self.memory.first or 0)]
        stored = np.intersect1d(expected, self.stored[month])
        missing = self.memory.without(np.setdiff1d(expected, stored))
        if self.ended is not None:
            missing = missing[missing < self.ended]
        return Todo(month, start, end, expected, stored, missing)

    async def _find_span(self) -> None:
        """Learn the first bar (once, remembered) and the last; no bar outside is asked for."""
        wish, rest = self.wish, self.job.rest
        if self.memory.first is None:
            first = await rest.first(self.symbol)
            if first is None:
                raise UserError(f"binance: {self.symbol} has no closed bar yet. Ask for it later.")
            self.memory.keep(first=first)
        last = await rest.last(self.symbol)
        if last is not None and last + wish.step <= wish.now - _SETTLED:
            self.ended = last + wish.step
            self.memory.keep(holes=[(self.ended, min(wish.end, wish.now - _SETTLED))])

    def _explain_edges(self) -> None:
        first, wish = self.memory.first, self.wish
        if first is not None and first > wish.start:
            self._hole(wish.start, min(first, wish.end), "before listing")
        if self.ended is not None:
            self._hole(max(self.ended, wish.start), wish.end, "after the last bar")

    async def _month(self, todo: Todo, zips: list[Zip]) -> None:
        archive = self._from_zips(todo, zips)
        left = np.setdiff1d(todo.missing, _times(archive))
        rest = await self._from_rest(left)
        compared, different = differences(archive, rest)
        fill = rest.filter(pl.Series(np.isin(_times(rest), left), dtype=pl.Boolean))
        absent = np.setdiff1d(left, _times(fill))
        gained = len(todo.missing) - len(absent)
        if gained:
            self.job.save(self.symbol, todo.month, _merged(archive, fill))
        self._explain_known(todo)
        self._explain_holes(zips, _times(fill), absent)
        self.job.tally.differences += different
        self.job.tally.months.append(
            Month(
                symbol=self.symbol,
                month=todo.month,
                expected=len(todo.expected),
                stored=len(todo.stored),
                archive=gained - fill.height,
                rest=fill.height,
                absent=len(todo.expected) - len(todo.stored) - gained,
                zips_fetched=sum(z.fetched for z in zips),
                zips_cached=sum(not z.fetched for z in zips),
                compared=compared,
                different=len({d.open_time for d in different}),
            )
        )

    def _from_zips(self, todo: Todo, zips: list[Zip]) -> pl.DataFrame:
        tables = [pl.DataFrame(schema=RAW)]
        for found in sorted(zips, key=lambda z: z.start):
            table = found.read(self.symbol)
            inside = table.filter(_between(found.start, found.end))
            if strange := table.height - inside.height:
                self.job.tally.notes.append(
                    f"{found.path.name}: {strange} rows lie outside its own span and were left out."
                )
            tables.append(inside.filter(_between(todo.start, todo.end)))
        return pl.concat(tables)

    async def _from_rest(self, left: np.ndarray) -> pl.DataFrame:
        if not len(left):
            return pl.DataFrame(schema=RAW)
        return await self.job.rest.bars(self.symbol, left)

    def _explain_known(self, todo: Todo) -> None:
        known = np.setdiff1d(np.setdiff1d(todo.expected, todo.stored), todo.missing)
        if self.ended is not None:
            known = known[known < self.ended]
        for start, end in runs(known, self.wish.step):
            self._hole(start, end, "absent at the venue")

    def _explain_holes(self, zips: list[Zip], filled: np.ndarray, absent: np.ndarray) -> None:
        wish = self.wish
        inside = np.zeros(len(filled), dtype=bool)
        for found in zips:
            inside |= (filled >= found.start) & (filled < found.end)
        for start, end in runs(filled[inside], wish.step):
            self._hole(start, end, "filled by REST")
        given_up = absent[absent + wish.step <= wish.now - _SETTLED]
        young = absent[absent + wish.step > wish.now - _SETTLED]
        for start, end in runs(given_up, wish.step):
            self._hole(start, end, "absent at the venue")
        for start, end in runs(young, wish.step):
            self._hole(start, end, "not there yet")
        self.memory.keep(holes=runs(given_up, wish.step))

    def _hole(self, start: int, end: int, outcome: str) -> None:
        bars = max(0, end - start) // self.wish.step
        if bars:
            hole = Hole(self.symbol, to_moment(start), to_moment(end), bars, outcome)
            self.job.tally.holes.append(hole)


def _between(start: int, end: int) -> pl.Expr:
    return pl.col("open_time").is_between(to_moment(start), to_moment(end), closed="left")


def _times(table: pl.DataFrame) -> np.ndarray:
    return table["open_time"].dt.epoch("ms").to_numpy()


def _merged(archive: pl.DataFrame, fill: pl.DataFrame) -> pl.DataFrame:
    """Put REST rows into their places, but leave a file's own disorder for the store to report."""
    table = pl.concat([archive, fill])
    if fill.is_empty() or not archive["open_time"].is_sorted():
        return table
    return table.sort("open_time", maintain_order=True)
