"""How far the prices a study learnt from are from those of the venue it trades."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import polars as pl

from research import pipeline, schema
from research.errors import UserError
from research.live.rows import at, micros
from research.study import Study

BARS = 700
"""Newest bars that are compared: Kraken tells of no more than 720."""


def basis(learnt: pl.DataFrame, traded: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Return per symbol how the traded prices lie to the learnt ones, over bars that both have.

    Parameters
    ----------
    learnt, traded : pl.DataFrame
        `schema.BARS` with the same names.

    Returns
    -------
    dict
        By symbol `bars`, how many both have; `level`, the median of ``log(traded / learnt)`` of
        their closes, and `spread`, the distance between its quartiles. Both are fractions of
        price, and None without a common bar.

    Examples
    --------
    >>> from datetime import datetime
    >>> one = pl.DataFrame({"symbol": ["A"] * 3, "time": [1, 2, 3], "close": [100.0, 100.0, 100.0]})
    >>> other = one.with_columns(close=pl.Series([101.0, 101.0, 102.0]))
    >>> {name: round(value, 5) for name, value in basis(one, other)["A"].items()}
    {'bars': 3, 'level': 0.00995, 'spread': 0.00493}
    """
    close, both = pl.col("close"), pl.col("close_right")
    ratio = (both / close).log()
    span = ratio.quantile(0.75, "linear") - ratio.quantile(0.25, "linear")
    joined = learnt.join(traded.select(*schema.KEY, "close"), on=schema.KEY)
    found = joined.group_by("symbol").agg(bars=pl.len(), level=ratio.median(), spread=span)
    none = {"bars": 0, "level": None, "spread": None}
    rows = {row.pop("symbol"): row for row in found.to_dicts()}
    symbols = set(learnt["symbol"]) | set(traded["symbol"])
    return {symbol: rows.get(symbol, none) for symbol in sorted(symbols)}


async def measured(
    study: Study, history: Callable[[int, int], Awaitable[pl.DataFrame]], start: int
) -> dict[str, dict[str, Any]]:
    """Return the basis between a study's stored bars and those of its feed, at the hand-over.

    Parameters
    ----------
    study : Study
    history : callable
        The feed's: closed bars between two moments, microseconds UTC.
    start : int
        Where the feed takes over.
    """
    try:
        stored = pipeline.bars(study)
    except UserError:  # nothing stored: there is nothing to compare
        return {}
    since = at(start) - BARS * study.data.interval
    seen = await history(micros(since), start)
    return basis(stored.filter(pl.col("time") > since, pl.col("time") <= at(start)), seen)


def told(found: dict[str, dict[str, Any]]) -> str:
    """Say a basis in a line.

    >>> told({"A": {"bars": 3, "level": 0.00995, "spread": 0.0001}})
    'A +99.5 bp (spread 1.0 bp, 3 bars)'
    """
    return ", ".join(
        f"{symbol} {row['level'] * 1e4:+.1f} bp (spread {row['spread'] * 1e4:.1f} bp, "
        f"{row['bars']} bars)"
        if row["bars"]
        else f"{symbol} unknown (no common bar)"
        for symbol, row in found.items()
    )
