"""Stationary twins: a column that is a price or an amount, told in units of its own market.

One rule, by what a column is. A *level* (a mean, a band) becomes its distance below the close in
mean true ranges; a *distance* (a MACD, a body) is counted in mean true ranges; a *size* (volume,
trades) is counted in the usual size of a bar; what S4 divides by a bare price (`undone`) is set
right. The twin of ``ema_9`` is called ``ema_9_z``. Every
other column of a set stays as it is.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from research.features.kernels import numpy_expr
from research.features.ranges import atr_sma
from research.features.transactions import transactions_mean
from research.features.volume import volume_mean
from research.features.windows import ratios_of

UNIT_BARS = 60
"""Bars of the true range that is the unit of a price."""
USUAL_BARS = 480
"""Bars whose mean is the usual size of a bar."""


def level(price: pl.Expr) -> pl.Expr:
    """Close less a price level, in mean true ranges of the last `UNIT_BARS` bars.

    Parameters
    ----------
    price : pl.Expr
        A price.

    Returns
    -------
    pl.Expr of Float64
        Positive where the close is above; 0 where there was no range. Null until both are known.

    Examples
    --------
    >>> bars = pl.DataFrame({"high": [2.0] * 61, "low": [1.0] * 61, "close": [2.0] * 61})
    >>> bars.select(level(pl.col("close") - 0.5))[-1].item()
    0.5
    """
    return numpy_expr(_below, "close", price, atr_sma(UNIT_BARS), lookback=0)


def _below(close: np.ndarray, price: np.ndarray, unit: np.ndarray) -> np.ndarray:
    return ratios_of(close - price, unit)


def distance(gap: pl.Expr) -> pl.Expr:
    """Count a distance between prices in mean true ranges of the last `UNIT_BARS` bars.

    Parameters
    ----------
    gap : pl.Expr
        In units of price.

    Returns
    -------
    pl.Expr of Float64
        0 where there was no range. Null until both are known.

    Examples
    --------
    >>> bars = pl.DataFrame({"high": [2.0] * 61, "low": [1.0] * 61, "close": [2.0] * 61})
    >>> bars.select(distance(pl.col("high") - pl.col("low")))[-1].item()
    1.0
    """
    return numpy_expr(ratios_of, gap, atr_sma(UNIT_BARS), lookback=0)


def volume_size(amount: pl.Expr) -> pl.Expr:
    """Count an amount of volume in the mean volume of the last `USUAL_BARS` bars.

    Parameters
    ----------
    amount : pl.Expr
        In units of volume.

    Returns
    -------
    pl.Expr of Float64
        1 is a usual bar's; 0 where nothing was traded. Null until both are known.

    Examples
    --------
    >>> bars = pl.DataFrame({"volume": [2.0] * 480})
    >>> bars.select(volume_size(pl.col("volume")))[-1].item()
    1.0
    """
    return numpy_expr(ratios_of, amount, volume_mean(USUAL_BARS), lookback=0)


def transactions_size(number: pl.Expr) -> pl.Expr:
    """Count a number of trades in the mean `transactions` of the last `USUAL_BARS` bars.

    Parameters
    ----------
    number : pl.Expr
        In trades.

    Returns
    -------
    pl.Expr of Float64
        1 is a usual bar's; 0 where there was no trade. Null until both are known.

    Examples
    --------
    >>> bars = pl.DataFrame({"trades": [3] * 480, "volume": [2.0] * 480})
    >>> bars.select(transactions_size(pl.col("trades")))[-1].item()
    1.0
    """
    return numpy_expr(ratios_of, number, transactions_mean(USUAL_BARS), lookback=0)


def undone(over_price: pl.Expr) -> pl.Expr:
    """Turn a fraction over a price into the fraction over the mean true range's share of a price.

    Parameters
    ----------
    over_price : pl.Expr
        A fraction per unit of price, such as S4's ``volatility_price_ratio``.

    Returns
    -------
    pl.Expr of Float64
        The fraction, in mean true ranges of the last `UNIT_BARS` bars over the close; 0 where
        there was no range. Null until both are known.

    Examples
    --------
    >>> bars = pl.DataFrame({"high": [2.0] * 61, "low": [1.0] * 61, "close": [2.0] * 61})
    >>> bars.select(undone(pl.col("close") * 0.05))[-1].item()
    0.4
    """
    return numpy_expr(_at_price, over_price, "close", atr_sma(UNIT_BARS), lookback=0)


def _at_price(over_price: np.ndarray, close: np.ndarray, unit: np.ndarray) -> np.ndarray:
    return ratios_of(over_price * close**2, unit)
