"""What a download did, in numbers and in words: nothing is chosen, filled or left out silently."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from datetime import datetime

import polars as pl

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Month:
    """One symbol's month: how many bars it should have and where each came from.

    Attributes
    ----------
    symbol, month : str
        ``"BTCUSDT"`` and ``"2024-05"``, the UTC month of `open_time`.
    expected : int
        Closed bars asked for that the venue may have: inside the wish and since the listing.
    stored : int
        Of these, already stored before this run.
    archive, rest : int
        New bars from zips and from REST.
    absent : int
        Bars that neither has.
    zips_fetched, zips_cached : int
        Archive files read, by where their bytes came from.
    compared, different : int
        Bars seen in the archive and in REST; those that differ in any column. The archive's stays.
    """

    symbol: str
    month: str
    expected: int
    stored: int = 0
    archive: int = 0
    rest: int = 0
    absent: int = 0
    zips_fetched: int = 0
    zips_cached: int = 0
    compared: int = 0
    different: int = 0


@dataclass(frozen=True, slots=True)
class Hole:
    """Bars that a zip or the venue lacks, from `start` (inclusive) to `end` (exclusive), and why.

    `outcome` is ``filled by REST``, ``absent at the venue`` (remembered, not asked for again),
    ``not there yet`` (too young to be given up), ``before listing`` or ``after the last bar``.
    """

    symbol: str
    start: datetime
    end: datetime
    bars: int
    outcome: str

    def __str__(self) -> str:
        span = f"{self.start:%Y-%m-%d %H:%M}Z to {self.end:%Y-%m-%d %H:%M}Z"
        return f"{self.symbol} {span}: {self.bars} bars {self.outcome}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that the archive and REST tell differently; the archive's was kept."""

    symbol: str
    open_time: datetime
    column: str
    archive: float | None
    rest: float | None

    def __str__(self) -> str:
        where = f"{self.symbol} {self.open_time:%Y-%m-%d %H:%M}Z {self.column}"
        return f"{where}: archive {self.archive} (kept), REST {self.rest}"


@dataclass(slots=True)
class Tally:
    """The running count of one download; `Account` is its frozen end."""

    requests: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    waits: int = 0
    waited: float = 0.0
    months: list[Month] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def account(self) -> Account:
        """Freeze the count, in an order that does not depend on which answer came first."""
        return Account(
            months=tuple(sorted(self.months, key=lambda m: (m.symbol, m.month))),
            holes=tuple(sorted(self.holes, key=lambda h: (h.symbol, h.start))),
            differences=tuple(
                sorted(self.differences, key=lambda d: (d.symbol, d.open_time, d.column))
            ),
            archive_requests=self.requests["archive"],
            rest_requests=self.requests["rest"],
            retries=self.retries,
            waits=self.waits,
            waited=self.waited,
            notes=tuple(self.notes),
        )


@dataclass(frozen=True, slots=True)
class Account:
    """What one download did.

    Attributes
    ----------
    months : tuple of Month
        By symbol and month.
    holes : tuple of Hole
        Filled or explained.
    differences : tuple of Difference
        Where archive and REST disagree about the same bar. The archive's value was kept.
    archive_requests, rest_requests : int
        HTTP requests sent, retries included.
    retries : int
        Requests sent again after a fault.
    waits, waited : int, float
        Pauses for a rate limit (asked for by the venue, or to stay inside the weight budget), and
        their length in seconds.
    notes : tuple of str
        Each fault met and what was done about it.

    Examples
    --------
    >>> month = Month("BTCUSDT", "2024-05", expected=44640, archive=44640, zips_fetched=1)
    >>> account = Account(months=(month,), archive_requests=2)
    >>> print(account.summary())
    1 symbol, 1 month: 44640 bars asked for, 0 stored before, 44640 from the archive, ...
    1 zip fetched, 0 from the cache; 2 archive and 0 REST requests, 0 retries, 0 waits (0.0 s).
    Archive and REST: 0 bars compared, 0 differ.
    >>> account.to_table()["archive"].to_list()
    [44640]
    """

    months: tuple[Month, ...] = ()
    holes: tuple[Hole, ...] = ()
    differences: tuple[Difference, ...] = ()
    archive_requests: int = 0
    rest_requests: int = 0
    retries: int = 0
    waits: int = 0
    waited: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def new_bars(self) -> int:
        """Bars stored by this run that were not there before."""
        return self._sum("archive") + self._sum("rest")

    def to_table(self) -> pl.DataFrame:
        """Return one row per symbol and month, columns as the attributes of `Month`."""
        names = [f.name for f in fields(Month)]
        schema = {n: pl.String if n in ("symbol", "month") else pl.Int64 for n in names}
        rows = [[getattr(m, n) for n in names] for m in self.months]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def summary(self) -> str:
        """Say in a few lines what was done."""
        total = self._sum
        symbols = len({m.symbol for m in self.months})
        lines = [
            f"{_count(symbols, 'symbol')}, {_count(len(self.months), 'month')}: "
            f"{total('expected')} bars asked for, {total('stored')} stored before, "
            f"{total('archive')} from the archive, {total('rest')} from REST, "
            f"{total('absent')} absent.",
            f"{_count(total('zips_fetched'), 'zip')} fetched, {total('zips_cached')} from the "
            f"cache; {self.archive_requests} archive and {self.rest_requests} REST requests, "
            f"{self.retries} retries, {self.waits} waits ({self.waited:.1f} s).",
            f"Archive and REST: {total('compared')} bars compared, {total('different')} differ"
            f"{' (the archive was kept).' if total('different') else '.'}",
        ]
        for title, entries in (
            ("Holes", self.holes),
            ("Differences", self.differences),
            ("Notes", self.notes),
        ):
            lines += _listing(title, entries)
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()

    def _sum(self, name: str) -> int:
        return sum(getattr(m, name) for m in self.months)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _listing(title: str, entries: tuple) -> list[str]:
    if not entries:
        return []
    more = [f"  ... and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else []
    return [f"{title}:", *(f"  {entry}" for entry in entries[:_SHOWN]), *more]
