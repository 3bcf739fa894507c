"""What is kept, and for how long: logs by age, models and operating reports by number.

Never touched: journals, the models that a run had in force (its proof needs them), the ledger, and
the reports of studies.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from research.errors import UserError
from research.live import folders, log
from research.operations import places
from research.operations.table import Table
from research.store import atomic
from research.study import Study

_OPEN = ("log.jsonl", "alerts.jsonl", f"{log.LOGS}/{log.TRADING}")
"""What a run writes on as long as it lives."""
_ROTATED = ("log.jsonl.*", "alerts.jsonl.*", f"{log.LOGS}/*")


def sweep(study: Study, folder: Path) -> str:
    """Drop what is kept long enough, and say how much; a second time there is nothing to drop.

    Parameters
    ----------
    study : Study
        Its `jobs` say what is kept; its runs are looked through.
    folder : Path
        Where its jobs are kept.
    """
    before = time.time() - study.jobs.logs.total_seconds()
    runs = places.runs(study.name)
    logs = [path for run in runs for path in _old_logs(run, before)]
    reports = [path for run in runs for path in _surplus(places.reports(run), study.jobs.reports)]
    champions = _surplus(atomic.data_root() / "champions", study.jobs.models)
    for path in [*logs, *reports, *champions]:
        _remove(path)
    models = len(champions) + sum(_pruned(run, study.jobs.models) for run in runs)
    Table(folder).forget("health", int(before * 1e6))
    return f"dropped {len(logs)} logs, {models} models, {len(reports)} reports"


def _old_logs(run: Path, before: float) -> list[Path]:
    """Return the logs of a run that nobody has written to since a real time."""
    alive = folders.runner(run) is not None
    found = {path for pattern in _ROTATED for path in run.glob(pattern)}
    if alive:
        found -= {run / name for name in _OPEN}
    return sorted(path for path in found if path.is_file() and path.stat().st_mtime < before)


def _surplus(place: Path, keep: int) -> list[Path]:
    """Return the folders in `place` but the newest `keep`, by when they were last changed."""
    return _newest_first(path for path in place.glob("*") if path.is_dir())[keep:]


def _newest_first(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def _remove(path: Path) -> None:
    """Remove a file, or a folder: that is put aside first, so that nobody reads a part of it."""
    with atomic.writing(path):
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        aside = path.with_name(f".gone-{path.name}")
        path.rename(aside)
        shutil.rmtree(aside)


def _pruned(run: Path, keep: int) -> int:
    """Drop models that a run which is over never had in force; one that runs sees to it itself."""
    from research.live.replay import registry

    if folders.runner(run) is not None or not (run / "models").is_dir():
        return 0
    kept = registry(run)
    with suppress(UserError):  # a damaged registry is left to whoever looks into it
        return len(kept.prune(keep, hold={entry["model"] for entry in kept.history()}))
    return 0
