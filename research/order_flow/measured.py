"""The numbers of a recording: what it holds, where its book is proven, what its flow explains."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import order_book, schema
from research.features import order_flow as flow_room
from research.features.aggregates import FLOW
from research.features.order_flow.clocks import EXCHANGE, ahead
from research.order_book import Built

SECOND = timedelta(seconds=1)
FEWEST = 30
"""Bins below which nothing is said of what flow explains."""
HORIZONS = tuple(timedelta(milliseconds=ms) for ms in (100, 500, 1_000, 2_000, 5_000, 10_000))
"""Lengths of the bins in which flow is held against the price's change."""


class Read(NamedTuple):
    """A recording with all that is made of it once."""

    recording: schema.Recording
    books: dict[str, Built]
    quotes: pl.DataFrame
    """As `schema.QUOTES`: those recorded; of a symbol without any the best levels of its book."""
    offset_s: float | None
    """What the exchange's clock is ahead of the recorder's, seconds, as the whole recording has it;
    None: no stamp says."""


def read(recording: schema.Recording) -> Read:
    """Rebuild the books of a recording, and find its quotes and its clock."""
    books = order_book.build_all(recording)
    return Read(recording, books, _quotes(recording, books), clock_offset(recording))


def measure(recording: schema.Recording) -> dict[str, Any]:
    """Return the numbers of a recording that every report shows.

    Parameters
    ----------
    recording : schema.Recording
        From `sources.recordings.read`, or simulated.

    Returns
    -------
    dict
        ``events``: messages about books, quotes and trades. ``gaps``: spans in which a book is not
        proven, the wait for its first snapshot apart; without books those that were declared.
        ``coverage``: share of the time in which it is proven; None without messages about books.
        ``crossed``: proven states whose best bid is not below the best ask. ``ofi_r2_1s,
        depth_delta_r2_1s``: what they explain of the mid-price's change within a second, see
        `impact`; None in fewer than 30. ``clock_offset_s``: the exchange's clock less the
        recorder's. Of several symbols counts are sums and the others means, weighted by time.
        ``venue, market, symbols, seconds, bad`` besides.
    """
    return summary(read(recording))


def summary(known: Read) -> dict[str, Any]:
    """Return the numbers of `measure` for what was read already."""
    recording, books = known.recording, known.books.values()
    spans = [book.last_ns - book.first_ns for book in books]
    within = impact(known, (SECOND,))
    enough = within.filter(pl.col("bins") >= FEWEST)
    ofi, delta = (enough.filter(pl.col("flow") == name) for name in ("ofi", "depth_delta"))
    counts = [t.height for t in (recording.messages, recording.quotes, recording.trades)]
    return {
        "events": sum(counts),
        "gaps": sum(map(_breaks, books)) if books else recording.gaps.height,
        "coverage": _mean([book.coverage for book in books], spans),
        "crossed": sum(book.crossed for book in books),
        "ofi_r2_1s": _mean(ofi["r_squared"].to_list(), ofi["bins"].to_list()),
        "depth_delta_r2_1s": _mean(delta["r_squared"].to_list(), delta["bins"].to_list()),
        "clock_offset_s": known.offset_s,
        "venue": recording.venue,
        "market": recording.market,
        "symbols": sorted(_symbols(recording)),
        "seconds": _seconds(recording),
        "bad": recording.bad,
    }


def as_rows(numbers: dict[str, Any]) -> pl.DataFrame:
    """Write numbers as a table, to be kept beside others.

    >>> from_rows(as_rows({"gaps": 0, "symbols": ["A"]}))
    {'gaps': 0, 'symbols': ['A']}
    """
    values = [json.dumps(value, allow_nan=False) for value in numbers.values()]
    return pl.DataFrame({"name": list(numbers), "value": values})


def from_rows(table: pl.DataFrame) -> dict[str, Any]:
    """Read what `as_rows` wrote."""
    return {name: json.loads(value) for name, value in table.iter_rows()}


def _breaks(book: Built) -> int:
    """Count the spans without proof; a start that is waited out is none."""
    start = (pl.col("start_ns") <= book.first_ns) & pl.col("end_ns").is_not_null()
    return book.gaps.filter(~start).height


def _mean(values: list[float | None], weights: list[int]) -> float | None:
    known = [(v, w) for v, w in zip(values, weights, strict=True) if v is not None]
    total = sum(w for _, w in known)
    if not known or not total:
        return None
    return sum(v * w for v, w in known) / total


