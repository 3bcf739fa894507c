"""How much was traded, against its usual, with the price and by direction."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from research.features.kernels import bars_at_least, numpy_expr
from research.features.loops import compiled, window_sums
from research.features.oscillators import S1_EPSILON, roc_percent
from research.features.windows import change_to, mean_of, percent_to, shares_of

OBV_BARS = 480
"""Eight hours of one-minute bars: no longer than S4's slowest mean takes to settle."""


def volume_mean(window: int = 20) -> pl.Expr:
    """Mean volume of the last bars.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        In units of volume. Null in the first ``window - 1`` bars.

    Examples
    --------
    >>> pl.DataFrame({"volume": [1.0, 3.0]}).select(volume_mean(2)).to_series().to_list()
    [None, 2.0]
    """
    bars_at_least(2, volume_mean=window)
    return mean_of("volume", window)


def volume_ratio(window: int = 20, epsilon: float = 0.0) -> pl.Expr:
    """Volume over its mean of the last bars, this one included.

    Parameters
    ----------
    window : int
        Bars, at least 2.
    epsilon : float
        Added to the mean, in units of volume; S1 adds `oscillators.S1_EPSILON`.

    Returns
    -------
    pl.Expr of Float64
        1 is usual; 0 where nothing was traded. Null in the first ``window - 1`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"volume": [1.0, 3.0, 0.0, 0.0]})
    >>> bars.select(volume_ratio(2)).to_series().to_list()
    [None, 1.5, 0.0, 0.0]
    """
    heart = partial(_to_mean, epsilon)
    return numpy_expr(heart, "volume", volume_mean(window), lookback=0)


