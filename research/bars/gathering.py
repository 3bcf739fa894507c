"""Runs of consecutive bars folded into one bar each: what all gathered bars share."""

from __future__ import annotations

import numpy as np
import polars as pl

from research.schema import BARS, EXTRAS
from research.steps import compiled, scan


@compiled
def _sum(state: float, event: tuple, rules: float) -> tuple:
    """Add up in the order of the rows, from each beginning anew."""
    value, begins = event
    total = value if begins else state + value
    return total, total


def gathered(bars: pl.DataFrame, begins: np.ndarray, keep: np.ndarray) -> pl.DataFrame:
    """Fold each run of rows into one bar.

    Parameters
    ----------
    bars : pl.DataFrame, shape (n_bars, 12)
        `schema.BARS`.
    begins : np.ndarray of bool, shape (n_bars,)
        Whether a row is the first of a run; the first row is.
    keep : np.ndarray of bool, shape (n_runs,)
        Which runs become a bar.

    Returns
    -------
    pl.DataFrame, shape (n_kept, 12)
        `schema.BARS`: open_time and open of a run's first row, time and close of its last, the
        highest high, the lowest low, and sums; a sum over parts of which one is null is null.

    Notes
    -----
    Sums run through the rows of a run in their order, so a bar has the same bits whichever rows
    stand around it.
    """
    if bars.is_empty():
        return bars
    first = np.flatnonzero(begins)
    last = np.append(first[1:], bars.height)[keep] - 1
    table = bars[first[keep]].select("symbol", "open_time", "open")
    return table.with_columns(
        bars[last].select("time", "close"),
        high=np.maximum.reduceat(bars["high"].to_numpy(), first)[keep],
        low=np.minimum.reduceat(bars["low"].to_numpy(), first)[keep],
        **{c: _totals(bars[c], begins)[last].cast(BARS[c]) for c in ("volume", *EXTRAS)},
    ).select(list(BARS))


def _totals(column: pl.Series, begins: np.ndarray) -> pl.Series:
    """Sum from the last beginning to each row; counts stay exact below 2**53."""
    values = column.cast(pl.Float64).to_numpy()
    _, totals = scan(_sum, 0.0, (values, begins), 0.0)
    return pl.Series(totals, nan_to_null=True)


def changes(*columns: np.ndarray) -> np.ndarray:
    """Tell of each row whether any column differs from the row before; the first row does."""
    different = np.zeros(len(columns[0]), dtype=bool)
    different[:1] = True
    for column in columns:
        different[1:] |= column[1:] != column[:-1]
    return different


def known_days(bars: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the UTC day (since 1970) of each row's open, and its place among the days there are.

    A day on which no symbol at all has a row was not told by the source; every other day was.
    """
    days = bars["open_time"].dt.date().cast(pl.Int32).to_numpy().astype(np.int64)
    return days, np.searchsorted(np.unique(days), days)