def _symbols(recording: schema.Recording) -> set[str]:
    tables = (recording.messages, recording.quotes, recording.trades)
    return {symbol for table in tables for symbol in table["symbol"].unique()}


def _seconds(recording: schema.Recording) -> float:
    tables = (recording.messages, recording.quotes, recording.trades)
    received = pl.concat(table["received_ns"] for table in tables)
    if received.is_empty():
        return 0.0
    return float(np.ptp(received.to_numpy())) / 1e9


def _quotes(recording: schema.Recording, books: dict[str, Built]) -> pl.DataFrame:
    """Return the best quotes of all symbols, in order of receipt."""
    quoted = set(recording.quotes["symbol"].unique())
    made = flow_room.quotes_of({s: book for s, book in books.items() if s not in quoted})
    return pl.concat([recording.quotes, made]).sort("message", maintain_order=True)


def _told(time_us: np.ndarray) -> pl.Series:
    """Return a book's times, null before the venue has said one."""
    time = pl.DataFrame({"time": time_us}).select(pl.when(pl.col("time") > 0).then("time"))
    return time.to_series().cast(schema.TIME)


def flow(recording: schema.Recording, every: timedelta) -> pl.DataFrame:
    """Sum up the order flow of a recording in bins, to stand beside its bars.

    Parameters
    ----------
    recording : schema.Recording
        With quotes or books.
    every : timedelta
        Length of a bin, that of the bars.

    Returns
    -------
    pl.DataFrame, keyed (symbol, time)
        As `features.order_flow.aggregate`: `time` is the end of the bin by the exchange's clock.
        Columns of streams that were not recorded are null.

    Notes
    -----
    Where quotes carry no time of the exchange, as Binance's on spot, all events are told by their
    receipt, set to the exchange's clock by what was heard until then: see
    `features.order_flow.clocks.ahead`.
    """
    return aggregated(read(recording), every)


def aggregated(known: Read, every: timedelta) -> pl.DataFrame:
    """Return the bins of `flow` for what was read already."""
    shown = known if flow_room.clock_of(known.quotes) == EXCHANGE else _by_receipt(known)
    trades = shown.recording.trades
    made = flow_room.aggregate(
        shown.quotes,
        trades if trades.height else None,
        shown.books,
        every=every,
        gaps=_flow_gaps(shown),
        clock=EXCHANGE,
    )
    absent = [name for name in FLOW if name not in made.columns]
    return made.with_columns(pl.lit(None, pl.Float64).alias(name) for name in absent)


def _flow_gaps(known: Read) -> pl.DataFrame:
    """Return the gaps of all quotes: of those made from a book also the book's own."""
    quoted = set(known.recording.quotes["symbol"].unique())
    own = [book.gaps for symbol, book in known.books.items() if symbol not in quoted]
    return pl.concat([known.recording.gaps, *own])


