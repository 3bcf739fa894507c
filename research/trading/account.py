"""The ledger: cash, positions with their averaged entry, the trades they end in, their costs.

Every change of a position goes through `trade`, which adds, reduces, turns and sells short by one
rule: adding moves the average entry and realises nothing, reducing realises its share. So equity is
cash plus positions at their marks at every moment, and gross minus costs is net for every trade.

The book is two arrays of records, updated in place; a snapshot of the desk is a copy of both. A
step is handed one record, ``book.lots[i]``, which is a view. (Records, not one array per field:
numba counts references to every array that it passes on, which cost 2 us a bar; records cost none.)
"""

from typing import Any, NamedTuple

import numpy as np

from research.steps import compiled

NEVER = np.iinfo(np.int64).max
"""A time that does not come."""

PURSE = np.dtype(
    [
        ("cash", "f8"),
        ("equity", "f8"),  # at the last marks
        ("fees", "f8"),  # this and the next three: of the moment in hand
        ("slippage", "f8"),
        ("funding", "f8"),
        ("traded", "f8"),
        ("ruined", "i8"),  # 1 since equity was not above 0; it stays so
        ("peak", "f8"),  # highest equity, this and the next two where a limit is watched
        ("day", "i8"),  # UTC day in hand, counted from 1970
        ("day_start", "f8"),  # equity with which it began
        ("limited", "i8"),  # state that a limit put the account in; only a limit writes it
        ("ordered", "i8"),  # by a person or a guard, until taken back; the desk only reads it
        ("degraded", "i8"),  # by a guard while a cause lasts, likewise
        ("state", "i8"),  # in force, the gravest of the three
    ],
    align=True,
)
"""The one account of a desk."""

LOT = np.dtype(
    [
        ("symbol", "i8"),
        ("position", "f8"),  # in base currency, above 0 long
        ("mark", "f8"),  # last known price
        ("entry", "f8"),  # average price of the open position
        ("reference", "f8"),  # the same before spread and slippage
        ("seen", "i8"),  # time of the last bar
        ("since", "i8"),  # when the time in position began that `hold` limits
        ("errors", "i8"),  # closes in a row without a forecast, while held
        ("rest", "i8"),  # when a new entry is allowed again
        ("order", "i8"),  # reason of the order that waits for the next open; -1: none
        ("target", "i8"),  # side that order wants
        ("notional", "f8"),  # size that order wants, in quote currency
        ("arrival", "i8"),  # when it can be filled
        ("said", "i8"),  # reason that the bar in hand has already given; -1: none
        ("walked", "i8"),  # funding moments behind it
        ("due", "i8"),  # time of the next one
        ("entered", "f8"),  # from here on, of the round trip in hand: quantity entered,
        ("closed", "f8"),  # closed so far,
        ("exit", "f8"),  # at what average price,
        ("gross", "f8"),  # gained before costs,
        ("fees", "f8"),  # and paid
        ("slippage", "f8"),
        ("funding", "f8"),
        ("entry_time", "i8"),
        ("entry_reason", "i8"),
    ],
    align=True,
)
"""One position of a symbol, or the place for one."""

TRADE = np.dtype(
    [
        ("symbol", "i8"),
        ("side", "i8"),  # 1 long, -1 short
        ("entry_time", "i8"),
        ("exit_time", "i8"),
        ("entry_price", "f8"),  # averages, with spread and slippage in them
        ("exit_price", "f8"),
        ("quantity", "f8"),  # in base currency, above 0
        ("gross", "f8"),  # at prices without spread and slippage
        ("fees", "f8"),
        ("slippage", "f8"),
        ("funding", "f8"),
        ("net", "f8"),  # gross - fees - slippage - funding
        ("entry_reason", "i8"),
        ("exit_reason", "i8"),
    ],
    align=True,
)
"""A round trip, from flat to flat; money in quote currency."""


class Book(NamedTuple):
    """The whole state of a desk."""

    purse: np.recarray
    """One record of `PURSE`."""
    lots: np.recarray
    """Records of `LOT`, for each symbol as many as positions of it may be held at once."""


class Venue(NamedTuple):
    """What a venue asks of each symbol; times in microseconds since 1970 UTC."""

    lot: np.ndarray
    """Quantities are cut to a multiple of it, in base currency; 0: any. Shape (n_symbols,)."""
    tick: np.ndarray
    """Prices of fills are rounded against the trader to a multiple of it; 0: any; likewise."""
    first: np.ndarray
    """int64, shape (n_symbols + 1,): symbol s pays funding at rows ``first[s]:first[s + 1]``."""
    moment: np.ndarray
    """int64 times of funding, rising for each symbol."""
    rate: np.ndarray
    """Paid by longs to shorts at that moment, as a fraction of the position's notional."""


