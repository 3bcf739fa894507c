"""Prices of a book's top: mid, weighted mid, microprice; and what a taker's trade cost later."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.features.order_flow.clocks import Stream, feeds_of
from research.features.order_flow.trades import orders
from research.features.order_flow.windows import microseconds
from research.steps import compiled, scan

IMBALANCES = 10
"""Classes of imbalance that a microprice knows."""
SPREADS = 3
"""Spreads in ticks that a microprice tells apart; wider ones count as the widest."""


def book_top(quotes: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """Return what stands at the best quotes.

    Parameters
    ----------
    quotes : tuple of np.ndarray, each of shape (n,)
        Bid, bid quantity, ask, ask quantity; price 0 for an empty side.

    Returns
    -------
    dict of str to np.ndarray, shape (n,)
        `mid`; `spread` (over mid, a fraction); `imbalance` (bid quantity over both, 0 to 1);
        `weighted_mid` (each price weighed by the *other* side's quantity); `depth_imbalance` (bid
        less ask quantity). NaN where a side is empty, but for the last.

    Examples
    --------
    >>> top = book_top(tuple(np.array([x]) for x in (100.0, 3.0, 102.0, 1.0)))
    >>> {name: float(values[0].round(4)) for name, values in top.items()}
    {'mid': 101.0, 'spread': 0.0198, 'imbalance': 0.75, 'weighted_mid': 101.5,
     'depth_imbalance': 2.0}
    """
    bid, bid_quantity, ask, ask_quantity = quotes
    whole = (bid > 0) & (ask > 0) & (bid_quantity + ask_quantity > 0)
    mid = np.where(whole, (bid + ask) / 2, np.nan)
    share = bid_quantity / np.where(whole, bid_quantity + ask_quantity, np.nan)
    return {
        "mid": mid,
        "spread": (ask - bid) / mid,
        "imbalance": share,
        "weighted_mid": share * ask + (1 - share) * bid,
        "depth_imbalance": bid_quantity - ask_quantity,
    }


def quotes_of(books: Mapping[str, Any]) -> pl.DataFrame:
    """Return the best quotes of books, for recordings that have no stream of quotes.

    Parameters
    ----------
    books : mapping of str to book states
        See `aggregate`; states that are not proven or lack a side are left out, as are those
        before the venue said a time, where it says one at all: hand the books' gaps to whoever
        takes the quotes.

    Returns
    -------
    pl.DataFrame
        `schema.QUOTES`, one row a state. `sent` and `time` are null where the venue says none, as
        in Binance's partial spot books.
    """
    parts = [_best(symbol, built) for symbol, built in books.items()]
    return pl.concat([pl.DataFrame(schema=schema.QUOTES), *parts])


def _best(symbol: str, built: Any) -> pl.DataFrame:
    best = built.levels[:, :, 0]
    told = built.time_us > 0
    known = np.asarray(built.proven, bool) & (best[:, :, 0] > 0).all(axis=1)
    known &= told | ~told.any()
    rows, time = best[known], _utc(built.time_us[known]) if told.any() else None
    columns = {
        "symbol": symbol,
        "message": built.message[known],
        "connection": 0,
        "received_ns": built.received_ns[known],
        "sent": time,
        "time": time,
        "update_id": None,
        "bid": rows[:, 0, 0],
        "bid_quantity": rows[:, 0, 1],
        "ask": rows[:, 1, 0],
        "ask_quantity": rows[:, 1, 1],
    }
    return pl.DataFrame(columns, schema_overrides=schema.QUOTES)


class Microprice(NamedTuple):
    """What the mid is expected to become, by imbalance and spread; see `fit_microprice`."""

    tick: float
    """Smallest step of the price."""
    adjustment: np.ndarray
    """Added to mid, in ticks; shape (classes of imbalance, spreads)."""


@compiled
def microprice(state: Any, event: Any, rules: Any) -> Any:
    """Mid plus what it is expected to move, by the imbalance and spread of the best quotes.

    Parameters
    ----------
    state : int
        Not used: 0.
    event : (float, float, float, float)
        Bid, bid quantity, ask, ask quantity.
    rules : Microprice

    Returns
    -------
    state : int
    float
        A price; NaN where a side is empty.
    """
    bid, bid_quantity, ask, ask_quantity = event
    if not (bid > 0.0 and ask > 0.0 and bid_quantity + ask_quantity > 0.0):
        return state, np.nan
    imbalances, spreads = rules.adjustment.shape
    share = bid_quantity / (bid_quantity + ask_quantity)
    row = min(int(share * imbalances), imbalances - 1)
    column = min(max(int(np.floor((ask - bid) / rules.tick + 0.5)), 1), spreads) - 1
    return state, (bid + ask) / 2.0 + rules.tick * rules.adjustment[row, column]


def gaps_of(quotes: tuple[np.ndarray, ...], fitted: Microprice) -> np.ndarray:
    """Return the microprice less mid, over mid: shape (n,), NaN where a side is empty."""
    _, price = scan(microprice, 0, quotes, fitted)
    return price / book_top(quotes)["mid"] - 1


def fit_microprice(
    quotes: pl.DataFrame,
    *,
    tick: float | None = None,
    imbalances: int = IMBALANCES,
    spreads: int = SPREADS,
) -> Microprice:
    """Learn how the mid moves next from each imbalance and spread.

    The mid's next moves are a Markov chain on a grid of (imbalance, spread). With Q the moves that
    leave the mid where it is and R those that change it, the expected change at its first move is
    ``G1 = (1 - Q)^-1 R k``, and what follows adds up to ``(1 - B)^+ G1`` with B the state that the
    first move leads to. Each move is counted with its mirror image, so that there is no drift.

    Parameters
    ----------
    quotes : pl.DataFrame
        `schema.QUOTES` of one symbol, *earlier* than those it is used on.
    tick : float, optional
        Smallest step of the price; the smallest that is seen if left out.
    imbalances, spreads : int
        Size of the grid; spreads of more ticks count as the widest.

    Returns
    -------
    Microprice
        0 at a state that was never left. Where ticks are small the mid moves many at a time, and
        the microprice lies beyond the best quotes.

    Raises
    ------
    UserError
        If there is more than one symbol, or the mid never moves.

    References
    ----------
    Stoikov, S. (2018). The Micro-Price: A High-Frequency Estimator of Future Prices. Quantitative
    Finance 18(12), 1959-1966.
    """
    if quotes["symbol"].n_unique() > 1:
        raise UserError("fit_microprice: wants the quotes of one symbol. Filter them first.")
    names = ("bid", "bid_quantity", "ask", "ask_quantity")
    bid, bid_quantity, ask, ask_quantity = (quotes[c].to_numpy() for c in names)
    mid = (bid + ask) / 2
    if not np.diff(mid).any():
        raise UserError("fit_microprice: the mid never moves in these quotes. Hand it more.")
    tick = tick or smallest_step(bid, ask)
    share = bid_quantity / np.maximum(bid_quantity + ask_quantity, 1e-300)
    row = np.minimum((share * imbalances).astype(int), imbalances - 1)
    column = np.clip(np.rint((ask - bid) / tick).astype(int), 1, spreads) - 1
    half_ticks = np.rint(np.diff(mid) / tick * 2)
    grid = _fixed_point(row, column, half_ticks / 2, (imbalances, spreads))
    return Microprice(float(tick), grid)


def smallest_step(bid: np.ndarray, ask: np.ndarray) -> float:
    """Return the smallest step between prices that are seen: the tick, once enough are."""
    prices = np.unique(np.concatenate([bid, ask]))
    steps = np.diff(prices)
    # prices are decimals in binary: their differences carry the rounding of whole prices
    return float(f"{steps[steps > 1e-10 * prices[-1]].min():.4g}")


def _fixed_point(
    row: np.ndarray, column: np.ndarray, move: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Solve for the expected total change of the mid at each state, in ticks."""
    size = shape[0] * shape[1]
    state, mirror = row * shape[1] + column, (shape[0] - 1 - row) * shape[1] + column
    begin = np.concatenate([state[:-1], mirror[:-1]])
    end, moves = np.concatenate([state[1:], mirror[1:]]), np.concatenate([move, -move])
    seen = np.bincount(begin, minlength=size)
    still, moved = np.zeros((size, size)), np.zeros((size, size))
    np.add.at(still, (begin[moves == 0], end[moves == 0]), 1.0)
    np.add.at(moved, (begin[moves != 0], end[moves != 0]), 1.0)
    step = np.bincount(begin, moves, minlength=size) / np.maximum(seen, 1)
    each = np.maximum(seen, 1)[:, None]
    # least squares: states that are never left keep an answer of 0
    first = np.linalg.lstsq(np.eye(size) - still / each, np.column_stack([step, moved / each]))[0]
    total = np.linalg.lstsq(np.eye(size) - first[:, 1:], first[:, 0])[0]
    grid = total.reshape(shape)
    return np.asarray(grid - grid[::-1]) / 2  # what rounding left of the symmetry


