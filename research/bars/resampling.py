"""Longer bars out of shorter ones: labelled by their close, and whole or not at all."""

from __future__ import annotations

from datetime import timedelta
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import polars as pl

from research.bars.gathering import changes, gathered, known_days
from research.errors import UserError
from research.schema import BARS, EXTRAS, TIME, TableError, check
from research.units import show

_DAY = 86_400_000_000
_MICROSECOND = timedelta(microseconds=1)


def resample(bars: pl.DataFrame, interval: timedelta, *, sparse: bool = False) -> pl.DataFrame:
    """Gather bars into longer ones, each labelled by its close and made of all its parts.

    Parameters
    ----------
    bars : pl.DataFrame, shape (n_bars, n_columns)
        `schema.BARS`, sorted by (symbol, time), all of one length; or traded bars, which are of
        uneven length and have a column `parts`.
    interval : timedelta
        Length of the bars returned; a multiple of the length of `bars`.
    sparse : bool
        Whether a part is absent because nothing was traded in it: Polygon writes no row for such
        a minute. Never so for Binance, where an absent part is one that nobody knows.

    Returns
    -------
    pl.DataFrame, shape (n_longer, 12)
        `schema.BARS`. Buckets start at multiples of `interval` from 1970-01-01 UTC (midnight, for
        all that divide a day). A bucket with an absent part, at an end or at a gap, is left out.
        A sum over parts of which one is null is null. With `sparse`, a bucket is made of the parts
        it has; it is left out if it has none (it had no price), or reaches into a UTC day on which
        no symbol of `bars` has a row (that day's trades are not known). A traded bar is a part of
        the bucket in which it closed, and buckets in which none did are left out, likewise.

    Raises
    ------
    UserError
        If `interval` is not a multiple of the length of the bars.
    TableError
        If the bars have several lengths or are not `schema.BARS`.

    Notes
    -----
    The bar labelled t knows bars up to and including t. Sums run through the parts in their
    order, so a bucket has the same bits whichever rows stand around it. With `sparse`, the bars
    handed in must hold whole UTC days: cut a span out of the result, not out of the parts, for a
    bucket that was cut looks like one with few trades.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> at = pl.Series([datetime(2024, 5, 1, 0, m, tzinfo=UTC) for m in range(6)])
    >>> price = {c: [float(m + 1) for m in range(6)] for c in ("open", "high", "low", "close")}
    >>> raw = pl.DataFrame({"symbol": "A", "open_time": at, **price, "volume": 1.0})
    >>> from research.bars import clean
    >>> minutes, _ = clean(raw, interval=timedelta(minutes=1), name="bars")
    >>> resample(minutes, timedelta(minutes=5)).row(0)[1].minute
    5
    >>> resample(minutes, timedelta(minutes=5))["volume"].to_list()
    [5.0]
    """
    traded = "parts" in bars.columns
    bars, step = check(bars, BARS, "bars").select(list(BARS)), interval // _MICROSECOND
    if traded:
        return _of_known_days(bars.with_columns(open_time=pl.col("time") - _MICROSECOND), step)
    length = _length(bars)
    if length is None or length == interval:
        return bars
    parts, rest = divmod(interval, length)
    if rest or not parts:
        raise UserError(
            f"resample: {show(interval)} is not a multiple of the bars' {show(length)}. "
            f"Ask for a multiple, such as {show(5 * length)}."
        )
    if sparse:
        return _of_known_days(bars, step)
    bucket = pl.col("open_time").to_physical() // step
    run = pl.struct("symbol", bucket).rle_id()
    whole = bars.filter(pl.len().over(run) == parts)
    return _gathered(whole, parts)


def _of_known_days(bars: pl.DataFrame, step: int) -> pl.DataFrame:
    """Fold what there is of each bucket, where all days that the bucket touches are known."""
    opened = bars["open_time"].to_physical().to_numpy()
    bucket, symbol = opened // step * step, bars["symbol"].rle_id().to_numpy()
    begins = changes(symbol, bucket)
    days, _ = known_days(bars)
    known, starts = np.unique(days), bucket[begins]
    first, last = starts // _DAY, (starts + step - 1) // _DAY
    there = np.searchsorted(known, last, "right") - np.searchsorted(known, first)
    keep = there == last - first + 1
    table = gathered(bars, begins, keep)
    opens = pl.Series("open_time", starts[keep]).cast(TIME)
    return table.with_columns(opens, (opens + step * _MICROSECOND).alias("time"))


def _length(bars: pl.DataFrame) -> timedelta | None:
    lengths = (bars["time"] - bars["open_time"]).unique().sort().to_list()
    if len(lengths) > 1:
        found = ", ".join(show(length) for length in lengths[:3])
        raise TableError(f"bars: all must have one length, found {found}. Load one interval.")
    return lengths[0] if lengths else None


def _gathered(whole: pl.DataFrame, parts: int) -> pl.DataFrame:
    """Fold every `parts` consecutive rows into one."""

    def columns(column: str) -> list[pl.Series]:
        return [whole[column].gather_every(parts, offset) for offset in range(parts)]

    def grid(column: str) -> Any:
        return whole[column].to_numpy().reshape(-1, parts)

    first = {c: whole[c].gather_every(parts) for c in ("symbol", "open_time", "open")}
    last = {c: whole[c].gather_every(parts, parts - 1) for c in ("time", "close")}
    range_ = {"high": grid("high").max(axis=1), "low": grid("low").min(axis=1)}
    sums = {c: reduce(add, columns(c)) for c in ("volume", *EXTRAS)}
    return pl.DataFrame(first | last | range_ | sums).select(list(BARS))
