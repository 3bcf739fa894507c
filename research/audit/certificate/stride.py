"""Every feature at every bar: is its value the same when the very next bar is another?

A bar t is compared after a change that begins at t + 1. One evaluation serves many bars at once: in
every stride of P bars the first few after t are changed and the rest are as they were, long enough
for a feature to forget. A value that then equals the table's, bit for bit, was made without the
true next bar. P evaluations, each begun one bar later, reach every bar.

How long a feature remembers is measured on these bars, and never trusted: whatever differs is
evaluated again on two histories that are the same up to t and differ after it. Only what differs
there is a mismatch; a feature whose memory was underestimated goes on to a longer stride, and one
that never forgets is made anew for every bar. Where that would take too long it is made anew for
bars at even distances only: a sample, which proves nothing of the bars between, and is called so.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from research import batch
from research.audit.certificate import bend
from research.audit.certificate.chunk import AHEAD, Bars, Chunk, differ
from research.audit.certificate.trial import Found, Trial, differing
from research.audit.certificate.views import Subject

LONGEST = 4096
"""Longest stride, in bars."""
_LONGER = 1.3  # times the stride, for what remembers longer than was measured
_NEAR = 0.8  # columns whose stride is at least this share of another go with it
TOLERANCE = 1e-9
"""Of a column's spread: where running sums remember a change in their last bits for ever."""
_DEARER = 3  # times the stride, up to which every last bit is waited for
_SECOND = 128  # stride with which the nearly equal begin
_ROWS = 32_768  # of one evaluation: its columns stay near the processor
_ECHOES = 8
_SINGLY = 8  # differences tried one by one before a longer stride is taken
_BEFORE_GAP = 512  # bars of history before a gap
_LISTED = 64  # mismatches after which a column is proven enough
_MOST_ROWS = 600_000_000  # made anew for what never forgets: beyond it bars are sampled
_FEWEST = 100  # moments of a sample
_APART = 2.0  # seconds of work, as guessed, from which on other processes are worth it
SAMPLED = "sampled"
"""First word of the method of a column that was not checked at every bar."""
Watch = Callable[[int, int, str], None]
_EXACT = np.zeros(1)


@dataclass(frozen=True, slots=True)
class Way:
    """How a group of columns is tried: the stride (0: each bar by itself), and what is equal."""

    stride: int
    tolerance: float


@dataclass(slots=True)
class Tally:
    """What was seen of one column."""

    way: Way
    memory: int
    near: int  # bars after which no more than the tolerance is left
    due: int  # bars that have a next one
    checked: int = 0
    mismatches: int = 0
    first: tuple[int, str] | None = None  # row of the table, and the change that moved it

    @property
    def method(self) -> str:
        """How equal was equal, or at how few bars that was asked."""
        if self.way.stride:
            return "to 1e-9" if self.way.tolerance else "bit for bit"
        if self.whole or self.mismatches > _LISTED:
            return "bar by bar"
        return f"{SAMPLED} {self.checked:,} of {self.due:,}"

    @property
    def whole(self) -> bool:
        """Whether every bar that has a next one was checked."""
        return self.checked >= self.due > 0


