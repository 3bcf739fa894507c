"""The feed's watched connections, with every frame kept as it came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import WSMsgType

from research.live.clock import Clock
from research.live.feed.limits import Limits, Pauses
from research.live.feed.records import Route
from research.live.feed.stream import Line, Link
from research.live.net import Network
from research.recorder.intake import Intake

OVERLAP = 1.0
"""Real seconds for which two connections both record once the new one has heard each stream."""
_BAD_A_MINUTE = 100


class Tap(Link):
    """One connection: a `Link` that keeps bytes instead of reading candles."""

    def __init__(self, line: Wire) -> None:
        super().__init__(line)
        self.wire = line
        self.counters = line.intake.connect()
        self._silent = set(line.route.streams)
        self._strays = 0.0

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        wire, keep, receive = self.wire, self.wire.intake.keep, socket.receive
        counters = self.counters
        wire.socket = socket
        try:
            for text in wire.route.hello:
                await socket.send_str(text)
            self._last = time.monotonic()
            wire.tell_open()
            while True:
                message = await receive()
                wall, monotonic = time.time_ns(), time.monotonic_ns()
                self._last = monotonic / 1e9
                kind, data = message.type, message.data
                if kind is WSMsgType.TEXT or kind is WSMsgType.BINARY:
                    frame = data.encode() if kind is WSMsgType.TEXT else bytes(data)
                    known = keep(counters, frame, wall, monotonic)
                    if known is not None:
                        known.health.hear(wall // 1000)
                        if self._silent:
                            self._hears(known.stream.name)
                    elif not self._stray(frame):
                        return f"more than {_BAD_A_MINUTE} frames in a minute cannot be read"
                elif kind is WSMsgType.PING:
                    await socket.pong(data)
                elif kind is not WSMsgType.PONG:
                    return self._end(socket)
        except (aiohttp.ClientError, OSError) as error:
            return f"{type(error).__name__} {error}".strip()[:200]
        finally:
            wire.intake.part(counters)

    def _hears(self, name: str) -> None:
        self._silent.discard(name)
        if not self._silent:
            asyncio.get_running_loop().call_later(OVERLAP, self.full.set)

    def _stray(self, frame: bytes) -> bool:
        """Read what belongs to no stream; False when there is too much of it."""
        try:
            for reply in self.wire.venue.read(frame):
                self.wire.take(reply)
            return True
        except ValueError:
            self._bad = [t for t in self._bad if t > self._last - 60] + [self._last]
            return len(self._bad) <= _BAD_A_MINUTE


class Wire(Line):
    """The streams of one route, kept on; what is missed between two connections is declared."""

    def __init__(
        self,
        route: Route,
        intake: Intake,
        network: Network,
        clock: Clock,
        *,
        note: Callable[[str, dict[str, Any]], object],
        limits: Limits,
    ) -> None:
        super().__init__(
            route,
            intake.venue,  # type: ignore[arg-type]
            network,
            clock,
            hear=lambda event: None,
            note=self._noted,
            stale_us=int(limits.silence * 1e6),
            limits=limits,
        )
        self.intake, self._say = intake, note
        self.socket: aiohttp.ClientWebSocketResponse | None = None
        for name in route.streams:
            self.streams[name] = intake.named(name).health

    def _begin(self, links: dict[Link, asyncio.Task[None]]) -> Link:
        link = Tap(self)
        others = [other for other in links if isinstance(other, Tap)]
        if others:
            self.intake.pair(others[-1].counters, link.counters)
        links[link] = asyncio.create_task(link.run(), name=f"link {self.route.name}")
        return link

    async def _hand_over(
        self, link: Link, links: dict[Link, asyncio.Task[None]], pauses: Pauses
    ) -> Link:
        fresh = await super()._hand_over(link, links, pauses)
        if fresh is not link and isinstance(link, Tap) and isinstance(fresh, Tap):
            self.intake.handed_over(link.counters, fresh.counters)
        return fresh

    def _noted(self, kind: str, body: dict[str, Any]) -> None:
        """Turn what befalls the connection into gaps, then say it."""
        if kind == "reconnect" and not body["planned"]:
            for name in self.route.streams:
                self.intake.miss(self.intake.named(name), f"connection lost: {body['why']}"[:200])
        elif kind == "stale":
            for name in body["streams"]:
                known = self.intake.named(name)
                self.intake.miss(known, f"silent for {body['silent_s']} s on {self.route.name}")
        elif kind == "alarm" and body["what"] == "refused":
            for name in body.get("streams", ()):  # none: the connection itself was refused
                self.intake.miss(self.intake.named(name), f"refused: {body['why']}"[:200])
        self._say(kind, body)
