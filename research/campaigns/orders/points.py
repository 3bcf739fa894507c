"""Where runs are killed, and in which state that finds their orders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from research.orders import Known

STEPS = ("begin", "inserted", "committed", "done")
"""Of one writing to the journal."""


class Point(NamedTuple):
    """A moment at which a run is killed."""

    what: str
    """The kind of event that is being written; ``post`` and ``drop``: an order, a cancellation
    is sent; ``time``: whatever it does."""
    when: str
    """One of `STEPS`, ``before`` or ``after``, or real seconds."""
    early: bool = False
    """Whether it may come while the run reconciles."""


def _found_out() -> list[Point]:
    """Points of a reconciliation, each behind the one that gives it something to find out."""
    unsent, unanswered = Point("intent", "done"), Point("send", "done")
    return [
        point
        for step in STEPS
        for point in (
            unsent,
            Point("absent", step, early=True),
            unanswered,
            Point("unknown", step, early=True),
        )
    ]


POINTS = (
    *_found_out(),
    *(Point(*p) for p in product(("intent", "send", "ack", "fill", "done", "cancel"), STEPS)),
    *(Point(*p) for p in product(("post", "drop"), ("before", "after"))),
    *(Point("time", seconds) for seconds in ("0.01", "0.03", "0.06", "0.1", "0.2", "0.4")),
)
"""Gone through again and again."""


def state_of(known: Known, there: Sequence[str] | None) -> str:
    """Name the state of an order of which something was still to be learnt when a run was killed.

    Parameters
    ----------
    known : Known
        As the journal had it.
    there : sequence of str, optional
        As the venue had it: its status, the quantity that was filled, and ``triggered`` once its
        trigger had been reached. None: the venue knew no such order.

    Examples
    --------
    >>> from decimal import Decimal
    >>> from research.venues.words import Order
    >>> order = Order("a", "BTCUSDT", "buy", "limit", Decimal(2), Decimal(9))
    >>> meant = Known(order, "entry", 5, 6)
    >>> state_of(meant, None), state_of(meant._replace(sent=True), ["open", "0", ""])
    ('meant', 'accepted, not acknowledged')
    """
    if not known.sent:
        return "meant"
    if there is None:
        return "doubted" if known.answer == "unknown" else "sent"
    status, filled, triggered = there
    traded = float(filled) > 0
    if known.unknown:
        return "filled, not acknowledged" if traded else "accepted, not acknowledged"
    if known.cancelling:
        return "cancelling" if status == "open" else "cancelled, not known"
    if known.order.trigger is not None:
        return "triggered, not known" if triggered else "conditional, resting"
    if status == "open":
        return "partly filled" if traded else "resting"
    return "over, fills not booked"
