"""Lines for a terminal that may have stopped reading: whoever writes them never waits for it.

A terminal that was stopped with ctrl-S, and a pipe that nobody empties, hold up whoever writes to
them; a run that trades must not be held up. So a thread of its own writes to them.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import threading
from collections import deque
from typing import Any

MOST = 1000
"""Lines that wait at most; those that come then are counted and left out."""
PATIENCE = 1.0
"""Seconds that the end of a run waits for what is still to be shown."""


class Terminal:
    """Shows lines, in their order, without ever making the caller wait.

    Parameters
    ----------
    stream : text file, optional
        Absent: standard error, as it is when a line is said.

    Attributes
    ----------
    lost : int
        Lines that were left out, or that nobody was there for.

    Examples
    --------
    >>> paper = io.StringIO()
    >>> Terminal(paper).say("a line")
    >>> paper.getvalue()
    'a line\\n'
    """

    def __init__(self, stream: Any = None) -> None:
        self._stream, self.lost = stream, 0
        self._waiting, self._turn = deque[tuple[int, bytes] | None](), threading.Condition()
        self._writer: threading.Thread | None = None
        self._left_out, self._closed = 0, False

    def say(self, text: str) -> None:
        """Show a line now, or as soon as the terminal takes it."""
        stream = self._stream or sys.stderr
        try:
            if not _may_wait(stream):
                stream.write(text + "\n")
                return
            said = (text + "\n").encode(stream.encoding or "utf8", "backslashreplace")
            self._queue(stream.fileno(), said)
        except (OSError, ValueError):  # the terminal is gone; the run is not
            with self._turn:
                self.lost += 1

    def flush(self, seconds: float = PATIENCE) -> None:
        """Wait until all is shown, but no longer than this."""
        with self._turn:
            self._turn.wait_for(lambda: not self._waiting, seconds)

    def close(self) -> None:
        """Show what waits, and let the writer go; whatever would wait from now on is lost."""
        self.flush()
        with self._turn:
            self._closed = True
            writer, self._writer = self._writer, None
            if writer is not None:
                self._waiting.append(None)
                self._turn.notify_all()

    def _queue(self, descriptor: int, said: bytes) -> None:
        with self._turn:
            if self._closed:  # the writer may be held up by its last line: there is no second
                self.lost += 1
                return
            if len(self._waiting) >= MOST:
                self.lost, self._left_out = self.lost + 1, self._left_out + 1
                return
            if self._left_out:
                self._waiting.append((descriptor, f"({self._left_out} lines left out)\n".encode()))
                self._left_out = 0
            self._waiting.append((descriptor, said))
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="terminal", daemon=True)
                self._writer.start()
            self._turn.notify_all()

    def _write(self) -> None:
        """Write what waits until there is a None; no lock is held while the terminal is slow."""
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._waiting)
                line = self._waiting[0]
            gone = line is not None and not _written(*line)
            with self._turn:
                self.lost += gone
                self._waiting.popleft()
                self._turn.notify_all()
            if line is None:
                return


def _may_wait(stream: Any) -> bool:
    """Return whether writing can be held up by whoever reads: a pipe, a socket or a terminal."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (AttributeError, io.UnsupportedOperation):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


def _written(descriptor: int, said: bytes) -> bool:
    """Write by the descriptor itself: a file object's lock would be held while it waits."""
    try:
        while said:
            said = said[os.write(descriptor, said) :]
    except OSError:
        return False
    return True
