"""The kill switch, pulled at random moments of a run: how soon is it latched, and does it hold?"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from research import batch
from research.campaigns.paper.place import market, only_run, share, store, words
from research.live import folders, journal
from research.live.desk import HALTED

SPEED = 600.0
SHARD = 100
"""Triggers in one run of a day, which is 144 seconds long."""
OPTIONS: dict[str, Any] = {
    "backtest.enter": "0.1 bps",
    "retrain.every": "4h",
    "retrain.promotion": "always",
}
"""Orders rest at most moments, and new models are trained: the switch works beside that too."""
HELD = 3
"""Moments that are seen decided before trading is resumed."""
PATIENCE = 120.0
_LOOK = 0.001


def switch(seeds: int, workers: int) -> dict[str, Any]:
    """Halt trading `seeds` times, by the file and by the command in turn, and resume it.

    Each run is in the end killed while it is halted, and started again: it must stay halted.

    Parameters
    ----------
    seeds : int
        Triggers.
    workers : int
        Runs at once; times are those of a machine with nothing else to do when it is 1.

    Returns
    -------
    dict
        Milliseconds from just before the trigger until its event can be read in the journal:
        ``p50_ms, p99_ms, most_ms`` of all and by kind, ``over_200_ms``; ``entered``: what was
        entered or enlarged while halted, which should be 0; and ``withdrawn``: orders to enter
        that the halt met before their fill.
    """
    jobs = [(n + 1, min(SHARD, seeds - first)) for n, first in enumerate(range(0, seeds, SHARD))]
    watch = batch.progress(f"switch: {seeds} triggers")
    found = list(batch.each(_run, jobs, workers=workers, watch=watch))
    times = {kind: [t for made in found for t in made[kind]] for kind in ("file", "command")}
    every = times["file"] + times["command"]
    return {
        "triggers": len(every),
        "runs": len(found),
        **_times(every),
        "by_file": _times(times["file"]),
        "by_command": _times(times["command"]),
        "over_200_ms": sum(1000 * t > 200 for t in every),
        "halted_moments": sum(made["halted_moments"] for made in found),
        "entered": sum(made["entered"] for made in found),
        "withdrawn": sum(made["withdrawn"] for made in found),
        "entries_while_active": sum(made["entries"] for made in found),
    }


def _times(seconds: list[float]) -> dict[str, float]:
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "most_ms": 1.0}
    return {name: round(1000 * share(seconds, part), 1) for name, part in shares.items()}


def _run(job: tuple[int, int]) -> dict[str, Any]:
    """Pull the switch so many times in one run."""
    seed, triggers = job
    dice, times = random.Random(seed), {"file": list[float](), "command": list[float]()}
    options = words(market(seed, **OPTIONS))
    with store():
        process = _start("demo", *options, "--speed", str(SPEED))
        try:
            folder = _trading(process)
            for number in range(triggers):
                time.sleep(dice.uniform(0.0, 0.3))
                kind = ("file", "command")[number % 2]
                times[kind].append(_halt(folder, kind))
                _until(lambda: _moments_since_halt(folder) >= HELD)
                if number < triggers - 1:
                    _resume(folder)
        except RuntimeError as error:
            raise RuntimeError(f"{error}; {_ended(process)}") from error
        finally:
            process.kill()
            process.communicate()
        _go_on_halted(folder)
        return {**times, **audit(journal.read(folder))}


def _start(*said: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "research", "live", *said],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _trading(process: subprocess.Popen[bytes]) -> Path:
    """Return the folder of a process's run once it decides."""
    _until(lambda: process.poll() is not None or _decides())
    if process.poll() is not None:
        raise RuntimeError("switch: nothing was decided")
    return only_run()


def _ended(process: subprocess.Popen[bytes]) -> str:
    """Return what a runner said that was not heard of any more."""
    how = "still there" if process.poll() is None else f"exit {process.returncode}"
    process.kill()
    said = process.stderr.read().decode() if process.stderr else ""
    return f"the runner ({how}) said: {said[-2000:]}"


def _decides() -> bool:
    return bool(folders.runs()) and bool(journal.read(only_run(), kinds=("moment",), last=1))


def _halt(folder: Path, kind: str) -> float:
    """Pull the switch; return the seconds until its event is in the journal."""
    newest = journal.read(folder, last=1)[0].seq
    begun = time.perf_counter()
    if kind == "file":
        folders.kill(folder)
    else:
        folders.send(folder, "kill", why="switch")
    _until(partial(_said, folder, newest, HALTED))
    return time.perf_counter() - begun


def _resume(folder: Path) -> None:
    newest = journal.read(folder, last=1)[0].seq
    (folder / "KILL").unlink(missing_ok=True)
    folders.send(folder, "resume", why="switch")
    _until(partial(_said, folder, newest, 0))


def _said(folder: Path, after: int, state: int) -> bool:
    said = journal.read(folder, after, kinds=("control",))
    return any(event.body["state"] == state for event in said)


def _moments_since_halt(folder: Path) -> int:
    halt = journal.read(folder, kinds=("control",), last=1)[0].seq
    return len(journal.read(folder, halt, kinds=("moment",)))


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"switch: nothing came for {PATIENCE:g} s")
        time.sleep(_LOOK)


def _go_on_halted(folder: Path) -> None:
    """Start a killed run again, let it decide for a while, and end it in order."""
    newest = journal.read(folder, last=1)[0].seq
    process = _start("--continue", folder.name, "--speed", str(SPEED))
    try:
        _until(lambda: len(journal.read(folder, newest, kinds=("moment",))) >= HELD)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def audit(events: Sequence[journal.Event]) -> dict[str, int]:
    """Count what was entered or enlarged while a journal says that trading was halted.

    Looked at are the reasons, the positions and the entries of round trips that ended later.

    >>> row = {"symbol": "A", "reason": "entry", "position": 1.0}
    >>> halt = journal.Event(1, "control", 5, {"state": 2})
    >>> audit([halt, journal.Event(2, "moment", 9, {"time": 9, "rows": [row], "trades": []})])
    {'halted_moments': 1, 'entered': 2, 'entries': 0, 'withdrawn': 0}
    """
    state, held, rows = 0, dict[str, float](), list[dict[str, Any]]()
    found = {"halted_moments": 0, "entered": 0, "entries": 0, "withdrawn": 0}
    spans: list[list[float]] = []
    for event in events:
        if event.kind == "control":
            was, state = state, event.body["state"]
            if HALTED not in (was, state) or was == state:
                continue  # halted by one and by another is halted once
            if state == HALTED:
                spans.append([event.time, float("inf")])
                found["withdrawn"] += sum(row["reason"] == "entry" for row in rows)
            else:
                spans[-1][1] = event.time
        elif event.kind == "moment":
            rows = event.body["rows"]
            _look(event.body, state == HALTED, held, spans, found)
    return found


def _look(
    body: dict[str, Any],
    halted: bool,
    held: dict[str, float],
    spans: list[list[float]],
    found: dict[str, int],
) -> None:
    found["halted_moments"] += halted
    for row in body["rows"]:
        before, now = held.get(row["symbol"], 0.0), row["position"]
        grown = abs(now) > abs(before) or now * before < 0
        found["entered"] += halted * (grown + (row["reason"] == "entry"))
        found["entries"] += not halted and row["reason"] == "entry"
        held[row["symbol"]] = now
    for trade in body["trades"]:
        # the open of a bar is the close before it: an order sent then was filled before the halt
        found["entered"] += any(since < trade["entry_time"] < until for since, until in spans)
