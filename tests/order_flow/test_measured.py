"""The numbers of a recording: by hand, and what the real ones are known to say."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.append(str(Path(__file__).resolve().parent))

from recorded import RAW, SECOND, gap, quote, recording, table, trade

from research import order_flow
from research.features.aggregates import FLOW
from research.order_flow import measured
from research.sources import recordings

ONE = timedelta(seconds=1)
TOLD = {"events", "gaps", "coverage", "crossed", "ofi_r2_1s", "depth_delta_r2_1s", "clock_offset_s"}


def pushed(seconds=60, seed=0):
    """Quotes in which every second's flow moves the price by as much, and nothing else does."""
    rng, mid, rows = np.random.default_rng(seed), 1000, [quote(0, 999.0, 1001.0, 50.0, 50.0)]
    for k in range(seconds):
        size = int(rng.integers(-5, 6))
        sizes = (50.0 + size, 50.0) if size > 0 else (50.0, 50.0 - size)
        rows.append(quote(k * SECOND + 300_000, mid - 1.0, mid + 1.0, *sizes))
        rows.append(quote(k * SECOND + 600_000, mid - 1.0, mid + 1.0, 50.0, 50.0))
    return rows


def test_a_recording_of_quotes_alone_has_no_book_to_prove():
    found = order_flow.measure(recording([], pushed(), [gap(SECOND, 2 * SECOND)]))
    assert set(found) >= TOLD
    assert (found["events"], found["gaps"], found["coverage"]) == (121, 1, None)
    assert found["clock_offset_s"] == 0.0
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_too_few_seconds_explain_nothing():
    found = order_flow.measure(recording([trade(SECOND, 5.0)], pushed(20)))
    assert (found["ofi_r2_1s"], found["depth_delta_r2_1s"]) == (None, None)


def test_several_symbols_count_together():
    one, two = pushed(), [row | {"symbol": "B"} for row in pushed(seed=1)]
    found = order_flow.measure(recording([], [*one, *two]))
    assert (found["events"], found["symbols"]) == (242, ["A", "B"])


def test_an_empty_recording_has_numbers_too():
    found = order_flow.measure(recording())
    assert (found["events"], found["gaps"], found["seconds"]) == (0, 0, 0.0)
    assert found["clock_offset_s"] is None


def test_rows_keep_what_numbers_say():
    numbers = {"a": None, "b": 0.1, "c": [1, "x"]}
    assert measured.from_rows(measured.as_rows(numbers)) == numbers


def test_flow_has_every_column_that_features_may_read():
    flow = order_flow.flow(recording([trade(SECOND, 1000.0)], pushed()), ONE)
    assert set(FLOW) <= set(flow.columns)
    assert {flow.schema[name] for name in FLOW} == {pl.Float64}
    assert flow["ofi_20"].null_count() == flow.height, "there was no book"
    assert flow["ofi"].null_count() < 3


def depth(number, at, kind, ids, bid_quantity, told=True):
    """One message about a book of one bid and one ask, as a row and its levels."""
    first, last, previous = ids
    moment = at if told else None
    row = {"symbol": "A", "message": number, "connection": 0, "received_ns": at * 1000}
    row |= {"sent": moment, "time": moment, "kind": kind}
    row |= {"first_id": first, "last_id": last, "previous_id": previous}
    levels = [(1, 100.0, bid_quantity), (-1, 101.0, 1.0)]
    return row, [
        {"message": number, "side": side, "price": price, "quantity": quantity}
        for side, price, quantity in levels
    ]


def shown(*told, market="um"):
    rows, levels = zip(*told)
    return recording(messages=rows, levels=[one for part in levels for one in part], market=market)


START = 1_700_000_000 * SECOND


