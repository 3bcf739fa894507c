"""Returns by UTC day, and what is left of them without the best ones."""

from __future__ import annotations

import numpy as np
import polars as pl


def daily(equity: pl.DataFrame, *, capital: float) -> pl.DataFrame:
    """Return what each UTC day earned on the equity at its start.

    Parameters
    ----------
    equity : pl.DataFrame
        ``time, equity``, sorted; a bar that ends at midnight belongs to the day it was in.
    capital : float
        Equity before the first row.

    Returns
    -------
    pl.DataFrame
        ``day, return``, days without a row left out; null once there is no equity left. A first
        or last day with less than half the rows of the day beside it is counted into that one.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> times = [datetime(2024, 5, d, tzinfo=UTC) for d in (2, 3)]
    >>> curve = pl.DataFrame({"time": times, "equity": [110.0, 99.0]})
    >>> [round(r, 6) for r in daily(curve, capital=100.0)["return"]]
    [0.1, -0.1]
    """
    day = (pl.col("time") - pl.duration(microseconds=1)).dt.date()
    ends = _whole(
        equity.group_by(day.alias("day"), maintain_order=True).agg(
            pl.col("equity").last(), rows=pl.len()
        )
    )
    before = pl.col("equity").shift(1, fill_value=capital)
    grown = pl.when(before > 0).then(pl.col("equity") / before - 1)
    return ends.select("day", grown.alias("return"))


def _whole(ends: pl.DataFrame) -> pl.DataFrame:
    """Leave out the end of a first day that is a fragment, and of the day before a last one."""
    rows, out = ends["rows"].to_list(), set()
    if len(rows) > 1 and rows[0] < rows[1] / 2:
        out.add(0)
    if len(rows) > 2 and rows[-1] < rows[-2] / 2:
        out.add(len(rows) - 2)
    return ends[[k for k in range(len(rows)) if k not in out]]


def without_best(returns: np.ndarray, run: int = 1) -> float | None:
    """Return the compound return without the `run` days in a row that earned most.

    Parameters
    ----------
    returns : np.ndarray, shape (n_days,)
        Simple returns.
    run : int
        Days that are left out together.

    Returns
    -------
    float or None
        None where there are not twice as many days.

    Examples
    --------
    >>> round(without_best(np.array([0.1, 0.5, -0.1, 0.0])), 6)
    -0.01
    >>> without_best(np.array([0.1]))
    """
    if len(returns) < 2 * run:
        return None
    grown = np.lib.stride_tricks.sliding_window_view(1 + returns, run).prod(axis=1)
    first = int(grown.argmax())
    return float(np.delete(1 + returns, slice(first, first + run)).prod() - 1)
