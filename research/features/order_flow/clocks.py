"""By which clock flow is told, in which bins it falls, and when it was watched without a gap."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research.errors import UserError

EXCHANGE, RECEIVED = "exchange", "received"
_SPAN_NS = 30_000_000_000
_QUOTES = ("bid", "bid_quantity", "ask", "ask_quantity")
_TRADES = ("price", "quantity", "taker_side")


class Stream(NamedTuple):
    """One symbol's events of one kind, in the order of their receipt."""

    message: np.ndarray
    """Place in the recording, int64: ties streams together."""
    time: np.ndarray
    """Microseconds since 1970 UTC by the chosen clock, never going back."""
    received_ns: np.ndarray
    """By the recorder's own clock."""
    values: tuple[np.ndarray, ...]


def clock_of(quotes: Any) -> str:
    """Return ``exchange`` where every quote says when it happened, else ``received``.

    Examples
    --------
    >>> clock_of(pl.DataFrame({"time": [None]}))
    'received'
    """
    has = "time" in quotes.columns and len(quotes) and not _polars(quotes)["time"].null_count()
    return EXCHANGE if has else RECEIVED


def _polars(frame: Any) -> pl.DataFrame:
    return frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)


class Feed(NamedTuple):
    """All that one symbol said."""

    symbol: str
    quotes: Stream
    """Values bid, bid quantity, ask, ask quantity."""
    trades: Stream | None
    """Values price, quantity, taker side."""
    books: Stream | None
    """Values levels (n, 2, depth, 2) and proven."""

    @property
    def streams(self) -> list[Stream]:
        """Those that have an event."""
        every = (self.quotes, self.trades, self.books)
        return [stream for stream in every if stream is not None and len(stream.time)]


def feeds_of(
    quotes: Any,
    trades: Any = None,
    books: Mapping[str, Any] | None = None,
    *,
    clock: str | None = None,
    offset: timedelta = timedelta(0),
) -> dict[str, Feed]:
    """Cut tables into what each symbol said, told by one clock; see `bins.aggregate`."""
    clock = clock or clock_of(quotes)
    if clock not in (EXCHANGE, RECEIVED):
        raise UserError(f"order flow: clock must be 'exchange' or 'received', found {clock!r}.")
    quoted = by_symbol(quotes, "quotes", clock=clock, offset=offset)
    traded = {} if trades is None else by_symbol(trades, "trades", clock=clock, offset=offset)
    shown = streams_of(books or {}, clock=clock, offset=offset)
    return {s: Feed(s, q, traded.get(s), shown.get(s)) for s, q in quoted.items()}


def streams_of(
    books: Mapping[str, Any], *, clock: str, offset: timedelta = timedelta(0)
) -> dict[str, Stream]:
    """Return each symbol's books as a stream of levels and proven; those without any are left out.

    Parameters
    ----------
    books : mapping of str to book states
        See `bins.aggregate`.
    clock, offset
        As for `by_symbol`.
    """
    shown = {symbol: _shown(built, clock, offset) for symbol, built in books.items()}
    return {symbol: stream for symbol, stream in shown.items() if len(stream.time)}


def _shown(built: Any, clock: str, offset: timedelta) -> Stream:
    # before the venue has said a time, its clock does not know where a state belongs
    told = np.flatnonzero(built.time_us > 0) if clock == EXCHANGE else slice(None)
    received = np.maximum.accumulate(built.received_ns[told])
    time = moments(built.time_us[told] if clock == EXCHANGE else None, received, offset)
    values = np.ascontiguousarray(built.levels[told], float), np.asarray(built.proven[told], bool)
    return Stream(np.asarray(built.message[told]), time, received, values)


def by_symbol(
    frame: Any, name: str, *, clock: str, offset: timedelta = timedelta(0)
) -> dict[str, Stream]:
    """Cut a table of quotes or trades into one stream of each symbol.

    Parameters
    ----------
    frame : polars or pandas frame
        `schema.QUOTES` or `schema.TRADES`, in order of receipt.
    name : {'quotes', 'trades'}
        Which of them.
    clock : {'exchange', 'received'}
        Times are `time`, or `received_ns` plus `offset`.
    offset : timedelta
        The exchange's clock less the recorder's.

    Raises
    ------
    UserError
        If a column is missing or a number in it is not known, or the clock has no time.
    """
    table = _polars(frame)
    wanted = _QUOTES if name == "quotes" else _TRADES
    stamp = "time" if clock == EXCHANGE else "received_ns"
    _check(table, ("symbol", "message", "received_ns", stamp, *wanted), name)
    return {
        str(symbol): _stream(part, name, clock, offset)
        for (symbol,), part in sorted(table.partition_by("symbol", as_dict=True).items())
    }


