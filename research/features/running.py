"""The last value of `sigma`, past polars: its running mean step by step, to the same bits.

polars sums a rolling window by Kahan's method, what enters and what leaves with an error term of
its own. That is how it does it, not what it promises; so the two are compared once a process, and
where they differ `last_sigma` says so and polars is asked.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import polars as pl

from research.features.loops import compiled
from research.features.returns import sigma

_TRIED = 3_000


def last_sigma(close: np.ndarray, bars: int) -> float:
    """Return the last value of `sigma` over the closes of a window; NaN where it has none.

    Parameters
    ----------
    close : np.ndarray, shape (n_rows,)
        All known.
    bars : int
        Returns averaged.

    Examples
    --------
    >>> round(last_sigma(np.array([100.0, 101.0, 99.99, 99.99]), 2), 6)
    0.007071
    """
    if len(close) <= bars:
        return np.nan
    found = np.empty(2)
    compiled(_mean_square)(close, bars, found)
    mean, moved = found
    return float(np.sqrt(max(mean, 0.0))) if moved else np.nan


def _mean_square(close: Any, bars: int, found: Any) -> None:
    total = added = removed = 0.0
    for i in range(1, len(close)):
        if i > bars:
            change = close[i - bars] / close[i - bars - 1] - 1
            part = change * change - removed
            now = total - part
            removed = (total - now) - part
            total = now
        change = close[i] / close[i - 1] - 1
        part = change * change - added
        now = total + part
        added = (now - total) - part
        total = now
    moved = 0.0
    for i in range(len(close) - bars, len(close)):
        if close[i] / close[i - 1] - 1 != 0:
            moved = 1.0
    found[0] = total / bars
    found[1] = moved


@cache
def same_as_polars(bars: int) -> bool:
    """Tell whether `last_sigma` has the bits of `sigma` under the polars there is."""
    rng = np.random.Generator(np.random.PCG64(7))
    step = 1e-3 * rng.standard_normal(_TRIED) * np.exp(rng.standard_normal(_TRIED))
    step[rng.random(_TRIED) < 0.3] = 0.0
    close = np.round(100 * np.exp(np.cumsum(step)), 2)
    table = pl.DataFrame({"close": close}).select(sigma(bars)).to_series()
    rows = range(bars, _TRIED, max(_TRIED // 40, 1))
    return all(_same(last_sigma(close[: row + 1], bars), table[row]) for row in rows)


def _same(found: float, wanted: float | None) -> bool:
    return np.isnan(found) if wanted is None else found == wanted
