"""The live book is the rebuilt one; what it asks for is within the budget."""

import random

import numpy as np
import pytest

from research import order_book
from research.campaigns import books
from research.order_book.live import Book, Message

UM = {"venue": "binance", "market": "um"}
IDS = ("first_id", "last_id", "previous_id", "sequence")


def as_messages(messages, levels):
    """Turn tables into single messages, prices as the venues' texts."""
    of = {key: part for (key,), part in levels.group_by("message")}
    for row in messages.iter_rows(named=True):
        mine = of.get(row["message"], levels.clear())
        bids, asks = (
            [(str(p), str(q)) for _, s, p, q in mine.iter_rows() if s == side] for side in (1, -1)
        )
        yield Message(
            row["symbol"],
            row["kind"],
            row["received_ns"],
            row["connection"],
            int(row["time"].timestamp() * 1e6),
            *(-1 if row[name] is None else row[name] for name in IDS),
            bids,
            asks,
        )


@pytest.mark.parametrize("seed", range(3))
def test_live_is_batch(seed):
    dice, place = random.Random(seed), books.VENUES[seed]
    market = books.made(dice, 250, place)
    tables = books.tables(books.mutated(dice, market, place)[0], market)
    where = {"venue": place[0], "market": place[1]}
    built = order_book.build(*tables, **where, depth=4)
    book, states = Book("MADE", **where, depth=4), []
    for message in as_messages(*tables):
        heard = book.hear(message)
        if heard.done not in ("old", "duplicate"):
            states.append((book.levels.copy(), book.time_us, heard.proven))
    levels, times, proven = zip(*states, strict=True)
    assert np.array_equal(np.array(levels), built.levels)
    assert list(times) == built.time_us.tolist() and list(proven) == built.proven.tolist()
    assert book.gaps().equals(built.gaps)
    assert book.counted["applied"] == built.applied
    assert len(set(proven)) == 2


def test_a_snapshot_is_wanted_until_one_helps():
    book = Book("A", **UM, depth=1)
    sides = {"bids": [(100.0, 1.0)], "asks": [(101.0, 1.0)]}
    told = [
        book.hear(Message("A", "update", 1, time_us=1, first_id=90, last_id=95, previous_id=89)),
        book.hear(Message("A", "snapshot", 2, time_us=2, last_id=80, **sides)),  # stale
        book.hear(Message("A", "update", 3, time_us=3, first_id=96, last_id=99, previous_id=95)),
        book.hear(Message("A", "snapshot", 4, time_us=4, last_id=97, **sides)),
        book.hear(Message("A", "update", 5, time_us=5, first_id=120, last_id=125, previous_id=119)),
    ]
    assert [heard.done for heard in told] == ["held", "snapshot", "held", "snapshot", "gap"]
    assert [heard.proven for heard in told] == [False, False, False, True, False]
    assert [bool(heard.wanted) for heard in told] == [True, True, True, False, True]


def test_a_snapshot_that_waits_for_its_update_is_not_asked_for_again():
    book = Book("A", **UM)
    heard = book.hear(Message("A", "snapshot", 1, time_us=1, last_id=80, bids=[(1.0, 1.0)]))
    assert (heard.proven, heard.wanted) == (False, "")


def test_a_message_of_another_symbol_does_nothing():
    book = Book("A", **UM)
    heard = book.hear(Message("B", "snapshot", 1, last_id=5, bids=[(1.0, 1.0)]))
    assert heard.done == "stranger" and book.strangers == 1
    assert book.sides()[0].shape == (0, 2)


def test_silence_ends_the_proof_of_a_live_book():
    book = Book("A", venue="bybit", market="linear", silence_ns=5)
    book.hear(Message("A", "snapshot", 100, last_id=8, bids=[(1.0, 1.0)], asks=[(2.0, 1.0)]))
    assert book.proven_at(105) and not book.proven_at(106)


def test_a_crossed_book_wants_a_snapshot():
    book = Book("A", venue="bybit", market="linear")
    book.hear(Message("A", "snapshot", 1, last_id=8, bids=[(1.0, 1.0)], asks=[(2.0, 1.0)]))
    heard = book.hear(Message("A", "update", 2, last_id=9, bids=[(2.0, 1.0)]))
    assert heard == ("applied", False, "crossed")


def test_a_book_whose_price_left_the_snapshot_wants_a_fresh_one():
    book = Book("A", **UM, depth=5)
    asks = [(200.0 + n, 1.0) for n in range(100)]
    book.hear(Message("A", "snapshot", 1, last_id=8, bids=[(100.0, 1.0)], asks=asks))
    gone = [(price, 0.0) for price, _ in asks[:96]]
    ids = {"first_id": 7, "last_id": 9, "previous_id": 6}
    heard = book.hear(Message("A", "update", 2, time_us=1, asks=gone, **ids))
    assert heard == ("applied", True, "price left the snapshot")
