"""The book at an instant, the clocks, and the cross-check with quotes."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research import order_book, schema
from research.order_book import ledger

UM = {"venue": "binance", "market": "um"}


@pytest.fixture
def tables(say):
    """Four states, each a millisecond after the other; the venue's clock is 5 s ahead."""
    return say.laid_out(
        say.snapshot(100, time=5_000_000),
        say.futures(98, 110, 97, bids=[(100.5, 2.0)], time=5_001_000),
        say.futures(111, 120, 110, asks=[(100.75, 3.0)], time=5_002_000),
        say.futures(200, 210, 199, asks=[(100.5, 3.0)], time=5_003_000),
    )


@pytest.fixture
def built(tables):
    return order_book.build(*tables, **UM, depth=1)


def test_a_state_stands_until_the_next_one(built):
    found = order_book.at(built, np.array([4_999_999, 5_000_000, 5_001_999, 5_002_000, 5_009_000]))
    assert found.levels[:, 0, 0, 0].tolist() == [0.0, 100.0, 100.5, 100.5, 0.0]
    assert found.age_us.tolist() == [-1, 0, 999, 0, 6_000]
    assert found.proven.tolist() == [False, False, True, True, False]


def test_either_clock_and_a_time_with_its_zone(built):
    by_venue = order_book.at(built, datetime(1970, 1, 1, 0, 0, 5, 1_500, tzinfo=UTC))
    by_ours = order_book.at(built, 1_500, by="received")
    assert by_venue.levels.tolist() == by_ours.levels.tolist() == [[[100.5, 2.0]], [[101.0, 1.0]]]
    assert by_venue.age_us == by_ours.age_us == 500 and by_venue.proven


def test_a_book_that_fell_silent_is_not_proven(tables, built):
    late = 5_002_000 + np.array([0, 10_000_000, 10_000_001])
    early = built._replace(**{
        name: getattr(built, name)[:3] for name in ("levels", "time_us", "received_ns", "proven")
    })  # fmt: skip
    assert order_book.at(early, late).proven.tolist() == [True, True, False]
    messages, levels = tables
    found = [order_book.whole(messages[:3], levels, int(moment), **UM).proven for moment in late]
    assert found == [True, True, False]


def test_the_whole_book_is_the_one_of_the_states(tables, built):
    for moment in (5_000_000, 5_001_500, 5_002_000):
        top, whole = order_book.at(built, moment), order_book.whole(*tables, moment, **UM)
        assert [whole.bids[0].tolist(), whole.asks[0].tolist()] == top.levels[:, 0].tolist()
        assert (whole.age_us, whole.proven) == (top.age_us, top.proven)
    assert order_book.whole(*tables, 1_500, by="received", **UM).bids.tolist() == [
        [100.5, 2.0],
        [100.0, 1.0],
    ]


def test_before_the_first_message_there_is_no_book(tables):
    whole = order_book.whole(*tables, 4_999_999, **UM)
    assert whole.bids.shape == whole.asks.shape == (0, 2)
    assert (whole.age_us, whole.proven) == (-1, False)


# -- quotes ----------------------------------------------------------------------------------------


def quote(update_id, bid, bid_quantity, ask, ask_quantity, time=0):
    row = ("BTCUSDT", update_id, 0, 0, time, time, update_id, bid, bid_quantity, ask, ask_quantity)
    return row


def quotes(*rows):
    return pl.DataFrame(rows, schema=schema.QUOTES, orient="row")


def test_books_that_agree_with_the_quotes(built):
    said = quotes(
        quote(105, 1.0, 1.0, 2.0, 1.0),  # of no state
        quote(110, 100.5, 2.0, 101.0, 1.0),
        quote(120, 100.5, 2.0, 100.75, 3.0),
        quote(210, 9.0, 9.0, 10.0, 9.0),  # of a state without proof
    )
    found = order_book.agreement(built, said)
    assert (found.compared, found.agreed, found.share, found.gaps.height) == (2, 2, 1.0, 0)


@pytest.mark.parametrize("column", ["bid", "bid_quantity", "ask", "ask_quantity"])
def test_any_difference_is_a_gap_until_they_agree_again(built, column):
    said = quotes(quote(110, 100.5, 2.0, 101.0, 1.0), quote(120, 100.5, 2.0, 100.75, 3.0))
    bent = said.with_columns(
        pl.when(pl.col("update_id") == 110).then(7.5).otherwise(pl.col(column)).alias(column)
    )
    found = order_book.agreement(built, bent)
    assert (found.compared, found.agreed) == (2, 1)
    row = ("BTCUSDT", "depth", 1_000_000, 2_000_000, "best price differs", None)
    assert found.gaps.rows() == [row]
    last = order_book.agreement(built, bent.head(1))
    assert last.gaps["end_ns"].to_list() == [None]


def test_where_ids_are_of_two_kinds_quotes_are_met_by_their_time(built):
    said = quotes(quote(None, 100.5, 2.0, 101.0, 1.0, time=5_001_000))
    assert order_book.agreement(built, said, by="time").share == 1.0
    assert order_book.agreement(built, said).share is None


# -- clocks ----------------------------------------------------------------------------------------


def test_the_offset_is_that_of_the_typical_message():
    received = np.arange(5) * 1_000_000_000
    sent = received // 1000 + np.array([1_268_000, 1_270_000, 1_268_000, 900_000, 1_268_500])
    assert order_book.clock_offset(received, sent) == pytest.approx(1.268)
    silent = np.where(np.arange(5) == 3, -1, sent)
    assert order_book.clock_offset(received, silent) == pytest.approx(1.26825)
    assert order_book.clock_offset(received, np.full(5, -1)) is None


@pytest.mark.parametrize("drift", [0.0, 5e-6, -5e-5])
def test_the_drift_is_found_under_delays(drift):
    dice = np.random.default_rng(1)
    received = np.sort(dice.integers(0, 300 * 10**9, 20_000)) + 1_700_000_000 * 10**9
    seconds = (received - received[0]) / 1e9
    delay = 0.002 + dice.exponential(0.005, 20_000)
    sent = (received / 1000 + 1e6 * (1.27 + drift * seconds - delay)).astype(np.int64)
    assert order_book.clock_drift(received, sent) == pytest.approx(drift, abs=5e-7)
    assert order_book.clock_offset(received, sent) == pytest.approx(
        1.27 + drift * 150 - 0.002 - 0.005 * np.log(2), abs=2e-3
    )
    assert order_book.clock_drift(received[:1], sent[:1]) is None


# -- coverage --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 40), st.one_of(st.none(), st.integers(-5, 40)))))
def test_coverage_is_the_share_of_moments_outside_gaps(rows):
    rows = [(start, end) for start, end in rows if end is None or end >= start]
    gaps = pl.DataFrame(
        [("A", "depth", start, end, "", None) for start, end in rows],
        schema=schema.GAPS,
        orient="row",
    )
    free = ~ledger.inside(gaps, np.arange(0, 30))
    slow = [
        not any(start <= t and (end is None or t < end) for start, end in rows) for t in range(30)
    ]
    assert free.tolist() == slow
    assert order_book.coverage(gaps, 0, 30) == pytest.approx(np.mean(slow))
