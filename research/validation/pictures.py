"""Folds as a small drawing in a cell: training blue, test orange, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from research.validation.windows import Span, stamp

SHOWN = 60
"""Lines drawn at most; of more, an even choice."""
TRAINING, TEST = "#4c78a8", "#f58518"


class Line(NamedTuple):
    """One fold: where it trains, and where it is tested."""

    train: Sequence[Span]
    test: Sequence[Span]


def picture(lines: Sequence[Line], what: str) -> str:
    """Draw `lines` of training and test spans under a heading such as ``7 folds``."""
    if not lines:
        return f"<b>no {what.split()[-1]}</b>"
    every = -(-len(lines) // SHOWN)
    spans = [span for line in lines for part in line for span in part]
    first, last = min(s.start for s in spans), max(s.end for s in spans)
    drawn = [_line(line, row, first, last - first) for row, line in enumerate(lines[::every])]
    height = 6 * len(drawn)
    note = f"; 1 in {every} shown" if every > 1 else ""
    return (
        f"<b>{what}</b>, {stamp(first)} to {stamp(last)}{note}: "
        f"<span style='color:{TRAINING}'>training</span>, <span style='color:{TEST}'>test</span>"
        f"<br><svg viewBox='0 0 600 {height}' width='600' height='{height}' role='img'>"
        f"{''.join(drawn)}</svg>"
    )


def _line(line: Line, row: int, first: datetime, whole: timedelta) -> str:
    parts = [(span, TRAINING, "train") for span in line.train]
    parts += [(span, TEST, "test") for span in line.test]
    return "".join(
        f"<rect x='{600 * ((start - first) / whole):.1f}' y='{6 * row}' height='5' "
        f"width='{600 * ((end - start) / whole):.1f}' fill='{colour}'>"
        f"<title>{word} {stamp(start)} to {stamp(end)}</title></rect>"
        for (start, end), colour, word in parts
    )