def test_a_book_without_a_time_is_told_by_its_receipt():
    """Binance's partial books on spot say no time: they are not of 1970."""
    told = [
        depth(k, START + k * SECOND // 2, "partial", (None, k, None), 1.0 + k, told=False)
        for k in range(9)
    ]
    known = measured.read(shown(*told, market="spot"))
    assert known.quotes.height == 9
    assert known.quotes["time"].null_count() == known.quotes["sent"].null_count() == 9
    assert measured.last_book(known)["time"].to_list() == [None, None]
    found = measured.aggregated(known, ONE)
    ends = [START + k * SECOND for k in range(1, 5)]
    assert found["time"].dt.epoch("us").to_list() == ends
    assert found["ofi"][1:].to_list() == [2.0, 2.0, 2.0]


def broken():
    """A book whose chain breaks at 2.6 s and is whole again at 3.4 s, with 900 more in it."""
    told = [depth(0, START, "snapshot", (None, 10, None), 1.0)]
    for k in range(1, 13):
        told.append(depth(k, START + k * SECOND // 5, "update", (10 + k, 10 + k, 9 + k), 1.0 + k))
    told.append(depth(13, START + 2_600_000, "update", (40, 41, 39), 5.0))
    told.append(depth(14, START + 3_200_000, "snapshot", (None, 41, None), 900.0))
    for k in range(15, 35):
        at = START + 3_400_000 + (k - 15) * SECOND // 5
        told.append(depth(k, at, "update", (27 + k, 27 + k, 26 + k), 900.0 + k))
    return shown(*told)


def test_quotes_of_a_book_know_its_gaps():
    known = measured.read(broken())
    assert "chain broken" in known.books["A"].gaps["reason"].to_list()
    found = measured.aggregated(known, ONE)
    assert found["ofi"].drop_nulls().max() < 10, "the leap of 900 is of no bin"
    assert found["ofi"].is_null().to_list() == [True, False, True, True, False, False, False]
    bins = measured.impact(known, (ONE,)).filter(pl.col("flow") == "ofi")["bins"][0]
    assert bins < 6


def on_spot(ahead_us, seconds=300, delay=None):
    """Quotes without a time and trades with one, 5 of each a second, by clocks that differ."""
    count = 5 * seconds
    sent = START // (60 * SECOND) * 60 * SECOND + np.arange(count) * SECOND // 5
    delay = np.full(count, 5_000) if delay is None else delay
    received = sent - ahead_us(np.arange(count) / count) + delay
    rows = []
    for k, (at, heard) in enumerate(zip(sent.tolist(), received.astype(int).tolist())):
        late = at % (60 * SECOND) // 100_000 in range(2, 30)
        rows.append(trade(at, 5.0, number=k) | {"received_ns": heard * 1000})
        book = quote(at, 1.0, 3.0, 99.0 if late else 1.0)
        rows.append(book | {"received_ns": heard * 1000, "sent": None, "time": None})
    for number, row in enumerate(rows):
        row["message"] = number
    made = recording(market="spot")
    return made._replace(
        quotes=table("QUOTES", [row for row in rows if "bid" in row]),
        trades=table("TRADES", [row for row in rows if "price" in row]),
    ), sent


@pytest.mark.parametrize(
    "ahead_us",
    [
        lambda part: np.where(part < 0.7, 0, 1_268_000),
        lambda part: np.where(part < 0.3, 1_268_000, 0),
        lambda part: 1_268_000 - 1_000_000 * part,
        lambda part: 1_000_000 * part,
    ],
    ids=["set back", "set forward", "gains", "loses"],
)
def test_a_bin_knows_nothing_of_what_came_after_it_where_clocks_change(ahead_us):
    """A fifth of a second after each minute the bid grows: no minute's last quote shows that."""
    spot, _ = on_spot(ahead_us, 600)
    found = measured.aggregated(measured.read(spot), timedelta(minutes=1))
    assert found["imbalance"][1:].to_list() == [0.5] * (found.height - 1)


def test_the_clock_is_not_learned_from_what_comes_later():
    spot, _ = on_spot(lambda part: np.where(part < 0.5, 100_000, 90_000 + 200_000 * part))
    cut = 1_401  # messages
    part = spot._replace(
        quotes=spot.quotes.filter(pl.col("message") < cut),
        trades=spot.trades.filter(pl.col("message") < cut),
    )
    whole, before = (measured.aggregated(measured.read(one), ONE) for one in (spot, part))
    assert whole.head(before.height).equals(before)


def test_nothing_is_stamped_before_it_was_sent():
    rng = np.random.default_rng(1)
    delay = (3_000 + rng.lognormal(8.5, 0.6, 1_500)).astype(int)
    spot, sent = on_spot(lambda part: 0 * part, delay=delay)
    told = measured._by_receipt(measured.read(spot))
    stamped = told.recording.trades["time"].dt.epoch("us").to_numpy()
    assert (stamped >= sent).all()
    assert (stamped <= sent + delay).all(), "and not later than it was received"
    assert told.quotes["received_ns"].equals(spot.quotes["received_ns"])


REAL = {
    "binance/usdm/btcusdt_20240808.gz": (93_954, (0.36, 0.40), (0.03, 0.06)),
    "binance/spot/btcusdt_20240808.gz": (41_249, (0.303, 0.363), (0.0, 0.01)),
    "binance/cm/btcusd_perp_20240808.gz": (48_270, (0.49, 0.54), (0.0, 0.01)),
}


@pytest.mark.real
@pytest.mark.skipif(not RAW.is_dir(), reason="the shared recordings are not here")
@pytest.mark.parametrize("name", REAL)
def test_real_recordings_say_what_is_known_of_them(name):
    events, ofi, delta = REAL[name]
    found = order_flow.measure(recordings.read(RAW / name))
    assert (found["events"], found["gaps"], found["crossed"], found["bad"]) == (events, 0, 0, 0)
    assert found["coverage"] > 0.998
    assert ofi[0] <= found["ofi_r2_1s"] <= ofi[1]
    assert delta[0] <= found["depth_delta_r2_1s"] <= delta[1]
    assert found["clock_offset_s"] == pytest.approx(1.268, abs=0.005)


@pytest.mark.real
@pytest.mark.skipif(not RAW.is_dir(), reason="the shared recordings are not here")
def test_without_a_snapshot_no_book_is_proven_and_its_flow_is_null():
    read = recordings.read(RAW / "binance/spot/btcusdt_20240809.gz")
    found, flow = order_flow.measure(read), order_flow.flow(read, ONE)
    assert (found["gaps"], found["coverage"]) == (1, 0.0)
    assert flow["ofi_5"].null_count() == flow.height
    assert flow["ofi"].null_count() <= 1, "quotes need no book"
