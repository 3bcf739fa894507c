"""Stored bars played again as if they closed now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import polars as pl

from research import schema
from research.errors import UserError
from research.live.clock import Clock, ReplayClock
from research.live.moments import Bar, Moment


class ReplayFeed:
    """A table of bars behind the interface of a live venue; no network.

    With a `ReplayClock` time flows at its speed and stands at each close until the next moment is
    asked for; with another clock each moment comes when that clock has reached it.

    Parameters
    ----------
    bars : pl.DataFrame or Path
        `schema.BARS`, or a Parquet file of it.
    clock : Clock
        Market time.
    symbols : list of str
        Those played; others in the table are not.
    interval : int
        Length of a bar, microseconds.

    Raises
    ------
    UserError
        If the table lacks a symbol or holds bars of another length.
    """

    def __init__(
        self, bars: pl.DataFrame | Path | str, clock: Clock, symbols: list[str], interval: int
    ) -> None:
        whole = bars if isinstance(bars, pl.DataFrame) else pl.read_parquet(bars)
        table = schema.as_table(whole, schema.BARS, "replay")
        self._table = table.filter(pl.col("symbol").is_in(symbols)).select(list(schema.BARS))
        if absent := sorted(set(symbols) - set(self._table["symbol"])):
            raise UserError(f"replay: the bars hold no {', '.join(absent)}. Name stored symbols.")
        span = pl.duration(microseconds=interval)
        if not (self._table["time"] - self._table["open_time"]).eq(pl.select(span).item()).all():
            raise UserError(f"replay: bars must last {interval // 1_000_000} s, found others.")
        self._clock, self._symbols = clock, sorted(symbols)
        self._last = dict.fromkeys(self._symbols, 0)
        self._count = dict.fromkeys(self._symbols, 0)

    async def history(self, start_us: int, end_us: int) -> pl.DataFrame:
        """Return the bars with ``start_us < time <= end_us``."""
        time = pl.col("time").dt.epoch("us")
        return self._table.filter(time > start_us, time <= end_us)

    async def moments(self, after_us: int) -> AsyncIterator[Moment]:
        """Yield the closes after `after_us`, in order; ends with the table."""
        time = pl.col("time").dt.epoch("us")
        later = self._table.filter(time > after_us).sort("time", "symbol")
        for (at,), rows in later.group_by(time.alias("at"), maintain_order=True):
            close = int(at)
            if isinstance(self._clock, ReplayClock):
                self._clock.play_to(close)
            await self._clock.sleep_until(close)
            yield Moment(close, tuple(self._bars(rows, close)), max(close, self._clock.now()))

    def checks(self) -> dict[str, int]:
        """Return nothing: stored bars are not checked again."""
        return {}

    def health(self) -> list[dict[str, Any]]:
        """Return a row for each symbol."""
        return [
            {
                "name": symbol,
                "state": "live",
                "last_us": self._last[symbol] or None,
                "messages": self._count[symbol],
                "reconnects": 0,
                "rejected": 0,
                "route": "replay",
                "skew_us": 0,
                "skew_error_us": 0,
            }
            for symbol in self._symbols
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to give back."""

    def _bars(self, rows: pl.DataFrame, close: int) -> list[Bar]:
        bars = []
        for row in rows.drop("time").with_columns(pl.col("open_time").dt.epoch("us")).iter_rows():
            bars.append(Bar(*row))
            self._last[row[0]] = close
            self._count[row[0]] += 1
        return bars
