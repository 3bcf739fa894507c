"""How often the whole pipeline finds an edge where there is none, and how often one that is there.

Every market is taken from bars to verdict with several settings tried, the best of them judged, as
a researcher would; in a store and with a ledger of its own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from scipy.stats import binomtest

from research import batch, judgement, pipeline, study
from research.audit.discovery import nulls
from research.batch import Progress
from research.campaigns.markets import own_store, simulated
from research.errors import UserError
from research.study import Study

__all__ = ["TRIALS", "run", "text"]

TRIALS = 10
"""Settings that are tried on every market."""
DAYS = {"simulated.days": 60, "validation.train": "30 d", "validation.test": "6 d"}
"""Of a simulated market: a month to learn from and a month out of sample."""
FREE: dict[str, Any] = {
    "costs.fee": 0.0,
    "costs.half_spread": 0.0,
    "costs.slippage": 0.0,
    "costs.impact": 0.0,
    "costs.funding": 0.0,
}
WORDS = ("deployable", "undecided", "nothing")
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


def run(
    name: str = "demo",
    options: dict[str, Any] | None = None,
    *,
    markets: int = 200,
    null: str = "simulated",
    planted: float | None = None,
    trials: int = TRIALS,
    workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure how often a study's pipeline claims an edge.

    Parameters
    ----------
    name : str
        A study.
    options : dict, optional
        Dotted settings that win over the study's, and over the length of a simulated market.
    markets : int
        How many, with seeds 1, 2, 3, ...
    null : {"simulated", "flips", "blocks", "shifts"}
        Where the markets come from: a simulation, or the study's own bars with what could be
        forecast destroyed; see `nulls`.
    planted : float, optional
        IC of the edge in a simulated market; the rates are then power. Absent: no edge.
    trials : int
        Settings tried on each market.
    workers : int
        Processes.
    progress : callable, optional
        Takes (done, total, label).

    Returns
    -------
    dict
        ``markets, edge_claimed, deployable, undecided, nothing`` (at the study's costs), ``rate``
        with ``low`` and ``high`` of being deployable, over the markets that did not fail; ``edge``
        and ``free``, the same for the claim of an edge before costs and for the verdict at no
        cost; ``asked`` (markets), ``rows`` and ``failed``.

    Raises
    ------
    UserError
        If the null is not known, or an edge is to be planted into real bars.
    """
    nulls.kind(null)
    if planted and null != "simulated":
        raise UserError(
            "discovery: an edge can be planted into a simulated market only. Leave out --null."
        )
    tried = settings(study.read(name, {**(options or {}), "simulated.ic": planted or 0.0}), trials)
    items = [
        Market(name, options or {}, null, planted, seed, trials) for seed in range(1, markets + 1)
    ]
    rows, failed = [], []
    for item, found in batch.map_items(_market, items, workers=workers, watch=progress):
        if isinstance(found, Exception):
            failed.append(f"seed {item.seed}: {found!r}")
        else:
            rows.append(found)
    return {
        "study": name,
        "null": null,
        "planted": planted,
        "trials": len(tried),
        "asked": markets,
        **counted(sorted(rows, key=lambda row: row["seed"])),
        "failed": failed,
    }


def counted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Count claims and verdicts.

    Examples
    --------
    >>> rows = [{"edge": False, "word": "nothing", "word_free": "undecided"}] * 9
    >>> found = counted([*rows, {"edge": True, "word": "deployable", "word_free": "deployable"}])
    >>> found["edge_claimed"], found["deployable"], found["nothing"], found["rate"]
    (1, 1, 9, 0.1)
    """
    claimed = sum(row["edge"] for row in rows)
    words = {word: sum(row["word"] == word for row in rows) for word in WORDS}
    free = {word: sum(row["word_free"] == word for row in rows) for word in WORDS}
    return {
        "markets": len(rows),
        "edge_claimed": claimed,
        **words,
        **_rate(words["deployable"], len(rows)),
        "edge": _rate(claimed, len(rows)),
        "free": {**free, **_rate(free["deployable"], len(rows))},
        "rows": rows,
    }


def _rate(count: int, of: int) -> dict[str, float | None]:
    """Return a share with its exact 95 % interval (Clopper and Pearson, 1934)."""
    if not of:
        return {"rate": None, "low": None, "high": None}
    ends = binomtest(count, of).proportion_ci(0.95, method="exact")
    return {"rate": count / of, "low": float(ends.low), "high": float(ends.high)}


def _market(market: Market) -> dict[str, Any]:
    """Take one market to its verdicts: at the study's costs, and at none."""
    real = None if market.null == "simulated" else _real(market)
    with own_store(), tempfile.TemporaryDirectory() as place:
        chosen = _simulated(market) if real is None else _stored(*real, Path(place))
        made = pipeline.forecasts(chosen)
        if market.null == "shifts":
            made = nulls.shifted(made, seed=market.seed)
        paid = _judged(chosen, made, market.trials)
        with own_store():  # a count of its own: what was tried at the study's costs is not in it
            free = _judged(chosen.with_options(FREE), made, market.trials)
    score, kept = paid["score"], ("word", "net_return", "dsr", "setting")
    return {
        "seed": market.seed,
        "ic": score.ic,
        "ic_low": score.low,
        "ic_high": score.high,
        "edge": bool(score.low > 0),
        **{key: paid[key] for key in kept},
        **{f"{key}_free": free[key] for key in kept},
    }


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


def _judged(chosen: Study, made: pl.DataFrame, trials: int) -> dict[str, Any]:
    """Try settings, and judge the one that earned most."""
    tried = [(chosen.with_options(one), one) for one in settings(chosen, trials)]
    tested = [pipeline.backtest(one, made) for one, _ in tried]
    best = max(range(len(tried)), key=lambda k: tested[k].summary["net_return"])
    found = pipeline.evaluation(tried[best][0], made)
    said = judgement.judge(tried[best][0], found, tested[best])
    return {
        "word": said.word,
        "score": found.score,
        "dsr": said.evidence.dsr,
        "net_return": tested[best].summary["net_return"],
        "setting": tried[best][1],
    }


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


def text(found: dict[str, Any]) -> str:
    """Say the rates in lines."""
    what = f"planted IC {found['planted']:g}" if found["planted"] else "without an edge"
    lines = [
        f"{found['markets']} of {found['asked']} markets ({found['null']}) {what}, "
        f"best of {found['trials']} settings",
        _line("an edge before costs", found["edge_claimed"], found["edge"]),
        _line("deployable", found["deployable"], found),
        _line("deployable at no cost", found["free"]["deployable"], found["free"]),
        f"{'undecided, nothing':24}{found['undecided']}, {found['nothing']}",
    ]
    return "\n".join([*lines, *(f"failed: {one}" for one in found["failed"])])


def _line(what: str, count: int, rate: dict[str, Any]) -> str:
    if rate["rate"] is None:
        return f"{what:24}{count}"
    return f"{what:24}{count}  {rate['rate']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"
