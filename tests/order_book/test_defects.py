"""Faults of other recorders and books, each with the smallest stream that shows it."""

import pytest

from research import order_book


def build(say, place, *rows):
    venue, market = place
    return order_book.build(*say.laid_out(*rows), venue=venue, market=market, depth=2)


def best(built, row=-1):
    return built.levels[row, :, 0, :].ravel().tolist()


LINEAR, UM, SPOT = ("bybit", "linear"), ("binance", "um"), ("binance", "spot")


def test_deltas_before_a_snapshot_never_enter_a_proven_book(say):
    """A local book that takes them keeps a level that the snapshot does not have."""
    built = build(say, LINEAR, say.bybit(6, bids=[(150.0, 9.0)]), say.snapshot(7))
    assert built.proven.tolist() == [False, True]
    assert best(built) == [100.0, 1.0, 101.0, 1.0]


def test_a_book_does_not_survive_its_connection(say):
    """A new connection's first delta must not be written over the book of the old one."""
    built = build(
        say,
        LINEAR,
        say.snapshot(7),
        say.bybit(8, bids=[(100.5, 1.0)]),
        say.bybit(20, connection=1, asks=[(100.25, 1.0)]),
        say.snapshot(21, connection=1),
    )
    assert built.proven.tolist() == [True, True, False, True]
    assert best(built, 2) == [0.0, 0.0, 100.25, 1.0]
    assert best(built) == [100.0, 1.0, 101.0, 1.0]


def test_the_chain_is_kept_in_steady_state_too(say):
    """Checked only right after the snapshot, a missing update would go unseen for ever."""
    steady = [say.futures(101 + n, 101 + n, 100 + n) for n in range(20)]
    missing = [row for n, row in enumerate(steady) if n != 15]
    built = build(say, UM, say.snapshot(100), say.futures(100, 100, 99), *missing)
    assert built.proven.tolist() == [False, *[True] * 16, *[False] * 4]
    assert built.gaps.height == 2


def test_an_overlap_is_no_excuse_in_steady_state(say):
    """Taking ``U <= last`` where ``pu`` breaks accepts updates that follow another one."""
    built = build(say, UM, say.snapshot(100), say.futures(99, 110, 98), say.futures(109, 130, 108))
    assert built.proven.tolist() == [False, True, False]


def test_updates_held_before_the_snapshot_are_not_thrown_away(say):
    """The one that reaches over the snapshot came before it: without it the chain never starts."""
    built = build(
        say,
        SPOT,
        say.spot(95, 99),
        say.spot(100, 104, bids=[(100.5, 1.0)]),
        say.snapshot(101),
        say.spot(105, 106),
    )
    assert built.proven.tolist() == [False, False, True, True]
    assert best(built) == [100.5, 1.0, 101.0, 1.0]


def test_a_stale_snapshot_is_not_started_from(say):
    """One that is older than the first held update leaves a hole between them."""
    built = build(say, SPOT, say.spot(95, 99), say.snapshot(90), say.spot(100, 104))
    assert not built.proven.any()


@pytest.mark.parametrize("place", [UM, SPOT])
def test_a_quantity_of_nothing_takes_out_and_an_absent_level_is_no_alarm(say, place):
    update = {"kind": "update", "first_id": 101, "last_id": 102, "previous_id": 100}
    levels = {"bids": [(100.0, 0.0), (55.0, 0.0), (99.0, 2.0)]}
    first = {"kind": "update", "first_id": 100, "last_id": 100, "previous_id": 99}
    rows = [say.snapshot(99 if place == SPOT else 100), first, update | levels]
    built = build(say, place, *rows)
    assert built.proven.tolist() == [False, True, True]
    assert best(built) == [99.0, 2.0, 101.0, 1.0]


def test_a_break_is_found_on_the_message_that_shows_it_and_dated_back(say):
    """Whatever is missing was sent after the last update: that is where the gap begins."""
    built = build(
        say,
        LINEAR,
        say.snapshot(7, ms=0),
        say.bybit(8, ms=10),
        say.bybit(8, ms=20, time=10_000),
        say.bybit(11, ms=30),
    )
    assert built.gaps.select("start_ns", "lost").rows() == [(10_000_000, 2)]


def test_doubled_messages_change_nothing(say):
    rows = [say.snapshot(100), *(say.futures(99 + n, 100 + n, 98 + n) for n in range(3))]
    first = say.futures(99, 100, 98, bids=[(100.5, 1.0)], time=1_000)
    last = say.futures(101, 101, 100, bids=[(100.5, 0.0)], time=2_000)
    once = build(say, UM, rows[0], first, last)
    twice = build(say, UM, rows[0], first, first, last, last, first)
    assert best(once) == best(twice) == [100.0, 1.0, 101.0, 1.0]
    assert (twice.duplicates, twice.applied) == (3, 2) and twice.proven[-1]
