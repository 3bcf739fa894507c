"""From forecasts to bins: which of 1 .. `bins` a forecast falls into, and who could have known.

`trailing` and `fold` use cut-points that were known before the forecast. `timestamp`, `date` and
`global` rank a forecast among others that came at the same time or later; the last two look into
the future and are for diagnosis alone (`timestamp` needs every symbol's forecast of that moment).
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError, nearest

Scope = Literal["trailing", "fold", "timestamp", "date", "global"]

CAUSAL = ("trailing", "fold")
SCOPES = (*CAUSAL, "timestamp", "date", "global")
MIN_ROWS = 30
FIRST_SHARE = 23 / 24
"""Of a period: how much must lie before the first that has cut-points; warm-up takes the rest."""
_US = timedelta(microseconds=1)
_DAY_US = 86_400_000_000


def assign(
    forecasts: Any,
    *,
    bins: int,
    scope: Scope = "trailing",
    window: timedelta = timedelta(days=3),
    every: timedelta = timedelta(days=1),
) -> pl.DataFrame:
    """Add `bin`, 1 for the lowest forecasts up to `bins` for the highest.

    Parameters
    ----------
    forecasts : polars or pandas frame
        With `symbol`, `time` and `forecast`; for ``scope="fold"`` also `fold`.
    bins : int
        Number of bins, at least 2; may exceed the number of rows that are ranked.
    scope : {"trailing", "fold", "timestamp", "date", "global"}
        Where the cut-points come from:

        - ``trailing``: the forecasts of all symbols in ``[P - window, P)``, for the period of
          length `every` that begins at P; the UTC day if left as it is.
        - ``fold``: the forecasts of the fold before.
        - ``timestamp``, ``date``, ``global``: the rank among the forecasts of the same moment,
          the same UTC day, or the whole table.
    window, every : timedelta
        For ``trailing`` alone. Models that are replaced more often than daily want cut-points
        as often.

    Returns
    -------
    pl.DataFrame
        The same rows with `bin` (Int32). Null where the forecast is; in ``trailing`` until
        forecasts of nearly one period (23 hours of a day) lie before the period, and where the
        window holds under 30 forecasts; in ``fold`` in the first fold; in the others where a
        forecast is alone in its group.

    Raises
    ------
    UserError
        If `bins` is below 2, the scope is unknown, a span is not above zero, or ``timestamp`` is
        asked for with a single symbol.
    TableError
        If a column is missing or rows are out of order.

    Notes
    -----
    A bar that ends at midnight belongs to the day it was in, and so for any period. Equal
    forecasts share a bin: by their average rank, or midway between the cut-points that they
    equal, never by their order. With more bins than ranked rows the lowest is in bin 1, the
    highest in bin `bins`, and the rest lie evenly between.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> times = [datetime(2025, 1, 1, 0, m, tzinfo=UTC) for m in (1, 2, 3, 4)]
    >>> table = pl.DataFrame({"symbol": "A", "time": times, "forecast": [0.3, 0.1, 0.1, 0.4]})
    >>> assign(table, bins=2, scope="date")["bin"].to_list()
    [2, 1, 1, 2]
    """
    _check(bins, scope, window, every)
    columns = {"symbol": pl.String, "time": schema.TIME, "forecast": pl.Float64}
    columns |= {"fold": pl.String} if scope == "fold" else {}
    table = schema.as_table(forecasts, columns, "forecasts")
    if scope == "trailing":
        found = _trailing(table, bins, window // _US, every // _US)
    elif scope == "fold":
        found = _by_fold(table, bins)
    elif scope == "timestamp":
        found = _by_timestamp(table, bins)
    else:
        found = _by_rank(table, bins, scope)
    return _with_bin(table, found)


def _check(bins: int, scope: str, window: timedelta, every: timedelta) -> None:
    if bins < 2:
        raise UserError(f"assign: bins must be at least 2, got {bins}.")
    if scope not in SCOPES:
        hint = nearest(scope, list(SCOPES))
        raise UserError(f"assign: unknown scope {scope!r}.{hint} Known: {', '.join(SCOPES)}.")
    for name, span in (("window", window), ("every", every)):
        if span <= timedelta(0):
            raise UserError(f"assign: {name} must be above zero, got {span}.")


def _with_bin(table: pl.DataFrame, found: np.ndarray) -> pl.DataFrame:
    """Attach bins; 0 stands for unknown."""
    column = pl.Series("bin", found, pl.Int32)
    return table.with_columns(column.replace(0, None))


def _known_by_time(table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places in the table of known forecasts in time order, their times, and the forecasts."""
    time = table["time"].to_physical().to_numpy()
    value = table["forecast"].fill_null(float("nan")).to_numpy()
    order = np.argsort(time, kind="stable")  # symbols are sorted runs: merged, not sorted
    order = order[~np.isnan(value[order])]
    return order, time[order], value[order]


