"""Days of market time on end: does the runner's memory, or anything else it holds, grow?

``python -m research.campaigns.paper.soaking LINES SPAN KEY=VALUE ...`` is the process that is
watched: a sitting over sockets that writes down what it holds, once per hour of its market.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

from research import batch
from research.campaigns.paper.place import market, only_run, store

HOUR = 3_600_000_000
OPTIONS: dict[str, Any] = {"retrain.every": "1 d", "retrain.promotion": "always"}
LOOK = 0.02
"""Real seconds between two looks at how far the run is."""
WINDOW = 12
"""Hours that are taken together."""
_COUNTED = ("files", "tasks", "threads")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def soak(seeds: int, workers: int, *, hours: int | None = None) -> dict[str, Any]:
    """Trade `seeds` days over sockets without a bound of speed, with a new model every day.

    Connections are replaced before the venue's cut at 24 hours on the way. `workers` is not used:
    there is one run.

    Parameters
    ----------
    seeds : int
        Days.
    hours : int, optional
        Of market time; absent: all of the days.

    Returns
    -------
    dict
        ``growth_mb`` of resident memory, from the second half of the first day (of a shorter run,
        of its first half) to the last half day, medians; ``files_grown``, ``tasks_grown`` and
        ``threads_grown`` likewise, and the most there ever were of each.
    """
    span = 24 * seeds if hours is None else hours
    options = market(1, **OPTIONS) | {"live.days": seeds}
    begun = time.perf_counter()
    with store() as place:
        lines = place / "held.jsonl"
        _watch(_start(lines, span, options), lines, span)
        held = [json.loads(line) for line in lines.read_text(encoding="utf8").splitlines()]
        events = _counted(only_run())
    took = time.perf_counter() - begun
    return {"hours": span, **events, **_found(held), "seconds": round(took, 1)}


def _start(lines: Path, span: int, options: dict[str, Any]) -> subprocess.Popen[bytes]:
    said = [f"{key}={value}" for key, value in options.items()]
    command = [sys.executable, "-m", "research.campaigns.paper.soaking", str(lines), f"{span}h"]
    with _errors(lines).open("wb") as errors:  # a pipe that nobody empties would stop the runner
        return subprocess.Popen([*command, *said], stdout=subprocess.DEVNULL, stderr=errors)


def _errors(lines: Path) -> Path:
    return lines.with_suffix(".stderr")


def _watch(process: subprocess.Popen[bytes], lines: Path, span: int) -> None:
    """Show how far the process is, until it ends."""
    watch = batch.progress(f"soak: {span} hours")
    while process.poll() is None:
        time.sleep(0.5)
        seen = lines.read_bytes().count(b"\n") if lines.exists() else 0
        watch(min(seen, span - 1), span, "")
    watch(span, span, "")
    if process.returncode:
        said = _errors(lines).read_text(encoding="utf8", errors="replace")
        raise RuntimeError(f"soak: ended with {process.returncode}: {said[-2000:]}")


def _counted(folder: Path) -> dict[str, float]:
    from research.live import journal

    events = journal.read(folder)
    notes = [event.body for event in events if event.kind == "note"]
    return {
        "bars": sum(len(event.body["rows"]) for event in events if event.kind == "moment"),
        "models": sum(event.kind == "swap" for event in events),
        "planned_reconnects": sum(bool(note.get("planned")) for note in notes),
        "journal_mb": round((folder / "journal.sqlite").stat().st_size / 1e6, 1),
    }


def _found(held: list[dict[str, float]]) -> dict[str, Any]:
    """Compare what was held in the end with what was held when the run had settled.

    >>> one = {"hour": 0, "mb": 100.0, "files": 9, "tasks": 5, "threads": 7}
    >>> _found([{**one, "hour": h, "mb": 100.0 + h} for h in range(48)])["growth_mb"]
    24.0
    """
    settled = min(24, len(held) // 2)
    first, last = held[max(settled - WINDOW, 0) : settled], held[-WINDOW:]

    def grown(name: str) -> float:
        return median(row[name] for row in last) - median(row[name] for row in first)

    return {
        "growth_mb": round(grown("mb"), 1),
        "mb_by_half_day": [round(row["mb"], 1) for row in held[::12]],
        **{f"{name}_grown": grown(name) for name in _COUNTED},
        **{f"most_{name}": max(row[name] for row in held) for name in _COUNTED},
    }


# -- the process that is watched -------------------------------------------------------------------


class _Loops(asyncio.DefaultEventLoopPolicy):
    """Remembers the loop that is run, so that its tasks can be counted."""

    loop: asyncio.AbstractEventLoop | None = None

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        self.loop = super().new_event_loop()
        return self.loop


def _entries(folder: str) -> int:
    return sum(1 for _ in Path("/proc/self", folder).iterdir())


def _held(loops: _Loops) -> dict[str, float]:
    """Return what this process holds now."""
    return {
        "mb": int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 1e6,
        "files": _entries("fd"),
        "tasks": len(asyncio.all_tasks(loops.loop)) if loops.loop else 0,
        "threads": _entries("task"),
    }


def _write_down(lines: Path, loops: _Loops, over: threading.Event) -> None:
    """Write a line for each hour of market time that has passed."""
    from research.live import folders, journal

    begun, hours = None, 0
    while not over.wait(LOOK):
        newest = journal.read(only_run(), last=1) if folders.runs() else []
        if not newest or newest[0].kind == "stop":
            continue
        begun = begun or newest[0].time
        if newest[0].time >= begun + hours * HOUR:
            hours = (newest[0].time - begun) // HOUR + 1
            with lines.open("a", encoding="utf8") as file:
                file.write(json.dumps({"hour": hours - 1, **_held(loops)}) + "\n")


def main() -> None:
    """Be the process."""
    from research.live import session

    lines, span, *said = sys.argv[1:]
    loops, over = _Loops(), threading.Event()
    asyncio.set_event_loop_policy(loops)
    thread = threading.Thread(target=_write_down, args=(Path(lines), loops, over), daemon=True)
    thread.start()
    options = dict(word.split("=", 1) for word in said)
    session.run("demo", options, span=span, speed=0)
    over.set()
    thread.join()


if __name__ == "__main__":
    main()
