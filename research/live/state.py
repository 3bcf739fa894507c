"""A run's state: what its journal comes to when each event is taken in turn.

Nothing of a run is kept but its journal. What was held, what rests, what has been stopped, which
models are in use and when the next is due are all found by `fold`, which takes the desk through
the recorded moments once more and compares what it says with what was written.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from research.errors import UserError
from research.live.desk import VENUE, Desk
from research.live.journal import Event
from research.live.moments import Bar, Levels, Scored

_NUMBERS = ("told", "sigma", "half_spread", "impact")


NEWEST = 1_500
"""Moments that guards, and whoever counts trades, look back on."""


@dataclass
class State:
    """What is known of a run after its last event; times in microseconds since 1970 UTC.

    Attributes
    ----------
    desk : Desk
        The account, ready for the next moment.
    start : dict
        Body of the first event: the run's settings.
    time : int
        The last moment that was decided; 0: none.
    seq : int
        The last event.
    champion, challenger : str, optional
        Models in force and in the shadow.
    previous : str, optional
        The champion before, which a rollback returns to.
    clock : dict, optional
        The retraining clock, as it last was; see `triggers.Triggers`.
    challenged : int
        When the challenger was put up.
    shadowed : list of dict
        The moments in which it forecast since.
    pending : dict, optional
        The training that was begun and of which nothing has come yet, as its event told.
    candidate : dict, optional
        What the last training made, until it is put to use or dropped.
    newest : deque of dict
        The newest moments, for whoever looks back on them.
    commands : set of str
        Ids of the commands that have been done.
    booked : set of tuple of str
        Symbol and trade id of each fill of a venue that is in the desk's books.
    counts : dict of str to int
        Events by kind, and ``trades``.
    stopped : bool
        The last sitting ended in order.
    """

    desk: Desk
    start: dict[str, Any] = field(default_factory=dict)
    time: int = 0
    seq: int = 0
    champion: str | None = None
    challenger: str | None = None
    previous: str | None = None
    clock: dict[str, int] | None = None
    challenged: int = 0
    shadowed: list[dict[str, Any]] = field(default_factory=list)
    pending: dict[str, Any] | None = None
    candidate: dict[str, Any] | None = None
    commands: set[str] = field(default_factory=set)
    booked: set[tuple[str, str]] = field(default_factory=set)
    newest: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=NEWEST))
    counts: Counter[str] = field(default_factory=Counter)
    stopped: bool = False

    @property
    def control(self) -> int:
        """State of control: 0 active, 1 reducing, 2 halted."""
        return self.desk.control


def fold(events: Sequence[Event], desk: Desk | None = None) -> State:
    """Rebuild a run's state from all its events.

    The account is that of the last snapshot, taken on through every moment since.

    Parameters
    ----------
    events : sequence of Event
        As `journal.read` returns them, from the first on.
    desk : Desk, optional
        A new one with the run's settings; it becomes the state's. Absent: made as the first event
        says under ``desk``, see `Desk.constants`.

    Raises
    ------
    UserError
        If there is no first event, or the desk does not do again what was written.
    """
    if not events or events[0].kind != "start":
        raise UserError("run: its journal must begin with its start; start a new run.")
    if desk is None:
        desk = Desk.made_with(events[0].body["desk"])
    state = State(desk)
    last = max((event.seq for event in events if event.kind == "snapshot"), default=0)
    for event in events:
        apply(state, event, played=event.seq > last)
    return state


def apply(state: State, event: Event, *, played: bool = True) -> None:
    """Take one event into the state.

    Parameters
    ----------
    state : State
        Changed in place.
    event : Event
        The next one.
    played : bool
        Let the desk do what it did; False where a snapshot follows that holds it already.

    Raises
    ------
    UserError
        If the desk does not do again what was written.
    """
    kind, body = event.kind, event.body
    state.seq = event.seq
    state.counts[kind] += 1
    state.stopped = kind == "stop"
    if "command" in body:
        state.commands.add(body["command"])
    if kind == "moment":
        state.time = body["time"]
        state.counts["trades"] += len(body["trades"])
        state.newest.append(body)
        if state.challenger is not None:
            state.shadowed.append(body)
        if played:
            _again(state.desk, event)
    elif kind == "snapshot":
        state.desk.restore(body)
    elif kind == "control" and played:
        if body["by"] != "risk":  # a limit is met again by the desk itself
            state.desk.obey(body)
    elif kind == "funding" and played:
        state.desk.extend(tuple(row) for row in body["rows"])
    elif kind in VENUE:
        if kind == "booked":
            state.booked.add((body["symbol"], body["trade"]))
        if played:
            state.desk.take(kind, body)
    elif kind == "start":
        state.start = state.start or body
    else:
        _models(state, kind, body)


def _models(state: State, kind: str, body: dict[str, Any]) -> None:
    """Follow which models are in use, and the clock of their training."""
    if kind in ("swap", "rollback"):
        state.previous, state.champion = body["was"], body["model"]
        state.candidate = None
        if state.challenger == body["model"]:
            state.challenger = None
    elif kind == "challenger":
        state.challenger, state.candidate = body["model"], None
        state.challenged, state.shadowed = body["time"], []
    elif kind in ("rejected_model", "expired"):
        state.candidate = None
        if state.challenger == body["model"]:
            state.challenger = None
    elif kind == "retrain":
        state.pending, state.clock = body, body["clock"]
    elif kind == "candidate":
        state.pending, state.candidate = None, body
    elif kind == "train_failed":
        state.pending = None
    elif kind == "model_late" and state.pending is not None:
        state.pending = {**state.pending, "effective": body["effective"]}


def _again(desk: Desk, event: Event) -> None:
    """Take the desk through a recorded moment and compare."""
    body = event.body
    step = desk.step(body["time"], [scored(row) for row in body["rows"]])
    found = {
        "reasons": list(step.reasons),
        "positions": list(step.positions),
        "equity": step.equity,
        "trades": step.trades,
        "flows": step.flow,
    }
    written = {
        "reasons": [row["reason"] for row in body["rows"]],
        "positions": [row["position"] for row in body["rows"]],
        **{name: body[name] for name in ("equity", "trades", "flows")},
    }
    differing = [name for name in found if found[name] != written[name]]
    if differing:
        name = differing[0]
        raise UserError(
            f"run: the desk must do again what the journal says, but at {body['time']} us (event "
            f"{event.seq}) {name} were {written[name]}, found {found[name]}. The trading code or "
            "its settings have changed since: finish the run with those that began it, or start "
            "a new one."
        )


def scored(row: dict[str, Any]) -> Scored:
    """Return a row of a recorded moment as the desk took it: null is not known again."""
    told: dict[str, Any] = {name: _number(row[name]) for name in _NUMBERS}
    known = {name: row[name] for name in Scored._fields if name != "bar" and name in row}
    bar = Bar(**{name: row[name] for name in Bar._fields if name in row})
    return Scored(**{**known, **told, "bar": bar, "levels": shown(row)})


def shown(row: dict[str, Any]) -> Levels | None:
    """Return the book that is recorded beside a bar; None: none was shown, or none asked for."""
    found = row.get("levels")
    return None if found is None else Levels(found["time"], found["bids"], found["asks"])


def _number(value: float | None) -> float:
    return math.nan if value is None else value