def _trailing(table: pl.DataFrame, bins: int, window: int, every: int) -> np.ndarray:
    """Bins by the cut-points of what came before; the loop runs over periods, not rows."""
    order, time, value = _known_by_time(table)
    found = np.zeros(table.height, np.int32)
    for start in np.unique((time - 1) // every) * every:
        # rows of period P are later than P; cut-points end before it
        first, last = np.searchsorted(time, [start - window, start])
        rows = slice(*np.searchsorted(time, [start + 1, start + every + 1]))
        if start - time[0] >= FIRST_SHARE * every and last - first >= MIN_ROWS:
            found[order[rows]] = _place(value[rows], value[first:last], bins)
    return found


def _by_fold(table: pl.DataFrame, bins: int) -> np.ndarray:
    order, time, value = _known_by_time(table)
    fold = table["fold"].to_numpy()[order]
    found = np.zeros(table.height, np.int32)
    names = sorted(table["fold"].drop_nulls().unique())
    for before, name in pairwise(names):
        rows = np.flatnonzero(fold == name)
        # folds may overlap; what came after this one began is not known to it
        past = (fold == before) & (time < time[rows].min(initial=np.iinfo(np.int64).max))
        if past.sum() >= MIN_ROWS:
            found[order[rows]] = _place(value[rows], value[past], bins)
    return found


def _place(values: np.ndarray, past: np.ndarray, bins: int) -> np.ndarray:
    """Bin of each value among the linear quantiles of `past`."""
    return _among(values, _cuts(past, bins))


def _cuts(past: np.ndarray, bins: int) -> np.ndarray:
    ordered = np.sort(past)
    at = np.arange(1, bins) / bins * (len(ordered) - 1)
    return np.interp(at, np.arange(len(ordered)), ordered)


def _among(values: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    below, at_most = (np.searchsorted(cuts, values, side) for side in ("left", "right"))
    return 1 + (below + at_most) // 2


def _by_timestamp(table: pl.DataFrame, bins: int) -> np.ndarray:
    if table["symbol"].n_unique() < 2:
        raise UserError(
            "assign: scope 'timestamp' ranks symbols against each other, found one symbol. "
            "Use 'trailing', or give several symbols."
        )
    forecast = pl.col("forecast")
    found = table.select(
        rank=forecast.rank("average").over("time"), rows=forecast.count().over("time")
    )
    known = found["rank"].is_not_null().to_numpy()
    bin_ = np.zeros(table.height, np.int32)
    ranks, rows = (found[c].to_numpy()[known] for c in ("rank", "rows"))
    bin_[known] = _bin_of(ranks, rows, bins)
    return bin_


def _by_rank(table: pl.DataFrame, bins: int, scope: Scope) -> np.ndarray:
    """Bins by the rank in the day or the whole; sorting day by day stays in the cache."""
    order, time, value = _known_by_time(table)
    day = (time - 1) // _DAY_US if scope == "date" else np.zeros(len(time))
    edges = np.flatnonzero(np.diff(day)) + 1
    found = np.zeros(table.height, np.int32)
    for rows in (slice(a, b) for a, b in pairwise([0, *edges.tolist(), len(time)])):
        ranks = _average_rank(value[rows])
        found[order[rows]] = _bin_of(ranks, np.full(len(ranks), len(ranks)), bins)
    return found


def _average_rank(values: np.ndarray) -> np.ndarray:
    order = np.argsort(values)
    ordered = values[order]
    new = np.flatnonzero(np.diff(ordered)) + 1
    rank = np.arange(1.0, len(values) + 1)
    if len(new) + 1 < len(values):  # ties: the middle of their run
        ends = np.concatenate(([0], new, [len(values)]))
        rank = np.repeat((ends[:-1] + 1 + ends[1:]) / 2, np.diff(ends))
    ranks = np.empty(len(values))
    ranks[order] = rank
    return ranks


def _bin_of(rank: np.ndarray, rows: np.ndarray, bins: int) -> np.ndarray:
    """Bin of an average rank: equal counts, or spread over the bins where these are more."""
    even = (rank - 0.5) * bins // rows
    spread = np.rint((rank - 1) * (bins - 1) / np.maximum(rows - 1, 1))
    place = 1 + np.where(rows >= bins, even, spread)
    return np.where(rows > 1, place, 0).astype(np.int32)  # alone there is no order


class Trailing:
    """Bins one moment at a time: what `assign` says of the same forecasts in scope ``trailing``.

    Parameters
    ----------
    bins, window, every
        As for `assign`.

    Examples
    --------
    >>> live = Trailing(bins=2, window=timedelta(hours=2), every=timedelta(hours=1))
    >>> for minute in range(1, 61):
    ...     _ = live.update(minute * 60_000_000, np.array([float(minute)]))
    >>> live.update(61 * 60_000_000, np.array([20.0, 40.0, np.nan])).tolist()
    [1, 2, 0]
    """

    def __init__(self, *, bins: int, window: timedelta, every: timedelta) -> None:
        _check(bins, "trailing", window, every)
        self._bins, self._window, self._every = bins, window // _US, every // _US
        self._times: list[int] = []
        self._values: list[float] = []
        self._first: int | None = None
        self._period, self._now = -1, np.empty(0)

    def update(self, time: int, forecasts: np.ndarray) -> np.ndarray:
        """Take all forecasts of one moment, in microseconds since 1970, and return their bins.

        Returns
        -------
        np.ndarray of int64
            0 where a forecast or the cut-points are not known.
        """
        period = (time - 1) // self._every * self._every
        if period != self._period:
            self._renew(period)
        known = ~np.isnan(forecasts)
        found = np.zeros(len(forecasts), np.int64)
        if len(self._now):
            found[known] = _among(forecasts[known], self._now)
        if known.any() and self._first is None:
            self._first = time
        self._times += [time] * int(known.sum())
        self._values += forecasts[known].tolist()
        return found

    def _renew(self, period: int) -> None:
        """Cut anew at the start of a period, and forget what no later period looks at."""
        self._period, times = period, np.array(self._times, dtype=np.int64)
        first, last = np.searchsorted(times, [period - self._window, period])
        begun = self._first is not None and period - self._first >= FIRST_SHARE * self._every
        enough = begun and last - first >= MIN_ROWS
        past = np.array(self._values[first:last])
        self._now = _cuts(past, self._bins) if enough else np.empty(0)
        self._times, self._values = self._times[first:], self._values[first:]
