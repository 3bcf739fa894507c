"""Compiled loops over plain arrays: the path to a barrier, overlap, and drawing by it.

No table comes here. Imported only where a function needs it, because numba is slow to import.
"""

from __future__ import annotations

import numpy as np

from research.steps import compiled


@compiled
def last_of_run(run: np.ndarray) -> np.ndarray:
    """Row number of the last row in each row's run of equal numbers."""
    n = len(run)
    last = np.empty(n, np.int64)
    for i in range(n - 1, -1, -1):
        last[i] = last[i + 1] if i + 1 < n and run[i + 1] == run[i] else i
    return last


@compiled
def first_touch(
    open_: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
    close: np.ndarray,
    entry: np.ndarray,
    take: np.ndarray,
    stop: np.ndarray,
    last: np.ndarray,
    ahead: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, label and bars held of each row; 0 bars where its answer is not known.

    The lower barrier is looked at first in every bar: a bar that touches both counts as a loss.
    """
    n = len(close)
    y, label, held = np.zeros(n), np.zeros(n, np.int8), np.zeros(n, np.int64)
    for i in range(n):
        price, end = entry[i], min(i + ahead, last[i])
        if end == i or not take[i] > 0.0:  # nothing follows, or no barrier (nan)
            continue
        upper, lower = price * (1.0 + take[i]), price * (1.0 - stop[i])
        for j in range(i + 1, end + 1):
            if low[j] <= lower:
                y[i] = open_[j] / price - 1.0 if open_[j] < lower else -stop[i]
                label[i], held[i] = -1, j - i
                break
            if high[j] >= upper:
                y[i] = open_[j] / price - 1.0 if open_[j] > upper else take[i]
                label[i], held[i] = 1, j - i
                break
        if held[i] == 0 and end == i + ahead:
            y[i], held[i] = close[end] / price - 1.0, ahead
    return y, label, held


@compiled
def freshness(first: int, last: int, width: np.ndarray, count: np.ndarray) -> float:
    """Mean of ``1 / count`` over the cells from `first` up to `last`, by their width."""
    total, length = 0.0, 0.0
    for k in range(first, last):
        total += width[k] / count[k]
        length += width[k]
    return total / length


@compiled
def mean_uniqueness(first: np.ndarray, last: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Mean over each label's cells of one over how many labels lie there."""
    count, found = np.zeros(len(width)), np.empty(len(first))
    for i in range(len(first)):
        for k in range(first[i], last[i]):
            count[k] += 1.0
    for i in range(len(first)):
        found[i] = freshness(first[i], last[i], width, count)
    return found


@compiled
def draw(
    rng: np.random.Generator, first: np.ndarray, last: np.ndarray, width: np.ndarray, draws: int
) -> np.ndarray:
    """Rows drawn one after the other, each in proportion to how little it overlaps those before.

    By rejection: a row proposed evenly and kept with its uniqueness is drawn in proportion to it,
    and no table of all rows' chances has to be kept up.
    """
    drawn, count = np.empty(draws, np.int64), np.ones(len(width))
    for d in range(draws):
        i = int(rng.random() * len(first))
        while rng.random() >= freshness(first[i], last[i], width, count):
            i = int(rng.random() * len(first))
        drawn[d] = i
        for k in range(first[i], last[i]):
            count[k] += 1.0
    return drawn
