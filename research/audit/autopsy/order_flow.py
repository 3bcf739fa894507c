"""The third source: order flow, fractional differences and a ledger that prints money.

It claims no number; its picture has a loss of 31 % beside a Sharpe ratio of +0.71. Its ledger keeps
the first entry price when a position grows, so a gain is counted anew on what was just bought, and
forgets what a part that is sold has lost. Its fractional differences are turned round in time: they
tell the price of 1,457 bars ago; and their order is searched over the whole sample.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import performance
from research.audit.autopsy import steps, walk
from research.audit.autopsy.differences import differenced, searched
from research.audit.autopsy.ledgers import CAPITAL, kept, printed
from research.audit.autopsy.steps import Step

EVERY = 15
"""Minutes between decisions."""
WINDOW = 240
LEARNT = 0.4
"""The first part of the sample, from which an honest order comes."""


class Way(NamedTuple):
    """Which of the source's mistakes are in."""

    prints_money: bool = True
    backwards: bool = True
    whole_sample: bool = True
    at_decision: bool = True
    cost: float = 0.0
    """Per side, a fraction."""


STEPS = (
    (Step("claimed: the ledger of the source"), Way()),
    (Step("gains counted again"), Way(prints_money=False)),
    (Step("kernel turned round in time"), Way(prints_money=False, backwards=False)),
    (
        Step("order searched over the whole sample", out_of_sample=True),
        Way(prints_money=False, backwards=False, whole_sample=False),
    ),
    (
        Step("fills at the price that decides", out_of_sample=True),
        Way(prints_money=False, backwards=False, whole_sample=False, at_decision=False),
    ),
    (
        Step("no costs: 6 bp a side", out_of_sample=True, honest=True),
        Way(prints_money=False, backwards=False, whole_sample=False, at_decision=False, cost=6e-4),
    ),
)


def s3(
    bars: Any = None, *, days: int = 24, seed: int = 1, progress: steps.Progress | None = None
) -> pl.DataFrame:
    """Take the third source's design apart.

    Parameters
    ----------
    bars : polars or pandas frame, optional
        Minutes of one symbol, as `schema.BARS`. Absent: a Gaussian random walk.
    days, seed : int
        Of that walk; at least 20 days, for the last three fifths are tested.
    progress : callable, optional
        Takes (done, total, label) after each step.

    Returns
    -------
    pl.DataFrame
        As `steps.COLUMNS`: net return over the tested days, in percent. A trade is a change of
        the position; what each earned is unknown, as the source's ledger has no round trips.

    Notes
    -----
    Where it holds nothing, a quarter follows the differenced price. It grows by a quarter while it
    gains, shrinks by one while it loses and is closed when it is whole: what the source's agent is
    paid to learn, for its reward comes from the same ledger. Nothing is learnt here.
    """
    steps.at_least("s3", days, 20, "days")
    raw = walk.gaussian(days * 1440, seed=seed) if bars is None else walk.one(bars)
    steps.at_least("s3", raw.height // 1440, 17, "days of bars")
    rows = []
    for n, (step, way) in enumerate(STEPS, 1):
        equity, changes = _run(raw, way)
        number = (equity["equity"][-1] / CAPITAL - 1) * 100
        ends = performance.intervals(equity, capital=CAPITAL)
        known = [None if v is None else v * 100 for v in (ends["net_low"], ends["net_high"])]
        made = steps.row(number, step, "% net return", None, (known[0], known[1]))
        rows.append({**made, "trades": changes})
        if progress is not None:
            progress(n, len(STEPS), step.removed)
    return steps.table(rows)


def _run(raw: pl.DataFrame, way: Way) -> tuple[pl.DataFrame, int]:
    """Return the equity of the tested days, and how often the position changed."""
    close = raw["close"].to_numpy()
    split = int(len(close) * LEARNT)
    seen = close if way.whole_sample else close[:split]
    order = searched(np.log(seen), backwards=way.backwards)
    series = differenced(np.log(close), order, backwards=way.backwards)
    side = np.sign(series - _mean(series, WINDOW))
    at = np.arange(split, len(close) - 1, EVERY)
    fills = close if way.at_decision else np.append(raw["open"].to_numpy()[1:], close[-1])
    book = printed if way.prints_money else kept
    worth, position = book(close[at], fills[at], side[at], cost=way.cost)
    times = (raw["open_time"] + walk.MINUTE).gather(at)
    return pl.DataFrame({"time": times, "equity": worth}), int((np.diff(position) != 0).sum())


def _mean(series: np.ndarray, window: int) -> np.ndarray:
    found = pl.Series(series).fill_nan(None).rolling_mean(window)
    return found.fill_null(np.nan).to_numpy()
