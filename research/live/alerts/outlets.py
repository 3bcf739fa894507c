"""How alerts leave the machine: one kind so often, the rest counted, tried again, then given up."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from research.errors import UserError
from research.live import log
from research.live.alerts.hidden import from_environment
from research.live.alerts.kinds import Alert

SENDER = "alphabook"
_LOOK = 0.1


class Held(NamedTuple):
    """An alert that waits for its kind's turn, and how many it stands for."""

    alert: Alert
    many: int

    @property
    def text(self) -> str:
        """What it says, and of how many."""
        more = f" (and {self.many - 1} more of {self.alert.kind})" if self.many > 1 else ""
        return f"{self.alert.text}{more}"


class Channel(Protocol):
    """A way to a person."""

    name: str
    done: str
    """What cannot be done to an alert that does not arrive."""
    together: bool
    """Whether what is due at one time is told at once."""

    async def send(self, held: list[Held]) -> str:
        """Tell once and return why it failed; empty: it did not."""


class Outlet:
    """One channel, its queue, and when it last told of what.

    Parameters
    ----------
    channel : Channel
        Where to.
    lost : callable
        Told the kind, market time and text of an alert that did not arrive.
    every : float
        Real seconds between two alerts of one kind.
    pauses : tuple of float
        Real seconds before each further attempt.
    """

    def __init__(
        self,
        channel: Channel,
        lost: Callable[[str, int, str], None],
        *,
        every: float,
        pauses: tuple[float, ...],
    ) -> None:
        self._channel, self._lost, self.every, self._pauses = channel, lost, every, pauses
        self._queue: deque[Alert] = deque(maxlen=1000)
        self._told: dict[str, float] = {}
        self._held: dict[str, Held] = {}
        self._busy = False

    def put(self, alert: Alert) -> None:
        """Take an alert, from any thread, without waiting."""
        self._queue.append(alert)

    @property
    def empty(self) -> bool:
        """Whether all that was put in has left, or was given up."""
        return not (self._queue or self._held or self._busy)

    async def run(self) -> None:
        """Tell what comes in, until cancelled."""
        while True:
            due = self._due(time.monotonic())
            groups = [due] if due and self._channel.together else [[held] for held in due]
            for group in groups:
                self._busy = True
                for held in group:
                    self._told[held.alert.kind] = time.monotonic()
                await self._deliver(group)
                self._busy = False
            await asyncio.sleep(_LOOK)

    def _due(self, now: float) -> list[Held]:
        """Return what may be told now, one per kind; the rest is held."""
        while self._queue:
            alert = self._queue.popleft()
            before = self._held.get(alert.kind)
            self._held[alert.kind] = Held(alert, 1 if before is None else before.many + 1)
        never = now - self.every
        ready = [k for k in self._held if now - self._told.get(k, never) >= self.every]
        return [self._held.pop(kind) for kind in ready]

    async def _deliver(self, group: list[Held]) -> None:
        why = "no answer"
        for pause in (*self._pauses, None):
            why = await self._channel.send(group)
            if not why:
                return
            if pause is not None:
                await asyncio.sleep(pause)
        kinds = ", ".join(held.alert.kind for held in group)
        tries = f"after {len(self._pauses) + 1} tries: {why}"
        lost = f"{kinds} could not be {self._channel.done} {tries}"
        self._lost(self._channel.name, group[-1].alert.time, lost)


class Webhook:
    """Posts each alert to a web address as JSON.

    Parameters
    ----------
    run : str
        Whose alerts they are.
    address : str
        From `address`.
    hidden : Secrets
        What is masked.
    timeout : float
        Real seconds that an answer may take.
    """

    name, done, together = "webhook", "posted", False

    def __init__(self, run: str, address: str, hidden: log.Secrets, timeout: float) -> None:
        self._run, self._address, self._hidden, self._timeout = run, address, hidden, timeout

    async def send(self, held: list[Held]) -> str:
        """Post the one alert in `held`."""
        import aiohttp

        alert, many = held[0]
        text = f"{SENDER} {self._run}: {held[0].text}"
        said = {"run": self._run, **alert._asdict(), "text": text, "count": many}
        limit = aiohttp.ClientTimeout(total=self._timeout)
        try:
            body = log.redacted(said, self._hidden)
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.post(self._address, json=body, allow_redirects=False) as answer,
            ):
                return "" if answer.status < 300 else f"status {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return type(error).__name__  # its text may hold the address


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
    webhook = from_environment("live.webhook", webhook)
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
