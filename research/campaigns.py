"""Long measurements of the whole house, too long for check; each ends in numbers to quote.

``truth``: simulated markets with and without a planted edge, fixed seeds. Does the pipeline find
what is there, no more than is there, and nothing where there is nothing?
``interruption``: reports killed at random moments and run again. Are the tables byte for byte those
of a run that nobody disturbed?
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from research import batch, league, pipeline
from research.errors import UserError, nearest
from research.report.numbers import clean, verdict
from research.store import atomic
from research.study import read

SMALL = (
    "simulated.symbols=2",
    "simulated.days=12",
    "validation.train=6 d",
    "validation.test=2 d",
    "model.rounds=20",
    "evaluation.window=1 d",
)
_IN_A_ROW = 4


def run(name: str, *, seeds: int, workers: int) -> dict[str, Any]:
    """Run one campaign.

    Parameters
    ----------
    name : str
        A key of `CAMPAIGNS`.
    seeds : int
        Markets of each kind, with seeds 1, 2, 3, ...
    workers : int
        Processes.
    """
    if name not in CAMPAIGNS:
        known = list(CAMPAIGNS)
        raise UserError(f"campaign {name!r}: not known.{nearest(name, known)} Here: {known}.")
    return CAMPAIGNS[name](seeds, workers)


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
    with tempfile.TemporaryDirectory(prefix="alphabook-") as place:
        os.environ["ALPHABOOK_DATA"] = place
        study = read("demo", options)
        forecasts = pipeline.forecasts(study)
        found = pipeline.evaluation(study, forecasts)
        tested = pipeline.backtest(study, forecasts)
        word, _ = verdict(found.score, found.ic_break_even, tested.summary["net_return"])
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


def interruption(seeds: int, workers: int, options: tuple[str, ...] = SMALL) -> dict[str, Any]:
    """Kill a report `seeds` times, four times in a row and then let it end; compare the tables.

    `workers` is not used: the moments of the kills are the point, and they want a quiet machine.
    """
    with tempfile.TemporaryDirectory(prefix="alphabook-") as name:
        top, dice, moments = Path(name), random.Random(seeds), []
        began = time.monotonic()
        _report(top / "undisturbed", options, None)
        whole, expected = time.monotonic() - began, _tables(top / "undisturbed")
        differing: list[str] = []
        watch = batch.progress(f"interruption: {seeds} kills")
        for first in range(0, seeds, _IN_A_ROW):
            place = top / f"killed_{first}"
            for _ in range(min(_IN_A_ROW, seeds - first)):
                moments.append(dice.uniform(0.05, 0.95) * whole)
                _report(place, options, moments[-1])
            _report(place, options, None)
            found = _tables(place)
            differing += sorted(
                path for path in expected.keys() | found if found.get(path) != expected.get(path)
            )
            watch(len(moments), seeds, "")
    return {
        "kills": len(moments),
        "seconds_undisturbed": round(whole, 1),
        "tables": len(expected),
        "differing": differing,
    }


def _report(place: Path, options: tuple[str, ...], kill_after: float | None) -> None:
    """Run a report in a store of its own; kill it after so many seconds, or see it end well."""
    folders = {"ALPHABOOK_DATA": str(place / "data"), "ALPHABOOK_REPORTS": str(place / "reports")}
    words = [word for option in options for word in ("-o", option)]
    process = subprocess.Popen(
        [sys.executable, "-m", "research", "report", "demo", *words],
        env=os.environ | folders,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _, said = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return
    if process.returncode:
        raise RuntimeError(f"report ended with {process.returncode}: {said.decode()[-2000:]}")


def _tables(place: Path) -> dict[str, str]:
    """Hash every stored table and card, and the tables of the newest run."""
    data = place / "data"
    stored = [
        p for p in data.rglob("*") if p.is_file() and p.suffix in (".parquet", ".json", ".txt")
    ]
    run = sorted((place / "reports" / "demo").glob("2*"))[-1]
    kept = [p for p in run.iterdir() if p.suffix in (".parquet", ".csv")]
    hashes = {str(p.relative_to(data)): atomic.sha256(p) for p in stored}
    return hashes | {f"run/{p.name}": atomic.sha256(p) for p in kept}


CAMPAIGNS: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "truth": truth,
    "interruption": interruption,
}


def text(found: dict[str, Any]) -> str:
    """Write a campaign's numbers as lines."""
    lines = []
    for key, value in found.items():
        if key == "markets":
            continue
        inside = value if isinstance(value, dict) else {"": value}
        lines += [f"{key:24}{name:28}{number}" for name, number in inside.items()]
    return "\n".join(lines)
