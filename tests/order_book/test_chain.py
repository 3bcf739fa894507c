"""The rules of each venue's ids, case by case."""

import pytest

from research.errors import UserError
from research.order_book import chain
from research.order_book.chain import APPLY, BREAK, HOLD, OLD, SPOILT, TWICE, WHOLE

NAMES = {
    APPLY: "apply",
    WHOLE: "whole",
    HOLD: "hold",
    BREAK: "break",
    SPOILT: "spoilt",
    OLD: "old",
    TWICE: "twice",
}
S, U, P = chain.SNAPSHOT, chain.UPDATE, chain.PARTIAL


def told(venue, market, *events):
    """Run events of kind, first, last, previous, sequence, connection and time; a tail may lack."""
    rules, state, said = chain.rules(venue, market), chain.start(), []
    for number, event in enumerate(events):
        whole = (*event, *(-1, -1, -1, -1, 0, number)[len(event) - 1 :])
        state, (done, _) = chain.step(state, whole, rules)
        said.append(NAMES[done])
    return said, state


FUTURES = [
    ("join", [(S, -1, 100), (U, 90, 99, 89), (U, 100, 110, 99)], "whole old apply"),
    ("an update up to the snapshot itself joins", [(S, -1, 100), (U, 95, 100, 94)], "whole apply"),
    ("one that ends before it does not", [(S, -1, 100), (U, 95, 99, 94)], "whole old"),
    ("one that begins behind it is too late", [(S, -1, 100), (U, 104, 110, 103)], "whole break"),
    ("one that follows the snapshot itself", [(S, -1, 100), (U, 104, 110, 100)], "whole apply"),
    (
        "ids of the venue jump inside the chain",
        [(S, -1, 5), (U, 4, 9, 3), (U, 99, 120, 9)],
        "whole apply apply",
    ),
    ("a missing update", [(S, -1, 5), (U, 4, 9, 3), (U, 31, 40, 30)], "whole apply break"),
    (
        "the same twice",
        [(S, -1, 5), (U, 4, 9, 3), (U, 4, 9, 3, -1, 0, 1), (U, 10, 12, 9)],
        "whole apply twice apply",
    ),
    (
        "two that change places",
        [(S, -1, 5), (U, 4, 9, 3), (U, 20, 25, 19, -1, 0, 5), (U, 10, 19, 9, -1, 0, 4)],
        "whole apply break twice",
    ),
    ("ids that begin anew", [(S, -1, 500), (U, 499, 501, 498), (U, 3, 9, 2)], "whole apply break"),
    (
        "a snapshot older than a proven book",
        [(S, -1, 5), (U, 4, 9, 3), (S, -1, 7), (U, 10, 12, 9)],
        "whole apply old apply",
    ),
    (
        "a snapshot ahead of the updates",
        [(S, -1, 5), (U, 4, 9, 3), (S, -1, 30), (U, 10, 20, 9), (U, 21, 31, 20)],
        "whole apply whole old apply",
    ),
    (
        "updates before any snapshot",
        [(U, 4, 9, 3), (U, 10, 12, 9), (U, 21, 30, 20)],
        "hold hold break",
    ),
    ("first after last", [(S, -1, 5), (U, 4, 9, 3), (U, 50, 12, 9)], "whole apply spoilt"),
    (
        "reaches back over its own past",
        [(S, -1, 5), (U, 4, 9, 3), (U, 2, 12, 9)],
        "whole apply spoilt",
    ),
    ("ids are not there", [(S, -1, 5), (U, 4, 9, 3), (U, -1, -1, -1)], "whole apply spoilt"),
]
SPOT = [
    ("join", [(S, -1, 100), (U, 90, 100), (U, 101, 110), (U, 111, 111)], "whole old apply apply"),
    ("reaching over", [(S, -1, 100), (U, 96, 105)], "whole apply"),
    ("too late", [(S, -1, 100), (U, 102, 110)], "whole break"),
    ("a missing update", [(S, -1, 5), (U, 6, 9), (U, 11, 12)], "whole apply break"),
    ("the same twice", [(S, -1, 5), (U, 6, 9), (U, 6, 9, -1, -1, 0, 1)], "whole apply twice"),
    ("overlaps", [(S, -1, 5), (U, 6, 9), (U, 9, 12)], "whole apply spoilt"),
]
BYBIT = [
    (
        "in order",
        [(S, -1, 8, -1, 50), (U, -1, 9, -1, 51), (U, -1, 10, -1, 80)],
        "whole apply apply",
    ),
    ("an update before any snapshot", [(U, -1, 9, -1, 51), (S, -1, 8, -1, 50)], "hold whole"),
    ("skipped", [(S, -1, 8, -1, 50), (U, -1, 10, -1, 80)], "whole break"),
    (
        "the same twice",
        [(S, -1, 8), (U, -1, 9, -1, 5), (U, -1, 9, -1, 5, 0, 1)],
        "whole apply twice",
    ),
    ("sequence falls", [(S, -1, 8, -1, 50), (U, -1, 9, -1, 49)], "whole break"),
    (
        "a new snapshot replaces",
        [(S, -1, 8), (U, -1, 9, -1, 1), (S, -1, 700), (U, -1, 701)],
        "whole apply whole apply",
    ),
    (
        "the venue starts anew",
        [(S, -1, 800), (U, -1, 801), (S, -1, 1), (U, -1, 2)],
        "whole apply whole apply",
    ),
    (
        "level 1: snapshots alone, sent again",
        [(S, -1, 8), (S, -1, 8), (S, -1, 12)],
        "whole twice whole",
    ),
]


