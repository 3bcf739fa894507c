"""Momentum as S1 and S4 write it: changes of the close, and oscillators with simple means."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from research.features.kernels import bars_at_least, numpy_expr
from research.features.loops import compiled, place_in_range, window_sums
from research.features.windows import change_to, directional_movements, mean_of, window_means

S1_EPSILON = 1e-10
"""What S1 adds to a denominator that may be zero, in the units of that denominator."""


def roc(bars: int) -> pl.Expr:
    """Rate of change: close over the close `bars` bars ago, less one.

    Parameters
    ----------
    bars : int
        At least 1.

    Returns
    -------
    pl.Expr of Float64
        A fraction (0.001 is 10 bps). Null in the first `bars` bars.

    Examples
    --------
    >>> pl.DataFrame({"close": [1.0, 2.0, 3.0]}).select(roc(2)).to_series().to_list()
    [None, None, 2.0]
    """
    bars_at_least(1, roc=bars)
    return numpy_expr(partial(_change, bars), "close", lookback=bars)


def _change(bars: int, close: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return change_to(close[bars:], close[:-bars], out)


def roc_percent(bars: int) -> pl.Expr:
    """Rate of change in percent (S1's ``ret_1m``, ``ret_5m``, ``ret_15m``).

    Parameters
    ----------
    bars : int
        At least 1. S1's names count minutes; on other bars they count bars.

    Returns
    -------
    pl.Expr of Float64
        Percent (0.1 is 10 bps). Null in the first `bars` bars.

    Examples
    --------
    >>> pl.DataFrame({"close": [1.0, 2.0, 3.0]}).select(roc_percent(2)).to_series().to_list()
    [None, None, 200.0]
    """
    return numpy_expr(partial(np.multiply, 100.0), roc(bars), lookback=0)


def acceleration() -> pl.Expr:
    """Change of the one-bar `roc_percent` since the bar before.

    Returns
    -------
    pl.Expr of Float64
        Percentage points. Null in the first two bars.

    Examples
    --------
    >>> pl.DataFrame({"close": [1.0, 2.0, 3.0]}).select(acceleration()).to_series().to_list()
    [None, None, -50.0]
    """
    return numpy_expr(np.diff, roc_percent(1), lookback=1)


def rsi_sma(window: int = 14, epsilon: float = 0.0) -> pl.Expr:
    r"""Relative strength index with simple means (Cutler's), not Wilder's.

    .. math:: 100 \, \frac{\bar g_t}{\bar g_t + \bar l_t + \epsilon}

    Parameters
    ----------
    window : int
        Bars in the means of gains g and losses l, at least 2.
    epsilon : float
        In units of price; S1 adds `S1_EPSILON` to the losses.

    Returns
    -------
    pl.Expr of Float64
        0 to 100; 0 where the price has not moved. Null in the first `window` bars.

    Notes
    -----
    ``100 - 100 / (1 + g / (l + epsilon))`` with one division less. An epsilon in units of price
    weighs on coins of very small price.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0, 1.0, 1.0, 1.0]})
    >>> bars.select(rsi_sma(2)).to_series().to_list()
    [None, None, 50.0, 0.0, 0.0]
    """
    bars_at_least(2, rsi_sma=window)
    return numpy_expr(partial(_rsi_sma, window, epsilon), "close", lookback=window)


def _rsi_sma(window: int, epsilon: float, close: np.ndarray) -> np.ndarray:
    sides = np.empty((2, len(close) - 1))
    compiled(_gains_and_losses)(close, sides[0], sides[1])
    up, whole = window_sums(sides[0], window), window_sums(sides[1], window)
    compiled(_strength)(up, whole, window * epsilon)
    return up


def _gains_and_losses(close: Any, gain: Any, loss: Any) -> None:
    for i in range(len(gain)):
        change = close[i + 1] - close[i]
        gain[i] = max(change, 0.0)
        loss[i] = gain[i] - change


def _strength(up: Any, down: Any, epsilon: float) -> None:
    for i in range(len(up)):
        whole = down[i] + up[i] + epsilon
        up[i] = up[i] * 100.0 / whole if whole > 0.0 else 0.0


def rsi_normalized(window: int = 14, epsilon: float = 0.0) -> pl.Expr:
    """`rsi_sma` moved to -1 .. 1.

    Parameters
    ----------
    window, epsilon
        As in `rsi_sma`.

    Returns
    -------
    pl.Expr of Float64
        (rsi - 50) / 50; -1 where the price has not moved. Null in the first `window` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0, 1.0]})
    >>> bars.select(rsi_normalized(2)).to_series().to_list()
    [None, None, 0.0]
    """
    return numpy_expr(_centred, rsi_sma(window, epsilon), lookback=0)


def _centred(strength: np.ndarray) -> np.ndarray:
    return (strength - 50.0) * (1 / 50)


def stoch_k(window: int = 14) -> pl.Expr:
    """Where the close lies in the range of the last bars, unsmoothed (TA-Lib's fastk).

    Parameters
    ----------
    window : int
        Bars of the range, at least 2.

    Returns
    -------
    pl.Expr of Float64
        0 to 100; 0 where the range is zero. Null in the first ``window - 1`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"high": [3.0, 3.0], "low": [1.0, 1.0], "close": [2.0, 2.0]})
    >>> bars.select(stoch_k(2)).to_series().to_list()
    [None, 50.0]
    """
    bars_at_least(2, stoch_k=window)
    heart = partial(place_in_range, window)
    return numpy_expr(heart, "close", "high", "low", lookback=window - 1)


def stoch_d(window: int = 14, smooth: int = 3) -> pl.Expr:
    """Mean of the last values of `stoch_k` (TA-Lib's fastd, and S2's slowk).

    Parameters
    ----------
    window : int
        Bars of the range, at least 2.
    smooth : int
        Bars of the mean, at least 2.

    Returns
    -------
    pl.Expr of Float64
        0 to 100. Null in the first ``window + smooth - 2`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"high": [3.0] * 3, "low": [1.0] * 3, "close": [2.0, 2.0, 3.0]})
    >>> bars.select(stoch_d(2, 2)).to_series().to_list()
    [None, None, 75.0]
    """
    bars_at_least(2, stoch_d=smooth)
    return mean_of(stoch_k(window), smooth)


def adx_sma(window: int = 14) -> pl.Expr:
    r"""Average directional index with simple means, and S4's reading of directional movement.

    .. math:: \mathit{adx}_t = \overline{100 \, \frac{|P - M|}{P + M}}, \quad
              P = \overline{h \, [h > |l|]}, \quad
              M = \overline{|l| \, [|l| > |h|, \; l < 0]}

    where h and l are the changes of high and low since the bar before, and a bar over something is
    its mean over `window` bars.

    Parameters
    ----------
    window : int
        Bars in both means, at least 2.

    Returns
    -------
    pl.Expr of Float64
        0 to 100; a window without movement counts as 0. Null in the first ``2 * window - 1`` bars.

    Notes
    -----
    The true range, by which both sides are divided, drops out of their ratio. Wilder compares h
    with -l, S4 with its size: a bar whose low rises more than its high is nothing here.

    References
    ----------
    Wilder, J. W. (1978). New Concepts in Technical Trading Systems.

    Examples
    --------
    >>> up = [1.0, 2.0, 3.0, 4.0]
    >>> bars = pl.DataFrame({"high": up, "low": [1.0, 1.0, 1.0, 1.0]})
    >>> bars.select(adx_sma(2)).to_series().to_list()
    [None, None, None, 100.0]
    """
    bars_at_least(2, adx_sma=window)
    return numpy_expr(partial(_adx_sma, window), "high", "low", lookback=2 * window - 1)


def _adx_sma(
    window: int, high: np.ndarray, low: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    plus, minus = (window_sums(side, window) for side in directional_movements(high, low))
    compiled(_apart)(plus, minus)
    return window_means(plus, window, out)


def _apart(plus: Any, minus: Any) -> None:
    for i in range(len(plus)):
        both = plus[i] + minus[i]
        plus[i] = abs(plus[i] - minus[i]) * 100.0 / both if both > 0.0 else 0.0
