"""Bollinger bands: the mean of the close, and so many sample deviations on either side."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl

from research.features.kernels import bars_at_least, numpy_expr
from research.features.windows import mean_of, window_deviations, window_scores

WIDTH = 2.0
"""Deviations from the middle to either band."""


def bollinger_middle(window: int = 20) -> pl.Expr:
    """Return the simple mean of the close.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A price. Null in the first ``window - 1`` bars.

    Examples
    --------
    >>> pl.DataFrame({"close": [1.0, 3.0]}).select(bollinger_middle(2)).to_series().to_list()
    [None, 2.0]
    """
    bars_at_least(2, bollinger_middle=window)
    return mean_of("close", window)


def bollinger_upper(window: int = 20) -> pl.Expr:
    """Return the mean plus `WIDTH` sample standard deviations (ddof 1) of the close.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A price. Null in the first ``window - 1`` bars.

    References
    ----------
    Bollinger, J. (2001). Bollinger on Bollinger Bands. He divides by n, S4 by n - 1.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 3.0]})
    >>> bars.select(bollinger_upper(2).round(4)).to_series().to_list()
    [None, 4.8284]
    """
    bars_at_least(2, bollinger_upper=window)
    return _band(window, WIDTH)


def bollinger_lower(window: int = 20) -> pl.Expr:
    """Return the mean less `WIDTH` sample standard deviations (ddof 1) of the close.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A price. Null in the first ``window - 1`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 3.0]})
    >>> bars.select(bollinger_lower(2).round(4)).to_series().to_list()
    [None, -0.8284]
    """
    bars_at_least(2, bollinger_lower=window)
    return _band(window, -WIDTH)


def bollinger_width(window: int = 20) -> pl.Expr:
    """Distance between the bands as a share of the middle.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A fraction; 0 where the close has not moved. Null in the first ``window - 1`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 3.0, 3.0]})
    >>> bars.select(bollinger_width(2).round(4)).to_series().to_list()
    [None, 2.8284, 0.0]
    """
    bars_at_least(2, bollinger_width=window)
    return numpy_expr(_width, _deviation(window), bollinger_middle(window), lookback=0)


def bollinger_position(window: int = 20) -> pl.Expr:
    """Tell where the close lies between the bands: 0 at the lower, 1 at the upper.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        Mostly 0 to 1; 0.5, the middle, where the close has not moved. Null in the first
        ``window - 1`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 3.0, 3.0]})
    >>> bars.select(bollinger_position(2).round(4)).to_series().to_list()
    [None, 0.6768, 0.5]
    """
    bars_at_least(2, bollinger_position=window)
    bars_at_least(2, bollinger_position=window)
    return numpy_expr(partial(_position, window), "close", lookback=window - 1)


def _band(window: int, width: float) -> pl.Expr:
    middle, spread = bollinger_middle(window), _deviation(window)
    return numpy_expr(partial(_beside, width), middle, spread, lookback=0)


def _deviation(window: int) -> pl.Expr:
    return numpy_expr(partial(window_deviations, window=window), "close", lookback=window - 1)


def _beside(
    width: float, middle: np.ndarray, spread: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    band = np.multiply(width, spread, out=out)
    band += middle
    return band


def _width(spread: np.ndarray, middle: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    width = np.multiply(2 * WIDTH, spread, out=out)
    width /= middle
    return width


def _position(window: int, close: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    place = window_scores(close, window, out)
    place /= 2 * WIDTH
    place += 0.5
    return place
