"""The numbers of a run: what ``summary.json`` holds, and the verdict over them."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from research import bars as bar_room
from research import datasets, judgement, league, models, pipeline
from research.errors import UserError
from research.order_flow import studied as recorded
from research.performance.verdict import Evidence, Verdict
from research.report.tearsheet import tearsheet
from research.scores import Classification
from research.store import cards, ledger
from research.study import Study


def summary(
    study: Study,
    run: str,
    found: pipeline.Evaluation,
    tested: pipeline.Backtest,
    rivals: pl.DataFrame,
) -> dict[str, Any]:
    """Gather every number of a run under the keys that others read.

    Returns
    -------
    dict
        JSON values: counts are integers; returns, spread and fees fractions, a fee per side; None
        where not known, never NaN.
    """
    said, counted = _judged(study, found, tested)
    content: dict[str, Any] = {
        "study": study.name,
        "run": run,
        "code": cards.whole_package()["source"],
        "verdict": said.to_dict(),
        "trials": said.evidence.trials,
        "ledger": counted,
        "data": _data(study),
        "folds": found.binned["fold"].n_unique(),
        "league": rivals.to_dicts(),
        "scores": {
            **league.named("ic", found.score),
            "ic_break_even": found.ic_break_even,
            "league_rank": _rank(rivals),
        },
        "quantiles": {
            "rule": study.evaluation.scope,
            "bins": study.evaluation.bins,
            "spread": found.quantiles.spread,
            "spread_low": found.quantiles.low,
            "spread_high": found.quantiles.high,
            "optimism_gap": found.optimism_gap,
        },
        "backtest": _backtest(tested, said.evidence),
        "tearsheet": tearsheet(
            tested, capital=study.backtest.capital, ratios=not said.evidence.unreached
        ),
        "sizing": sizing(study, tested),
        "classes": _classes(found.classes),
        "gate": _gate(study),
    }
    if _has_truth(study):
        content["truth"] = league.truth(study, found)
    if study.data.source in recorded.SOURCES:
        content["order_flow"] = recorded.numbers(study)
    return clean(content)


def _has_truth(study: Study) -> bool:
    """Tell whether the best forecast is known, over the horizon that is forecast."""
    if study.data.source == "simulated_flow":
        return study.simulated_flow.horizon == study.labels.horizon
    return study.data.source == "simulated"


def without_training(study: Study, run: str, why: str) -> dict[str, Any]:
    """Gather the numbers of a run whose recording is too short to be trained on.

    Returns
    -------
    dict
        The keys of `summary`; what would have come of training is None. The verdict says `why`.
    """
    missing = ("quantiles", "scores", "backtest", "tearsheet", "sizing", "classes", "gate")
    content: dict[str, Any] = {
        "study": study.name,
        "run": run,
        "code": cards.whole_package()["source"],
        "verdict": {
            "word": "undecided",
            "because": f"nothing was trained: {why.rstrip('.')}",
            "change": ["a recording that is long enough for the study's folds"],
            "checks": [],
        },
        "untrained": why,
        "ledger": _head(),
        "data": _data(study) if recorded.kept(study)["bars"].height else None,
        "folds": 0,
        "league": [],
        **dict.fromkeys((*missing, "trials")),
        "order_flow": recorded.numbers(study),
    }
    return clean(content)


def _rank(rivals: pl.DataFrame) -> int:
    """Place by net return among all entries, doing nothing included; 1 is the best."""
    mine = rivals.filter("mine")["net_return"][0]
    return int((rivals["net_return"] > mine).sum()) + 1


def _classes(found: Classification | None) -> dict[str, Any] | None:
    if found is None:
        return None
    estimates = {"accuracy": found.accuracy, "beyond": found.beyond}
    ends = {
        f"{name}{end}": value
        for name, estimate in estimates.items()
        for end, value in zip(("", "_low", "_high"), estimate, strict=True)
    }
    single = ("majority", "baseline", "macro_f1", "log_loss", "log_loss_baseline")
    return {**ends, **{key: getattr(found, key) for key in single}}


def _gate(study: Study) -> dict[str, Any] | None:
    decided = pipeline.gates(study)
    return models.gate_summary(decided) if decided.height else None


BACKTEST = (
    "trades",
    "gross_return",
    "net_return",
    "fees",
    "sharpe",
    "max_drawdown",
    "days",
    "win_rate",
    "profit_factor",
    "turnover",
    "break_even_fee",
    "net_low",
    "net_high",
    "sharpe_low",
    "sharpe_high",
)


def _backtest(tested: pipeline.Backtest, seen: Evidence) -> dict[str, Any]:
    """Return the backtest's numbers; no Sharpe ratio where nobody knows among how many trials."""
    kept = {key: tested.summary[key] for key in BACKTEST}
    return kept | (dict.fromkeys(_RATIOS) if seen.unreached else {})


