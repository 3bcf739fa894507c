import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.trading.account import TRADE, equity, exposure, new_book, records
from research.trading.fills import Bar, Charge, fill, meet, worsened
from research.trading.rules import threshold, with_costs, with_sizing

from .markets import MINUTE

RULES = with_costs(threshold(enter=0.0, interval=MINUTE), fee=0.001, slippage=0.0003)
CHARGE = Charge(half_spread=0.0002, impact=0.0, lot=0.0, tick=0.0)


def open_one(book, target, price, notional, rules=RULES, charge=CHARGE):
    lot = book.lots[0]
    lot.order, lot.target, lot.notional = 1, target, notional
    row = records(1, TRADE)[0]
    return fill(book.purse[0], book.lots, lot, row, price, 0, charge, rules)


def book_of(held, capital=1_000.0):
    """A book whose first lot is flat and whose others hold (position, mark)."""
    book = new_book(len(held) + 1, capital)
    book.lots.position[1:], book.lots.mark[1:] = np.array(held).T
    book.purse.cash -= (book.lots.position * book.lots.mark).sum()
    return book


@settings(max_examples=300, deadline=None)
@given(
    held=st.lists(st.tuples(st.floats(-9, 9), st.floats(50, 150)), min_size=1, max_size=5),
    target=st.sampled_from([-1, 1]),
    price=st.floats(50, 150),
    notional=st.floats(0, 50_000),
    leverage=st.sampled_from([0.5, 1.0, 4.0]),
    impact=st.sampled_from([0.0, 1e-4]),
    lot=st.sampled_from([0.0, 0.1]),
)
def test_no_more_is_held_than_there_is(held, target, price, notional, leverage, impact, lot):
    """Right after an entry, all positions are worth at most `leverage` times the equity left."""
    book = book_of(held)
    charge, rules = CHARGE._replace(impact=impact, lot=lot), with_sizing(RULES, leverage=leverage)
    before = exposure(book.lots)
    open_one(book, target, price, notional, rules, charge)
    worth, size = equity(book.purse[0], book.lots), exposure(book.lots)
    assert size <= leverage * worth + 1e-7 or size == before
    bought = abs(book.lots.position[0])
    assert bought * worsened(price, target, notional, charge, rules) <= notional + 1e-4 * price
    assert np.sign(book.lots.position[0]) in (0, target)
    assert not lot or bought / lot == pytest.approx(round(bought / lot), abs=1e-6)


def test_an_order_without_room_comes_to_nothing():
    book = book_of([(10.0, 100.0)])
    assert open_one(book, 1, 100.0, 500.0) == 0
    assert (book.lots.position[0], book.purse[0].cash, book.lots.order[0]) == (0.0, 0.0, -1)


def test_what_rounding_left_over_is_no_room():
    book = book_of([(10.0, 100.0)], capital=1_000.0 + 1e-8)
    open_one(book, 1, 100.0, 500.0)
    assert book.lots.position[0] == 0.0


def test_an_order_that_shrank_below_the_smallest_comes_to_nothing():
    rules = with_costs(RULES, min_notional=10.0)
    for room, opened in ((9.0, False), (12.0, True)):
        book = book_of([(10.0, 100.0)], capital=1_000.0 + room)
        open_one(book, 1, 100.0, 500.0, rules)
        assert (book.lots.position[0] > 0) == opened


def test_a_buy_costs_more_and_a_sale_brings_less():
    assert worsened(100.0, 1, 0.0, CHARGE, RULES) == pytest.approx(100.05)
    assert worsened(100.0, -1, 0.0, CHARGE, RULES) == pytest.approx(99.95)


def test_impact_grows_with_the_root_of_what_is_traded():
    charge = Charge(0.0, 1e-4, 0.0, 0.0)
    free = threshold(enter=0.0, interval=MINUTE)
    assert worsened(100.0, 1, 10_000.0, charge, free) == pytest.approx(101.0)
    assert worsened(100.0, -1, 40_000.0, charge, free) == pytest.approx(98.0)
    assert worsened(100.0, -1, 1e12, charge, free) == 0.0  # a price does not fall below zero


def test_impact_is_that_of_what_is_left_of_an_order():
    """Of 10,000 asked for, a lot of 40 leaves 80 at 100: 8,000, whose impact is 0.894 %."""
    book = new_book(1, 1e6)
    free, charge = threshold(enter=0.0, interval=MINUTE), Charge(0.0, 1e-4, 40.0, 0.0)
    open_one(book, 1, 100.0, 10_000.0, free, charge)
    assert book.lots.position[0] == 80.0
    assert book.lots.entry[0] == pytest.approx(100 * (1 + 1e-4 * 8_000**0.5))


@pytest.mark.parametrize(
    ("reference", "direction", "tick", "price"),
    [
        (100.01, 1, 0.05, 100.05),  # against the trader
        (100.04, -1, 0.05, 100.0),
        (0.3, 1, 0.1, 0.3),  # 0.3 / 0.1 is 2.9999999999999996
        (0.7, -1, 0.1, 0.7),  # 0.7 / 0.1 is 6.999999999999999
        (100.05, 1, 0.0, 100.05),
    ],
)
def test_prices_are_rounded_against_the_trader(reference, direction, tick, price):
    free = threshold(enter=0.0, interval=MINUTE)
    found = worsened(reference, direction, 0.0, Charge(0.0, 0.0, 0.0, tick), free)
    assert found == pytest.approx(price, abs=1e-12)


def test_an_order_meets_its_bar_when_it_arrives():
    """Half a bar late, half way from the open to the close; before the open, at the open."""
    lot, bar = new_book(1, 1.0).lots[0], Bar(120, 60, 100.0, 120.0, 90.0, 110.0)
    for arrival, met in ((60, (60, 100.0)), (90, (90, 105.0)), (105, (105, 107.5)), (0, (60, 100))):
        lot.arrival = arrival
        assert meet(lot, bar) == met