def _check(table: pl.DataFrame, columns: tuple[str, ...], name: str) -> None:
    for column in columns:
        if column not in table.columns:
            here = ", ".join(table.columns)
            raise UserError(f"{name}: column {column!r} is missing. Columns here: {here}.")
        series = table[column]
        unknown = series.null_count()
        if series.dtype.is_float():
            unknown += int((~series.is_finite()).sum() or 0)
        if unknown:
            hint = "Pass clock='received'." if column == "time" else "Leave those rows out."
            raise UserError(f"{name}: {column!r} is not known in {unknown} rows. {hint}")


def _stream(part: pl.DataFrame, name: str, clock: str, offset: timedelta) -> Stream:
    message = np.array(part["message"].to_numpy())
    if (np.diff(message) < 0).any():
        raise UserError(
            f"{name}: rows of {part['symbol'][0]} must be in order of receipt, and are not. "
            "Sort with table.sort('message')."
        )
    # a machine's clock that was set back does not undo what was received
    received = np.maximum.accumulate(part["received_ns"].to_numpy())
    stamps = part["time"].dt.epoch("us").to_numpy() if clock == EXCHANGE else None
    columns = _QUOTES if name == "quotes" else _TRADES
    values = tuple(np.array(part[c].cast(pl.Float64).to_numpy()) for c in columns)
    time = moments(stamps, received, offset)
    return Stream(message, time, received, values)


def moments(stamps: np.ndarray | None, received_ns: np.ndarray, offset: timedelta) -> np.ndarray:
    """Return microseconds by the exchange's stamps, or of receipt where there are none.

    A stamp before the one received before it counts as that one, so that times never go back.
    """
    if stamps is None:
        stamps = received_ns // 1_000 + offset // timedelta(microseconds=1)
    return np.maximum.accumulate(np.asarray(stamps, np.int64)) if len(stamps) else stamps


def ahead(*tables: pl.DataFrame) -> pl.DataFrame:
    r"""Tell how far the exchange's clock was ahead of the recorder's, as it was known at the time.

    .. math:: \hat\theta_n = \max_{i \le n, \; r_i \in W_n} (s_i - r_i)

    Parameters
    ----------
    *tables : pl.DataFrame
        All tables of a recording, with ``message, received_ns, sent``.

    Returns
    -------
    pl.DataFrame
        ``message, ahead_ns``: one row for each message that says when it was sent, in order.

    Notes
    -----
    ``s - r`` is the clocks' true difference less the time under way, which is never negative: the
    largest is nearest to the truth, and receipt so corrected is never before a message was sent.
    :math:`W_n` is the half minute that message n came in and the one before, so that the clocks
    may drift or be set: where the recorder's is set forward, events are late for up to a minute.
    `order_book.clock_offset`, the median of a whole recording, knows what comes later, and stamps
    what was quicker than usual too early; it is for reports.

    Examples
    --------
    >>> rows = {"message": [0, 1, 2], "received_ns": [4_000, 6_000, 10**12]}
    >>> ahead(pl.DataFrame(rows | {"sent": [3, 4, 10**9 - 9]}))["ahead_ns"].to_list()
    [-1000, -1000, -9000]
    """
    sent = pl.col("sent").to_physical()
    heard = pl.concat(table.select("message", "received_ns", sent) for table in tables)
    said = heard.filter(pl.col("sent") > 0).sort("message", maintain_order=True)
    span, found = pl.col("received_ns").cum_max() // _SPAN_NS, pl.col("ahead_ns")
    said = said.with_columns(span=span, ahead_ns=pl.col("sent") * 1_000 - pl.col("received_ns"))
    whole = said.group_by(pl.col("span") + 1).agg(before=found.max())
    until = found.cum_max().over("span")
    return said.join(whole, on="span", how="left", maintain_order="left").select(
        "message", ahead_ns=pl.max_horizontal(until, "before")
    )


class Bins(NamedTuple):
    """Bins of one symbol, each ``[end - length, end)``."""

    begin: int
    """When the first bin begins, microseconds since 1970 UTC."""
    length: int
    """Microseconds."""
    coverage: np.ndarray
    """Share of each bin that was watched without a gap, 0 to 1."""

    @property
    def end(self) -> np.ndarray:
        """When each bin ended, microseconds since 1970 UTC."""
        return self.begin + (1 + np.arange(len(self.coverage))) * self.length

    def of(self, time: np.ndarray) -> np.ndarray:
        """Return each event's bin by its place; outside of ``0 ... n - 1`` for none."""
        return (time - self.begin) // self.length

    def count_of(self, stream: Stream) -> np.ndarray:
        """Return how many events each bin has."""
        place, bins = self.of(stream.time), len(self.coverage)
        return np.bincount(place[(place >= 0) & (place < bins)], minlength=bins)


