"""Order flow in bins of a second, a minute or any other length, to stand beside bars."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import schema
from research.features.order_flow import clocks
from research.features.order_flow.clocks import Bins, Feed, Stream, feeds_of
from research.features.order_flow.events import event_ofi, quote_memory
from research.features.order_flow.levels import (
    FADE,
    FLOWS,
    STOCKS,
    BookFlow,
    book_flow,
    book_memory,
)
from research.features.order_flow.prices import Microprice, book_top, gaps_of
from research.features.order_flow.trades import orders
from research.features.order_flow.windows import added, microseconds
from research.steps import compiled, scan


class BinMemory(NamedTuple):
    """Memory of `bin_sum`: when the bin began, and the sum in it in two floats."""

    begin: int
    total: float
    rest: float


@compiled
def bin_sum(state: Any, event: Any, rules: Any) -> Any:
    """Sum a value from the beginning of the bin that an event falls in.

    Parameters
    ----------
    state : BinMemory
        ``BinMemory(-1, 0.0, 0.0)`` before the first event.
    event : (int, float)
        Time in microseconds and the value.
    rules : (int, int)
        Length of a bin and a moment at which one begins, microseconds.

    Returns
    -------
    state : BinMemory
    float
    """
    time, value = event
    length, origin = rules
    begin = time - (time - origin) % length
    same = begin == state.begin
    total, rest = added(state.total if same else 0.0, state.rest if same else 0.0, value)
    return BinMemory(begin, total, rest), total + rest


def aggregate(
    quotes: Any,
    trades: Any = None,
    books: Mapping[str, Any] | None = None,
    *,
    every: timedelta | str,
    gaps: Any = None,
    microprice: Mapping[str, Microprice] | None = None,
    clock: str | None = None,
    offset: timedelta = timedelta(0),
) -> pl.DataFrame:
    """Sum up order flow in bins of time: one row a bin, as it was known when the bin ended.

    Parameters
    ----------
    quotes : polars or pandas frame
        `schema.QUOTES`: every change of the best quotes, in order of receipt.
    trades : polars or pandas frame, optional
        `schema.TRADES`, in order of receipt.
    books : mapping of str to book states, optional
        By symbol: arrays `message`, `time_us`, `received_ns` and `proven` of shape (n,) and
        `levels` of shape (n, 2, depth, 2), as `order_book.build` gives them.
    every : timedelta or str
        Length of a bin, ``"1 s"`` say; bins begin at whole multiples of it since 1970 UTC.
    gaps : polars or pandas frame, optional
        `schema.GAPS`: when something is, or may be, missing from quotes or trades.
    microprice : mapping of str to Microprice, optional
        By symbol, each fitted on earlier data: see `fit_microprice`.
    clock : {'exchange', 'received'}, optional
        By what time an event falls in a bin. Left out: the exchange's where every quote has it;
        else that of receipt plus `offset`, as for Binance's spot quotes, which have none.
    offset : timedelta
        The exchange's clock less the recorder's, for times of receipt.

    Returns
    -------
    pl.DataFrame, keyed (symbol, time)
        `time` is the end of the bin ``[time - every, time)``; a bin that had not ended when the
        recording did has no row. `flow_coverage` is the share of the bin that was watched without
        a gap, `book_coverage` the share in which the book was proven; what comes of either is null
        where it is below 1. Counts (`quotes`, `prints`, `orders`, `books`) are of what was seen.
        Quantities are in the market's own unit:

        * of the best quotes: `ofi`; `mid`, `mid_change` (of the bin; price); `spread`,
          `weighted_mid_gap` and `microprice_gap` (less mid, over mid; fractions); `imbalance` (bid
          share of the two quantities); `depth_imbalance`, `depth_delta` (see `levels.book_flow`)
        * of trades: `trade_imbalance` (takers' buys less sells over both, 0 without trades),
          `trade_flow` (buys less sells)
        * of books: `ofi_5`, `ofi_10`, `ofi_20`, `weighted_ofi`, `depth_imbalance_5`, `..._10`,
          `..._20`, `vw_depth_imbalance`; null in books with fewer levels

    Raises
    ------
    UserError
        If a column is missing or not known, a clock has no time, or `every` is no span.

    Notes
    -----
    Flows are sums over the bin's events, stocks are those of the last event before its end. A bin
    without an event has no flow and the stocks of the bin before.
    """
    length = microseconds(every)
    feeds = feeds_of(quotes, trades, books, clock=clock, offset=offset)
    parts = [
        in_bins(feed, gaps, length, microprice=(microprice or {}).get(symbol))
        for symbol, feed in feeds.items()
    ]
    return (
        pl.concat(parts, how="diagonal")
        if parts
        else pl.DataFrame(schema={"symbol": pl.String, "time": schema.TIME})
    )


def in_bins(
    feed: Feed,
    gaps: Any,
    length: int,
    *,
    microprice: Microprice | None = None,
    begin: int = 0,
) -> pl.DataFrame:
    """Return `aggregate` of one symbol; one bin begins at `begin`, microseconds."""
    quotes, trades, books = feed.quotes, feed.trades, feed.books
    start, end = int(quotes.time[0]), max(int(s.time[-1]) for s in feed.streams)
    unknown = clocks.unproven(quotes, gaps, feed.symbol)
    bins = clocks.bins(start, end, unknown, length=length, origin=begin)
    columns = _quote_columns(quotes, bins, microprice)
    counts = {"flow_coverage": bins.coverage, "quotes": bins.count_of(quotes)}
    if trades is not None:
        whole = orders(trades)
        columns |= _trade_columns(whole, bins)
        counts |= {"prints": bins.count_of(trades), "orders": bins.count_of(whole)}
    laid = table(feed.symbol, bins, counts, columns)
    if books is None:
        return laid
    unknown = clocks.unproven_books(books.time, books.values[1])
    shown = clocks.bins(start, end, unknown, length=length, origin=begin)
    counts = {"book_coverage": shown.coverage, "books": shown.count_of(books)}
    return laid.hstack(table("", shown, counts, _book_columns(books, shown)).drop("symbol", "time"))


def table(
    symbol: str, bins: Bins, counts: dict[str, np.ndarray], columns: dict[str, np.ndarray]
) -> pl.DataFrame:
    """Lay columns out, null where the first of `counts`, a coverage, is below 1."""
    end = pl.Series(bins.end.astype("datetime64[us]")).dt.replace_time_zone("UTC")
    known = pl.col(next(iter(counts))) >= 1.0
    return pl.DataFrame(
        {"symbol": [symbol] * len(end), "time": end, **counts, **columns}
    ).with_columns(pl.when(known).then(pl.col(c).fill_nan(None)).alias(c) for c in columns)


def _quote_columns(
    quotes: Stream, bins: Bins, microprice: Microprice | None
) -> dict[str, np.ndarray]:
    _, flow = scan(event_ofi, quote_memory(), (quotes.time, *quotes.values), 0)
    top = book_top(quotes.values)
    stocks = {name: top[name] for name in ("mid", "spread", "imbalance", "depth_imbalance")}
    stocks["weighted_mid_gap"] = top["weighted_mid"] / top["mid"] - 1
    if microprice is not None:
        stocks["microprice_gap"] = gaps_of(quotes.values, microprice)
    return {
        "ofi": sums(quotes.time, flow, bins),
        **{name: _last(quotes.time, values, bins) for name, values in stocks.items()},
        "depth_delta": _change(quotes.time, top["depth_imbalance"], bins),
        "mid_change": _change(quotes.time, top["mid"], bins),
    }


def _trade_columns(trades: Stream, bins: Bins) -> dict[str, np.ndarray]:
    _, quantity, side = trades.values
    bought = sums(trades.time, np.where(side > 0, quantity, 0.0), bins)
    sold = sums(trades.time, np.where(side > 0, 0.0, quantity), bins)
    both = bought + sold
    share = np.divide(bought - sold, both, out=np.zeros(len(both)), where=both > 0)
    return {"trade_imbalance": share, "trade_flow": bought - sold}


def _book_columns(books: Stream, bins: Bins) -> dict[str, np.ndarray]:
    levels = books.values[0]
    _, said = scan(book_flow, book_memory(levels.shape[2]), (books.time, levels), FADE)
    by_name = dict(zip(BookFlow._fields, said.T))
    return {
        **{name: sums(books.time, by_name[name], bins) for name in FLOWS},
        **{name: _last(books.time, by_name[name], bins) for name in STOCKS},
    }


def sums(time: np.ndarray, values: np.ndarray, bins: Bins) -> np.ndarray:
    """Sum each bin's values; 0 in a bin without any."""
    rules = (bins.length, bins.begin)
    _, running = scan(bin_sum, BinMemory(-1, 0.0, 0.0), (time, np.array(values)), rules)
    found, place = np.zeros(len(bins.coverage)), bins.of(time)
    last = np.flatnonzero(np.diff(place, append=place[-1:] + 1))
    last = last[(place[last] >= 0) & (place[last] < len(found))]
    found[place[last]] = running[last]
    return found


def _last(time: np.ndarray, values: np.ndarray, bins: Bins) -> np.ndarray:
    """Return the newest value before each bin's end; NaN where there is none."""
    return _at(time, values, bins.end)


def _change(time: np.ndarray, values: np.ndarray, bins: Bins) -> np.ndarray:
    return _at(time, values, bins.end) - _at(time, values, bins.end - bins.length)


def _at(time: np.ndarray, values: np.ndarray, moment: np.ndarray) -> np.ndarray:
    place = np.searchsorted(time, moment, side="left")
    return np.concatenate([[np.nan], values])[place]
