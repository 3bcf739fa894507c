"""One moment's rows as the arrays that the scan takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from research.live.moments import Levels, Scored
from research.trading.depth import DEPTH
from research.trading.journal import Bars

_PRICES = ("open", "high", "low", "close", "volume")
_CHARGED = ("sigma", "half_spread", "impact")
_DTYPES = (np.int64,) * 3 + (np.float64,) * 6 + (np.int64,) + (np.float64,) * 3


def laid(time: int, rows: Sequence[Scored], codes: Sequence[int], *, walks: bool) -> Bars:
    """Return a moment's bars, with the book where fills walk one."""
    columns: list[Iterable[float]] = [
        [time] * len(rows),
        (row.bar.open_time for row in rows),
        codes,
        *([getattr(row.bar, name) for row in rows] for name in _PRICES),
        (row.told for row in rows),
        (row.bin for row in rows),
        *([getattr(row, name) for row in rows] for name in _CHARGED),
    ]
    bars = Bars(*(np.array([*column], dtype) for column, dtype in zip(columns, _DTYPES)))
    return bars._replace(levels=books([row.levels for row in rows])) if walks else bars


def books(shown: Sequence[Levels | None]) -> np.ndarray:
    """Return books as fills walk them, see `trading.depth`; zeros where none was shown.

    >>> books([Levels(0, ((9.0, 1.0),), ((10.0, 2.0),)), None])[:, 1, 0].tolist()
    [[10.0, 2.0], [0.0, 0.0]]
    """
    found = np.zeros((len(shown), 2, DEPTH, 2))
    for k, levels in enumerate(shown):
        if levels is not None:
            for s, side in enumerate((levels.bids, levels.asks)):
                found[k, s, : len(side)] = side[:DEPTH]
    return found
