"""A server of runners to be killed: forked from one warm process, so that a kill is cheap.

``python -m research.campaigns.paper.forks JOB`` (the job is JSON) works in the store that the
environment names and says, in JSON, what came of it. It imports all that a runner needs and does
nothing with it: polars and OpenMP begin their threads with their first work, and a child forked
after that would wait for threads that it does not have.
"""

from __future__ import annotations

import json
import math
import os
import random
import select
import signal
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

from research import models, read_study
from research.campaigns.paper import place
from research.campaigns.paper.equal import differing
from research.live import clock, folders, journal, prepare, session, trainer
from research.live.desk import Desk
from research.live.journal import writer
from research.live.moments import Bar, Scored
from research.store import atomic
from research.study import Study
from research.trading.account import new_venue
from research.trading.rules import threshold

STEPS = ("begin", "inserted", "committed", "done")
"""Of one writing to the journal, whatever is in it."""
KINDS = ("start", "moment", "snapshot", "control", "stop")
STYLES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "plain": ({}, KINDS),
    "always": (
        {"retrain.every": "4h", "retrain.promotion": "always"},
        (*KINDS, "retrain", "candidate", "swap"),
    ),
    "evidence": (
        {"retrain.every": "4h", "retrain.shadow": "2h"},
        (*KINDS, "retrain", "candidate", "challenger", "expired"),
    ),
}
"""What is traded beside the plain study, and what is then written to the journal."""
AROUND: dict[str, tuple[Any, str]] = {
    "table": (atomic, "write_parquet"),
    "version": (models.Registry, "add"),
    "promotion": (models.Registry, "promote"),
    "challenge": (models.Registry, "challenge"),
    "training": (trainer.Trainer, "start"),
    "acknowledgement": (clock.ReplayClock, "ack"),
}
"""Steps beside the journal: what does them."""
NOT_PLAIN = ("challenge", "training")
IDLE = {"jemalloc_bg_thd", "polars-ooc-clea"}
"""Threads that are there from polars' import on, and do no work of ours."""
HANG = 600.0
"""Real seconds after which a runner that does not end is taken to hang."""


class Point(NamedTuple):
    """A step at which a runner is killed, when it takes it for the `nth` time."""

    what: str
    step: str
    nth: int = 1


def points(style: str) -> list[Point]:
    """Return every enumerated step of runs of one style.

    >>> len(points("plain")), len(points("always"))
    (28, 44)
    """
    written = [Point(kind, step) for kind in STYLES[style][1] for step in STEPS]
    around = [name for name in AROUND if style != "plain" or name not in NOT_PLAIN]
    return written + [Point(name, end) for name in around for end in ("before", "after")]


# -- one run and its sittings ----------------------------------------------------------------------


class Life:
    """One run, from its folder to the end of its market, however often it is killed."""

    def __init__(self, study: Study, minutes: int) -> None:
        self.folder, self._study, self._minutes = session.create(study), study, minutes

    @property
    def left(self) -> int:
        """Minutes that are still to be decided."""
        return place.left(self.folder, self._minutes)

    def sit(self, plan: Point | float | None = None) -> bool:
        """Let a child run to the end, the point, or for so many seconds; return if it was killed.

        Raises
        ------
        AssertionError
            If it failed, hung, or lost what it had acknowledged.
        """
        _alone()
        if folders.never_began(self.folder):  # killed while it was prepared: it is no run
            self.folder = session.create(self._study)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self._child(plan, writing)
        os.close(writing)
        hung = _wait(child, plan if isinstance(plan, float) else None)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        if hung or not (os.WIFSIGNALED(status) or status == 0):
            why = f"hung for {HANG:.0f} s" if hung else f"failed: {_why(said)}"
            raise AssertionError(f"under {plan} a runner {why}")
        acked = struct.unpack("q", said[-8:])[0] if said else 0
        if acked and acked > prepare.last_decided(self.folder):
            raise AssertionError(f"{acked} was acknowledged and is lost, under {plan}")
        return os.WIFSIGNALED(status)

    def _child(self, plan: Point | float | None, pipe: int) -> None:
        code = 1
        try:
            _arm(plan if isinstance(plan, Point) else None, pipe)
            session.run("", {}, resume=self.folder.name, span=f"{self.left}m", speed=0)
            code = 0
        except BaseException:
            os.write(pipe, traceback.format_exc().encode())
        finally:
            os._exit(code)


def _why(said: bytes) -> str:
    """Return the traceback behind what a child acknowledged."""
    return said[max(said.find(b"Traceback"), 0) :][-3000:].decode("utf8", "replace")


def _alone() -> None:
    """Refuse to fork where threads of work have begun."""
    tasks = Path("/proc/self/task").iterdir()
    names = [(task / "comm").read_text().strip() for task in tasks]
    if len([name for name in names if name not in IDLE]) != 1:
        raise AssertionError(f"a process with threads of work cannot be forked: {names}")


def _wait(child: int, seconds: float | None) -> bool:
    """See a child end, or kill it after so many seconds; return whether it hung."""
    ended = os.pidfd_open(child)
    try:
        found, _, _ = select.select([ended], [], [], HANG if seconds is None else seconds)
    finally:
        os.close(ended)
    if not found:
        os.kill(child, signal.SIGKILL)
    return not found and seconds is None