def _by_receipt(known: Read) -> Read:
    """Stamp all that was heard with its receipt by the exchange's clock, as known at that moment.

    `received_ns` stays as it is, for gaps are told by it.
    """
    recording = known.recording
    heard = ahead(recording.messages, recording.quotes, recording.trades)

    def stamps(message: np.ndarray, received_ns: np.ndarray) -> np.ndarray:
        if heard.is_empty():
            return received_ns // 1_000
        place = np.searchsorted(heard["message"].to_numpy(), message, side="right") - 1
        # what came before the first stamp of all has no other clock than that one
        shift = heard["ahead_ns"].to_numpy()[np.maximum(place, 0)]
        return np.asarray((received_ns + shift) // 1_000)

    def stamped(table: pl.DataFrame) -> pl.DataFrame:
        found = stamps(table["message"].to_numpy(), table["received_ns"].to_numpy())
        return table.with_columns(time=pl.Series(found).cast(schema.TIME))

    books = {
        symbol: book._replace(time_us=stamps(book.message, book.received_ns))
        for symbol, book in known.books.items()
    }
    told = recording._replace(trades=stamped(recording.trades))
    return known._replace(recording=told, books=books, quotes=stamped(known.quotes))


def impact(known: Read, horizons: tuple[timedelta, ...] = HORIZONS) -> pl.DataFrame:
    """Measure what flow explains of the price's change in its bin, and says of the next bin.

    Returns
    -------
    pl.DataFrame
        As `features.order_flow.explains`: one row per symbol, flow and length of bins.

    Notes
    -----
    Time is that of receipt, set to the exchange's clock, and bins begin with the first quote. It
    is there for every venue (Binance's spot quotes carry none of their own) and has no ties;
    stamps of the exchange are whole milliseconds, which many quotes share. In a few minutes the
    place at which bins begin moves the answer: on 345 seconds of BTCUSDT from 0.36 to 0.50.
    """
    if known.quotes.is_empty():
        return pl.DataFrame(schema=_IMPACT)
    offset = timedelta(seconds=known.offset_s or 0.0)
    recording = known.recording
    trades = recording.trades if recording.trades.height else None
    made = flow_room.explains(
        known.quotes, trades, every=horizons, gaps=_flow_gaps(known), offset=offset
    )
    return made.select(list(_IMPACT)).cast(_IMPACT)  # type: ignore[arg-type]


_IMPACT: dict[str, Any] = {
    "symbol": pl.String,
    "flow": pl.String,
    "every": pl.Int64,
    "bins": pl.Int64,
    **dict.fromkeys(("r_squared", "low", "high", "beta", "next_correlation"), pl.Float64),
}


def lagged(known: Read, every: timedelta = SECOND) -> pl.DataFrame:
    """Correlate a bin's flow with the price's change bins before and after it, symbol by symbol."""
    bins = aggregated(known, every)
    parts = [
        flow_room.lagged(part).with_columns(symbol=pl.lit(symbol, pl.String))
        for (symbol,), part in sorted(bins.group_by("symbol"))
        if part.height
    ]
    return pl.concat(parts) if parts else pl.DataFrame(schema={"symbol": pl.String})


def next_move(known: Read) -> pl.DataFrame:
    """Count how often the mid's next move is up by imbalance, symbol by symbol."""
    parts = [
        flow_room.next_move(part).with_columns(symbol=pl.lit(symbol, pl.String))
        for (symbol,), part in sorted(known.quotes.group_by("symbol", maintain_order=True))
        if part.height > 1
    ]
    return pl.concat(parts) if parts else pl.DataFrame(schema={"symbol": pl.String})


def last_book(known: Read) -> pl.DataFrame:
    """Return each symbol's last proven book: ``symbol, time, side, price, quantity``.

    `time` is null where the venue had said none.
    """
    parts = [pl.DataFrame(schema=_BOOK)]
    for book in known.books.values():
        if not book.proven.any():
            continue
        last = int(np.flatnonzero(book.proven)[-1])
        levels = book.levels[last].reshape(-1, 2)
        rows = {
            "symbol": [book.symbol] * len(levels),
            "time": _told(np.repeat(book.time_us[last], len(levels))),
            "side": np.repeat([1, -1], len(levels) // 2),
            "price": levels[:, 0],
            "quantity": levels[:, 1],
        }
        parts.append(pl.DataFrame(rows).filter(pl.col("quantity") > 0).cast(_BOOK))  # type: ignore[arg-type]
    return pl.concat(parts)


_BOOK: dict[str, Any] = {
    "symbol": pl.String,
    "time": schema.TIME,
    "side": pl.Int8,
    "price": pl.Float64,
    "quantity": pl.Float64,
}


def sides(book: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the bids and the asks of one symbol's `last_book`, each of shape (n, 2)."""
    bids, asks = (
        book.filter(pl.col("side") == side).select("price", "quantity").to_numpy()
        for side in (1, -1)
    )
    return bids, asks


def gaps(known: Read) -> pl.DataFrame:
    """Return the spans in which a book is not proven; without books those declared."""
    found = [book.gaps for book in known.books.values()] or [known.recording.gaps]
    return pl.concat(found)


def watched(known: Read) -> pl.DataFrame:
    """Return when each symbol's book was heard of: ``symbol, start_ns, end_ns``."""
    rows = [(book.symbol, book.first_ns, book.last_ns) for book in known.books.values()]
    spans = {"symbol": pl.String, "start_ns": pl.Int64, "end_ns": pl.Int64}
    return pl.DataFrame(rows, schema=spans, orient="row")


def clock_offset(recording: schema.Recording) -> float | None:
    """Estimate how far the exchange's clock is ahead of the recorder's, in seconds.

    By trades where there are any, which are sent one by one, else by what is said of books or
    quotes; see `order_book.clock_offset`.
    """
    for table in (recording.trades, recording.messages, recording.quotes):
        said = table.drop_nulls("sent")
        if said.height:
            sent = said["sent"].to_physical().to_numpy()
            return order_book.clock_offset(said["received_ns"].to_numpy(), sent)
    return None
