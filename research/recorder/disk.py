"""The writing thread: segments and ledger go to the disk here, so that the sockets never wait.

What is handed over waits in memory, up to a bound that its owner keeps; whatever the thread could
not write it still knows, so that it can be declared message by message.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

import numpy as np

from research.sources.recordings import segments
from research.sources.recordings.segments import RECORD, Writer

SYNC_SECONDS = 0.6
"""With the quarter of a second that frames wait to become a block: less than a second in all."""
SYNC_BYTES = 4 << 20
_RESERVE = 1 << 16


class Disk:
    """One thread that writes what it is given, in order.

    Parameters
    ----------
    folder : Path
        The recording's.
    name : callable
        Gives the next segment's name and facts.
    closed : callable
        Told, on the thread, of each segment that is complete.
    failed : callable
        Told, on the thread and once, that the disk refused.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: Callable[[], tuple[str, dict[str, Any]]],
        closed: Callable[[Path], object],
        failed: Callable[[Exception], object],
    ) -> None:
        self._folder, self._name, self._closed, self._failed = folder, name, closed, failed
        self._queue: SimpleQueue[tuple[str, int, Any]] = SimpleQueue()
        self._reserve = folder / ".reserve"
        self._reserve.write_bytes(bytes(_RESERVE))
        self._ledger = os.open(
            folder / segments.LEDGER, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644
        )
        os.write(self._ledger, segments.new_line(self._ledger))
        self._segment: Writer | None = None
        self._taken = 0
        self._given = 0
        self._unsynced, self._synced = 0, time.monotonic()
        self.written = 0
        """Bytes of segments on disk, of this session."""
        self.records = 0
        """Frames in them."""
        self.last_ns = 0
        """When the last of them was received."""
        self.synced_ns = 0
        """When the last of those was received that are on the disk itself for certain."""
        self.failure: Exception | None = None
        self.unwritten: dict[int, list[int]] = {}
        """Of frames that could not be written, by stream: how many, first and last receipt."""
        self.doubtful: dict[int, tuple[int, int]] = {}
        """Of frames that were written but could not be synced: first and last receipt."""
        self._unproven: dict[int, tuple[int, int]] = {}  # written, and not synced yet
        self._thread = Thread(target=self._run, name="recorder disk", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Bytes handed over and not yet dealt with."""
        return self._given - self._taken

    @property
    def segment_bytes(self) -> int:
        """Size of the segment that is being written."""
        segment = self._segment
        return 0 if segment is None else segment.size

    def put(self, count: int, body: bytearray) -> None:
        """Hand over a block of frames."""
        self._given += len(body)
        self._queue.put(("block", count, body))

    def line(self, text: bytes) -> None:
        """Hand over a line of the ledger."""
        self._queue.put(("line", 0, text))

    def rotate(self) -> None:
        """Have what was handed over so far closed, and a new segment begun with what follows."""
        self._queue.put(("rotate", 0, b""))

    def settle(self) -> None:
        """Return when all that was handed over is dealt with."""
        done = Event()
        self._queue.put(("settle", 0, done))
        done.wait()

    def end(self) -> None:
        """Return when all is written and closed, or cannot be."""
        self._queue.put(("end", 0, b""))
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                word, count, body = self._queue.get(timeout=SYNC_SECONDS / 4)
            except Empty:
                word, count, body = "", 0, b""
            try:
                self._do(word, count, body)
            except Exception as error:  # whatever it is: who waits for this thread must not hang
                self._fail(error, word, body)
            if word == "block":
                self._taken += len(body)
            if word == "settle":
                body.set()
            if word == "end":
                os.close(self._ledger)
                self._reserve.unlink(missing_ok=True)
                return

    def _do(self, word: str, count: int, body: Any) -> None:
        if word == "line":
            os.write(self._ledger, body)
            os.fdatasync(self._ledger)
        elif word == "block":
            self._block(count, body)
        elif word in ("rotate", "end"):
            self._close()
        due = self._unsynced >= SYNC_BYTES or time.monotonic() - self._synced >= SYNC_SECONDS
        if self._unsynced and due:
            self._sync()

    def _block(self, count: int, body: bytearray) -> None:
        if self.failure is not None:
            self._miss(count, body)
            return
        try:
            self._append(count, body)
        except Exception:
            self._miss(count, body)
            raise
        for stream, (_, first, last) in _spans(count, body).items():
            self._unproven[stream] = (self._unproven.get(stream, (first, 0))[0], last)

    def _append(self, count: int, body: bytearray) -> None:
        if self._segment is None:
            name, facts = self._name()
            place = self._folder / "segments" / f"{name}{segments.SUFFIX}"
            self._segment = Writer(place, facts)
        size = self._segment.append(count, body)
        self.written += size
        self.records += count
        self._unsynced += size
        self.last_ns = int(np.frombuffer(body, RECORD, 1, (count - 1) * RECORD.itemsize)[0][0])

    def _sync(self) -> None:
        self._unsynced, self._synced = 0, time.monotonic()
        if self._segment is not None:
            self._prove(self._segment.sync)

    def _close(self) -> None:
        if self._segment is not None:
            segment, self._segment = self._segment, None
            self._unsynced = 0
            self._prove(segment.close)
            self._closed(segment.path)

    def _prove(self, sync: Callable[[], object]) -> None:
        """Sync; what that fails for stays doubtful: a system says so once, then forgets it."""
        try:
            sync()
        except OSError:
            for stream, (first, last) in self._unproven.items():
                self.doubtful[stream] = (self.doubtful.get(stream, (first, 0))[0], last)
            raise
        finally:
            self._unproven = {}
        if not self.doubtful:
            self.synced_ns = self.last_ns

    def _fail(self, error: Exception, word: str, body: Any) -> None:
        """Keep what is written, and make room for the ledger."""
        with suppress(OSError):
            self._reserve.unlink(missing_ok=True)
        if word == "line":
            with suppress(OSError):
                self._do(word, 0, body)
        if self.failure is None:
            self.failure = error
            self._failed(error)

    def _miss(self, count: int, body: bytearray) -> None:
        for stream, (frames, first, last) in _spans(count, body).items():
            found = self.unwritten.setdefault(stream, [0, first, 0])
            found[0] += frames
            found[2] = last


def _spans(count: int, body: bytearray) -> dict[int, tuple[int, int, int]]:
    """Return of each stream in a block how many frames, and their first and last receipt."""
    records = np.frombuffer(body, RECORD, count)
    found = {}
    for stream in np.unique(records["stream"]).tolist():
        times = records["received_ns"][records["stream"] == stream]
        found[stream] = (len(times), int(times[0]), int(times[-1]))
    return found
