"""What flow explains of the price beside it, and how little of the price after it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.features.order_flow.bins import in_bins
from research.features.order_flow.clocks import RECEIVED, Feed, feeds_of
from research.features.order_flow.prices import book_top, smallest_step
from research.features.order_flow.windows import microseconds

SPANS = ("100 ms", "1 s", "5 s", "10 s")
"""Lengths of bins over which `explains` looks."""
BUCKETS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Edges of imbalance between which `next_move` counts."""
_BEGINNINGS = 10


def r_squared(bins: pl.DataFrame, flow: str = "ofi", change: str = "mid_change") -> float | None:
    """Share of the mid's changes that a flow of the same bins explains by a straight line.

    Parameters
    ----------
    bins : pl.DataFrame
        Of `aggregate`; bins in which either is null are left out.
    flow, change : str
        Columns.

    Returns
    -------
    float or None
        0 to 1; None in fewer than three bins, or where one of them does not vary.

    Examples
    --------
    >>> r_squared(pl.DataFrame({"ofi": [1.0, 2.0, 4.0], "mid_change": [0.5, 1.0, 2.0]}))
    1.0
    """
    known = bins.select(flow, change).drop_nulls().to_numpy()
    slope = _line(known[:, 0], known[:, 1])
    return None if slope is None else round(slope[1] ** 2, 12)


def _line(flow: np.ndarray, change: np.ndarray) -> tuple[float, float] | None:
    """Return the slope of change on flow, and their correlation."""
    if len(flow) < 3 or not np.ptp(flow) or not np.ptp(change):
        return None
    both = np.cov(flow, change)
    return float(both[0, 1] / both[0, 0]), float(both[0, 1] / np.sqrt(both[0, 0] * both[1, 1]))


