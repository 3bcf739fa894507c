"""The journal's events of orders: kind and body, amounts as text.

Kinds: ``intent``, ``send``, ``ack``, ``refused``, ``unknown``, ``absent``, ``cancel``, ``done``,
``fill``, ``income``, ``reconciled``, ``adjustment``. ``time`` is ours, ``at`` the venue's, both in
microseconds since 1970 UTC.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from research.orders.money import ZERO, text
from research.venues.words import DONE, Fill, Income, Order, Seen

Event = tuple[str, dict[str, Any]]


class Intent(NamedTuple):
    """An order that is meant, and what for."""

    order: Order
    leg: str
    """``entry``, ``exit``, ``stop``, ``take``: what the id was made of."""
    moment: int
    """Of the decision, microseconds since 1970 UTC."""
    price: Decimal
    """What a unit is worth now, in quote currency."""


class Charge(NamedTuple):
    """What a fill costs and brings, in the words of the book."""

    change: Decimal
    """Of what is held, signed."""
    fee: Decimal
    """In quote currency."""
    estimated: bool


class Adjustment(NamedTuple):
    """What is taken from the venue because no fill of ours explains it."""

    id: str
    symbol: str = ""
    """Empty: it is of orders alone."""
    quantity: Decimal = ZERO
    """Added to what we hold, signed."""
    foreign: Decimal = ZERO
    """Of it, what others' trades explain: those are ours from now on."""
    price: Decimal = ZERO
    """At which it is booked: what a unit is worth now."""
    orders: tuple[str, ...] = ()
    """The venue's ids of others' orders that are left alone."""
    closed: tuple[str, ...] = ()
    """Our ids of orders of which nothing will come any more."""


def intent(meant: Intent, time: int) -> Event:
    """An order is meant; nothing has left this machine."""
    order = meant.order
    body = {
        "cid": order.cid,
        "symbol": order.symbol,
        "side": order.side,
        "type": order.kind,
        "quantity": text(order.quantity),
        "price": _text(order.price),
        "trigger": _text(order.trigger),
        "reduce_only": order.reduce_only,
        "leg": meant.leg,
        "moment": meant.moment,
        "worth": text(meant.price),
        "time": time,
    }
    return "intent", body


def send(cid: str, time: int) -> Event:
    """It is sent now, for the only time."""
    return "send", {"cid": cid, "time": time}


def seen(order: Order, found: Seen, time: int) -> Event:
    """The venue tells of it: ``ack`` while it is open, ``done`` once it is over.

    What the venue took otherwise than it was sent stands under ``changed``.
    """
    body: dict[str, Any] = {
        "cid": order.cid,
        "id": found.id,
        "quantity": text(found.quantity),
        "filled": text(found.filled),
        "average": _text(found.average),
        "status": found.status,
        "reason": found.reason,
        "at": found.time,
        "time": time,
    }
    changed = _changed(order, found)
    if changed:
        body["changed"] = changed
    return ("done" if found.status in DONE else "ack"), body


def _changed(order: Order, found: Seen) -> dict[str, list[str]]:
    """Name what is not as it was sent: [sent, the venue's]."""
    differing: dict[str, list[str]] = {}
    if found.quantity != order.quantity:
        differing["quantity"] = [text(order.quantity), text(found.quantity)]
    for name in ("side", "symbol"):
        if getattr(order, name) != getattr(found, name):
            differing[name] = [getattr(order, name), getattr(found, name)]
    worse = _worse(order, found.average)
    if worse and order.price is not None and found.average is not None:
        differing["price"] = [text(order.price), text(found.average)]
    return differing


def _worse(order: Order, average: Decimal | None) -> bool:
    if average is None or order.price is None:
        return False
    return average > order.price if order.side == "buy" else average < order.price


def refused(cid: str, reason: str, words: str, time: int) -> Event:
    """The venue, or we for it, said no: it is not and will not be there."""
    return "refused", {"cid": cid, "reason": reason, "words": words, "time": time}


def unknown(cid: str, words: str, proof: int, time: int) -> Event:
    """Nobody knows; from venue time `proof` on it cannot be accepted any more."""
    return "unknown", {"cid": cid, "words": words, "proof": proof, "time": time}


def absent(cid: str, why: str, venue_time: int, time: int) -> Event:
    """It is proven not to be at the venue, nor to come."""
    return "absent", {"cid": cid, "why": why, "at": venue_time, "time": time}


def cancel(cid: str, time: int) -> Event:
    """It shall end."""
    return "cancel", {"cid": cid, "time": time}


def fill(found: Fill, cid: str, charge: Charge, venue: str, time: int) -> Event:
    """A trade; `cid` is that of our order, empty where it was none of ours."""
    body = {
        "venue": venue,
        "symbol": found.symbol,
        "trade": found.trade,
        "order": found.order,
        "cid": cid or found.cid,
        "side": found.side,
        "quantity": text(found.quantity),
        "price": text(found.price),
        "fee": _text(found.fee),
        "coin": found.coin,
        "change": text(charge.change),
        "fee_quote": text(charge.fee),
        "estimated": charge.estimated,
        "maker": found.maker,
        "at": found.time,
        "time": time,
    }
    return "fill", body


def income(found: Income, time: int) -> Event:
    """Money came or went without a trade."""
    body = {
        "id": found.id,
        "type": found.kind,
        "symbol": found.symbol,
        "amount": text(found.amount),
        "coin": found.coin,
        "at": found.time,
        "time": time,
    }
    return "income", body


def adjustment(said: Adjustment, time: int) -> Event:
    """Someone has looked, and the venue is right."""
    body = {
        "id": said.id,
        "symbol": said.symbol,
        "quantity": text(said.quantity),
        "foreign": text(said.foreign),
        "price": text(said.price),
        "foreign_orders": list(said.orders),
        "closed": list(said.closed),
        "time": time,
    }
    return "adjustment", body


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else text(amount)
