"""The sorted book against two dictionaries."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from research.order_book import ladder

PUTS = st.lists(
    st.tuples(st.sampled_from([1, -1]), st.integers(1, 40), st.integers(0, 3)), max_size=120
)


def best(levels, side, depth):
    rows = sorted(levels.items(), reverse=side > 0)[:depth]
    return [list(row) for row in rows] + [[0.0, 0.0]] * (depth - len(rows))


@settings(max_examples=60, deadline=None)
@given(PUTS)
def test_a_book_is_two_sorted_dictionaries(puts):
    book, slow = ladder.ladder(), ({}, {})
    for side, tick, quantity in puts:
        ladder.put(book, side, tick / 4, float(quantity))
        levels = slow[0 if side > 0 else 1]
        if quantity:
            levels[tick / 4] = float(quantity)
        else:
            levels.pop(tick / 4, None)
    top = ladder.top(book, np.full((2, 7, 2), 9.0))
    assert top.tolist() == [best(slow[0], 1, 7), best(slow[1], -1, 7)]
    assert book.filled.tolist() == [len(slow[0]), len(slow[1])]
    asked = bool(slow[0] and slow[1]) and max(slow[0]) >= min(slow[1])
    assert ladder.crossed(book) == asked


def test_a_level_that_was_never_there_is_taken_out_in_peace():
    book = ladder.ladder()
    ladder.put(book, 1, 5.0, 0.0)
    ladder.put(book, 1, 6.0, 1.0)
    ladder.put(book, 1, 5.0, 0.0)
    assert book.filled.tolist() == [1, 0]


def test_beyond_the_cap_the_farthest_level_goes_and_the_edge_tells():
    book, extra = ladder.ladder(), 3
    for tick in range(ladder.LEVELS + extra):
        ladder.put(book, 1, 1.0 + tick, 1.0)
    assert book.filled[0] == ladder.LEVELS
    assert book.price[0, 0] == 1.0 + extra and book.edge[0] == extra
    ladder.put(book, 1, 0.5, 1.0)  # farther than all: not kept, and from there on nothing is known
    assert book.filled[0] == ladder.LEVELS and book.edge[0] == 1.0 + extra
    assert ladder.top(book, np.zeros((2, 1, 2)))[0, 0].tolist() == [ladder.LEVELS + extra, 1.0]


def test_a_cut_off_snapshot_has_an_edge_and_a_whole_one_has_none():
    for levels, cut in ((99, False), (100, True), (1000, True)):
        book = ladder.ladder()
        for tick in range(levels):
            ladder.put(book, 1, 5000.0 - tick, 1.0)
            ladder.put(book, -1, 5001.0 + tick, 1.0)
        ladder.mark_edges(book)
        assert np.isfinite(book.edge).tolist() == [cut, cut]
        assert not ladder.beyond(book, 20)
        ladder.put(book, -1, 9000.0, 1.0)
        assert not ladder.beyond(book, 20)
        for tick in range(levels - 10):
            ladder.put(book, -1, 5001.0 + tick, 0.0)
        assert ladder.beyond(book, 20) == cut  # 11 are left, of which one was never in the snapshot


def test_all_that_a_snapshot_said_is_known_to_the_last_level():
    book = ladder.ladder()
    for n in range(100):
        ladder.put(book, 1, 1000.0 - n, 1.0)
    ladder.mark_edges(book)
    assert [ladder.beyond(book, depth) for depth in (99, 100, 101)] == [False, False, True]
