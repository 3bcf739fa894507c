"""What may be wrong with a run beside its state: bars, jobs and disk, each told in a line."""

from __future__ import annotations

import json
import math
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from research import units
from research.live.rows import at
from research.live.story import Story

JOBS = "jobs.json"
"""What a run's jobs say of themselves, where it has any."""
PLAYED = ("simulated", "replay")
"""Feeds whose time is not the world's."""
OVERDUE = timedelta(minutes=15)
"""Market time after which a job that was due and has not begun is a problem."""
_QUIET = 60.0


def setting(story: Story, section: str, key: str, usual: Any) -> Any:
    """Return one of the run's settings as its journal has it."""
    return story.start.get("study", {}).get(section, {}).get(key, usual)


def interval(story: Story) -> timedelta:
    """Return the length of the run's bars."""
    return units.duration(setting(story, "data", "interval", "1 min"))


def late(folder: Path, story: Story, beat: dict[str, Any]) -> list[str]:
    """Say that the last bar is too old: by the clock of its market, and by that of this machine.

    A bar is expected each interval, and known at the latest `live.late` after its close; one that
    is missing is no news yet.
    """
    late = units.duration(setting(story, "live", "late", "30 s"))
    most = (2 * interval(story) + late).total_seconds()
    market = (beat.get("now", 0) - story.time) / 1e6
    if story.start.get("feed", PLAYED[0]) in PLAYED:  # its time is not ours: is anything written?
        written = [path.stat().st_mtime for path in folder.glob("journal.sqlite*")]
        real = time.time() - max(written, default=time.time())
    else:
        real = time.time() - story.time / 1e6
    found = {"of market time": market, "by this machine's clock": real}
    return [
        f"the last bar is {age:.0f} s old {which}, {most:.0f} s are too many"
        for which, age in found.items()
        if age > most
    ]


def jobs(folder: Path) -> dict[str, Any]:
    """Return what a run's jobs wrote down last."""
    try:
        found: dict[str, Any] = json.loads((folder / JOBS).read_text(encoding="utf8"))
    except (FileNotFoundError, ValueError):  # written whole: there is none, or somebody's own
        return {}
    return found


def failed(jobs: dict[str, Any]) -> list[str]:
    """Say which jobs have failed since they were last done."""
    return [
        f"job {job['name']} has failed, {job['in_a_row']} times in a row: {job['said']}"
        for job in jobs.get("jobs", [])
        if job["in_a_row"]
    ]


def overdue(jobs: dict[str, Any], beat: dict[str, Any]) -> list[str]:
    """Say which jobs were due and did not begin: whoever begins them has stopped looking."""
    if time.time() - jobs.get("written", math.inf) < _QUIET:
        return []  # market time may fly: what was written a moment ago is news
    now, grace = beat.get("now", 0), OVERDUE // timedelta(microseconds=1)
    return [
        f"job {job['name']} was due at {at(job['due']):%Y-%m-%d %H:%M} and did not begin"
        for job in jobs.get("jobs", [])
        if job["due"] + grace < now
    ]


def free(folder: Path) -> float:
    """Return the space that is left on a folder's disk, in GB."""
    return shutil.disk_usage(folder).free / 1e9


def uptime(story: Story) -> float | None:
    """Return the share of closes that were acted on; sittings and gaps are not told apart."""
    begun = story.start.get("time", 0)
    closes = (story.time - begun) // (interval(story) // timedelta(microseconds=1))
    return min(story.bars / closes, 1.0) if closes > 0 else None
