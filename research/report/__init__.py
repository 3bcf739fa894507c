"""A run's report: its tables, numbers, figures and pages, in a folder that stands alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from research import batch, league, pipeline
from research.judgement import judge as verdict
from research.order_flow import short, studied
from research.report import figures, pages
from research.report.numbers import summary, without_training
from research.store import atomic
from research.store import tables as stored_tables
from research.store.cards import digest
from research.stored_runs import Run, reports_root, runs
from research.study import Study

__all__ = ["Part", "figures", "keep", "new_run", "tables", "verdict", "write", "write_index"]


@dataclass
class Part:
    """A run in the making: its hidden folder, and the run once it is whole."""

    folder: Path
    name: str

    @property
    def run(self) -> Run:
        """The finished run."""
        return Run(self.folder.parent / self.name)


def keep(study: Study) -> Run:
    """Store a run of `study` without notebooks: tables, numbers, figures and its page.

    Returns
    -------
    Run
        Shows itself in a cell; `research.compare` holds it against another.
    """
    with new_run(study) as part:
        pass
    return part.run


@contextmanager
def new_run(study: Study) -> Iterator[Part]:
    """Make a run: the block may fill its folder; then the report is written, and it appears.

    What interrupted runs of the study left behind is cleared first.
    """
    home = reports_root() / study.name
    part = _clear_part(home, _new_id(study, home))
    try:
        yield part
        write(study, part.folder, part.name)
    except BaseException:  # a mistake, a fault or Ctrl-C: nothing half-made stays behind
        shutil.rmtree(part.folder, ignore_errors=True)
        raise
    part.folder.rename(home / part.name)
    _point_latest(home, part.name)
    write_index()


def _new_id(study: Study, home: Path) -> str:
    """Name the run by minute, study and settings, as in ``2026-11-20_2215_quantiles_3f2a``."""
    name = f"{datetime.now(UTC):%Y-%m-%d_%H%M}_{study.name}_{digest(study.settings())[:4]}"
    twins = list(home.glob(f"{name}*"))
    return f"{name}-{len(twins) + 1}" if twins else name


def _clear_part(home: Path, name: str) -> Part:
    for left in home.glob(".*.part"):
        shutil.rmtree(left)
    part = Part(home / f".{name}.part", name)
    with atomic.writing(part.folder):
        part.folder.mkdir(parents=True)
    return part


def _point_latest(home: Path, name: str) -> None:
    link = home / f".latest.{os.getpid()}"
    try:
        link.symlink_to(name, target_is_directory=True)
        link.replace(home / "latest")
    except OSError:  # Windows without the right to make links
        atomic.write_text(home / "latest.txt", name)


def write(study: Study, folder: Path, run: str) -> dict[str, Any]:
    """Write everything of one run into `folder` and return its summary.

    Parameters
    ----------
    study : Study
        Its stages are made, or taken from the store.
    folder : Path
        May hold executed notebooks already; they get an HTML page each.
    run : str
        The run's id.
    """
    from research.audit import certificate, verify  # not needed to look at a report in a cell

    if (why := short.untrained(study)) is not None:
        return _write_untrained(study, folder, run, why)
    with stored_tables.used() as stored:
        found, tested = pipeline.evaluation(study), pipeline.backtest(study)
        rivals = league.table(study)
        for name, table in tables(study, found, tested).items():
            atomic.write_parquet(folder / f"{name}.parquet", table)
            if name in ("trades", "equity") or name.startswith("quantiles"):
                atomic.write_bytes(folder / f"{name}.csv", table.write_csv().encode())
        proof = certificate.kept(study, progress=batch.progress("certificate"))
        atomic.write_json(folder / "certificate.json", proof)
        content = summary(study, run, found, tested, rivals)
        content["certificate"] = certificate.short(proof)
        content["verdict"] = certificate.weighed(content["verdict"], proof)
        atomic.write_json(folder / "summary.json", content)
        atomic.write_text(folder / "study.json", study.model_dump_json(indent=1))
        figures.draw(study, found, tested, rivals, content, folder / "figures")
        pages.notebooks(folder / "notebooks")
        pages.run(study, content, tested, found, folder, certificate.lines(proof))
    verify.seal(study, folder, stored)
    return content


def _write_untrained(study: Study, folder: Path, run: str, why: str) -> dict[str, Any]:
    """Write what there is of a run whose recording is too short to be trained on."""
    from research.audit import verify

    with stored_tables.used() as stored:
        content = without_training(study, run, why)
        for name, table in flow_tables(study).items():
            atomic.write_parquet(folder / f"{name}.parquet", table)
        atomic.write_json(folder / "summary.json", content)
        atomic.write_text(folder / "study.json", study.model_dump_json(indent=1))
        figures.draw_flow(study, folder / "figures")
        pages.notebooks(folder / "notebooks")
        pages.untrained(study, content, folder)
    verify.seal(study, folder, stored)
    return content


def flow_tables(study: Study) -> dict[str, pl.DataFrame]:
    """Return the tables of a recording's order flow that a run keeps; none of other bars."""
    if study.data.source not in studied.SOURCES:
        return {}
    known = studied.kept(study)
    return {f"flow_{name}": known[name] for name in ("impact", "lagged", "next_move", "gaps")}


def tables(
    study: Study, found: pipeline.Evaluation, tested: pipeline.Backtest
) -> dict[str, pl.DataFrame]:
    """Return the tables that a run keeps, by name.

    Parameters
    ----------
    study : Study
        As it was run.
    found : Evaluation
        Its `pipeline.evaluation`.
    tested : Backtest
        Its `pipeline.backtest`.
    """
    chosen = study.evaluation
    return {
        "trades": tested.trades,
        "equity": tested.equity,
        "reasons": tested.reasons,
        "forecasts": found.binned,
        f"quantiles_{chosen.bins}_{chosen.scope}": found.quantiles.table,
        "fee_surface": found.surface,
        **flow_tables(study),
    }


def write_index() -> Path:
    """Write ``reports/index.html``, which sorts and filters all runs."""
    return pages.index([run.row() for run in runs()], reports_root())
