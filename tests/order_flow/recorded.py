"""Recordings made by hand, and the real ones beside the project."""

from pathlib import Path

import polars as pl

from research import schema

RAW = Path(__file__).resolve().parents[3] / "shared/data/raw"
KLINES = RAW.parent / "klines_1m/spot_ohlcv_2024-07_08/BTCUSDT.parquet"
SECOND = 1_000_000


def table(kind, rows):
    """Rows of dicts as a table of `schema`; what is not said is null."""
    columns = getattr(schema, kind)
    full = [{name: row.get(name) for name in columns} for row in rows]
    plain = {name: pl.Int64 if t == schema.TIME else t for name, t in columns.items()}
    return pl.DataFrame(full, schema=plain).cast(columns)


def trade(at, price, quantity=1.0, side=1, number=None, symbol="A"):
    """One trade at a microsecond; it is received at the same moment."""
    said = {"symbol": symbol, "connection": 0, "received_ns": at * 1000, "sent": at, "time": at}
    return {**said, "trade_id": number, "price": price, "quantity": quantity, "taker_side": side}


def quote(at, bid, ask, bid_quantity=1.0, ask_quantity=1.0, symbol="A"):
    """One quote at a microsecond."""
    said = {"symbol": symbol, "connection": 0, "received_ns": at * 1000, "sent": at, "time": at}
    sizes = {"bid_quantity": bid_quantity, "ask_quantity": ask_quantity}
    return {**said, **sizes, "bid": bid, "ask": ask}


def gap(start, end, stream="trade", symbol="A"):
    """One declared gap between two microseconds."""
    span = {"start_ns": start * 1000, "end_ns": None if end is None else end * 1000}
    return {"symbol": symbol, "stream": stream, **span, "reason": "connection lost"}


def recording(trades=(), quotes=(), gaps=(), messages=(), levels=(), market="um"):
    """A recording of hand-made rows, numbered in the order of their receipt."""
    rows = sorted([*trades, *quotes], key=lambda row: row["received_ns"])
    for number, row in enumerate(rows):
        row["message"] = number
    return schema.Recording(
        "binance",
        market,
        table("MESSAGES", messages),
        table("LEVELS", levels),
        table("QUOTES", [row for row in rows if "bid" in row]),
        table("TRADES", [row for row in rows if "price" in row]),
        table("GAPS", gaps),
        len(rows),
        0,
    )
