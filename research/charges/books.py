"""Half-spreads estimated from recorded books: what a study's costs take."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError

LONGEST_QUOTE = timedelta(minutes=1)
QUOTES: dict[str, Any] = {
    "symbol": pl.String,
    "time": schema.TIME,
    "bid": pl.Float64,
    "ask": pl.Float64,
}


def half_spreads(quotes: Any) -> dict[str, float]:
    """Estimate each symbol's half-spread from recorded best bids and asks.

    Parameters
    ----------
    quotes : polars or pandas frame
        ``symbol, time, bid, ask``, one row per change of either; `bid` and `ask` are prices.

    Returns
    -------
    dict of str to float
        The median over time of ``(ask - bid) / (ask + bid)``, half the spread as a fraction of
        the mid: what `costs.half_spread` takes.

    Raises
    ------
    UserError
        If a price is not above zero, or a symbol has no time at which ask is at least bid.

    Notes
    -----
    A quote weighs as long as it stands, a minute at most: a longer silence is a hole in the
    recording. Crossed quotes, a book caught between two messages, weigh nothing.

    Examples
    --------
    >>> from datetime import datetime, timedelta, UTC
    >>> at = [datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=s) for s in (0, 1, 4)]
    >>> book = {"symbol": "A", "time": at, "bid": [99.0, 99.9, 98.0], "ask": [101.0, 100.1, 102.0]}
    >>> half_spreads(pl.DataFrame(book))
    {'A': 0.001}
    """
    return {
        symbol: round(_weighted_median(part["half"], part["weight"]), 12)
        for symbol, part in _standing(quotes).items()
    }


def hour_multiples(quotes: Any) -> list[float]:
    """Estimate how the half-spread moves with the UTC hour: what `costs.hours` takes.

    Parameters
    ----------
    quotes : polars or pandas frame
        As for `half_spreads`.

    Returns
    -------
    list of 24 float
        The median over symbols of an hour's half-spread over the symbol's own; 1.0 for an hour
        in which nothing was recorded.
    """
    found: list[list[float]] = [[] for _ in range(24)]
    for part in _standing(quotes).values():
        usual = _weighted_median(part["half"], part["weight"])
        for hour, rows in part.partition_by("hour", as_dict=True).items():
            if usual > 0 and rows["weight"].sum() > 0:
                ratio = _weighted_median(rows["half"], rows["weight"]) / usual
                found[int(hour[0])].append(ratio)
    return [round(float(np.median(ratios)), 6) if ratios else 1.0 for ratios in found]


def _standing(quotes: Any) -> dict[str, pl.DataFrame]:
    """Half-spread, hour and seconds of standing of each symbol's quotes."""
    table = schema.as_table(quotes, QUOTES, "quotes").drop_nulls(["bid", "ask"])
    wrong = (table["bid"] <= 0) | (table["ask"] <= 0)
    if wrong.any():
        raise UserError(f"quotes: prices must be above zero, first not {schema.at(table, wrong)}.")
    stands = (pl.col("time").shift(-1).over("symbol") - pl.col("time")).dt.total_microseconds()
    longest = LONGEST_QUOTE // timedelta(microseconds=1)
    rows = table.select(
        "symbol",
        half=(pl.col("ask") - pl.col("bid")) / (pl.col("ask") + pl.col("bid")),
        hour=pl.col("time").dt.hour(),
        weight=stands.fill_null(0).clip(0, longest) * (pl.col("ask") >= pl.col("bid")),
    )
    parts = {str(key[0]): part for key, part in rows.partition_by("symbol", as_dict=True).items()}
    for symbol, part in parts.items():
        if not part["weight"].sum():
            raise UserError(
                f"quotes: {symbol} has no quote that stands, with ask at least bid, until a later "
                "one. Record it for longer."
            )
    return parts


def _weighted_median(value: pl.Series, weight: pl.Series) -> float:
    order = value.arg_sort()
    total = weight.gather(order).cum_sum()
    return float(value.gather(order)[int((total >= total[-1] / 2).arg_max() or 0)])
