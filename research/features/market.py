"""A symbol beside the others: the market's return, what is left of its own, who leads, its place.

Each reads columns that `cross` lays beside the bars, and has no value where the market has none.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl

from research.features.kernels import bars_at_least, numpy_expr
from research.features.loops import window_sums
from research.features.oscillators import roc

BETA_BARS = 240
"""Four hours of one-minute bars."""
LEADER_BARS = 480
"""Bars whose quote volume says who leads: eight hours of one-minute bars."""
_KNOWN = 0.5  # share of a window's pairs that must be known
_RESIDUE = 1e-12


def market_return(bars: int = 1) -> pl.Expr:
    r"""Mean over the other symbols of their return of the last bars: the market factor.

    .. math:: m_{i,t} = \tfrac{1}{|J|} \sum_{j \in J, j \ne i} C_{j,t} / C_{j,t-k} - 1

    Parameters
    ----------
    bars : int
        k above, at least 1. J are the symbols with a bar at t and k more since their last gap.

    Returns
    -------
    pl.Expr of Float64
        A fraction (0.001 is 10 bps). Null where no other symbol counts.

    Examples
    --------
    >>> market_return(10).meta.root_names()
    ['market_return:10']
    """
    bars_at_least(1, market_return=bars)
    return pl.col(f"market_return:{bars}")


def market_return_before() -> pl.Expr:
    """One-bar `market_return` of the bar before: does the market lead?

    Returns
    -------
    pl.Expr of Float64
        A fraction. Null in the first two bars.
    """
    return market_return(1).shift(1)


def leader_return_before(leader: int | str = LEADER_BARS) -> pl.Expr:
    """One-bar return of the leading symbol, a bar ago.

    Parameters
    ----------
    leader : int or str
        A symbol, or the bars whose quote volume decides, at every close anew, who leads.

    Returns
    -------
    pl.Expr of Float64
        A fraction; the leader's own row holds its own. Null where the leader is not known.

    Examples
    --------
    >>> leader_return_before("BTCUSDT").meta.root_names()
    ['leader_return:BTCUSDT']
    """
    if not isinstance(leader, str):
        bars_at_least(2, leader_return_before=leader)
    return pl.col(f"leader_return:{leader}").shift(1)


def market_beta(window: int = BETA_BARS) -> pl.Expr:
    r"""Slope of the symbol's one-bar return on the one-bar `market_return`.

    .. math:: \beta_t = \frac{\sum (r - \bar r)(m - \bar m)}{\sum (m - \bar m)^2}

    Parameters
    ----------
    window : int
        Bars in the sums, at least 2. Pairs of which one side is not known are left out.

    Returns
    -------
    pl.Expr of Float64
        1 moves with the market; 0 where the market has not moved. Null in the first
        ``window - 1`` bars, and where less than half of the pairs are known.

    References
    ----------
    Sharpe, W. (1963). A Simplified Model for Portfolio Analysis. Management Science 9(2).

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0, 2.0], "market_return:1": [None, 0.5, 0.0]})
    >>> bars.select(market_beta(2)).to_series().to_list()
    [None, 0.0, 2.0]
    """
    bars_at_least(2, market_beta=window)
    heart = partial(_beta, window)
    return numpy_expr(heart, roc(1), "market_return:1", lookback=window - 1, gaps=True)


def _beta(window: int, own: np.ndarray, market: np.ndarray) -> np.ndarray:
    unknown = np.isnan(own) | np.isnan(market)
    y, x = np.where(unknown, 0.0, own), np.where(unknown, 0.0, market)
    sums = partial(window_sums, window=window)
    pairs = sums((~unknown).astype(np.float64))
    count = np.maximum(pairs, 1.0)
    mean, squares = sums(x) / count, sums(x * x)
    moved = squares - mean * mean * count
    together = sums(x * y) - mean * sums(y)
    still = moved <= _RESIDUE * squares
    beta = np.where(still, 0.0, together / np.where(still, 1.0, moved))
    return np.where(pairs >= _KNOWN * window, beta, np.nan)


def market_residual(bars: int = 1, window: int = BETA_BARS) -> pl.Expr:
    r"""Return of the symbol less its share of the market's.

    .. math:: C_t / C_{t-k} - 1 - \beta_t m_t

    Parameters
    ----------
    bars : int
        k above, at least 1; m is the `market_return` of as many.
    window : int
        Bars of the `market_beta`.

    Returns
    -------
    pl.Expr of Float64
        A fraction. Null until all three are known, and where the market is not.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0, 2.0], "market_return:1": [None, 0.5, 0.0]})
    >>> bars.select(market_residual(1, 2)).to_series().to_list()
    [None, 1.0, 0.0]
    """
    bars_at_least(1, market_residual=bars)
    inputs = roc(bars), market_beta(window), f"market_return:{bars}"
    return numpy_expr(_residual, *inputs, lookback=0, gaps=True)


def _residual(own: np.ndarray, beta: np.ndarray, market: np.ndarray) -> np.ndarray:
    return own - beta * market


def market_place(bars: int = 1) -> pl.Expr:
    """Share of the other symbols whose return of the last bars is below this one's.

    Parameters
    ----------
    bars : int
        Bars of the return, at least 1.

    Returns
    -------
    pl.Expr of Float64
        0 (the least) to 1 (the most), equals counting half. Null where no other counts.

    Examples
    --------
    >>> market_place(10).meta.root_names()
    ['market_place:10']
    """
    bars_at_least(1, market_place=bars)
    return pl.col(f"market_place:{bars}")


def market_spread(bars: int = 1) -> pl.Expr:
    """Sample deviation over all symbols of their returns of the last bars: dispersion.

    Parameters
    ----------
    bars : int
        Bars of the return, at least 1.

    Returns
    -------
    pl.Expr of Float64
        A fraction, the same for each symbol. Null where fewer than two count.

    Examples
    --------
    >>> market_spread(10).meta.root_names()
    ['market_spread:10']
    """
    bars_at_least(1, market_spread=bars)
    return pl.col(f"market_spread:{bars}")
