"""The second source: a curve that multiplies by five in five years.

What was run buys, once a day and for a minute, the bar whose forecast turned out to be the day's
highest, and sells the lowest. Which bar that is, is known at midnight. A forecast that leans
against the last move, as those of one-minute models do, is highest where the move did *not* go on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from research import pipeline, study
from research.audit.autopsy import steps, walk
from research.audit.autopsy.steps import Step
from research.features.returns import ret

DAYS = 1829
CLAIMED = {"multiple": 5.054, "bps": 4.43}
"""The published curve: gross growth over so many days, and so a trade's gross return."""
BASE: dict[str, Any] = {
    "name": "autopsy_s2",
    "validation.train": "1 d",
    "validation.test": "1 d",
    "evaluation.bins": 5000,
    "evaluation.window": "3 d",
    "labels.horizon": "1 min",
    "backtest.rule": "quantile",
    "costs.fee": 0.0,
    "costs.slippage": 0.0,
}
STEPS = (
    Step("claimed, before costs", ("full_day_quantile",)),
    Step("fee of nothing: 0.2 bp a side", ("full_day_quantile",), {"costs.fee": "0.2 bps"}),
    Step("rank among the whole day", (), {"costs.fee": "0.2 bps"}, out_of_sample=True),
    Step("fee of 0.2 bp a side: 5 bp", options={"costs.fee": "5 bps"}, out_of_sample=True),
    Step(
        "no slippage: 1 bp a side",
        options={"costs.fee": "5 bps", "costs.slippage": "1 bps"},
        out_of_sample=True,
        honest=True,
    ),
)


def s2(
    bars: Any = None, *, days: int = 180, seed: int = 1, progress: steps.Progress | None = None
) -> pl.DataFrame:
    """Take the second source's curve apart.

    Parameters
    ----------
    bars : polars or pandas frame, optional
        Minutes of one symbol, as `schema.BARS`. Absent: a market without an edge.
    days, seed : int
        Of that market; at least 30 days.
    progress : callable, optional
        Takes (done, total, label) after each step.

    Returns
    -------
    pl.DataFrame
        As `steps.COLUMNS`: mean net return of a trade, in basis points.

    Notes
    -----
    The forecast is minus the return of the last ten minutes: nothing is fitted, so every step
    trades one and the same column, and what falls away is what the step took away.
    """
    steps.at_least("s2", days, 30, "days")
    raw = walk.clustered(days, seed=seed) if bars is None else walk.one(bars)
    base = study.read("quantiles", BASE)
    plan = [(raw, base, step, _contrarian) for step in STEPS]
    return steps.waterfall(plan, unit="bp a trade", number=steps.bps, progress=progress)


def _contrarian(chosen: Any) -> pl.DataFrame:
    bars = pipeline.bars(chosen)
    score = bars.select("symbol", "time", forecast=-ret(10).over("symbol"))
    known = pipeline.labels(chosen, bars)
    told = {"sigma": pl.lit(0.001), "fold": pl.lit("all"), "model": pl.lit("last ten minutes")}
    both = score.join(known, on=["symbol", "time"], how="inner", maintain_order="left")
    return both.drop_nulls("forecast").with_columns(**told)


def multiple(table: pl.DataFrame, *, days: int = DAYS) -> pl.DataFrame:
    """Return what two trades a day at each step's mean grow to: the kind of curve published.

    Parameters
    ----------
    table : pl.DataFrame
        Of `s2`.
    days : int
        How long; the published curve's length if left out.

    Returns
    -------
    pl.DataFrame
        ``removed, multiple``.

    Examples
    --------
    >>> one = pl.DataFrame({"removed": ["claimed"], "number": [4.43]})
    >>> round(multiple(one)["multiple"][0], 2)
    5.06
    """
    growth = np.exp(table["number"].to_numpy() * 1e-4 * 2 * days)
    return table.select("removed").with_columns(multiple=growth)