def explains(
    quotes: Any,
    trades: Any = None,
    *,
    every: Sequence[timedelta | str] = SPANS,
    gaps: Any = None,
    clock: str = RECEIVED,
    offset: timedelta = timedelta(0),
) -> pl.DataFrame:
    """Measure what flows explain of the mid's change in the same bin, and predict of the next.

    Parameters
    ----------
    quotes, trades, gaps, offset
        As in `aggregate`.
    every : sequence of timedelta or str
        Lengths of bins.
    clock : {'received', 'exchange'}
        By what time an event falls in a bin.

    Returns
    -------
    pl.DataFrame, one row a symbol, flow and length
        ``symbol, flow, every`` (microseconds) ``, bins``; `r_squared` with bins laid from the first
        quote, and `low` and `high`, the least and most of it with bins begun at ten places: in a
        few minutes of data that place alone moves it; `beta` (price per quantity); and
        `next_correlation`, of the flow with the change of the *next* bin. Null where not known.
    """
    feeds = feeds_of(quotes, trades, clock=clock, offset=offset).values()
    rows = [
        row
        for feed in feeds
        for span in every
        for row in _explained(feed, gaps, microseconds(span))
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _explained(feed: Feed, gaps: Any, length: int) -> list[dict[str, Any]]:
    begun = [
        in_bins(feed, gaps, length, begin=int(feed.quotes.time[0]) + k * length // _BEGINNINGS)
        for k in range(_BEGINNINGS)
    ]
    first, flows = begun[0], ("ofi", "depth_delta", "trade_flow")
    return [
        {"symbol": feed.symbol, "flow": flow, "every": length, **_measured(flow, first, begun)}
        for flow in flows
        if flow in first.columns
    ]


def _measured(flow: str, first: pl.DataFrame, begun: list[pl.DataFrame]) -> dict[str, Any]:
    known = first.select(flow, "mid_change").drop_nulls()
    line = _line(*known.to_numpy().T)
    found = [share for bins in begun if (share := r_squared(bins, flow)) is not None]
    after = lagged(first, flow, lags=(1,))["correlation"][0]
    return {
        "bins": known.height,
        "r_squared": r_squared(first, flow),
        "low": min(found, default=None),
        "high": max(found, default=None),
        "beta": None if line is None else line[0],
        "next_correlation": after,
    }


def lagged(
    bins: pl.DataFrame, flow: str = "ofi", *, lags: Sequence[int] = tuple(range(-5, 11))
) -> pl.DataFrame:
    """Correlate a flow with the mid's change some bins later.

    Parameters
    ----------
    bins : pl.DataFrame
        Of `aggregate`, one symbol, without a row left out.
    flow : str
        Column.
    lags : sequence of int
        Bins from the flow to the change: 0 is the same bin (explains), above 0 is later
        (predicts), below 0 earlier (follows).

    Returns
    -------
    pl.DataFrame
        ``lag, correlation, low, high, bins``: `low` and `high` bound where 95 % of correlations of
        unrelated series of that length lie. Null in fewer than three bins.
    """
    if "symbol" in bins.columns and bins["symbol"].n_unique() > 1:
        raise UserError("lagged: wants the bins of one symbol. Filter them first.")
    return pl.DataFrame(
        [_lag(bins, flow, lag) for lag in lags],
        schema={
            "lag": pl.Int64,
            "correlation": pl.Float64,
            "low": pl.Float64,
            "high": pl.Float64,
            "bins": pl.Int64,
        },
    )


def _lag(bins: pl.DataFrame, flow: str, lag: int) -> dict[str, Any]:
    pairs = bins.select(pl.col(flow), pl.col("mid_change").shift(-lag).alias("_change"))
    known = pairs.drop_nulls().to_numpy()
    line = _line(known[:, 0], known[:, 1])
    edge = 1.96 / np.sqrt(len(known)) if len(known) > 2 else None
    return {
        "lag": lag,
        "correlation": None if line is None else line[1],
        "low": None if edge is None else -edge,
        "high": edge,
        "bins": len(known),
    }


def next_move(
    quotes: pl.DataFrame, *, tick: float | None = None, buckets: Sequence[float] = BUCKETS
) -> pl.DataFrame:
    """Count how often the mid's next move is up, by the imbalance of the best quotes.

    Parameters
    ----------
    quotes : pl.DataFrame
        `schema.QUOTES` of one symbol; those whose spread is one tick count.
    tick : float, optional
        Smallest step of the price; the smallest that is seen if left out.
    buckets : sequence of float
        Edges of imbalance, from 0 to 1.

    Returns
    -------
    pl.DataFrame, one row a bucket
        ``low, high, quotes, probability``: null where no quote counts. Quotes after which the mid
        did not move any more are left out.

    Raises
    ------
    UserError
        If there is more than one symbol.
    """
    if quotes["symbol"].n_unique() > 1:
        raise UserError("next_move: wants the quotes of one symbol. Filter them first.")
    names = ("bid", "bid_quantity", "ask", "ask_quantity")
    values = tuple(quotes[c].to_numpy() for c in names)
    bid, _, ask, _ = values
    top, tick = book_top(values), tick or smallest_step(bid, ask)
    up = _next_change(top["mid"])
    counts = (np.abs(ask - bid - tick) < tick / 2) & np.isfinite(up)
    place = np.digitize(top["imbalance"][counts], np.asarray(buckets)[1:-1])
    seen = np.bincount(place, minlength=len(buckets) - 1)
    ups = np.bincount(place, up[counts], minlength=len(buckets) - 1)
    share = np.divide(ups, seen, out=np.full(len(seen), np.nan), where=seen > 0)
    table = {"low": buckets[:-1], "high": buckets[1:], "quotes": seen, "probability": share}
    return pl.DataFrame(table).with_columns(pl.col("probability").fill_nan(None))


def _next_change(mid: np.ndarray) -> np.ndarray:
    """Return 1 where the next change is up, 0 where it is down, NaN where there is none."""
    step = np.diff(mid, append=mid[-1:])
    moves = np.flatnonzero(step)
    place = np.searchsorted(moves, np.arange(len(mid)))
    return np.concatenate([np.where(step[moves] > 0, 1.0, 0.0), [np.nan]])[place]
