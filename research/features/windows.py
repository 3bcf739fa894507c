"""Hearts that several themes share: means, sums, deviations and slopes of the last bars.

What looks at a fixed number of bars is computed afresh for every bar, so nothing of earlier bars
lingers in it: a stretch without a move has a deviation of exactly zero. The loops are plain Python
on arrays, compiled at first use and kept on disk.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from research.features.kernels import numpy_expr
from research.features.loops import compiled, window_sums

_SMALLEST = 1e-300


def ratio(part: pl.Expr, whole: pl.Expr, empty: float = 0.0) -> pl.Expr:
    """Return ``part / whole``, and `empty` where `whole` is zero; null where either is null.

    >>> table = pl.DataFrame({"a": [1.0, 0.0, None], "b": [2.0, 0.0, 0.0]})
    >>> table.select(ratio(pl.col("a"), pl.col("b"))).to_series().to_list()
    [0.5, 0.0, None]
    """
    return pl.when(whole == 0).then(part * 0.0 + empty).otherwise(part / whole)


def shares_of(part: np.ndarray, whole: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return ``part / whole`` of what is exactly zero whenever `whole` is, and then 0.

    >>> shares_of(np.array([1.0, 0.0]), np.array([2.0, 0.0])).tolist()
    [0.5, 0.0]
    """
    # four times as fast as asking where it is zero
    shares = np.maximum(whole, _SMALLEST, out=out)
    return np.divide(part, shares, out=shares)


