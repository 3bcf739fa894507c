"""The newest row of one symbol at a time, from arrays: the live call, past all tables.

`latest` checks its table, plans its windows and computes whole columns to keep their last values.
A runner knows its bars and wants one row a bar: here a pure window is computed where it ends, and
only what remembers its beginning (running sums) from the anchor on. The bits are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.features import running
from research.features.kernels import Heart, Made, evaluated, made_of
from research.features.returns import SIGMA_BARS, sigma
from research.features.sets import FeatureSet
from research.features.warmup import warmup

_DAY_US = 86_400_000_000
_ALL = 1 << 40
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
        exprs = feature_set.exprs
        self._quick_sigma = running.same_as_polars(sigma_bars)
        if not self._quick_sigma:
            exprs.append(sigma(sigma_bars).alias("sigma"))
        hearts = {k: made for k, e in enumerate(exprs) if (made := made_of(e))}
        others = {k: e for k, e in enumerate(exprs) if k not in hearts}
        self._places, self._hearts = list(hearts), _Tails(list(hearts.values()))
        self._rest, self._others = list(others), list(others.values())
        self._read = {name for e in self._others for name in e.meta.root_names()}
        self._width, self._sigma_bars = len(feature_set.columns) + 1, sigma_bars
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
            values[self._places] = self._hearts.last(part)
            if self._rest:
                values[self._rest] = self._other(symbol, opened[start:], closed[start:], part)
            if self._quick_sigma:
                values[-1] = running.last_sigma(part["close"], self._sigma_bars)
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
                *(pl.Series(n, c, nan_to_null=True) for n, c in columns.items() if n in self._read),
                *(pl.Series(n, c).cast(schema.TIME) for n, c in times.items()),
            ]
        ).with_columns(symbol=pl.lit(symbol))
        row = evaluated(bars, self._others).row(-1)
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


class _Step(NamedTuple):
    """A heart, and how many of its newest values others look at."""

    heart: Heart
    lookback: int | None
    inputs: tuple[str | int, ...]
    """Columns of the bars by name, what steps before made by number."""
    newest: int


class _Tails:
    """The last values of hearts, each computed once and as far back as another looks at it.

    A pure window's bits do not depend on how many of its values are asked for at once.
    """

    def __init__(self, wanted: Sequence[Made]) -> None:
        order: dict[Any, Made] = {}
        for one in wanted:
            _in_order(one, order)
        numbers = {form: number for number, form in enumerate(order)}
        counts = dict.fromkeys((one.form for one in wanted), 1)
        for form, one in reversed(order.items()):
            needed = _ALL if one.lookback is None else counts[form] + one.lookback
            for inner in one.inputs:
                if isinstance(inner, Made):
                    counts[inner.form] = max(counts.get(inner.form, 0), needed)
        self._steps = [
            _Step(
                one.heart,
                one.lookback,
                tuple(i if isinstance(i, str) else numbers[i.form] for i in one.inputs),
                counts[form],
            )
            for form, one in order.items()
        ]
        self._wanted = [numbers[one.form] for one in wanted]

    def last(self, columns: Columns) -> list[float]:
        """Return the last value of each wanted heart; NaN where there is none yet."""
        found: list[np.ndarray] = []
        rows = len(next(iter(columns.values())))
        for heart, lookback, inputs, newest in self._steps:
            arrays = [columns[i] if isinstance(i, str) else found[i] for i in inputs]
            if lookback is None:
                found.append(np.asarray(heart(*arrays)))
                continue
            seen = min(newest + lookback, rows)
            values = np.full(min(newest, rows), np.nan)
            if seen > lookback:
                made = heart(*(array[len(array) - seen :] for array in arrays))
                values[len(values) - len(made) :] = made
            found.append(values)
        return [found[number][-1] for number in self._wanted]


def _in_order(made: Made, order: dict[Any, Made]) -> None:
    """Add what is made of nothing that comes later."""
    for one in made.inputs:
        if isinstance(one, Made) and one.form not in order:
            _in_order(one, order)
    order.setdefault(made.form, made)
