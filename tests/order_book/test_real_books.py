"""Real recordings: chains unbroken, books never crossed, best prices those of the venue."""

from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from research import order_book
from research.sources import recordings

RAW = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not RAW.is_dir(), reason="the shared raw recordings are not here"),
]
FILES = {
    "um": "binance/usdm/btcusdt_20240808.gz",
    "spot": "binance/spot/*.gz",
    "cm": "binance/cm/*.gz",
    "linear": "bybit/2024-12-01_XRPUSDT_ob500.data.zip",
}


@cache
def built(market):
    recording = recordings.read(str(RAW / FILES[market]))
    (book,) = order_book.build_all(recording).values()
    return recording, book


@pytest.mark.parametrize(
    ("market", "applied", "dropped", "states", "agreeing"),
    [
        ("um", 6_547, 4, 6_546, 629),
        ("spot", 6_493, 2, 6_493, 1_072),
        ("cm", 44_772, 23, 44_771, 1_885),
        ("linear", 49, 0, 50, 0),
    ],
)
def test_the_chain_holds_and_no_book_is_crossed(market, applied, dropped, states, agreeing):
    recording, book = built(market)
    updates = (recording.messages["kind"] == "update").sum()
    assert (book.applied, book.dropped, book.duplicates) == (applied, dropped, 0)
    assert applied + dropped == updates and book.snapshots == 1
    assert book.crossed == 0 and book.proven.sum() == states
    assert book.gaps["reason"].to_list() == ([] if market == "linear" else ["no snapshot yet"])
    assert book.coverage > 0.999
    found = order_book.agreement(book, recording.quotes)
    assert (found.compared, found.agreed, found.gaps.height) == (agreeing, agreeing, 0)


def test_the_first_update_that_reaches_over_the_snapshot():
    recording, book = built("um")
    first = recording.messages.filter(kind="update").row(4, named=True)
    last = recording.messages.filter(kind="snapshot")["last_id"][0]
    assert (first["first_id"], last, first["last_id"]) == (
        5_123_107_850_310,
        5_123_107_852_948,
        5_123_107_853_551,
    )
    assert not book.proven[:6].any() and book.proven[6:].all()


def test_without_the_held_updates_the_spot_book_never_starts():
    """The one that reaches over the snapshot came before it; the next one is too late to start."""
    recording, _ = built("spot")
    late = recording.messages.filter(
        pl.col("message") >= recording.messages.filter(kind="snapshot")["message"][0]
    )
    book = order_book.build(late, recording.levels, venue="binance", market="spot")
    assert not book.proven.any() and book.gaps["reason"].to_list() == ["no snapshot yet"]


def test_a_second_day_alone_has_no_proof():
    second = next((RAW / "binance" / "spot").glob("*0809.gz"))
    recording = recordings.read(str(second))
    (book,) = order_book.build_all(recording).values()
    assert book.coverage == 0.0 and not book.proven.any()


@pytest.mark.parametrize(("market", "rows"), [("um", 1_000), ("linear", 7)])
def test_in_pieces_is_at_once(market, rows):
    recording, whole = built(market)
    builder = order_book.Builder(venue=recording.venue, market=market)
    pieces = list(builder.pieces(recording.messages, recording.levels, rows=rows))
    assert np.array_equal(np.concatenate([p.levels for p in pieces]), whole.levels)
    assert pieces[-1].gaps.equals(whole.gaps) and pieces[-1].coverage == whole.coverage


def test_a_slow_book_of_dictionaries_comes_to_the_same():
    recording, book = built("um")
    ends = recording.levels.filter(pl.col("message") <= book.message[1_500])
    by_message = {key: part for (key,), part in ends.group_by("message")}
    sides = {1: {}, -1: {}}
    last = recording.messages.filter(kind="snapshot")["last_id"][0]
    ids = dict(recording.messages.select("message", "last_id").iter_rows())
    snapshot = recording.messages.filter(kind="snapshot")["message"][0]
    order = [snapshot, *(int(m) for m in book.message[:1_501] if m != snapshot)]
    for message in order:
        if message == snapshot or ids[message] >= last:
            for _, side, price, quantity in by_message[message].iter_rows():
                sides[side].pop(price, None)
                if quantity:
                    sides[side][price] = quantity
    bids = sorted(sides[1].items(), reverse=True)[:20]
    asks = sorted(sides[-1].items())[:20]
    assert book.levels[1_500].tolist() == [[list(row) for row in bids], [list(row) for row in asks]]
    moment = int(book.received_ns[1_500] // 1000)
    whole = order_book.whole(
        recording.messages, recording.levels, moment, venue="binance", market="um", by="received"
    )
    assert len(whole.bids) == len(sides[1]) and len(whole.asks) == len(sides[-1])


@pytest.mark.parametrize("market", ["um", "spot", "cm"])
def test_the_recorder_was_late_by_more_than_a_second(market):
    recording, _ = built(market)
    tables = (recording.messages, recording.quotes, recording.trades)
    stamps = pl.concat([t.select("received_ns", "sent") for t in tables]).sort("received_ns")
    received = stamps["received_ns"].to_numpy()
    sent = stamps["sent"].dt.epoch("us").fill_null(-1).to_numpy()
    assert order_book.clock_offset(received, sent) == pytest.approx(1.268, abs=0.006)
    assert order_book.clock_drift(received, sent) == pytest.approx(5e-6, abs=1e-6)
