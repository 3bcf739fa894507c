"""From recorded messages to books: the state after each message, its proof, and the gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.order_book import chain, ledger
from research.order_book.core import Columns, Core, Found

DEPTH = 20


class Built(NamedTuple):
    """One symbol's book after each message that changed it."""

    symbol: str
    message: np.ndarray
    """int64, shape (n,): the message's place in the recording."""
    time_us: np.ndarray
    """int64, shape (n,): the venue's time, microseconds since 1970 UTC; 0 before it said one."""
    received_ns: np.ndarray
    """int64, shape (n,): the recorder's own clock."""
    update_id: np.ndarray
    """int64, shape (n,): the venue's id up to which the book is written, -1 where not known."""
    levels: np.ndarray
    """Shape (n, 2, depth, 2): bids, then asks, the best first; price and quantity, 0 for none."""
    proven: np.ndarray
    """bool, shape (n,): whether no message is missing that this book should hold, as known then.
    A book that is not proven holds true levels, but not all of them."""
    beyond: np.ndarray
    """bool, shape (n,): a level within `depth` may be missing, for it lies farther out than the
    snapshot did (1000 levels) and was never spoken of since."""
    gaps: pl.DataFrame
    """As `schema.GAPS`: all spans of receipt without proof."""
    first_ns: int
    last_ns: int
    """Receipt of the first and the last message of all."""
    coverage: float
    """Share of that span with proof."""
    applied: int
    """Updates written into a book that was or became proven."""
    dropped: int
    """Updates older than their snapshot, as usual after a start; snapshots older than the book."""
    duplicates: int
    """Messages that came again."""
    snapshots: int
    crossed: int
    """States with proof but for a best bid that is not below the best ask."""
    updates: int
    """Single levels written."""


def build(
    messages: pl.DataFrame,
    levels: pl.DataFrame,
    *,
    venue: str,
    market: str,
    depth: int = DEPTH,
    declared: pl.DataFrame | None = None,
) -> Built:
    """Rebuild one symbol's order book from its recorded messages.

    Parameters
    ----------
    messages : pl.DataFrame
        As `schema.MESSAGES`, of one symbol, in the order of receipt.
    levels : pl.DataFrame
        As `schema.LEVELS`; those of other symbols' messages are left alone.
    venue, market : str
        As in `schema.Recording`: whose chain proves that no message is missing; see `chain`.
    depth : int
        Levels a side in each state.
    declared : pl.DataFrame, optional
        As `schema.GAPS`: what the recorder says it missed.

    Returns
    -------
    Built
        A state after each message that changed the book, proven or not.

    Raises
    ------
    UserError
        If messages are of several symbols or out of order, or there are no rules for the venue.

    Notes
    -----
    A state knows what was received up to and including its message, but for one thing: updates
    that came before the first snapshot are held, and the state at the snapshot has them in. While
    there is no snapshot, or after a break, a book holds what was said since: each level is true,
    others are missing. Full depth is kept, at most `ladder.LEVELS` a side.
    """
    builder = Builder(venue=venue, market=market, depth=depth, declared=declared)
    return builder.add(messages, levels)


def build_all(
    recording: schema.Recording,
    *,
    depth: int = DEPTH,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Built]:
    """Rebuild the books of all symbols of a recording; see `build`.

    Examples
    --------
    >>> empty = [pl.DataFrame(schema=s) for s in (schema.MESSAGES, schema.LEVELS, schema.QUOTES)]
    >>> rest = [pl.DataFrame(schema=s) for s in (schema.TRADES, schema.GAPS)]
    >>> build_all(schema.Recording("binance", "um", *empty, *rest, 0, 0))
    {}
    """
    symbols = recording.messages["symbol"].unique(maintain_order=True).to_list()
    found = {}
    for number, symbol in enumerate(symbols, 1):
        found[symbol] = build(
            recording.messages.filter(pl.col("symbol") == symbol),
            recording.levels,
            venue=recording.venue,
            market=recording.market,
            depth=depth,
            declared=recording.gaps,
        )
        if progress is not None:
            progress(number / len(symbols))
    return found


