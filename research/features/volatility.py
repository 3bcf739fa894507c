"""How far prices range."""

from __future__ import annotations

import polars as pl

from research.features.kernels import bars_at_least, talib_expr


def natr(window: int = 14) -> pl.Expr:
    """Average true range in percent of the close, with Wilder's smoothing.

    Parameters
    ----------
    window : int
        Bars, at least 2.

    Returns
    -------
    pl.Expr of Float64
        Percent of price (0.1 is 10 bps). Null in the first `window` bars.

    Notes
    -----
    An exponential mean: it forgets where it began only after about 20 windows.

    References
    ----------
    Wilder, J. W. (1978). New Concepts in Technical Trading Systems.

    Examples
    --------
    >>> p = [100.0, 100.0, 100.0]
    >>> bars = pl.DataFrame({"high": [101.0, 102.0, 101.0], "low": [99.0, 100.0, 99.0], "close": p})
    >>> bars.select(natr(2)).to_series().to_list()
    [None, None, 2.0]
    """
    bars_at_least(2, natr=window)
    return talib_expr("NATR", "high", "low", "close", timeperiod=window)
