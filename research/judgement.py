"""The verdict on a study: the evidence is gathered here, the rule stands in `performance.verdict`.

The desk trades the same tape again, one bar later and for one basis point more, without writing
anything down: these are questions about one trial, not trials.
"""

from __future__ import annotations

import dataclasses
import math
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import bars as bar_room
from research import datasets, pipeline, tape
from research.errors import UserError
from research.performance import clusters, panels, probabilistic
from research.performance.daily import daily, without_best
from research.performance.verdict import Evidence, Verdict, enough, verdict
from research.store import ledger
from research.study import Study

_WEEK = 7
_BP = 1e-4
MOST = 200
"""Trials whose returns are compared with each other, which takes seconds; of more, every second,
or third, and what they amount to is taken in proportion: never too little."""


def judge(study: Study, found: pipeline.Evaluation, tested: pipeline.Backtest) -> Verdict:
    """Say what the evidence on a study allows.

    Parameters
    ----------
    study : Study
        As it was run.
    found : Evaluation
        Its `pipeline.evaluation`.
    tested : Backtest
        Its `pipeline.backtest`.

    Returns
    -------
    Verdict
        Shows itself in a cell. Where rebates pay for trading it is not `deployable`: each fill is
        taken to be certain, and a rebate is paid to orders that are not.
    """
    said = verdict(evidence(study, found, tested))
    if said.word != "deployable" or found.ic_break_even >= 0:
        return said
    because = f"rebates pay for fills that were taken to be certain; {said.because}"
    change = ("what resting orders miss or lose, stated as costs.slippage",)
    return dataclasses.replace(said, word="undecided", because=because, change=change)


def evidence(study: Study, found: pipeline.Evaluation, tested: pipeline.Backtest) -> Evidence:
    """Gather the numbers that a verdict rests on.

    Where the ledger cannot be reached, what hangs on the number of trials is None, and
    `Evidence.unreached` says why.
    """
    score, capital = found.score, study.backtest.capital
    days = daily(tested.equity, capital=capital).drop_nulls()["return"].to_numpy()
    return Evidence(
        ic=score.ic,
        ic_low=score.low,
        ic_high=score.high,
        ic_break_even=found.ic_break_even,
        scored_days=score.n_days,
        **{key: tested.summary[key] for key in ("net_return", "net_low", "net_high")},
        days=len(days),
        without_day=without_best(days),
        without_week=without_best(days, _WEEK),
        **_by_symbol(tested, capital),
        **_again(study, found),
        coverage=_coverage(study),
        **deflated(days, tested.trades, datasets.dataset(study).lineage),
    )


def _by_symbol(tested: pipeline.Backtest, capital: float) -> dict[str, Any]:
    """Return the net return without what the best symbol's closed trades earned."""
    # exact sums: threads add in any order, and a report made anew is the same to the last digit
    earned = [math.fsum(part["net"]) for part in tested.trades.partition_by("symbol")]
    symbols, best = tested.reasons["symbol"].n_unique(), max(earned, default=0.0)
    return {"symbols": symbols, "without_symbol": tested.summary["net_return"] - best / capital}


def _again(study: Study, found: pipeline.Evaluation) -> dict[str, Any]:
    """Trade the same forecasts one bar later, and for one basis point more a round trip."""
    laid, rule = tape.lay(study, pipeline.bars(study), found.binned), tape.rules(study)
    capital, bar = study.backtest.capital, study.data.interval // timedelta(microseconds=1)
    others = {
        "bar_later": rule._replace(latency=rule.latency + bar),
        "bp_more": rule._replace(fee=rule.fee + _BP / 2),
    }
    return {
        name: float(laid.play(other, capital=capital).equity[-1] / capital - 1)
        for name, other in others.items()
    }


def _coverage(study: Study) -> float | None:
    """Return the share of bars that are there; None where an absent one may just be a quiet one."""
    if datasets.dataset(study).sparse:
        return None
    seen = bar_room.coverage(datasets.quality(study))
    due = seen["rows"] + seen["missing_minutes"]
    return seen["rows"] / due if due else 0.0


class Counted(NamedTuple):
    """What the ledger says of one lineage of data."""

    trials: int
    effective: float


def counted(lineage: str) -> Counted:
    """Count the trials on a lineage, and the independent ones they amount to.

    Trials whose daily returns go together are one; a trial whose returns nobody has seen, because
    it was only scored, or never done, counts as one of its own.

    Raises
    ------
    UserError
        If the ledger cannot be reached, or holds no trial of this data.
    """
    known = ledger.known(lineage)
    if not known:
        raise UserError(f"ledger: holds no trial of {lineage}, so this run was not counted.")
    seen = [trial for trial in known if trial.found.get("returns")]
    compared = seen[:: max(math.ceil(len(seen) / MOST), 1)]
    alike = _independent(side_by_side(compared)) / max(len(compared), 1)
    return Counted(len(known), len(known) - len(seen) + alike * len(seen))


def side_by_side(trials: list[ledger.Known]) -> pl.DataFrame:
    """Lay the daily net returns of trials side by side.

    Returns
    -------
    pl.DataFrame
        ``time`` (a day) and one column per trial, by its configuration; 0 on days that a trial
        did not cover.
    """
    table = pl.DataFrame(schema={"time": pl.Date})
    for trial in trials:
        first = date.fromisoformat(trial.found["first"])
        returns = trial.found["returns"]
        days = [first + timedelta(days=n) for n in range(len(returns))]
        kinds = {"time": pl.Date, trial.config: pl.Float64}
        mine = pl.DataFrame({"time": days, trial.config: returns}, schema=kinds)
        table = table.join(mine, on="time", how="full", coalesce=True)
    return table.sort("time").fill_null(0.0)


def _independent(returns: pl.DataFrame) -> float:
    """Return the effective number of trials; all of them where days are too few to compare."""
    n = returns.width - 1
    if n < 2 or returns.height < panels.FEWEST:
        return float(n)
    return float(clusters.effective_trials(returns).count)


def deflated(days: np.ndarray, trades: pl.DataFrame, lineage: str) -> dict[str, Any]:
    """Return how sure the Sharpe ratio of daily returns is, after so many trials.

    The spread of the trials' ratios is taken to be what luck alone makes of so many days, for that
    is what a hurdle for trials without skill needs. The spread seen in the ledger also holds how
    much better some trials are than others: with it, trying something bad would make all the
    good look worse.
    """
    try:
        trials = counted(lineage)
    except UserError as error:
        return {"unreached": str(error)}
    known: dict[str, Any] = trials._asdict()
    try:
        seen = probabilistic.sample(days, lags=0 if _within_a_day(trades) else None)
    except UserError:  # too few days, or nothing moved
        return known
    luck = 1 / math.sqrt(seen.n - 1)
    hurdle = probabilistic.expected_maximum(trials.effective)
    return {
        **known,
        "dsr": probabilistic.dsr(seen, trials=trials.effective, spread=luck),
        "dsr_raw": probabilistic.dsr(seen, trials=trials.trials, spread=luck),
        "days_needed": enough(seen.sharpe, seen.spread, hurdle, len(days) / seen.n),
    }


def _within_a_day(trades: pl.DataFrame) -> bool:
    """Tell whether no position is carried over more than a day: then days hang together little."""
    longest = trades.select((pl.col("exit_time") - pl.col("entry_time")).max()).item()
    return longest is None or bool(longest < timedelta(days=1))
