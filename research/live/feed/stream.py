"""Connections that are always on: watched, renewed before the venue cuts them, never trusted."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import WSMsgType

from research.live.clock import Clock
from research.live.feed.limits import Limits, Pauses
from research.live.feed.records import Bad, Depth, Event, Print, Reply, Route, Seen, Venue
from research.live.feed.waiting import end, first
from research.live.net import Network

Note = Callable[[str, dict[str, Any]], object]
_BAD_A_MINUTE = 100
_POLICY = 1008
_STRIKES = 4
_STEADY = 5.0  # real seconds after which a connection counts as having worked
_BEAT = 20.0
_BLINK = 0.5  # real seconds a stream is always given: market time may fly


@dataclass
class Stream:
    """What is known of one stream's health."""

    name: str
    state: str = "connecting"
    """``connecting``, ``live``, ``stale``, ``down``, or ``refused`` by the venue."""
    last_us: int = 0
    """When its newest message came, by the clock."""
    messages: int = 0
    reconnects: int = 0
    rejected: int = 0
    heard: float = 0.0
    pause: float = 0.0
    pause_us: float = 0.0
    strikes: int = 0

    def hear(self, now: int) -> None:
        """Count a message, and learn how far apart they are."""
        at = time.monotonic()
        if self.messages:
            self.pause += 0.2 * (at - self.heard - self.pause)
            self.pause_us += 0.2 * (now - self.last_us - self.pause_us)
        self.messages += 1
        self.last_us, self.heard, self.strikes, self.state = now, at, 0, "live"

    def silent(self, now: int, *, silence: float, stale_us: int) -> bool:
        """Return whether it should have spoken: by market time, or by the real one.

        Real seconds count only while market time passes too. Each time a new connection did not
        help, it is given twice as long: a thin market is not a broken one.
        """
        more = 2**self.strikes
        real, market = time.monotonic() - self.heard, now - self.last_us
        by_market = market >= more * max(stale_us, 3 * self.pause_us) and real >= more * _BLINK
        by_real = real >= more * max(silence, 3 * self.pause) and market >= silence * 1e6
        return by_market or by_real


