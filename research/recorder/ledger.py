"""The gap ledger: every span in which something is, or may be, missing, as lines on the disk.

A line is written when a gap is found, again when it ends, and again when it turns out smaller; the
last line of a number counts. Nobody waits for the disk: lines are handed to the writing thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Line = dict[str, Any]


class Ledger:
    """Numbered gaps.

    Parameters
    ----------
    write : callable
        Given each line, as bytes that end with a newline.
    first : int
        Number of the next gap: those of earlier sessions go on.
    opened : dict, optional
        Lines of gaps of earlier sessions that had not ended, by number.

    Examples
    --------
    >>> lines = []
    >>> ledger = Ledger(lines.append, 0)
    >>> gap = ledger.open("BTCUSDT", "btcusdt@trade", 5, "connection lost")
    >>> ledger.close(gap, 9, lost=2)
    >>> len(lines), ledger.lost, ledger.number, ledger.opened
    (2, 2, 1, 0)
    """

    def __init__(
        self, write: Callable[[bytes], object], first: int, opened: dict[int, Line] | None = None
    ) -> None:
        self._write, self._next = write, first
        self._open: dict[int, Line] = dict(opened or {})
        self.number = 0
        """Gaps of this session."""
        self.lost = 0
        """Messages known to be missing in it."""

    def settle(self, end_ns: int, heard: dict[str, int]) -> dict[str, int]:
        """End open gaps of earlier sessions: others begin where each stream was last heard.

        Parameters
        ----------
        end_ns : int
            Where they end.
        heard : dict
            By stream, its last receipt: a gap that began before goes on, for nothing came since.

        Returns
        -------
        dict
            By stream, the number of the gap that goes on.
        """
        going: dict[str, int] = {}
        for number, line in list(self._open.items()):
            stream, start = line["stream"], line["start_ns"]
            if stream is not None and stream not in going and start <= heard.get(stream, start):
                going[stream] = number
            else:
                self.close(number, max(end_ns, start))
        return going

    @property
    def opened(self) -> int:
        """Gaps that have not ended."""
        return len(self._open)

    def open(self, symbol: str | None, stream: str | None, start_ns: int, reason: str) -> int:
        """Write that something may be missing from `start_ns` on, and return the gap's number."""
        number, self._next = self._next, self._next + 1
        line = {"gap": number, "symbol": symbol, "stream": stream, "start_ns": start_ns}
        self._open[number] = line | {"end_ns": None, "reason": reason, "lost": None}
        self.number += 1
        self._put(self._open[number])
        return number

    def close(self, number: int, end_ns: int, lost: int | None = None) -> None:
        """Write that the gap ended at `end_ns`, and how many messages it swallowed, if known."""
        line = self._open.pop(number)
        self.lost += lost or 0
        self._put(line | {"end_ns": end_ns, "lost": lost})

    def declare(
        self,
        symbol: str | None,
        stream: str | None,
        start_ns: int,
        end_ns: int,
        reason: str,
        lost: int | None,
    ) -> Line:
        """Write a gap that is over, and return its line."""
        number = self.open(symbol, stream, start_ns, reason)
        line = self._open[number] | {"end_ns": end_ns, "lost": lost}
        self.close(number, end_ns, lost)
        return line

    def less(self, line: Line) -> None:
        """Write that one message of a declared gap came after all."""
        line["lost"] -= 1
        self.lost -= 1
        self._put(line)

    def _put(self, line: Line) -> None:
        self._write(json.dumps(line).encode() + b"\n")
