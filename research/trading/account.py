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

FUNDING_EVERY = 8 * 3600 * 1_000_000
"""Microseconds from one funding moment to the next: 00, 08 and 16 UTC."""

PURSE = np.dtype(
    [
        ("cash", "f8"),
        ("equity", "f8"),  # at the last marks
        ("fees", "f8"),  # this and the next three: of the moment in hand
        ("slippage", "f8"),
        ("funding", "f8"),
        ("traded", "f8"),
    ],
    align=True,
)
"""The one account of a desk."""

LOT = np.dtype(
    [
        ("position", "f8"),  # in base currency, above 0 long
        ("mark", "f8"),  # last known price
        ("entry", "f8"),  # average price of the open position
        ("reference", "f8"),  # the same before spread and slippage
        ("seen", "i8"),  # time of the last bar
        ("since", "i8"),  # when the time in position began that `hold` limits
        ("rest", "i8"),  # when a new entry is allowed again
        ("order", "i8"),  # reason of the order that waits for the next open; -1: none
        ("target", "i8"),  # side that order wants
        ("notional", "f8"),  # size that order wants, in quote currency
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
"""What a desk knows of one symbol."""

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
    """A record of `LOT` per symbol."""


class Fill(NamedTuple):
    """What an order came to."""

    quantity: float
    """In base currency; above 0 bought."""
    reference: float
    """Price before spread and slippage."""
    price: float
    time: int
    reason: int


def new_book(n_symbols: int, capital: float) -> Book:
    """Return the book of a desk that holds `capital` in cash and no position.

    >>> book = new_book(2, 1000.0)
    >>> float(book.purse[0].cash), book.lots.position.tolist()
    (1000.0, [0.0, 0.0])
    """
    book = Book(records(1, PURSE), records(n_symbols, LOT))
    book.purse.cash = book.purse.equity = capital
    book.lots.order = -1
    book.lots.seen = book.lots.rest = np.iinfo(np.int64).min // 2
    return book


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
def fund(purse: Any, lot: Any, start: int, end: int, rate: float) -> None:
    """Pay funding on a position for each funding moment in ``(start, end]``.

    A long pays `rate` of its notional at the last mark to a short; a negative rate turns it round.
    """
    if rate == 0.0 or lot.position == 0.0:
        return
    moments = end // FUNDING_EVERY - start // FUNDING_EVERY
    paid = moments * rate * lot.position * lot.mark
    purse.cash -= paid
    purse.funding += paid
    lot.funding += paid
