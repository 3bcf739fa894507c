"""One order's life: a point in a lattice, which each event can only raise.

Events may come late, twice or in another order; they lead to the same state.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from research.orders.money import EXACT, ZERO, plus
from research.venues.words import DONE, Fill, Order, Status

Answer = Literal["", "unknown", "absent", "refused", "accepted"]
"""What came of sending, each word stronger than those before it: a fill of an order that was held
to be absent or refused proves that it was accepted."""
_ANSWERS: tuple[Answer, ...] = ("", "unknown", "absent", "refused", "accepted")
_STATUSES: tuple[Status | Literal[""], ...] = (
    *("", "open", "rejected", "expired", "cancelled", "filled"),
)


class Known(NamedTuple):
    """All that is known of one order of ours."""

    order: Order
    """As it was meant."""
    leg: str
    moment: int
    """Of the decision, microseconds since 1970 UTC."""
    time: int
    """When it was meant."""
    sent: bool = False
    answer: Answer = ""
    proof: int = 0
    """Venue time from which a request that has not arrived cannot be accepted any more."""
    ids: frozenset[str] = frozenset()
    """The venue's own; a conditional order that was triggered has two."""
    quantity: Decimal | None = None
    """As the venue took it, where that is not what was sent."""
    told: Decimal = ZERO
    """Filled, as the venue tells."""
    status: Status | Literal[""] = ""
    reason: str = ""
    cancelling: bool = False
    closed: bool = False
    """Someone has looked at the venue and said that nothing will come of it any more."""
    filled: Decimal = ZERO
    """Sum of its fills."""
    worth: Decimal = ZERO
    """Sum of quantity times price of its fills."""

    @property
    def size(self) -> Decimal:
        """The quantity that the venue works on."""
        return self.order.quantity if self.quantity is None else self.quantity

    @property
    def over(self) -> bool:
        """Whether nothing more will be filled."""
        if self.closed or self.answer in ("absent", "refused"):
            return True
        return self.status in DONE or (self.answer == "accepted" and self.filled >= self.size)

    @property
    def settled(self) -> bool:
        """Whether it is over and all its fills are booked."""
        return self.over and (self.closed or self.filled >= self.told)

    @property
    def unknown(self) -> bool:
        """Whether it was sent and nobody knows yet what came of it."""
        return self.sent and not self.closed and self.answer in ("", "unknown")

    @property
    def live(self) -> bool:
        """Whether it may be at the venue now."""
        return self.sent and not self.over

    @property
    def left(self) -> Decimal:
        """What may still be filled; 0 once it is over."""
        return ZERO if self.over else max(self.size - self.filled, ZERO)

    @property
    def average(self) -> Decimal | None:
        """Mean price of its fills; None: there are none."""
        return self.worth / self.filled if self.filled else None


def meant(body: Mapping[str, Any]) -> Known:
    """Return an order that is meant, and has not been sent."""
    order = Order(
        body["cid"],
        body["symbol"],
        body["side"],
        body["type"],
        Decimal(body["quantity"]),
        amount(body.get("price")),
        amount(body.get("trigger")),
        bool(body.get("reduce_only", False)),
    )
    return Known(order, body["leg"], body["moment"], body["time"])


def amount(said: str | None) -> Decimal | None:
    """Read an amount as the journal has it."""
    return None if said is None else Decimal(said)


def filled(known: Known, fill: Fill) -> Known:
    """Return an order after one more fill; that it is one more, the book has seen to."""
    ids = known.ids | ({fill.order} if fill.order else frozenset())
    worth = plus(known.worth, EXACT.multiply(fill.quantity, fill.price))
    return _raised(known, "accepted")._replace(
        ids=ids, filled=plus(known.filled, fill.quantity), worth=worth
    )


def step(known: Known, kind: str, body: Mapping[str, Any]) -> Known:
    """Return an order after one event of its own; the same again changes nothing."""
    return STEPS[kind](known, body)


def _raised(known: Known, answer: Answer) -> Known:
    higher = max(known.answer, answer, key=_ANSWERS.index)
    return known._replace(answer=higher, sent=True)


def _sent(known: Known, body: Mapping[str, Any]) -> Known:
    return known._replace(sent=True)


def _unknown(known: Known, body: Mapping[str, Any]) -> Known:
    return _raised(known, "unknown")._replace(proof=max(known.proof, body["proof"]))


def _absent(known: Known, body: Mapping[str, Any]) -> Known:
    return known._replace(answer=max(known.answer, "absent", key=_ANSWERS.index))


def _refused(known: Known, body: Mapping[str, Any]) -> Known:
    raised = max(known.answer, "refused", key=_ANSWERS.index)
    return known._replace(answer=raised, reason=max(known.reason, body["reason"]))


def _told(known: Known, body: Mapping[str, Any]) -> Known:
    """Take what the venue says of an order, in an `ack` or at its end."""
    quantity = amount(body.get("quantity"))
    if quantity is not None and known.quantity is not None:
        quantity = min(quantity, known.quantity)
    status = max(known.status, body["status"], key=_STATUSES.index)
    ids = known.ids | ({body["id"]} if body["id"] else frozenset())
    return _raised(known, "accepted")._replace(
        ids=ids,
        quantity=known.quantity if quantity is None else quantity,
        told=max(known.told, Decimal(body["filled"])),
        status=status,
        reason=max(known.reason, body.get("reason", "")),
    )


def _cancelling(known: Known, body: Mapping[str, Any]) -> Known:
    return known._replace(cancelling=True)


STEPS = {
    "send": _sent,
    "unknown": _unknown,
    "absent": _absent,
    "refused": _refused,
    "ack": _told,
    "done": _told,
    "cancel": _cancelling,
}
