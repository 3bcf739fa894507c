"""Feature tables: one row per bar, in anchored windows, by the same call in batch and live.

The row at t is computed from a window that begins at the start of a UTC day, the last one from
which the set's warm-up lies before the row's own day, or at the last gap if that is later, and ends
at t. TA-Lib's running sums depend on where a window begins, in the last bits; with the beginning a
matter of the calendar, a batch over years and a live call over two days give bit-equal values.

A row follows the one before it when it opened as that one closed. That holds for bars on a clock
and for traded ones (`bars.volume_bars`), which are of uneven length and say so by a column `parts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.features import aggregates, cross
from research.features.kernels import evaluated
from research.features.returns import SIGMA_BARS, sigma
from research.features.sets import FeatureSet
from research.features.warmup import warmup

_DAY = timedelta(days=1)
_US = timedelta(microseconds=1)
Progress = Callable[[int, int, str], None]


def evaluate(bars: pl.DataFrame, feature_set: FeatureSet) -> pl.DataFrame:
    """Evaluate every feature in one pass over each symbol: no anchoring, no warm-up mask.

    Parameters
    ----------
    bars : pl.DataFrame, shape (n_rows, ...)
        Bars of any number of symbols, sorted by symbol and time. Gaps are not looked at.
    feature_set : FeatureSet
        What to evaluate.

    Returns
    -------
    pl.DataFrame, shape (n_rows, 2 + n_features)
        symbol, time and the columns; null where a feature has no value yet.

    Notes
    -----
    Fast, for a look at a feature. Values just after the start of the series are not yet settled,
    and rows differ in the last bits from those a live window gives: train and trade on `build`.
    """
    bars = cross.columns(bars, feature_set.cross)
    starts = np.flatnonzero(_changes(bars["symbol"]))
    ends = [*starts[1:].tolist(), bars.height]
    symbols = [bars.slice(a, b - a) for a, b in zip(starts.tolist(), ends)]
    # polars runs an expression with Python inside on one thread; TA-Lib lets go of the interpreter
    workers = pl.thread_pool_size()
    shares = _shares(
        [*map(pl.col, schema.KEY), *feature_set.exprs], 1 if len(symbols) > 1 else workers
    )
    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(lambda job: evaluated(*job), product(symbols, shares)))
    rows = [
        pl.concat(parts[i : i + len(shares)], how="horizontal")
        for i in range(0, len(parts), len(shares))
    ]
    return pl.concat(rows) if rows else bars.select(*schema.KEY, *feature_set.exprs)


def _shares(exprs: list[pl.Expr], number: int) -> list[list[pl.Expr]]:
    return [exprs[i::number] for i in range(number)]


def build(
    bars: Any,
    feature_set: FeatureSet,
    *,
    interval: timedelta,
    sigma_bars: int = SIGMA_BARS,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Compute the feature table of `bars`: the one that models are trained on and traded with.

    Parameters
    ----------
    bars : pl.DataFrame or pd.DataFrame
        `schema.BARS`, of any number of symbols.
    feature_set : FeatureSet
        From `resolve`.
    interval : timedelta
        Length of one bar; of traded bars, the usual one.
    sigma_bars : int
        Returns in `sigma`, the volatility that scales targets.
    progress : callable, optional
        Called as ``progress(done, total, label)`` after each window.

    Returns
    -------
    pl.DataFrame, shape (n_rows, 3 + n_features)
        symbol, time, the feature columns (Float64) and sigma, one row per bar. A row's feature
        columns are all null where fewer than `warmup` bars lie before it since the last gap, or
        where any of them is not known. sigma is null in the first `sigma_bars` bars after a gap
        and where the price has not moved in so many. No NaN, no infinity.

    Raises
    ------
    UserError
        If the bars are of another interval, a feature never forgets where it began, one has no
        value at all because the source of the bars lacks a column, or one reads order flow that
        these bars have not beside them.

    Notes
    -----
    The row at t knows bars up to and including t of its own symbol, and of the others what a
    column of `cross` says of them. `latest` computes the same
    row, bit for bit, from the bars since the anchor alone. Of traded bars, warm-up and
    `sigma_bars` count bars, and sigma is the volatility of one bar, however long it took.
    """
    bars = _checked(bars, interval)
    aggregates.refuse_what_is_not_beside(bars, feature_set.beside)
    cross.refuse_what_is_lonely(bars, feature_set.cross)
    bars = cross.columns(bars, feature_set.cross)
    plan = _plan(bars, feature_set, interval, sigma_bars)
    units = list(plan.units())
    exprs = [*feature_set.exprs, sigma(sigma_bars).alias("sigma")]
    values = np.full((bars.height, len(exprs)), np.nan, order="F")
    for done, unit in enumerate(units, start=1):
        values[unit.start : unit.end] = _evaluated(bars, unit, exprs)
        if progress:
            progress(done, len(units), bars["symbol"][unit.start])
    settled = plan.position >= plan.needed
    _refuse_what_bars_lack(bars, feature_set, values, settled)
    return _table(bars, values, feature_set.names, settled)