_RATIOS = ("sharpe", "sharpe_low", "sharpe_high")


def _judged(
    study: Study, found: pipeline.Evaluation, tested: pipeline.Backtest
) -> tuple[Verdict, dict[str, Any]]:
    """Judge, and return the ledger's head and what its count made of the Sharpe ratio.

    Another process may write a row in between; the head must be that of the rows that were counted.
    """
    before = _head()
    while True:
        said = judgement.judge(study, found, tested)
        now = _head()
        if now == before:
            break
        before = now
    if said.evidence.unreached:
        return said, {"unreached": said.evidence.unreached}
    counted = {key: getattr(said.evidence, key) for key in ("effective", "dsr", "dsr_raw")}
    return said, {**now, **counted}


def _head() -> dict[str, Any]:
    try:
        return ledger.head(home=True)
    except UserError as error:
        return {"unreached": str(error)}


_AT_CAP = 0.98
"""Share of the largest size from which on an entry stands at it: a price moves until its fill."""


def sizing(study: Study, tested: pipeline.Backtest) -> dict[str, Any]:
    """Say how large entries were, and how often a limit decided that in the sizing's stead.

    Returns
    -------
    dict
        ``kind``; ``cap``, the largest entry that the study allows, as a share of equity;
        ``median``, of the entries' notional over the equity that they were decided on; ``capped``,
        entries at 98 % of the cap or more; ``too_small``, bars at which a position was wanted and
        not ordered, or not filled, for being below the smallest order.

    Notes
    -----
    A size by volatility that always stands at its cap is a size by nothing: the risk that it was
    to hold constant moves with the market. Minutes are calm, so one for a single horizon does.
    """
    chosen, trades = study.sizing, tested.trades
    cap = min(chosen.max_position or chosen.leverage, chosen.leverage)
    known = tested.equity.select("time", owned="equity").set_sorted("time")
    # decided at a close, filled at the open that is the same moment, or later
    entries = trades.sort("entry_time").join_asof(known, left_on="entry_time", right_on="time")
    size = pl.col("entry_price") * pl.col("quantity").abs() / pl.col("owned")
    shares = entries.select(size).to_series().drop_nulls()
    return {
        "kind": chosen.kind,
        "cap": cap,
        "median": shares.median(),
        "capped": int((shares >= _AT_CAP * cap).sum()),
        "too_small": int((tested.reasons["reason"] == "too_small").sum()),
    }


_FOUND = ("zero_volume_bars", "duplicates", "revised", "off_grid", "unsorted")


def _data(study: Study) -> dict[str, Any]:
    """Describe the bars a study read; faults are counted in the source's own bars."""
    minutes = datasets.dataset(study).interval / timedelta(minutes=1)
    table = pipeline.bars(study)
    seen = bar_room.coverage(datasets.quality(study))
    return {
        "fingerprint": cards.fingerprint(table),
        "symbols": table["symbol"].unique().sort().to_list(),
        "rows": table.height,
        "start": table["open_time"].min().isoformat(),  # type: ignore[union-attr]
        "end": table["time"].max().isoformat(),  # type: ignore[union-attr]
        "missing_minutes": _whole(seen["missing_minutes"] * minutes),
        **{key: seen[key] for key in _FOUND},
    }


def _whole(minutes: float) -> float:
    """Return whole minutes as a count; bars of seconds may lack parts of one."""
    return int(minutes) if minutes.is_integer() else minutes


def clean(value: Any) -> Any:
    """Turn numpy scalars into plain ones, moments into text and what is not finite into None."""
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
