"""Bollinger bands: the mean of the close, and so many sample deviations on either side."""

from __future__ import annotations

from functools import partial

import polars as pl

from research.features.kernels import Heart, bars_at_least, in_blocks, numpy_expr
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
    return bollinger_middle(window) + WIDTH * _deviation(window)


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
    return bollinger_middle(window) - WIDTH * _deviation(window)


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
    return 2 * WIDTH * _deviation(window) / bollinger_middle(window)


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
    return 0.5 + _on_closes(window_scores, window) / (2 * WIDTH)


def _deviation(window: int) -> pl.Expr:
    return _on_closes(window_deviations, window)


def _on_closes(heart: Heart, window: int) -> pl.Expr:
    heart = partial(in_blocks, partial(heart, window=window), window - 1)
    return numpy_expr(heart, "close")
