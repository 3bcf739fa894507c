"""Bars as rows and as tables, and the windows of them that a live desk keeps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import polars as pl

from research import schema
from research.live.moments import Bar, Moment

DAY_US = 86_400_000_000
_VALUES = Bar._fields[2:11]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


def at(micros: int) -> datetime:
    """Return a time in microseconds since 1970 as a moment in UTC.

    >>> at(60_000_000).isoformat()
    '1970-01-01T00:01:00+00:00'
    """
    return _EPOCH + micros * _US


def micros(moment: datetime) -> int:
    """Return a moment as microseconds since 1970.

    >>> micros(at(5))
    5
    """
    return (moment - _EPOCH) // _US


def table(bars: Iterable[Bar], interval: int) -> pl.DataFrame:
    """Return bars of `interval` microseconds as `schema.BARS`, sorted by symbol and time.

    >>> table([Bar("A", 0, 1.0, 2.0, 1.0, 2.0, 5.0)], 60_000_000)["time"].dt.epoch("ms").item()
    60000
    """
    rows = list(bars)
    columns = {name: [getattr(bar, name) for bar in rows] for name in ("symbol", *_VALUES)}
    opened = pl.Series("open_time", [bar.open_time for bar in rows], dtype=pl.Int64)
    made = pl.DataFrame(columns, schema={name: schema.BARS[name] for name in columns})
    made = made.with_columns(
        opened.cast(schema.TIME), (opened + interval).cast(schema.TIME).alias("time")
    )
    return made.select(*schema.BARS).sort(schema.KEY)


def moments(bars: pl.DataFrame, source: str = "replay") -> list[Moment]:
    """Return a table of bars as moments in the order of time, known at their close.

    >>> one = table([Bar("A", 0, 1.0, 2.0, 1.0, 2.0, 5.0)], 60_000_000)
    >>> [(moment.time, moment.bars[0].close) for moment in moments(one)]
    [(60000000, 2.0)]
    """
    ordered = bars.sort("time", "symbol")
    plain = ordered.select(
        "symbol", pl.col("open_time", "time").dt.epoch("us"), *_VALUES
    ).iter_rows()
    found: dict[int, list[Bar]] = {}
    for symbol, opened, time, *values in plain:
        found.setdefault(time, []).append(Bar(symbol, opened, *values, source))
    return [Moment(time, tuple(rows), time) for time, rows in found.items()]


class Window:
    """The newest bars of every symbol, as far back as features and costs look.

    Parameters
    ----------
    bars : pl.DataFrame
        `schema.BARS`; what is known at the start.
    back : int
        How far before the UTC day of the newest bar it reaches, in microseconds.
    interval : int
        Length of a bar, in microseconds.
    """

    def __init__(self, bars: pl.DataFrame, *, back: int, interval: int) -> None:
        self._back, self._interval = back, interval
        self._kept = {
            symbol: rows
            for (symbol,), rows in bars.select(*schema.BARS).group_by("symbol", maintain_order=True)
        }

    def push(self, moment: Moment) -> None:
        """Take in the bars of a moment, and let go of those that nothing looks at any more."""
        since = (moment.time - 1) // DAY_US * DAY_US - self._back
        for (symbol,), row in table(moment.bars, self._interval).group_by("symbol"):
            kept = self._kept.get(symbol)
            rows = row if kept is None else pl.concat([kept, row])
            opened = pl.col("open_time") >= pl.lit(since).cast(schema.TIME)
            # trimmed once a day: what a window begins with must not move in between
            stale = rows["open_time"].dt.epoch("us").item(0) < since
            self._kept[symbol] = (rows.filter(opened) if stale else rows).rechunk()

    def bars(self, symbols: Iterable[str] | None = None) -> pl.DataFrame:
        """Return the bars kept, of some symbols or all, sorted by symbol and time."""
        wanted = sorted(self._kept if symbols is None else set(symbols) & self._kept.keys())
        if not wanted:
            return pl.DataFrame(schema=schema.BARS)
        return pl.concat([self._kept[symbol] for symbol in wanted])
