"""What is checked of a wish for bars before any venue is asked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from research.errors import UserError


def named(venue: str, symbols: Iterable[str], *, like: str) -> list[str]:
    """Return the symbols of a wish, each once, in its order.

    Parameters
    ----------
    venue : str
        Who is asked.
    symbols : iterable of str
        One alone need be in no list.
    like : str
        An example of one.

    Raises
    ------
    UserError
        If there is none.

    Examples
    --------
    >>> named("kraken", ["BTC-USD", "ETH-USD", "BTC-USD"], like="BTC-USD")
    ['BTC-USD', 'ETH-USD']
    """
    found = [symbols] if isinstance(symbols, str) else list(dict.fromkeys(symbols))
    if not found:
        raise UserError(f"{venue}: no symbol is asked for. Name some, as in data.symbols={like}.")
    return found


def span(venue: str, start: datetime, end: datetime | None, now: datetime | None = None) -> None:
    """Refuse a span of time without its zone, or one that ends before it starts.

    Examples
    --------
    >>> span("kraken", datetime(2026, 2, 6), None)
    Traceback (most recent call last):
    research.errors.UserError: kraken: start 2026-02-06 00:00:00 has no time zone. Say it in UTC.
    """
    for what, moment in (("start", start), ("end", end), ("now", now)):
        if moment is not None and moment.tzinfo is None:
            raise UserError(f"{venue}: {what} {moment} has no time zone. Say it in UTC.")
    if end is not None and end <= start:
        raise UserError(
            f"{venue}: end {end:%Y-%m-%d %H:%M}Z must lie after start {start:%Y-%m-%d %H:%M}Z."
        )
