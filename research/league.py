"""A study's forecasts against everything they must beat: other learners, holding, doing nothing.

On a simulated market also against the truth: what was planted, and what a perfect forecast finds.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from research import datasets, models, pipeline, scores, training
from research.batch import Progress
from research.evaluation import Evaluation
from research.study import Study

_NUMBERS = ("ic", "ic_low", "ic_high", "net_return", "net_low", "net_high")
COLUMNS: dict[str, Any] = {
    "name": pl.String,
    **dict.fromkeys(_NUMBERS, pl.Float64),
    "trades": pl.Int64,
}


def table(study: Study, *, progress: Progress | None = None) -> pl.DataFrame:
    """Hold the study's learner against the others, buying and holding, and doing nothing.

    Returns
    -------
    pl.DataFrame
        ``name, ic, ic_low, ic_high, net_return, net_low, net_high, trades, mine``: same folds,
        rows and costs for all, and the study's rule wherever a learner can be traded by it
        (`entry`). Where a second model judges the trades, the learner alone is in it too. Each
        learner counts as a trial.
    """
    rows = [
        {"name": "no_trade", "net_return": 0.0, "trades": 0},
        {"name": "buy_and_hold", **_net(pipeline.backtest(study, name="buy_and_hold"))},
    ]
    own, bars = called(study), pipeline.bars(study)
    for learner in dict.fromkeys(["ridge", *study.model.league, study.model.name, own]):
        chosen = study if learner == own else entry(study, learner)
        made = pipeline.forecasts(chosen, progress=progress)
        score = scores.ic(made, **_how(study))
        datasets.count_trial(chosen, bars, made, score.ic)
        row = {"name": learner, "ic": score.ic, "ic_low": score.low, "ic_high": score.high}
        rows.append({**row, **_net(pipeline.backtest(chosen, made))})
    found = pl.DataFrame(rows, schema=COLUMNS)
    return found.with_columns(mine=pl.col("name") == own)


def called(study: Study) -> str:
    """Name the study's own entry: its learner, and the second model that judges its trades.

    >>> called(Study())
    'ridge'
    """
    return "+".join(name for name in (study.model.name, study.model.meta) if name)


def entry(study: Study, learner: str) -> Study:
    """Return `study` with another learner, traded as that learner can be.

    Ridge stands in every league on volatility-scaled targets, whatever the study's own are. A rule
    is followed, for it says a side and no more. A learner without probabilities is traded by its
    expected return in a study that trades probabilities. Only the study's own learner passes a
    gate or has a second model judge its trades: the league asks what learners can do.
    """
    if learner == called(study):
        return study
    own: dict[str, Any] = {"model.name": learner, "model.meta": None, "validation.gate": "none"}
    if learner == "ridge":
        own["model.target"] = "scaled"
    if models.is_rule(learner, folder=training.OWN):
        own |= {"backtest.rule": "follow", "backtest.hold": None, "backtest.overlap": 1}
    elif study.backtest.rule == "probability" and not training.has_classes(learner):
        own |= {"backtest.rule": "threshold", "backtest.overlap": 1}
    return study.with_options(own)


def _net(tested: pipeline.Backtest) -> dict[str, float | None]:
    return {key: tested.summary[key] for key in ("net_return", "net_low", "net_high", "trades")}


def truth(study: Study, found: Evaluation) -> dict[str, float | None]:
    """Hold what was found against what was planted in a simulated market, on the same rows."""
    _, planted = datasets.oracle(study)
    best = scores.ic(perfect(study, found), **_how(study)) if planted else None
    return {
        "planted_ic": planted,
        **named("oracle_ic", best),
        **named("found_ic", found.score),
    }


def perfect(study: Study, found: Evaluation) -> pl.DataFrame:
    """Return the oracle's forecasts on the very rows that the study forecast."""
    oracle, _ = datasets.oracle(study)
    rows = found.binned.drop("forecast").join(oracle, on=["symbol", "time"])
    return rows.sort("symbol", "time")


def excess(study: Study, found: Evaluation) -> scores.Score:
    """Score by how much the study's forecasts beat the oracle's: above zero would be a leak."""
    return scores.paired(found.binned, perfect(study, found), **_how(study))


def _how(study: Study) -> dict[str, Any]:
    chosen = study.evaluation
    return {"horizon": study.labels.horizon, "draws": chosen.draws, "seed": study.seed}


def named(name: str, score: scores.Score | None) -> dict[str, float | None]:
    """Write a score and its interval as ``name, name_low, name_high``."""
    values = (score.ic, score.low, score.high) if score else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
