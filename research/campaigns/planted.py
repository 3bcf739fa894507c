"""The whole way on simulated markets with and without an edge: is what is there found, no more?"""

from __future__ import annotations

from typing import Any

import polars as pl

from research import batch, judgement, league, pipeline
from research.campaigns.markets import own_store
from research.report.numbers import clean
from research.study import read


def truth(seeds: int, workers: int) -> dict[str, Any]:
    """Measure what is found against what was planted."""
    items = [(seed, ic) for ic in (None, 0.0) for seed in range(1, seeds + 1)]
    watch = batch.progress(f"truth: {len(items)} markets")
    results = list(batch.map_items(_market, items, workers=workers, watch=watch))
    failed = [f"seed {item}: {found!r}" for item, found in results if isinstance(found, Exception)]
    rows = [found for _, found in results if isinstance(found, dict)]
    rows.sort(key=lambda row: (row["planted_ic"] == 0, row["seed"]))
    on = [row for row in rows if row["planted_ic"]]
    off = [row for row in rows if not row["planted_ic"]]
    return {"markets": rows, "failed": failed, "on": _edge_on(on), "off": _edge_off(off)}


def _market(item: tuple[int, float | None]) -> dict[str, Any]:
    """Take one market through the pipeline, in a store and with a count of trials of its own."""
    seed, ic = item
    options: dict[str, Any] = {"simulated.seed": seed, "model.league": ["ridge"]}
    if ic is not None:
        options["simulated.ic"] = ic
    with own_store():
        study = read("demo", options)
        forecasts = pipeline.forecasts(study)
        found = pipeline.evaluation(study, forecasts)
        tested = pipeline.backtest(study, forecasts)
        word = judgement.judge(study, found, tested).word
        known = league.truth(study, found)
        excess = league.excess(study, found) if known["oracle_ic"] is not None else None
    margin = {"excess": excess.ic, "excess_low": excess.low} if excess else {}
    return clean({"seed": seed, **known, **margin, "verdict": word})


def _edge_on(rows: list[dict[str, Any]]) -> dict[str, Any]:
    table = pl.DataFrame(rows, infer_schema_length=None)
    if table.is_empty():
        return {}
    covered = pl.col("planted_ic").is_between("oracle_ic_low", "oracle_ic_high")
    width = (pl.col("found_ic_high") - pl.col("found_ic_low")) / 2
    return table.select(
        markets=pl.len(),
        oracle_covers_planted=covered.sum(),
        found_over_oracle=(pl.col("found_ic") / pl.col("oracle_ic")).mean(),
        found_above_oracle=(pl.col("excess_low") > 0).sum(),
        found_low_above_zero=(pl.col("found_ic_low") > 0).sum(),
        half_width_over_planted=(width / pl.col("planted_ic")).max(),
        mean_oracle_ic=pl.col("oracle_ic").mean(),
        mean_found_ic=pl.col("found_ic").mean(),
    ).row(0, named=True)


def _edge_off(rows: list[dict[str, Any]]) -> dict[str, Any]:
    table = pl.DataFrame(rows, infer_schema_length=None)
    if table.is_empty():
        return {}
    return table.select(
        markets=pl.len(),
        covers_zero=pl.lit(0.0).is_between("found_ic_low", "found_ic_high").sum(),
        verdict_nothing=(pl.col("verdict") == "nothing").sum(),
        mean_found_ic=pl.col("found_ic").mean(),
    ).row(0, named=True)