def ratios_of(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return ``part / whole``, and 0 where `whole` is zero; NaN where either is.

    >>> ratios_of(np.array([1.0, 2.0, np.nan]), np.array([2.0, 0.0, 0.0])).tolist()
    [0.5, 0.0, nan]
    """
    empty = whole == 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = part / whole
    if empty.any():
        ratios[empty] = part[empty] * 0.0 + 0.0
    return ratios


def change_to(now: np.ndarray, before: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return ``now / before - 1``.

    >>> change_to(np.array([3.0]), np.array([2.0])).tolist()
    [0.5]
    """
    change = np.divide(now, before, out=out)
    change -= 1.0
    return change


def percent_to(now: np.ndarray, before: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return `change_to` in percent.

    >>> percent_to(np.array([3.0]), np.array([2.0])).tolist()
    [50.0]
    """
    change = change_to(now, before, out)
    change *= 100.0
    return change


def mean_of(column: str | pl.Expr, window: int) -> pl.Expr:
    """Return the simple mean of the last `window` values; only the first ones may be null.

    >>> bars = pl.DataFrame({"volume": [1.0, 3.0, 5.0]})
    >>> bars.select(mean_of("volume", 2)).to_series().to_list()
    [None, 2.0, 4.0]
    """
    return numpy_expr(partial(window_means, window=window), column, lookback=window - 1)


def window_means(values: np.ndarray, window: int, out: np.ndarray | None = None) -> np.ndarray:
    """Return the mean of every `window` neighbours, each summed afresh.

    >>> window_means(np.array([1.0, 3.0, 5.0]), 2).tolist()
    [2.0, 4.0]
    """
    total = window_sums(values, window, out)
    total /= window
    return total


def exponential_mean(values: np.ndarray, span: int, *, adjusted: bool) -> np.ndarray:
    r"""Average with weights that fall by :math:`k = 1 - 2 / (span + 1)` a bar.

    Parameters
    ----------
    values : np.ndarray, shape (n,)
        Without NaN.
    span : int
        Bars, at least 1.
    adjusted : bool
        True: the weights of the values there are sum to one (pandas' ``adjust=True``). False: the
        first value stands for all that came before it (``adjust=False``).

    Returns
    -------
    np.ndarray, shape (n,)
        Known from the first value.

    Examples
    --------
    >>> exponential_mean(np.array([1.0, 2.0]), 3, adjusted=False).tolist()
    [1.0, 1.5]
    >>> exponential_mean(np.array([1.0, 2.5]), 3, adjusted=True).tolist()
    [1.0, 2.0]
    """
    means = np.empty(len(values))
    if len(values):
        compiled(_exponential)(values, 2.0 / (span + 1), adjusted, means)
    return means


def _exponential(values: Any, share: float, adjusted: bool, means: Any) -> None:
    # written as a step towards the new value, so that a constant stays exactly itself
    mean, weight = values[0], 1.0
    keep = 1.0 - share
    means[0] = mean
    for i in range(1, len(values)):
        if adjusted:
            weight = weight * keep + 1.0
            mean += (values[i] - mean) * (1.0 / weight)
        else:
            mean += (values[i] - mean) * share
        means[i] = mean


def window_deviations(values: np.ndarray, window: int, out: np.ndarray | None = None) -> np.ndarray:
    """Return the sample standard deviation (ddof 1) of every `window` neighbours.

    Parameters
    ----------
    values : np.ndarray, shape (n,)
        Without NaN; n at least `window`.
    window : int
        Values, at least 2.

    Returns
    -------
    np.ndarray, shape (n - window + 1,)
        Exactly 0 where the values are equal.

    Examples
    --------
    >>> window_deviations(np.array([1.0, 3.0, 3.0]), 2).round(6).tolist()
    [1.414214, 0.0]
    """
    found = np.empty(len(values) - window + 1) if out is None else out
    compiled(_deviations)(values, window, False, found)
    return found


def window_scores(values: np.ndarray, window: int, out: np.ndarray | None = None) -> np.ndarray:
    """Return by how many sample deviations the newest of `window` neighbours is above their mean.

    Parameters
    ----------
    values, window
        As in `window_deviations`.

    Returns
    -------
    np.ndarray, shape (n - window + 1,)
        0 where the values are equal.

    Examples
    --------
    >>> window_scores(np.array([1.0, 3.0, 3.0]), 2).round(6).tolist()
    [0.707107, 0.0]
    """
    found = np.empty(len(values) - window + 1) if out is None else out
    compiled(_deviations)(values, window, True, found)
    return found


def _deviations(values: Any, window: int, scored: bool, found: Any) -> None:
    # distances from each window's newest value: no cancellation, and the inner loop is wide
    size = 1024
    total = np.empty(size)
    for start in range(0, len(found), size):
        end = min(start + size, len(found))
        newest = values[start + window - 1 : end + window - 1]
        squares = found[start:end]
        for i in range(end - start):
            total[i] = squares[i] = 0.0
        for back in range(0, window - 2, 2):  # two at a time: half the reading and writing
            older, old = (
                values[start + back : end + back],
                values[start + back + 1 : end + back + 1],
            )
            for i in range(end - start):
                away, off = older[i] - newest[i], old[i] - newest[i]
                total[i] = total[i] + away + off
                squares[i] = squares[i] + away * away + off * off
        if window % 2 == 0:
            old = values[start + window - 2 : end + window - 2]
            for i in range(end - start):
                off = old[i] - newest[i]
                total[i] += off
                squares[i] += off * off
        for i in range(end - start):
            variance = (squares[i] - total[i] * total[i] / window) / (window - 1)
            squares[i] = np.sqrt(max(variance, 0.0))
        if scored:
            for i in range(end - start):
                spread = squares[i]
                squares[i] = -total[i] / (window * spread) if spread > 0.0 else 0.0


def window_slopes(values: np.ndarray, window: int, out: np.ndarray | None = None) -> np.ndarray:
    """Return the least-squares slope, per bar, of a line through every `window` neighbours.

    Parameters
    ----------
    values : np.ndarray, shape (n,)
        Without NaN; n at least `window`.
    window : int
        Values, at least 2.

    Returns
    -------
    np.ndarray, shape (n - window + 1,)
        Exactly 0 where the values are equal.

    Examples
    --------
    >>> window_slopes(np.array([1.0, 3.0, 5.0, 5.0]), 3).tolist()
    [2.0, 1.0]
    """
    slopes = np.empty(len(values) - window + 1) if out is None else out
    compiled(_slopes)(values, window, slopes)
    return slopes


def _slopes(values: Any, window: int, slopes: Any) -> None:
    size = 1024
    scale = 12.0 / (window * (window * window - 1.0))
    for start in range(0, len(slopes), size):
        end = min(start + size, len(slopes))
        newest = values[start + window - 1 : end + window - 1]
        part = slopes[start:end]
        for i in range(end - start):
            part[i] = 0.0
        for back in range(window - 1):
            older = values[start + back : end + back]
            weight = (back - 0.5 * (window - 1)) * scale
            for i in range(end - start):
                part[i] += (older[i] - newest[i]) * weight


def directional_movements(high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each bar but the first reached up, and down, where that side was larger.

    Parameters
    ----------
    high, low : np.ndarray, shape (n,)
        Without NaN.

    Returns
    -------
    tuple of np.ndarray, each of shape (n - 1,)
        The rise of the high where it is larger than the low's change in size, else 0; the fall of
        the low where it is larger than the high's change in size, else 0.

    Examples
    --------
    >>> up, down = directional_movements(np.array([1.0, 3.0, 3.0]), np.array([1.0, 2.0, 1.0]))
    >>> up.tolist(), down.tolist()
    ([2.0, 0.0], [0.0, 1.0])
    """
    sides = np.empty((2, len(high) - 1))
    compiled(_movements)(high, low, sides[0], sides[1])
    return sides[0], sides[1]


def _movements(high: Any, low: Any, up: Any, down: Any) -> None:
    for i in range(len(up)):
        rise, fall = high[i + 1] - high[i], low[i] - low[i + 1]
        up[i] = rise if rise > abs(fall) else 0.0
        down[i] = fall if fall > abs(rise) else 0.0
