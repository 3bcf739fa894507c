"""Fills that walk the book: against fractions, a slow twin, and numbers checked in the head."""

import hashlib
import os
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.trading import loop
from research.trading.depth import middle, through, walk
from research.trading.rules import threshold, with_costs, with_exits

from . import twin
from .markets import MINUTE, one_symbol, random_books, random_charges, random_market, random_venue
from .strategies import any_rule
from .test_loop import ROOT, agree, words

WALKS = with_costs(threshold(enter=0.001, interval=MINUTE), walks=True)
levels = st.lists(
    st.tuples(st.floats(1e-3, 1.0), st.floats(1e-3, 50.0)), min_size=1, max_size=20
)  # distance from the level before, quantity


def side_of(made, up, start=100.0):
    price, rows = start, []
    for distance, size in made:
        price += up * distance
        rows.append((price, size))
    return np.array(rows)


def book_of(bids, asks):
    depth = max(len(bids), len(asks))
    made = np.zeros((2, depth, 2))
    made[0, : len(bids)], made[1, : len(asks)] = bids, asks
    return made


def exact(side, taken, quantity):
    """The same by fractions: list what is there, drop what is gone, take what is wanted."""
    there = [(Fraction(p), Fraction(q)) for p, q in side.tolist()]
    skip, want, paid = Fraction(taken), Fraction(quantity), Fraction(0)
    for price, size in there:
        free = max(size - skip, Fraction(0))
        skip = max(skip - size, Fraction(0))
        piece = min(free, want)
        paid, want = paid + piece * price, want - piece
    got = Fraction(quantity) - want
    return (float(paid / got) if got else nan), float(want)


@settings(max_examples=100, deadline=None)
@given(levels, st.sampled_from([-1, 1]), st.floats(0, 200), st.floats(1e-6, 400))
def test_the_walk_is_the_mean_of_what_is_taken(made, up, taken, quantity):
    side = side_of(made, up)
    price, left, last = walk(side, taken, quantity)
    expected, unfilled = exact(side, taken, quantity)
    assert left == pytest.approx(unfilled, abs=1e-9)
    assert last == side[-1, 0]
    if quantity - unfilled > 1e-9:
        assert price == pytest.approx(expected, rel=1e-12)
    elif unfilled == quantity:
        assert isnan(price) or left < quantity


@settings(max_examples=100, deadline=None)
@given(levels, st.sampled_from([-1, 1]), st.lists(st.floats(1e-9, 1e3), min_size=2, max_size=8))
def test_a_walk_is_no_better_than_the_touch_and_worse_the_more_is_wanted(made, up, sizes):
    side = side_of(made, up)
    prices = [walk(side, 0.0, size)[0] for size in sorted(sizes)]
    assert all(up * (price - side[0, 0]) >= 0 for price in prices)
    assert all(up * (side[-1, 0] - price) >= -1e-9 for price in prices)
    assert all(up * (b - a) >= -1e-11 * a for a, b in pairwise(prices))


@settings(max_examples=100, deadline=None)
@given(levels, st.sampled_from([-1, 1]), st.floats(1e-9, 1.0))
def test_what_the_best_level_holds_costs_its_price_exactly(made, up, share):
    side = side_of(made, up)
    assert walk(side, 0.0, share * side[0, 1])[0] == side[0, 0]


@settings(max_examples=60, deadline=None)
@given(levels, levels, st.sampled_from([-1, 1]), st.floats(1e-6, 1e3), st.sampled_from([0.0, 1e-5]))
def test_two_orders_cost_what_one_does(bids, asks, up, quantity, impact):
    """What another took at the same time is gone: halves together pay what the whole pays."""
    book = book_of(side_of(bids, -1), side_of(asks, 1))
    at, taken = middle(book), np.zeros(2)
    whole = through(book, taken, at, up, quantity, impact)
    assert up * (whole - at) > 0 or whole == 0.0
    if quantity < book[int(up > 0), :, 1].sum():
        first = through(book, taken, at, up, quantity / 2, impact)
        taken[int(up > 0)] = quantity / 2
        both = (first + through(book, taken, at, up, quantity / 2, impact)) / 2
        assert both == pytest.approx(whole, rel=1e-12)


