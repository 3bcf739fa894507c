"""Where operations keep what they make, and which runs are a study's."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from research.errors import UserError
from research.live import folders
from research.store import atomic


def own(study: str) -> Path:
    """Return the folder of a study's jobs where no run does them: ``data/operations/<study>``."""
    return atomic.data_root() / "operations" / study


def runs(study: str) -> list[Path]:
    """Return the folders of a study's paper and live runs, the newest last."""
    found = []
    for name in folders.runs():
        with suppress(UserError):  # a folder without its facts is nobody's
            if folders.facts(folders.root() / name)["study"]["name"] == study:
                found.append(folders.root() / name)
    return found


def reports(run: Path) -> Path:
    """Return where the operating reports of a run lie: ``reports/<study>/operations/<run>``."""
    study = folders.facts(run)["study"]["name"]
    return atomic.reports_root() / str(study) / "operations" / run.name