class Fill(NamedTuple):
    """What an order came to."""

    quantity: float
    """In base currency; above 0 bought."""
    reference: float
    """Price before spread and slippage."""
    price: float
    time: int
    reason: int


def new_book(n_symbols: int, capital: float, overlap: int = 1) -> Book:
    """Return the book of a desk that holds `capital` in cash and no position.

    >>> book = new_book(2, 1000.0)
    >>> float(book.purse[0].cash), book.lots.position.tolist()
    (1000.0, [0.0, 0.0])
    """
    purse, lots = np.zeros(1, PURSE), np.zeros(n_symbols * overlap, LOT)
    for name in ("cash", "equity", "peak", "day_start"):
        purse[name] = capital
    purse["day"] = -(10**6)  # before any
    lots["symbol"] = np.repeat(np.arange(n_symbols), overlap)
    lots["order"], lots["due"] = -1, NEVER
    lots["seen"] = lots["rest"] = np.iinfo(np.int64).min // 2
    return Book(purse.view(np.recarray), lots.view(np.recarray))  # by name it takes its time


def command(book: Book, state: int) -> None:
    """Put a desk in a state, as a person or a guard that latches: its next moment obeys.

    What a limit has said stays said, and what a `degrade` asks for: 0 takes back commands alone.

    >>> book = new_book(1, 1000.0)
    >>> book.purse.limited = 1
    >>> command(book, 2)
    >>> int(book.purse[0].state)
    2
    >>> command(book, 0)
    >>> int(book.purse[0].state)
    1
    """
    book.purse.ordered = state
    _take_effect(book)


def degrade(book: Book, state: int) -> None:
    """Put a desk in a state for as long as a cause lasts, and take it back with 0.

    >>> book = new_book(1, 1000.0)
    >>> degrade(book, 1)
    >>> int(book.purse[0].state)
    1
    """
    book.purse.degraded = state
    _take_effect(book)


def resume(book: Book) -> None:
    """Let a desk trade again, as a person: limits are measured anew from its equity now.

    A desk that is ruined stays so, one that is degraded is so until its cause has gone.

    >>> book = new_book(1, 1000.0)
    >>> book.purse.limited = book.purse.state = 2
    >>> book.purse.equity = 900.0
    >>> resume(book)
    >>> int(book.purse[0].state), float(book.purse[0].peak)
    (0, 900.0)
    """
    book.purse.limited = book.purse.ordered = 0
    book.purse.peak = book.purse.day_start = book.purse.equity
    _take_effect(book)


def _take_effect(book: Book) -> None:
    purse = book.purse[0]
    book.purse.state = max(purse.limited, purse.ordered, purse.degraded)


