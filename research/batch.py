"""Work in bulk: notebooks under papermill, one function over many items, progress bars."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from research.errors import UserError, nearest
from research.store import atomic

log = logging.getLogger(__name__)

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
STAGES = {
    "download": "01_download",
    "features": "02_feature_study",
    "train": "03_training",
    "evaluate": "04_quantile_evaluation",
    "backtest": "05_backtest",
}

Progress = Callable[[int, int, str], None]


def progress(what: str) -> Progress:
    """Return a callable that draws a bar with time left, on stderr, once work lasts two seconds.

    Parameters
    ----------
    what : str
        Names the work, in front of the bar.

    Returns
    -------
    callable
        Takes (done, total, label); the bar goes when done reaches total.
    """
    from tqdm import tqdm

    line = tqdm(desc=what, delay=2, leave=False, file=sys.stderr, dynamic_ncols=True)

    def show(done: int, total: int, label: str = "") -> None:
        line.total = total
        line.set_postfix_str(label, refresh=False)
        line.update(done - line.n)
        if done >= total:
            line.close()

    return show


def map_items(
    work: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    workers: int = 1,
    watch: Progress | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Yield ``(item, result)`` for every item, in the order they finish.

    Parameters
    ----------
    work : callable
        A module-level function of one item. What it raises is the item's result, so that one
        failure does not end the others.
    items : iterable
        Anything that can be pickled.
    workers : int
        Processes; 1 works in this one.
    watch : callable, optional
        Takes (done, total, label).
    """
    queue = list(items)
    for done, (item, result) in enumerate(_results(work, queue, workers), 1):
        if watch:
            watch(done, len(queue), "")
        yield item, result


def _results(
    work: Callable[[Any], Any], items: list[Any], workers: int
) -> Iterator[tuple[Any, Any]]:
    if workers <= 1:
        yield from ((item, _outcome(work, item)) for item in items)
        return
    from joblib import Parallel, delayed

    # loky's processes begin anew: a forked one would inherit the locks of polars' and numba's
    # threads; and unlike spawn it asks nothing of the script or notebook that calls
    pool = Parallel(workers, backend="loky", return_as="generator_unordered", batch_size=1)
    yield from pool(delayed(_beside)(work, item) for item in items)


def _beside(work: Callable[[Any], Any], item: Any) -> tuple[Any, Any]:
    return item, _outcome(work, item)


def _outcome(work: Callable[[Any], Any], item: Any) -> Any:
    try:
        return work(item)
    except Exception as error:  # handed to the caller as the item's result
        log.debug("failed on %s", item, exc_info=True)
        return error


def notebook_path(stage: str) -> Path:
    """Return the notebook of a stage (``train``) or of a name (``03_training``, ``my/mine``)."""
    name = STAGES.get(stage, stage)
    path = NOTEBOOKS / f"{name.removesuffix('.ipynb')}.ipynb"
    if not path.exists():
        known = sorted(p.stem for p in NOTEBOOKS.glob("*.ipynb"))
        raise UserError(
            f"notebook {stage!r}: not found.{nearest(name, known)} Here: {', '.join(known)}."
        )
    return path


def execute(stage: str, parameters: dict[str, Any], out: Path) -> Path:
    """Run a stage's notebook with `parameters` under papermill and keep it as `out`.

    Parameters
    ----------
    stage : str
        As `notebook_path` takes it.
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

    source = notebook_path(stage)
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
                progress_bar={"desc": source.stem, "leave": False, "delay": 1},
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