def test_what_is_not_shown_is_paid_at_the_last_level_and_its_impact():
    book = book_of([(99.0, 1.0)], [(101.0, 1.0), (102.0, 1.0)])
    assert through(book, np.zeros(2), 100.0, 1, 4.0, 0.0) == pytest.approx((101 + 102 * 3) / 4)
    # two that are not shown are worth 204: a root of 14.28, at 1e-3 1.428 %
    more = 102 * (1 + 1e-3 * 204**0.5)
    found = through(book, np.zeros(2), 100.0, 1, 4.0, 1e-3)
    assert found == pytest.approx((101 + 102 + 2 * more) / 4)
    assert through(book, np.zeros(2), 100.0, -1, 1e9, 1.0) == 0.0  # no price falls below zero


def test_a_stop_is_as_far_from_its_level_as_the_walk_from_the_middle():
    book = book_of([(99.0, 1.0), (97.0, 1.0)], [(101.0, 1.0)])
    assert through(book, np.zeros(2), 50.0, -1, 2.0, 0.0) == pytest.approx(49.0)


# -- through the desk, with numbers that a reader checks in the head ---------------------------


def run(rows, books, rules=WALKS, capital=1_000.0, **others):
    depth = max(len(side) for book in books for side in book)
    made = np.zeros((len(books), 2, depth, 2))
    for k, book in enumerate(books):
        for s, side in enumerate(book):
            if side:
                made[k, s, : len(side)] = side
    return loop.run(*one_symbol(rows), 1, rules, capital, levels=made, **others)


DEEP = ([(99.0, 100.0)], [(101.0, 100.0)])
IN = (100, 100, 100, 100, 0.01)
STILL = (100, 100, 100, 100, 0.0)
OUT = (100, 100, 100, 100, -0.01)


def test_an_entry_walks_the_asks_and_an_exit_the_bids():
    thin = ([(99.0, 4.0), (98.0, 100.0)], [(101.0, 4.0), (102.0, 100.0)])
    rules = with_exits(WALKS, hold=MINUTE)._replace(short=False)
    found = run([IN, STILL, STILL, STILL], [DEEP, thin, thin, thin], rules, 1_016.0)
    # the size is that of the whole order's price: 1016 / 100 is walked at (4 x 101 + 6.16 x 102)
    whole = (4 * 101 + 6.16 * 102) / 10.16
    size = 1_016 / whole
    assert found.trades.quantity.item() <= size
    size = found.trades.quantity.item()
    assert found.trades.entry_price.item() == pytest.approx((404 + (size - 4) * 102) / size)
    assert found.trades.exit_price.item() == pytest.approx((396 + (size - 4) * 98) / size)
    costs = size * (found.trades.entry_price - found.trades.exit_price).item()
    assert found.trades.gross.item() == pytest.approx(0.0, abs=1e-9)  # before costs: the middle
    assert found.trades.slippage.item() == pytest.approx(costs)
    assert found.equity[-1] == pytest.approx(1_016 - costs)


def test_an_entry_takes_no_more_than_is_shown():
    thin = ([(99.0, 1.0)], [(101.0, 2.0), (102.0, 1.0)])
    found = run([IN, IN, IN], [DEEP, thin, DEEP])
    assert found.position.tolist()[:2] == [0.0, 3.0]
    assert found.trades.entry_price.item() == pytest.approx((2 * 101 + 102) / 3)


