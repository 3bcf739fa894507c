"""Frames in, a recording out: the fast reader first, the plain one for what it leaves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.schema import Recording
from research.sources.recordings import columns, frames, plain, tables
from research.sources.recordings.frames import NOT_KNOWN, Frames

MARKETS = {"binance": ("um", "cm", "spot"), "bybit": ("linear", "inverse", "spot")}


class Decoder:
    """Takes frames of one venue's market, as many as come, and keeps what they say as columns.

    Parameters
    ----------
    venue, market : str
        A key of `MARKETS` and one of its values.

    Attributes
    ----------
    fast : object or None
        Reads what it is sure of. Without it (None) every frame goes through the JSON parser: the
        result is the same, and takes longer.

    Raises
    ------
    UserError
        If there is no such venue or market.
    """

    def __init__(self, *, venue: str, market: str) -> None:
        if market not in MARKETS.get(venue, ()):
            known = "; ".join(f"{name}: {', '.join(of)}" for name, of in MARKETS.items())
            raise UserError(f"recording: no market {venue} {market}. Known are {known}.")
        self.venue, self.market = venue, market
        self.lines = self.bad = 0
        self.symbols: dict[str, int] = {}
        self.parts: list[columns.Part] = []
        self.closed: list[columns.Part] = []
        self.received: list[np.ndarray] = []
        self.connections: list[np.ndarray] = []
        self._files: list[int] = []
        self.fast = _Fast(market) if venue == "binance" else None
        self._best = plain.Best()

    def take(self, batch: Frames) -> None:
        """Read a batch of frames."""
        slow = np.arange(len(batch.starts))
        if self.fast is not None:
            part, slow = self.fast.read(batch)
            numbers = [self._number(name) for name in self.fast.room.symbols]
            self._keep(columns.named(part, np.array(numbers, np.int64)))
        rows = self._slowly(batch, slow)
        if rows is not None:
            self._keep(rows)
            if self.fast is not None:
                self.parts[-2:] = [columns.in_line_order(columns.joined(self.parts[-2:]))]
        self.received.append(batch.received_ns)
        self.connections.append(batch.connection)
        self.lines += len(batch.starts)

    def cut(self) -> None:
        """Count a tail that was cut off as one line that cannot be read."""
        self.received.append(self.received[-1][-1:] if self.received else np.zeros(1, np.int64))
        self.connections.append(np.zeros(1, np.int32))
        self.lines, self.bad = self.lines + 1, self.bad + 1

    def close(self) -> None:
        """End a file: a book that does not name its symbol is of the only one in its file."""
        if self.parts:
            part, dropped = columns.resolved(columns.joined(self.parts))
            self.bad += dropped
            self.closed.append(part)
            self.parts = []
        self._files.append(self.lines)

    def recording(
        self, *, symbols: list[str] | None = None, gaps: pl.DataFrame | None = None
    ) -> Recording:
        """Return all that was read, in the order it was taken."""
        self.close()
        part = columns.joined(self.closed or [columns.Rows().part()])
        self.closed = []
        received = np.concatenate([*self.received, np.empty(0, np.int64)])
        connection = np.concatenate([*self.connections, np.empty(0, np.int32)])
        order = columns.receipt_order(received, self._files)
        if order is not None:
            part = columns.renumbered(part, order)
            received, connection = received[order], connection[order]
        made = columns.tables(columns.singly(part), list(self.symbols), received, connection)
        if gaps is None:
            gaps = pl.DataFrame(schema=schema.GAPS)
        whole = Recording(
            self.venue, self.market, **made, gaps=gaps, lines=self.lines, bad=self.bad
        )
        return whole if symbols is None else tables.chosen(whole, symbols)

    def _keep(self, part: columns.Part) -> None:
        for lines in (part.messages[0], part.quotes[0], part.trades[0], part.level_lines):
            np.add(lines, self.lines, out=lines)
        self.parts.append(part)

    def _slowly(self, batch: Frames, which: np.ndarray) -> columns.Part | None:
        rows = columns.Rows()
        for i in which.tolist():
            try:
                if batch.received_ns[i] == NOT_KNOWN:
                    raise plain.Malformed("no time of receipt")
                said = plain.understand(
                    batch.text(i), venue=self.venue, market=self.market, best=self._best
                )
            except plain.Malformed:
                self.bad += 1
            else:
                rows.take(i, said, self._number)
        return rows.part() if rows.messages or rows.quotes or rows.trades else None

    def _number(self, symbol: str | None) -> int:
        return NOT_KNOWN if symbol is None else self.symbols.setdefault(symbol, len(self.symbols))


class _Fast:
    """The compiled reader: loaded, which takes a moment, where frames are Binance's."""

    def __init__(self, market: str) -> None:
        from research.sources.recordings.scanner import Room

        self.room, self.derivative = Room(), market != "spot"

    def read(self, batch: Frames) -> tuple[columns.Part, np.ndarray]:
        self.room.read(batch, derivative=self.derivative)
        return columns.fast(self.room, len(batch.starts), derivative=self.derivative)


def from_frames(
    batches: Iterable[Frames] | Iterable[tuple[int, int, bytes]],
    *,
    venue: str,
    market: str,
    symbols: list[str] | None = None,
    gaps: pl.DataFrame | None = None,
) -> Recording:
    """Read frames as a venue sent them into the tables of a recording.

    Parameters
    ----------
    batches : iterable
        Of frames ``(received_ns, connection, bytes)`` in the order of their receipt, or of whole
        batches as `Frames`.
    venue, market : str
        ``binance`` with ``um``, ``cm`` or ``spot``, or ``bybit`` with ``linear``, ``inverse`` or
        ``spot``.
    symbols : list of str, optional
        Those to keep; all when not given.
    gaps : pl.DataFrame, optional
        What the recorder declared missing, with the columns of `schema.GAPS`.

    Returns
    -------
    Recording
        `message` counts the frames from 0. Candles, mark prices and replies to a subscription are
        counted in `lines` and have no row; what is no message of the venue is counted in `bad`.

    Raises
    ------
    UserError
        If the market is not known, or a symbol asked for is in no frame.

    Notes
    -----
    Binance's frames may come in the envelope of a combined stream or without. A book fetched over
    REST names no symbol (but COIN-M's): put it into an envelope as
    ``{"stream":"btcusdt@snapshot","data":...}``, or let there be one symbol alone.
    A trade is kept where somebody took from the book: not those of an insurance fund (`X`) and no
    block trades (`BT`). Where a symbol has both `trade` and `aggTrade`, the single ones are kept.
    Bybit's ``orderbook.1`` becomes quotes.

    Examples
    --------
    >>> frame = b'{"u":7,"s":"BTCUSDT","b":"1.5","B":"2","a":"1.6","A":"3"}'
    >>> read = from_frames([(1_700_000_000_000_000_000, 0, frame)], venue="binance", market="spot")
    >>> read.quotes.select("symbol", "message", "bid", "ask").row(0)
    ('BTCUSDT', 0, 1.5, 1.6)
    """
    decoder = Decoder(venue=venue, market=market)
    for batch in _as_batches(batches):
        decoder.take(batch)
    return decoder.recording(symbols=symbols, gaps=gaps)


def _as_batches(given: Iterable) -> Iterable[Frames]:
    from itertools import chain

    iterator = iter(given)
    first = next(iterator, None)
    if first is None:
        return []
    rest = chain([first], iterator)
    return rest if isinstance(first, Frames) else frames.batches(rest)
