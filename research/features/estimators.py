"""Volatility of one bar from opens, highs, lows and closes: less noisy than from closes alone.

Each is the square root of a variance averaged over the last bars, in log returns, per bar and not
annualised. All read low on thin bars, whose range is cut short by having few trades.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import polars as pl

from research.features.kernels import bars_at_least, numpy_expr
from research.features.windows import mean_of, window_deviations

_OPEN, _HIGH, _LOW, _CLOSE = (pl.col(c) for c in ("open", "high", "low", "close"))


def parkinson(window: int = 60) -> pl.Expr:
    r"""Volatility from the range of high and low.

    .. math:: \sigma_t^2 = \frac{1}{4 n \ln 2} \sum_{i<n} \ln^2 \frac{H_{t-i}}{L_{t-i}}

    Parameters
    ----------
    window : int
        n above: bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        Log return per bar (0.001 is 10 bps); 0 where no bar had a range. Null in the first
        ``window - 1`` bars.

    Notes
    -----
    Assumes no drift, and does not see what happens between a close and the next open.

    References
    ----------
    Parkinson, M. (1980). The Extreme Value Method for Estimating the Variance of the Rate of
    Return. Journal of Business 53(1), 61-65.

    Examples
    --------
    >>> bars = pl.DataFrame({"high": [101.0, 102.0, 104.0], "low": [100.0, 100.0, 100.0]})
    >>> bars.select(parkinson(2).round(4)).to_series().to_list()
    [None, 0.0094, 0.0187]
    """
    bars_at_least(2, parkinson=window)
    return _root(mean_of((_HIGH / _LOW).log() ** 2 / (4 * math.log(2)), window))


def garman_klass(window: int = 60) -> pl.Expr:
    r"""Volatility from range and body.

    .. math:: \sigma_t^2 = \frac{1}{n} \sum_{i<n} \tfrac{1}{2} \ln^2 \frac{H}{L}
              - (2 \ln 2 - 1) \ln^2 \frac{C}{O}

    Parameters
    ----------
    window : int
        n above: bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        Log return per bar; 0 where no bar had a range. Null in the first ``window - 1`` bars.

    Notes
    -----
    Assumes no drift, and does not see what happens between a close and the next open.

    References
    ----------
    Garman, M., Klass, M. (1980). On the Estimation of Security Price Volatilities from Historical
    Data. Journal of Business 53(1), 67-78.

    Examples
    --------
    >>> bars = pl.DataFrame({"open": [100.0, 100.0], "high": [101.0, 102.0], "low": [100.0, 99.0],
    ...                      "close": [101.0, 100.0]})
    >>> bars.select(garman_klass(2).round(4)).to_series().to_list()
    [None, 0.0151]
    """
    bars_at_least(2, garman_klass=window)
    spread, move = (_HIGH / _LOW).log() ** 2, (_CLOSE / _OPEN).log() ** 2
    return _root(mean_of(0.5 * spread - (2 * math.log(2) - 1) * move, window))


def rogers_satchell(window: int = 60) -> pl.Expr:
    r"""Volatility from range and body, whatever the drift.

    .. math:: \sigma_t^2 = \frac{1}{n} \sum_{i<n} \ln \frac{H}{C} \ln \frac{H}{O}
              + \ln \frac{L}{C} \ln \frac{L}{O}

    Parameters
    ----------
    window : int
        n above: bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        Log return per bar; 0 where each bar opened and closed at its ends. Null in the first
        ``window - 1`` bars.

    References
    ----------
    Rogers, L., Satchell, S. (1991). Estimating Variance from High, Low and Closing Prices. Annals
    of Applied Probability 1(4), 504-512.

    Examples
    --------
    >>> bars = pl.DataFrame({"open": [100.0, 100.0], "high": [101.0, 102.0], "low": [100.0, 99.0],
    ...                      "close": [101.0, 100.0]})
    >>> bars.select(rogers_satchell(2).round(4)).to_series().to_list()
    [None, 0.0157]
    """
    bars_at_least(2, rogers_satchell=window)
    return _root(mean_of(_rogers_satchell(), window))


def _rogers_satchell() -> pl.Expr:
    up = (_HIGH / _CLOSE).log() * (_HIGH / _OPEN).log()
    return up + (_LOW / _CLOSE).log() * (_LOW / _OPEN).log()


def yang_zhang(window: int = 60) -> pl.Expr:
    r"""Volatility from all four prices and the jump between bars, whatever the drift.

    .. math:: \sigma_t^2 = s^2\!\left(\ln \tfrac{O}{C_{-1}}\right)
              + k \, s^2\!\left(\ln \tfrac{C}{O}\right) + (1 - k) \, \sigma_{RS}^2,
              \quad k = \frac{0.34}{1.34 + (n + 1) / (n - 1)}

    Parameters
    ----------
    window : int
        n above: bars, at least 2. Variances s are those of a sample (ddof 1).

    Returns
    -------
    pl.Expr of Float64
        Log return per bar; 0 where nothing moved. Null in the first `window` bars.

    References
    ----------
    Yang, D., Zhang, Q. (2000). Drift-Independent Volatility Estimation Based on High, Low, Open,
    and Close Prices. Journal of Business 73(3), 477-492.

    Examples
    --------
    >>> p = [100.0, 101.0, 101.0]
    >>> bars = pl.DataFrame({"open": p, "high": p, "low": p, "close": p})
    >>> bars.select(yang_zhang(2).round(4)).to_series().to_list()
    [None, None, 0.007]
    """
    bars_at_least(2, yang_zhang=window)
    share = 0.34 / (1.34 + (window + 1) / (window - 1))
    before = _CLOSE.shift(1)
    # there is no bar before the first: its own open stands in, and its row stays null
    jump = (_OPEN / pl.coalesce(before, _OPEN)).log()
    inside = share * _variance((_CLOSE / _OPEN).log(), window)
    inside += (1 - share) * mean_of(_rogers_satchell(), window)
    whole = _root(_variance(jump, window) + inside)
    return pl.when(before.shift(window - 1).is_not_null()).then(whole)


def _variance(column: pl.Expr, window: int) -> pl.Expr:
    return numpy_expr(partial(_squared_deviations, window), column, lookback=window - 1)


def _squared_deviations(window: int, values: np.ndarray) -> np.ndarray:
    return np.square(window_deviations(values, window))


def _root(variance: pl.Expr) -> pl.Expr:
    # zero may come out a rounding below zero
    return variance.clip(lower_bound=0).sqrt()
