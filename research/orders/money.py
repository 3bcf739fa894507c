"""What fills come to: position, cost, gains and fees of one symbol, exact to the last digit.

All amounts are `Decimal` in a context wide enough that nothing is rounded but the share of the cost
that a partial close releases, and that share is rounded once, to 18 decimals, and then added and
taken away as it is. So ``-sum(quantity * price) == realised - cost`` holds exactly at all times.
"""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from typing import NamedTuple

ZERO = Decimal(0)
EXACT = Context(prec=100)
_SHARE = Decimal("1e-18")


class Holding(NamedTuple):
    """A symbol's account; everything but `quantity` in quote currency."""

    quantity: Decimal = ZERO
    """In base currency; below 0 short."""
    cost: Decimal = ZERO
    """What the position was bought for; below 0 for a short one."""
    realised: Decimal = ZERO
    """Gained by closing, before fees, against the mean price of what was held."""
    fees: Decimal = ZERO
    """Paid; below 0 received."""
    estimated: Decimal = ZERO
    """The part of `fees` that is an estimate: paid in another coin, or not told."""
    income: Decimal = ZERO
    """Funding and the like, received."""

    @property
    def entry(self) -> Decimal | None:
        """Mean price of what is held; None: nothing is."""
        return self.cost / self.quantity if self.quantity else None

    @property
    def cash(self) -> Decimal:
        """What has come in since the start, with the position at its cost."""
        with localcontext(EXACT):
            return self.realised - self.fees + self.income


def traded(held: Holding, quantity: Decimal, price: Decimal) -> Holding:
    """Return a holding after a trade.

    Parameters
    ----------
    held : Holding
        Before it.
    quantity : Decimal
        In base currency; below 0 sold.
    price : Decimal
        In quote currency.

    Examples
    --------
    >>> held = traded(traded(Holding(), Decimal(2), Decimal(10)), Decimal(1), Decimal(13))
    >>> held.quantity, held.entry
    (Decimal('3'), Decimal('11'))
    >>> held = traded(held, Decimal(-4), Decimal(12))
    >>> held.quantity, held.cost, held.realised
    (Decimal('-1'), Decimal('-12'), Decimal('3'))
    """
    with localcontext(EXACT):
        if held.quantity * quantity >= 0:
            return held._replace(
                quantity=held.quantity + quantity, cost=held.cost + quantity * price
            )
        whole = abs(quantity) >= abs(held.quantity)
        closed = -held.quantity if whole else quantity
        released = (
            held.cost if whole else (held.cost * abs(closed) / abs(held.quantity)).quantize(_SHARE)
        )
        left, rest = held.quantity + closed, quantity - closed
        return held._replace(
            quantity=left + rest,
            cost=held.cost - released + rest * price,
            realised=held.realised - closed * price - released,
        )


def charged(held: Holding, fee: Decimal, *, estimated: bool) -> Holding:
    """Return a holding after a fee, in quote currency."""
    with localcontext(EXACT):
        part = fee if estimated else ZERO
        return held._replace(fees=held.fees + fee, estimated=held.estimated + part)


def plus(a: Decimal, b: Decimal) -> Decimal:
    """Add exactly."""
    return EXACT.add(a, b)


def text(amount: Decimal) -> str:
    """Write an amount as the journal keeps it: plain digits, nothing lost.

    Examples
    --------
    >>> text(Decimal("1E+3")), text(Decimal("0.00000001"))
    ('1000', '0.00000001')
    """
    return format(amount, "f")
