"""The first source: no result, but a number that every retraining prints and a day's backtest.

Its validation Sharpe ratio takes ten-minute returns of every minute for independent minutes, drops
those that are zero, and holds a forecast in percent against a threshold that is a fraction. On
noise it is anything between minus and plus a hundred.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from research import performance, pipeline, study
from research.audit.autopsy import steps, walk
from research.audit.autopsy.steps import Step

YEAR = 252 * 24 * 60
"""Minutes in the source's year."""
EDGE = 1e-4
"""The source's least edge, a fraction; its forecasts are in percent."""
HORIZON = 10
PERIODS = 365 * 24 * 60 / HORIZON
"""Ten-minute periods in a year that has no closing days."""
UNIT = "Sharpe ratio a year"
BASE: dict[str, Any] = {
    "name": "autopsy_s1",
    "workers": 1,
    "validation.gate": "none",
}
CLAIM = {"validation.train": "38.4 h", "validation.test": "9.6 h", "validation.step": "19.2 h"}
ROLLED = {"validation.test": "1 d"}
HALF = {**ROLLED, "costs.fee": "1 bps", "costs.slippage": "2.5 bps"}
FULL = {**ROLLED, "costs.fee": "2 bps", "costs.slippage": "5 bps"}
TAKER = {**ROLLED, "costs.fee": "5 bps", "costs.slippage": "5 bps"}
STEPS = (
    Step("score for trades: one day, half of its costs", (), HALF, at_close=True),
    Step("one day for all", (), HALF, out_of_sample=True, at_close=True),
    Step("fills at the close that decides", (), HALF, out_of_sample=True),
    Step("half of the costs", (), FULL, out_of_sample=True),
    Step("a maker's fee on market orders", (), TAKER, out_of_sample=True, honest=True),
)


def validation_sharpe(
    forecast: np.ndarray, came: np.ndarray, *, per_year: float = YEAR
) -> float | None:
    r"""Return the source's Sharpe ratio of a validation slice.

    .. math:: \sqrt{252 \cdot 24 \cdot 60}\; \bar r / s_r, \quad
        r_t = \mathrm{sign}(\hat y_t)\, y_t \text{ where } 100 |\hat y_t| > 10^{-4}, r_t \ne 0

    Parameters
    ----------
    forecast, came : np.ndarray, shape (n,)
        Ten-minute returns of successive minutes, foretold and real, as fractions.
    per_year : float
        How many of them are told as independent in a year; the source's count if left out.

    Returns
    -------
    float or None
        None where nothing is left to divide by.

    Examples
    --------
    >>> round(validation_sharpe(np.array([0.1, 0.1, 0.1]), np.array([0.2, -0.1, 0.0])), 1)
    200.8
    """
    side = np.where(100 * np.abs(forecast) > EDGE, np.sign(forecast), 0.0)
    earned = side * came
    earned = earned[earned != 0]
    spread = earned.std() if len(earned) > 1 else 0.0
    return float(earned.mean() / spread * np.sqrt(per_year)) if spread > 0 else None


def s1(
    bars: Any = None, *, days: int = 16, seed: int = 1, progress: steps.Progress | None = None
) -> pl.DataFrame:
    """Take the first source's evidence apart.

    Parameters
    ----------
    bars : polars or pandas frame, optional
        Minutes of one symbol, as `schema.BARS`. Absent: a market without an edge.
    days, seed : int
        Of that market; at least 13 days, two of which are learnt from alone.
    progress : callable, optional
        Takes (done, total, label) after each step.

    Returns
    -------
    pl.DataFrame
        As `steps.COLUMNS`: a Sharpe ratio a year. Before anything is traded, trades and what they
        earn are unknown.

    Notes
    -----
    The source trains anew every hour; here it is every day, on the last two. Its columns do not
    know a bar's open, so that where orders are filled changes no forecast.
    """
    steps.at_least("s1", days, 13, "days")
    raw = walk.clustered(days, seed=seed) if bars is None else walk.one(bars)
    base = study.read("rolling_bot", BASE)
    rows = [*_told(raw, base), *_traded(raw, base, progress)]
    return steps.table(rows)


def _told(raw: pl.DataFrame, base: Any) -> list[dict[str, Any]]:
    """Return what validation slices claim, one by one and together."""
    seen = Step(
        "claimed: best validation Sharpe of its retrainings", ("early_stop_on_test",), CLAIM
    )
    with steps.on(raw, base, seen) as chosen:
        made = pipeline.forecasts(chosen).drop_nulls(["forecast", "y"])
    slices = [_sharpe_of(part) for part in made.partition_by("fold", maintain_order=True)]
    best = max((value for value in slices if value is not None), default=None)
    tenth = made.gather_every(HORIZON)
    alone = _sharpe_of(tenth, per_year=PERIODS)
    said = (
        (best, seen.removed, len(slices)),
        (_sharpe_of(made), f"best of {len(slices)} retrainings", 1),
        (alone, "ten-minute returns told as minutes", 1),
    )
    return [steps.row(number, Step(what), UNIT, None, tried=n) for number, what, n in said]


def _sharpe_of(made: pl.DataFrame, per_year: float = YEAR) -> float | None:
    said, came = made["forecast"].to_numpy(), made["y"].to_numpy()
    return validation_sharpe(said, came, per_year=per_year)


def _traded(raw: pl.DataFrame, base: Any, progress: steps.Progress | None) -> list[dict[str, Any]]:
    made = steps.once()
    rows = []
    for n, step in enumerate(STEPS, 1):
        day = partial(_first_day, make=made) if step in STEPS[:1] else made
        found = steps.played(raw, base, step, day)
        capital = found.study.backtest.capital
        number = performance.summary(found.equity, found.trades, capital=capital)["sharpe"]
        ends = performance.intervals(found.equity, capital=capital)
        between = (ends["sharpe_low"], ends["sharpe_high"])
        rows.append(steps.row(number, step, UNIT, found.trades, between))
        if progress is not None:
            progress(n, len(STEPS), step.removed)
    return rows


def _first_day(chosen: Any, *, make: steps.Forecasts) -> pl.DataFrame:
    made = make(chosen)
    return made.filter(pl.col("time") <= pl.col("time").min() + timedelta(days=1))