def latest(
    bars_window: Any,
    feature_set: FeatureSet,
    *,
    interval: timedelta,
    sigma_bars: int = SIGMA_BARS,
) -> pl.DataFrame:
    """Compute the newest row of each symbol: the live call.

    Parameters
    ----------
    bars_window : pl.DataFrame or pd.DataFrame
        Bars that reach back at least `lookback` before the UTC day of the newest bar, or to the
        symbol's first bar; older ones are not looked at. Of traded bars, whose number a day
        differs: to the start of a day from which as many lie before the newest bar's day.
    feature_set, interval, sigma_bars
        As in `build`.

    Returns
    -------
    pl.DataFrame, shape (n_symbols, 3 + n_features)
        Bit-equal to the last row per symbol of `build` over any longer history.
    """
    bars = cross.columns(_checked(bars_window, interval), feature_set.cross)
    plan = _plan(bars, feature_set, interval, sigma_bars)
    exprs = [*feature_set.exprs, sigma(sigma_bars).alias("sigma")]
    units = list(plan.newest())
    rows = np.array([unit.end - 1 for unit in units], dtype=np.int64)
    values = np.full((len(units), len(exprs)), np.nan, order="F")
    for i, unit in enumerate(units):
        values[i] = _evaluated(bars, unit, exprs)[-1]
    return _table(bars[rows], values, feature_set.names, plan.position[rows] >= plan.needed)


def lookback(
    feature_set: FeatureSet, *, interval: timedelta, sigma_bars: int = SIGMA_BARS
) -> timedelta:
    """Return how far before the UTC day of its row a window begins: whole days.

    Returns
    -------
    timedelta
        The longer of warm-up and sigma's bars, rounded up to days. A live buffer must hold this
        much and the day so far.
    """
    bars = max(warmup(feature_set, interval=interval), sigma_bars)
    return math.ceil(bars * interval / _DAY) * _DAY


@dataclass(frozen=True, slots=True)
class _Unit:
    """Rows [start, end) of one UTC day between gaps, and where their window begins."""

    window: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which windows to evaluate. Arrays are of one entry per (run between gaps, UTC day)."""

    windows: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    runs: np.ndarray  # first row of each unit's run
    last: np.ndarray  # whether the unit is its symbol's newest
    position: np.ndarray  # of each row in its run
    needed: int  # rows of a run before its first full row
    sigma_bars: int

    def units(self, only: np.ndarray | None = None) -> Iterator[_Unit]:
        # runs too short for any value are never evaluated: gappy data has thousands of them
        useful = self.ends - self.runs > min(self.needed, self.sigma_bars)
        for i in np.flatnonzero(useful if only is None else only):
            yield _Unit(int(self.windows[i]), int(self.starts[i]), int(self.ends[i]))

    def newest(self) -> Iterator[_Unit]:
        return self.units(self.last)


def _plan(
    bars: pl.DataFrame, feature_set: FeatureSet, interval: timedelta, sigma_bars: int
) -> _Plan:
    needed, day = warmup(feature_set, interval=interval), _DAY // _US
    opened, closed = (bars[c].to_physical().to_numpy() for c in ("open_time", "time"))
    symbol = _changes(bars["symbol"])
    gap = symbol.copy()
    gap[1:] |= opened[1:] != closed[:-1]
    midnight = np.append([True], np.diff(opened // day) != 0)[: len(opened)]
    starts = np.flatnonzero(gap | midnight)
    ends = np.append(starts[1:], len(opened))[: len(starts)]
    first = np.maximum.accumulate(np.where(gap, np.arange(len(opened)), 0))
    runs = first[starts]
    # the last day of the run, or its beginning, from which enough rows lie before the unit
    anchors = np.searchsorted(starts, starts - max(needed, sigma_bars), side="right") - 1
    return _Plan(
        windows=np.maximum(runs, starts[np.maximum(anchors, 0)]),
        starts=starts,
        ends=ends,
        runs=runs,
        last=np.append(symbol[ends[:-1]], True)[: len(starts)],
        position=np.arange(len(opened)) - first,
        needed=needed,
        sigma_bars=sigma_bars,
    )


def _evaluated(bars: pl.DataFrame, unit: _Unit, exprs: list[pl.Expr]) -> np.ndarray:
    window = bars.slice(unit.window, unit.end - unit.window)
    return evaluated(window, exprs).slice(unit.start - unit.window).to_numpy()


def _refuse_what_bars_lack(
    bars: pl.DataFrame, feature_set: FeatureSet, values: np.ndarray, settled: np.ndarray
) -> None:
    """A column without any value would empty every row: say which, and why."""
    may_lack = [*schema.EXTRAS, *feature_set.beside]
    lacking = [c for c in may_lack if bars[c].null_count() == bars.height]
    for i, (name, feature) in enumerate(feature_set.columns.items()):
        needs = [c for c in lacking if c in feature.expr.meta.root_names()]
        if needs and settled.any() and np.isnan(values[settled, i]).all():
            raise UserError(
                f"feature {name!r}: has no value in any row: these bars have no "
                f"{', '.join(needs)}. Leave it out (features.groups.{feature.group} = false)."
            )


def _table(
    bars: pl.DataFrame, values: np.ndarray, names: list[str], settled: np.ndarray
) -> pl.DataFrame:
    """Write null in all of a row's features where one is not known; sigma stands by itself."""
    features = values[:, :-1]
    features[~settled | np.isnan(features).any(axis=1)] = np.nan
    columns = (
        pl.Series(name, values[:, i], nan_to_null=True) for i, name in enumerate([*names, "sigma"])
    )
    return bars.select(schema.KEY).with_columns(columns)


def _changes(symbol: pl.Series) -> np.ndarray:
    return (symbol != symbol.shift(1)).fill_null(True).to_numpy()


def _checked(bars: Any, interval: timedelta) -> pl.DataFrame:
    table = schema.as_table(bars, schema.BARS, "bars").rechunk()
    other = (table["time"] - table["open_time"]) != interval
    if "parts" not in table.columns and other.any():
        found = table.filter(other).select(pl.col("time") - pl.col("open_time")).item(0, 0)
        raise UserError(
            f"features: bars of {interval} expected, found one of {found} at "
            f"{schema.at(table, other)}. Resample the bars, or name their interval."
        )
    return table
