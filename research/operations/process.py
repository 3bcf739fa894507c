"""A job in a process of its own: low in rank, gone with whoever began it, killed when it must end.

``python -m research.operations.process JOB.json`` is the process; it leaves its result beside the
job, whole or not at all.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from research.errors import UserError
from research.store import atomic

if TYPE_CHECKING:
    from research.operations.jobs import Task

PLACE = "jobs"
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
_NICE = 10
_LOOK = 0.05


def apart(task: Task) -> str:
    """Do a job in a process of its own and return what it says was done.

    Raises
    ------
    UserError
        In one line, why it failed; what it wrote to its terminal lies in ``jobs/<name>.log``.
    """
    place = task.folder / PLACE
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{task.name}.json"
    _result(path).unlink(missing_ok=True)
    run = None if task.run is None else str(task.run)
    facts = {"name": task.name, "study": task.study.model_dump(mode="json"), "run": run}
    atomic.write_json(path, {**facts, "due": task.due, "now": task.now})
    with path.with_suffix(".log").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "research.operations.process", str(path), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "MPLBACKEND": "agg"},
            start_new_session=True,  # its own group, and deaf to our terminal's ctrl-C
        )
    try:
        while process.poll() is None:
            if task.stopping.wait(_LOOK):
                raise UserError(f"job {task.name}: was told to end.")
    finally:
        with suppress(ProcessLookupError, PermissionError):  # all of it may be gone already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return _read(task.name, path, process.returncode)


def _result(path: Path) -> Path:
    return path.with_name(f"{path.stem}.result.json")


def _read(name: str, path: Path, code: int) -> str:
    try:
        found = json.loads(_result(path).read_text(encoding="utf8"))
    except (OSError, ValueError):
        found = {"why": f"ended with code {code} and no result: {_last_words(path)}"}
    if code < 0:
        word = signal.Signals(-code).name
        hint = ", as the system does when memory runs out" if word == "SIGKILL" else ""
        found = {"why": f"was ended by {word}{hint}"}
    if found.get("why") is not None:
        raise UserError(str(found["why"]))
    return str(found["said"])


def _last_words(path: Path) -> str:
    text = path.with_suffix(".log").read_text(encoding="utf8", errors="replace").strip()
    return text.splitlines()[-1][:300] if text else "it said nothing"


# -- the process -----------------------------------------------------------------------------------


def main(path: Path, parent: int) -> int:
    """Be the process: do the job in the file at `path`; return the exit code."""
    os.nice(_NICE)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    job = json.loads(path.read_text(encoding="utf8"))
    result: dict[str, Any] = {"said": None, "why": None}
    try:
        result["said"] = _do(path, job)
    except UserError as error:
        result["why"] = str(error)
    except Exception as error:
        result["why"] = f"{type(error).__name__}: {error}"
        sys.excepthook(*sys.exc_info())  # the whole story goes into the log
    atomic.write_json(_result(path), result)
    return 0 if result["why"] is None else 1


def _do(path: Path, job: dict[str, Any]) -> str:
    from research.operations import works
    from research.operations.jobs import Task
    from research.study import Study

    study, run = Study.model_validate(job["study"]), job["run"] and Path(job["run"])
    folder, never = path.parent.parent, threading.Event()
    task = Task(job["name"], study, folder, run, job["due"], job["now"], never)
    return works.HEAVY[job["name"]](task)


def _end_with(parent: int) -> None:
    """End when whoever began this is gone: the job is begun again by who comes next."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
