"""Where bars lie in the lake, and which of them a question means."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from research.errors import UserError, nearest
from research.store import atomic
from research.store.shelf import Shelf, open_shelf
from research.units import duration, show

Moment = datetime | date | str | None


def folder(venue: str, market: str, symbol: str, interval: timedelta, root: Path | None) -> Path:
    """Name the folder of one symbol's bars."""
    for name in (venue, market, symbol):
        if not name or name.startswith(".") or set(name) & set('/\\\0"'):
            raise UserError(f"store: {name!r} cannot be the name of a folder. Use letters, digits.")
    length = show(interval).replace(" ", "")
    return (root or atomic.data_root()) / "bars" / venue / market / symbol / length


def shelves(venue: str, market: str, interval: timedelta, root: Path | None) -> list[Shelf]:
    """Open all symbols' bars of one venue, market and length, sorted by symbol."""
    some = folder(venue, market, "_", interval, root)
    found = sorted(some.parent.parent.glob(f"*/{some.name}"))
    return [shelf for place in found if (shelf := open_shelf(place))]


def folders(root: Path | None) -> list[Path]:
    """List the folders of all stored bars."""
    return sorted(((root or atomic.data_root()) / "bars").glob("*/*/*/*"))


def chosen(
    venue: str,
    market: str,
    interval: timedelta,
    symbols: list[str] | None,
    low: datetime | None,
    high: datetime | None,
    root: Path | None,
) -> Iterator[tuple[Shelf, list[str]]]:
    """Yield the shelves asked for, each with its months inside the span."""
    stored = {shelf.symbol: shelf for shelf in shelves(venue, market, interval, root)}
    if not stored:
        raise UserError(_nothing(venue, market, interval, root))
    for symbol in sorted(stored if symbols is None else set(symbols)):
        if symbol not in stored:
            raise UserError(
                f"store: {venue}/{market} holds no {symbol}.{nearest(symbol, list(stored))} "
                f"Stored: {', '.join(sorted(stored))}."
            )
        shelf = stored[symbol]
        first = f"{low:%Y-%m}" if low else ""
        last = f"{high - timedelta(microseconds=1):%Y-%m}" if high else "9999-12"
        yield shelf, [month for month in shelf.months() if first <= month <= last]


def _nothing(venue: str, market: str, interval: timedelta, root: Path | None) -> str:
    lengths = {(f.parts[-4], f.parts[-3], show(duration(f.name))) for f in folders(root)}
    stored = ", ".join(" ".join((f"{v}/{m}", length)) for v, m, length in sorted(lengths))
    return (
        f"store: no {show(interval)} bars of {venue}/{market}. Stored: {stored or 'nothing'}. "
        "Fetch them with ./run download."
    )


def span(start: Moment, end: Moment) -> tuple[datetime | None, datetime | None]:
    """Read both ends of a span as UTC; an open end is None."""
    low, high = _utc(start, "start"), _utc(end, "end")
    if low is not None and high is not None and high <= low:
        raise UserError(f"store: end {end} is not after start {start}. Name a later end.")
    return low, high


def _utc(moment: Moment, name: str) -> datetime | None:
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError as error:
            raise UserError(
                f"store: {name} {moment!r} is no time. Write it as 2025-05-18 or 2025-05-18T06:00Z."
            ) from error
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