def test_a_book_with_nothing_to_speak_of_is_too_thin():
    rules = with_costs(WALKS, min_notional=10.0, walks=True)
    crumbs = ([(99.0, 1.0)], [(101.0, 0.05)])
    found = run([IN, IN, IN, STILL], [DEEP, crumbs, DEEP, DEEP], rules)
    assert words(found) == ["entry", "too_thin", "entry", "end"]
    assert found.position.tolist()[:3] == [0.0, 0.0, 0.0]


def test_without_a_book_nothing_is_filled():
    none, half = ([], []), ([(99.0, 5.0)], [])
    stopped = with_exits(WALKS, stop=0.1)
    crash = (100, 100, 50, 100, 0.0)
    found = run([IN, IN, STILL, STILL, crash, crash], [DEEP, none, half, DEEP, none, DEEP], stopped)
    assert words(found) == ["entry", "waiting", "waiting", "hold", "hold", "stop"]
    assert found.trades.entry_time.item() == 3 * 60_000_000
    # sold at the stop, a tenth below 101, one in a hundred below as the bid is below the middle
    assert found.trades.exit_price.item() == pytest.approx(101 * 0.9 * 0.99)


def test_a_turn_walks_on_where_the_exit_ended():
    """A short of 4.9 is closed and a long opened: the second buy finds the first level gone."""
    book = ([(99.0, 100.0)], [(101.0, 5.0), (103.0, 100.0)])
    found = run([OUT, IN, IN, STILL], [DEEP, DEEP, book, DEEP], capital=500.0)
    held = -found.position[1]
    assert found.trades.exit_price[0] == 101.0 and 4.8 < held <= 5.0
    size = found.position[2]
    rest = 5.0 - held
    assert found.trades.entry_price[1] == pytest.approx((rest * 101 + (size - rest) * 103) / size)


def test_half_spread_and_slippage_are_not_paid_twice():
    dear = with_costs(WALKS, slippage=0.01, walks=True)
    plain, charged = (
        run([IN, STILL], [DEEP, DEEP], rules, half_spread=np.full(2, spread))
        for rules, spread in ((WALKS, 0.0), (dear, 0.05))
    )
    assert (plain.equity == charged.equity).all()


def test_books_and_rules_go_together():
    with pytest.raises(UserError, match=r"rules\.walks is True, but of books there are none"):
        loop.run(*one_symbol([IN]), 1, WALKS, 1_000.0)
    with pytest.raises(UserError, match=r"rules\.walks is False, but of books there are some"):
        run([IN], [DEEP], threshold(enter=0.001, interval=MINUTE))


# -- any strategy on any market -----------------------------------------------------------------


def play(seed):
    arrays = random_market(seed, start_hours=7 if seed % 2 else 23)
    rules = any_rule(seed + 1)._replace(walks=True)
    extra = random_charges(seed + 2, arrays) | {"levels": random_books(seed + 4, arrays)}
    venue = random_venue(seed + 3, arrays[0][-1])
    return loop.run(*arrays, 3, rules, 10_000.0, **extra, venue=venue), arrays, rules, venue, extra


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_slow_twin_agrees(seed):
    found, arrays, rules, venue, extra = play(seed)
    agree(found, twin.play(arrays, 3, rules, venue, 10_000.0, extra))


def test_the_random_markets_reach_what_only_books_do():
    runs = [play(seed)[0] for seed in range(60)]
    assert {"too_thin", "waiting", "stop"} <= {w for found in runs for w in words(found)}
    assert all((found.trades.slippage >= -1e-9).all() for found in runs)


def digest(seeds=range(8)):
    """Everything that comes out of a few runs, as one number."""
    total = hashlib.sha256()
    for seed in seeds:
        found = play(seed)[0]
        for column in (found.reasons, found.position, found.equity, *found.trades):
            total.update(np.ascontiguousarray(column).tobytes())
    return total.hexdigest()


def test_plain_python_is_the_compiled_desk_bit_for_bit():
    ran = subprocess.run(
        [sys.executable, "-c", "from tests.trading.test_depth import digest; print(digest())"],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == digest()
