"""Training beside the trading: one process at a time, low in rank, killed when it takes too long.

The runner starts a job and asks from bar to bar whether it is done; neither ever waits. Whatever
happens to that process (a crash, no memory, a mistake in the data) comes back as one line.
``python -m research.live.trainer JOB.json`` is the process; it leaves a version in the registry of
the job's folder, then a result, each whole or not at all.
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
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from research.errors import UserError
from research.store import atomic

JOB, RESULT, LOG = "job.json", "result.json", "trainer.log"
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
_NICE = 10
_US = timedelta(microseconds=1)


class Job(NamedTuple):
    """What is to be trained.

    Attributes
    ----------
    study : dict
        ``study.model_dump(mode="json")``; it is trained on one thread.
    bars : str
        A Parquet file as `schema.BARS`: the training window and what features look back on.
    at : int
        The model is that of a fold whose test starts then, microseconds since 1970 UTC.
    registry : str
        Folder of the `models.Registry` that the model is added to.
    facts : dict
        What its version is to say besides: what asked for it, say.
    """

    study: dict[str, Any]
    bars: str
    at: int
    registry: str
    facts: dict[str, Any]


class Outcome(NamedTuple):
    """How a training ended.

    Attributes
    ----------
    job : Job
        As it was started.
    version : str or None
        The new version's id; None: it failed.
    why : str or None
        In one line, why it failed.
    seconds : float
        Real time it took.
    """

    job: Job
    version: str | None
    why: str | None
    seconds: float


@dataclass
class Trainer:
    """Starts trainings and fetches what came of them; none of its methods waits for one.

    Attributes
    ----------
    folder : Path
        Where job, result and log of the newest training lie.
    timeout : timedelta
        Real time after which a training is killed with all it started.
    """

    folder: Path
    timeout: timedelta
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _job: Job | None = field(default=None, repr=False)
    _begun: float = 0.0

    @property
    def busy(self) -> bool:
        """Whether a training was started whose outcome was not fetched yet."""
        return self._process is not None

    def start(self, job: Job) -> bool:
        """Start a training, unless there is one: then nothing happens, and False is returned."""
        if self.busy:
            return False
        (self.folder / RESULT).unlink(missing_ok=True)
        atomic.write_json(self.folder / JOB, job._asdict())
        quiet = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1")}
        command = [sys.executable, "-m", "research.live.trainer", str(self.folder / JOB)]
        command.append(str(os.getpid()))
        with (self.folder / LOG).open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=quiet,
                start_new_session=True,  # its own group, and deaf to our terminal's ctrl-C
            )
        self._job, self._begun = job, time.monotonic()
        return True

    def poll(self) -> Outcome | None:
        """Return how the training ended, once; None while it runs, or where there is none."""
        if self._process is None or self._job is None:
            return None
        code, took = self._process.poll(), time.monotonic() - self._begun
        if code is None and took <= self.timeout.total_seconds():
            return None
        if code is None:
            self._kill()
            return self._end(None, f"took longer than {self.timeout} and was stopped", took)
        self._kill()  # what it may have left behind
        version, why = self._result(code)
        return self._end(version, why, took)

    def stop(self) -> None:
        """Kill a training that runs; nothing of it remains but its log."""
        if self._process is not None:
            self._kill()
            self._process = self._job = None

    def _end(self, version: str | None, why: str | None, took: float) -> Outcome:
        assert self._job is not None  # a process has a job
        outcome = Outcome(self._job, version, why, took)
        self._process = self._job = None
        return outcome

    def _kill(self) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):  # all of it may be gone already
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _result(self, code: int) -> tuple[str | None, str | None]:
        if code < 0:
            word = signal.Signals(-code).name
            hint = ", as the system does when memory runs out" if word == "SIGKILL" else ""
            return None, f"was ended by {word}{hint}"
        try:
            found = json.loads((self.folder / RESULT).read_text(encoding="utf8"))
        except (OSError, ValueError):
            return None, f"ended with code {code} and no result: {self._last_words()}"
        return found["version"], found["why"]

    def _last_words(self) -> str:
        text = (self.folder / LOG).read_text(encoding="utf8", errors="replace").strip()
        return text.splitlines()[-1][:300] if text else "it said nothing"


# -- the process -----------------------------------------------------------------------------------


def run(job: Job) -> str:
    """Train what `job` asks for, add it to the registry and return the version's id.

    Raises
    ------
    UserError
        If it cannot be trained.
    """
    import polars as pl

    from research import models, pipeline, training
    from research.live import rows
    from research.study import Study

    study = Study.model_validate({**job.study, "threads": 1, "workers": 1})
    bars, at = pl.read_parquet(job.bars), rows.at(job.at)
    found = pipeline.fresh_models(study, bars, at=at)
    kept = models.Registry(Path(job.registry), training.OWN)
    return kept.add(found, {**job.facts, "at": job.at, **drift_facts(study, bars, job.at)})


def drift_facts(study: Any, bars: Any, at: int) -> dict[str, Any]:
    """Return what the drift of the model's features is measured against, where it is watched.

    A past that is too short for a limit costs the watch, not the model; the version says so.
    """
    from research.live import triggers

    if study.retrain.drift == "none":
        return {}
    try:
        return {"drift": triggers.baseline(study, bars, at)}
    except UserError as error:
        return {"no_drift": _line(error)}


def main(path: Path, parent: int) -> int:
    """Be the process: low in rank, gone when `parent` is gone; return the exit code."""
    os.nice(_NICE)
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    return 0 if work(path) else 1


def work(path: Path) -> bool:
    """Do the job in the file at `path`, leave its result beside it, and tell whether it went."""
    job = Job(**json.loads(path.read_text(encoding="utf8")))
    result: dict[str, Any] = {"version": None, "why": None}
    try:
        result["version"] = run(job)
    except UserError as error:
        result["why"] = _line(error)
    except MemoryError:
        result["why"] = "ran out of memory"
    except Exception as error:
        result["why"] = f"{type(error).__name__}: {_line(error)}"
        sys.excepthook(*sys.exc_info())  # the whole story goes into the log
    atomic.write_json(path.parent / RESULT, result)
    return result["version"] is not None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]


def _end_with_parent(parent: int) -> None:
    """End when the runner is gone: whoever starts next trains anew, and never beside this one."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else os.getppid()))
