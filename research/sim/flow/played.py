"""A recording, ready to be played: one thing after another, as the venue said it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research.errors import UserError
from research.schema import Recording

CHUNK = 20_000
"""Lines of a recording that are held as Python objects at once."""
Level = tuple[int, float, float]
"""Side (1 for bids, -1 for asks), price, quantity."""


class Depth(NamedTuple):
    """A message about a book."""

    symbol: str
    due: int
    """Microseconds UTC by the venue's clock, as all times here."""
    sent: int | None
    time: int | None
    kind: str
    first_id: int | None
    last_id: int
    previous_id: int | None
    sequence: int | None
    levels: list[Level]


class Quote(NamedTuple):
    """Best levels."""

    symbol: str
    due: int
    sent: int | None
    time: int | None
    update_id: int | None
    bid: float
    bid_quantity: float
    ask: float
    ask_quantity: float


class Trade(NamedTuple):
    """One print, and the aggregate that it is part of."""

    symbol: str
    due: int
    sent: int | None
    time: int
    message: int
    trade_id: int | None
    price: float
    quantity: float
    taker_side: int
    aggregate: int
    first: int
    total: float
    whole: bool
    """Whether it is the last print of its aggregate."""


Item = Depth | Quote | Trade


class Played:
    """What a recording holds, in order, by the venue's clock.

    Parameters
    ----------
    recording : Recording
        Of one venue and market.

    Attributes
    ----------
    symbols : list of str
        Everything it tells of.
    start, end : int
        When its first and last line were due, microseconds UTC.
    has_quotes : bool
        Whether it tells of best levels by themselves.

    Raises
    ------
    UserError
        If there is nothing in it.
    """

    def __init__(self, recording: Recording) -> None:
        self.venue, self.market = recording.venue, recording.market
        tables = (recording.messages, recording.quotes, recording.trades)
        offset = _offset(tables)
        self._messages = _timed(_named(recording.messages), offset)
        self._quotes = _timed(recording.quotes, offset)
        self._trades = _timed(_aggregated(recording.trades), offset)
        self._levels = recording.levels
        self.symbols = sorted({s for t in tables for s in t["symbol"].unique().to_list()})
        timed = (self._messages, self._quotes, self._trades)
        if not self.symbols:
            raise UserError("Simulated exchange: there is nothing in this recording to play.")
        self.start = min(t["due"][0] for t in timed if t.height)
        self.end = max(t["due"][-1] for t in timed if t.height)
        self.has_quotes = recording.quotes.height > 0
        self._digits = _digits(recording)

    def shift(self, us: int) -> None:
        """Move everything by so many microseconds."""
        moved = [pl.col(c) + us for c in ("sent", "time", "due")]
        self._messages, self._quotes, self._trades = (t.with_columns(moved) for t in self._tables)
        self.start, self.end = self.start + us, self.end + us

    def digits(self, symbol: str) -> tuple[int, int]:
        """Return the decimals of a symbol's prices and quantities."""
        return self._digits.get(symbol, (8, 8))

    def snapshots(self) -> dict[str, Depth]:
        """Return the first whole book of each symbol."""
        whole = self._messages.filter(pl.col("kind") != "update")
        whole = whole.unique("symbol", keep="first", maintain_order=True)
        return {row.symbol: row for row in self._depths(whole)}

    def items(self) -> Iterator[Item]:
        """Yield everything in order of receipt."""
        last = max(t["message"][-1] for t in self._tables if t.height)
        for low in range(0, last + 1, CHUNK):
            messages, quotes, trades = (_between(t, low, low + CHUNK) for t in self._tables)
            found: list[tuple[int, Item]] = []
            found += zip(messages["message"], self._depths(messages))
            found += zip(quotes["message"], map(Quote._make, quotes.select(Quote._fields).rows()))
            found += zip(trades["message"], map(Trade._make, trades.select(Trade._fields).rows()))
            yield from (item for _, item in sorted(found, key=lambda pair: pair[0]))

    @property
    def _tables(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        return self._messages, self._quotes, self._trades

    def _depths(self, messages: pl.DataFrame) -> list[Depth]:
        if not messages.height:
            return []
        numbers = messages["message"]
        near = _between(self._levels, numbers[0], numbers[-1] + 1)
        rows = near.select("side", "price", "quantity").rows()
        starts = near["message"].search_sorted(numbers, side="left")
        ends = near["message"].search_sorted(numbers, side="right")
        columns = messages.select(Depth._fields[:-1]).rows()
        return [
            Depth._make((*row, rows[first:last])) for row, first, last in zip(columns, starts, ends)
        ]


def _offset(tables: tuple[pl.DataFrame, ...]) -> int:
    """Return by how much the venue's clock was ahead of the recorder's, microseconds."""
    told = pl.concat([table.select("sent", "received_ns") for table in tables]).drop_nulls()
    if not told.height:
        return 0
    ahead = told["sent"].dt.epoch("us") - told["received_ns"] // 1000
    return round(float(np.median(ahead.to_numpy())))


def _timed(table: pl.DataFrame, offset: int) -> pl.DataFrame:
    """Say when each line is due, and write times as microseconds."""
    return table.with_columns(
        pl.col("sent").dt.epoch("us"),
        pl.col("time").dt.epoch("us"),
        due=pl.col("received_ns") // 1000 + offset,
    )


def _named(messages: pl.DataFrame) -> pl.DataFrame:
    """Number messages where the venue numbers none."""
    count = pl.int_range(pl.len()).over("symbol")
    return messages.with_columns(pl.col("last_id").fill_null(count + 1))


def _aggregated(trades: pl.DataFrame) -> pl.DataFrame:
    """Join what one taker did at one price in one moment."""
    same = ["time", "price", "taker_side"]
    new = pl.any_horizontal(pl.col(c).ne_missing(pl.col(c).shift(1)).over("symbol") for c in same)
    number = new.cast(pl.Int64).cum_sum().over("symbol")
    ids = pl.col("trade_id").fill_null(pl.int_range(pl.len()).over("symbol"))
    group = ["symbol", "aggregate"]
    return trades.with_columns(aggregate=number, named=ids).with_columns(
        first=pl.col("named").first().over(group),
        total=pl.col("quantity").sum().over(group),
        whole=pl.int_range(pl.len()).over(group) == pl.len().over(group) - 1,
    )


def _between(table: pl.DataFrame, low: int, high: int) -> pl.DataFrame:
    """Return the rows of the messages from `low` until before `high`."""
    first, last = table["message"].search_sorted(np.array([low, high]), side="left")
    return table[int(first) : int(last)]


def _digits(recording: Recording) -> dict[str, tuple[int, int]]:
    """Return how many decimals each symbol's prices and quantities have."""
    symbol = recording.messages.select("message", "symbol")
    sources: list[tuple[pl.DataFrame, Any, Any]] = [
        (recording.levels.join(symbol, on="message", how="left"), "price", "quantity"),
        (recording.trades, "price", "quantity"),
        (recording.quotes, "bid", "bid_quantity"),
        (recording.quotes, "ask", "ask_quantity"),
    ]
    parts = [t.select("symbol", price=p, quantity=q) for t, p, q in sources if t.height]
    found = {}
    for (name,), rows in pl.concat(parts).partition_by("symbol", as_dict=True).items():
        found[name] = (_decimals(rows["price"].unique()), _decimals(rows["quantity"].unique()))
    return found


def _decimals(values: pl.Series) -> int:
    """Return the fewest decimals that write every value.

    >>> _decimals(pl.Series([10.0, 0.25]))
    2
    """
    return next((d for d in range(8) if (values.round(d) == values).all()), 8)
