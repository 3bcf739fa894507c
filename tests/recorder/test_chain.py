"""Ids of a venue's messages: what lies between two of them, and what does not."""

from types import SimpleNamespace

import pytest

from research.recorder.chain import Broken, Ids, hole
from research.recorder.intake import Intake
from research.recorder.ledger import Ledger
from research.recorder.venues import venue


@pytest.mark.parametrize(
    ("first", "found"),
    [(9, None), (10, None), (11, Broken(None, 10, 10)), (13, Broken(None, 10, 12))],
)
def test_the_first_message_of_a_connection_may_reach_back_to_what_is_known(first, found):
    """To 9, the last known id: from 10 on nothing is missing, whatever it says it follows."""
    assert hole("depth", 9, Ids(first, 14, 7), joining=True) == found


def test_what_was_heard_before_leaves_no_hole():
    assert [hole("depth", 9, Ids(5, last, 3)) for last in (8, 9)] == [None, None]


@pytest.mark.parametrize("chain", ["trade", "book"])
def test_ids_that_count_say_how_many_are_missing(chain):
    for number, lost in ((10, None), (11, 1), (15, 5)):
        told = hole(chain, 9, Ids(number, number, number - 1))
        assert (None if told is None else told.lost) == lost
    assert hole("quote", 9, Ids(15, 15, 14)) is None  # theirs only rise


def test_what_comes_late_is_missing_no_more_and_counted_once():
    chosen = venue("binance_usdm")
    ledger, disk = Ledger(lambda line: None, 0), SimpleNamespace(waiting=0, put=lambda *_: None)
    intake = Intake(chosen, chosen.streams(["BTCUSDT"], ["trade"]), disk, ledger, 0)
    line = intake.connect()
    for now, (number, lost) in enumerate([(2, 0), (6, 3), (2, 3), (3, 2), (5, 1), (4, 0), (4, 0)]):
        data = f'{{"e":"trade","E":1,"T":1,"s":"BTCUSDT","t":{number},"p":"1","q":"1"}}'
        intake.keep(line, f'{{"stream":"btcusdt@trade","data":{data}}}'.encode(), now, now)
        assert ledger.lost == lost
