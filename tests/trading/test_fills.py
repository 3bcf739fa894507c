import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.trading.account import TRADE, equity, exposure, new_book, records
from research.trading.fills import at_open, worsened
from research.trading.rules import threshold, with_costs
from research.trading.sizing import share

from .markets import MINUTE

RULES = with_costs(
    threshold(enter=0.0, interval=MINUTE), fee=0.001, half_spread=0.0002, slippage=0.0003
)


def open_one(book, target, price, notional, rules=RULES):
    lot = book.lots[0]
    lot.order, lot.target, lot.notional = 1, target, notional
    return at_open(book.purse[0], book.lots, lot, records(1, TRADE)[0], price, 0, rules)


@settings(max_examples=200, deadline=None)
@given(
    held=st.lists(st.tuples(st.floats(-9, 9), st.floats(50, 150)), min_size=2, max_size=5),
    target=st.sampled_from([-1, 1]),
    price=st.floats(50, 150),
    notional=st.floats(0, 5_000),
)
def test_no_more_is_held_than_there_is(held, target, price, notional):
    """Right after an entry, all positions together are worth at most the equity left."""
    book = new_book(len(held) + 1, 1_000.0)
    book.lots.position[1:], book.lots.mark[1:] = np.array(held).T
    book.purse.cash -= (book.lots.position * book.lots.mark).sum()
    before = exposure(book.lots)
    open_one(book, target, price, notional)
    worth, size = equity(book.purse[0], book.lots), exposure(book.lots)
    assert size <= worth + 1e-9 or size == before
    assert abs(book.lots.position[0]) * worsened(price, target, RULES) <= notional + 1e-9
    assert np.sign(book.lots.position[0]) in (0, target)


def test_an_order_without_room_comes_to_nothing():
    book = new_book(2, 1_000.0)
    book.lots.position[1], book.lots.mark[1] = 10.0, 100.0
    book.purse.cash = 0.0
    assert open_one(book, 1, 100.0, 500.0) == 0
    assert (book.lots.position[0], book.purse[0].cash, book.lots.order[0]) == (0.0, 0.0, -1)


def test_a_buy_costs_more_and_a_sale_brings_less():
    assert worsened(100.0, 1, RULES) == pytest.approx(100.05)
    assert worsened(100.0, -1, RULES) == pytest.approx(99.95)


def test_each_symbol_has_its_share():
    assert (share(900.0, 3), share(-1.0, 3)) == (300.0, 0.0)
