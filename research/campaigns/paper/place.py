"""Where a paper campaign runs: a small market, a store of its own, and runs in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from research.errors import UserError
from research.live import folders, journal, prepare, session

MINUTE = 60_000_000
_ONE = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
MARKET: dict[str, Any] = {
    "simulated.days": 9,
    "simulated.symbols": 2,
    "live.days": 1,
    "validation.train": "7 d",
    "validation.test": "2 d",
    "backtest.enter": "1 bps",
}
"""A market on which much is traded; what is played begins where a fold of the backtest begins."""


def market(seed: int, **more: Any) -> dict[str, Any]:
    """Return the options of a study on the market of a seed.

    >>> market(3, threads=1)["simulated.seed"]
    3
    """
    return {**MARKET, "simulated.seed": seed, "seed": seed, **more}


@contextmanager
def store(*, memory: bool = False) -> Iterator[Path]:
    """Let all that is stored or reported go to a folder that is gone in the end.

    Processes that are started see it too.

    Parameters
    ----------
    memory : bool
        In memory, where the machine has such a place. SIGKILL loses nothing that was handed to the
        system, so for kills it is as good as a disk.
    """
    shared = Path("/dev/shm")
    where = shared if memory and shared.is_dir() else None
    names = ("ALPHABOOK_DATA", "ALPHABOOK_REPORTS")
    before = {name: os.environ.pop(name, None) for name in names}
    with tempfile.TemporaryDirectory(prefix="alphabook-", dir=where) as place:
        os.environ.update(dict(zip(names, (place, f"{place}/reports"))))
        try:
            yield Path(place)
        finally:
            for name, value in before.items():
                del os.environ[name]
                if value is not None:
                    os.environ[name] = value


def served(module: str, job: dict[str, Any]) -> dict[str, Any]:
    """Let a process do a job in a store of its own: one that has threads cannot be forked.

    Parameters
    ----------
    module : str
        Takes the job as JSON on its command line, and says what came of it in a last line of JSON.
    job : dict

    Raises
    ------
    UserError
        If the process failed; with the end of what it said of that.
    """
    with store(memory=True):
        done = subprocess.run(
            [sys.executable, "-m", module, json.dumps(job)],
            env=os.environ | dict.fromkeys(_ONE, "1"),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise UserError(f"{module} {job}: {done.stderr[-3000:]}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def trade(options: dict[str, Any], minutes: int, faults: int = 0) -> Path:
    """Trade a new run without a bound of speed and return its folder; what it says is left out."""
    wrong = str(faults) if faults else None
    with redirect_stderr(StringIO()):
        done = session.run("demo", options, span=f"{minutes}m", speed=0, faults=wrong)
    return folders.find(done["run"])


def words(options: dict[str, Any]) -> list[str]:
    """Return options as the command line takes them.

    >>> words({"seed": 1})
    ['-o', 'seed=1']
    """
    return [word for key, value in options.items() for word in ("-o", f"{key}={value}")]


def left(folder: Path, minutes: int) -> int:
    """Return how many of a run's minutes are still to be decided."""
    if not prepare.begun(folder):
        return minutes
    start = journal.read(folder, kinds=("start",))[0].body["time"]
    return minutes - (prepare.last_decided(folder) - start) // MINUTE


def only_run() -> Path:
    """Return the folder of the one run in the store."""
    return folders.find(folders.runs()[0])


def share(values: list[float], part: float) -> float:
    """Return the value that a part of all do not exceed; 0 where there is none.

    >>> share([3.0, 1.0, 2.0], 0.5), share([], 0.5)
    (2.0, 0.0)
    """
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else 0.0
