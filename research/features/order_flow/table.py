"""Order-flow features at each quote, for a look at single events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research.features.order_flow import clocks
from research.features.order_flow.clocks import Feed, Stream, feeds_of
from research.features.order_flow.events import Ofi, OfiRules, ofi_memory, ofi_rules, windowed_ofi
from research.features.order_flow.levels import (
    FADE,
    FLOWS,
    STOCKS,
    BookFlow,
    book_flow,
    book_memory,
)
from research.features.order_flow.prices import book_top
from research.features.order_flow.trades import TakerFlow, taker_flow, taker_memory
from research.features.order_flow.windows import (
    HALF_LIFE,
    WINDOWS,
    label,
    window_memory,
    window_sum,
)
from research.steps import scan
from research.units import duration


def frame(
    quotes: Any,
    trades: Any = None,
    books: Mapping[str, Any] | None = None,
    *,
    windows: Sequence[timedelta | str] = WINDOWS,
    half_life: timedelta | str = HALF_LIFE,
    gaps: Any = None,
    clock: str | None = None,
    offset: timedelta = timedelta(0),
) -> pl.DataFrame:
    """Return order-flow features at every change of the best quotes.

    Parameters
    ----------
    quotes, trades, books, gaps, clock, offset
        As in `aggregate`.
    windows : sequence of timedelta or str
        Spans that flow is summed over.
    half_life : timedelta or str
        Of a value's weight in the mean and variance that z-scores are taken by.

    Returns
    -------
    pl.DataFrame, one row a quote, by symbol and order of receipt
        ``symbol, time, message``; of the quote `mid`, `spread`, `imbalance`, `weighted_mid`,
        `depth_imbalance` (see `prices.book_top`) and `ofi_event`; and for each window, as ``1s``:

        * `ofi_1s`, `ofi_1s_z`, `ofi_1s_momentum`, `ofi_1s_acceleration` (see `events.Ofi`) and
          `depth_delta_1s` (the change of `depth_imbalance`)
        * with trades `trade_imbalance_1s` and `trade_flow_1s` (see `trades.TakerFlow`)
        * with books `ofi_5_1s`, `ofi_10_1s`, `ofi_20_1s`, `weighted_ofi_1s`; and without a window
          the newest `depth_imbalance_5`, `..._10`, `..._20` and `vw_depth_imbalance`

        Null where not yet known: until a window was watched whole since the beginning, or since
        the last gap; in a gap; and what comes of books, while those are not proven.

    Raises
    ------
    UserError
        As `aggregate`, or if a span is not above 0.

    Notes
    -----
    A row knows what was *received* up to its quote: streams are put together by their place in the
    recording, and never sorted by mixed clocks. Windows are by the chosen clock.
    """
    spans = {label(duration(w)): ofi_rules(w, half_life) for w in windows}
    feeds = feeds_of(quotes, trades, books, clock=clock, offset=offset)
    parts = [_of_symbol(feed, gaps, spans) for feed in feeds.values()]
    return pl.concat(parts, how="diagonal") if parts else pl.DataFrame()


def _of_symbol(feed: Feed, gaps: Any, spans: dict[str, OfiRules]) -> pl.DataFrame:
    quotes = feed.quotes
    columns: dict[str, np.ndarray] = {}
    for run in clocks.unbroken(quotes, gaps, feed.symbol):
        part = _cut(quotes, *run)
        found = _of_quotes(part, spans)
        if feed.trades is not None:
            found |= _of_trades(part, _between(feed.trades, part.message), spans)
        if feed.books is not None:
            found |= _of_books(part, _between(feed.books, part.message), spans)
        for name, values in found.items():
            column = columns.setdefault(name, np.full(len(quotes.time), np.nan))
            column[slice(*run)] = values
    time = pl.Series(quotes.time.astype("datetime64[us]")).dt.replace_time_zone("UTC")
    key = {"symbol": [feed.symbol] * len(time), "time": time, "message": quotes.message}
    return pl.DataFrame({**key, **columns}).with_columns(pl.col(pl.Float64).fill_nan(None))


def _cut(stream: Stream, begin: int, end: int) -> Stream:
    values = tuple(column[begin:end] for column in stream.values)
    return Stream(
        stream.message[begin:end], stream.time[begin:end], stream.received_ns[begin:end], values
    )


def _between(stream: Stream, message: np.ndarray) -> Stream:
    """Return what came from the first to the last of some messages."""
    return _cut(stream, *np.searchsorted(stream.message, [message[0], message[-1]]))


def _of_quotes(quotes: Stream, spans: dict[str, OfiRules]) -> dict[str, np.ndarray]:
    found = book_top(quotes.values)
    delta = np.diff(found["depth_imbalance"], prepend=found["depth_imbalance"][:1])
    for name, rules in spans.items():
        _, said = scan(windowed_ofi, ofi_memory(), (quotes.time, *quotes.values), rules)
        flow = dict(zip(Ofi._fields, said.T))
        found["ofi_event"] = flow["event"]
        found[f"ofi_{name}"] = flow["ofi"]
        found |= {f"ofi_{name}_{part}": flow[part] for part in ("z", "momentum", "acceleration")}
        _, changes = scan(window_sum, window_memory(), (quotes.time, delta), rules.window)
        found[f"depth_delta_{name}"] = changes[:, 0]
    return found


def _of_trades(quotes: Stream, trades: Stream, spans: dict[str, OfiRules]) -> dict[str, np.ndarray]:
    _, quantity, side = trades.values
    found = {}
    for name, rules in spans.items():
        said = _beside(quotes, trades, (quantity, side), taker_flow, taker_memory(), rules.window)
        for part, values in zip(TakerFlow._fields, said.T):
            found[f"trade_{part}_{name}"] = values
    return found


def _of_books(quotes: Stream, books: Stream, spans: dict[str, OfiRules]) -> dict[str, np.ndarray]:
    names = [f"{flow}_{name}" for flow in FLOWS for name in spans]
    found = {name: np.full(len(quotes.time), np.nan) for name in (*STOCKS, *names)}
    for first, last in _proven(books.values[1]):
        # quotes from the first proven book on, up to the first that is not proven again
        end = books.message[last] if last < len(books.time) else quotes.message[-1] + 1
        rows = slice(*np.searchsorted(quotes.message, [books.message[first], end]))
        for name, values in _of_proven(
            _cut(quotes, rows.start, rows.stop), _cut(books, first, last), spans
        ).items():
            found[name][rows] = values
    return found


def _proven(proven: np.ndarray) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], proven, [False]])))
    return zip(edges[::2].tolist(), edges[1::2].tolist())


def _of_proven(quotes: Stream, books: Stream, spans: dict[str, OfiRules]) -> dict[str, np.ndarray]:
    levels = books.values[0]
    _, said = scan(book_flow, book_memory(levels.shape[2]), (books.time, levels), FADE)
    flow = dict(zip(BookFlow._fields, said.T))
    newest = np.searchsorted(books.message, quotes.message) - 1
    found = {name: flow[name][newest] for name in STOCKS}
    for part in FLOWS:
        whole = np.isfinite(flow[part]).all()  # in books with fewer levels there is none
        for name, rules in spans.items():
            values = (np.ascontiguousarray(flow[part]),)
            said = _beside(quotes, books, values, window_sum, window_memory(), rules.window)[:, 0]
            found[f"{part}_{name}"] = said if whole else np.full(len(said), np.nan)
    return found


def _beside(
    quotes: Stream, events: Stream, values: tuple, step: Any, memory: Any, rules: Any
) -> np.ndarray:
    """Run a step over events with each quote as a tick of its clock; return what it says there."""
    order = np.argsort(np.concatenate([events.message, quotes.message]), kind="stable")
    time = np.concatenate([events.time, quotes.time])[order]
    ticks = np.zeros(len(quotes.time))
    columns = (np.concatenate([column, ticks])[order] for column in values)
    _, said = scan(step, memory, (time, *columns), rules)
    return np.asarray(said[order >= len(events.time)])
