"""Exponential and simple means of the close, and how far apart they stand.

`ema` begins at the first close (S1), `ema_adjusted` weighs the closes there are (S4). After the
warm-up the two are one; before it no model sees either.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl

from research.features.kernels import bars_at_least, numpy_expr
from research.features.loops import signs
from research.features.windows import change_to, exponential_mean, mean_of, percent_to

# two means this near, as a share of the price, differ by rounding alone: ticks are >= 1e-9
_RESIDUE = 1e-12


def ema(span: int) -> pl.Expr:
    r"""Exponential mean of the close that begins at the first close.

    .. math:: m_t = m_{t-1} + \tfrac{2}{n + 1} (C_t - m_{t-1}), \quad m_0 = C_0

    Parameters
    ----------
    span : int
        n above: bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A price. Known from the first bar.

    Notes
    -----
    Forgets its beginning (to 1e-9) only after about ten spans.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0, 2.0]})
    >>> bars.select(ema(3)).to_series().to_list()
    [1.0, 1.5, 1.75]
    """
    bars_at_least(2, ema=span)
    return numpy_expr(partial(exponential_mean, span=span, adjusted=False), "close")


def ema_adjusted(span: int) -> pl.Expr:
    r"""Exponential mean of the closes there are, whose weights sum to one.

    .. math:: m_t = \frac{\sum_{i \le t} k^i C_{t-i}}{\sum_{i \le t} k^i},
              \quad k = 1 - \tfrac{2}{n + 1}

    Parameters
    ----------
    span : int
        n above: bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A price. Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.5]})
    >>> bars.select(ema_adjusted(3)).to_series().to_list()
    [1.0, 2.0]
    """
    bars_at_least(2, ema_adjusted=span)
    return numpy_expr(partial(exponential_mean, span=span, adjusted=True), "close")


def ema_gap(fast: int = 12, slow: int = 26) -> pl.Expr:
    """Fast `ema` less the slow one (S1's ``ema_diff``).

    Parameters
    ----------
    fast, slow : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        In units of price. Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0]})
    >>> bars.select(ema_gap(3, 7)).to_series().to_list()
    [0.0, 0.25]
    """
    return numpy_expr(np.subtract, ema(fast), ema(slow), lookback=0)


def ema_gap_percent(fast: int = 12, slow: int = 26) -> pl.Expr:
    """Fast `ema` over the slow one, less one, in percent (S1's ``ema_diff_pct``).

    Parameters
    ----------
    fast, slow : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        Percent (0.1 is 10 bps). Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0]})
    >>> bars.select(ema_gap_percent(3, 7)).to_series().to_list()
    [0.0, 19.999999999999996]
    """
    return numpy_expr(percent_to, ema(fast), ema(slow), lookback=0)


def close_to_ema(span: int) -> pl.Expr:
    """Close over its `ema_adjusted` (S4's ``price_ema9_ratio`` and its like).

    Parameters
    ----------
    span : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        1 where the close is at the mean. Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.5]})
    >>> bars.select(close_to_ema(3)).to_series().to_list()
    [1.0, 1.25]
    """
    return numpy_expr(np.divide, "close", ema_adjusted(span), lookback=0)


def ema_cross(fast: int, slow: int) -> pl.Expr:
    """Tell which `ema_adjusted` is higher: 1 where the fast one is, else -1.

    Parameters
    ----------
    fast, slow : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        1 or -1; -1 where they are equal to within rounding (1e-12 of the price). Known from the
        first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0, 0.5]})
    >>> bars.select(ema_cross(2, 5)).to_series().to_list()
    [-1.0, 1.0, -1.0]
    """
    bars_at_least(2, ema_cross=min(fast, slow))
    return numpy_expr(_above, _change_to_slow(fast, slow), lookback=0)


def _above(change: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return signs(change > _RESIDUE, out)


def ema_distance(fast: int = 21, slow: int = 50) -> pl.Expr:
    """Distance of two `ema_adjusted` as a share of the slow one (S4's ``trend_strength``).

    Parameters
    ----------
    fast, slow : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A fraction, not negative (0.001 is 10 bps). Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 1.0]})
    >>> bars.select(ema_distance(2, 5)).to_series().to_list()
    [0.0, 0.0]
    """
    bars_at_least(2, ema_distance=min(fast, slow))
    return numpy_expr(np.abs, _change_to_slow(fast, slow), lookback=0)


def _change_to_slow(fast: int, slow: int) -> pl.Expr:
    return numpy_expr(change_to, ema_adjusted(fast), ema_adjusted(slow), lookback=0)


def close_to_sma_percent(window: int = 15) -> pl.Expr:
    """Close over its simple mean, less one, in percent (S1's ``price_to_ma``).

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
    >>> bars = pl.DataFrame({"close": [1.0, 3.0]})
    >>> bars.select(close_to_sma_percent(2)).to_series().to_list()
    [None, 50.0]
    """
    bars_at_least(2, close_to_sma_percent=window)
    return numpy_expr(percent_to, "close", mean_of("close", window), lookback=0)


def macd(fast: int = 12, slow: int = 26) -> pl.Expr:
    """Moving average convergence divergence: fast `ema_adjusted` less the slow one.

    Parameters
    ----------
    fast, slow : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        In units of price. Known from the first bar.

    References
    ----------
    Appel, G. (2005). Technical Analysis: Power Tools for Active Investors.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [2.0, 2.0]})
    >>> bars.select(macd()).to_series().to_list()
    [0.0, 0.0]
    """
    bars_at_least(2, macd=min(fast, slow))
    return numpy_expr(np.subtract, ema_adjusted(fast), ema_adjusted(slow), lookback=0)


def macd_signal(fast: int = 12, slow: int = 26, signal: int = 9) -> pl.Expr:
    """Exponential mean of the `macd`.

    Parameters
    ----------
    fast, slow : int
        As in `macd`.
    signal : int
        Bars of the mean, at least 2.

    Returns
    -------
    pl.Expr of Float64
        In units of price. Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [2.0, 2.0]})
    >>> bars.select(macd_signal()).to_series().to_list()
    [0.0, 0.0]
    """
    bars_at_least(2, macd_signal=min(fast, slow, signal))
    mean = partial(exponential_mean, span=signal, adjusted=True)
    return numpy_expr(mean, macd(fast, slow))


def macd_histogram(fast: int = 12, slow: int = 26, signal: int = 9) -> pl.Expr:
    """Take the `macd_signal` from the `macd`.

    Parameters
    ----------
    fast, slow, signal : int
        As in `macd_signal`.

    Returns
    -------
    pl.Expr of Float64
        In units of price. Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [2.0, 2.0]})
    >>> bars.select(macd_histogram()).to_series().to_list()
    [0.0, 0.0]
    """
    bars_at_least(2, macd_histogram=min(fast, slow, signal))
    line, mean = macd(fast, slow), macd_signal(fast, slow, signal)
    return numpy_expr(np.subtract, line, mean, lookback=0)