def bins(start: int, end: int, unknown: np.ndarray, *, length: int, origin: int = 0) -> Bins:
    """Lay out the bins that ended while a symbol was watched.

    Parameters
    ----------
    start, end : int
        Microseconds of the first and the last event; the bin that `end` lies in is not over.
    unknown : np.ndarray of int, shape (n, 2)
        Spans that are not proven.
    length : int
        Of a bin, microseconds.
    origin : int
        A moment at which a bin begins.
    """
    first, over = (start - origin) // length, (end - origin) // length
    edges = np.arange(first, over + 1) * length + origin
    spans = np.vstack([unknown, [[edges[0], start]]])
    lost = _lost_before(spans, edges)
    return Bins(int(first) * length + origin, length, 1.0 - np.diff(lost) / length)


def _lost_before(spans: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Return the time that lies in any span, up to each moment."""
    begin, end = spans[np.argsort(spans[:, 0])].T
    end = np.maximum.accumulate(end)
    begin = np.minimum(np.maximum(begin, np.concatenate([begin[:1], end[:-1]])), end)
    lost = np.concatenate([[0], np.cumsum(end - begin)])
    place = np.searchsorted(begin, moments, side="right")
    past = np.clip(moments - np.concatenate([[0], end])[place], None, 0)
    return lost[place] + np.where(place > 0, past, 0)


def gaps_in(stream: Stream, gaps: Any, symbol: str) -> np.ndarray:
    """Return which events stand around each gap: the last before it, the first after it.

    By order of receipt, which needs no clock; -1 and n where there is none. Shape (n_gaps, 2). A
    gap without a symbol is one of the whole recorder, and so of every symbol.
    """
    if gaps is None:
        return np.empty((0, 2), np.int64)
    mine = _polars(gaps).filter(_speaks_of(symbol)).sort("start_ns")
    for_ever = np.iinfo(np.int64).max
    start, end = mine["start_ns"].to_numpy(), mine["end_ns"].fill_null(for_ever).to_numpy()
    before = np.searchsorted(stream.received_ns, start) - 1
    return np.stack([before, np.searchsorted(stream.received_ns, end, side="right")], axis=1)


def _speaks_of(symbol: str) -> pl.Expr:
    return pl.col("symbol").is_null() | (pl.col("symbol") == symbol)


def unproven(stream: Stream, gaps: Any, symbol: str) -> np.ndarray:
    """Return the spans around gaps, from the last event before each to the first one after it.

    Parameters
    ----------
    stream : Stream
        Whose events say where in its clock a gap lies.
    gaps : polars or pandas frame, optional
        `schema.GAPS`.
    symbol : str
        Whose gaps count, with those that have no symbol.

    Returns
    -------
    np.ndarray of int64, shape (n, 2)
        Microseconds, ``[begin, end)``; a gap that has not ended lasts for ever. The first event
        after a gap is still inside: what it changes, it changes since before the gap.
    """
    places = gaps_in(stream, gaps, symbol)
    times = np.concatenate([[0], stream.time, [np.iinfo(np.int64).max // 2]])
    begin, end = times[places[:, 0] + 1], times[places[:, 1] + 1]
    return np.stack([begin, end + 1], axis=1)


def unbroken(stream: Stream, gaps: Any, symbol: str) -> list[tuple[int, int]]:
    """Return from which event to before which one a stream runs without a gap."""
    runs, begin = [], 0
    for before, after in gaps_in(stream, gaps, symbol).tolist():
        if before + 1 > begin:
            runs.append((begin, before + 1))
        begin = max(begin, after)
    return [*runs, (begin, len(stream.time))] if begin < len(stream.time) else runs


def unproven_books(time: np.ndarray, proven: np.ndarray) -> np.ndarray:
    """Return the spans in which a book was not proven, with the first state that was again."""
    for_ever = np.iinfo(np.int64).max // 2
    times = np.concatenate([[0], time, [for_ever]])
    known = np.concatenate([[False], proven, [True]])
    begin = np.flatnonzero(~known[1:] & known[:-1]) + 1
    begin = np.concatenate([[0], begin])
    end = np.flatnonzero(known[1:] & ~known[:-1]) + 1
    return np.stack([times[begin], times[end] + 1], axis=1)[: len(end)]