class Search:
    """The search over every bar of one subject.

    Parameters
    ----------
    subject : Subject
        What makes the columns.
    bars : Bars
        With the table of the subject.
    seed : int
        Of the changes.
    watch : callable, optional
        Takes (done, total, label).
    """

    def __init__(self, subject: Subject, bars: Bars, seed: int, watch: Watch | None) -> None:
        self.subject, self.bars, self.seed, self.watch = subject, bars, seed, watch
        self._workers = 1
        self._due = int((bars.next >= 1).sum())

    def run(self) -> list[Tally]:
        """Try every column at every bar."""
        begun = time.perf_counter()
        self.tallies = self._measured()
        waiting = _grouped([tally.way for tally in self.tallies])
        self._workers = self._hands(time.perf_counter() - begun)
        while waiting:
            way = min(waiting, key=lambda w: (w.stride == 0, w.tolerance, w.stride))
            columns = waiting.pop(way)
            for column in columns:
                before = self.tallies[column]
                self.tallies[column] = self._tally(way, before.memory, before.near)
            longer = self._each(columns) if way.stride == 0 else self._strided(way, columns)
            for column in longer:
                self.tallies[column].memory = max(self.tallies[column].memory, way.stride)
                waiting.setdefault(self._longer(way, column), []).append(column)
        self._before_gaps()
        return self.tallies

    def _piece(self, first: int, last: int, before: int = 0, only: int | None = None) -> Chunk:
        return Chunk(self.bars, first, last, before, self.seed, self.subject.reads, only)

    def _base(self, piece: Chunk, columns: list[int]) -> np.ndarray:
        """Return the table's values of a piece."""
        return self.bars.table[np.ix_(piece.index, np.array(columns))]

    def _hands(self, measuring: float) -> int:
        """Return how many processes to work with, from the seconds that measuring took."""
        if not self.subject.can_leave:
            return 1
        strides = [tally.way.stride for tally in self.tallies]
        rows = len(bend.KINDS) * float(np.mean(strides)) * self.bars.bars.height
        heard = (1 + len(bend.KINDS)) * sum(len(piece.at) for piece in self._echoing())
        return batch.hands() if measuring * rows / heard > _APART else 1

    # -- how long a column remembers -----------------------------------------------------------

    def _measured(self) -> list[Tally]:
        every = list(range(len(self.subject.names)))
        slacks = [0.0 * self.bars.spread, TOLERANCE * self.bars.spread]
        memory, early = np.zeros((2, len(every))), np.zeros(len(every), bool)
        for piece in self._echoing():
            clean, middle = self._values(piece, every), _place(piece)
            pairs = [(clean, self._base(piece, every), piece.first)]
            block = np.flatnonzero((piece.at > middle) & (piece.at <= middle + AHEAD))
            for kind in bend.KINDS:
                pairs.append((self._values(piece, every, kind, block), clean, middle + AHEAD))
            for one, other, since in pairs:
                for found, slack in zip(memory, slacks):
                    found[:] = np.maximum(found, _lasts(differ(one, other, slack), piece.at, since))
            # what moves before a change needs no measuring: the shortest stride will show it
            early |= differ(pairs[1][0], clean, slacks[0])[piece.at <= middle].any(axis=0)
        memory[:, early] = 0
        return [self._tally(self._way(*memory[:, c]), *memory[:, c].astype(int)) for c in every]

    def _tally(self, way: Way, memory: int, near: int) -> Tally:
        return Tally(way, memory, near, self._due)

    def _values(
        self,
        piece: Chunk,
        columns: list[int],
        kind: str | None = None,
        later: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        every = np.arange(len(piece.at)) if rows is None else rows
        return self.subject.part(piece.view(kind, later), columns, every)

    def _echoing(self) -> Iterator[Chunk]:
        length = min(2 * LONGEST, self.bars.moments)
        last = self.bars.moments - length
        for first in np.unique(np.linspace(0, last, _ECHOES).astype(int)).tolist():
            yield self._piece(first, first + length)

    def _way(self, exact: float, near: float) -> Way:
        if exact >= LONGEST and self.subject.reach is not None and self.bars.moments <= LONGEST:
            return Way(self.bars.moments, 0.0)  # one change at a time: nothing to be forgotten
        strides = [_stride(memory) for memory in (exact, near)]
        # running sums keep last bits of what has left them: dear to wait for, and no look-ahead
        if strides[0] <= min(LONGEST, _DEARER * strides[1]):
            return Way(strides[0], 0.0)
        return Way(strides[1], TOLERANCE) if strides[1] <= LONGEST else Way(0, 0.0)

    def _longer(self, way: Way, column: int) -> Way:
        nearly = _stride(self.tallies[column].near)
        if not way.tolerance and _LONGER * way.stride > _DEARER * nearly:
            return Way(nearly, TOLERANCE)
        if way.stride < min(LONGEST, self.bars.moments):
            return Way(min(int(_LONGER * way.stride), LONGEST), way.tolerance)
        return Way(0, 0.0) if way.tolerance else Way(_SECOND, TOLERANCE)

    # -- a stride ------------------------------------------------------------------------------

    def _strided(self, way: Way, columns: list[int]) -> list[int]:
        """Try columns at every bar; return those that remember longer."""
        left, longer = list(columns), []
        for piece, found in self._tried(way, left):
            for column in list(left):
                self.tallies[column].checked += int(piece.fit.sum())
                verdict = self._judged(piece, way, column, found.get(column, []))
                if verdict:
                    left.remove(column)
                    longer += [column] if verdict == "longer" else []
        return longer

    def _tried(self, way: Way, left: list[int]) -> Iterator[tuple[Chunk, dict[int, Found]]]:
        """Yield pieces and what moved in them, until no column is left."""
        waiting: deque[tuple[Chunk, float]] = deque()

        def trials() -> Iterator[Trial]:
            for piece, share in self._pieces(way):
                columns = list(left)
                if not columns:
                    return
                waiting.append((piece, share))
                slack = way.tolerance * self.bars.spread[columns]
                base = self._base(piece, columns)
                yield Trial(self.subject, piece, way.stride, columns, base, slack)

        for found in batch.each(differing, trials(), workers=self._workers):
            piece, share = waiting.popleft()
            yield piece, found
            self._tell(share, way)

    def _pieces(self, way: Way) -> Iterator[tuple[Chunk, float]]:
        """Cut the bars: by moment, of one symbol after the other where none looks at others."""
        alone, symbols = self.subject.sees_others is False, len(self.bars.starts)
        length = max(_ROWS // (1 if alone else symbols), 8 * way.stride)
        for only in range(symbols) if alone else [None]:
            held = self.bars.at if only is None else self.bars.of(only)
            begin, end = int(held.min()), int(held.max()) + 1
            for first in range(begin, end, length):
                last = min(first + length, end)
                share = (last - begin) / (end - begin)
                piece = self._piece(first, last, way.stride, only)
                yield piece, (share + (only or 0)) / (symbols if alone else 1)

    # -- what differs --------------------------------------------------------------------------

    def _judged(self, piece: Chunk, way: Way, column: int, found: Found) -> str:
        """Tell what looks ahead from what remembers; say whether the column is done with."""
        # each costs two evaluations, a stride two for each of its bars
        few = len(found) <= max(_SINGLY, way.stride // 16)
        tried = found if few else found[:: len(found) // _SINGLY]
        leaks = [one for one in tried if self._moves(piece, way, column, *one, ask=few)]
        if not leaks:
            return "" if few else "longer"
        if len(found) > _LISTED and len(leaks) < len(tried):
            return "longer"  # most remember: a longer stride tells what is left
        if len(found) <= _LISTED:
            leaks = [one for one in found if self._moves(piece, way, column, *one, ask=True)]
        counted = leaks if len(found) <= _LISTED else found
        self._prove(column, {int(piece.index[row]) for row, _ in counted}, piece, leaks)
        return "proven" if self.tallies[column].mismatches > _LISTED else ""

    def _prove(self, column: int, rows: set[int], piece: Chunk, leaks: Found) -> None:
        tally = self.tallies[column]
        tally.mismatches += len(rows)
        moment = min(leaks, key=lambda one: int(piece.at[one[0]]))
        tally.first = tally.first or (int(piece.index[moment[0]]), moment[1])

    def _moves(
        self, piece: Chunk, way: Way, column: int, row: int, kind: str, *, ask: bool
    ) -> bool:
        """Compare two histories that are the same up to a row and differ after it."""
        later = np.flatnonzero((piece.at > piece.at[row]) & (piece.at <= piece.at[row] + AHEAD))
        here = np.array([row])
        clean = self._values(piece, [column], rows=here)
        if differ(clean, self._values(piece, [column], kind, later, here), _EXACT).any():
            return True
        slack = way.tolerance * self.bars.spread[[column]]
        unlike = differ(clean, self._base(piece, [column])[here], slack).any()
        return bool(ask and unlike and self.official(int(piece.index[row]), column, kind))

    def official(self, row: int, column: int, kind: str) -> bool:
        """Tell whether the table's own value moves, made the whole way with other later bars."""
        value, before = self.remade(int(self.bars.at[row]), kind), self.bars.table
        rows, values = value
        here = np.flatnonzero(rows == row)
        return bool(differ(values[here][:, [column]], before[[row]][:, [column]], _EXACT).any())

    def remade(self, at: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of one moment and their values, made with other bars after it."""
        reach = self.subject.reach
        piece = self._piece(0 if reach is None else max(at - reach, 0), at + 1)
        here = piece.at == at
        changed = piece.view(kind, np.flatnonzero(piece.at > at))
        values = self.subject.whole(changed.frame())
        return piece.index[here], values[here]

    def _before_gaps(self) -> None:
        """Try the bars whose next one lies further off than a stride changes."""
        every = list(range(len(self.tallies)))
        for row in np.flatnonzero(self.bars.next > AHEAD).tolist():
            at, far = int(self.bars.at[row]), int(self.bars.next[row])
            piece = self._piece(max(at - _BEFORE_GAP, 0), at + far)
            here, later = np.flatnonzero(piece.index == row), np.flatnonzero(piece.at > at)
            clean = self._values(piece, every, rows=here)
            for kind in bend.KINDS:
                wrong = differ(clean, self._values(piece, every, kind, later, here), _EXACT)[0]
                for column in np.flatnonzero(wrong).tolist():
                    self._prove(column, {row}, piece, [(int(here[0]), kind)])
            for tally in self.tallies:
                tally.checked += 1

    # -- bar by bar ----------------------------------------------------------------------------

    def _each(self, columns: list[int]) -> list[int]:
        """Make the table anew for one bar after the other: there is no shorter way."""
        sample = self._sample()
        for k, at in enumerate(sample):
            self._anew(at, columns)
            columns = [c for c in columns if self.tallies[c].mismatches <= _LISTED]
            self._tell(k / len(sample), Way(0, 0.0))
            if not columns:
                break
        return []

    def _sample(self) -> list[int]:
        """Return all moments, or as many at even distances as can be afforded."""
        reach, moments = self.subject.reach, self.bars.moments
        each = self.bars.bars.height / moments * min(reach or moments / 2, moments / 2)
        count = min(moments, max(int(_MOST_ROWS / (len(bend.KINDS) * each)), _FEWEST))
        return [int(at) for at in np.unique(np.linspace(0, moments - 1, count).astype(int))]

    def _anew(self, at: int, columns: list[int]) -> None:
        """Compare the rows of one moment after each change of what follows."""
        moved = {}
        for kind in bend.KINDS:
            rows, values = self.remade(at, kind)
            moved[kind] = differ(values, self.bars.table[rows], 0 * self.bars.spread)
        fit = (self.bars.next[rows] >= 1) & (self.bars.next[rows] <= AHEAD)
        for column in columns:
            tally = self.tallies[column]
            tally.checked += int(fit.sum())
            bad = {kind: rows[fit & wrong[:, column]] for kind, wrong in moved.items()}
            tally.mismatches += len(np.unique(np.concatenate(list(bad.values()))))
            seen = next(((int(r[0]), kind) for kind, r in bad.items() if len(r)), None)
            tally.first = tally.first or seen

    def _tell(self, share: float, way: Way) -> None:
        if self.watch:
            label = f"stride {way.stride}" if way.stride else "bar by bar"
            self.watch(min(int(share * 1000), 999), 1000, label)


def _stride(memory: float) -> int:
    return int(1.15 * memory) + AHEAD + 4


def _place(piece: Chunk) -> int:
    """Return the moment after which an echo is listened to: the middle, earlier in short bars."""
    return piece.first + (piece.last - piece.first) // (
        2 if piece.last - piece.first > LONGEST else 3
    )


def _lasts(wrong: np.ndarray, at: np.ndarray, since: int) -> np.ndarray:
    """Return by column how many moments after `since` the last difference lies; 0 if none.

    What still differs at the end may never cease.
    """
    distance = np.maximum(np.where(wrong, at[:, None] - since, 0).max(axis=0, initial=0), 0)
    return np.where(distance >= at.max() - since, 2.0 * LONGEST, distance)


def _grouped(ways: list[Way]) -> dict[Way, list[int]]:
    """Put columns of strides that are not far apart together, at the longest of them."""
    groups: dict[Way, list[int]] = {}
    for column in sorted(range(len(ways)), key=lambda c: -ways[c].stride):
        way = ways[column]
        near = (w for w in groups if w.tolerance == way.tolerance)
        fit = (
            w for w in near if way.stride >= _NEAR * w.stride and bool(w.stride) == bool(way.stride)
        )
        groups.setdefault(next(fit, way), []).append(column)
    return groups
