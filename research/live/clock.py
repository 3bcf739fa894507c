"""What time it is: the world's, the simulated exchange's, or that of bars being replayed.

All times are microseconds since 1970 UTC. Whoever waits for market time asks a clock; limits of
this machine (a half-open socket, a kill switch) are in real seconds and do not.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import aiohttp
import orjson

from research.live.net import Network

SECOND = 1_000_000
URL = "wss://clock.sim/clock"
_UNBOUNDED = 2**62
_LONGEST_NAP = 1.0


class Clock(Protocol):
    """Market time, and the one thing a reader of it says back: that a bar is dealt with."""

    def now(self) -> int:
        """Return the moment, microseconds UTC; never less than it returned before."""

    async def sleep_until(self, us: int) -> None:
        """Return when `now` has reached `us`; at once if it has."""

    async def ack(self, us: int) -> None:
        """Say that the bar closing at `us` is decided and journalled: time may go on past it."""

    async def hold(self) -> None:
        """Let time stand still, where it can be stopped."""

    async def release(self) -> None:
        """Let time go on."""

    async def close(self) -> None:
        """Give back what the clock holds."""


class WallClock:
    """This machine's time; nobody can stop it.

    Examples
    --------
    >>> WallClock().now() > 1_700_000_000_000_000
    True
    """

    def __init__(self) -> None:
        self._last = 0

    def now(self) -> int:
        """Return the machine's time; set back, it stands still until it is where it was."""
        self._last = max(self._last, time.time_ns() // 1000)
        return self._last

    async def sleep_until(self, us: int) -> None:
        """Wait in short naps, so that a machine whose time is set meanwhile is followed."""
        while (left := us - self.now()) > 0:
            await asyncio.sleep(min(left / SECOND, _LONGEST_NAP))

    async def ack(self, us: int) -> None:
        """Do nothing: the world does not wait."""

    async def hold(self) -> None:
        """Do nothing: the world does not wait."""

    async def release(self) -> None:
        """Do nothing: the world does not wait."""

    async def close(self) -> None:
        """Do nothing: there is nothing to give back."""


class Flow(NamedTuple):
    """Time that flows from `now` at `speed`, seen at the real moment `at`, but not past `until`.

    Examples
    --------
    >>> flow = Flow(now=0, until=5_000_000, speed=2.0, at=100.0)
    >>> flow.read(101.0), flow.read(200.0), flow.seconds_to(3_000_000), flow.seconds_to(6_000_000)
    (2000000, 5000000, 1.5, None)
    """

    now: int
    until: int
    speed: float
    at: float
    """Real seconds of a clock that only rises."""

    def read(self, at: float) -> int:
        """Return the time at the real moment `at`."""
        if math.isinf(self.speed):
            return max(self.now, self.until)
        elapsed = max(0.0, at - self.at) * self.speed * SECOND
        return max(self.now, min(self.until, self.now + int(min(elapsed, _UNBOUNDED))))

    def seconds_to(self, us: int) -> float | None:
        """Return real seconds from `at` until time is `us`; None if it will not get there."""
        if us <= self.now:
            return 0.0
        return (us - self.now) / SECOND / self.speed if self.speed and us <= self.until else None


class _Flowing:
    """A clock that reads a `Flow` and wakes its sleepers when a new one is set."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._last = flow.now
        self._news = asyncio.Event()

    def now(self) -> int:
        """Return the moment, microseconds UTC."""
        self._last = max(self._last, self._flow.read(time.monotonic()))
        return self._last

    async def sleep_until(self, us: int) -> None:
        """Return when time has reached `us`, however often it stops on the way."""
        while self.now() < us:
            news = self._news
            seconds = self._flow.seconds_to(us)
            left = None if seconds is None else seconds - (time.monotonic() - self._flow.at)
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await news.wait()

    def _set(self, flow: Flow) -> None:
        self._flow = flow
        self._news.set()
        self._news = asyncio.Event()


class VenueClock(_Flowing):
    """The simulated exchange's time, told over a WebSocket; it waits for our acknowledgements.

    While the line is cut, time stands still on both sides; what was said last is said again.

    Parameters
    ----------
    network : Network
        Of the simulated exchange.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(Flow(0, 0, 0.0, time.monotonic()))
        self._network = network
        self._line: aiohttp.ClientWebSocketResponse | None = None
        self._task: asyncio.Task[None] | None = None
        self._acked: int | None = None
        self._held = False
        self.told: dict[str, Any] = {}
        """The newest message of the exchange: now, until, speed and, where it says so, last."""

    @classmethod
    async def connect(cls, network: Network) -> VenueClock:
        """Return a clock that has been told the time."""
        clock = cls(network)
        clock._task = asyncio.create_task(clock._listen(), name="venue clock")
        await clock._news.wait()
        return clock

    async def ack(self, us: int) -> None:
        """Say that the bar closing at `us` is dealt with."""
        self._acked = us if self._acked is None else max(us, self._acked)
        await self._say({"ack": us})

    async def hold(self) -> None:
        """Let the exchange's time stand still."""
        self._held = True
        await self._say({"hold": True})

    async def release(self) -> None:
        """Let the exchange's time go on."""
        self._held = False
        await self._say({"hold": False})

    async def close(self) -> None:
        """Hang up: the exchange's time stands still until somebody else listens."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._stand()

    def _stand(self) -> None:
        now = self.now()
        self._set(Flow(now, now, 0.0, time.monotonic()))

    async def _say(self, message: dict[str, Any]) -> None:
        if self._line is not None and not self._line.closed:
            with suppress(ConnectionError, aiohttp.ClientError):  # said again on the next line
                await self._line.send_str(orjson.dumps(message).decode())

    async def _listen(self) -> None:
        pause = 0.05
        while True:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with self._network.session().ws_connect(URL, heartbeat=20.0) as line:
                    pause = 0.05
                    await self._follow(line)
            self._line = None
            self._stand()
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2.0, pause * 2)

    async def _follow(self, line: aiohttp.ClientWebSocketResponse) -> None:
        self._line = line
        if self._held:
            await self._say({"hold": True})
        if self._acked is not None:
            await self._say({"ack": self._acked})
        async for message in line:
            if message.type is aiohttp.WSMsgType.TEXT:
                told = orjson.loads(message.data)
                self.told = told
                speed = float("inf") if told["speed"] in (None, "inf") else float(told["speed"])
                self._set(Flow(told["now"], told["until"], speed, time.monotonic()))


class ReplayClock(_Flowing):
    """Time of stored bars: the replay feed says how far it may flow.

    Parameters
    ----------
    start : int
        First moment, microseconds UTC.
    speed : float
        Market seconds per real second; infinite: each bar as soon as the one before is dealt with.

    Examples
    --------
    >>> clock = ReplayClock(60_000_000)
    >>> clock.play_to(120_000_000)
    >>> clock.now()
    120000000
    """

    def __init__(self, start: int, speed: float = float("inf")) -> None:
        super().__init__(Flow(start, start, speed, time.monotonic()))
        self._speed = speed
        self._until = start
        self._held = False

    def play_to(self, until: int) -> None:
        """Let time flow on to `until`, microseconds UTC, and stand still there."""
        self._until = max(until, self._until)
        self._go_on()

    async def ack(self, us: int) -> None:
        """Do nothing: the feed plays on when it is asked for the next bar."""

    async def hold(self) -> None:
        """Let time stand still."""
        self._held = True
        self._go_on()

    async def release(self) -> None:
        """Let time go on."""
        self._held = False
        self._go_on()

    async def close(self) -> None:
        """Do nothing: there is nothing to give back."""

    def _go_on(self) -> None:
        now = self.now()
        speed = 0.0 if self._held else self._speed
        self._set(Flow(now, self._until, speed, time.monotonic()))
