"""The ledger of gaps: every span of receipt in which the book is not proven, and why.

Two views of one fact. A state's `proven` is what was known when it was heard. The ledger looks
back: where an update turns out to be missing, the gap begins with the last message before it, for
whatever is missing was sent after that one.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from research import schema
from research.order_book import chain
from research.order_book.core import Found

SILENCE_NS = 10_000_000_000
"""Silence after which a book counts as unproven, though its chain may go on later."""
_WHY = {
    chain.BEFORE: "no snapshot yet",
    chain.CHAIN: "chain broken",
    chain.RESET: "sequence reset",
    chain.CONNECTION: "new connection",
}
SILENT, CROSSED = "silence", "crossed"


class Ledger:
    """Gaps of one symbol's book while its messages are heard."""

    def __init__(self, silence_ns: int = SILENCE_NS) -> None:
        self._silence = silence_ns
        self._rows: list[tuple[int, int | None, str, int | None]] = []
        self._open: tuple[int, str, int | None] | None = None
        self._chained_ns = 0
        self.first_ns: int | None = None
        self.last_ns = 0

    def hear(self, received: np.ndarray, found: Found) -> None:
        """Take what was found at messages, in the order of their receipt."""
        if not len(received):
            return
        if self.first_ns is None:
            self.first_ns = self.last_ns = self._chained_ns = int(received[0])
            self._open = (self.first_ns, _WHY[chain.BEFORE], None)
        before = np.append(self.last_ns, received)
        silent = np.diff(before) > self._silence
        turns = np.diff(np.append(self._open is None, found.proven).astype(np.int8)) != 0
        chained = np.maximum.accumulate(np.where(found.advanced, received, self._chained_ns))
        chained = np.append(self._chained_ns, chained)
        for i in np.flatnonzero((found.why != chain.FINE) | silent | turns):
            if silent[i] and self._open is None:
                self._rows.append((int(before[i]) + self._silence, int(received[i]), SILENT, None))
            self._turn(int(received[i]), int(chained[i]), found, int(i))
        self.last_ns, self._chained_ns = int(received[-1]), int(chained[-1])

    def _turn(self, received: int, chained: int, found: Found, i: int) -> None:
        """Open or close a gap at message i."""
        why, proven = int(found.why[i]), bool(found.proven[i])
        if self._open is None and (why != chain.FINE or not proven):
            lost = int(found.lost[i]) if found.lost[i] >= 0 else None
            start = received if why == chain.FINE else chained
            self._open = (start, _WHY.get(why, CROSSED), lost)
        if self._open is not None and proven:
            start, reason, lost = self._open
            if received > start or reason != _WHY[chain.BEFORE]:  # a stream may start with a proof
                self._rows.append((start, received, reason, lost))
            self._open = None

    def table(self, symbol: str, declared: pl.DataFrame | None = None) -> pl.DataFrame:
        """Return the gaps so far as `schema.GAPS`; one that still lasts has no end."""
        rows = [*self._rows]
        if self._open is not None:
            start, reason, lost = self._open
            rows.append((start, None, reason, lost))
        own = pl.DataFrame(
            [(symbol, "depth", *row) for row in rows], schema=schema.GAPS, orient="row"
        )
        return own if declared is None else pl.concat([own, declared]).sort("start_ns")


def declared_for(gaps: pl.DataFrame, symbol: str) -> pl.DataFrame:
    """Return the gaps that a recorder declared of one symbol's book.

    Parameters
    ----------
    gaps : pl.DataFrame
        As `schema.GAPS`. A null symbol or stream speaks of all; of the streams those of the book
        are taken, by the venues' names: ``...@depth...``, ``orderbook...``, ``depth``.
    """
    ours = pl.col("symbol").is_null() | (pl.col("symbol") == symbol)
    book = pl.col("stream").is_null() | pl.col("stream").str.contains("depth|orderbook|^$")
    return gaps.filter(ours & book).select(schema.GAPS.keys())


def inside(gaps: pl.DataFrame, moments_ns: np.ndarray) -> np.ndarray:
    """Say which moments of receipt lie in a gap, from its start to before its end.

    Examples
    --------
    >>> rows = [("A", "depth", 10, 20, "silence", None), ("A", "depth", 30, None, "silence", None)]
    >>> gaps = pl.DataFrame(rows, schema=schema.GAPS, orient="row")
    >>> inside(gaps, np.array([9, 10, 19, 20, 99])).tolist()
    [False, True, True, False, True]
    """
    found = np.zeros(len(moments_ns), bool)
    for start, end in gaps.select("start_ns", "end_ns").iter_rows():
        found |= (moments_ns >= start) & ((end is None) | (moments_ns < (end or 0)))
    return found


def coverage(gaps: pl.DataFrame, first_ns: int, last_ns: int) -> float:
    """Return the share of a span of receipt that lies in no gap.

    Parameters
    ----------
    gaps : pl.DataFrame
        As `schema.GAPS`; they may overlap.
    first_ns, last_ns : int
        Receipt of the first and the last message. A span of no length is covered where it lies in
        no gap.

    Examples
    --------
    >>> rows = [("A", "depth", 0, 20, "silence", None), ("A", "depth", 10, 50, "silence", None)]
    >>> coverage(pl.DataFrame(rows, schema=schema.GAPS, orient="row"), 0, 100)
    0.5
    """
    if last_ns <= first_ns:
        return 0.0 if bool(inside(gaps, np.array([first_ns]))[0]) else 1.0
    missing, reached = 0, first_ns
    for start, end in gaps.sort("start_ns").select("start_ns", "end_ns").iter_rows():
        low, high = max(start, reached), min(last_ns if end is None else end, last_ns)
        if high > low:
            missing, reached = missing + high - low, high
    return 1.0 - missing / (last_ns - first_ns)
