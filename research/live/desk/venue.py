"""A book whose orders a venue fills: what is wished for, what came of it, and how that is booked.

The scan fills nothing of such a book. An order that it leaves is kept from arriving, so that the
desk says `waiting` until the venue's fills have been booked here, by the ledger's own `trade`, and
the order is settled. Stops and takes rest at the venue: the close after one was filled is given its
reason, as in a backtest that leaves inside the bar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from research.trading import account
from research.trading.account import NEVER, Book
from research.trading.account import Fill as Booked
from research.trading.risk import withdraw
from research.trading.rules import REASONS, Rules
from research.trading.rules.words import (
    ENTRY,
    HALTED,
    HORIZON,
    LIQUIDATION,
    RISK_HALT,
    STOP,
    TAKE,
)

VENUE = ("booked", "settled", "received")
"""Kinds of a journal's events that tell what a venue made of the orders, see `Desk.take`."""
INSIDE = (STOP, TAKE, LIQUIDATION)
"""Reasons for which a position is left while its bar is still open."""


class Wish(NamedTuple):
    """An order that the desk has left for one symbol."""

    symbol: str
    reason: str
    """One of `trading.rules.REASONS`."""
    target: int
    """The side wanted: 1 long, -1 short, 0 none."""
    notional: float
    """Of the side wanted, in quote currency."""
    position: float
    """What is held and must be closed first, in base currency; above 0 long."""


class Fill(NamedTuple):
    """One trade of the venue as it goes to the books."""

    symbol: str
    quantity: float
    """In base currency; above 0 bought."""
    price: float
    reference: float
    """What a unit was worth when the order was sent, before spread and slippage."""
    fee: float
    """In quote currency; below 0 received."""
    at: int
    """When, by the venue: microseconds since 1970 UTC."""
    reason: str
    """One of `trading.rules.REASONS`."""


def rules_of(rules: Rules) -> Rules:
    """Return rules under which nothing is filled but by the venue, and nothing left inside a bar.

    >>> from datetime import timedelta
    >>> from research.trading.rules import threshold, with_exits
    >>> made = with_exits(threshold(enter=0.0, interval=timedelta(minutes=1)), stop=0.01)
    >>> rules_of(made).stop
    inf
    """
    endless = rules._replace(stop=math.inf, take=math.inf, liquid_long=0.0, liquid_short=math.inf)
    return endless._replace(walks=False)


def hold(book: Book) -> None:
    """Keep all orders from being filled by the scan: the venue fills them.

    An entry that was taken back when a part of it was filled already is over: what there is of it
    is held on to, as the rule says.
    """
    lots = book.lots
    lots.order[(lots.order == ENTRY) & (lots.target == 0)] = -1
    lots.arrival[lots.order >= 0] = NEVER


def wishes(book: Book, symbols: tuple[str, ...]) -> list[Wish]:
    """Return the orders that wait, in the order of the symbols."""
    return [
        Wish(
            symbols[lot.symbol],
            REASONS[lot.order],
            int(lot.target),
            float(lot.notional),
            float(lot.position),
        )
        for lot in book.lots
        if lot.order >= 0 and not _left(lot)
    ]


def book_fill(book: Book, lot: Any, fill: Fill, row: Any, cooldown: int) -> bool:
    """Book one fill; return whether that ended a round trip, which is then written to `row`.

    What was left by a stop or a take is not decided about at the next close, and what is filled
    after a halt is left again.
    """
    reason = REASONS.index(fill.reason)
    made = Booked(fill.quantity, fill.reference, fill.price, fill.at, _opening(lot, fill, reason))
    worth = abs(fill.quantity) * fill.price
    ended = account.trade(book.purse[0], lot, row, made, fill.fee / worth if worth else 0.0)
    if ended:
        lot.rest = fill.at + cooldown
    if lot.position == 0.0 and reason in INSIDE:
        lot.order, lot.target, lot.arrival = reason, 0, NEVER
    elif book.purse[0].state == HALTED:
        _leave(lot)
    return bool(ended)


def _opening(lot: Any, fill: Fill, reason: int) -> int:
    """One position's time is over and another takes its place: that one has its own reason."""
    opens = lot.position * fill.quantity >= 0.0
    return ENTRY if opens and reason == HORIZON else reason


def settle(lot: Any) -> None:
    """Wait no longer for an order, whatever came of it; the next close decides anew."""
    if not _left(lot):
        lot.order = -1


def receive(book: Book, lot: Any, amount: float) -> None:
    """Take funding to the books, in quote currency; below 0 it was paid."""
    purse = book.purse[0]
    purse.cash += amount
    purse.funding -= amount
    if lot.position != 0.0:
        lot.funding -= amount


def take(desk: Any, kind: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Do to a `Desk` what an event of one of the kinds `VENUE` says."""
    if kind == "settled":
        return desk.settle(body["symbol"])
    if kind == "received":
        return desk.receive(body["symbol"], body["amount"])
    return desk.book(Fill(**{name: body[name] for name in Fill._fields}))


def leave(book: Book) -> None:
    """Order all that is held to be closed, now, and take back what would open."""
    withdraw(book.lots)
    hold(book)
    for lot in book.lots:
        _leave(lot)


def _leave(lot: Any) -> None:
    if lot.position != 0.0 and lot.order < 0:
        lot.order, lot.target, lot.notional, lot.arrival = RISK_HALT, 0, 0.0, NEVER


def obeyed(book: Book) -> None:
    """Act on a state of control at once, not at the next close.

    Whoever lets the desk trade again takes back what a halt has ordered and nobody has sent.
    """
    state, lots = book.purse[0].state, book.lots
    if state == HALTED:
        leave(book)
    elif state > 0:
        withdraw(lots)
        hold(book)
    else:
        lots.order[lots.order == RISK_HALT] = -1


def left(book: Book) -> dict[int, int]:
    """Return the symbols left inside the bar in hand, by number, and why."""
    return {int(lot.symbol): int(lot.order) for lot in book.lots if _left(lot)}


def explain(book: Book, symbols: Any, reasons: Any, left: dict[int, int]) -> None:
    """Give the rows of a moment the reasons that `left` told before its scan, and forget them."""
    for k, symbol in enumerate(symbols):
        if symbol in left:
            reasons[k] = left[symbol]
            book.lots[symbol].order = -1


def _left(lot: Any) -> bool:
    return bool(lot.order in INSIDE and lot.position == 0.0)
