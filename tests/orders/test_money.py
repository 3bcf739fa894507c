"""What fills come to, against fractions that know no rounding."""

from decimal import Decimal, localcontext
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from research.orders.money import EXACT, Holding, charged, text, traded

amounts = st.decimals("0.00000001", "99999", places=8)
trades = st.lists(st.tuples(st.booleans(), amounts, amounts), max_size=25)


def signed(many):
    return [(quantity if bought else -quantity, price) for bought, quantity, price in many]


def replayed(many):
    """The same account in fractions: position, cost and gains at mean prices."""
    held = cost = gained = Fraction(0)
    for moved, paid in many:
        rest, price = Fraction(moved), Fraction(paid)
        if held * rest < 0:
            closed = -held if abs(rest) > abs(held) else rest
            share = cost * closed / held  # below 0: it is taken away
            gained += -closed * price + share
            cost, held, rest = cost + share, held + closed, rest - closed
        held, cost = held + rest, cost + rest * price
    return held, cost, gained


@given(trades)
def test_position_cost_and_gains_are_those_of_fractions(many):
    many, held = signed(many), Holding()
    for quantity, price in many:
        held = traded(held, quantity, price)
    position, cost, gained = replayed(many)
    assert Fraction(held.quantity) == position
    assert abs(Fraction(held.cost) - cost) < Fraction(1, 10**15)
    assert abs(Fraction(held.realised) - gained) < Fraction(1, 10**15)


@given(trades)
def test_nothing_is_lost_between_gains_and_cost(many):
    many, held, spent = signed(many), Holding(), Decimal(0)
    for quantity, price in many:
        held = traded(held, quantity, price)
        with localcontext(EXACT):
            spent += quantity * price
            assert held.realised - held.cost == -spent
    if not held.quantity:
        assert held.cost == 0 and held.entry is None


def test_fees_and_income_are_cash():
    held = charged(
        charged(Holding(), Decimal("0.5"), estimated=False), Decimal("0.2"), estimated=True
    )
    held = held._replace(income=Decimal("-0.1"), realised=Decimal(3))
    assert (held.fees, held.estimated, held.cash) == (
        Decimal("0.7"),
        Decimal("0.2"),
        Decimal("2.2"),
    )


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_amounts_are_read_as_they_were_written(amount):
    assert Decimal(text(amount)) == amount and "E" not in text(amount)
