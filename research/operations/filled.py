"""Fills of a day, each beside the recorded bar in which it was made: what it paid, what was said.

Tables in, tables out; amounts in quote currency, rates as fractions of price.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from research.live.record import table

INSIDE = ("stop", "take", "liquidation")
"""Exits at a level within a bar, of whose price before costs the bar does not tell."""
_KINDS = {
    "symbol": "text",
    "time": "us",
    "reason": "text",
    "side": "count",
    "quantity": "number",
    "price": "number",
    "reference": "number",
    "fee": "number",
}


def paper(trades: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the two fills of each round trip; its fees are shared by what was traded."""
    rows = []
    for trade in trades:
        worth = trade["quantity"] * (trade["entry_price"] + trade["exit_price"])
        for end, side in (("entry", trade["side"]), ("exit", -trade["side"])):
            rows.append(
                {
                    "symbol": trade["symbol"],
                    "time": trade[f"{end}_time"],
                    "reason": trade[f"{end}_reason"],
                    "side": side,
                    "quantity": trade["quantity"],
                    "price": trade[f"{end}_price"],
                    "reference": None,
                    "fee": trade["fees"] / worth if worth else 0.0,
                }
            )
    return table(rows, _KINDS)


def live(booked: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the venue's fills as the desk booked them."""
    rows = []
    for fill in booked:
        size = abs(fill["quantity"])
        rows.append(
            {
                "symbol": fill["symbol"],
                "time": fill["time"],
                "reason": fill["reason"],
                "side": 1 if fill["quantity"] > 0 else -1,
                "quantity": size,
                "price": fill["price"],
                "reference": fill["reference"],
                "fee": fill["fee"] / (size * fill["price"]),
            }
        )
    return table(rows, _KINDS)


def beside(fills: pl.DataFrame, bars: pl.DataFrame, rules: Mapping[str, Any]) -> pl.DataFrame:
    """Put to each fill its price before costs, and the costs that were said.

    Parameters
    ----------
    fills : pl.DataFrame
        As `paper` and `live` return them.
    bars : pl.DataFrame
        Recorded rows: ``symbol, time, open_time, open, close, half_spread, impact``.
    rules : mapping
        The numbers of the desk, as its journal has them.
    """
    kept = ("symbol", "open_time", "time", "open", "close", "half_spread", "impact")
    known = bars.select(kept).rename({"time": "closed"}).sort("open_time")
    found = fills.sort("time").join_asof(
        known, left_on="time", right_on="open_time", by="symbol", check_sortedness=False
    )
    passed = (pl.col("time") - pl.col("open_time")) / (pl.col("closed") - pl.col("open_time"))
    moved = pl.col("open") + (pl.col("close") - pl.col("open")) * passed.clip(0.0, 1.0)
    inside = pl.col("reason").is_in(INSIDE) | (pl.col("reason") == "end")
    told = pl.when(~inside).then(moved)
    notional = pl.col("quantity") * pl.col("reference")
    said = pl.col("half_spread") + float(rules["slippage"])
    said = said + pl.col("impact") * notional.sqrt()
    made = found.with_columns(reference=pl.coalesce("reference", told)).with_columns(
        notional=pl.col("quantity") * pl.col("price"),
        slippage=pl.col("side") * (pl.col("price") / pl.col("reference") - 1),
        slippage_assumed=pl.lit(None, pl.Float64) if rules["walks"] else said,
        fee_assumed=pl.lit(float(rules["fee"])),
    )
    first = ("symbol", "time", "reason", "side", "quantity", "price", "reference", "notional")
    return made.select(*first, "slippage", "slippage_assumed", "fee", "fee_assumed").sort(
        "time", "symbol", maintain_order=True
    )


def costs(fills: pl.DataFrame, funding: float, funding_assumed: float | None) -> pl.DataFrame:
    """Add up what fills cost beside what was said; see `yesterday.Day.costs`."""
    whole = float(fills["notional"].sum())
    both = fills.drop_nulls(["slippage", "slippage_assumed"])
    parts = {
        "fees": (fills, "fee"),
        "spread and slippage": (both, "slippage"),
    }
    rows: list[dict[str, Any]] = [
        {"cost": name, "fills": part.height}
        | {
            word: float((part["notional"] * part[column + end]).sum())
            for word, end in (("assumed", "_assumed"), ("measured", ""))
        }
        for name, (part, column) in parts.items()
    ]
    rows.append({"cost": "funding", "fills": None, "assumed": funding_assumed, "measured": funding})
    kinds = {"cost": pl.String, "fills": pl.Int64, "assumed": pl.Float64, "measured": pl.Float64}
    made = pl.DataFrame(rows, schema=kinds)
    share = 1e4 / whole if whole else None
    return made.with_columns(
        (pl.col("assumed") * share).alias("assumed_bps"),
        (pl.col("measured") * share).alias("measured_bps"),
    )
