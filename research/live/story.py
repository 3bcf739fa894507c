"""A run as its journal tells it so far, for whoever looks: it is followed as it grows."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from research.live import alerts, journal
from research.live.alerts import Alert
from research.live.journal import Event

NEWEST = 30
"""Decisions and alarms that are shown."""
POINTS = 20_000
"""Moments whose equity is kept as it was; of a longer run every second one, then every fourth."""


@dataclass
class Story:
    """A run as its journal tells it so far; times in microseconds since 1970 UTC.

    Attributes
    ----------
    path : list of (int, float, dict)
        By moment: time, equity, and the worth of what was held by symbol, in quote currency.
    decisions : deque of dict
        The newest, with ``time, symbol, reason, position, forecast, close``.
    positions : dict of str to float
        After the last moment, in base currency.
    evidence : list of (int, float)
        The challenger's e-value after each moment since it is tried.
    contest : dict, optional
        What is known of the challenger against the champion, see `shadow.Contest.evidence`.
    """

    start: dict[str, Any] = field(default_factory=dict)
    seq: int = 0
    time: int = 0
    last: dict[str, Any] = field(default_factory=dict)
    """Kind and body of the last event, the kind as ``kind``."""
    bars: int = 0
    trades: int = 0
    state: int = 0
    why: str = ""
    """Why the state is what it is."""
    model: str | None = None
    since: int = 0
    """When the model in force took over."""
    challenger: str | None = None
    path: list[tuple[int, float, dict[str, float]]] = field(default_factory=list)
    decisions: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=NEWEST))
    positions: dict[str, float] = field(default_factory=dict)
    prices: dict[str, float] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    alarms: deque[Alert] = field(default_factory=lambda: deque(maxlen=NEWEST))
    drift: dict[str, Any] | None = None
    """Of the newest training that drift asked for: feature, psi, limit and time."""
    taken: deque[int] = field(default_factory=lambda: deque(maxlen=POINTS))
    """Microseconds from the close to the decision, of the newest that were not late."""
    evidence: list[tuple[int, float]] = field(default_factory=list)
    contest: dict[str, Any] | None = None
    _every: int = 1
    _judge: alerts.Judge = field(default_factory=alerts.Judge, compare=False)
    _held: Any = field(default=None, compare=False)

    @property
    def capital(self) -> float:
        """In quote currency."""
        return float(self.start.get("capital") or 0.0)

    @property
    def worth(self) -> float:
        """Equity after the last moment."""
        return self.path[-1][1] if self.path else self.capital

    @property
    def equity(self) -> list[tuple[int, float]]:
        """By moment."""
        return [(when, equity) for when, equity, _ in self.path]

    def follow(self, folder: Path) -> bool:
        """Take in what the journal of a run has become, and return whether that was anything.

        Raises
        ------
        UserError
            If it is damaged.
        """
        return self.take(journal.read(folder, after=self.seq))

    def take(self, events: Iterable[Event]) -> bool:
        """Take in events and return whether there were any."""
        before = self.seq
        for event in events:
            self.seq = event.seq
            if event.kind == "snapshot":
                continue
            self.last = {"kind": event.kind, **event.body}
            self.alarms += self._judge.see(event.kind, event.body)
            if event.kind == "moment":
                self._moment(event.body)
            else:
                self._other(event.kind, event.body)
        return self.seq != before

    def _moment(self, body: dict[str, Any]) -> None:
        when = self.time = body["time"]
        self.bars += 1
        self.trades += len(body["trades"])
        if not body.get("late"):
            self.taken.append(sum((body.get("latency") or {}).values()))
        held = {row["symbol"]: row["position"] * row["close"] for row in body["rows"]}
        self._mark((when, body["equity"], held))
        for row in body["rows"]:
            self.positions[row["symbol"]] = row["position"]
            self.prices[row["symbol"]] = row["close"]
            self.reasons[row["reason"]] += 1
            shown = ("symbol", "reason", "position", "forecast", "close")
            late = {"late": body.get("late", False)}
            self.decisions.append({"time": when, **{n: row.get(n) for n in shown}, **late})
        if self._held is not None:
            self._try(body)

    def _mark(self, point: tuple[int, float, dict[str, float]]) -> None:
        """Keep the path short enough, its last point exact."""
        if len(self.path) > 1 and self.bars % self._every:
            self.path[-1] = point
            return
        self.path.append(point)
        if len(self.path) > POINTS:
            self.path = [*self.path[:-1:2], self.path[-1]]
            self._every *= 2

    def _other(self, kind: str, body: dict[str, Any]) -> None:
        if kind == "start":
            self.start = self.start or body
            self.time = self.time or body.get("time", 0)
        elif kind in ("swap", "rollback"):
            self.model, self.since = body["model"], body.get("at", 0)
            self._drop(body["model"])
        elif kind in ("rejected_model", "expired"):
            self._drop(body["model"])
        elif kind == "challenger":
            self.challenger, self.evidence = body["model"], []
            self._begin(body)
        elif kind == "control":
            self.state, self.why = body["state"], body["why"]
        elif kind == "retrain" and body.get("trigger") == "drift":
            self.drift = {**body.get("evidence", {}), "time": body.get("time", 0)}

    def _drop(self, model: str | None) -> None:
        if model == self.challenger:
            self.challenger = self._held = self.contest = None

    def _begin(self, body: dict[str, Any]) -> None:
        """Hold the contest once more, beside the runner's: what it knows stands in the journal."""
        from research.live import shadow
        from research.study import Study

        rules = shadow.Rules.of(Study.model_validate(self.start["study"]))
        begun = shadow.Contest.begin(str(self.model), body["model"], body.get("time", 0))
        self._held = shadow.Contest(rules, begun)
        self.contest = self._held.evidence(self.time)

    def _try(self, body: dict[str, Any]) -> None:
        from research.live.shadow import Look

        shown = ("open", "close", "sigma", "forecast", "challenger")
        looks = {row["symbol"]: Look(*(row[name] for name in shown)) for row in body["rows"]}
        self._held.observe(body["time"], looks)
        self.contest = self._held.evidence(body["time"])
        self.evidence.append((body["time"], self._held.e_value))
