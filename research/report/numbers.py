"""The numbers of a run: what ``summary.json`` holds, and the verdict over them."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from research import bars as bar_room
from research import datasets, league, models, pipeline
from research.scores import Classification, Score
from research.store import cards, trials
from research.study import Study

# an effect of (1.96 + 0.84) standard errors is found four times in five
_POWER = (1.96 + 0.84) / 1.96
FEWEST_DAYS = 10


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
    word, because = verdict(found.score, found.ic_break_even, tested.summary["net_return"])
    content: dict[str, Any] = {
        "study": study.name,
        "run": run,
        "code": cards.whole_package()["source"],
        "verdict": {"word": word, "because": because},
        "trials": trials.count(datasets.dataset(study).lineage),
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
        "backtest": {key: tested.summary[key] for key in BACKTEST},
        "sizing": sizing(study, tested),
        "classes": _classes(found.classes),
        "gate": _gate(study),
    }
    if study.data.source == "simulated":
        content["truth"] = league.truth(study, found)
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


def verdict(score: Score, ic_break_even: float, net_return: float | None) -> tuple[str, str]:
    """Say in one word what the evidence allows, and why.

    ``nothing``: the interval lies at or below 0, or covers 0 although an edge that pays would have
    been found four times in five, over ten days or more. ``undecided``: all else. Whether an edge
    may be traded is not decided here.

    Examples
    --------
    >>> from research.scores import Score
    >>> bad = Score(ic=-0.01, low=-0.02, high=-0.001, n_days=40, n_rows=1000, blocks="days")
    >>> verdict(bad, 0.18, -0.1)[0]
    'nothing'
    """
    said = f"IC {score.ic:.3f} [{score.low:.3f}, {score.high:.3f}]"
    needed = f"break-even needs {ic_break_even:.3f}"
    if score.high <= 0:
        return "nothing", f"{said} lies at or below zero; {needed}"
    if score.low <= 0:
        reach = (score.high - score.low) / 2 * _POWER
        if reach <= ic_break_even and score.n_days >= FEWEST_DAYS:
            return (
                "nothing",
                f"{said} covers zero, and an edge that pays would have shown; {needed}",
            )
        return "undecided", f"{said} covers zero, and the sample is too short to tell; {needed}"
    net = "" if net_return is None else f"; net return {net_return:+.1%} out of sample"
    if score.high < ic_break_even:
        return "undecided", f"{said}: an edge, but too faint to pay its costs; {needed}{net}"
    return "undecided", f"{said}: an edge that may pay its costs; {needed}{net}"


_FOUND = ("zero_volume_bars", "duplicates", "revised", "off_grid", "unsorted")


def _data(study: Study) -> dict[str, Any]:
    """Describe the bars a study read; faults are counted in the source's own bars."""
    minutes = datasets.dataset(study).interval // timedelta(minutes=1)
    table = pipeline.bars(study)
    seen = bar_room.coverage(datasets.quality(study))
    return {
        "fingerprint": cards.fingerprint(table),
        "symbols": table["symbol"].unique().sort().to_list(),
        "rows": table.height,
        "start": table["open_time"].min().isoformat(),  # type: ignore[union-attr]
        "end": table["time"].max().isoformat(),  # type: ignore[union-attr]
        "missing_minutes": seen["missing_minutes"] * minutes,
        **{key: seen[key] for key in _FOUND},
    }


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
