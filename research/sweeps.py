"""Many settings of one study: every combination once, done ones skipped, failures set aside."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from research import batch, datasets, pipeline
from research.errors import UserError
from research.store import atomic, cards, ledger
from research.study import Study, literal, read

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sweep:
    """What a sweep found: one row per combination, and those that failed with their reasons."""

    study: str
    rows: list[dict[str, Any]]
    failed: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"study": self.study, "done": self.rows, "failed": self.failed}

    def to_polars(self) -> pl.DataFrame:
        """One row per combination, best IC first."""
        flat = [{**row["settings"], **row["found"]} for row in self.rows]
        table = pl.DataFrame(flat, infer_schema_length=None)
        return table.sort("ic", descending=True) if flat else table

    def text(self) -> str:
        """As a table for a terminal."""
        lines = [f"{'; '.join(map(str, r['settings'].items()))}: {r['error']}" for r in self.failed]
        failures = "\n".join([f"{len(lines)} failed and were set aside:", *lines]) if lines else ""
        with pl.Config(
            tbl_rows=200, tbl_cols=20, tbl_width_chars=180, tbl_hide_dataframe_shape=True
        ):
            return f"{self.to_polars()}\n{failures}".strip()

    def _repr_html_(self) -> str:
        return self.to_polars()._repr_html_()


def run(
    chosen: str,
    options: dict[str, Any],
    grid: list[str],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: batch.Progress | None = None,
) -> Sweep:
    """Evaluate and backtest a study at every combination of some settings.

    Parameters
    ----------
    chosen : str
        A study's name, or the path of its file.
    options : dict of str to value
        Dotted settings that all combinations share.
    grid : list of str
        ``"key=v1,v2"`` each; an interrupted sweep goes on where it stopped.
    workers : int
        Processes.
    scheduler : str, optional
        Address of a Dask cluster that works in their place, as in `batch.map_items`.
    progress : callable, optional
        Takes (done, total, label). Absent: a bar on stderr.

    Raises
    ------
    UserError
        If the grid is empty, a setting is not one of the study's, or there is no such cluster.
    """
    points = list(combinations(grid))
    studies = [pipeline.read(chosen, {**options, **point}) for point in points]
    datasets.acquire(studies[0])  # once, before workers would all do it
    items = [(chosen, {**options, **point}, ledger.noted()) for point in points]
    watch = progress or batch.progress(f"sweep of {len(items)}")
    done, failed = [], []
    results = batch.map(_point, items, workers=workers, scheduler=scheduler, watch=watch)
    for point, found in zip(points, results, strict=True):
        if isinstance(found, Exception):
            log.info("set aside: %s: %s", point, found)
            failed.append({"settings": point, "error": f"{type(found).__name__}: {found}"})
        else:
            done.append({"settings": point, "found": found})
    return Sweep(studies[0].name, done, failed)


def combinations(grid: list[str]) -> list[dict[str, Any]]:
    """Return every combination of ``key=v1,v2`` entries.

    >>> combinations(["model.name=ridge,lightgbm", "seed=1,2"])[1]
    {'model.name': 'ridge', 'seed': 2}
    """
    values: dict[str, list[Any]] = {}
    for entry in grid:
        key, equals, listed = entry.partition("=")
        if not equals or not listed.strip():
            raise UserError(
                f"-g {entry!r}: expected KEY=V1,V2, as in -g labels.horizon='5 min,1 h'."
            )
        values[key.strip()] = [literal(text.strip()) for text in listed.split(",")]
    if not values:
        raise UserError("sweep: name at least one setting, as in -g model.name=ridge,lightgbm")
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


def _point(item: tuple[str, dict[str, Any], str]) -> dict[str, Any]:
    chosen, options, note = item
    study = read(chosen, options)
    # another process knows nothing of the note it was begun under
    with ledger.exploring(note) if note != ledger.noted() else nullcontext():
        return remembered(study, lambda: found(study))


def remembered(study: Study, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the stored result of `work` for this study, code and data, or do it and store it."""
    made_of = [
        study.settings(),
        cards.whole_package(),
        pipeline.feature_set(study).fingerprint(),
        cards.fingerprint(pipeline.bars(study)),
    ]
    key = cards.digest(made_of)
    path: Path = atomic.data_root() / "sweeps" / f"{key}.json"
    if not path.exists():
        atomic.write_json(path, work())
    return json.loads(path.read_text(encoding="utf8"))


def found(study: Study) -> dict[str, Any]:
    """Evaluate and backtest one study and return its numbers."""
    from research.report.numbers import clean

    forecasts = pipeline.forecasts(study)
    scored, tested = pipeline.evaluation(study, forecasts), pipeline.backtest(study, forecasts)
    return clean(
        {
            "ic": scored.score.ic,
            "ic_low": scored.score.low,
            "ic_high": scored.score.high,
            "ic_break_even": scored.ic_break_even,
            "spread": scored.quantiles.spread,
            "net_return": tested.summary["net_return"],
            "break_even_fee": tested.summary["break_even_fee"],
            "trades": tested.summary["trades"],
        }
    )
