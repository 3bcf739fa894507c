"""When a new model is trained: by the clock, by age, by drift of the features, by worse trades.

Pure: what time it is and what was seen come in, what is due goes out. The clock is a plain dict,
for the journal; it knows when the newest training was asked for, whatever became of it, so that no
reason to train can ask again at the next bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from research import features as feature_room
from research import pipeline
from research.live import rows
from research.scores import drift
from research.study import Study

WINDOW = 240
"""Newest bars that are compared with a training window."""
TRADES = 200
"""Newest trades that a rolling Sharpe is of."""
_US = timedelta(microseconds=1)
_DAY = timedelta(days=1) // _US
_YEAR = timedelta(days=365) // _US
Kind = Literal["scheduled", "age", "drift", "sharpe"]


class Trigger(NamedTuple):
    """What is due, and why.

    Attributes
    ----------
    kind : {"scheduled", "age", "drift", "sharpe"}
        The first of them that held.
    at : int
        When: of a scheduled one its slot, else now; microseconds since 1970 UTC.
    evidence : dict
        The numbers behind it: JSON.
    """

    kind: Kind
    at: int
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes a training due; durations in microseconds, None: not looked at."""

    every: int
    max_age: int | None = None
    sharpe: float | None = None
    clock: int | None = None
    """After midnight UTC, from when slots are counted; None: from the first training."""

    @classmethod
    def of(cls, study: Study) -> Rules:
        """Read a study's."""
        chosen, clock = study.retrain, study.jobs.trains_at
        every = chosen.every or study.validation.step or study.validation.test
        age = None if chosen.max_age is None else chosen.max_age // _US
        return cls(every // _US, age, chosen.sharpe, None if clock is None else clock // _US)


class Triggers:
    """The retraining clock.

    Parameters
    ----------
    rules : Rules
        What is looked at.
    state : dict
        From `begin`, or the `state` of a clock that ran before.
    """

    def __init__(self, rules: Rules, state: dict[str, int]) -> None:
        self.rules, self.state = rules, dict(state)

    @staticmethod
    def begin(trained: int, rules: Rules) -> dict[str, int]:
        """Return the state after a first training at `trained`.

        >>> minute = 60_000_000
        >>> Triggers.begin(45 * minute, Rules(every=10 * minute, clock=30 * minute))
        {'anchor': 1800000000, 'slot': 1, 'asked': 2700000000}
        """
        since = 0 if rules.clock is None else (trained - rules.clock) % _DAY
        return {"anchor": trained - since, "slot": since // rules.every, "asked": trained}

    def due(
        self,
        now: int,
        *,
        psi: dict[str, float] | None = None,
        limits: dict[str, float] | None = None,
        trades: Sequence[tuple[int, float]] = (),
    ) -> Trigger | None:
        """Say what is due, and count it as asked for.

        Parameters
        ----------
        now : int
            Close of the newest bar.
        psi, limits : dict of str to float, optional
            By feature, from `drift.Watch.psi` and `baseline`.
        trades : sequence of (closed, net return)
            Closed trades, the oldest first; those from before the newest training do not count.

        Returns
        -------
        Trigger or None
            Slots that went by unseen (the runner was down) are one training, not many.
        """
        found = self._scheduled(now) or self._other(now, psi, limits, trades)
        if found is not None:
            self.state["asked"] = now
        return found

    def next_slot(self) -> int:
        """Return when the next scheduled training is due."""
        return self.state["anchor"] + (self.state["slot"] + 1) * self.rules.every

    def _scheduled(self, now: int) -> Trigger | None:
        slot = (now - self.state["anchor"]) // self.rules.every
        if slot <= self.state["slot"]:
            return None
        self.state["slot"] = slot
        return Trigger("scheduled", self.state["anchor"] + slot * self.rules.every, {"slot": slot})

    def _other(
        self,
        now: int,
        psi: dict[str, float] | None,
        limits: dict[str, float] | None,
        trades: Sequence[tuple[int, float]],
    ) -> Trigger | None:
        age, rules = now - self.state["asked"], self.rules
        if rules.max_age is not None and age >= rules.max_age:
            return Trigger("age", now, {"age": age})
        over = {k: v for k, v in (psi or {}).items() if v > (limits or {}).get(k, np.inf)}
        if over:
            worst = max(over, key=lambda name: over[name] / (limits or {})[name])
            return Trigger(
                "drift", now, {"feature": worst, "psi": over[worst], "limit": (limits or {})[worst]}
            )
        shown = rolling_sharpe([trade for trade in trades if trade[0] > self.state["asked"]])
        if rules.sharpe is not None and shown is not None and shown < rules.sharpe:
            return Trigger("sharpe", now, {"sharpe": shown, "limit": rules.sharpe})
        return None


def rolling_sharpe(trades: Sequence[tuple[int, float]], newest: int = TRADES) -> float | None:
    """Return the Sharpe ratio of the newest trades, at their own frequency over 365 days.

    Parameters
    ----------
    trades : sequence of (closed, net return)
        The oldest first; microseconds and fractions.
    newest : int
        So many are looked at.

    Returns
    -------
    float or None
        None with fewer trades, or if they closed at one time or all alike: not known is not zero.

    Examples
    --------
    >>> rolling_sharpe([(0, 0.01)] * 199) is None
    True
    """
    if len(trades) < newest:
        return None
    closed, returns = (np.array(column) for column in zip(*trades[-newest:]))
    span, deviation = closed[-1] - closed[0], returns.std(ddof=1)
    if span <= 0 or returns.min() == returns.max():
        return None
    return float(returns.mean() / deviation * np.sqrt(_YEAR / (span / (newest - 1))))


def baseline(study: Study, bars: pl.DataFrame, at: int) -> dict[str, Any]:
    """Return what newer features are held against, and from where on they have drifted.

    Parameters
    ----------
    study : Study
        Its `retrain.drift` and what that reads.
    bars : pl.DataFrame
        Known at `at`: the training window and older ones.
    at : int
        When the model was trained.

    Returns
    -------
    dict
        ``reference`` (`drift.Reference.to_dict`), ``limits`` by feature, and of a limit by budget
        ``blocks`` and ``extrapolated`` (`drift.Threshold`).

    Raises
    ------
    UserError
        If the past is too short for a budget.
    """
    chosen, interval, now = pipeline.feature_set(study), study.data.interval, rows.at(at)
    train = study.validation.train
    known = bars.filter(pl.col("time") < now)
    table = feature_room.build(known, chosen, interval=interval)
    made = drift.reference(table.filter(pl.col("time") >= now - train), chosen.names)
    plain: dict[str, Any] = {"reference": made.to_dict()}
    if study.retrain.drift == "psi":
        return plain | {"limits": dict.fromkeys(chosen.names, study.retrain.psi)}
    found = drift.drift_threshold(
        table,
        chosen.names,
        window=WINDOW * interval,
        per=study.retrain.false_alarms,
        train=train,
        every=Rules.of(study).every * _US,
    )
    return plain | found._asdict()


def watch(facts: dict[str, Any]) -> drift.Watch | None:
    """Return the watch over a version's features; None where its facts hold no `baseline`."""
    if "drift" not in facts:
        return None
    return drift.Watch(drift.Reference.from_dict(facts["drift"]["reference"]), WINDOW)
