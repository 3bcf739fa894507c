"""Fractal dimension one value at a time: the steps behind `dimension` and `stream`.

The madogram's sums over a window are not run up and down, which would leave residues of what has
left it, and bits that depend on where the series began. They are made of sums of 2, 4, 8 ... terms
kept from earlier values, so a value costs the logarithm of the window for each lag and its bits
depend on the window alone. The other formulas read their window anew.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from research.errors import UserError, nearest
from research.features.regime.formulas import FORMULAS, by_formula, slope_against_logs
from research.steps import compiled


class Sums(NamedTuple):
    """Last values, and sums of 1, 2, 4 ... absolute changes over each lag, in rings."""

    values: np.ndarray
    sums: np.ndarray  # lag, power of two, place in the ring
    at: int = 0
    known: int = 0


@compiled
def madogram_step(state: Sums, event: tuple, rules: tuple) -> tuple:
    """Take one value and say the dimension of the last ones, by the madogram: a step.

    Parameters
    ----------
    state : Sums
        As `machine` makes it.
    event : (float,)
        The value, such as a price. One that is not finite is a gap: all starts anew.
    rules : (int, int)
        Values in a window, and lags.

    Returns
    -------
    Sums
        With the value in it.
    float
        NaN until the window is full, and where one of the mean changes is zero.
    """
    values, sums, at, known = state
    window, lags = rules
    if not np.isfinite(event[0]):
        return Sums(values, sums, 0, 0), np.nan
    last = values.size - 1  # the ring is a power of two long: & is the remainder
    values[at] = event[0]
    for k in range(1, lags + 1):
        sums[k - 1, 0, at] = abs(event[0] - values[(at - k) & last])
        for j in range(1, sums.shape[1]):
            back = (at - (1 << (j - 1))) & last
            sums[k - 1, j, at] = sums[k - 1, j - 1, at] + sums[k - 1, j - 1, back]
    known = min(known + 1, window)
    found = 2.0 - _slope(sums, at, window, lags) if known == window else np.nan
    return Sums(values, sums, (at + 1) & last, known), found


@compiled
def _slope(sums: np.ndarray, at: int, window: int, lags: int) -> float:
    sizes, last = np.zeros(lags), sums.shape[2] - 1
    for k in range(1, lags + 1):
        total, back = 0.0, 0
        for j in range(sums.shape[1]):
            if ((window - k) >> j) & 1:
                total += sums[k - 1, j, (at - back) & last]
                back += 1 << j
        sizes[k - 1] = total / (window - k)
    return slope_against_logs(sizes)


class Window(NamedTuple):
    """The last values, each written twice so that any window of them is one piece."""

    values: np.ndarray
    at: int = 0
    known: int = 0


@compiled
def window_step(state: Window, event: tuple, rules: tuple) -> tuple:
    """Take one value and say the dimension of the last ones, by any formula: a step.

    Parameters
    ----------
    state : Window
        As `machine` makes it.
    event : (float,)
        The value, such as a price. One that is not finite is a gap: all starts anew.
    rules : (int, int, int)
        Values in a window, lags, and the formula's place in `FORMULAS`.

    Returns
    -------
    Window
        With the value in it.
    float
        NaN until the window is full, and where the formula says nothing.
    """
    values, at, known = state
    size, lags, which = rules
    if not np.isfinite(event[0]):
        return Window(values, 0, 0), np.nan
    values[at] = values[at + size] = event[0]
    at = at + 1 if at + 1 < size else 0
    known = min(known + 1, size)
    found = by_formula(values[at : at + size], lags, which) if known == size else np.nan
    return Window(values, at, known), found


class Method(NamedTuple):
    """A formula, its window and lags."""

    formula: str
    window: int
    lags: int


def method(formula: str, window: int, lags: int | None = None) -> Method:
    """Return a formula with its window, or refuse what does not fit.

    >>> method("madogram", 30)
    Method(formula='madogram', window=30, lags=5)
    """
    if formula not in FORMULAS:
        raise UserError(
            f"regime: no formula {formula!r}.{nearest(formula, list(FORMULAS))} "
            f"Here: {', '.join(FORMULAS)}."
        )
    usual = _LAGS.get(formula, 0)
    lags = lags if usual and lags is not None else usual
    if usual and (not isinstance(lags, int) or lags < 2):
        raise UserError(
            f"regime: the lags of {formula} must be a whole number of at least 2, found {lags!r}."
        )
    least = max(_LEAST, 2 * lags)
    if not isinstance(window, int) or window < least:
        raise UserError(
            f"regime: the window of {formula} must be a whole number of at least {least} values, "
            f"found {window!r}."
        )
    if formula == "frama" and window % 2:
        raise UserError(f"regime: the window of frama must be even, found {window}.")
    return Method(formula, window, lags)


def machine(of: Method) -> tuple[Any, Any, tuple]:
    """Return the step of a method, the state it starts in, and its rules."""
    if of.formula != "madogram":
        rules = (of.window, of.lags, FORMULAS.index(of.formula))
        return window_step, Window(np.zeros(2 * of.window)), rules
    ring = 1 << of.window.bit_length()
    powers = (of.window - 1).bit_length()
    sums = np.zeros((of.lags, powers, ring))
    return madogram_step, Sums(np.zeros(ring), sums), (of.window, of.lags)


_LAGS = {"madogram": 5, "higuchi": 8}
_LEAST = 10