class Builder:
    """A book that is handed its messages in pieces, so that a long recording needs little memory.

    Each `add` returns the states of its piece alone, with gaps, coverage and counts of all so far.
    Two files of one connection are joined by handing in the one after the other: where the ids go
    on, the second needs no snapshot.
    """

    def __init__(
        self,
        *,
        venue: str,
        market: str,
        depth: int = DEPTH,
        declared: pl.DataFrame | None = None,
        silence_ns: int = ledger.SILENCE_NS,
    ) -> None:
        if depth < 1:
            raise UserError(f"order_book: depth must be at least 1, found {depth}.")
        self._core = Core(chain.rules(venue, market), depth)
        self._declared = declared
        self._symbol: str | None = None
        self._ledger = ledger.Ledger(silence_ns)

    def add(self, messages: pl.DataFrame, levels: pl.DataFrame) -> Built:
        """Hear the next messages and return the states they made."""
        symbol = self._symbol_of(messages)
        new = columns(messages, levels)
        found = self._core.take(new)
        self._ledger.hear(new.received_ns, found)
        said = None if self._declared is None else ledger.declared_for(self._declared, symbol)
        return self._built(symbol, new, found, said)

    def pieces(
        self, messages: pl.DataFrame, levels: pl.DataFrame, *, rows: int = 100_000
    ) -> Iterator[Built]:
        """Yield the states of `rows` messages at a time."""
        for begin in range(0, messages.height, rows):
            yield self.add(messages[begin : begin + rows], levels)

    def _symbol_of(self, messages: pl.DataFrame) -> str:
        symbols = messages["symbol"].unique().sort().to_list()
        known = symbols[:1] if self._symbol is None else [self._symbol]
        if set(symbols) - set(known):
            raise UserError(
                f"order_book: messages must be of one symbol, found {', '.join(symbols)}, "
                f"expected {known[0]}. Filter them, or use build_all."
            )
        self._symbol = known[0] if known else None
        return self._symbol or ""

    def _built(self, symbol: str, new: Columns, found: Found, said: pl.DataFrame | None) -> Built:
        book, counted = self._ledger, self._core.counted
        gaps = book.table(symbol, said)
        first, last = book.first_ns or 0, book.last_ns
        changed = np.flatnonzero(found.done < chain.OLD)
        received, proven = new.received_ns[changed], found.proven[changed]
        if said is not None and said.height:
            proven = proven & ~ledger.inside(said, received)
        return Built(
            symbol=symbol,
            message=new.message[changed],
            time_us=found.time[changed],
            received_ns=received,
            update_id=found.update_id[changed],
            levels=found.levels if len(changed) == len(found.done) else found.levels[changed],
            proven=proven,
            beyond=found.beyond[changed],
            gaps=gaps,
            first_ns=first,
            last_ns=last,
            coverage=ledger.coverage(gaps, first, last) if book.first_ns is not None else 0.0,
            **counted,
        )


def columns(messages: pl.DataFrame, levels: pl.DataFrame) -> Columns:
    """Lay messages of one symbol and their levels out as arrays.

    Raises
    ------
    UserError
        If messages are not in the order of receipt, or a kind is unknown.
    """
    number = _integers(messages["message"])
    if (np.diff(number) <= 0).any():
        raise UserError(
            "order_book: messages must be in the order of receipt, each once. Sort by `message`."
        )
    kinds = messages["kind"].replace_strict(chain.KINDS, default=None, return_dtype=pl.Int64)
    if kinds.null_count():
        found = messages.filter(kinds.is_null())["kind"][0]
        raise UserError(f"order_book: kind must be one of {', '.join(chain.KINDS)}, found {found}.")
    of = _integers(levels["message"])
    if (np.diff(of) < 0).any():
        levels = levels.sort("message", maintain_order=True)
        of = _integers(levels["message"])
    low, high = np.searchsorted(of, number, "left"), np.searchsorted(of, number, "right")
    offset = np.append(0, np.cumsum(high - low)).astype(np.int64)
    if len(of) > offset[-1]:
        rows = np.repeat(low - offset[:-1], high - low) + np.arange(offset[-1])
        levels = levels[rows]
    return Columns(
        message=number,
        received_ns=_integers(messages["received_ns"]),
        kind=kinds.to_numpy().copy(),
        first=_integers(messages["first_id"]),
        last=_integers(messages["last_id"]),
        previous=_integers(messages["previous_id"]),
        sequence=_integers(messages["sequence"]),
        connection=_integers(messages["connection"]),
        time=_integers(messages["time"].dt.epoch("us")),
        offset=offset,
        side=levels["side"].to_numpy().copy(),
        price=levels["price"].to_numpy().copy(),
        quantity=levels["quantity"].to_numpy().copy(),
    )


def _integers(series: pl.Series) -> np.ndarray:
    """Numbers of one type, unknown ones as -1, in an array of its own that numba may write to."""
    return series.cast(pl.Int64).fill_null(chain.NONE).to_numpy().copy()
