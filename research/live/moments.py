"""What a feed hands to the runner: closed bars, all symbols of one close together; its record."""

from __future__ import annotations

from typing import Any, NamedTuple


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


class Levels(NamedTuple):
    """The best levels of an order book: pairs of price and quantity, the best first."""

    time: int
    """When it was so, microseconds since 1970 UTC."""
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]


class Moment(NamedTuple):
    """All bars that closed at `time`, sorted by symbol; a symbol without a bar is absent."""

    time: int
    bars: tuple[Bar, ...]
    known: int
    """When the last of them became known, by the feed's clock."""
    levels: dict[str, Levels] | None = None
    """By symbol the book in force when an order is filled in these bars; a symbol without is
    absent. None: books are not asked for."""


class Scored(NamedTuple):
    """A bar, what the model made of it, and what a fill inside it pays: a row for the desk."""

    bar: Bar
    features: str | None
    """Hash of the row of features; None where one of them is not known."""
    model: str | None
    forecast: float | None
    """Expected simple return over the horizon, a fraction."""
    told: float
    """What the rule is told: the forecast or a signed probability; NaN: not known."""
    bin: int
    """Quantile bin of the forecast from 1; 0: not known."""
    sigma: float
    """Volatility of one bar's simple return; NaN: not known."""
    half_spread: float
    impact: float
    challenger: float | None = None
    """What the model in the shadow says."""
    levels: Levels | None = None
    """The book that fills in this bar walk; None: none was shown, or none is asked for."""


def untold(row: Scored) -> Scored:
    """Return a row that came too late: it is booked, but nothing is decided on it."""
    return row._replace(told=float("nan"), bin=0)


def recorded(
    moment: Moment, rows: list[Scored], step: Any, *, late: bool, state: int, took: dict[str, int]
) -> dict[str, Any]:
    """Return the record of a moment: what was seen, what was decided, what it came to."""
    said = [
        {
            **row.bar._asdict(),
            **{n: value for n, value in row._asdict().items() if n not in ("bar", "levels")},
            **({} if row.levels is None else {"levels": row.levels._asdict()}),
            "reason": reason,
            "position": position,
        }
        for row, reason, position in zip(rows, step.reasons, step.positions)
    ]
    return {
        "time": moment.time,
        "late": late,
        "control": state,
        "equity": step.equity,
        "rows": said,
        "trades": step.trades,
        "flows": step.flow,
        "latency": took,
    }
