"""The innermost loops: sums and extremes of the last values, and where one lies among them.

Plain Python on arrays, compiled at first use and kept on disk; or numpy where it is as fast.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np


@cache
def compiled(loop: Callable[..., None]) -> Callable[..., None]:
    """Compile a loop; without the interpreter's lock, so that columns can run side by side.

    A division by zero is let pass, as in numpy: a look at each would keep them from going in fours.
    """
    import numba

    return numba.njit(loop, nogil=True, cache=True, error_model="numpy")


def window_sums(values: np.ndarray, window: int, out: np.ndarray | None = None) -> np.ndarray:
    """Sum every `window` neighbours afresh, by doubling: a running sum would carry residues.

    Parameters
    ----------
    values : np.ndarray, shape (n,)
        Without NaN; n at least `window`.
    window : int
        Values per sum, at least 2.

    Returns
    -------
    np.ndarray, shape (n - window + 1,)

    Examples
    --------
    >>> window_sums(np.array([1.0, 2.0, 4.0, 8.0]), 3).tolist()
    [7.0, 14.0]
    """
    total = np.empty(len(values) - window + 1) if out is None else out
    compiled(_sums)(values, window, total)
    return total


def _sums(values: Any, window: int, total: Any) -> None:
    # sums of 1, 2, 4 ... neighbours, side by side in what the processor holds nearest
    block = 2_048
    here, there = np.empty(block + window), np.empty(block + window)
    for start in range(0, len(total), block):
        found = total[start : start + block]
        rows = len(found)
        length, size, held = rows + window - 1, 1, 0
        power = values[start : start + length]
        while True:
            if window & size:
                piece = power[held : held + rows]
                if held:
                    for i in range(rows):
                        found[i] = found[i] + piece[i]
                else:
                    for i in range(rows):
                        found[i] = piece[i]
                held += size
            if 2 * size > window:
                break
            length -= size
            double, next_ones = there[:length], power[size : size + length]
            for i in range(length):
                double[i] = power[i] + next_ones[i]
            power, size = double, 2 * size
            here, there = there, here


def window_extremes(values: np.ndarray, window: int, pick: np.ufunc) -> np.ndarray:
    """Return the `np.maximum` or `np.minimum` of every `window` neighbours, by doubling.

    >>> window_extremes(np.array([1.0, 4.0, 2.0, 3.0]), 3, np.maximum).tolist()
    [4.0, 4.0]
    """
    rows, power, size = len(values) - window + 1, values, 1
    while 2 * size <= window:
        power, size = pick(power[:-size], power[size:]), 2 * size
    # two windows of a power of two that overlap cover any other
    return pick(power[:rows], power[window - size : window - size + rows])


def place_in_range(
    window: int,
    value: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Return where `value` lies in the range of the last `window` bars: TA-Lib's fastk.

    Parameters
    ----------
    window : int
        Bars of the range.
    value, high, low : np.ndarray, shape (n,)
        Not negative; n at least `window`.

    Returns
    -------
    np.ndarray, shape (n - window + 1,)
        0 to 100; 0 where the range is zero, or within rounding of it (2e-14 of the values),
        which TA-Lib takes as zero; NaN where the window holds any.

    Examples
    --------
    >>> price = np.array([1.0, 3.0, 2.0, 2.0])
    >>> place_in_range(2, price, price, price).tolist()
    [100.0, 0.0, 0.0]
    """
    lowest = window_extremes(low, window, np.minimum)
    highest = window_extremes(high, window, np.maximum)
    places = np.empty(len(lowest)) if out is None else out
    compiled(_places)(value[window - 1 :], highest, lowest, places)
    return places


def _places(value: Any, highest: Any, lowest: Any, places: Any) -> None:
    for i in range(len(places)):
        high, low = highest[i], lowest[i]
        reach = high - low
        place = (value[i] - low) / (reach / 100.0)
        places[i] = 0.0 if reach <= (high + low) * 1e-14 else place


def share(part: np.ndarray, whole: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return ``part / whole``, 0 where not `known`; faster than a division that looks first."""
    with np.errstate(divide="ignore", invalid="ignore"):
        part /= whole
    if not known.all():
        part[~known] = 0.0
    return part


def signs(above: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return 1.0 where True, else -1.0.

    >>> signs(np.array([True, False])).tolist()
    [1.0, -1.0]
    """
    sign = np.multiply(above, 2.0, out=out)
    sign -= 1.0
    return sign
