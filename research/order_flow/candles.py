"""Bars from recorded trades: those that a venue publishes as klines, of any length."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from research import bars as bar_room
from research import schema
from research.units import show

_US = timedelta(microseconds=1)
_CONTRACT = {"BTC": 100.0}
_USUAL_CONTRACT = 10.0
"""What a COIN-M contract is worth, in US dollars: 100 on BTC, 10 on all else."""
_DIGITS = 8
"""Decimals that a venue writes: a sum of floats is one of them but for its last bits."""


def bars(recording: schema.Recording, interval: timedelta) -> pl.DataFrame:
    """Make the bars of a recording from its trades: those of whole intervals it was there for.

    Parameters
    ----------
    recording : schema.Recording
        With trades; a symbol without any has no bar.
    interval : timedelta
        Length of a bar; open times are multiples of it, counted from 1970-01-01 UTC.

    Returns
    -------
    pl.DataFrame, shape (n_bars, 12)
        `schema.BARS`. A trade belongs to the bar in which the exchange says it happened; of trades
        at one time the lower id is first. `volume` is in base currency, on COIN-M in contracts,
        whose `quote_volume` then is in base currency: as the venue's own klines have them. An
        interval without a trade is flat at the price before it. Absent are the intervals that the
        recording saw only a part of: at its ends, in a declared gap, and where trade ids jump.

    Notes
    -----
    A bar's numbers are known at its end by the exchange's clock.

    Examples
    --------
    >>> from research.order_flow.candles import bars
    >>> from research.schema import TRADES, Recording
    >>> rows = {"symbol": "A", "message": [0, 1, 2], "connection": 0, "received_ns": [0, 9, 10**9]}
    >>> rows |= {"sent": None, "time": [0, 900_000, 1_000_000], "trade_id": [1, 2, 3]}
    >>> rows |= {"price": [2.0, 3.0, 4.0], "quantity": 1.0, "taker_side": [1, -1, 1]}
    >>> trades = pl.DataFrame(rows).cast(TRADES)
    >>> empty = [pl.DataFrame(schema=getattr(schema, n)) for n in ("MESSAGES", "LEVELS", "QUOTES")]
    >>> made = Recording("binance", "um", *empty, trades, pl.DataFrame(schema=schema.GAPS), 3, 0)
    >>> bars(made, timedelta(seconds=1)).select("open", "close", "taker_buy_volume").row(0)
    (2.0, 3.0, 1.0)
    """
    trades = _in_order(recording.trades)
    if trades.is_empty():
        return pl.DataFrame(schema=schema.BARS)
    step = interval // _US
    spans = _seen(recording)
    made = _aggregated(trades, step, recording.market)
    whole = _with_quiet(made, trades, spans, step)
    for hole in (_declared(recording, spans), _jumps(trades)):
        whole = _outside(whole, hole, step)
    rows = whole.with_columns(pl.col("open_time").cast(schema.TIME))
    if rows.is_empty():
        return pl.DataFrame(schema=schema.BARS)
    name = f"bars of {show(interval)} from trades"
    return bar_room.clean(rows, interval=interval, name=name, sparse=True)[0]


def _in_order(trades: pl.DataFrame) -> pl.DataFrame:
    """Sort by when the exchange says trades happened; one told twice, after a reconnect, is one."""
    known = trades.with_columns(at=pl.coalesce("time", "sent").to_physical())
    known = known.drop_nulls(["at", "price"]).sort("symbol", "at", "trade_id", "message")
    named = known.filter(pl.col("trade_id").is_not_null())
    once = named.unique(["symbol", "trade_id"], keep="first", maintain_order=True)
    nameless = known.filter(pl.col("trade_id").is_null())
    return pl.concat([once, nameless]).sort("symbol", "at", "trade_id", "message")


def _seen(recording: schema.Recording) -> pl.DataFrame:
    """First and last moment of each symbol by the exchange's clock, and by the recorder's."""
    tables = (recording.messages, recording.quotes, recording.trades)
    at = pl.coalesce("time", "sent").to_physical().alias("at")
    rows = pl.concat(t.select("symbol", "received_ns", at) for t in tables)
    return rows.group_by("symbol").agg(
        first=pl.col("at").min(),
        last=pl.col("at").max(),
        # what the exchange's clock is ahead of the recorder's
        ahead=(pl.col("at") - pl.col("received_ns") // 1000).median().cast(pl.Int64),
    )


def _aggregated(trades: pl.DataFrame, step: int, market: str) -> pl.DataFrame:
    buyer, size = pl.col("taker_side") == 1, pl.col("quantity")
    quote = _quote(market)
    return (
        trades.group_by("symbol", (pl.col("at") // step * step).alias("open_time"))
        .agg(
            open=pl.col("price").first(),
            high=pl.col("price").max(),
            low=pl.col("price").min(),
            close=pl.col("price").last(),
            volume=size.sum().round(_DIGITS),
            quote_volume=quote.sum().round(_DIGITS),
            trades=pl.len().cast(pl.Int64),
            taker_buy_volume=size.filter(buyer).sum().round(_DIGITS),
            taker_buy_quote_volume=quote.filter(buyer).sum().round(_DIGITS),
        )
        .sort("symbol", "open_time")
    )


def _quote(market: str) -> pl.Expr:
    if market != "cm":
        return pl.col("price") * pl.col("quantity")
    coin = pl.col("symbol").str.slice(0, 3)
    worth = coin.replace_strict(_CONTRACT, default=_USUAL_CONTRACT, return_dtype=pl.Float64)
    return pl.col("quantity") * worth / pl.col("price")


def _with_quiet(
    made: pl.DataFrame, trades: pl.DataFrame, spans: pl.DataFrame, step: int
) -> pl.DataFrame:
    """Keep the intervals that lie inside a symbol's span, those without a trade flat."""
    begun = trades.group_by("symbol").agg(traded=pl.col("at").min() // step * step)
    first, last = -(-pl.col("first") // step) * step, pl.col("last") // step * step
    grid = (
        spans.join(begun, on="symbol")
        .with_columns(first=pl.max_horizontal(first, "traded"), last=last)
        .select("symbol", open_time=pl.int_ranges("first", "last", step))
        .filter(pl.col("open_time").list.len() > 0)
        .explode("open_time")
    )
    # the part of an interval before the first whole one still knows the price at its end
    quiet = grid.join(made, on=["symbol", "open_time"], how="anti")
    rows = pl.concat([made, quiet], how="diagonal")
    rows = rows.sort("symbol", "open_time").with_columns(
        pl.col("close").forward_fill().over("symbol")
    )
    counts = [c for c in ("volume", *schema.EXTRAS) if c in rows.columns]
    return rows.with_columns(
        *(pl.col(c).fill_null(pl.col("close")) for c in schema.PRICES), pl.col(counts).fill_null(0)
    ).join(grid, on=["symbol", "open_time"], how="semi", maintain_order="left")


def _declared(recording: schema.Recording, spans: pl.DataFrame) -> pl.DataFrame:
    """Return the recorder's gaps by the exchange's clock; one without an end reaches to the end."""
    gaps = recording.gaps.filter(_of_trades())
    own, all_s = (gaps.filter(pl.col("symbol").is_null() == of_all) for of_all in (False, True))
    known = [own.join(spans, on="symbol"), all_s.drop("symbol").join(spans, how="cross")]
    ahead = pl.col("ahead")
    return pl.concat(known, how="diagonal").select(
        "symbol",
        start=pl.col("start_ns") // 1000 + ahead,
        end=pl.coalesce(pl.col("end_ns") // 1000 + ahead, "last"),
    )


def _of_trades() -> pl.Expr:
    stream = pl.col("stream").str.to_lowercase()
    return stream.is_null() | stream.str.contains("trade|^$")


def _jumps(trades: pl.DataFrame) -> pl.DataFrame:
    """Return the stretches in which trades are missing by their ids."""
    same = pl.col("symbol") == pl.col("symbol").shift(1)
    jump = same & (pl.col("trade_id") - pl.col("trade_id").shift(1) > 1)
    return trades.select("symbol", start=pl.col("at").shift(1), end="at", jump=jump).filter("jump")


def _outside(rows: pl.DataFrame, holes: pl.DataFrame, step: int) -> pl.DataFrame:
    """Leave out the intervals that a hole touches."""
    first, last = (pl.col(end) // step * step for end in ("start", "end"))
    touched = (
        holes.filter(pl.col("start") <= pl.col("end"))
        .select("symbol", open_time=pl.int_ranges(first, last + step, step))
        .explode("open_time")
    )
    return rows.join(touched, on=["symbol", "open_time"], how="anti", maintain_order="left")
