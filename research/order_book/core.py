"""Message by message from columns to books: the loop that batch and live both run.

`Core` keeps one symbol's chain, ladder and held messages between the pieces it is handed; a piece
may be a whole file or a single message.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np

from research.order_book import chain, ladder
from research.order_book.chain import (
    APPLY,
    BREAK,
    EMPTY,
    HOLD,
    JOINED,
    OLD,
    PARTIAL,
    SNAPSHOT,
    SPOILT,
    TOPS,
    TWICE,
    UPDATE,
    WHOLE,
    Rules,
    State,
)
from research.order_book.ladder import Ladder, beyond, clear, crossed, mark_edges, put, top
from research.steps import compiled

HELD = 10_000
"""Messages that are kept while no snapshot has come; the oldest are let go beyond that."""


class Columns(NamedTuple):
    """Messages of one symbol and their levels as arrays; ids are -1 where there is none."""

    message: np.ndarray
    received_ns: np.ndarray
    kind: np.ndarray
    first: np.ndarray
    last: np.ndarray
    previous: np.ndarray
    sequence: np.ndarray
    connection: np.ndarray
    time: np.ndarray
    offset: np.ndarray
    """Levels of message i are those from ``offset[i]`` to ``offset[i + 1]``; shape (n + 1,)."""
    side: np.ndarray
    price: np.ndarray
    quantity: np.ndarray


class Found(NamedTuple):
    """What was found at each message that was newly heard."""

    done: np.ndarray
    why: np.ndarray
    """Why the proof was lost since the message before; see `chain`."""
    proven: np.ndarray
    """Whether the book is proven after it."""
    lost: np.ndarray
    """Messages that are missing before it, -1 where the venue's ids do not tell."""
    advanced: np.ndarray
    """Whether the chain reached further with it: what is missing later was sent after it."""
    update_id: np.ndarray
    """Id up to which the book is written, -1 where it is not known."""
    time: np.ndarray
    """The venue's time of the book after it, microseconds; 0 where it never said one."""
    beyond: np.ndarray
    levels: np.ndarray
    """Shape (n, 2, depth, 2)."""


# places in the counts
_APPLIED, _DROPPED, _TWICE, _SNAPSHOTS, _CROSSED, _LEVELS, _PROVEN = range(7)


