import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.trading.account import (
    TRADE,
    Fill,
    equity,
    exposure,
    fund,
    look_up,
    new_book,
    new_venue,
    records,
    trade,
)

from .markets import EIGHT_HOURS, funded


class Desk:
    """One symbol's ledger, by hand."""

    def __init__(self, capital):
        self.book, self.rows, self.count = new_book(1, capital), records(50, TRADE), 0
        self.purse, self.lot = self.book.purse[0], self.book.lots[0]

    def buy(self, quantity, price, fee=0.0, reference=None):
        fill = Fill(float(quantity), float(reference or price), float(price), 0, 1)
        self.count += trade(self.purse, self.lot, self.rows[self.count], fill, fee)
        return self

    def equity_at(self, price):
        self.lot.mark = price
        return equity(self.purse, self.book.lots)


def test_adding_does_not_print_money():
    """The source project's ledger said 10250, 10500, 10750, 11000."""
    desk = Desk(10_000.0).buy(25, 100)
    seen = [desk.equity_at(110)]
    for _ in range(3):
        seen.append(desk.buy(25, 110).equity_at(110))
    assert seen == [10_250.0] * 4
    assert desk.lot.entry == 107.5


def test_reducing_does_not_lose_money_twice():
    """The source project's ledger said 9000, 9250, 9500, 9750."""
    desk = Desk(10_000.0).buy(100, 100)
    seen = [desk.equity_at(90)]
    for _ in range(4):
        seen.append(desk.buy(-25, 90).equity_at(90))
    assert seen == [9_000.0] * 5
    assert (desk.count, desk.rows[0].net, desk.rows[0].quantity) == (1, -1_000.0, 100.0)


def test_a_short_gains_when_the_price_falls():
    desk = Desk(1_000.0).buy(-10, 100)
    assert (desk.equity_at(90), desk.equity_at(120)) == (1_100.0, 800.0)
    assert exposure(desk.book.lots) == 1_200.0
    desk.buy(10, 90)
    assert (desk.purse.cash, desk.rows[0].side, desk.rows[0].gross) == (1_100.0, -1, 100.0)


def test_turning_closes_one_trade_and_opens_another():
    desk = Desk(1_000.0).buy(10, 100).buy(-15, 110)
    assert (desk.count, desk.rows[0].net, desk.lot.position, desk.lot.entry) == (1, 100.0, -5, 110)
    desk.buy(5, 100)
    assert [row.net for row in desk.rows[:2]] == [100.0, 50.0]
    assert desk.purse.cash == 1_150.0


def test_both_sides_pay():
    desk = Desk(1_000.0).buy(10, 100, fee=0.01).buy(-10, 100, fee=0.01)
    assert (desk.purse.cash, desk.rows[0].fees, desk.rows[0].net) == (980.0, 20.0, -20.0)


def test_gross_is_before_spread():
    desk = Desk(1_000.0).buy(10, 101, reference=100).buy(-10, 109, reference=110)
    row = desk.rows[0]
    assert (row.gross, row.slippage, row.net) == (100.0, 20.0, 80.0)
    assert (row.entry_price, row.exit_price) == (101.0, 109.0)


def test_a_reduced_and_refilled_position_averages():
    desk = Desk(1_000.0).buy(10, 100).buy(-5, 120).buy(5, 140).buy(-10, 130)
    row = desk.rows[0]
    assert (row.gross, row.quantity, desk.purse.cash) == (200.0, 15.0, 1_200.0)
    assert row.exit_price == pytest.approx((5 * 120 + 10 * 130) / 15)


def pay(desk, until, venue):
    look_up(desk.book.lots, venue)
    fund(desk.purse, desk.lot, until, venue)
    return desk.purse.funding


def test_funding_counts_moments_and_turns_with_the_side():
    for side, rate, paid in ((1, 0.001, 1.0), (-1, 0.001, -1.0), (1, -0.001, -1.0)):
        desk, venue = Desk(1_000.0).buy(side * 10, 100), funded(rate, 10 * EIGHT_HOURS)
        assert pay(desk, EIGHT_HOURS - 1, venue) == 0.0
        assert pay(desk, EIGHT_HOURS, venue) == paid
        assert pay(desk, EIGHT_HOURS, venue) == paid  # once
        assert pay(desk, 3 * EIGHT_HOURS, venue) == 3 * paid
        assert desk.equity_at(100) == 1_000.0 - 3 * paid


def test_funding_is_that_of_the_moment_and_of_what_is_held_then():
    """10 at 100 pay 1 % = 10 at 5; flat at 7; short 5 at 200 receive 2 % = 20 at 9."""
    venue = new_venue(1, funding=([0, 3], [5, 7, 9], [0.01, 0.5, 0.02]))
    desk = Desk(1_000.0).buy(10, 100)
    assert pay(desk, 6, venue) == 10.0
    desk.buy(-10, 100)
    assert pay(desk, 8, venue) == 10.0
    desk.buy(-5, 200)
    assert pay(desk, 100, venue) == -10.0
    assert desk.rows[0].funding == 10.0
    assert desk.equity_at(200) == 1_010.0


def test_funding_may_become_known_as_time_goes_by():
    """A live desk is handed a longer schedule each time; another symbol's grows beside it."""
    desk = Desk(1_000.0).buy(10, 100)
    assert pay(desk, 6, new_venue(1)) == 0.0
    assert pay(desk, 7, new_venue(1, funding=([0, 1], [7], [0.01]))) == 10.0
    assert pay(desk, 8, new_venue(1, funding=([0, 2], [7, 8], [0.01, 0.02]))) == 30.0
    book = new_book(2, 1_000.0)
    book.lots.position[1], book.lots.mark[1] = 1.0, 100.0
    for first, moment, rate in (
        ([0, 1, 2], [5, 6], [0.5, 0.01]),
        ([0, 2, 3], [5, 9, 6], [0.5] * 3),
    ):
        venue = new_venue(2, funding=(first, moment, rate))
        look_up(book.lots, venue)
        fund(book.purse[0], book.lots[1], 20, venue)
        assert book.purse[0].funding == 1.0


fills = st.tuples(
    st.floats(-50, 50).filter(lambda q: abs(q) > 1e-3), st.floats(50, 150), st.floats(-0.01, 0.01)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(fills, min_size=1, max_size=20), st.floats(0, 0.01))
def test_whatever_is_traded_the_books_agree(orders, fee):
    """Cash moves by what was paid alone; once flat, equity gained is the sum of net."""
    desk, paid, position = Desk(1e6), 0.0, 0.0
    for quantity, price, spread in orders:
        desk.buy(quantity, price * (1 + spread), fee, reference=price)
        paid += quantity * price * (1 + spread) + fee * abs(quantity) * price * (1 + spread)
        position += quantity
        assert desk.purse.cash == pytest.approx(1e6 - paid, abs=1e-6)
        assert desk.lot.position == pytest.approx(position, abs=1e-9)
    if desk.lot.position:
        desk.buy(-desk.lot.position, 100.0, fee)
    rows = desk.rows[: desk.count]
    assert rows.net.sum() == pytest.approx(desk.purse.cash - 1e6, abs=1e-6)
    costs = rows.fees + rows.slippage + rows.funding
    assert rows.gross - costs == pytest.approx(rows.net, abs=1e-9)
