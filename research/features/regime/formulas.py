r"""Fractal dimension of a window of values, seven ways.

The dimension of a path is 1 for a straight line, 1.5 for a random walk, near 2 for noise; with
Hurst exponent H it is 2 - H. Each formula reads one window, oldest value first, and returns NaN
where the window says nothing, such as one without a move. What each returns on a walk differs and
scatters: `null` knows by how much.

References
----------
Gneiting, T., Sevcikova, H. and Percival, D. (2012). Estimators of Fractal Dimension: Assessing the
Roughness of Time Series and Spatial Data. Statistical Science 27(2), 247-277 (madogram).
Sevcik, C. (1998). A Procedure to Estimate the Fractal Dimension of Waveforms. Complexity
International 5. Higuchi, T. (1988). Approach to an Irregular Time Series on the Basis of the
Fractal Theory. Physica D 31, 277-283. Katz, M. (1988). Fractals and the Analysis of Waveforms.
Computers in Biology and Medicine 18(3), 145-156. Ehlers, J. (2005). Fractal Adaptive Moving
Averages. Technical Analysis of Stocks & Commodities 23(10).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from research.features import loops

# its own code, not a part of each that calls it: that would be compiled anew every time
_compiled: Any = loops.compiled


@_compiled
def slope_against_logs(sizes: np.ndarray) -> float:
    """Return the least-squares slope of ln(sizes[k - 1]) against ln k; NaN if one is not above 0.

    >>> round(slope_against_logs(np.array([1.0, 2.0, 3.0])), 12)
    1.0
    """
    n, mean = len(sizes), 0.0
    for i in range(n):
        if not sizes[i] > 0.0:
            return np.nan
        mean += math.log(i + 1.0) / n
    rise = spread = 0.0
    for i in range(n):
        away = math.log(i + 1.0) - mean
        rise += away * math.log(sizes[i])
        spread += away * away
    return rise / spread


@_compiled
def madogram(window: np.ndarray, lags: int) -> float:
    r"""Dimension by mean absolute changes over 1 to `lags` values.

    .. math:: D = 2 - H, \quad \frac{1}{n - k} \sum_t |x_t - x_{t-k}| \propto k^H

    >>> round(madogram(np.arange(30.0), 5), 12)
    1.0
    """
    sizes = np.zeros(lags)
    for k in range(1, lags + 1):
        total = 0.0
        for i in range(k, len(window)):
            total += abs(window[i] - window[i - k])
        sizes[k - 1] = total / (len(window) - k)
    return 2.0 - slope_against_logs(sizes)


@_compiled
def higuchi(window: np.ndarray, lags: int) -> float:
    r"""Dimension by the length of the curve seen at every k-th value, k from 1 to `lags`.

    .. math:: L(k) \propto k^{-D}, \quad L(k) = \frac{1}{k} \sum_{m=1}^{k}
       \frac{n - 1}{k^2 \lfloor (n - m) / k \rfloor}
       \sum_i |x_{m + ik} - x_{m + (i-1)k}|

    >>> round(higuchi(np.arange(30.0), 8), 12)
    1.0
    """
    n, lengths = len(window), np.zeros(lags)
    for k in range(1, lags + 1):
        for m in range(k):
            total, steps = 0.0, (n - 1 - m) // k
            for i in range(1, steps + 1):
                total += abs(window[m + i * k] - window[m + (i - 1) * k])
            lengths[k - 1] += total * (n - 1) / (steps * k * k) / k
    return -slope_against_logs(lengths)


@_compiled
def _reach(window: np.ndarray) -> tuple:
    low = high = window[0]
    for value in window:
        low, high = min(low, value), max(high, value)
    return low, high


@_compiled
def _unit_length(window: np.ndarray) -> float:
    """Return the length of the curve drawn in a square of side 1; NaN where it is flat."""
    low, high = _reach(window)
    reach, across = high - low, 1.0 / (len(window) - 1)
    if not reach > 0.0:
        return np.nan
    total = 0.0
    for i in range(1, len(window)):
        rise = (window[i] - window[i - 1]) / reach
        total += math.sqrt(rise * rise + across * across)
    return total


@_compiled
def trading(window: np.ndarray, lags: int) -> float:
    r"""Dimension as traders' charts show it, of the curve's length L in a square of side 1.

    .. math:: D = 1 + \frac{\ln L + \ln 2}{\ln(2 (n - 1))}

    A straight line of 30 values is at 1.26, not at 1, and a walk at 1.48, below the 1.5 that
    traders compare it with.

    >>> round(trading(np.arange(30.0), 0), 3)
    1.256
    """
    length = _unit_length(window)
    return 1.0 + (math.log(length) + math.log(2.0)) / math.log(2.0 * (len(window) - 1))


@_compiled
def sevcik(window: np.ndarray, lags: int) -> float:
    r"""Dimension by the curve's length L in a square of side 1, low for short windows.

    .. math:: D = 1 + \frac{\ln L}{\ln(2 (n - 1))}

    >>> round(sevcik(np.arange(30.0), 0), 3)
    1.085
    """
    return 1.0 + math.log(_unit_length(window)) / math.log(2.0 * (len(window) - 1))


@_compiled
def seed(window: np.ndarray, lags: int) -> float:
    r"""Dimension as the third source (S3) has it, between 1 and 2.

    .. math:: D = 1 + \frac{\ln (L / D_0)}{\ln(2 (n - 1))}

    with L the sum of absolute changes and :math:`D_0` the distance between the ends, the values
    spread over 0 to 1 and their times too. It scatters more than any other here: the ends of a
    walk are two values of many.

    >>> round(seed(np.arange(30.0), 0), 3)
    1.0
    """
    low, high = _reach(window)
    reach, n = high - low, len(window)
    if not reach > 0.0:
        return np.nan
    length = 0.0
    for i in range(1, n):
        length += abs(window[i] - window[i - 1]) / reach
    straight = math.hypot(1.0 / (n - 1), (window[-1] - window[0]) / reach)
    return min(max(1.0 + math.log(length / straight) / math.log(2.0 * (n - 1)), 1.0), 2.0)


@_compiled
def katz(window: np.ndarray, lags: int) -> float:
    r"""Dimension by the curve's length L and the furthest it came from its beginning, d.

    .. math:: D = \frac{\ln (n - 1)}{\ln (n - 1) + \ln (d / L)}

    A walk is at 1.8, noise beyond 2: no dimension in the sense of the others. NaN where the curve
    goes to and fro so much that the denominator is not above zero.

    >>> round(katz(np.arange(30.0), 0), 3)
    1.0
    """
    length = furthest = 0.0
    for i in range(1, len(window)):
        length += abs(window[i] - window[i - 1])
        furthest = max(furthest, abs(window[i] - window[0]))
    if not furthest > 0.0:
        return np.nan
    steps = math.log(len(window) - 1.0)
    below = steps + math.log(furthest / length)
    return steps / below if below > 1e-9 else np.nan


@_compiled
def frama(window: np.ndarray, lags: int) -> float:
    r"""Dimension by the ranges of the two halves, R1 and R2, and of the whole, R.

    .. math:: D = \frac{\ln (2 (R_1 + R_2) / R)}{\ln 2}

    From values alone, where Ehlers has highs and lows; of an even number of values.

    >>> round(frama(np.arange(30.0), 0), 3)
    0.949
    """
    half = len(window) // 2
    low, high = _reach(window)
    early_low, early_high = _reach(window[:half])
    late_low, late_high = _reach(window[half:])
    halves = (early_high - early_low) + (late_high - late_low)
    if not (high > low and halves > 0.0):
        return np.nan
    return math.log(2.0 * halves / (high - low)) / math.log(2.0)


FORMULAS = ("madogram", "trading", "seed", "higuchi", "sevcik", "katz", "frama")


@_compiled
def by_formula(window: np.ndarray, lags: int, which: int) -> float:
    """Return the dimension of one window by the formula at this place of `FORMULAS`.

    >>> round(by_formula(np.arange(30.0), 0, 1), 3)
    1.256
    """
    if which == 0:
        found = madogram(window, lags)
    elif which == 1:
        found = trading(window, lags)
    elif which == 2:
        found = seed(window, lags)
    elif which == 3:
        found = higuchi(window, lags)
    elif which == 4:
        found = sevcik(window, lags)
    elif which == 5:
        found = katz(window, lags)
    else:
        found = frama(window, lags)
    return found
