"""One WebSocket connection of a client: what it asked for, and a queue of what it gets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from time import monotonic
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from research.sim.faults import Fault, Plan
from research.sim.wire import Frame, bodies, messages, text_of

Action = Callable[[], Awaitable[None]]
Out = tuple[str | bytes, str, tuple[str, ...]]
"""Text, stream, faults."""
QUEUE = 20_000
"""Messages a client may be behind; a slower one is cut off."""
TWICE = ("revised", "stale_partial")
"""Faults that send a second frame of the bar; `us` says how much later."""
CLOSED_UNSAID = 1006
"""A code no peer may send: the connection just ends."""


class Tell(Protocol):
    """Where a line writes what it sent."""

    def __call__(self, kind: str, **what: Any) -> None:
        """Log one thing."""


class Line:
    """A connection that sends in order, whatever becomes of it.

    Parameters
    ----------
    name : str
        Number of the connection, in order of arrival.
    request : web.Request
        The handshake.
    opened : int
        Moment of the handshake, microseconds UTC.
    tell : callable
        The log of everything sent.
    """

    def __init__(self, name: str, request: web.Request, opened: int, tell: Tell) -> None:
        self.name, self.opened, self._tell = name, opened, tell
        self.host = request.host.partition(":")[0]
        self.path = request.path
        self.streams: dict[str, None] = {}
        self.pinged = opened
        self.muted = False
        self.ws = web.WebSocketResponse(compress=False, max_msg_size=1 << 20)
        self._request = request
        self._queue: asyncio.Queue[Action] = asyncio.Queue()
        self._held: list[Out] = []
        self._asked: list[float] = []

    async def run(self, hear: Callable[[Line, str], None]) -> web.WebSocketResponse:
        """Shake hands, then send and hear until either side has enough."""
        await self.ws.prepare(self._request)
        sending = asyncio.create_task(self._send())
        try:
            async for message in self.ws:
                if message.type == WSMsgType.TEXT:
                    hear(self, message.data)
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
        return self.ws

    def too_fast(self, most: int) -> bool:
        """Count a message of the client; return whether it sent more than `most` in a second."""
        now = monotonic()
        self._asked = [t for t in self._asked if t > now - 1] + [now]
        return len(self._asked) > most

    def say(self, body: Any) -> None:
        """Answer the client; no fault befalls an answer."""
        self._text(text_of(body), "", ())

    def close(self, code: int, why: str = "") -> None:
        """End the connection with a code; 1006 ends it without a word."""
        self._tell("close", line=self.name, code=code, why=why)
        self._put(lambda: self._close(code, why))

    def ping(self, now: int) -> None:
        """Send a ping."""
        self.pinged = now
        self._put(lambda: self.ws.ping(b"%d" % (now // 1000)))

    def stop(self) -> None:
        """Cut the connection off."""
        if (transport := self._request.transport) is not None:
            transport.abort()

    def deliver(
        self, frame: Frame, wrap: Callable[[dict[str, Any]], Any], hits: list[Fault], plan: Plan
    ) -> list[tuple[int, Callable[[], None]]]:
        """Queue a frame as its faults leave it; return what must be done so much later."""
        kinds = tuple(fault.kind for fault in hits)
        texts = self._texts(frame, wrap, hits, plan)
        if ender := next((f for f in hits if f.kind in ENDERS), None):
            self._tell("frame", line=self.name, stream=frame.stream, text=None, faults=kinds)
            self._put(lambda: ENDERS[ender.kind](self, texts, ender))
            return []
        outs = [(text, frame.stream, kinds) for text in texts]
        late: list[tuple[int, Callable[[], None]]] = []
        after = next((f.args["us"] for f in hits if f.kind in TWICE and "us" in f.args), None)
        if after is not None and len(outs) > 1:
            second = [outs.pop()]
            late = [(after, lambda: self._all(second))]
        if delay := next((f for f in hits if f.kind == "delay"), None):
            return [(int(delay.args.get("us", 1_000_000)), lambda: self._all(outs)), *late]
        if "reorder" in kinds:
            self._held += outs
        elif outs:
            outs, self._held = [*outs, *self._held], []
            self._all(outs)
        else:
            self._tell("frame", line=self.name, stream=frame.stream, text=None, faults=kinds)
        return late

    def _texts(
        self, frame: Frame, wrap: Callable[[dict[str, Any]], Any], hits: list[Fault], plan: Plan
    ) -> list[str | bytes]:
        """Return what goes out for a frame, after its faults."""
        kinds = "|".join(fault.kind for fault in hits)
        draws = plan.draw(f"{frame.stream}|{frame.time}|{kinds}") if hits else Random(0)
        parts = [frame.body]
        for fault in hits:
            made = bodies(frame, fault, draws) if parts else []
            parts = parts if made is None else made
        texts: list[str | bytes] = [text_of(wrap(part)) for part in parts]
        for fault in hits:
            texts = [m for t in texts for m in messages(t, fault, draws)]
        return texts

    def _all(self, outs: list[Out]) -> None:
        for out in outs:
            self._text(*out)

    def _text(self, text: str | bytes, stream: str, kinds: tuple[str, ...]) -> None:
        shown = text if isinstance(text, str) else text.hex()
        self._tell("frame", line=self.name, stream=stream, text=shown, faults=kinds)
        self._put(lambda: self._write(text))

    def _put(self, action: Action) -> None:
        if self._queue.qsize() >= QUEUE:
            self.stop()
            return
        self._queue.put_nowait(action)

    async def _send(self) -> None:
        with suppress(ConnectionError, RuntimeError):
            while True:
                action = await self._queue.get()
                if not self.muted:
                    await action()

    async def _write(self, text: str | bytes) -> None:
        if isinstance(text, bytes):
            self._raw(frame_of(text[1:], opcode=text[0]))
        else:
            await self.ws.send_str(text)

    def _raw(self, data: bytes) -> None:
        if (transport := self._request.transport) is not None:
            transport.write(data)

    async def _close(self, code: int, why: str) -> None:
        self.muted = True
        if code == CLOSED_UNSAID:
            self.stop()
        else:
            await self.ws.close(code=code, message=why.encode())

    async def _end(self, texts: list[str | bytes], fault: Fault) -> None:
        await self._close(int(fault.args.get("code", 1001)), "fault")

    async def _reset(self, texts: list[str | bytes], fault: Fault) -> None:
        """End with RST, in the middle of a frame if the plan wants it."""
        self.muted = True
        transport = self._request.transport
        if transport is None:
            return
        if fault.args.get("mid_frame") and texts:
            whole = frame_of(_bytes(texts[0]))
            self._raw(whole[: len(whole) // 2])
            await asyncio.sleep(0.01)
        if (raw := transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    async def _half_open(self, texts: list[str | bytes], fault: Fault) -> None:
        """Neither read nor write any more, as a peer behind a dead network; gone in the end."""
        self.muted = True
        transport = self._request.transport
        if isinstance(transport, asyncio.ReadTransport):
            transport.pause_reading()
        seconds = float(fault.args.get("seconds", 60))
        asyncio.get_running_loop().call_later(seconds, self.stop)

    async def _slowly(self, texts: list[str | bytes], fault: Fault) -> None:
        """Send the frame byte by byte; whatever comes after it waits."""
        pause = float(fault.args.get("seconds", 1.0))
        for text in texts:
            for byte in frame_of(_bytes(text)):
                self._raw(bytes([byte]))
                await asyncio.sleep(pause)


ENDERS: dict[str, Callable[[Line, list[str | bytes], Fault], Awaitable[None]]] = {
    "rst": Line._reset,
    "close": Line._end,
    "half_open": Line._half_open,
    "slowloris": Line._slowly,
}


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text[1:]


def frame_of(data: bytes, opcode: int = 1) -> bytes:
    """Write one WebSocket frame of a server, as RFC 6455 has it.

    >>> frame_of(b"hi")
    b'\\x81\\x02hi'
    """
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 127, size)
    return head + data