def realised_spread(
    quotes: Any,
    trades: Any,
    *,
    horizon: timedelta | str,
    clock: str | None = None,
    offset: timedelta = timedelta(0),
) -> pl.DataFrame:
    r"""What each taker's order paid, and what was left of it for the maker a while later.

    With side D of the taker, price P and mid M: the effective spread :math:`2D(P - M_t)/M_t` is the
    realised spread :math:`2D(P - M_{t+h})/M_t` plus the price impact :math:`2D(M_{t+h} - M_t)/M_t`.

    Parameters
    ----------
    quotes, trades : polars or pandas frame
        `schema.QUOTES` and `schema.TRADES`, in order of receipt.
    horizon : timedelta or str
        h, ``"5 s"`` say.
    clock, offset
        As in `aggregate`.

    Returns
    -------
    pl.DataFrame, one row an order
        ``symbol, time, known_at, side, price, quantity, effective_spread, realised_spread,
        price_impact``: spreads as fractions of mid. The last two are not known before `known_at`
        = `time` + h, and null where the quotes end before it.

    Notes
    -----
    M at t is the mid *before* the order's instant, for quotes of that instant may be its doing. By
    times of receipt that is not sure: the quote may come over a faster line than the trade, and
    the effective spread then reads low.

    References
    ----------
    Huang, R. D. and Stoll, H. R. (1996). Dealer versus auction markets. Journal of Financial
    Economics 41(3), 313-357.
    """
    span = microseconds(horizon)
    parts = [
        _paid(feed.symbol, feed.quotes, orders(feed.trades), span)
        for feed in feeds_of(quotes, trades, clock=clock, offset=offset).values()
        if feed.trades is not None
    ]
    if not parts:
        raise UserError("realised_spread: no symbol has both quotes and trades.")
    return pl.concat(parts)


def _paid(symbol: str, quotes: Stream, trades: Stream, span: int) -> pl.DataFrame:
    price, quantity, side = trades.values
    mid = np.concatenate([[np.nan], book_top(quotes.values)["mid"]])
    before = mid[np.searchsorted(quotes.time, trades.time, side="left")]
    later = mid[np.searchsorted(quotes.time, trades.time + span, side="right")]
    later = np.where(trades.time + span <= quotes.time[-1], later, np.nan)
    table = pl.DataFrame(
        {
            "symbol": [symbol] * len(price),
            "time": _utc(trades.time),
            "known_at": _utc(trades.time + span),
            "side": side.astype(np.int8),
            "price": price,
            "quantity": quantity,
            "effective_spread": 2 * side * (price - before) / before,
            "realised_spread": 2 * side * (price - later) / before,
            "price_impact": 2 * side * (later - before) / before,
        }
    )
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))


def _utc(time: np.ndarray) -> pl.Series:
    return pl.Series(time.astype("datetime64[us]")).dt.replace_time_zone("UTC")
