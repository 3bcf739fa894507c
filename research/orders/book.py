"""The book of orders: what the journal's events come to, and nothing else.

Fills are unique by symbol and the venue's trade id (a journal has one account at one venue), and
the position is their sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from research.orders import life
from research.orders.life import Known
from research.orders.money import ZERO, Holding, charged, plus, traded
from research.venues.words import Fill, Side


class Booked(NamedTuple):
    """A fill in the book."""

    fill: Fill
    cid: str
    """Of our order; empty: it was none of ours."""
    leg: str
    change: Decimal
    """Of what is held, signed; less a fee that was taken in the base currency."""
    fee: Decimal
    """In quote currency; below 0 received."""
    estimated: bool
    """Whether `fee` is an estimate: it was paid in another coin, or not told."""


@dataclass
class Book:
    """Orders, fills and accounts of one run.

    Attributes
    ----------
    orders : dict of str to Known
        By our id, in the order in which they were meant.
    fills : dict of tuple to Booked
        By symbol and trade id, in the order in which they were booked.
    holdings : dict of str to Holding
        By symbol: what we hold by our own fills, and what was adjusted by hand.
    foreign : dict of str to Decimal
        By symbol: the sum of fills that are none of ours since the last adjustment.
    incomes, adjustments : set of str
        Ids of what has been booked.
    accepted : set of str
        Venue ids of foreign orders that someone has said to leave alone.
    coins : dict of str to Decimal
        Fees (below 0) and income by the coin in which they were truly paid.
    last : dict of str to int
        By symbol: venue time of the newest fill.
    income_last : int
        Venue time of the newest income.
    time : int
        The newest event of any kind: until then somebody was watching.
    reconciled : dict, optional
        Body of the last reconciliation.
    by_id : dict of str to str
        Our ids by the venue's.
    open : dict of str to None
        Our ids of the orders of which something is still to be learnt, oldest first.
    """

    orders: dict[str, Known] = field(default_factory=dict)
    fills: dict[tuple[str, str], Booked] = field(default_factory=dict)
    holdings: dict[str, Holding] = field(default_factory=dict)
    foreign: dict[str, Decimal] = field(default_factory=dict)
    incomes: set[str] = field(default_factory=set)
    adjustments: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    coins: dict[str, Decimal] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    income_last: int = 0
    time: int = 0
    reconciled: dict[str, Any] | None = None
    by_id: dict[str, str] = field(default_factory=dict)
    open: dict[str, None] = field(default_factory=dict)

    def holding(self, symbol: str) -> Holding:
        """Return the account of a symbol."""
        return self.holdings.get(symbol, Holding())

    def held(self, symbol: str) -> Decimal:
        """Return the position by our own fills, in base currency."""
        return self.holding(symbol).quantity

    def expected(self, symbol: str) -> Decimal:
        """Return the position that the venue must show: ours and what others did."""
        return plus(self.held(symbol), self.foreign.get(symbol, ZERO))

    def unsettled(self) -> list[Known]:
        """Return the orders of which something is still to be learnt, oldest first."""
        return [self.orders[cid] for cid in self.open]

    def protection(self, symbol: str, kind: str) -> list[Known]:
        """Return the conditional orders of a kind, ``stop`` or ``take``, that may rest."""
        return [
            known
            for known in self.unsettled()
            if known.live and known.order.symbol == symbol and known.order.kind == kind
        ]

    def newest(self, symbol: str, kind: str) -> Known | None:
        """Return the order of a kind that was meant last for a symbol."""
        for known in reversed(self.orders.values()):
            if (known.order.symbol, known.order.kind) == (symbol, kind):
                return known
        return None

    def owner_of(self, fill: Fill) -> str:
        """Return our id of the order that was filled; empty: it is none that we know."""
        return fill.cid if fill.cid in self.orders else self.by_id.get(fill.order, "")


class Eventlike(Protocol):
    """What the journal returns."""

    @property
    def kind(self) -> str:
        """Of the event."""
        ...

    @property
    def body(self) -> Mapping[str, Any]:
        """What it says."""
        ...


def fold(events: Iterable[Eventlike]) -> Book:
    """Rebuild the book from a journal; events of other kinds are passed over.

    Examples
    --------
    >>> from research.live.journal import Event
    >>> meant = {"cid": "a", "symbol": "BTCUSDT", "side": "buy", "type": "market", "quantity": "2",
    ...          "leg": "entry", "moment": 5, "time": 6}
    >>> fill = {"symbol": "BTCUSDT", "trade": "7", "order": "1", "cid": "a", "side": "buy",
    ...         "quantity": "2", "price": "10.5", "change": "2", "fee": "0.02", "coin": "USDT",
    ...         "fee_quote": "0.02", "estimated": False, "maker": False, "at": 8, "time": 9}
    >>> twice = [Event(2, "fill", 9, fill), Event(3, "fill", 9, fill)]
    >>> book = fold([Event(1, "intent", 6, meant), *twice])
    >>> book.held("BTCUSDT"), book.orders["a"].answer, book.orders["a"].average
    (Decimal('2'), 'accepted', Decimal('10.5'))
    """
    book = Book()
    for event in events:
        apply(book, event.kind, event.body)
    return book


def apply(book: Book, kind: str, body: Mapping[str, Any]) -> None:
    """Take one event into the book."""
    book.time = max(book.time, body.get("time") or 0)
    if kind == "intent":
        book.orders.setdefault(body["cid"], life.meant(body))
        book.open.setdefault(body["cid"])
    elif kind in life.STEPS:
        _put(book, life.step(book.orders[body["cid"]], kind, body))
    elif kind in _ACCOUNTS:
        _ACCOUNTS[kind](book, body)


def _put(book: Book, known: Known) -> None:
    cid = known.order.cid
    book.orders[cid] = known
    for each in known.ids:
        book.by_id[each] = cid
    if known.settled:
        book.open.pop(cid, None)
    else:
        book.open.setdefault(cid)


# -- the account ---------------------------------------------------------------------------------


def _fill(book: Book, body: Mapping[str, Any]) -> None:
    fill = _read(body)
    key = (fill.symbol, fill.trade)
    if key in book.fills:
        return
    cid = book.owner_of(fill)
    change, fee = Decimal(body["change"]), Decimal(body["fee_quote"])
    leg = book.orders[cid].leg if cid else "foreign"
    book.fills[key] = Booked(fill, cid, leg, change, fee, body["estimated"])
    book.last[fill.symbol] = max(book.last.get(fill.symbol, 0), fill.time)
    if not cid:
        book.foreign[fill.symbol] = plus(book.foreign.get(fill.symbol, ZERO), change)
        return
    _put(book, life.filled(book.orders[cid], fill))
    signed = fill.quantity if fill.side == "buy" else -fill.quantity
    held = traded(book.holding(fill.symbol), signed, fill.price)
    if change != signed:  # a fee in what was bought: worth the price at which it was bought
        held = traded(held, plus(change, -signed), fill.price)
    book.holdings[fill.symbol] = charged(held, fee, estimated=body["estimated"])
    if fill.fee:
        _coin(book, fill.coin, -fill.fee)


def _read(body: Mapping[str, Any]) -> Fill:
    side: Side = body["side"]
    return Fill(
        symbol=body["symbol"],
        trade=body["trade"],
        order=body["order"],
        cid=body["cid"],
        side=side,
        quantity=Decimal(body["quantity"]),
        price=Decimal(body["price"]),
        fee=life.amount(body["fee"]),
        coin=body["coin"],
        maker=body["maker"],
        time=body["at"],
    )


def _income(book: Book, body: Mapping[str, Any]) -> None:
    if body["id"] in book.incomes:
        return
    book.incomes.add(body["id"])
    book.income_last = max(book.income_last, body["at"])
    amount, symbol = Decimal(body["amount"]), body["symbol"]
    held = book.holding(symbol)
    book.holdings[symbol] = held._replace(income=plus(held.income, amount))
    _coin(book, body["coin"], amount)


def _coin(book: Book, coin: str, amount: Decimal) -> None:
    book.coins[coin] = plus(book.coins.get(coin, ZERO), amount)


def _adjustment(book: Book, body: Mapping[str, Any]) -> None:
    if body["id"] in book.adjustments:
        return
    book.adjustments.add(body["id"])
    book.accepted |= set(body["foreign_orders"])
    for cid in body["closed"]:
        _put(book, book.orders[cid]._replace(closed=True))
    symbol = body["symbol"]
    if symbol:
        change, price = Decimal(body["quantity"]), Decimal(body["price"])
        book.holdings[symbol] = traded(book.holding(symbol), change, price)
        book.foreign[symbol] = plus(book.foreign.get(symbol, ZERO), -Decimal(body["foreign"]))


def _reconciled(book: Book, body: Mapping[str, Any]) -> None:
    book.reconciled = dict(body)


_ACCOUNTS = {
    "fill": _fill,
    "income": _income,
    "adjustment": _adjustment,
    "reconciled": _reconciled,
}