# -- in the child ----------------------------------------------------------------------------------


def _arm(point: Point | None, pipe: int) -> None:
    """Kill this process where `point` says, and tell the parent what is acknowledged."""
    passed: Counter[tuple[str, str]] = Counter()

    def at(what: str, step: str) -> None:
        passed[what, step] += 1
        if point is not None and (what, step, passed[what, step]) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    for what, (owner, name) in AROUND.items():
        setattr(owner, name, _flanked(getattr(owner, name), what, at))
    _tell_steps(at)
    _tell_acknowledged(pipe)


def _flanked(work: Callable[..., Any], what: str, at: Callable[[str, str], None]) -> Any:
    @wraps(work)
    def around(*given: Any, **named: Any) -> Any:
        at(what, "before")
        found = work(*given, **named)
        at(what, "after")
        return found

    return around


def _tell_steps(at: Callable[[str, str], None]) -> None:
    """Tell `at` each step of the journal, once for each kind of event that is being written."""
    kinds: set[str] = set()
    append = journal.Journal.append

    def told(self: journal.Journal, *events: tuple[str, dict[str, Any]]) -> int:
        kinds.clear()
        kinds.update(kind for kind, _ in events)
        return append(self, *events)

    def passed(step: str) -> None:
        for kind in sorted(kinds):
            at(kind, step)

    journal.Journal.append = told  # type: ignore[method-assign]
    writer._pass = passed


def _tell_acknowledged(pipe: int) -> None:
    ack = clock.ReplayClock.ack

    async def told(self: clock.ReplayClock, us: int) -> None:
        os.write(pipe, struct.pack("q", us))
        await ack(self, us)

    clock.ReplayClock.ack = told  # type: ignore[method-assign]


# -- the server ------------------------------------------------------------------------------------


def _warm() -> None:
    """Load what every child would load: modules, and the desk's compiled steps from their cache."""
    import talib  # noqa: F401

    rules = threshold(enter=0.01, interval=timedelta(minutes=1))
    bar = Bar("BTCUSDT", 0, 10.0, 10.0, 10.0, 10.0, 1.0)
    row = Scored(bar, None, "m", 0.02, 0.02, 0, math.nan, 0.0, 0.0)
    Desk(rules, new_venue(1), ["BTCUSDT"], 1000.0).step(place.MINUTE, [row])


def _draw(dice: random.Random, style: str) -> float:
    """Draw when a runner is killed, in seconds: mostly soon, sometimes late enough to train."""
    mean = 0.8 if style == "plain" or dice.random() < 0.5 else 5.0
    return dice.expovariate(1 / mean)


def serve(job: dict[str, Any]) -> dict[str, Any]:
    """Kill ``job["kills"]`` runners on one market, at enumerated steps and at random moments.

    Parameters
    ----------
    job : dict
        ``seed, kills, minutes, style``, ``options`` of the study, and ``points``: those to begin
        with.

    Returns
    -------
    dict
        ``kills``; ``points`` that were met, and ``not_met``; ``lives``: runs, and what of them is
        ``differing`` from the undisturbed one; ``seconds``.
    """
    options = place.market(job["seed"], **{"live.feed": "replay", "threads": 1, **job["options"]})
    study = read_study("demo", options | STYLES[job["style"]][0])
    calm = Life(study, job["minutes"])
    calm.sit()
    dice, points = random.Random(job["seed"]), [Point(*given) for given in job["points"]]
    found: dict[str, Any] = {"kills": 0, "points": 0, "not_met": [], "lives": 0, "differing": []}
    begun = time.monotonic()
    while found["kills"] < job["kills"]:
        life = Life(study, job["minutes"])
        _disturb(life, dice, job, points, found)
        found["lives"] += 1
        wrong = differing(calm.folder, life.folder)
        found["differing"] += [f"{job['style']} {job['seed']}: {word}" for word in wrong]
    return {**found, "seconds": time.monotonic() - begun}


def _disturb(
    life: Life,
    dice: random.Random,
    job: dict[str, Any],
    points: list[Point],
    found: dict[str, Any],
) -> None:
    """Kill sittings of one run until it is at its end; points that are met leave the list.

    One that a run does not come to, though it was tried from the run's beginning on, leaves it too.
    """
    tried: set[Point] = set()
    while life.left > 0 and found["kills"] < job["kills"]:
        fresh, waiting = not tried, [point for point in points if point not in tried]
        plan = waiting[0] if waiting else _draw(dice, job["style"])
        killed = life.sit(plan)
        found["kills"] += killed
        if not isinstance(plan, Point):
            continue
        tried.add(plan)
        if killed or fresh:
            points.remove(plan)
            found["points"] += killed
            found["not_met"] += [] if killed else [list(plan)]
    if life.left > 0:
        life.sit()


def main() -> None:
    """Do the job of the command line, and say in JSON what came of it."""
    _warm()
    sys.stdout.write(json.dumps({"found": serve(json.loads(sys.argv[1]))}) + "\n")


if __name__ == "__main__":
    main()
