"""The numbers of a recording: by hand, and what the real ones are known to say."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.append(str(Path(__file__).resolve().parent))

from recorded import RAW, SECOND, gap, quote, recording, trade

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
