"""Bars as rows and as tables, and the windows of them that a live desk keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
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
    columns = dict(zip(Bar._fields, zip(*bars))) or dict.fromkeys(Bar._fields, ())
    opened = pl.Series("open_time", columns["open_time"], dtype=pl.Int64)
    kinds = {name: schema.BARS[name] for name in ("symbol", *_VALUES)}
    made = pl.DataFrame({name: columns[name] for name in kinds}, schema=kinds)
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
        found.setdefault(time, []).append(Bar._make((symbol, opened, *values, source)))
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
        self._kept: dict[str, _Kept] = {}
        for (symbol,), rows in bars.group_by("symbol", maintain_order=True):
            opened = rows.select(pl.col("open_time").dt.epoch("us"), *_VALUES)
            since = self._since(int(opened["open_time"][-1]) + interval)
            near = opened.filter(pl.col("open_time") >= since)
            floats = near.select(pl.col(_VALUES).cast(pl.Float64).fill_null(float("nan")))
            values = np.ascontiguousarray(floats.to_numpy().T)
            self._kept[str(symbol)] = _Kept(near["open_time"].to_numpy(), values)

    def _since(self, time: int) -> int:
        return (time - 1) // DAY_US * DAY_US - self._back

    def push(self, moment: Moment) -> None:
        """Take in the bars of a moment, and let go of those that nothing looks at any more."""
        since = self._since(moment.time)
        for bar in moment.bars:
            kept = self._kept.get(bar.symbol)
            if kept is None:
                kept = self._kept[bar.symbol] = _Kept(
                    np.empty(0, np.int64), np.empty((len(_VALUES), 0))
                )
            # what a window begins with must not move within a day: trimmed when a new one begins
            kept.forget(since)
            kept.add(bar.open_time, bar[2:11])

    def arrays(self, symbol: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Return when a symbol's bars opened and closed, and their values; NaN is not known."""
        opened, values = self._kept[symbol].views()
        return opened, opened + self._interval, dict(zip(_VALUES, values))

    def bars(self, symbols: Iterable[str] | None = None) -> pl.DataFrame:
        """Return the bars kept, of some symbols or all, as `schema.BARS`."""
        wanted = sorted(self._kept if symbols is None else set(symbols) & self._kept.keys())
        if not wanted:
            return pl.DataFrame(schema=schema.BARS)
        return pl.concat([self._table(symbol) for symbol in wanted])

    def _table(self, symbol: str) -> pl.DataFrame:
        opened, closed, columns = self.arrays(symbol)
        made = pl.DataFrame(
            [
                pl.Series("open_time", opened).cast(schema.TIME),
                pl.Series("time", closed).cast(schema.TIME),
                *(pl.Series(name, values, nan_to_null=True) for name, values in columns.items()),
            ]
        ).with_columns(pl.col("trades").cast(pl.Int64), symbol=pl.lit(symbol))
        return made.select(*schema.BARS)


class _Kept:
    """One symbol's bars, with room behind the newest: the next is written where it will stay.

    What was handed out is never written to again.
    """

    def __init__(self, opened: np.ndarray, values: np.ndarray) -> None:
        self._opened, self._values = opened, values
        self._first, self._end = 0, len(opened)

    def views(self) -> tuple[np.ndarray, np.ndarray]:
        """Return when the bars opened, (n_bars,), and their values, (n_values, n_bars)."""
        kept = slice(self._first, self._end)
        return self._opened[kept], self._values[:, kept]

    def forget(self, since: int) -> None:
        """Let go of bars that opened before `since`."""
        if self._first < self._end and self._opened[self._first] < since:
            opened, _ = self.views()
            self._first += int(np.searchsorted(opened, since))

    def add(self, opened: int, values: Sequence[float | None]) -> None:
        """Take in the next bar; None is not known."""
        if self._end == len(self._opened):
            self._grow()
        self._opened[self._end] = opened
        self._values[:, self._end] = [np.nan if value is None else value for value in values]
        self._end += 1

    def _grow(self) -> None:
        opened, values = self.views()
        size = len(opened)
        self._opened = np.empty(2 * size + 64, np.int64)
        self._values = np.empty((len(values), 2 * size + 64))
        self._opened[:size], self._values[:, :size] = opened, values
        self._first, self._end = 0, size
