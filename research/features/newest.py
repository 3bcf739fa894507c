"""The newest row of one symbol at a time, from arrays: the live call, past all tables.

`latest` checks its table, plans its windows and computes whole columns to keep their last values.
A runner knows its bars and wants one row a bar: here a pure window is computed where it ends, and
only what remembers its beginning (running sums) from the anchor on. The bits are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.features.kernels import Made, evaluated, made_of
from research.features.returns import SIGMA_BARS, sigma
from research.features.sets import FeatureSet
from research.features.warmup import warmup

_DAY_US = 86_400_000_000
Columns = Mapping[str, np.ndarray]


class Newest:
    """The newest row of a feature set.

    Parameters
    ----------
    feature_set : FeatureSet
        From `resolve`.
    interval : timedelta
        Length of one bar.
    sigma_bars : int
        As in `build`.

    Raises
    ------
    UserError
        If a column looks at other symbols: `latest` is the way of such sets.
    """

    def __init__(
        self, feature_set: FeatureSet, *, interval: timedelta, sigma_bars: int = SIGMA_BARS
    ) -> None:
        if feature_set.cross:
            raise UserError(f"features: set {feature_set.name} looks at other symbols; use latest.")
        exprs = [*feature_set.exprs, sigma(sigma_bars).alias("sigma")]
        self._hearts = {k: made for k, e in enumerate(exprs) if (made := made_of(e))}
        self._others = {k: e for k, e in enumerate(exprs) if k not in self._hearts}
        self._width, self._sigma_bars = len(exprs), sigma_bars
        self._needed = warmup(feature_set, interval=interval)

    def row(
        self, symbol: str, opened: np.ndarray, closed: np.ndarray, columns: Columns
    ) -> tuple[np.ndarray, float]:
        """Compute the row of the last bar.

        Parameters
        ----------
        symbol : str
            Whose bars they are.
        opened, closed : np.ndarray of int64, shape (n_rows,)
            Of the bars in order, microseconds since 1970 UTC; as far back as `latest` wants them.
        columns : mapping of str to np.ndarray, shape (n_rows,)
            Of the same bars; NaN is not known.

        Returns
        -------
        np.ndarray, shape (n_features,)
            All NaN where one of them is not known.
        float
            sigma; NaN where it is not known.
        """
        start, position = self._window(opened, closed)
        values = np.full(self._width, np.nan)
        if position >= min(self._needed, self._sigma_bars):
            part = {name: column[start:] for name, column in columns.items()}
            look = _Look(part)
            for k, made in self._hearts.items():
                values[k] = look.tail(made, 1)[0]
            values[list(self._others)] = self._other(symbol, opened[start:], closed[start:], part)
        if position < self._needed or np.isnan(values[:-1]).any():
            values[:-1] = np.nan
        return values[:-1], float(values[-1])

    def _other(
        self, symbol: str, opened: np.ndarray, closed: np.ndarray, columns: Columns
    ) -> list[float]:
        """Values of what is no heart, by way of polars."""
        times = {"open_time": opened, "time": closed}
        bars = pl.DataFrame(
            [
                *(pl.Series(name, column, nan_to_null=True) for name, column in columns.items()),
                *(pl.Series(name, column).cast(schema.TIME) for name, column in times.items()),
            ]
        ).with_columns(symbol=pl.lit(symbol))
        row = evaluated(bars, list(self._others.values())).row(-1)
        return [np.nan if value is None else value for value in row]

    def _window(self, opened: np.ndarray, closed: np.ndarray) -> tuple[int, int]:
        """Return where the last bar's window begins, and how many bars lie before it in its run."""
        last = len(opened) - 1
        gaps = np.flatnonzero(opened[1:] != closed[:-1])
        run = int(gaps[-1]) + 1 if len(gaps) else 0
        today = _first_of_day(opened, last)
        # the last day of the run, or its beginning, from which enough rows lie before the day
        enough = max(today, run) - max(self._needed, self._sigma_bars)
        begin = run if enough <= run else max(run, _first_of_day(opened, enough))
        return begin, last - run


def _first_of_day(opened: np.ndarray, row: int) -> int:
    return int(np.searchsorted(opened, opened[row] // _DAY_US * _DAY_US))


class _Look:
    """The last values of what hearts make of some columns, each computed once."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._rows = len(next(iter(columns.values())))
        self._seen: dict[tuple[object, int], np.ndarray] = {}

    def tail(self, made: str | Made, count: int) -> np.ndarray:
        """Return the last `count` values, NaN before the first there is."""
        if isinstance(made, str):
            return self._columns[made][max(self._rows - count, 0) :]
        count = min(count, self._rows)
        found = self._seen.get((made.form, count))
        if found is None:
            found = self._seen[made.form, count] = self._made(made, count)
        return found

    def _made(self, made: Made, count: int) -> np.ndarray:
        if made.lookback is None:
            if count < self._rows:
                return self.tail(made, self._rows)[self._rows - count :]
            return np.asarray(made.heart(*(self.tail(one, count) for one in made.inputs)))
        wanted = min(count + made.lookback, self._rows)
        values = np.full(count, np.nan)
        if wanted > made.lookback:
            pieces = (self.tail(one, wanted) for one in made.inputs)
            values[count - wanted + made.lookback :] = made.heart(*pieces)
        return values
