"""What a person should hear of at once: into a file of the run, and to a web address.

`of` says which events of a journal are such; `Alerts` writes them down and posts them. Posting is
done beside the bars and never waits for an answer in their way.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from research.errors import UserError
from research.live import log

FILE = "alerts.jsonl"
STORM = 20
"""Rejected records within an hour of market time that are an alert."""
WORDS = ("active", "reducing", "halted")
SENDER = "alphabook"

_HOUR = 3_600_000_000
_LOOK = 0.1
_NOTES = {
    "stale": "a stream is silent",
    "gap": "the venue has no bar",
    "revision": "a closed bar was revised",
    "trades_disagree": "a bar and its trades disagree",
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


class _Held(NamedTuple):
    """An alert that waits for its kind's turn, and how many it stands for."""

    alert: Alert
    many: int


class Alerts:
    """Writes alerts to the run's folder and posts them, if there is an address.

    Parameters
    ----------
    folder : Path
        The run's.
    webhook : str, optional
        An http or https address, or ``$NAME``: the environment variable that holds it, so that it
        stands in no file. Each alert is posted to it as JSON.
    every : float
        Real seconds between two posts of one kind; those in between are counted and told together.
    timeout : float
        Real seconds that an answer may take.
    pauses : tuple of float
        Real seconds before each further attempt.

    Raises
    ------
    UserError
        If the address is none.

    Attributes
    ----------
    secrets : tuple of str
        What must not be seen of it, for `log.opened`.
    """

    def __init__(
        self,
        folder: Path,
        webhook: str | None = None,
        *,
        every: float = 60.0,
        timeout: float = 5.0,
        pauses: tuple[float, ...] = (1.0, 4.0),
    ) -> None:
        self._webhook = address(webhook)
        self.secrets = () if self._webhook is None else (self._webhook,)
        self._folder, self._file, self._judge = folder, log.Lines(folder / FILE), Judge()
        self._every, self._timeout, self._pauses = every, timeout, pauses
        self._hidden = log.Secrets(self.secrets)
        self._queue: deque[Alert] = deque(maxlen=1000)
        self._posted: dict[str, float] = {}
        self._held: dict[str, _Held] = {}
        self._busy = False

    def see(self, *events: tuple[str, dict[str, Any]]) -> None:
        """Raise what is alarming among events of the journal; from any thread."""
        for kind, body in events:
            for alert in self._judge.see(kind, body):
                self._raise(alert)

    def raise_(self, kind: str, text: str, **facts: Any) -> None:
        """Raise an alert that is no event of the journal; from any thread, without waiting."""
        self._raise(Alert(kind, int(facts.pop("time", 0)), text, facts))

    def _raise(self, alert: Alert) -> None:
        self._write(alert)
        if self._webhook is not None:
            self._queue.append(alert)

    def _write(self, alert: Alert) -> None:
        said = {"timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", **alert._asdict()}
        try:
            self._file.msg(json.dumps(log.redacted(said, self._hidden)))
        except OSError:
            return  # the disk is full, which is told where the journal is written

    # -- posting -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Post what is raised until cancelled; a task of the runner's loop."""
        if self._webhook is None:
            return
        import aiohttp

        limit = aiohttp.ClientTimeout(total=self._timeout)
        async with aiohttp.ClientSession(timeout=limit) as session:
            while True:
                for kind, held in self._due(time.monotonic()):
                    self._posted[kind] = time.monotonic()
                    self._busy = True
                    await self._deliver(session, held)
                    self._busy = False
                await asyncio.sleep(_LOOK)

    def _due(self, now: float) -> list[tuple[str, _Held]]:
        """Return what may be posted now, one per kind; the rest is held."""
        while self._queue:
            alert = self._queue.popleft()
            before = self._held.get(alert.kind)
            self._held[alert.kind] = _Held(alert, 1 if before is None else before.many + 1)
        never = -self._every
        ready = [k for k in self._held if now - self._posted.get(k, never + now) >= self._every]
        return [(kind, self._held.pop(kind)) for kind in ready]

    async def _deliver(self, session: Any, held: _Held) -> None:
        why = "no answer"
        for pause in (*self._pauses, None):
            why = await self._post(session, held)
            if not why:
                return
            if pause is not None:
                await asyncio.sleep(pause)
        lost = f"{held.alert.kind} could not be posted after {len(self._pauses) + 1} tries: {why}"
        self._write(Alert("webhook", held.alert.time, lost, {}))

    async def _post(self, session: Any, held: _Held) -> str:
        """Post once and return why it failed; empty: it did not."""
        import aiohttp

        alert = held.alert
        text = f"{SENDER} {self._folder.name}: {alert.text}"
        if held.many > 1:
            text += f" (and {held.many - 1} more of {alert.kind})"
        said = {"run": self._folder.name, **alert._asdict(), "text": text, "count": held.many}
        try:
            body = log.redacted(said, self._hidden)
            async with session.post(self._webhook, json=body, allow_redirects=False) as answer:
                return "" if answer.status < 300 else f"status {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return type(error).__name__  # its text may hold the address

    async def drained(self, seconds: float = 5.0) -> None:
        """Give what is raised so far a chance to be posted: before the runner's loop ends."""
        self._every = 0.0
        until = time.monotonic() + seconds
        while self._webhook and time.monotonic() < until:
            if not (self._queue or self._held or self._busy):
                return
            await asyncio.sleep(_LOOK / 2)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def address(webhook: str | None) -> str | None:
    """Return where alerts are posted to.

    Raises
    ------
    UserError
        If `webhook` is no http or https address, or names a variable that is not set; the message
        does not repeat the address.

    Examples
    --------
    >>> address("https://example.net/hook")
    'https://example.net/hook'
    """
    if webhook is None:
        return None
    if webhook.startswith("$"):
        name, webhook = webhook[1:], os.environ.get(webhook[1:], "")
        if not webhook:
            raise UserError(f"live.webhook: the environment must hold {name}, it is not set.")
    try:
        parts = urlsplit(webhook)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise UserError(
            "live.webhook: must be an http or https address, or $NAME of a variable that holds one."
        )
    return webhook


BESIDE = ("journal", "webhook")
"""Kinds of alerts that no event of a journal can tell of."""


def beside(folder: Path) -> list[Alert]:
    """Return the alerts of a run that its journal does not tell of, the newest last."""
    try:
        lines = (folder / FILE).read_text(encoding="utf8").splitlines()
    except FileNotFoundError:
        return []
    found = (json.loads(text) for text in lines if text.endswith("}"))
    return [Alert(*(said[n] for n in Alert._fields)) for said in found if said["kind"] in BESIDE]