class Link:
    """One connection, from its opening to its end."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.born = line.clock.now()
        self.began = time.monotonic()
        self.why = "the connection ended"
        self.full = asyncio.Event()
        """Set when each stream was heard on it."""
        self._heard: set[str] = set()
        self._last = self.began
        self._bad: list[float] = []

    async def run(self) -> None:
        """Connect, ask for the streams, and hand over what comes until the end, told in `why`."""
        line, limits = self._line, self._line.limits
        try:
            async with asyncio.timeout(limits.connect):
                socket = await line.network.session().ws_connect(
                    line.route.url,
                    autoping=False,
                    max_msg_size=limits.frame,
                    timeout=aiohttp.ClientWSTimeout(ws_close=0.5),
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.why = f"no connection: {type(error).__name__} {error}".strip()[:200]
            return
        jobs = (self._listen(socket), self._watch(socket))
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            await first(tasks=tasks)
            self.why = next(task.result() for task in tasks if task.done())
        finally:
            await end(tasks)
            await socket.close()

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        try:
            for text in self._line.route.hello:
                await socket.send_str(text)
            self._last = time.monotonic()
            self._line.tell_open()
            while True:
                message = await socket.receive()
                self._last = time.monotonic()
                if message.type is WSMsgType.TEXT:
                    if not self._hear(message.data):
                        return f"more than {_BAD_A_MINUTE} bad records in a minute"
                elif message.type is WSMsgType.PING:
                    await socket.pong(message.data)
                elif message.type is WSMsgType.BINARY:
                    self._line.take(Bad("", "a binary frame", message.data[:100].hex()))
                elif message.type is not WSMsgType.PONG:
                    return self._end(socket)
        except (aiohttp.ClientError, OSError) as error:
            return f"{type(error).__name__} {error}".strip()[:200]

    def _hear(self, text: str) -> bool:
        """Hand over what a frame says; False when too much of it was bad."""
        for event in self._line.venue.read(text):
            self._line.take(event)
            if isinstance(event, (Seen, Print, Depth)):
                self._heard.add(event.stream)
            elif isinstance(event, Bad):
                self._bad = [t for t in self._bad if t > self._last - 60] + [self._last]
        if len(self._heard) == len(self._line.streams):
            self.full.set()
        return len(self._bad) <= _BAD_A_MINUTE

    def _end(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        code, fault = socket.close_code, socket.exception()
        if code == _POLICY:
            self._line.note(
                "alarm",
                {"what": "refused", "route": self._line.route.name, "why": "close code 1008"},
            )
        return f"closed with code {code}" + (f": {fault}"[:160] if fault else "")

    async def _watch(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        """Ping, and end the connection that does not even answer that."""
        limits = self._line.limits
        pinged = beaten = looked = time.monotonic()
        while True:
            await asyncio.sleep(limits.tick)
            now = time.monotonic()
            if now - looked > limits.tick + 1.0:
                self._last = now  # it was us who did not listen
            looked = now
            if now - self._last >= limits.silence:
                return f"half-open: no frame and no pong for {now - self._last:.1f} s"
            with suppress(aiohttp.ClientError, OSError):  # the listener says why
                if now - pinged >= limits.ping:
                    pinged = now
                    await socket.ping()
                if self._line.venue.beat and now - beaten >= _BEAT:
                    beaten = now
                    await socket.send_str(self._line.venue.beat)


class Line:
    """The streams of one route, kept on by one connection after another.

    Parameters
    ----------
    route : Route
        Where to, and which streams.
    venue, network, clock
        Whose, how, and when.
    hear : callable
        Given each event that is a candle, a trade or a book, and each bad record.
    note : callable
        Told ``reconnect``, ``stale`` and ``alarm``.
    stale_us : int
        Silence of a stream, market microseconds, that is an alarm.
    """

    def __init__(
        self,
        route: Route,
        venue: Venue,
        network: Network,
        clock: Clock,
        *,
        hear: Callable[[Event], object],
        note: Note,
        stale_us: int,
        limits: Limits,
    ) -> None:
        self.route, self.venue, self.network, self.clock = route, venue, network, clock
        self.streams = {name: Stream(name) for name in route.streams}
        self.note, self.limits = note, limits
        self._hear, self._stale_us = hear, stale_us
        self._renew = asyncio.Event()
        self._why = ""
        self.opened = asyncio.Event()
        """Set, and made anew, whenever a connection opens."""

    async def run(self) -> None:
        """Keep the streams on until cancelled."""
        links: dict[Link, asyncio.Task[None]] = {}
        try:
            await first(self._watch(), self._keep(links))
        finally:
            await end(links.values())

    def take(self, event: Event) -> None:
        """Count an event and hand it on."""
        if isinstance(event, Reply):
            self._refused(event)
            return
        if (stream := self.streams.get(event.stream)) is not None:
            if isinstance(event, Bad):
                stream.rejected += 1
            else:
                stream.hear(self.clock.now())
        self._hear(event)

    async def _keep(self, links: dict[Link, asyncio.Task[None]]) -> None:
        pauses = Pauses(self.limits)
        link = self._begin(links)
        while True:
            await first(self._aged(link), tasks=[links[link]])
            if not links[link].done():
                link = await self._hand_over(link, links, pauses)
                continue
            self._lost(link, links)
            self._renew.clear()
            if link.full.is_set():  # it worked: 200 such ends in 5 min are within what venues allow
                steady = time.monotonic() - link.began >= _STEADY
                pauses.failures = 0 if steady else min(pauses.failures, 2)
            await asyncio.sleep(pauses.next())
            link = self._begin(links)

    def _begin(self, links: dict[Link, asyncio.Task[None]]) -> Link:
        link = Link(self)
        links[link] = asyncio.create_task(link.run(), name=f"link {self.route.name}")
        return link

    def tell_open(self) -> None:
        """Know that a connection opened: its streams' time to speak begins."""
        now, at = self.clock.now(), time.monotonic()
        for stream in self.streams.values():
            if stream.state in ("connecting", "down"):
                stream.state, stream.last_us, stream.heard = "connecting", now, at
        self.opened.set()
        self.opened = asyncio.Event()

    def _lost(self, link: Link, links: dict[Link, asyncio.Task[None]]) -> None:
        links.pop(link).result()  # a fault of ours must not pass for one of the network
        for stream in self.streams.values():
            stream.reconnects += 1
            if stream.state != "refused":
                stream.state = "down"
        self.note("reconnect", {"route": self.route.name, "why": link.why, "planned": False})

    async def _aged(self, link: Link) -> None:
        """Return when the connection should be replaced: it is old, or a stream is silent."""
        age = int(self.limits.renew_us * random.uniform(0.98, 1.0))
        await first(self.clock.sleep_until(link.born + age), self._renew.wait())
        if not self._renew.is_set():
            self._why = "before the venue's 24 h cut"

    async def _hand_over(
        self, link: Link, links: dict[Link, asyncio.Task[None]], pauses: Pauses
    ) -> Link:
        """Open a second connection beside the first and keep it once it speaks."""
        self._renew.clear()
        fresh = self._begin(links)
        both = [links[fresh], links[link]]
        await first(fresh.full.wait(), tasks=both, timeout=self.limits.silence)
        if links[fresh].done():  # no better than before; the old one may have ended as well
            links.pop(fresh)
            link.born = self.clock.now() - self.limits.renew_us * 97 // 100  # soon again
            await asyncio.sleep(pauses.next())
            return link
        await end([links.pop(link)])
        for stream in self.streams.values():
            stream.reconnects += 1
        self.note("reconnect", {"route": self.route.name, "why": self._why, "planned": True})
        return fresh

    async def _watch(self) -> None:
        """Look for streams that should have spoken; say so once, and ask for a new connection."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(self.limits.tick)
            at = time.monotonic()
            blocked, looked = at - looked > self.limits.tick + 1.0, at
            if blocked:  # it was us who did not listen
                for stream in self.streams.values():
                    stream.heard = max(stream.heard, at)
            self._find_silent(self.clock.now())

    def _find_silent(self, now: int) -> None:
        silence, late = self.limits.silence, []
        for stream in self.streams.values():
            up = stream.state in ("live", "stale", "connecting") and stream.heard
            if up and stream.silent(now, silence=silence, stale_us=self._stale_us):
                late.append(stream)
        if late:
            self._stale(late, now)

    def _stale(self, late: list[Stream], now: int) -> None:
        oldest = min(late, key=lambda stream: stream.last_us)
        body = {
            "route": self.route.name,
            "streams": [stream.name for stream in late],
            "silent_us": now - oldest.last_us,
            "silent_s": round(time.monotonic() - oldest.heard, 3),
        }
        self.note("stale", body)
        if any(stream.state != "stale" for stream in late):
            self.note("alarm", {"what": "silent", **body})
        for stream in late:
            stream.state = "stale"
            stream.strikes = min(_STRIKES, stream.strikes + 1)
        self._why = f"silent: {', '.join(stream.name for stream in late)}"[:200]
        self._renew.set()

    def _refused(self, reply: Reply) -> None:
        for name in reply.streams:
            self.streams[name].state = "refused"
        body = {"what": "refused", "route": self.route.name, "streams": list(reply.streams)}
        self.note("alarm", body | {"why": reply.message})
