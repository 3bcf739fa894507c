"""The information coefficient that a forecast needs before trading on it pays its costs."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

from research.errors import UserError
from research.scores.blocks import scored


def tail_mean(share: float) -> float:
    """Mean of a standard normal beyond its top `share`: how extreme the traded forecasts are.

    Parameters
    ----------
    share : float
        Share of rows that are traded on each side, between 0 and 1.

    Returns
    -------
    float
        In standard deviations.

    Raises
    ------
    UserError
        If `share` is not between 0 and 1.

    Examples
    --------
    >>> round(tail_mean(0.10), 3), round(tail_mean(0.01), 3)
    (1.755, 2.665)
    """
    if not 0 < share < 1:
        raise UserError(f"tail_mean: share must lie between 0 and 1, got {share}.")
    normal = NormalDist()
    return normal.pdf(normal.inv_cdf(1 - share)) / share


def break_even_ic(forecasts: Any, *, cost: float, share: float = 0.1) -> float:
    r"""IC at which trading the most extreme forecasts earns exactly its cost.

    .. math:: IC^* = \frac{c}{\bar z \, \sigma_h}

    Parameters
    ----------
    forecasts : polars or pandas frame
        With `symbol`, `time` and `y`, the raw forward return; rows with null `y` are left out.
    cost : float
        Round trip, entry and exit with fees, spread and slippage, as a fraction (0.001 = 10 bps);
        below zero where a rebate is more than the rest.
    share : float
        Share of rows traded on each side; 0.1 is the top and the bottom decile.

    Returns
    -------
    float
        Infinite where `y` never moves and `cost` is above zero; above 1 no forecast can have it;
        below zero where trading is paid for.

    Raises
    ------
    UserError
        If `cost` is not finite, `share` not between 0 and 1, or fewer than 2 rows are known.

    Notes
    -----
    Takes the forecast as normal and its top `share` as all that is traded, each held for the
    whole horizon. The volatility is that of `y` over the same rows, pooled over symbols.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> import polars as pl
    >>> times = [datetime(2025, 1, 1, 0, m, tzinfo=UTC) for m in (1, 2)]
    >>> y = pl.DataFrame({"symbol": "A", "time": times, "y": [0.0032, -0.0032]})
    >>> round(break_even_ic(y, cost=0.0010), 3)
    0.178
    """
    if not math.isfinite(cost):
        raise UserError(f"break_even_ic: cost must be a finite number, got {cost}.")
    sigma = float(scored(forecasts, ("y",), "forecasts")["y"].std(ddof=0))  # type: ignore[arg-type]
    if sigma == 0:
        return 0.0 if cost <= 0 else math.inf
    return cost / (tail_mean(share) * sigma)
