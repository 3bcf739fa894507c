"""The smallest counter-example: one value, one later bar, one of its numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from research import schema
from research.audit.certificate import bend
from research.audit.certificate.chunk import Bars, Chunk
from research.audit.certificate.views import Subject, View

_HISTORY = 4_096  # moments before the value, and as many after it, at first


class _Case:
    """One value, and whether it moves when some later rows do."""

    def __init__(self, subject: Subject, piece: Chunk, column: int, row: int, kind: str) -> None:
        self.piece, self.kind = piece, kind
        self._subject, self._column = subject, column
        self._here = np.flatnonzero(piece.index == row)
        self.at, self.last = int(piece.at[self._here[0]]), int(piece.at.max())
        self.before = self._value(piece.view())

    def after(self, first: int, last: int, name: str | None = None) -> float | None:
        """Return the value when bars from `first` to `last` ahead change; None if it stays."""
        rows = self.rows(first, last)
        view, clean = self.piece.view(self.kind, rows), self.piece.view()
        if name is not None:
            view = view._replace(columns=clean.columns | {name: view.columns[name]})
        found = self._value(view)
        same = found == self.before or (np.isnan(found) and np.isnan(self.before))
        return None if same else found

    def rows(self, first: int, last: int) -> np.ndarray:
        """Return the rows of bars so far ahead."""
        return np.flatnonzero(
            (self.piece.at >= self.at + first) & (self.piece.at <= self.at + last)
        )

    def _value(self, view: View) -> float:
        return float(self._subject.part(view, [self._column], self._here)[0, 0])


def smallest(
    subject: Subject, bars: Bars, column: int, row: int, kind: str, seed: int
) -> dict[str, Any] | None:
    """Shrink a change that moved a value.

    Parameters
    ----------
    subject, bars
        As for `stride.Search`.
    column, row : int
        Of the table: which value moved.
    kind : str
        The change after it.
    seed : int
        Of the changes.

    Returns
    -------
    dict or None
        feature, symbol, time, before, after (null where not known), ahead and reach (moments from
        the value to the nearest and to the farthest later bar that moves it), column (the number
        of that bar that moves it alone, null if it takes several), note; None if no later bar
        moves the value when it is made of a piece of the history.
    """
    at = int(bars.at[row])
    for around in (_HISTORY, bars.moments):
        first, last = max(at - around, 0), min(at + 1 + around, bars.moments)
        piece = Chunk(bars, first, last, 0, seed, None)
        case = _Case(subject, piece, column, row, kind)
        if case.after(1, case.last) is not None:
            return _described(subject.names[column], case, row, bars)
    return None


def ended(subject: Subject, bars: Bars, column: int, row: int) -> dict[str, Any]:
    """Describe a value that other later bars do not move, but their absence does."""
    at, width = int(bars.at[row]), len(subject.names)
    piece = Chunk(bars, 0, at, 0, 0, None)
    kept = np.flatnonzero(piece.at <= at)
    values = subject.whole(piece.view().bars[kept]).reshape(len(kept), width)
    after = values[np.flatnonzero(piece.index[kept] == row)[0], column]
    return {
        **_place(subject.names[column], bars, row),
        "before": _number(bars.table[row, column]),
        "after": _number(after),
        "ahead": 1,
        "reach": 1,
        "column": None,
        "note": "when the bars end there",
    }


def _place(feature: str, bars: Bars, row: int) -> dict[str, Any]:
    symbol, time = bars.bars.select(schema.KEY).row(row)
    return {"feature": feature, "symbol": symbol, "time": f"{time:%Y-%m-%d %H:%M:%S}Z"}


def _described(feature: str, case: _Case, row: int, bars: Bars) -> dict[str, Any]:
    most = case.last - case.at
    ahead = _least(lambda h: case.after(1, h) is not None, most)
    reach = _most(lambda h: case.after(h, most) is not None, most)
    # a bar by itself, or it takes those in front of it too
    nearest = ahead if case.after(ahead, ahead) is not None else 1
    names = [c for c in ("close", *bend.NUMBERS) if c in case.piece.view().columns]
    alone = next((c for c in names if case.after(nearest, ahead, c) is not None), None)
    after = case.after(nearest, ahead, alone)
    return {
        **_place(feature, bars, row),
        "before": _number(case.before),
        "after": _number(np.nan if after is None else after),
        "ahead": ahead,
        "reach": reach,
        "column": alone,
        "note": _note(case, case.rows(nearest, ahead), alone),
    }


def _note(case: _Case, rows: np.ndarray, alone: str | None) -> str:
    clean = case.piece.view()
    when = f"of the bar at {clean.bars[int(rows[-1]), 'time']:%Y-%m-%d %H:%M:%S}Z"
    if alone is None:
        return f"with other numbers {when}"
    changed = case.piece.view(case.kind, rows)
    was, now = (view.columns[alone][rows[-1]] for view in (clean, changed))
    return f"with a {alone} {when} of {now:.6g} instead of {was:.6g}"


def _least(holds: Callable[[int], bool], most: int) -> int:
    """Return the least number from 1 on at which what stays true once it is so is true."""
    high = 1
    while high < most and not holds(high):
        high = min(2 * high, most)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _most(holds: Callable[[int], bool], most: int) -> int:
    """Return the largest number up to which it holds."""
    low, high = 1, 2
    while high <= most and holds(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
