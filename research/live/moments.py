"""What a feed hands to the runner: closed bars, all symbols of one close together."""

from __future__ import annotations

from typing import NamedTuple


class Bar(NamedTuple):
    """One closed bar; times in microseconds since 1970 UTC, extras None where a venue has none."""

    symbol: str
    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float | None = None
    trades: int | None = None
    taker_buy_volume: float | None = None
    taker_buy_quote_volume: float | None = None
    source: str = "stream"
    """How it came: ``stream``, ``rest`` (asked for at the deadline) or ``backfill``."""


class Moment(NamedTuple):
    """All bars that closed at `time`, sorted by symbol; a symbol without a bar is absent."""

    time: int
    bars: tuple[Bar, ...]
    known: int
    """When the last of them became known, by the feed's clock."""
