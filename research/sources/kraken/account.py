"""What a poll brought, and what it could not."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import polars as pl


@dataclass(frozen=True, slots=True)
class Told:
    """What Kraken told of one symbol.

    Attributes
    ----------
    symbol : str
        ``BTC-USD``.
    first, last : datetime or None
        Open times of the oldest and newest closed bar it told.
    told, new : int
        Closed bars inside the wish, and those of them that were not stored.
    beyond : int
        Bars asked for that are older than it tells and not stored: a gap.
    """

    symbol: str
    first: datetime | None
    last: datetime | None
    told: int
    new: int
    beyond: int


@dataclass(frozen=True, slots=True)
class Account:
    """What one poll did.

    Attributes
    ----------
    rows : tuple of Told
        By symbol.
    requests : int
        Sent, those included that were sent again.

    Examples
    --------
    >>> print(Account((Told("BTC-USD", None, None, 719, 60, 281),), 1))
    1 symbol asked for: 60 new bars of 719 told, by 1 request.
    Older than Kraken tells, and not stored:
      BTC-USD: 281 bars
    """

    rows: tuple[Told, ...]
    requests: int

    @property
    def new_bars(self) -> int:
        """Rows handed to the store by this run."""
        return sum(row.new for row in self.rows)

    def to_table(self) -> pl.DataFrame:
        """Return one row per symbol, columns as the attributes of `Told`."""
        time = pl.Datetime("us", "UTC")
        kinds: dict[str, Any] = {"symbol": pl.String, "first": time, "last": time}
        schema = {f.name: kinds.get(f.name, pl.Int64) for f in fields(Told)}
        rows = [[getattr(row, name) for name in schema] for row in self.rows]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def summary(self) -> str:
        """Say in a few lines what was done."""
        told = sum(row.told for row in self.rows)
        lines = [
            f"{_count(len(self.rows), 'symbol')} asked for: {self.new_bars} new bars of {told} "
            f"told, by {_count(self.requests, 'request')}."
        ]
        short = [row for row in self.rows if row.beyond]
        lines += ["Older than Kraken tells, and not stored:"] if short else []
        return "\n".join([*lines, *(f"  {row.symbol}: {row.beyond} bars" for row in short)])

    def __str__(self) -> str:
        return self.summary()


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
