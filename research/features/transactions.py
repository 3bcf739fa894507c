"""How many trades made a bar, against their usual and with their trend."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl

from research.features.kernels import bars_at_least, numpy_expr
from research.features.windows import mean_of, shares_of, window_slopes

_PER_TRADE = 1_000.0


def transactions() -> pl.Expr:
    """Trades of the bar; where the source does not count them, volume / 1,000.

    Returns
    -------
    pl.Expr of Float64
        Known from the first bar.

    Notes
    -----
    The substitute is S4's. It has another unit: do not train on bars with trades and predict on
    bars without.

    Examples
    --------
    >>> bars = pl.DataFrame({"trades": [12, None], "volume": [5.0, 5_000.0]})
    >>> bars.select(transactions()).to_series().to_list()
    [12.0, 5.0]
    """
    return numpy_expr(_counts, "volume", "trades", lookback=0)


def _counts(volume: np.ndarray, trades: np.ndarray) -> np.ndarray:
    counts = trades.astype(np.float64)
    if trades.dtype.kind == "i":  # they come as floats, with NaN, where any is null
        return counts
    return np.where(np.isnan(counts), volume / _PER_TRADE, counts)


def transactions_mean(window: int = 20) -> pl.Expr:
    """Mean of `transactions` over the last bars.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        Null in the first ``window - 1`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"trades": [1, 3], "volume": [1.0, 1.0]})
    >>> bars.select(transactions_mean(2)).to_series().to_list()
    [None, 2.0]
    """
    bars_at_least(2, transactions_mean=window)
    return mean_of(transactions(), window)


def transactions_ratio(window: int = 20) -> pl.Expr:
    """`transactions` over their mean of the last bars, this one included.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        1 is usual; 0 where there was no trade. Null in the first ``window - 1`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"trades": [1, 3, 0, 0], "volume": [1.0, 1.0, 0.0, 0.0]})
    >>> bars.select(transactions_ratio(2)).to_series().to_list()
    [None, 1.5, 0.0, 0.0]
    """
    return numpy_expr(shares_of, transactions(), transactions_mean(window), lookback=0)


def transactions_trend(window: int = 20) -> pl.Expr:
    """Least-squares slope of `transactions` over the last bars.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        Trades per bar; 0 where their number does not change. Null in the first ``window - 1`` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"trades": [1, 3, 5], "volume": [1.0, 1.0, 1.0]})
    >>> bars.select(transactions_trend(3)).to_series().to_list()
    [None, None, 2.0]
    """
    bars_at_least(2, transactions_trend=window)
    heart = partial(window_slopes, window=window)
    return numpy_expr(heart, transactions(), lookback=window - 1)
