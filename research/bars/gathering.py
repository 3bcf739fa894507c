"""Runs of consecutive bars folded into one bar each: what all gathered and traded bars share."""

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


def traded(bars: pl.DataFrame, anew: np.ndarray, ends: np.ndarray, *, sparse: bool) -> pl.DataFrame:
    """Fold base bars into one bar up to each that ends one.

    Parameters
    ----------
    bars : pl.DataFrame, shape (n_base, 12)
        `schema.BARS`, at least one.
    anew : np.ndarray of bool, shape (n_base,)
        Where gathering starts anew, whatever was gathered; see `starts`.
    ends : np.ndarray of number, shape (n_base,)
        1 where a base bar closes a bar, 2 where it ends a run that is none, else 0.
    sparse : bool
        Whether base bars are absent because nothing was traded: a bar then opens when the one
        before it closed.

    Returns
    -------
    pl.DataFrame, shape (n_bars, 13)
        `schema.BARS` and `parts`, the base bars in each. A bar opens as the one before it closes,
        or there is a gap between them.
    """
    begins = anew.copy()
    begins[1:] |= ends[:-1] > 0
    first = np.flatnonzero(begins)
    past = np.append(first[1:], bars.height)
    keep = ends[past - 1] == 1
    table = gathered(bars, begins, keep).with_columns(parts=(past - first)[keep])
    if sparse:
        before = bars["time"].shift(1)[first[keep]]
        opened = pl.when(pl.Series(anew[first[keep]])).then("open_time").otherwise(before)
        table = table.with_columns(open_time=opened)
    return table


def starts(bars: pl.DataFrame, *, sparse: bool) -> np.ndarray:
    """Tell where gathering starts anew: at a symbol's first row and behind a gap."""
    found = changes(bars["symbol"].rle_id().to_numpy())
    if sparse:
        days, places = known_days(bars)
        found[1:] |= np.diff(days) != np.diff(places)
    else:
        opened, closed = (bars[c].to_physical().to_numpy() for c in ("open_time", "time"))
        found[1:] |= opened[1:] != closed[:-1]
    return found


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
