"""From ticks, lots and milliseconds of every symbol to one recording, as a venue would send it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import schema
from research.sources.simulated.flow.draws import Drawn, Ints, stream
from research.sources.simulated.flow.plan import STEP_MS

TICKS = 10
"""Ticks of a unit of price; a lot is a unit of quantity, so that sums of quantities are exact."""
FIRST_ID, FIRST_TRADE, SKIPPED = 5_000_000_000, 100_000, 2
LATENCY_MS, LATENCY_SPREAD_MS = 2.0, 0.5
"""Least time on the way, and the mean of what comes on top."""
_LAST = 1 << 60


class Place(NamedTuple):
    """Where and when a market is recorded."""

    venue: str
    market: str
    start_us: int
    offset_us: int
    """What the venue's clock is ahead of the recorder's."""
    seed: int


def name_of(number: int) -> str:
    """Return a symbol's name.

    >>> name_of(1)
    'SIM01USDT'
    """
    return f"SIM{number:02d}USDT"


def recording(drawn: list[Drawn], place: Place) -> schema.Recording:
    """Return everything that was sent of all symbols, in the order of its receipt."""
    made: dict[str, pl.DataFrame] = {}
    for name, write in (("messages", _books), ("quotes", _quotes), ("trades", _trades)):
        parts = [_of(write(one, place), number) for number, one in enumerate(drawn, 1)]
        made[name] = pl.concat(parts)
    order = _order(made, place)
    made = {name: _received(table, order, name, place) for name, table in made.items()}
    levels = pl.concat([_of(_levels(one), number) for number, one in enumerate(drawn, 1)])
    tied = levels.join(made["messages"].select("symbol", "step", "message"), on=["symbol", "step"])
    return schema.Recording(
        venue=place.venue,
        market=place.market,
        messages=_shaped(made["messages"], schema.MESSAGES),
        levels=_shaped(tied.sort("message", "row"), schema.LEVELS),
        quotes=_shaped(made["quotes"], schema.QUOTES),
        trades=_shaped(made["trades"], schema.TRADES),
        gaps=pl.DataFrame(schema=schema.GAPS),
        lines=order.height,
        bad=0,
    )


def _shaped(table: pl.DataFrame, columns: dict[str, Any]) -> pl.DataFrame:
    return table.select(pl.col(name).cast(dtype) for name, dtype in columns.items())


def _of(table: pl.DataFrame, number: int) -> pl.DataFrame:
    return table.with_columns(symbol=pl.lit(name_of(number)), number=pl.lit(number))


def _ids(one: Drawn, place: Place) -> Ints:
    """Id of the update that made each event; a depth message ends at the last one of its step."""
    step = one.events[:, 0] + 1
    skipped = 0 if place.market == "spot" else SKIPPED
    return FIRST_ID + np.arange(len(step)) + skipped * step


def _books(one: Drawn, place: Place) -> pl.DataFrame:
    """Write a snapshot, and a depth message of every step, in the ids of a venue."""
    step = np.arange(-1, len(one.flow))
    ends = np.searchsorted(one.events[:, 0], step, side="right") - 1
    table = pl.DataFrame(
        {
            "step": step,
            "ms": STEP_MS * (step + 1),
            "rank": np.where(step < 0, -1, _LAST),
            "kind": np.where(step < 0, "snapshot", "update"),
            "last_id": _ids(one, place)[ends],
        }
    )
    none = pl.lit(None, pl.Int64)
    if place.venue == "bybit":
        count = FIRST_ID + pl.col("step") + 1
        blank = {"first_id": none, "previous_id": none}
        return table.with_columns(**blank, sequence=pl.col("last_id"), last_id=count)
    before, first = pl.col("last_id").shift(1), pl.col("step") == 0
    spot = place.market == "spot"
    # the first difference began before the snapshot, as it does where a recorder comes in
    begins = pl.when(first).then(before - 3).otherwise(before + 1 + (0 if spot else SKIPPED))
    ties = none if spot else pl.when(first).then(before - 5).otherwise(before)
    return table.with_columns(first_id=begins, previous_id=ties, sequence=none)


def _quotes(one: Drawn, place: Place) -> pl.DataFrame:
    _, bid, bid_lots, ask, ask_lots, _, _ = one.events.T
    return pl.DataFrame(
        {
            "ms": one.event_ms,
            "rank": 2 * np.arange(len(bid)) + 1,
            "update_id": _ids(one, place),
            "bid": bid / TICKS,
            "bid_quantity": bid_lots.astype(float),
            "ask": ask / TICKS,
            "ask_quantity": ask_lots.astype(float),
        }
    )


def _trades(one: Drawn, place: Place) -> pl.DataFrame:
    """Write trades, each before the quote that it left."""
    row, ticks, lots = one.prints.T
    ids = pl.Series(FIRST_TRADE + np.arange(len(row)))
    if place.venue == "bybit":  # names its trades by no number
        ids = pl.Series([None] * len(row), dtype=pl.Int64)
    return pl.DataFrame(
        {
            "ms": one.event_ms[row],
            "rank": 2 * row,
            "trade_id": ids,
            "price": ticks / TICKS,
            "quantity": np.abs(lots).astype(float),
            "taker_side": np.sign(lots),
        }
    )


def _levels(one: Drawn) -> pl.DataFrame:
    """Write levels as a venue does: bids before asks, a snapshot's best first."""
    step, side, ticks, lots = one.levels.T
    inward = np.where(step < 0, -side * ticks, ticks)
    order = np.lexsort((inward, -side, step))
    made = {"step": step, "side": side, "price": ticks / TICKS, "quantity": lots.astype(float)}
    return pl.DataFrame({name: values[order] for name, values in made.items()}).with_row_index(
        "row"
    )


def _order(tables: dict[str, pl.DataFrame], place: Place) -> pl.DataFrame:
    """Number everything in the order of receipt and say when it arrived, on one connection."""
    keys = [
        table.select("ms", "number", "rank", table=pl.lit(name)).with_row_index()
        for name, table in tables.items()
    ]
    order = pl.concat(keys).sort("ms", "number", "rank", "index")
    late = LATENCY_SPREAD_MS * stream(place.seed, 0, "latency").standard_exponential(order.height)
    sent = 1000 * (place.start_us - place.offset_us) + 1_000_000 * order["ms"].to_numpy()
    arrived = np.maximum.accumulate(sent + (1e6 * (LATENCY_MS + late)).astype(np.int64))
    return order.with_columns(
        message=pl.int_range(order.height), received_ns=pl.Series(arrived)
    ).select("table", "index", "message", "received_ns")


def _received(table: pl.DataFrame, order: pl.DataFrame, name: str, place: Place) -> pl.DataFrame:
    """Put a table in the order of receipt; a venue that says no time leaves it null."""
    mine = order.filter(table=name)
    moment = (place.start_us + 1000 * pl.col("ms")).cast(schema.TIME)
    if place.market == "spot":  # neither a best-level message nor a snapshot has a time there
        timeless = pl.lit(name == "quotes")
        if name == "messages":
            timeless = pl.col("kind") == "snapshot"
        moment = pl.when(~timeless).then(moment)
    return table[mine["index"]].with_columns(
        mine["message"], mine["received_ns"], connection=pl.lit(0), sent=moment, time=moment
    )
