"""Leaks on the way from the source to the bars."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from research.audit.mutations.switch import mutation

KEY = ["symbol", "time"]
RESAMPLE = "research.bars:resample"
LOAD = "research.datasets:load"


@mutation(
    "unclosed_candle",
    "a longer bar is used before all its minutes have passed, at the end and at a gap",
    RESAMPLE,
)
def _unclosed(real: Any) -> Any:
    def resample(bars: pl.DataFrame, interval: timedelta, *, sparse: bool = False) -> pl.DataFrame:
        whole = real(bars, interval, sparse=sparse)
        opened = pl.col("open_time").dt.truncate(interval)
        prices = [pl.col("open").first(), pl.col("high").max(), pl.col("low").min()]
        sums = pl.col("volume", "quote_volume", "trades").sum()
        takers = pl.col("taker_buy_volume", "taker_buy_quote_volume").sum()
        every = bars.group_by("symbol", opened).agg(*prices, pl.col("close").last(), sums, takers)
        every = every.with_columns(time=pl.col("open_time") + interval)
        open_ = every.join(whole, on=KEY, how="anti").select(whole.columns)
        return pl.concat([whole, open_]).sort(KEY)

    return resample


@mutation(
    "stamped_at_open",
    "a longer bar carries the time of its open, so that its close is known before it came",
    RESAMPLE,
)
def _stamped(real: Any) -> Any:
    def resample(bars: pl.DataFrame, interval: timedelta, *, sparse: bool = False) -> pl.DataFrame:
        table = real(bars, interval, sparse=sparse)
        return table.with_columns(pl.col("time", "open_time") - interval)

    return resample


@mutation(
    "backfilled_bars",
    "minutes that are missing are filled with the ones that came after the hole",
    RESAMPLE,
)
def _backfilled(real: Any) -> Any:
    def resample(bars: pl.DataFrame, interval: timedelta, *, sparse: bool = False) -> pl.DataFrame:
        length: Any = (bars["time"] - bars["open_time"]).min()
        parts = [
            rows.sort("time").upsample("time", every=length).fill_null(strategy="backward")
            for _, rows in bars.group_by("symbol", maintain_order=True)
        ]
        full = pl.concat(parts).with_columns(open_time=pl.col("time") - length)
        return real(full.select(bars.columns), interval, sparse=sparse)

    return resample


@mutation(
    "survivorship",
    "only coins that are still traded at the end of the sample are in it from the beginning",
    LOAD,
)
def _survivors(real: Any) -> Any:
    def load(study: Any, **more: Any) -> pl.DataFrame:
        table = real(study, **more)
        return table.filter(pl.col("time").max().over("symbol") == pl.col("time").max())

    return load


@mutation(
    "later_winners",
    "the coins are chosen by how far they had risen by the end of the sample",
    LOAD,
)
def _winners(real: Any) -> Any:
    def load(study: Any, **more: Any) -> pl.DataFrame:
        table = real(study, **more)
        rise = pl.col("close").last() / pl.col("close").first()
        ranked = table.group_by("symbol").agg(rise.alias("rise")).sort("rise", "symbol")
        return table.filter(pl.col("symbol").is_in(ranked["symbol"][1:].to_list()))

    return load
