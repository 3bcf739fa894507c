"""How far prices range: true range, spread of a bar, deviation of returns; simple means all."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from research.features.kernels import bars_at_least, numpy_expr
from research.features.loops import compiled, window_sums
from research.features.windows import change_to, mean_of, window_means


def atr_sma(window: int = 14) -> pl.Expr:
    r"""Average true range with a simple mean.

    .. math:: \tfrac{1}{n} \sum_{i<n} \max(H, C_{-1}) - \min(L, C_{-1})

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        In units of price; 0 where the price has not moved. Null in the first `window` bars.

    References
    ----------
    Wilder, J. W. (1978). New Concepts in Technical Trading Systems; his mean is exponential.

    Examples
    --------
    >>> bars = pl.DataFrame({"high": [1.0, 2.0, 3.0], "low": [1.0, 1.0, 3.0],
    ...                      "close": [1.0, 1.5, 3.0]})
    >>> bars.select(atr_sma(2)).to_series().to_list()
    [None, None, 1.25]
    """
    bars_at_least(2, atr_sma=window)
    return numpy_expr(partial(_atr_sma, window), "high", "low", "close", lookback=window)


def _atr_sma(
    window: int,
    high: np.ndarray,
    low: np.ndarray,
    close: np.ndarray,
    out: np.ndarray | None = None,
) -> np.ndarray:
    reach = np.maximum(high[1:], close[:-1])
    reach -= np.minimum(low[1:], close[:-1])
    return window_means(reach, window, out)


def atr_to_price(window: int = 14) -> pl.Expr:
    """`atr_sma` as a share of the close.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A fraction (0.001 is 10 bps). Null in the first `window` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"high": [1.0, 2.0, 3.0], "low": [1.0, 1.0, 3.0],
    ...                      "close": [1.0, 1.5, 2.5]})
    >>> bars.select(atr_to_price(2)).to_series().to_list()
    [None, None, 0.5]
    """
    return numpy_expr(np.divide, atr_sma(window), "close", lookback=0)


def deviation(window: int = 60) -> pl.Expr:
    """Sample standard deviation (ddof 1) of the simple returns of one bar.

    Parameters
    ----------
    window : int
        Returns, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A fraction per bar, not annualised; 0 where the price has not moved. Null in the first
        `window` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0, 2.0, 2.0]})
    >>> bars.select(deviation(2).round(4)).to_series().to_list()
    [None, None, 0.7071, 0.0]
    """
    bars_at_least(2, deviation=window)
    return numpy_expr(partial(_deviation, window), "close", lookback=window)


def _deviation(window: int, close: np.ndarray) -> np.ndarray:
    change = change_to(close[1:], close[:-1])
    total, squares = window_sums(change, window), window_sums(change * change, window)
    compiled(_root)(total, squares, window)
    return squares


def _root(total: Any, squares: Any, window: int) -> None:
    # the mean of returns is small beside their deviation: nothing is lost in this difference
    for i in range(len(total)):
        variance = (total[i] * total[i] / -window + squares[i]) / (window - 1)
        squares[i] = np.sqrt(max(variance, 0.0))


def deviation_percent(window: int = 15) -> pl.Expr:
    """`deviation` in percent (S1's ``volatility_15m`` and ``volatility_60m``).

    Parameters
    ----------
    window : int
        Returns, at least 2. S1's names count minutes; on other bars they count bars.

    Returns
    -------
    pl.Expr of Float64
        Percent per bar. Null in the first `window` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0, 2.0]})
    >>> bars.select(deviation_percent(2).round(2)).to_series().to_list()
    [None, None, 70.71]
    """
    return numpy_expr(partial(np.multiply, 100.0), deviation(window), lookback=0)


def deviation_over_price(window: int = 60) -> pl.Expr:
    """`deviation` over the close (S4's ``volatility_price_ratio``).

    Parameters
    ----------
    window : int
        Returns, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A fraction per unit of price. Null in the first `window` bars.

    Notes
    -----
    A fraction divided by a price: mostly the inverse of the price level. Kept because S4 has it;
    its stationary twin is not.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0, 2.0]})
    >>> bars.select(deviation_over_price(2).round(4)).to_series().to_list()
    [None, None, 0.3536]
    """
    return numpy_expr(np.divide, deviation(window), "close", lookback=0)


def spread_percent() -> pl.Expr:
    """High less low in percent of the close (S1's ``spread``; nothing to do with bid and ask).

    Returns
    -------
    pl.Expr of Float64
        Percent. Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"high": [2.0], "low": [1.0], "close": [2.0]})
    >>> bars.select(spread_percent()).item()
    50.0
    """
    return numpy_expr(_spread, "high", "low", "close", lookback=0)


def _spread(high: np.ndarray, low: np.ndarray, close: np.ndarray) -> np.ndarray:
    spread = high - low
    spread /= close
    spread *= 100.0
    return spread


def spread_percent_mean(window: int = 15) -> pl.Expr:
    """Mean of `spread_percent` over the last bars.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        Percent. Null in the first ``window - 1`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"high": [2.0, 3.0], "low": [1.0, 3.0], "close": [2.0, 3.0]})
    >>> bars.select(spread_percent_mean(2)).to_series().to_list()
    [None, 25.0]
    """
    bars_at_least(2, spread_percent_mean=window)
    return mean_of(spread_percent(), window)