def cases(venue, market, rows):
    return [pytest.param(venue, market, *row[1:], id=f"{market}: {row[0]}") for row in rows]


@pytest.mark.parametrize(
    ("venue", "market", "events", "said"),
    [
        *cases("binance", "um", FUTURES),
        *cases("binance", "cm", FUTURES[:3]),
        *cases("binance", "spot", SPOT),
        *cases("bybit", "linear", BYBIT),
    ],
)
def test_what_is_done_with_each_message(venue, market, events, said):
    assert " ".join(told(venue, market, *events)[0]) == said


def test_an_update_that_starts_anew_is_believed_once_the_next_one_follows():
    begun, state = told("bybit", "linear", (S, -1, 800), (U, -1, 801), (U, -1, 1))
    assert begun[-1] == "whole" and state.phase == chain.LOADED
    state, (done, _) = chain.step(state, (U, -1, 2, -1, -1, 0, 9), chain.rules("bybit", "linear"))
    assert done == APPLY and state.phase == chain.JOINED


def test_whole_tops_need_no_chain():
    said, state = told("binance", "um", (P, -1, 5), (P, -1, 5), (P, -1, 90), (P, -1, 80))
    assert said == ["whole", "twice", "whole", "twice"] and state.phase == chain.TOPS


def test_whole_tops_are_left_alone_beside_a_full_book():
    said, _ = told("binance", "um", (S, -1, 5), (P, -1, 7), (U, 4, 9, 3), (P, -1, 12))
    assert said == ["whole", "old", "apply", "old"]


def test_a_new_connection_says_so_where_something_is_missing():
    rules, state = chain.rules("binance", "spot"), chain.start()
    for event, why in [
        ((S, -1, 5, -1, -1, 0, 0), chain.BEFORE),
        ((U, 6, 9, -1, -1, 0, 1), chain.FINE),
        ((U, 10, 12, -1, -1, 1, 2), chain.FINE),
        ((U, 15, 16, -1, -1, 2, 3), chain.CONNECTION),
    ]:
        state, (_, found) = chain.step(state, event, rules)
        assert found == why


def test_the_compiled_step_is_the_written_one():
    # the inner steps are compiled in both: what is compared is the frame around them
    for events in (row[1] for row in FUTURES):
        rules, one, two = chain.rules("binance", "um"), chain.start(), chain.start()
        for number, event in enumerate(events):
            whole = (*event, *(-1, -1, -1, -1, 0, number)[len(event) - 1 :])
            one, said = chain.step(one, whole, rules)
            two, written = chain.step.py_func(two, whole, rules)
            assert (tuple(one), tuple(said)) == (tuple(two), tuple(written))


def test_a_market_without_rules():
    with pytest.raises(UserError, match=r"no rules for kraken spot\. Known are binance um"):
        chain.rules("kraken", "spot")
