"""Day after day of a download: what is listed, what is lacking, what is fetched and stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any, TypeVar

import polars as pl

from research.sources.binance.net import Answer
from research.sources.polygon import flat
from research.sources.polygon.account import Day
from research.sources.polygon.bucket import Bucket, Entry, tag_of
from research.sources.polygon.cache import Cache

Have = Callable[[str, str], Iterable[int]]
Save = Callable[[str, str, pl.DataFrame], None]
Item = TypeVar("Item")
Fetched = tuple[bytes, Entry, pl.DataFrame]

_EPOCH = date(1970, 1, 1)
_DAY_MS = 86_400_000
# a day's file comes about 11:00 US Eastern of the next day
_SETTLED = timedelta(days=2)


@dataclass(slots=True)
class Found:
    """One day: how it came, and the rows of the symbols that were `lacking` from it."""

    day: date
    outcome: str
    size: int = 0
    lacking: list[str] = field(default_factory=list)
    table: pl.DataFrame | None = None


@dataclass(slots=True)
class Job:
    """One run: the listing, the ends of the span, then month after month."""

    bucket: Bucket
    cache: Cache
    wanted: list[str]
    days: list[date]
    now: datetime
    have: Have
    save: Save
    progress: flat.Progress | None
    listed: dict[date, Entry] = field(default_factory=dict)
    stored: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    fetched: set[date] = field(default_factory=set)
    seen: int = 0

    async def run(self) -> None:
        """Bring every day that is not stored to the store."""
        months = [list(days) for _, days in groupby(self.days, key=_month)]
        prefixes = [f"{flat.FOLDER}/{days[0]:%Y/%m}/" for days in months]
        for entries in await _all([self.bucket.listing(prefix) for prefix in prefixes]):
            self.listed |= {day: entry for entry in entries if (day := flat.day_of(entry.key))}
        await self._check_symbols()
        for days in months:
            self._store(await _all([self._find(day) for day in days]))
            self.stored.clear()

    async def _check_symbols(self) -> None:
        """Meet a misspelt symbol at the ends of the span, before all between is fetched."""
        strange = [name for name in self.wanted if name not in self.cache.known]
        listed = [day for day in self.days if day in self.listed]
        if strange and listed:
            tables = {day: await self._table(day) for day in {listed[0], listed[-1]}}
            there = {day: table for day, table in tables.items() if table is not None}
            flat.check_known(strange, list(there.values()), list(there))

    async def _find(self, day: date) -> Found:
        entry = self.listed.get(day)
        lacking = self._lacking(day, entry) if entry else []
        found = Found(day, "stored", entry.size if entry else 0, lacking)
        table = await self._table(day) if lacking else None
        if table is not None:
            found.table = table.filter(pl.col("symbol").is_in(lacking))
            found.outcome = "fetched" if day in self.fetched else "cached"
        elif lacking or not entry:
            found.outcome = self._why_absent(day)
        self.seen += 1
        if self.progress:
            self.progress(self.seen, len(self.days), str(day))
        return found

    def _lacking(self, day: date, entry: Entry) -> list[str]:
        """Name the symbols of which this very file's rows are not all stored."""
        rows = {name: self.cache.stored_rows(name, day, entry) for name in self.wanted}
        return [n for n, count in rows.items() if count is None or self._count(n, day) < count]

    def _count(self, name: str, day: date) -> int:
        place = (name, _month(day))
        if place not in self.stored:
            self.stored[place] = set(self.have(*place))
        first = (day - _EPOCH).days * _DAY_MS
        return sum(first <= ms < first + _DAY_MS for ms in self.stored[place])

    def _why_absent(self, day: date) -> str:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return "not there yet" if self.now < midnight + _SETTLED else "absent"

    async def _table(self, day: date) -> pl.DataFrame | None:
        """Take a day's rows from the cache, else from the store; None if it has gone since."""
        entry = self.listed[day]
        if (table := self.cache.read(day, entry)) is not None:
            return table
        found = await self.bucket.get(entry.key, lambda answer: _content(answer, entry))
        if found is None:
            return None
        content, self.listed[day], table = found
        self.cache.write(day, content, self.listed[day])
        self.fetched.add(day)
        return table

    def _store(self, month: list[Found]) -> None:
        """Store what is new of each symbol in one piece, then remember that it is."""
        for name in self.wanted:
            new = {
                found.day: found.table.filter(pl.col("symbol") == name)
                for found in month
                if found.table is not None and name in found.lacking
            }
            filled = [table for table in new.values() if table.height]
            if filled:
                self.save(name, _month(month[0].day), pl.concat(filled))
            for day, table in new.items():
                self.cache.note(name, day, self.listed[day], _minutes(table, day))
        if any(found.table is not None for found in month):
            self.cache.keep()
        self.bucket.tally.days += [
            Day(str(f.day), f.outcome, f.size, 0 if f.table is None else f.table.height)
            for f in month
        ]


def _content(answer: Answer, entry: Entry) -> Fetched | None:
    """Take a file that is whole: its bytes, what it is listed as, its rows."""
    if answer.status == 404:
        return None
    table = flat.rows(answer.body, entry.key.rsplit("/", 1)[-1])
    if len(answer.body) != entry.size:  # replaced since it was listed
        told = tag_of(answer.headers.get("etag", "")) or entry.tag
        entry = Entry(entry.key, len(answer.body), told)
    return answer.body, entry, table


def _minutes(table: pl.DataFrame, day: date) -> int:
    inside = table.filter(pl.col("open_time").dt.date() == day)
    return inside["open_time"].n_unique()


async def _all(work: list[Coroutine[Any, Any, Item]]) -> list[Item]:
    """Await all together; the first failure ends the others and is raised as it is."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _month(day: date) -> str:
    return f"{day:%Y-%m}"