def new_venue(
    n_symbols: int,
    *,
    lot: np.ndarray | None = None,
    tick: np.ndarray | None = None,
    funding: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> Venue:
    """Return what a venue asks: nothing, but for what is given.

    Parameters
    ----------
    n_symbols : int
        How many there are.
    lot, tick : np.ndarray, shape (n_symbols,), optional
        Smallest steps of quantity and price.
    funding : tuple of np.ndarray, optional
        First rows, moments and rates, as in `Venue`. A live desk hands in a longer one as rates
        become known; each symbol's earlier moments must then stay where they were.

    Examples
    --------
    >>> new_venue(2).first.tolist()
    [0, 0, 0]
    """
    first, moment, rate = funding or (np.zeros(n_symbols + 1), np.empty(0), np.empty(0))
    return Venue(
        lot=np.zeros(n_symbols) if lot is None else np.ascontiguousarray(lot, np.float64),
        tick=np.zeros(n_symbols) if tick is None else np.ascontiguousarray(tick, np.float64),
        first=np.ascontiguousarray(first, np.int64),
        moment=np.ascontiguousarray(moment, np.int64),
        rate=np.ascontiguousarray(rate, np.float64),
    )


def records(count: int, dtype: np.dtype) -> np.recarray:
    """Return `count` records of zeros whose fields are attributes."""
    return np.zeros(count, dtype).view(np.recarray)


@compiled
def equity(purse: Any, lots: Any) -> float:
    """Cash and positions at their marks."""
    total = purse.cash
    for i in range(len(lots)):
        total += lots[i].position * lots[i].mark
    return total


@compiled
def exposure(lots: Any) -> float:
    """Sum of long and short positions at their marks, each counted above zero."""
    total = 0.0
    for i in range(len(lots)):
        total += abs(lots[i].position) * lots[i].mark
    return total


@compiled
def trade(purse: Any, lot: Any, row: Any, fill: Fill, fee: float) -> int:
    """Book one fill, which may add, reduce, close, turn or open.

    A fill that turns a position is two: one closes what is held, the other opens what is left.
    `fee` is a fraction of notional. Returns 1 when the position became flat on the way, and has
    then written the round trip to `row`, a record of `TRADE`; 0 otherwise.
    """
    held, closing, done = lot.position, 0.0, 0
    if held * fill.quantity < 0.0:
        closing = fill.quantity if abs(fill.quantity) < abs(held) else -held
        _pay(purse, lot, closing, fill, fee)
        _reduce(lot, closing, fill)
        if lot.position == 0.0:
            _record(row, lot, fill, held)
            done = 1
    opening = fill.quantity - closing
    if opening != 0.0:
        if lot.position == 0.0:
            _begin(lot, fill)
        _pay(purse, lot, opening, fill, fee)
        _add(lot, opening, fill)
    lot.mark = fill.reference
    return done


@compiled
def _pay(purse: Any, lot: Any, quantity: float, fill: Fill, fee: float) -> None:
    notional = abs(quantity) * fill.price
    slippage = quantity * (fill.price - fill.reference)
    purse.cash -= quantity * fill.price + fee * notional
    purse.fees += fee * notional
    purse.slippage += slippage
    purse.traded += notional
    lot.fees += fee * notional
    lot.slippage += slippage


@compiled
def _reduce(lot: Any, quantity: float, fill: Fill) -> None:
    before, size = lot.closed, abs(quantity)
    lot.gross -= quantity * (fill.reference - lot.reference)
    lot.exit = _average(lot.exit, before, fill.price, size)
    lot.closed = before + size
    lot.position += quantity


@compiled
def _begin(lot: Any, fill: Fill) -> None:
    lot.entered = lot.closed = lot.gross = 0.0
    lot.fees = lot.slippage = lot.funding = 0.0
    lot.entry_time = lot.since = fill.time
    lot.errors = 0
    lot.entry_reason = fill.reason


@compiled
def _add(lot: Any, quantity: float, fill: Fill) -> None:
    before, size = abs(lot.position), abs(quantity)
    lot.entry = _average(lot.entry, before, fill.price, size)
    lot.reference = _average(lot.reference, before, fill.reference, size)
    lot.entered += size
    lot.position += quantity


@compiled
def _average(old: float, weight: float, new: float, size: float) -> float:
    if weight == 0.0:
        return new
    return (old * weight + new * size) / (weight + size)


@compiled
def _record(row: Any, lot: Any, fill: Fill, held: float) -> None:
    row.symbol = lot.symbol
    row.side = 1 if held > 0.0 else -1
    row.entry_time = lot.entry_time
    row.exit_time = fill.time
    row.entry_price = lot.entry
    row.exit_price = lot.exit
    row.quantity = lot.entered
    row.gross = lot.gross
    row.fees = lot.fees
    row.slippage = lot.slippage
    row.funding = lot.funding
    row.net = lot.gross - lot.fees - lot.slippage - lot.funding
    row.entry_reason = lot.entry_reason
    row.exit_reason = fill.reason


@compiled
def look_up(lots: Any, venue: Venue) -> None:
    """Note for each lot when its next funding is due; the venue may know more than it did."""
    for i in range(len(lots)):
        lot = lots[i]
        row = venue.first[lot.symbol] + lot.walked
        lot.due = venue.moment[row] if row < venue.first[lot.symbol + 1] else NEVER


@compiled
def fund(purse: Any, lot: Any, until: int, venue: Venue) -> None:
    """Pay funding on a position for each moment that is due up to `until`, that included.

    A long pays the moment's rate of its notional at the last mark to a short; a negative rate
    turns it round.
    """
    if lot.due > until:
        return
    row, end = venue.first[lot.symbol] + lot.walked, venue.first[lot.symbol + 1]
    while lot.due <= until:
        if lot.position != 0.0:
            paid = venue.rate[row] * lot.position * lot.mark
            purse.cash -= paid
            purse.funding += paid
            lot.funding += paid
        row += 1
        lot.walked += 1
        lot.due = venue.moment[row] if row < end else NEVER
