"""How large a trade may be before its own weight on the price eats what it earns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.scores import blocks as _blocks
from research.scores.blocks import scored
from research.scores.surface import Sums, ends


def capacity(
    trades: Any,
    notionals: Sequence[float],
    *,
    cost: float,
    horizon: timedelta,
    draws: int = 1000,
    seed: int = 0,
) -> pl.DataFrame:
    r"""Net edge per trade against the size of a trade, with square-root impact on both sides.

    .. math:: net(N) = \frac1n \sum_i \left( r_i - c - 2 k_i \sqrt N \right)

    Parameters
    ----------
    trades : polars or pandas frame
        One row per trade: `symbol`, `time`, `earned` (its simple return before costs) and `impact`
        (what a side pays is ``impact * sqrt(notional)``, as the desk charges it). Rows with null,
        or whose impact is not above 0 (not known), are left out.
    notionals : sequence of float
        Sizes of a trade, in quote currency, above 0.
    cost : float
        Round trip without impact, as a fraction.
    horizon : timedelta
        How long a trade lasts; blocks are at least twice as long.
    draws, seed : int
        Of the bootstrap of blocks.

    Returns
    -------
    pl.DataFrame
        `notional`, `n` (trades), `edge` (mean return before costs), `impact` (mean of a round
        trip), `net` (after both and `cost`), `low`, `high` (95 % of the net edge), `money` (net
        times notional, in quote currency a trade); by notional.

    Raises
    ------
    UserError
        If a notional is not above 0, or fewer than two trades have a known impact.

    Notes
    -----
    The net edge is gone at :math:`N^* = ((\bar r - c) / 2 \bar k)^2`; most money is made at
    :math:`\frac49 N^*`. Impact is taken as gone when the next trade comes, which flatters trades
    that follow each other quickly, and what cannot be filled at all is not in it.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> times = [datetime(2025, 1, 1, h, tzinfo=UTC) for h in (1, 2)]
    >>> key = {"symbol": ["A"] * 2, "time": times}
    >>> table = pl.DataFrame(key | {"earned": [0.002, 0.001], "impact": [2e-6, 2e-6]})
    >>> found = capacity(table, [100, 10_000], cost=0.001, horizon=timedelta(minutes=10))
    >>> found["net"].round(6).to_list()
    [0.00046, 0.0001]
    """
    sizes = np.unique(np.asarray(notionals, dtype=np.float64))
    if not len(sizes) or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise UserError(f"capacity: notionals must be above 0, got {list(notionals)}.")
    rows = scored(trades, ("earned", "impact"), "trades").filter(pl.col("impact") > 0)
    if rows.height < 2:
        raise UserError(
            "capacity: at least 2 trades with an impact above 0 are needed, found "
            f"{rows.height}. State costs.impact, and bring a day of bars before the first trade."
        )
    cut = _blocks.cut(rows["time"], horizon)
    count, earned, weight = (
        np.bincount(cut.block, column, cut.count)[:, None]
        for column in (np.ones(rows.height), rows["earned"].to_numpy(), rows["impact"].to_numpy())
    )
    paid = 2 * weight * np.sqrt(sizes)
    sums = Sums(earned - cost * count - paid, np.repeat(count, len(sizes), axis=1))
    low, high = ends(sums, draws, seed)
    net = sums.total.sum(axis=0) / rows.height
    return pl.DataFrame(
        {
            "notional": sizes,
            "n": pl.Series(np.full(len(sizes), rows.height), dtype=pl.Int64),
            "edge": np.full(len(sizes), earned.sum() / rows.height),
            "impact": paid.sum(axis=0) / rows.height,
            "net": net,
            "low": net + low,
            "high": net + high,
            "money": net * sizes,
        }
    ).with_columns(pl.col("low", "high").fill_nan(None))
