"""Tables of a recording: books and trades in S3's columns, quotes and full-depth changes in ours.

``lob`` has a row for each message after which the book is proven, best 20 levels a side; where a
row is missing the ledger says why. ``depth`` has a row for each level of each message, snapshots
included, so that any book can be built again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from research.order_book import Builder
from research.order_book.building import Built
from research.schema import Recording

LEVELS = 20
KINDS = {"lob": "snappy", "trades": "snappy", "quotes": "zstd", "depth": "zstd"}
"""Tables, and how each is packed: S3's as S3 does."""
_SIDES = {1: "buy", -1: "sell"}


class Tables:
    """Makes the tables of one recording, part after part; the books go on from part to part.

    Parameters
    ----------
    exchange : str
        What the column `exchange` says.
    """

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange
        self._builders: dict[str, Builder] = {}

    def read(self, part: Recording) -> Iterator[tuple[str, str, pl.DataFrame]]:
        """Yield kind, symbol and rows, with the day they belong to in `day`.

        The day is that of the venue's time, in UTC; of the receipt where it says none.
        """
        for symbol in part.messages["symbol"].unique(maintain_order=True):
            messages = part.messages.filter(symbol=symbol)
            yield "depth", symbol, _dated(_changes(messages, part.levels))
            yield "lob", symbol, self._books(symbol, messages, part)
        for kind, table in (("quotes", part.quotes), ("trades", part.trades)):
            for symbol in table["symbol"].unique(maintain_order=True):
                rows = _dated(table.filter(symbol=symbol))
                yield kind, symbol, self._trades(rows) if kind == "trades" else rows

    def _books(self, symbol: str, messages: pl.DataFrame, part: Recording) -> pl.DataFrame:
        builder = self._builders.get(symbol)
        if builder is None:
            builder = Builder(venue=part.venue, market=part.market, depth=LEVELS)
            self._builders[symbol] = builder
        return books(builder.add(messages, part.levels), self._exchange)

    def _trades(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select(
            pl.lit(self._exchange).alias("exchange"),
            "symbol",
            _milliseconds(),
            (pl.col("received_ns") // 1_000_000).alias("local_timestamp"),
            pl.col("trade_id").cast(pl.String),
            "price",
            "quantity",
            (pl.col("taker_side") < 0).alias("is_buyer_maker"),
            pl.col("taker_side").replace_strict(_SIDES, return_dtype=pl.String).alias("side"),
            "day",
        )


def books(built: Built, exchange: str) -> pl.DataFrame:
    """Return proven states in S3's 87 columns, and `day`.

    Times are milliseconds; a level that is not there is null.
    """
    bid, ask = built.levels[:, 0, 0, 0], built.levels[:, 1, 0, 0]
    kept = built.proven & (bid > 0) & (bid < ask)
    received = built.received_ns[kept]
    time = np.where(built.time_us[kept] > 0, built.time_us[kept], received // 1000)
    columns = {
        "timestamp": time // 1000,
        "local_timestamp": received // 1_000_000,
        "sequence": built.update_id[kept],
        "mid_price": (bid[kept] + ask[kept]) / 2,
        "spread": ask[kept] - bid[kept],
    }
    levels = built.levels[kept]
    for level in range(LEVELS):
        for side, name in enumerate(("bid", "ask")):
            columns[f"{name}_price_{level}"] = levels[:, side, level, 0]
            columns[f"{name}_qty_{level}"] = levels[:, side, level, 1]
    table = pl.DataFrame(columns)
    named = table.select(
        pl.lit(exchange).alias("exchange"), pl.lit(built.symbol).alias("symbol"), pl.all()
    )
    absent = pl.col(r"^(bid|ask)_(price|qty)_\d+$")
    return named.with_columns(
        pl.when(absent > 0).then(absent).name.keep(),
        day=pl.from_epoch("timestamp", time_unit="ms").dt.strftime("%Y%m%d"),
    )


def _changes(messages: pl.DataFrame, levels: pl.DataFrame) -> pl.DataFrame:
    """One row a level; a message without levels has one row without."""
    return messages.join(levels, on="message", how="left", maintain_order="left_right")


def _dated(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(day=_moment().dt.strftime("%Y%m%d"))


def _moment() -> pl.Expr:
    received = pl.from_epoch("received_ns", time_unit="ns").dt.cast_time_unit("us")
    return pl.coalesce("time", "sent", received.dt.replace_time_zone("UTC"))


def _milliseconds() -> pl.Expr:
    return _moment().dt.epoch("ms").alias("timestamp")
