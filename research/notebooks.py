"""The numbered notebooks: where they lie, and one of them run under papermill."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from research import batch
from research.errors import UserError, nearest
from research.store import atomic

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
STAGES = {
    "download": "01_download",
    "features": "02_feature_study",
    "train": "03_training",
    "evaluate": "04_quantile_evaluation",
    "backtest": "05_backtest",
}


def path(stage: str) -> Path:
    """Return the notebook of a stage (``train``) or of a name (``03_training``, ``my/mine``)."""
    name = STAGES.get(stage, stage)
    found = FOLDER / f"{name.removesuffix('.ipynb')}.ipynb"
    if not found.exists():
        known = sorted(p.stem for p in FOLDER.glob("*.ipynb"))
        raise UserError(
            f"notebook {stage!r}: not found.{nearest(name, known)} Here: {', '.join(known)}."
        )
    return found


def execute(stage: str, parameters: dict[str, Any], out: Path) -> Path:
    """Run a stage's notebook with `parameters` under papermill and keep it as `out`.

    Parameters
    ----------
    stage : str
        As `path` takes it.
    parameters : dict
        Values for the cell tagged ``parameters``.
    out : Path
        The executed notebook; written in one step, and only if every cell ran.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    UserError
        If a cell stopped at a mistake of the user; the message is that mistake's own.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source = path(stage)
    with atomic.writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.stem}.{os.getpid()}.ipynb")
    try:
        with _one_log():
            papermill.execute_notebook(
                str(source),
                str(part),
                parameters,
                kernel_name="python3",
                cwd=str(source.parent),
                progress_bar={"desc": source.stem, "leave": False, "delay": 1, **batch.drawn()},
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            )
        part.replace(out)
    except PapermillExecutionError as error:
        if error.ename in ("UserError", "TableError"):
            raise UserError(error.evalue) from None
        part.replace(out.with_name(f"{out.stem}.failed.ipynb"))
        raise
    finally:
        part.unlink(missing_ok=True)
    return out


@contextmanager
def _one_log() -> Iterator[None]:
    """Keep papermill's own chatter out of the terminal; its progress bar stays."""
    logger = logging.getLogger("papermill")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
