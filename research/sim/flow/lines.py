"""A connection that sends thousands of frames a second and notes each as it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from aiohttp import web

from research.sim.faults import Fault, Plan
from research.sim.flow.faults import bodies
from research.sim.lines import QUEUE, Action, Line, Tell, frame_of
from research.sim.wire import Frame, messages, text_of

AT_ONCE = 256
"""Frames that go to the socket in one piece."""
FULL = 1 << 20
"""Bytes that may wait in the socket before the next piece."""


class FlowLine(Line):
    """A connection that sends in order, and tells what left it when it left.

    Parameters
    ----------
    name, request, opened, tell
        As `Line` has them.
    """

    def __init__(self, name: str, request: web.Request, opened: int, tell: Tell) -> None:
        super().__init__(name, request, opened, tell)
        self._batch: list[tuple[str, str]] | None = None
        self._waiting = 0
        self.count = 0
        """Frames of streams that left."""

    @property
    def behind(self) -> int:
        """Frames and other things that wait to be sent."""
        return self._queue.qsize() + self._waiting

    def send(self, text: str, stream: str) -> None:
        """Queue a frame that no fault befell."""
        if self._waiting >= QUEUE:
            self.stop()
            return
        if self._batch is None:
            batch: list[tuple[str, str]] = []
            super()._put(lambda: self._write_all(batch))
            self._batch = batch
        self._batch.append((text, stream))
        self._waiting += 1

    def _put(self, action: Action) -> None:
        """Queue anything else, behind what waits."""
        self._batch = None
        super()._put(action)

    def _text(self, text: str | bytes, stream: str, kinds: tuple[str, ...]) -> None:
        self._put(lambda: self._told(text, stream, kinds))

    async def _told(self, text: str | bytes, stream: str, kinds: tuple[str, ...]) -> None:
        await self._write(text)
        shown = text if isinstance(text, str) else text.hex()
        self.count += bool(stream)
        self._tell("frame", line=self.name, stream=stream, text=shown, faults=kinds)

    async def _write_all(self, ready: list[tuple[str, str]]) -> None:
        """Write frames in few pieces; what comes from here on goes into the next batch."""
        if self._batch is ready:
            self._batch = None
        self._waiting -= len(ready)
        for first in range(0, len(ready), AT_ONCE):
            part = ready[first : first + AT_ONCE]
            transport = self._request.transport
            if transport is None or self.muted:
                return
            self._raw(b"".join(frame_of(text.encode()) for text, _ in part))
            self.count += len(part)
            for text, stream in part:
                self._tell("frame", line=self.name, stream=stream, text=text, faults=())
            while transport.get_write_buffer_size() > FULL and not transport.is_closing():
                await asyncio.sleep(0.001)

    def _texts(
        self, frame: Frame, wrap: Callable[[dict[str, Any]], Any], hits: list[Fault], plan: Plan
    ) -> list[str | bytes]:
        """Return what goes out for a frame, after its faults."""
        kinds = "|".join(fault.kind for fault in hits)
        draws = plan.draw(f"{frame.stream}|{frame.bar}|{kinds}") if hits else Random(0)
        parts = [frame.body]
        for fault in hits:
            made = [bodies(frame._replace(body=part), fault, draws) for part in parts]
            parts = [
                b for part, more in zip(parts, made) for b in ([part] if more is None else more)
            ]
        texts: list[str | bytes] = [text_of(wrap(part)) for part in parts]
        for fault in hits:
            texts = [m for text in texts for m in messages(text, fault, draws)]
        return texts
