"""What a download did, day by day: nothing is filled or left out silently."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields

import polars as pl

_SHOWN = 8
OUTCOMES = ("fetched", "cached", "stored", "absent", "not there yet")


@dataclass(frozen=True, slots=True)
class Day:
    """One day's file.

    Attributes
    ----------
    day : str
        ``"2026-02-06"``, a UTC day.
    outcome : str
        ``fetched``; ``cached``: read from the cache; ``stored``: all of it was stored before;
        ``absent``: the store has no such file; ``not there yet``: it may still come.
    size : int
        Bytes of the file as the store lists it.
    rows : int
        Rows of the symbols asked for that were handed to be stored.
    """

    day: str
    outcome: str
    size: int = 0
    rows: int = 0


@dataclass(slots=True)
class Tally:
    """The running count of one download; `Account` is its frozen end."""

    requests: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    waited: float = 0.0
    days: list[Day] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def account(self) -> Account:
        """Freeze the count, days in their order."""
        return Account(
            days=tuple(sorted(self.days, key=lambda day: day.day)),
            listings=self.requests["listing"],
            fetches=self.requests["file"],
            retries=self.retries,
            waited=self.waited,
            notes=tuple(self.notes),
        )


@dataclass(frozen=True, slots=True)
class Account:
    """What one download did.

    Attributes
    ----------
    days : tuple of Day
        Every day asked for.
    listings, fetches : int
        Requests sent for pages of the listing and for files, retries included.
    retries : int
        Requests sent again after a fault.
    waited : float
        Seconds of pauses after faults and refusals.
    notes : tuple of str
        Each fault met and what was done about it.

    Examples
    --------
    >>> day = Day("2026-02-06", "fetched", size=2_000_000, rows=8640)
    >>> print(Account(days=(day, Day("2026-02-07", "absent")), fetches=2).summary())
    2 days asked for: 1 fetched (2.0 MB), 1 absent; 8640 rows handed to the store.
    0 listings and 2 file requests, 0 retries, 0.0 s of pauses.
    Days without a file:
      2026-02-07
    """

    days: tuple[Day, ...] = ()
    listings: int = 0
    fetches: int = 0
    retries: int = 0
    waited: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def new_bars(self) -> int:
        """Rows handed to the store by this run."""
        return sum(day.rows for day in self.days)

    def to_table(self) -> pl.DataFrame:
        """Return one row per day, columns as the attributes of `Day`."""
        names = [f.name for f in fields(Day)]
        schema = {n: pl.String if n in ("day", "outcome") else pl.Int64 for n in names}
        rows = [[getattr(day, n) for n in names] for day in self.days]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def summary(self) -> str:
        """Say in a few lines what was done."""
        counts = Counter(day.outcome for day in self.days)
        fetched = sum(day.size for day in self.days if day.outcome == "fetched") / 1e6
        parts = [
            f"{counts[o]} {o}{f' ({fetched:.1f} MB)' if o == 'fetched' else ''}"
            for o in OUTCOMES
            if counts[o]
        ]
        days = f"{len(self.days)} day{'' if len(self.days) == 1 else 's'} asked for"
        lines = [
            f"{days}: {', '.join(parts) or 'none'}; {self.new_bars} rows handed to the store.",
            f"{self.listings} listings and {self.fetches} file requests, "
            f"{self.retries} retries, {self.waited:.1f} s of pauses.",
        ]
        gone = [day.day for day in self.days if day.outcome in ("absent", "not there yet")]
        lines += _listing("Days without a file", gone) + _listing("Notes", list(self.notes))
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


def _listing(title: str, entries: list[str]) -> list[str]:
    if not entries:
        return []
    more = [f"  ... and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else []
    return [f"{title}:", *(f"  {entry}" for entry in entries[:_SHOWN]), *more]