def _to_mean(
    epsilon: float, volume: np.ndarray, mean: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    return shares_of(volume, np.add(mean, epsilon, out=out), out)


def volume_delta(window: int = 20) -> pl.Expr:
    """Volume less its mean of the last bars.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        In units of volume. Null in the first ``window - 1`` bars.

    Examples
    --------
    >>> pl.DataFrame({"volume": [1.0, 3.0]}).select(volume_delta(2)).to_series().to_list()
    [None, 1.0]
    """
    return numpy_expr(np.subtract, "volume", volume_mean(window), lookback=0)


def volume_price_divergence(window: int = 15, bars: int = 5) -> pl.Expr:
    """Unusual volume times the move it came with (S1's ``volume_price_div``).

    Parameters
    ----------
    window : int
        Bars of the usual volume, at least 2.
    bars : int
        Bars of the move, at least 1.

    Returns
    -------
    pl.Expr of Float64
        ``(volume_ratio - 1) * roc_percent``, in percent. Null until both are known.

    Examples
    --------
    >>> bars = pl.DataFrame({"volume": [1.0, 3.0], "close": [1.0, 1.5]})
    >>> bars.select(volume_price_divergence(2, 1).round(6)).to_series().to_list()
    [None, 25.0]
    """
    usual = volume_ratio(window, S1_EPSILON)
    return numpy_expr(_with_move, usual, roc_percent(bars), lookback=0)


def _with_move(usual: np.ndarray, move: np.ndarray) -> np.ndarray:
    return (usual - 1.0) * move


def vwap_close(window: int = 20) -> pl.Expr:
    """Volume-weighted mean of the closes of the last bars.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A price; the close itself where nothing was traded in the window. Null in the first
        ``window - 1`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 3.0, 4.0, 5.0], "volume": [1.0, 1.0, 0.0, 0.0]})
    >>> bars.select(vwap_close(2)).to_series().to_list()
    [None, 2.0, 3.0, 5.0]
    """
    bars_at_least(2, vwap_close=window)
    return _vwap(window, "close")


def vwap_close_deviation(window: int = 20) -> pl.Expr:
    """Distance of the close from its `vwap_close`, as a share of it.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A fraction; 0 where nothing was traded in the window. Null in the first ``window - 1`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 3.0], "volume": [1.0, 1.0]})
    >>> bars.select(vwap_close_deviation(2)).to_series().to_list()
    [None, 0.5]
    """
    return numpy_expr(change_to, "close", vwap_close(window), lookback=0)


def vwap_typical(window: int = 60) -> pl.Expr:
    """Volume-weighted mean of the typical prices (high + low + close) / 3 of the last bars.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A price; the bar's own typical price where nothing was traded in the window. Null in the
        first ``window - 1`` bars.

    Examples
    --------
    >>> p = [1.0, 3.0]
    >>> bars = pl.DataFrame({"high": p, "low": p, "close": p, "volume": [1.0, 3.0]})
    >>> bars.select(vwap_typical(2)).to_series().to_list()
    [None, 2.5]
    """
    bars_at_least(2, vwap_typical=window)
    return _vwap(window, numpy_expr(_typical, "high", "low", "close", lookback=0))


def close_to_vwap_percent(window: int = 60) -> pl.Expr:
    """Close over `vwap_typical`, less one, in percent (S1's ``price_to_vwap``).

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
    >>> p = [1.0, 3.0]
    >>> bars = pl.DataFrame({"high": p, "low": p, "close": p, "volume": [1.0, 1.0]})
    >>> bars.select(close_to_vwap_percent(2)).to_series().to_list()
    [None, 50.0]
    """
    return numpy_expr(percent_to, "close", vwap_typical(window), lookback=0)


def _vwap(window: int, price: str | pl.Expr) -> pl.Expr:
    return numpy_expr(partial(_weighted_mean, window), price, "volume", lookback=window - 1)


def _typical(high: np.ndarray, low: np.ndarray, close: np.ndarray) -> np.ndarray:
    price = high + low
    price += close
    price *= 1 / 3
    return price


def _weighted_mean(window: int, price: np.ndarray, volume: np.ndarray) -> np.ndarray:
    paid, traded = window_sums(price * volume, window), window_sums(volume, window)
    compiled(_paid_each)(price[window - 1 :], paid, traded)
    return paid


def _paid_each(price: Any, paid: Any, traded: Any) -> None:
    for i in range(len(paid)):
        mean = paid[i] / traded[i]
        paid[i] = mean if traded[i] > 0.0 else price[i]


def obv_window(window: int = OBV_BARS) -> pl.Expr:
    r"""On-balance volume of the last bars: what was traded as the close rose, less as it fell.

    .. math:: \sum_{i < n} \operatorname{sign}(C_{t-i} - C_{t-i-1}) \, V_{t-i}

    Parameters
    ----------
    window : int
        n above: bars, at least 2. In set S4 it is `OBV_BARS`.

    Returns
    -------
    pl.Expr of Float64
        In units of volume, either sign. Null in the first `window` bars.

    Notes
    -----
    Granville's total runs from the first bar of whatever series is at hand, so its value says as
    much about where the series began as about the market: a batch over a year and a live run over
    two days would never agree, and in S4 it is a clock. Over a window that begins at 0 it has one
    value. Its change over a few bars is Granville's while no bar leaves the window.

    References
    ----------
    Granville, J. (1963). Granville's New Key to Stock Market Profits.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0, 2.0, 1.0], "volume": [9.0, 5.0, 7.0, 2.0]})
    >>> bars.select(obv_window(2)).to_series().to_list()
    [None, None, 5.0, -2.0]
    """
    bars_at_least(2, obv_window=window)
    return numpy_expr(partial(_obv, window), "close", "volume", lookback=window)


def _obv(
    window: int, close: np.ndarray, volume: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    signed = np.empty(len(close) - 1)
    compiled(_signed)(close, volume, signed)
    return window_sums(signed, window, out)


def _signed(close: Any, volume: Any, signed: Any) -> None:
    for i in range(len(signed)):
        step = close[i + 1] - close[i]
        side = 1.0 if step > 0.0 else (-1.0 if step < 0.0 else 0.0)
        signed[i] = side * volume[i + 1]
