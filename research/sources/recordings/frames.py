"""Frames: single messages as they came, many in one buffer, and how a text is cut into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

CHUNK = 4 << 20
"""Bytes decoded at a time: what a decoder holds beside its result grows with this alone."""
GIANT = 16 << 20
"""Bytes beyond which one line is no message of any venue."""
PAD = b"\n" * 8
"""Stands behind the last frame of a buffer: readers look a few bytes ahead."""
NOT_KNOWN = -1
"""Stands for null among whole numbers until a table is made: no venue writes one below zero."""


class Frames(NamedTuple):
    """Some frames in the order of their receipt."""

    buffer: np.ndarray
    """Bytes of all frames, shape (n_bytes,) of uint8."""
    starts: np.ndarray
    """Where each begins, shape (n_frames,) of int64."""
    ends: np.ndarray
    """The place of the byte after its last."""
    received_ns: np.ndarray
    """By the clock of whoever received them, nanoseconds since 1970; `NOT_KNOWN` is a bad line."""
    connection: np.ndarray
    """Which connection brought it, shape (n_frames,) of int32."""

    def text(self, i: int) -> bytes:
        """Return the bytes of frame `i`."""
        return self.buffer[self.starts[i] : self.ends[i]].tobytes()


def batches(frames: Iterable[tuple[int, int, bytes]]) -> Iterator[Frames]:
    """Put frames ``(received_ns, connection, bytes)`` into buffers of about `CHUNK` bytes."""
    held: list[tuple[int, int, bytes]] = []
    size = 0
    for frame in frames:
        held.append(frame)
        size += len(frame[2])
        if size >= CHUNK:
            yield _joined(held)
            held, size = [], 0
    if held:
        yield _joined(held)


def _joined(held: list[tuple[int, int, bytes]]) -> Frames:
    received, connection, texts = zip(*held, strict=True)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    ends = np.cumsum(lengths + 1) - 1
    buffer = np.frombuffer(b"\n".join(texts) + PAD, np.uint8)
    return Frames(
        buffer,
        ends - lengths,
        ends,
        np.array(received, np.int64),
        np.array(connection, np.int32),
    )


def lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream of bytes where lines end: each piece is whole lines, the last one ended too.

    A line longer than `GIANT` is handed on cut short, so that it is one that cannot be read.
    """
    held: list[bytes] = []
    size = 0
    for block in blocks:
        last = block.rfind(b"\n")
        if last < 0:
            if size < GIANT:
                held.append(block)
            size += len(block)
            continue
        ended = memoryview(block)[: last + 1]
        yield b"".join([*held, ended, PAD]) if size < GIANT else _cut(held, block, last)
        held, size = [block[last + 1 :]], len(block) - last - 1
    rest = b"".join(held)
    if rest:
        yield rest + b"\n" + PAD


def _cut(held: list[bytes], block: bytes, last: int) -> bytes:
    first = block.find(b"\n")
    return held[0][:64] + block[first : last + 1] + PAD


def stamped(piece: bytes) -> Frames:
    """Read lines of ``<nanoseconds> <frame>`` as frames of one connection, without empty lines."""
    buffer, starts, ends = _lines_of(piece)
    received = np.empty(len(starts), np.int64)
    _compiled_stamps()(buffer, starts, received)
    return Frames(buffer, starts, ends, received, np.zeros(len(starts), np.int32))


def bare(piece: bytes) -> Frames:
    """Read lines that are frames and nothing else; when they were received is not known."""
    buffer, starts, ends = _lines_of(piece)
    zeros = np.zeros(len(starts), np.int64)
    return Frames(buffer, starts, ends, zeros, zeros.astype(np.int32))


def _lines_of(piece: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    buffer = np.frombuffer(piece, np.uint8)
    ends = np.flatnonzero(buffer == 10)
    starts = np.concatenate([[0], ends[:-1] + 1])
    ends -= (ends > starts) & (buffer[ends - 1] == 13)
    full = ends > starts
    return buffer, starts[full], ends[full]


@cache
def _compiled_stamps() -> Any:
    from research.steps import compiled

    return compiled(_stamps)


def _stamps(buffer: Any, starts: Any, received: Any) -> None:
    """Read the number before the first blank of each line, and let the line start behind it."""
    for i in range(len(starts)):
        at, value = starts[i], np.int64(0)
        while 48 <= buffer[at] <= 57 and at - starts[i] < 19:
            value = 10 * value + (np.int64(buffer[at]) - 48)
            at += 1
        # nineteen digits may pass the largest whole number, and come out below zero
        if at > starts[i] and value >= 0 and buffer[at] == 32:
            received[i] = value
            starts[i] = at + 1
        else:
            received[i] = -1
