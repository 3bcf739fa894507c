"""Oscillators of price and volume. TA-Lib's values throughout, its zeros on flat bars included.

What is a pure window (CCI, stochastics) is summed and compared afresh for every bar: as fast as
TA-Lib's running sums, and no residue of earlier bars in it.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl

from research.features.kernels import bars_at_least, numpy_expr, talib_expr
from research.features.loops import place_in_range, share, window_sums

# below this share of the price a deviation is a rounding residue, not a move: ticks are >= 1e-9
_RESIDUE = 1e-12


def bop() -> pl.Expr:
    """Balance of power: where in its range the bar went, (close - open) / (high - low).

    Returns
    -------
    pl.Expr of Float64
        From -1 to 1; 0 where high equals low. Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"open": [1.0, 2.0], "high": [3.0, 2.0], "low": [1.0, 2.0],
    ...                      "close": [2.0, 2.0]})
    >>> bars.select(bop()).to_series().to_list()
    [0.5, 0.0]
    """
    return talib_expr("BOP", "open", "high", "low", "close")


def cci_s2(window: int = 14) -> pl.Expr:
    r"""S2's variant of the commodity channel index.

    .. math:: cci_t = \frac{p_t - \bar p_t}{0.015 \, \bar d_t}, \quad d_t = |p_t - \bar p_t|,
              \quad p = (H + L + C) / 3, \quad \bar x_t = \tfrac{1}{n} \sum_{i<n} x_{t-i}

    Parameters
    ----------
    window : int
        n above: bars in each mean, at least 2.

    Returns
    -------
    pl.Expr of Float64
        Unbounded, mostly -200 to 200; 0 where the price has not moved (0/0), as TA-Lib's index.
        Null in the first ``2 * window - 2`` bars.

    Notes
    -----
    Each deviation is taken from the mean *of its own time*; Lambert and TA-Lib (`cci`) take all
    of them from the mean at t. In set S2 it is the column ``cci``.

    Examples
    --------
    >>> p = [1.0, 2.0, 4.0]
    >>> bars = pl.DataFrame({"high": p, "low": p, "close": p})
    >>> bars.select(cci_s2(2).round(4)).to_series().to_list()
    [None, None, 88.8889]
    """
    bars_at_least(2, cci_s2=window)
    heart = partial(_cci_s2, window)
    return numpy_expr(heart, "high", "low", "close", lookback=2 * window - 2)


def _cci_s2(window: int, high: np.ndarray, low: np.ndarray, close: np.ndarray) -> np.ndarray:
    price = high + low
    price += close
    price /= 3.0
    away = window_sums(price, window)
    away /= -window
    away += price[window - 1 :]
    spread = window_sums(np.abs(away), window)
    spread *= 0.015 / window
    moved = spread > _RESIDUE * price[2 * window - 2 :]
    return share(away[window - 1 :], spread, moved)


def cci(window: int = 14) -> pl.Expr:
    """Commodity channel index as TA-Lib has it: deviations from the mean at t.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        Null in the first ``window - 1`` bars; 0 where the price has not moved.

    References
    ----------
    Lambert, D. (1980). Commodity Channel Index. Commodities magazine.
    """
    bars_at_least(2, cci=window)
    return talib_expr("CCI", "high", "low", "close", timeperiod=window)


def mfi(window: int = 14) -> pl.Expr:
    """Money flow index: share of the money flow that came with a rising typical price.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        0 to 100; 0 where the window's whole flow is below one unit of quote currency (TA-Lib's
        rule, so no trade at all gives 0). Null in the first `window` bars.

    Notes
    -----
    Where typical prices tie, one unit in the last place decides whether a bar's flow counts as
    rising or falling; other implementations may differ by up to 20 points there.
    """
    bars_at_least(2, mfi=window)
    return talib_expr("MFI", "high", "low", "close", "volume", timeperiod=window)


def rsi(window: int = 14) -> pl.Expr:
    """Relative strength index with Wilder's smoothing.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        0 to 100; 0 where the price has not moved yet. Null in the first `window` bars.

    Notes
    -----
    An exponential mean: it forgets where it began only after about 20 windows.

    References
    ----------
    Wilder, J. W. (1978). New Concepts in Technical Trading Systems.
    """
    bars_at_least(2, rsi=window)
    return talib_expr("RSI", "close", timeperiod=window)


def stochrsi(window: int = 14) -> pl.Expr:
    """Where the RSI lies in its own range of the last bars (STOCHRSI's fastk).

    Parameters
    ----------
    window : int
        Bars of both the RSI and its range, at least 2.

    Returns
    -------
    pl.Expr of Float64
        0 to 100; 0 where the RSI has not moved. Null in the first ``2 * window - 1`` bars.

    Notes
    -----
    Divides by the RSI's range, so it forgets its beginning more slowly than `rsi`.

    References
    ----------
    Chande, T., Kroll, S. (1994). The New Technical Trader.
    """
    bars_at_least(2, stochrsi=window)
    own = [rsi(window)] * 3
    return numpy_expr(partial(place_in_range, window), *own, lookback=window - 1)


def slowk(window: int = 14, smooth: int = 3) -> pl.Expr:
    """Stochastic oscillator, smoothed: where the close lies in the range of the last bars.

    Parameters
    ----------
    window : int
        Bars of the range, at least 2.
    smooth : int
        Bars of each simple mean (of slowk, and of slowd over slowk), at least 2.

    Returns
    -------
    pl.Expr of Float64
        0 to 100; a bar whose range is zero counts as 0. Null in the first
        ``window + smooth - 2`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"high": [3.0, 3.0, 4.0], "low": [1.0, 1.0, 2.0],
    ...                      "close": [2.0, 3.0, 4.0]})
    >>> bars.select(slowk(2, 2)).to_series().to_list()
    [None, None, 100.0]
    """
    bars_at_least(2, slowk=min(window, smooth))
    return _stoch(window, smooth, 1)


def slowd(window: int = 14, smooth: int = 3) -> pl.Expr:
    """Mean of the last `smooth` values of `slowk`.

    Parameters
    ----------
    window, smooth : int
        As in `slowk`.

    Returns
    -------
    pl.Expr of Float64
        0 to 100. Null in the first ``window + 2 * smooth - 3`` bars.
    """
    bars_at_least(2, slowd=min(window, smooth))
    return _stoch(window, smooth, 2)


def _stoch(window: int, smooth: int, times: int) -> pl.Expr:
    heart = partial(_smoothed_place, window, smooth, times)
    lookback = window - 1 + times * (smooth - 1)
    return numpy_expr(heart, "close", "high", "low", lookback=lookback)


def _smoothed_place(window: int, smooth: int, times: int, *prices: np.ndarray) -> np.ndarray:
    place = place_in_range(window, *prices)
    for _ in range(times):
        place = window_sums(place, smooth)
        place /= smooth
    return place
