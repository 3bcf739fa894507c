"""The shape of one bar: body, wicks, range; known at its close, from the bar alone."""

from __future__ import annotations

import numpy as np
import polars as pl

from research.features.kernels import numpy_expr
from research.features.loops import signs
from research.features.windows import shares_of

DOJI = 0.1
"""Share of the range below which a body is a doji's."""


def body() -> pl.Expr:
    """Distance between open and close.

    Returns
    -------
    pl.Expr of Float64
        In units of price, not negative. Known from the first bar.

    Examples
    --------
    >>> pl.DataFrame({"open": [3.0], "close": [2.0]}).select(body()).item()
    1.0
    """
    return numpy_expr(_body, "open", "close", lookback=0)


def upper_wick() -> pl.Expr:
    """From the body up to the high.

    Returns
    -------
    pl.Expr of Float64
        In units of price, not negative. Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"open": [3.0], "high": [5.0], "close": [2.0]})
    >>> bars.select(upper_wick()).item()
    2.0
    """
    return numpy_expr(_upper, "open", "high", "close", lookback=0)


def lower_wick() -> pl.Expr:
    """From the low up to the body.

    Returns
    -------
    pl.Expr of Float64
        In units of price, not negative. Known from the first bar.

    Examples
    --------
    >>> pl.DataFrame({"open": [3.0], "low": [1.5], "close": [2.0]}).select(lower_wick()).item()
    0.5
    """
    return numpy_expr(_lower, "open", "low", "close", lookback=0)


def total_range() -> pl.Expr:
    """High less low.

    Returns
    -------
    pl.Expr of Float64
        In units of price, not negative. Known from the first bar.

    Examples
    --------
    >>> pl.DataFrame({"high": [3.0], "low": [1.5]}).select(total_range()).item()
    1.5
    """
    return numpy_expr(np.subtract, "high", "low", lookback=0)


def body_ratio() -> pl.Expr:
    """Share of the range that is `body`.

    Returns
    -------
    pl.Expr of Float64
        0 to 1; 0 where high equals low. Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"open": [3.0, 2.0], "high": [4.0, 2.0], "low": [2.0, 2.0],
    ...                      "close": [4.0, 2.0]})
    >>> bars.select(body_ratio()).to_series().to_list()
    [0.5, 0.0]
    """
    return _of_range(body())


def upper_wick_ratio() -> pl.Expr:
    """Share of the range that is `upper_wick`.

    Returns
    -------
    pl.Expr of Float64
        0 to 1; 0 where high equals low. Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"open": [3.0], "high": [4.0], "low": [2.0], "close": [2.0]})
    >>> bars.select(upper_wick_ratio()).item()
    0.5
    """
    return _of_range(upper_wick())


def lower_wick_ratio() -> pl.Expr:
    """Share of the range that is `lower_wick`.

    Returns
    -------
    pl.Expr of Float64
        0 to 1; 0 where high equals low. Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"open": [3.0], "high": [4.0], "low": [2.0], "close": [4.0]})
    >>> bars.select(lower_wick_ratio()).item()
    0.5
    """
    return _of_range(lower_wick())


def candle_type() -> pl.Expr:
    """Tell a rising bar from one that is not.

    Returns
    -------
    pl.Expr of Float64
        1 where the close is above the open, else -1. Known from the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"open": [3.0, 3.0], "close": [4.0, 3.0]})
    >>> bars.select(candle_type()).to_series().to_list()
    [1.0, -1.0]
    """
    return numpy_expr(_rising, "open", "close", lookback=0)


def is_doji() -> pl.Expr:
    """Tell a bar of almost no body.

    Returns
    -------
    pl.Expr of Float64
        1 where `body_ratio` is below `DOJI` (a bar without range among them), else 0. Known from
        the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"open": [3.0, 3.0], "high": [4.0, 4.0], "low": [2.0, 2.0],
    ...                      "close": [3.1, 3.3]})
    >>> bars.select(is_doji()).to_series().to_list()
    [1.0, 0.0]
    """
    return numpy_expr(_small, body_ratio(), lookback=0)


def _of_range(size: pl.Expr) -> pl.Expr:
    # what is measured within a bar without range is zero too
    return numpy_expr(shares_of, size, total_range(), lookback=0)


def _body(open_: np.ndarray, close: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    size = np.subtract(close, open_, out=out)
    return np.abs(size, out=size)


def _upper(
    open_: np.ndarray, high: np.ndarray, close: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    top = np.maximum(open_, close, out=out)
    return np.subtract(high, top, out=top)


def _lower(
    open_: np.ndarray, low: np.ndarray, close: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    bottom = np.minimum(open_, close, out=out)
    bottom -= low
    return bottom


def _rising(open_: np.ndarray, close: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return signs(close > open_, out)


def _small(share: np.ndarray) -> np.ndarray:
    return (share < DOJI).astype(np.float64)
