"""The exchange's own time: it flows at any speed, but never past a bar nobody has dealt with."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

SECOND = 1_000_000
SPEED_OF_INFINITY = 1e12
"""What is said for an infinite speed: JSON has no word for it, and 0 times it must be 0."""


class Clock:
    """Virtual time that waits for its clients.

    It flows from `start` at `speed` while a client is connected and none holds it. It does not
    pass the close of a bar plus `deadline_us` before that bar was acknowledged. Where the speed
    would leave a client less than `grace` real seconds for the deadline, it rests at the close
    for the remainder, or until the acknowledgement: a network does not get faster with the clock.

    Parameters
    ----------
    start : int
        First moment, microseconds UTC.
    closes : sequence of int
        Closes that must be acknowledged, ascending, microseconds UTC.
    speed : float
        Virtual seconds per real second; may be infinite.
    deadline_us : int
        How far after an unacknowledged close time may flow.
    grace : float
        Real seconds that a client is given at least.
    """

    def __init__(
        self,
        start: int,
        closes: Sequence[int],
        *,
        speed: float = math.inf,
        deadline_us: int = 2 * SECOND,
        grace: float = 0.05,
    ) -> None:
        self.speed = speed
        self.acked = start
        self.deadline_us = deadline_us
        self._closes = closes
        self._rest = max(0.0, grace - deadline_us / SECOND / speed)
        self._released = start
        self._anchor, self._since = start, monotonic()
        self._clients: set[Any] = set()
        self._holders: set[Any] = set()
        self._change = asyncio.Event()
        self.version = 0
        """Rises with every change of `state` that the flow of time does not explain."""

    @property
    def running(self) -> bool:
        """Whether time flows (up to `until`)."""
        return bool(self._clients) and not self._holders

    @property
    def until(self) -> int:
        """Where time stops, microseconds UTC."""
        place = bisect_right(self._closes, self.acked)
        if place == len(self._closes):
            last = self._closes[-1] if self._closes else self.acked
            return max(last + self.deadline_us, self._anchor)
        close = self._closes[place]
        waits = self._rest == 0 or self._released >= close
        return max(close + self.deadline_us * waits, self._anchor)

    def now(self) -> int:
        """Return the moment, microseconds UTC."""
        if not self.running:
            return self._anchor
        if math.isinf(self.speed):
            return self.until
        flown = int((monotonic() - self._since) * self.speed * SECOND)
        return min(self._anchor + flown, self.until)

    def state(self) -> dict[str, Any]:
        """Return what a client must know: ``now``, ``until``, ``speed``, and ``last`` close."""
        speed = min(self.speed, SPEED_OF_INFINITY) if self.running else 0.0
        last = self._closes[-1] if self._closes else self._anchor
        return {"now": self.now(), "until": self.until, "speed": speed, "last": last}

    def join(self, client: Any) -> None:
        """Let time flow for `client`."""
        self._settle()
        self._clients.add(client)
        self._tell()

    def leave(self, client: Any) -> None:
        """Forget `client` and what it held; without any, time stands still."""
        self._settle()
        self._clients.discard(client)
        self._holders.discard(client)
        self._tell()

    def hold(self, client: Any, on: bool) -> None:
        """Stop time for `client`, or let it go on."""
        self._settle()
        (self._holders.add if on else self._holders.discard)(client)
        self._tell()

    def ack(self, close: int) -> bool:
        """Take the acknowledgement of the bar closing at `close`; one not yet closed is refused."""
        if not self.acked < close <= self.now():
            return False
        self._settle()
        self.acked = close
        self._tell()
        return True

    def published(self, close: int) -> None:
        """Say that the frames of `close` are out: from here the client has its grace."""
        if self._rest and close > self.acked:
            asyncio.get_running_loop().call_later(self._rest, self._release, close)

    async def wait(self, moment: int, stop: Callable[[], bool] = lambda: False) -> bool:
        """Return True when time has reached `moment`, False when `stop` says so before."""
        while (now := self.now()) < moment:
            if stop():
                return False
            known = self.running and moment <= self.until
            seconds = (moment - now) / SECOND / self.speed if known else None
            await self._changed(seconds)
        return True

    def wake(self) -> None:
        """Let those who wait ask whether they should stop."""
        self._change.set()
        self._change = asyncio.Event()

    async def changed(self) -> None:
        """Return at the next change of `state`."""
        await self._changed(None)

    async def _changed(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._change.wait()

    def _release(self, close: int) -> None:
        if close > max(self.acked, self._released):
            self._settle()
            self._released = close
            self._tell()

    def _settle(self) -> None:
        """Bring the anchor up to now, before what time depends on changes."""
        self._anchor, self._since = self.now(), monotonic()

    def _tell(self) -> None:
        self.version += 1
        self.wake()
