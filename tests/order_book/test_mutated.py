"""The campaign of mutated streams, small; and that it notices what it is there to notice."""

import polars as pl
import pytest

from research import order_book, schema
from research.campaigns import books

WRONG = ("missed", "invented", "wrong", "unhealed")


def test_of_twenty_thousand_mutated_updates_every_gap_is_found_and_none_invented():
    found = books.run(20_000)
    assert {name: found[name] for name in WRONG} == dict.fromkeys(WRONG, 0)
    assert found["updates"] == 20_000
    assert set(found["faults"]) >= {"drop", "run", "twice", "late", "swap", "move"}
    assert min(found["faults"].values()) > 5
    assert found["gaps"] > 300 and found["states"] > 18_000


def with_built(change):
    """Return `order_book.build` whose result is changed."""
    real = order_book.build

    def build(*tables, **where):
        return change(real(*tables, **where))

    return build


def first_gap_only(built):
    return built._replace(gaps=built.gaps.head(1))


def with_a_gap_more(built):
    row = [(built.symbol, "depth", 7_000_000, 7_000_000, "made up", None)]
    return built._replace(
        gaps=pl.concat([built.gaps, pl.DataFrame(row, schema=schema.GAPS, orient="row")])
    )


def one_level_off(built):
    levels = built.levels.copy()
    levels[:, 0, 1, 1] += 0.125
    return built._replace(levels=levels)


def a_message_late(built):
    return built._replace(update_id=built.update_id - 1)


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        (first_gap_only, "missed"),
        (with_a_gap_more, "invented"),
        (one_level_off, "wrong"),
        (a_message_late, "wrong"),
    ],
)
def test_what_would_be_wrong_is_noticed(monkeypatch, change, noticed):
    monkeypatch.setattr(order_book, "build", with_built(change))
    assert books.session(3, 300)[noticed] > 0


def test_a_book_that_does_not_heal_is_noticed(monkeypatch):
    real = order_book.whole

    def without_a_level(*tables, **where):
        found = real(*tables, **where)
        return found._replace(bids=found.bids[:-1])

    monkeypatch.setattr(order_book, "whole", without_a_level)
    assert books.session(3, 300)["unhealed"] == 1
