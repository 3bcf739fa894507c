"""What each job does. Done twice it has done no more than done once; in a line it says what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from research.errors import UserError
from research.operations.jobs import Task, Work
from research.operations.process import apart
from research.operations.schedule import times
from research.store import atomic

if TYPE_CHECKING:
    from research.live.alerts import Alerts
    from research.live.journal import Event
    from research.study import Study

PLAYED = ("simulated", "replay")
"""Feeds of a market that is known beforehand: nothing of it is fetched."""
_DAY = timedelta(days=1)
_LOOK = 0.1
_ENDS = ("candidate", "train_failed")
_TRIED = ("challenger", "swap", "expired", "rejected_model")


def download(task: Task) -> str:
    """Fetch the bars that the store lacks."""
    from research import datasets

    if task.study.feed in PLAYED:
        return "nothing to fetch: the market is played"
    with atomic.only_one(f"job-download-{task.study.name}", wait=True):
        datasets.download(task.study)
        last: datetime | None = datasets.load(task.study)["time"].max()  # type: ignore[assignment]
    return f"bars up to {last:%Y-%m-%d %H:%M} are stored" if last else "no bars are stored"


def train(task: Task) -> str:
    """Train the model that a new run would begin with now; it is kept, and found again."""
    from research import pipeline
    from research.live.prepare import first_champion

    with atomic.only_one(f"job-retrain-{task.study.name}", wait=True):
        bars = pipeline.bars(task.study)
        if bars.is_empty():
            raise UserError(
                f"study {task.study.name}: no bars are stored to learn from. Let the job download "
                "run first."
            )
        last: datetime = bars["time"].max()  # type: ignore[assignment]
        when = min(moment(task.due), last)
        first_champion(task.study, bars, when)
    return f"a model as of {when:%Y-%m-%d %H:%M} is kept"


def look_after(task: Task) -> str:
    """Wait until the training that was due in a run has ended, and fail if there was none.

    A run trains by its bars: so a replay finds the same model at the same bar. `retrain.every`
    counts from this job's time of day, and the job sees to it that the training happens.
    """
    slot = _slot(task)
    if slot is None:
        return "no training is due yet"
    events = _ended(task, slot)
    asked = [event for event in events if event.kind == "retrain"]
    if not asked or asked[-1].time < slot:
        if _tried(events):
            return "none is begun while a challenger is being tried"
        raise UserError(f"the training that was due at {moment(slot):%Y-%m-%d %H:%M} never began.")
    ends = [event for event in events if event.kind in _ENDS]
    if ends[-1].kind == "train_failed":
        raise UserError(f"the newest training failed: {ends[-1].body['why']}")
    return f"trained at {moment(asked[-1].time):%Y-%m-%d %H:%M}: {ends[-1].body['model']}"


def _slot(task: Task) -> int | None:
    """Return the newest moment at which a run's training was due that the job can wait out."""
    from research.live import prepare
    from research.live.replay import micro
    from research.live.triggers import Rules, Triggers

    rules = Rules.of(task.study)
    begun = Triggers.begin(prepare.first(_needed(task))["time"], rules)
    lasts = (task.study.retrain.lead + 1) * task.study.data.interval
    # with long bars today's training is over after the job must be: it looks after the one before
    late = lasts if lasts >= task.study.jobs.timeout else timedelta()
    passed = (task.due - micro(late) - begun["anchor"]) // rules.every
    return begun["anchor"] + passed * rules.every if passed > begun["slot"] else None


def _ended(task: Task, slot: int) -> list[Event]:
    """Return what a run's journal says of models, when its bar at `slot` and its training are over.

    Raises
    ------
    UserError
        If the job is to end before.
    """
    from research.live import journal, prepare

    while True:
        decided = prepare.last_decided(_needed(task))  # asked first: what follows is not older
        events = journal.read(_needed(task), kinds=("retrain", *_ENDS, *_TRIED))
        training = [event.kind for event in events if event.kind in ("retrain", *_ENDS)][-1:]
        if decided >= slot and training != ["retrain"]:
            return events
        if task.stopping.wait(_LOOK):
            raise UserError("the training has not ended.")


def _tried(events: list[Event]) -> bool:
    """Return whether a challenger is being tried: until then no other model is trained."""
    return [event.kind for event in events if event.kind in _TRIED][-1:] == ["challenger"]


def report(task: Task) -> str:
    """Write the report of the UTC day before the job was due."""
    from research.operations import reports

    if task.run is None:
        return "nothing to report: no run of the study yet"
    day = moment(task.due).replace(hour=0, minute=0, second=0, microsecond=0)
    return reports.write(task.run, reports.Span("day", day - _DAY, day))


def maintain(task: Task) -> str:
    """Drop what is kept long enough, and write the report of the seven days before."""
    from research.operations import reports, retention

    dropped = retention.sweep(task.study, task.folder)
    if task.run is None:
        return dropped
    day = moment(task.due).replace(hour=0, minute=0, second=0, microsecond=0)
    return f"{dropped}; {reports.write(task.run, reports.Span('week', day - 7 * _DAY, day))}"


def close(task: Task) -> str:
    """Write the report of the sitting that has ended."""
    from research.operations import reports

    return reports.sitting(_needed(task))


HEAVY: dict[str, Callable[[Task], str]] = {
    "download": download,
    "retrain": train,
    "report": report,
    "maintenance": maintain,
    "closing": close,
}
"""Jobs that have a process of their own."""


def alone(study: Study, alerts: Alerts | None = None) -> list[Work]:
    """Return the jobs of a study that no run does for it."""
    return _works(study, alerts, {})


def beside(study: Study, alerts: Alerts | None = None) -> list[Work]:
    """Return the jobs of a run, for the process that runs it."""
    return _works(study, alerts, {"retrain": look_after})


def _works(
    study: Study, alerts: Alerts | None, own: dict[str, Callable[[Task], str]]
) -> list[Work]:
    from research.operations.health import Watch

    own = {**own, "health": Watch(alerts).job}
    return [
        Work(when, own.get(name, apart), light=name in own) for name, when in times(study).items()
    ]


def moment(us: int) -> datetime:
    """Return a time in microseconds since 1970 as a moment in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def _needed(task: Task) -> Path:
    if task.run is None:
        raise UserError(f"study {task.study.name}: there is no run yet.")
    return task.run
