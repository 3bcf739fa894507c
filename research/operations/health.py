"""Health: how a run is doing, in a file that a monitor reads, and an alert when it turns bad."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from research.errors import UserError
from research.live import journal
from research.live.log import redacted
from research.live.problems import failed as failures
from research.live.problems import jobs
from research.live.status import Status, told
from research.live.story import Story
from research.operations.jobs import Task
from research.store import atomic

if TYPE_CHECKING:
    from research.live.alerts import Alerts

FILE = "health.json"
_SHOWN = (
    "run",
    "condition",
    "well",
    "problems",
    "state",
    "time",
    "age",
    "bars",
    "decisions",
    "trades",
    "equity",
    "change",
    "uptime",
    "disk",
    "errors",
    "jobs",
    "beat",
    "pid",
)


class Watch:
    """Looks at runs, one after the other; what it has read of a journal is not read again.

    Parameters
    ----------
    alerts : Alerts, optional
        Told when a run turns bad, for another reason, or is well again.
    """

    def __init__(self, alerts: Alerts | None = None) -> None:
        self._alerts = alerts
        self._story, self._run = Story(), ""
        self._problems: set[str] = set()

    def look(self, run: Path) -> Status:
        """Return how the run in a folder is doing; the chain of its journal is checked once."""
        damage = ""
        if run.name != self._run:
            self._story, self._run = Story(), run.name
        try:
            if self._story.seq == 0 and journal.read(run, last=1):
                journal.verify(run)
            self._story.follow(run)
        except UserError as error:
            damage = str(error)
        return told(run, self._story, damage=damage)

    def job(self, task: Task) -> str:
        """Write the health file, and raise an alert where there is something new to worry about."""
        if task.run is None:
            said: dict[str, Any] = {"run": None, "problems": ["there is no run yet"]}
        else:
            known = self.look(task.run).to_dict()
            said = {name: known[name] for name in _SHOWN}
        failed = failures(jobs(task.folder))
        said["problems"] += [problem for problem in failed if problem not in said["problems"]]
        said |= {"well": not said["problems"], "written": time.time(), "now": task.now}
        atomic.write_json(task.folder / FILE, redacted(said))
        # of a job that fails one is told elsewhere, when it has failed often enough
        self._tell([problem for problem in said["problems"] if problem not in failed], task.now)
        return "well" if said["well"] else "not well: " + "; ".join(said["problems"])

    def _tell(self, problems: list[str], now: int) -> None:
        """Raise an alert for what is new: a problem whose numbers alone have changed is not."""
        kinds = {_kind(problem): problem for problem in problems}
        new = [text for kind, text in kinds.items() if kind not in self._problems]
        if self._alerts is not None and new:
            self._alerts.raise_("health", "not well: " + "; ".join(new), time=now)
        if self._alerts is not None and self._problems and not kinds:
            self._alerts.raise_("health", "well again", time=now)
        self._problems = set(kinds)


def _kind(problem: str) -> str:
    """Return a problem without its numbers.

    >>> _kind("the last bar is 300 s old") == _kind("the last bar is 600 s old")
    True
    """
    return "".join(c for c in problem if not c.isdigit())
