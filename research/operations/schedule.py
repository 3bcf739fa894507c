"""When jobs are due: APScheduler's triggers, asked by whoever has a clock.

APScheduler's own schedulers read the machine's clock. A market that is simulated has a clock of its
own, so its triggers are taken alone: pure functions from one moment to the next.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from research.study.operating import OFF

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

    from research.study import Study

NAMES = ("download", "retrain", "report", "maintenance", "health")
_US = timedelta(microseconds=1)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Times(NamedTuple):
    """When one job is due."""

    name: str
    words: str
    """As a person says it."""
    trigger: BaseTrigger | None
    """None: not by the clock."""

    def after(self, us: int) -> int:
        """Return the first moment later than `us` at which it is due, both microseconds UTC."""
        assert self.trigger is not None  # who asks has a clock
        found = self.trigger.get_next_fire_time(None, _at(us + 1))
        return (found - _BEGINNING) // _US

    def newest(self, due: int, now: int) -> tuple[int, int]:
        """Return the last moment from `due` to `now` at which it is due, and how many there were.

        Those before it are not caught up with: once is enough.
        """
        many = 1
        while (later := self.after(due)) <= now:
            due, many = later, many + 1
        return due, many


def times(study: Study) -> dict[str, Times]:
    """Return when each of a study's jobs is due; those that are off are left out.

    Examples
    --------
    >>> from research.study import read
    >>> found = times(read("trend", {"jobs.report": "off"}))
    >>> [when.words for when in found.values()]
    ['daily at 01:00', 'daily at 00:30', 'sunday at 02:00', 'every 5 min']
    >>> _at(found["download"].after(1_795_212_900_000_000)).isoformat()
    '2026-11-21T01:00:00+00:00'
    """
    from apscheduler.triggers.interval import IntervalTrigger

    from research import units

    chosen = study.jobs
    found = {name: _clocked(name, getattr(chosen, name)) for name in NAMES[:-1]}
    every = chosen.health.total_seconds()
    grid = IntervalTrigger(seconds=every, start_date=_BEGINNING, timezone=UTC)
    found["health"] = Times("health", f"every {units.show(chosen.health)}", grid)
    return {name: when for name, when in found.items() if when is not None}


def _clocked(name: str, text: str) -> Times | None:
    from apscheduler.triggers.cron import CronTrigger

    if text == OFF:
        return None
    day, _, clock = text.rpartition(" ")
    hour, minute = map(int, clock.split(":"))
    on = {"day_of_week": day[:3]} if day else {}
    trigger = CronTrigger(hour=hour, minute=minute, second=0, timezone=UTC, **on)
    return Times(name, f"{day or 'daily'} at {clock}", trigger)


def _at(us: int) -> datetime:
    return _BEGINNING + us * _US