class Core:
    """One symbol's book with all it remembers; `take` hands it messages."""

    def __init__(self, rules: Rules, depth: int) -> None:
        self.state, self.book, self.depth = chain.start(), ladder.ladder(), depth
        self.counts = np.zeros(7, np.int64)
        self._rules, self._held, self._waiting = rules, deque[Columns](), 0

    def take(self, new: Columns) -> Found:
        """Hear messages in the order of their receipt and return what each one did."""
        n = len(new.kind)
        found = _room(n, self.depth)
        resync = bool(self._held) and bool((new.kind != UPDATE).any())
        columns = join([*self._held, new]) if resync else new
        begin = len(columns.kind) - n
        hold = 0 if resync else -1
        self.state, hold = _take_all(
            self.state, self.book, columns, begin, hold, self._rules, self.counts, found
        )
        self._keep(columns, new, hold)
        return found

    @property
    def proven(self) -> bool:
        """Whether the book is proven after the last message."""
        return bool(self.counts[_PROVEN])

    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Return bids and asks at full depth, best first: price and quantity, shape (n, 2)."""
        found = []
        for side, sign in ((0, 1.0), (1, -1.0)):
            count = self.book.filled[side]
            price, quantity = self.book.price[side, :count], self.book.quantity[side, :count]
            found.append(np.stack([sign * price, quantity], axis=1)[::-1].copy())
        return found[0], found[1]

    @property
    def counted(self) -> dict[str, int]:
        """Messages by what was done with them, and level updates written."""
        names = ("applied", "dropped", "duplicates", "snapshots", "crossed", "updates")
        return dict(zip(names, self.counts[:6].tolist(), strict=True))

    def _keep(self, columns: Columns, new: Columns, hold: int) -> None:
        if self.state.phase != EMPTY or hold >= 0:
            self._held.clear()
            self._waiting = 0
        if self.state.phase != EMPTY:
            return
        self._held.append(part(columns, hold) if hold >= 0 else new)
        self._waiting += len(self._held[-1].kind)
        while self._waiting - len(self._held[0].kind) >= HELD:
            self._waiting -= len(self._held.popleft().kind)


def join(pieces: list[Columns]) -> Columns:
    """Lay pieces one behind the other."""
    starts = np.cumsum([0] + [len(piece.side) for piece in pieces])
    made = {
        name: np.concatenate([getattr(piece, name) for piece in pieces])
        for name in Columns._fields
        if name != "offset"
    }
    offsets = [p.offset[:-1] + start for p, start in zip(pieces, starts, strict=False)]
    return Columns(**made, offset=np.append(np.concatenate(offsets), starts[-1]))


def part(columns: Columns, begin: int, end: int | None = None) -> Columns:
    """Copy the messages from `begin` to before `end` out of `columns`."""
    end = len(columns.kind) if end is None else end
    low, high = columns.offset[begin], columns.offset[end]
    made: dict[str, Any] = {}
    for name in Columns._fields:
        values = getattr(columns, name)
        levels = name in ("side", "price", "quantity")
        made[name] = (values[low:high] if levels else values[begin:end]).copy()
    made["offset"] = columns.offset[begin : end + 1] - low
    return Columns(**made)


def _room(n: int, depth: int) -> Found:
    return Found(
        done=np.zeros(n, np.int64),
        why=np.zeros(n, np.int64),
        proven=np.zeros(n, np.bool_),
        lost=np.zeros(n, np.int64),
        advanced=np.zeros(n, np.bool_),
        update_id=np.zeros(n, np.int64),
        time=np.zeros(n, np.int64),
        beyond=np.zeros(n, np.bool_),
        levels=np.zeros((n, 2, depth, 2)),
    )


@compiled
def _take_all(
    state: State,
    book: Ladder,
    columns: Columns,
    begin: int,
    hold: int,
    rules: Rules,
    counts: np.ndarray,
    found: Found,
) -> tuple[State, int]:
    for i in range(begin, len(columns.kind)):
        row, phase, seen = i - begin, state.phase, state.seen
        state, (done, why) = chain.step(state, _event(columns, i), rules)
        if phase != EMPTY or done != TWICE:  # else it is held, and counted when taken again
            _count(counts, done, columns.kind[i])
        if done in (BREAK, SPOILT):
            hold = i + (done == SPOILT)
        if done < OLD:
            _write(book, columns, i, done)
            counts[_LEVELS] += columns.offset[i + 1] - columns.offset[i]
        if done == WHOLE and columns.kind[i] == SNAPSHOT and rules.chain != chain.BYBIT:
            mark_edges(book)
            if phase == EMPTY:
                state, hold = _replay(state, book, columns, max(hold, 0), i, rules, counts)
        if done < OLD:
            _look(book, state, counts)
        found.done[row], found.why[row] = done, why
        found.lost[row] = _lost(seen, columns.last[i], why, phase, rules)
        found.advanced[row], found.update_id[row] = state.seen != seen, state.base
        found.proven[row], found.time[row] = counts[_PROVEN] == 1, max(state.time, 0)
        if done < OLD:
            found.beyond[row] = beyond(book, found.levels.shape[2])
            top(book, found.levels[row])
    return state, hold


@compiled
def _event(columns: Columns, i: int) -> chain.Event:
    return (
        columns.kind[i],
        columns.first[i],
        columns.last[i],
        columns.previous[i],
        columns.sequence[i],
        columns.connection[i],
        columns.time[i],
    )


@compiled
def _write(book: Ladder, columns: Columns, i: int, done: int) -> None:
    if WHOLE <= done <= SPOILT and done != HOLD:
        clear(book)
    for row in range(columns.offset[i], columns.offset[i + 1]):
        put(book, columns.side[row], columns.price[row], columns.quantity[row])


@compiled
def _replay(
    state: State,
    book: Ladder,
    columns: Columns,
    begin: int,
    end: int,
    rules: Rules,
    counts: np.ndarray,
) -> tuple[State, int]:
    """Take the held updates again, now that a snapshot stands under them."""
    hold = -1
    for i in range(begin, end):
        if columns.kind[i] == UPDATE:
            state, (done, _) = chain.step(state, _event(columns, i), rules)
            if done in (BREAK, SPOILT):
                hold = i + (done == SPOILT)
            if hold < 0:
                _count(counts, done, UPDATE)
            if done < OLD:
                _write(book, columns, i, done)
    return state, hold


@compiled
def _count(counts: np.ndarray, done: int, kind: int) -> None:
    if done == APPLY:
        counts[_APPLIED] += 1
    elif done == OLD:
        counts[_DROPPED] += 1
    elif done == TWICE:
        counts[_TWICE] += 1
    elif done == WHOLE and kind == SNAPSHOT:
        counts[_SNAPSHOTS] += 1
    elif done == WHOLE and kind == PARTIAL:
        counts[_APPLIED] += 1


@compiled
def _look(book: Ladder, state: State, counts: np.ndarray) -> None:
    """Judge a book that has just changed."""
    joined = state.phase == JOINED or state.phase == TOPS
    wrong = crossed(book)
    counts[_CROSSED] += joined and wrong
    counts[_PROVEN] = 1 if joined and not wrong else 0


@compiled
def _lost(seen: int, last: int, why: int, phase: int, rules: Rules) -> int:
    """Bybit numbers messages one by one, so a jump says how many are missing."""
    if why == chain.CHAIN and phase == JOINED and rules.chain == chain.BYBIT and last > seen:
        return last - seen - 1
    return -1
