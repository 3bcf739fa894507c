"""A stored run made anew from raw bars in a store of its own, and compared stage by stage."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from research import datasets, league, pipeline, report
from research.audit import certificate
from research.audit.verify import artefacts
from research.audit.verify.artefacts import Artefact
from research.audit.verify.manifest import in_force, outputs, stored_table
from research.errors import UserError
from research.order_flow.short import untrained
from research.report import numbers
from research.store import atomic, cards
from research.store.ledger.chain import place as ledger_path
from research.stored_runs import Run
from research.study import Study

CERTIFICATE = "certificate.json"
Watch = Callable[[int, int, str], None]
NOT_REBUILT = ("code", "ledger.rows", "ledger.hash", "ledger.home")
"""Keys of ``summary.json`` that are facts about the day of the run."""
_DATA = "ALPHABOOK_DATA"
_STEPS = 7


def rebuild(run: Run, sealed: dict[str, Any], watch: Watch) -> list[Artefact]:
    """Make a run anew and compare what comes out, in the order of making.

    Parameters
    ----------
    run : Run
        Its ``study.json`` says what is made; its tables are what is compared with.
    sealed : dict
        Its manifest.
    watch : callable
        Takes (done, total, label).

    Returns
    -------
    list of Artefact
        Up to the first stage that cannot be made at all, if there is one.
    """
    made, judged, why = _made(run, watch)
    watch(_STEPS, _STEPS, "")
    found = [_stage(run, name, sealed, table) for name, table in made.items()]
    if judged is None:
        left = (stage for stage in sealed["stages"] if stage not in made)
        stopped = next(left, "backtest")
        return [*found, Artefact(stopped, stopped, "values", "differs", f"cannot be made: {why}")]
    tables, summary = judged
    found += [_table(run.folder / f"{name}.parquet", table) for name, table in tables.items()]
    if "untrained" not in summary:  # of what was not trained there is nothing to certify
        proof = json.loads((run.folder / CERTIFICATE).read_text(encoding="utf8"))
        summary["certificate"] = certificate.short(proof)
        summary["verdict"] = certificate.weighed(summary["verdict"], proof)
        how = _proven(run.study, proof, made)
        found.append(Artefact(CERTIFICATE, "certificate", "values", *how))
    how = artefacts.numbers(run.summary, summary, without=NOT_REBUILT)
    return [*found, Artefact("summary.json", "numbers", "values", *how)]


def _proven(study: Study, proof: dict[str, Any], made: dict[str, pl.DataFrame]) -> tuple[str, str]:
    """Tell whether a certificate is about the bars and the features that were made anew."""
    chosen = pipeline.feature_set(study)
    now = {"bars": cards.fingerprint(made["bars"]), chosen.name: chosen.fingerprint()}
    was = {**proof["fingerprints"]["sets"], "bars": proof["fingerprints"]["bars"]}
    unlike = [name for name, is_now in now.items() if was.get(name) != is_now]
    return ("differs", f"is about other {', '.join(unlike)}") if unlike else ("same", "")


Judged = tuple[dict[str, pl.DataFrame], dict[str, Any]]


def _made(run: Run, watch: Watch) -> tuple[dict[str, pl.DataFrame], Judged | None, str]:
    """Make the stages, then tables and numbers; without the last where one cannot be made."""
    made: dict[str, pl.DataFrame] = {}
    with _elsewhere(run):
        try:
            for number, (name, table) in enumerate(outputs(run.study), 1):
                made[name] = table
                watch(number, _STEPS, name)
            return made, _judged(run.study, run.id), ""
        except UserError as error:
            return made, None, str(error)


@contextmanager
def _elsewhere(run: Run) -> Iterator[None]:
    """Work in an empty store for a while: of the usual one only what was fetched is seen."""
    usual, before = atomic.data_root(), os.environ.get(_DATA)
    with TemporaryDirectory(prefix="alphabook-") as name:
        for shared in _given(run.study):
            (Path(name) / shared).parent.mkdir(parents=True, exist_ok=True)
            if (usual / shared).exists():
                (Path(name) / shared).symlink_to((usual / shared).resolve())
        trials = _trials(run)
        os.environ[_DATA] = name
        try:
            atomic.write_bytes(ledger_path(), trials)
            yield
        finally:
            os.environ.pop(_DATA)
            os.environ |= {} if before is None else {_DATA: before}


def _trials(run: Run) -> bytes:
    """Return the trial ledger as the run saw it: the same trials, so the same verdict over them."""
    path, rows = ledger_path(), run.summary["ledger"].get("rows", 0)
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return b"".join(lines[:rows])


def _given(study: Study) -> list[str]:
    """Name what cannot be made anew: bars that came over a network, the latency of a paper run."""
    given = ["live/latency.json"]
    if study.data.source == "binance" or (study.data.source == "polygon" and not study.data.path):
        place = datasets.dataset(study)
        given.append(f"bars/{place.venue}/{place.market}")
    return given


def _judged(study: Study, run: str) -> Judged:
    """Make the tables and the numbers of a report, as the report does."""
    if (why := untrained(study)) is not None:
        looked_at = numbers.without_training(study, run, why)
        return report.flow_tables(study), json.loads(json.dumps(looked_at))
    found, tested = pipeline.evaluation(study), pipeline.backtest(study)
    summary = numbers.summary(study, run, found, tested, league.table(study))
    return report.tables(study, found, tested), json.loads(json.dumps(summary))


def _stage(run: Run, name: str, sealed: dict[str, Any], now: pl.DataFrame) -> Artefact:
    is_was, is_now = sealed["stages"][name], cards.fingerprint(now)
    if is_was == is_now:
        return Artefact(name, name, "values", "same")
    was = in_force(run.forecasts) if name == "models" else stored_table(sealed, name)
    result, how = ("same", "") if was is None else artefacts.tables(was, now)
    if result == "same":  # nothing is left to look at but the fingerprints
        result, how = "differs", f"fingerprint {is_was}, made anew {is_now}"
    return Artefact(name, name, "values", result, how)


def _table(path: Path, now: pl.DataFrame) -> Artefact:
    if not path.exists():
        return Artefact(path.name, "table", "values", "differs", "is not in the run")
    return Artefact(path.name, "table", "values", *artefacts.tables(pl.read_parquet(path), now))
