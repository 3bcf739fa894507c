"""Up, flat and down against a plain loop; statistics against counting."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labels.market import GAPPY, MINUTE, START, market, volatilities
from polars.testing import assert_frame_equal

from research import labels, schema
from research.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PERP = ROOT.parent / "shared/data/klines_1m/btc_perp_2022-01"
PERP /= "btc-perp-20211231-20220201_1m.csv.gz"
LONG = {"A": list(range(200)), "B": list(range(150))}


def three(bars, *, horizon=MINUTE, up=0.001, down=0.001, **more):
    return labels.direction(bars, horizon=horizon, interval=MINUTE, up=up, down=down, **more)


@settings(max_examples=60, deadline=None)
@given(
    minutes=GAPPY,
    bars_ahead=st.integers(1, 6),
    up=st.floats(0, 0.003),
    down=st.floats(0, 0.003),
    entry=st.sampled_from(["next_open", "close"]),
)
def test_the_class_is_the_side_the_return_ends_on(minutes, bars_ahead, up, down, entry):
    bars, horizon = market(minutes), bars_ahead * MINUTE
    moves = labels.forward_return(bars, horizon=horizon, interval=MINUTE, entry=entry)
    found = three(bars, horizon=horizon, up=up, down=down, entry=entry)
    expected = [1 if y > up else -1 if y < -down else 0 for y in moves["y"]]
    assert found["label"].to_list() == expected
    assert_frame_equal(found.drop("label"), moves)  # y stays the return
    assert found.schema["label"] == pl.Int8


def test_a_move_of_exactly_the_threshold_is_flat():
    bars = market(LONG)
    moves = labels.forward_return(bars, horizon=MINUTE, interval=MINUTE)
    first = moves.row(3, named=True)["y"]
    found = three(bars, up=abs(first), down=abs(first))
    assert found["label"][3] == 0 and set(found["label"]) == {-1, 0, 1}
    assert three(bars, up=abs(first) * 0.999, down=abs(first) * 0.999)["label"][3] != 0


def test_thresholds_in_volatilities_of_the_horizon():
    bars, horizon = market(LONG), 4 * MINUTE
    sigma = volatilities(bars)
    found = three(bars, horizon=horizon, up=0.7, down=1.2, sigma=sigma)
    known = {(s, t): v for s, t, v in sigma.iter_rows()}
    moves = labels.forward_return(bars, horizon=horizon, interval=MINUTE)
    expected = []
    for symbol, time, known_at, y in moves.iter_rows():
        unit = (known[symbol, time] or 0.0) * math.sqrt(4)
        if unit > 0:
            label = 1 if y > 0.7 * unit else -1 if y < -1.2 * unit else 0
            expected.append((symbol, time, known_at, y, label))
    assert found.rows() == expected
    assert found.height < moves.height  # rows without a volatility are left out
    assert set(found["label"]) == {-1, 0, 1}


def test_a_feature_table_is_taken_for_its_volatility():
    bars = market(LONG)
    sigma = volatilities(bars)
    wide = sigma.with_columns(y=pl.lit(9.0), rsi=pl.lit(1.0))
    assert_frame_equal(three(bars, sigma=wide), three(bars, sigma=sigma))
    assert_frame_equal(three(bars, sigma=sigma.to_pandas()), three(bars, sigma=sigma))


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["up", "down"])
def test_a_threshold_below_zero_is_named(name, value):
    with pytest.raises(UserError, match=f"{name} must be a number of at least 0, found"):
        three(market({"A": [0, 1, 2]}), **{name: value})


def test_statistics_count_by_symbol_and_for_all():
    bars = market(LONG, step=0.002)
    made = three(bars, horizon=5 * MINUTE, up=0.002, down=0.001)
    table = labels.statistics(made)
    assert table["symbol"].to_list() == ["A", "B", "all"]
    for symbol in ("A", "B", "all"):
        rows = made if symbol == "all" else made.filter(pl.col("symbol") == symbol)
        found = table.row(by_predicate=pl.col("symbol") == symbol, named=True)
        counted = Counter(rows["label"])
        assert found["rows"] == rows.height
        assert found["majority"] == max(counted.values()) / rows.height
        for name, value in (("down", -1), ("flat", 0), ("up", 1)):
            assert found[f"share_{name}"] == pytest.approx(counted[value] / rows.height)
            mean = np.mean([y for y, c in rows.select("y", "label").iter_rows() if c == value])
            assert found[f"mean_{name}"] == pytest.approx(mean)
        news = labels.uniqueness(rows, interval=MINUTE).mean()
        assert found["uniqueness"] == pytest.approx(news, rel=1e-12)


def test_statistics_take_pandas():
    made = three(market(LONG))
    assert_frame_equal(labels.statistics(made.to_pandas()), labels.statistics(made))
    floats = made.with_columns(pl.col("label").cast(pl.Float64)).to_pandas()
    assert_frame_equal(labels.statistics(floats), labels.statistics(made))


def test_one_class_alone_is_seen_in_the_statistics():
    flat = three(market({"A": list(range(30))}), up=0.5, down=0.5)
    found = labels.statistics(flat).row(0, named=True)
    assert (found["share_flat"], found["share_up"], found["majority"]) == (1.0, 0.0, 1.0)
    assert found["mean_up"] is None and found["mean_flat"] is not None


def test_statistics_need_classes():
    bars = market({"A": list(range(30))})
    plain = labels.forward_return(bars, horizon=MINUTE, interval=MINUTE)
    with pytest.raises(UserError, match=r"no column 'label'\. Make labels with direction"):
        labels.statistics(plain)
    odd = three(bars).with_columns(label=pl.lit(3, pl.Int8))
    with pytest.raises(UserError, match="-1, 0 or 1, found 3 in 29 rows, first A 2024-05-01"):
        labels.statistics(odd)
    missing = three(bars).with_columns(label=pl.lit(None, pl.Int8))
    with pytest.raises(UserError, match="found None"):
        labels.statistics(missing)


def test_no_label_is_an_empty_table():
    found = three(market({"A": [0]}))
    assert found.is_empty()
    assert dict(found.schema) == {**schema.LABELS, "label": pl.Int8}
    assert labels.statistics(found)["rows"].to_list() == [0]
    assert START not in found["time"].to_list()


@pytest.mark.real
@pytest.mark.skipif(not PERP.is_file(), reason="the real BTC perpetual of January 2022 is not here")
def test_a_month_of_bitcoin_moves_20_bps_in_ten_minutes_a_third_of_the_time():
    """35.8 % of ten-minute moves, as measured on the same file by other code."""
    bars = pl.read_csv(PERP, try_parse_dates=True).with_columns(
        symbol=pl.lit("BTC-PERP"), time=pl.col("timestamp").dt.replace_time_zone("UTC")
    )
    how = {"horizon": 10 * MINUTE, "interval": MINUTE, "entry": "close"}
    three_ways = labels.direction(bars, up=0.002, down=0.002, **how)
    share = labels.statistics(three_ways).row(0, named=True)
    assert share["rows"] > 44_000
    assert 1 - share["share_flat"] == pytest.approx(0.358, abs=0.002)
    assert share["uniqueness"] == pytest.approx(0.1, rel=0.01)
    # of the moves that end beyond 20 bps, most met that barrier first, and more met one at all
    touched = labels.barrier(bars, take=0.002, stop=0.002, **how)
    assert (touched["label"] != 0).mean() > 1.3 * 0.358
