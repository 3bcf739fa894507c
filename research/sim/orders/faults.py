"""What goes wrong with orders, as a plan's entries say it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING

from research.sim.binance_rest import Refused
from research.sim.faults import Fault
from research.sim.orders.matching import PLAIN
from research.sim.orders.quotes import floor
from research.sim.orders.words import Denied, Rules, Ticket, Twist

if TYPE_CHECKING:
    from research.sim.orders.venues import Venue

CARRIERS = (
    "reject",
    "hold_before_accept",
    "hold_after_accept",
    "accept_then_503",
    "late_accept",
    "ack_rst",
    "fill_before_ack",
    "cancel_race",
)
"""Kinds that befall the request; the others befall the order."""


class Cut(Exception):
    """The connection is to be reset instead of an answer."""


class Gone(Exception):
    """A gateway in between has given up: nobody is told what came of it."""


def seconds(fault: Fault) -> float:
    """Return how long a fault keeps a client waiting, real seconds."""
    return float(fault.args.get("seconds", 0.2 if fault.kind == "fill_before_ack" else 30.0))


def twist(hits: Iterable[Fault]) -> Twist:
    """Return what faults make of the order itself.

    >>> twist([Fault("partial", prob=1.0, args={"share": 0.25, "then": "rest"})])[:2]
    (Decimal('0.25'), 'rest')
    """
    made = PLAIN
    for fault in hits:
        args = fault.args
        if fault.kind == "partial":
            share = Decimal(str(args.get("share", 0.5)))
            then, us = args.get("then", "expire"), int(args.get("us", 1_000_000))
            made = made._replace(share=share, then=then, us=us)
        elif fault.kind == "duplicate_fill":
            made = made._replace(times=int(args.get("times", 2)))
        elif fault.kind == "changed":
            factor, ticks = args.get("factor"), int(args.get("ticks", 0))
            exact = None if factor is None else Decimal(str(factor))
            made = made._replace(factor=exact, ticks=ticks)
    return made


def twisted(ticket: Ticket, rules: Rules, twist: Twist) -> Ticket:
    """Return what a venue makes of a ticket."""
    if twist.factor is not None:
        quantity = max(rules.lot, floor(ticket.quantity * twist.factor, rules.lot))
        ticket = ticket._replace(quantity=quantity)
    if twist.ticks and ticket.price is not None:
        ticket = ticket._replace(price=ticket.price + twist.ticks * rules.tick)
    return ticket


def denial(venue: Venue, fault: Fault) -> Refused:
    """Return the answer of a fault that refuses: a `reason`, or a whole `body`."""
    body = fault.args.get("body")
    if body is not None:
        return Refused(int(fault.args.get("status", 400)), body)
    return venue.denied(Denied(str(fault.args.get("reason", "funds"))))
