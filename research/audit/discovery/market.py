"""One market from bars to verdict, as a researcher would go: several settings tried, the best kept.

Everything happens in a store, and a count of trials, that end with the market. Forecasts do not
hang on costs, so the study's costs and none at all are tried on the same ones (unless a second
model is taught what pays); all settings of one rule trade the same tape.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from research import charges, datasets, judgement, pipeline, scores, study, tape
from research.audit.discovery import nulls
from research.audit.mutations.small import own_store
from research.campaigns.markets import simulated
from research.schema import TIME
from research.store import cards
from research.study import Study

DAYS = {"simulated.days": 60, "validation.train": "30 d", "validation.test": "6 d"}
"""Of a simulated market: a month to learn from and a month out of sample."""
FREE: dict[str, Any] = {
    "costs.fee": 0.0,
    "costs.half_spread": 0.0,
    "costs.slippage": 0.0,
    "costs.impact": 0.0,
    "costs.funding": 0.0,
    "costs.funding_history": None,
    "costs.fill": "open",
}
_RULES: dict[str, tuple[str, float, float]] = {
    "threshold": ("backtest.enter", 0.5, 5.0),  # bps
    "quantile": ("evaluation.bins", 5, 24),
    "probability": ("backtest.enter_probability", 0.36, 0.63),
    "follow": ("sizing.fraction", 0.05, 0.5),
}
"""What a researcher would turn first, by rule, and how far."""


class Market(NamedTuple):
    """One market and what is planted in it."""

    study: str
    options: dict[str, Any]
    null: str
    planted: float | None
    seed: int
    trials: int


def take(market: Market) -> dict[str, Any]:
    """Take one market to its verdicts: at the study's costs, and at none.

    Returns
    -------
    dict
        ``seed``; ``ic, ic_low, ic_high`` and `edge`, whether the interval lies above zero;
        ``word, net_return, dsr, setting`` of the best setting at the study's costs, and the same
        with ``_free`` at none.
    """
    real = None if market.null == "simulated" else _real(market)
    with own_store() as place:
        chosen = _simulated(market) if real is None else _stored(*real, place)
        made = _forecasts(market, chosen)
        paid = judged(chosen, made, market.trials)
        # a count of its own: what was tried at the study's costs is not in it
        with own_store(keep_bars=True):
            bare, scored = chosen.with_options(FREE), paid["found"]
            if chosen.model.meta:  # a second model learns what pays its costs
                made, scored = _forecasts(market, bare), None
            free = judged(bare, made, market.trials, scored)
    return _row(market, paid, free)


def _row(market: Market, paid: dict[str, Any], free: dict[str, Any]) -> dict[str, Any]:
    score, kept = paid["found"].score, ("word", "net_return", "dsr", "setting")
    return {
        "seed": market.seed,
        "ic": score.ic,
        "ic_low": score.low,
        "ic_high": score.high,
        "edge": bool(score.low > 0),
        **{key: paid[key] for key in kept},
        **{f"{key}_free": free[key] for key in kept},
    }


def _forecasts(market: Market, chosen: Study) -> pl.DataFrame:
    made = pipeline.forecasts(chosen)
    return nulls.shifted(made, seed=market.seed) if market.null == "shifts" else made


def _simulated(market: Market) -> Study:
    options = {**DAYS, **market.options}
    return simulated((market.study, market.seed, market.planted or 0.0, options))


def _real(market: Market) -> tuple[Study, pl.DataFrame]:
    """Return the study, and its own bars with what could be forecast destroyed."""
    chosen = study.read(market.study, market.options)
    bars = pipeline.bars(chosen)
    make = {"flips": nulls.flipped, "blocks": nulls.blocks}.get(market.null)
    return chosen, bars if make is None else make(bars, seed=market.seed)


def _stored(chosen: Study, bars: pl.DataFrame, place: Path) -> Study:
    path = place / "null.parquet"
    bars.write_parquet(path)
    return chosen.with_options(
        {"data.source": "files", "data.path": str(path), "data.symbols": None, "model.league": []}
    )


def judged(
    chosen: Study, made: pl.DataFrame, trials: int, before: pipeline.Evaluation | None = None
) -> dict[str, Any]:
    """Try settings, and judge the one that earned most.

    Parameters
    ----------
    chosen : Study
        The study, its one setting aside.
    made : pl.DataFrame
        Its forecasts.
    trials : int
        How many settings.
    before : Evaluation, optional
        Of the same forecasts at other costs.

    Returns
    -------
    dict
        ``word, net_return, dsr, setting``, and `found`, the evaluation.
    """
    tried = settings(chosen, trials)
    net = earned(chosen, made, tried)
    at = max(range(len(tried)), key=net.__getitem__)
    best = chosen.with_options(tried[at])
    found, tested = _scored(best, made, before), pipeline.backtest(best, made)
    said = judgement.judge(best, found, tested)
    return {
        "word": said.word,
        "found": found,
        "dsr": said.evidence.dsr,
        "net_return": tested.summary["net_return"],
        "setting": tried[at],
    }


def earned(chosen: Study, made: pl.DataFrame, tried: list[dict[str, Any]]) -> list[float]:
    """Trade every setting, count each as a trial, and return what each earned, net."""
    bars, laid, net = pipeline.bars(chosen), None, []
    for setting in tried:
        one = chosen.with_options(setting)
        if laid is None or one.backtest.rule == "quantile":  # its bins are what is tried
            laid = tape.lay(one, bars, tape.binned(one, made))
        net.append(_traded(one, laid, bars, made))
    return net


class _Account(NamedTuple):
    """What a try came to: as much of a backtest as the count of trials keeps."""

    equity: pl.DataFrame
    summary: dict[str, Any]


def _traded(one: Study, laid: tape.Tape, bars: pl.DataFrame, made: pl.DataFrame) -> float:
    """Trade a study as `pipeline.backtest` does, count the trial, and return what it earned.

    Only what nobody looks at is left out: tables of trades, other fees, and storing them.
    """
    begun = datasets.begin_trial(one, bars, "backtest")
    capital = one.backtest.capital
    played = laid.play(tape.rules(one), capital=capital)
    time = pl.from_epoch(pl.Series("time", played.time), "us").cast(TIME)
    net, trades = float(played.equity[-1] / capital - 1), len(played.trades.symbol)
    account = _Account(
        pl.DataFrame({"time": time, "equity": played.equity}),
        {"net_return": net, "sharpe": None, "trades": trades},
    )
    begun.done(cards.fingerprint(made), **tape.evidence(account, capital))
    return net


def _scored(
    best: Study, made: pl.DataFrame, before: pipeline.Evaluation | None
) -> pipeline.Evaluation:
    """Score forecasts; scored before, only what pays the costs is another."""
    if before is None or best.backtest.rule == "quantile":
        return pipeline.evaluation(best, made)
    needed = scores.break_even_ic(made, cost=charges.round_trip(best))
    return replace(before, ic_break_even=needed)


def settings(chosen: Study, trials: int) -> list[dict[str, Any]]:
    """Return what is tried: values of the one setting that the study's rule hangs on most.

    Examples
    --------
    >>> [one["backtest.enter"] for one in settings(study.read("demo"), 3)]
    ['0.5 bps', '2.75 bps', '5 bps']
    """
    key, low, high = _RULES[chosen.backtest.rule]
    step = (high - low) / max(trials - 1, 1)
    values: list[Any] = [low + k * step for k in range(trials)]
    if key == "backtest.enter":
        values = [f"{value:g} bps" for value in values]
    elif key == "evaluation.bins":
        values = sorted({round(value) for value in values})  # twenty at most
    return [{key: value} for value in values]
