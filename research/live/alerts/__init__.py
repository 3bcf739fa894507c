"""What a person should hear of at once: into a file of the run, to a web address, by mail.

`of` says which events of a journal are such; `Alerts` writes them down and tells them. Telling is
done beside the bars and never waits for an answer in their way.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from research.live import log
from research.live.alerts.hidden import from_environment
from research.live.alerts.kinds import STORM, WORDS, Alert, Judge, of
from research.live.alerts.mail import Mail, postbox
from research.live.alerts.outlets import Channel, Outlet, Webhook, address

__all__ = [
    "FILE",
    "STORM",
    "WORDS",
    "Alert",
    "Alerts",
    "Judge",
    "address",
    "beside",
    "counted",
    "of",
]

FILE = "alerts.jsonl"
BESIDE = ("journal", "webhook", "mail", "job", "health")
"""Kinds of alerts that no event of a journal can tell of."""
_LOOK = 0.05


class Alerts:
    """Writes alerts to the run's folder, posts and mails them, if there is an address.

    Parameters
    ----------
    folder : Path
        The run's.
    webhook : str, optional
        An http or https address, or ``$NAME``: the environment variable that holds it, so that it
        stands in no file. Each alert is posted to it as JSON.
    mail : str, optional
        As `mail.postbox` reads it. Alerts are mailed there, those due at one time in one letter.
    every : float
        Real seconds between two of one kind on one way; those in between are counted and told
        together.
    timeout : float
        Real seconds that an answer may take.
    pauses : tuple of float
        Real seconds before each further attempt.

    Raises
    ------
    UserError
        If an address is none.

    Attributes
    ----------
    secrets : tuple of str
        What must not be seen of it, for `log.opened`.
    """

    def __init__(
        self,
        folder: Path,
        webhook: str | None = None,
        mail: str | None = None,
        *,
        every: float = 60.0,
        timeout: float = 5.0,
        pauses: tuple[float, ...] = (1.0, 4.0),
    ) -> None:
        where, box = address(webhook), None if mail is None else postbox(mail)
        named = from_environment("live.mail", mail) if mail and mail.startswith("$") else None
        hidden = (where, box.password if box else None, named)
        self.secrets = tuple(value for value in hidden if value)
        self._folder, self._file, self._judge = folder, log.Lines(folder / FILE), Judge()
        self._hidden = log.Secrets(self.secrets)
        channels: list[Channel] = []
        if where is not None:
            channels.append(Webhook(folder.name, where, self._hidden, timeout))
        if box is not None:
            channels.append(Mail(folder.name, box, self._hidden, timeout))
        self._outlets = [
            Outlet(channel, self._lost, every=every, pauses=pauses) for channel in channels
        ]

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
        for outlet in self._outlets:
            outlet.put(alert)

    def _lost(self, kind: str, when: int, text: str) -> None:
        self._write(Alert(kind, when, text, {}))

    def _write(self, alert: Alert) -> None:
        said = {"timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", **alert._asdict()}
        try:
            self._file.msg(json.dumps(log.redacted(said, self._hidden)))
        except OSError:
            return  # the disk is full, which is told where the journal is written

    async def run(self) -> None:
        """Tell what is raised until cancelled; a task of the runner's loop."""
        await asyncio.gather(*(outlet.run() for outlet in self._outlets))

    async def drained(self, seconds: float = 5.0) -> None:
        """Give what is raised so far a chance to leave: before the runner's loop ends."""
        for outlet in self._outlets:
            outlet.every = 0.0
        until = time.monotonic() + seconds
        while time.monotonic() < until and not all(outlet.empty for outlet in self._outlets):
            await asyncio.sleep(_LOOK)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _written(folder: Path) -> list[dict[str, Any]]:
    try:
        lines = (folder / FILE).read_text(encoding="utf8").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(text) for text in lines if text.endswith("}")]


def beside(folder: Path) -> list[Alert]:
    """Return the alerts of a run that its journal does not tell of, the newest last."""
    found = (said for said in _written(folder) if said["kind"] in BESIDE)
    return [Alert(*(said[n] for n in Alert._fields)) for said in found]


def counted(folder: Path) -> dict[str, int]:
    """Return how many alerts a run has written down, by kind."""
    return dict(Counter(said["kind"] for said in _written(folder)))
