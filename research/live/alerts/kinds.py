"""Which events of a journal a person should hear of at once."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

STORM = 20
"""Rejected records within an hour of market time that are an alert."""
WORDS = ("active", "reducing", "halted")

_HOUR = 3_600_000_000
_NOTES = {
    "stale": "a stream is silent",
    "gap": "the venue has no bar",
    "revision": "a closed bar was revised",
    "trades_disagree": "a bar and its trades disagree",
    "not_flat": "trading is halted, and the account still holds",
}
_MODELS = {
    "model_late": "a new model was not ready in time",
    "train_failed": "a training failed",
    "repaired": "the journal was damaged and has been repaired",
}


class Alert(NamedTuple):
    """One thing a person should know."""

    kind: str
    time: int
    """Of the market, microseconds since 1970 UTC."""
    text: str
    facts: dict[str, Any]


def of(kind: str, body: dict[str, Any]) -> Alert | None:
    """Return what is alarming about one event of a journal; None: nothing.

    >>> of("control", {"time": 5, "state": 2, "why": "drawdown", "by": "risk"}).text
    'trading is halted: drawdown (risk)'
    >>> of("control", {"time": 5, "state": 0, "why": "told to", "by": "command"}) is None
    True
    """
    when = int(body.get("time", 0))
    if kind == "control" and body["state"] > 0 and body["state"] != body.get("was"):
        word = WORDS[body["state"]]
        return Alert(word, when, f"trading is {word}: {body['why']} ({body['by']})", {})
    if kind == "note":
        return _noted(when, body)
    if kind in _MODELS:
        return Alert(kind, when, _with(_MODELS[kind], body.get("why")), {})
    if kind == "retrain" and body.get("trigger") == "drift":
        seen = body.get("evidence", {})
        return Alert("drift", when, f"features have drifted: {seen.get('feature')}", dict(seen))
    if kind == "stop" and str(body.get("why", "")).startswith("error"):
        return Alert("stopped", when, f"the run has ended: {body['why']}", {})
    return None


def _noted(when: int, body: dict[str, Any]) -> Alert | None:
    kind = str(body.get("kind"))
    if kind == "alarm":
        what = body.get("what") or "alarm"
        return Alert(f"feed_{what}", when, _with(f"feed: {what}", body.get("why")), _few(body))
    if kind not in _NOTES:
        return None
    where = body.get("symbol") or body.get("streams") or body.get("route")
    if "left" in body:
        where = [f"{held} {symbol}" for symbol, held in body["left"].items()]
    return Alert(kind, when, _with(_NOTES[kind], where), _few(body))


def _with(text: str, more: Any) -> str:
    if isinstance(more, list):
        more = ", ".join(str(item) for item in more)
    return f"{text}: {more}" if more else text


def _few(body: dict[str, Any]) -> dict[str, Any]:
    """Leave what fits into a line: a note may hold whole bars."""
    kept = ("symbol", "route", "streams", "silent_s", "why", "acted_on")
    return {name: body[name] for name in kept if name in body}


class Judge:
    """Says which of a run's events are alerts, one after the other: it counts what only alarms in
    numbers.

    Examples
    --------
    >>> judge = Judge()
    >>> bad = [("note", {"kind": "rejected", "time": n}) for n in range(STORM + 1)]
    >>> [alert.kind for event in bad for alert in judge.see(*event)]
    ['rejected']
    """

    def __init__(self) -> None:
        self._bad: deque[int] = deque()

    def see(self, kind: str, body: dict[str, Any]) -> list[Alert]:
        """Return what is to be told of one event: nothing or one alert."""
        if kind == "note" and body.get("kind") == "rejected":
            return self._rejected(int(body.get("time", 0)), body)
        found = of(kind, body)
        return [] if found is None else [found]

    def _rejected(self, when: int, body: dict[str, Any]) -> list[Alert]:
        self._bad.append(when)
        while self._bad[0] <= when - _HOUR:
            self._bad.popleft()
        if len(self._bad) != STORM:
            return []
        text = _with(f"{STORM} bad records within an hour", body.get("stream"))
        return [Alert("rejected", when, text, {})]
