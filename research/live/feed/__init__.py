"""Where closed bars come from: Binance, Bybit, Kraken, or stored ones; behind one interface.

A feed hands out one `Moment` for each close, in order, once. What the streams do not bring by a
deadline is asked for by REST, and all of Kraken's is; nothing is made up, and a bar that has not
closed never gets in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from research.errors import UserError, nearest
from research.live.clock import Clock
from research.live.feed.assembly import Note
from research.live.feed.limits import Limits
from research.live.moments import Moment
from research.live.net import Network

if TYPE_CHECKING:
    import polars as pl

    from research.live.feed.venue_feed import Wanted

VENUES = ("binance", "bybit", "kraken", "replay")
__all__ = ["VENUES", "Feed", "Limits", "open"]


class Feed(Protocol):
    """Closed bars of one venue."""

    async def history(self, start_us: int, end_us: int) -> pl.DataFrame:
        """Return the closed bars with ``start_us < time <= end_us`` as `schema.BARS`."""

    def moments(self, after_us: int) -> AsyncIterator[Moment]:
        """Yield each close after `after_us`, in order, once: missed ones first, then live."""

    def health(self) -> list[dict[str, Any]]:
        """Return for each stream name, state, last_us, messages, reconnects, skew_us and more."""

    def checks(self) -> dict[str, int]:
        """Return how bars and trades agree: ``compared``, ``disagree``, ``missing``; empty: no."""

    async def close(self) -> None:
        """End all connections and tasks."""


def open(
    venue: str,
    network: Network,
    clock: Clock,
    symbols: list[str],
    interval_us: int,
    *,
    note: Note,
    deadline_us: int = 2_000_000,
    stale_us: int = 65_000_000,
    bars: pl.DataFrame | Path | None = None,
    prints: bool = False,
    book_delay: int | None = None,
    limits: Limits | None = None,
    names: Mapping[str, str] | None = None,
) -> Feed:
    """Return a feed; connections begin with the first call that needs them.

    Parameters
    ----------
    venue : str
        ``binance`` (USD-M), ``bybit`` (linear), ``kraken`` (spot, by REST alone) or ``replay``.
    network : Network
        How the venue is reached; it stays open when the feed is closed.
    clock : Clock
        Market time.
    symbols : list of str
        As the venue writes them, or as `names` does.
    interval_us : int
        Length of a bar, microseconds.
    note : callable
        ``note(kind, body)`` for what happens beside bars: ``revision`` (both versions and which
        was acted on), ``gap``, ``reconnect``, ``stale``, ``rejected``, ``backfill``, ``alarm``,
        ``trades_disagree``, ``trades_missing``.
    deadline_us : int
        After a close, market microseconds, when a bar that has not come is asked for by REST;
        of Kraken every bar.
    stale_us : int
        Silence of a stream, market microseconds, that is an alarm.
    bars : pl.DataFrame or Path, optional
        What ``replay`` plays.
    prints : bool
        Whether aggregate trades are streamed too and klines checked against them; Binance alone.
    book_delay : int, optional
        After a bar's open, microseconds, when the book is looked at that fills in it walk: each
        moment then carries those in force. Absent: books are not streamed. Binance alone.
    limits : Limits, optional
        In real seconds.
    names : mapping of str to str, optional
        What the venue calls the symbols, where it is something else: bars and notes keep theirs.

    Raises
    ------
    UserError
        If the venue is unknown, has no bars of that length, or does not show what is asked for.

    Examples
    --------
    >>> from research.live.clock import WallClock
    >>> open("binanse", Network(), WallClock(), ["A"], 60_000_000, note=print)
    Traceback (most recent call last):
    research.errors.UserError: live.feed must be binance, bybit, kraken, replay, found 'binanse'...
    """
    if venue not in VENUES:
        known = nearest(venue, list(VENUES))
        raise UserError(f"live.feed must be {', '.join(VENUES)}, found {venue!r}.{known}")
    if venue != "binance":
        _plain(venue, prints, book_delay)

    def made(called: list[str], told: Note) -> Feed:
        if venue == "replay":
            return _replayed(bars, clock, called, interval_us)
        from research.live.feed.venue_feed import Wanted

        patience = deadline_us, stale_us, told, limits or Limits()
        wanted = Wanted(network, clock, called, interval_us, *patience)
        return _of_venue(venue, wanted, prints, book_delay)

    if names is None or all(names[symbol] == symbol for symbol in symbols):
        return made(symbols, note)
    from research.live.feed.named import Named

    return Named(made, {symbol: names[symbol] for symbol in symbols}, note)


def _replayed(
    bars: pl.DataFrame | Path | None, clock: Clock, symbols: list[str], interval: int
) -> Feed:
    from research.live.feed.replay import ReplayFeed

    if bars is None:
        raise UserError("live.feed replay: needs stored bars to play. Name their table.")
    return ReplayFeed(bars, clock, symbols, interval)


def _of_venue(venue: str, wanted: Wanted, prints: bool, book_delay: int | None) -> Feed:
    from research.live.feed.binance import Binance
    from research.live.feed.bybit import Bybit
    from research.live.feed.kraken import Kraken
    from research.live.feed.polled import PolledFeed
    from research.live.feed.streamed import StreamedFeed

    symbols, interval = wanted.symbols, wanted.interval
    if venue == "kraken":
        return PolledFeed(Kraken(symbols, interval), wanted)
    if venue == "bybit":
        return StreamedFeed(Bybit(symbols, interval), wanted)
    books = book_delay is not None
    source = Binance(symbols, interval, prints=prints, books=books)
    return StreamedFeed(source, wanted, book_delay=book_delay)


def _plain(venue: str, prints: bool, book_delay: int | None) -> None:
    """Refuse what a feed cannot give."""
    if prints:
        why = {
            "bybit": "Bybit's trades carry no running number by which one that is missing shows",
            "kraken": "Kraken's bars come by REST, without trades",
        }
        raise UserError(
            f"live.check_trades: is for Binance, found the feed {venue!r}: "
            f"{why.get(venue, 'stored bars come without trades')}. Leave it out."
        )
    if book_delay is not None:
        raise UserError(
            f"costs.fill: 'book' needs a feed of books, which is Binance's, found {venue!r}. Take "
            "costs.fill=open."
        )
