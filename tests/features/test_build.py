"""The anchored table: where windows begin, what a gap does, what is refused, how long it takes."""

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests"), str(ROOT / "tests/features")]

import laws  # noqa: E402
import real_bars  # noqa: E402
from real_bars import KRAKEN, SEVEN  # noqa: E402

from research import features, schema  # noqa: E402
from research.errors import UserError  # noqa: E402
from research.features.extra import feature  # noqa: E402

S2 = features.SETS["S2"]


def probe(seen):
    """A feature that notes the first and last opening of each window it is given."""

    def note(bars):
        seen.append((bars["open_time"].iloc[0], bars["open_time"].iloc[-1], len(bars)))
        return bars["close"]

    return features.FeatureSet("probe", "0", {"probe": feature("probe", note, code="probe")})


def test_a_window_begins_a_warmup_in_whole_days_before_its_utc_day():
    seen = []
    watched = probe(seen)
    bars = laws.market(symbols=1, rows=4 * 1_440 + 5, start=datetime(2024, 4, 30, 6, tzinfo=UTC))
    features.warmup(watched, interval=laws.MINUTE)
    seen.clear()
    features.build(bars, watched, interval=laws.MINUTE)
    day = [datetime(2024, 4, 30, tzinfo=UTC) + timedelta(days=d) for d in range(6)]
    begins = [begin.to_pydatetime() for begin, _, _ in seen]
    assert begins == [day[0] + timedelta(hours=6)] * 2 + day[1:4]  # sigma's 120 bars: one day back
    ends = [end.to_pydatetime() + laws.MINUTE for _, end, _ in seen]
    assert ends == [*day[1:5], bars["time"][-1]]


def test_live_reads_nothing_before_the_anchor():
    seen = []
    watched = probe(seen)
    bars = laws.market(symbols=1, rows=5_000)
    features.warmup(watched, interval=laws.MINUTE)
    seen.clear()
    features.latest(bars, watched, interval=laws.MINUTE)
    assert [(begin.to_pydatetime(), n) for begin, _, n in seen] == [
        (laws.START + timedelta(days=2), 5_000 - 2_880)
    ]


def test_rows_before_the_warmup_are_null_and_the_next_is_not():
    bars = laws.market(symbols=2, rows=1_500, missing=(600,))
    table = features.build(bars, S2, interval=laws.MINUTE)
    needed = features.warmup(S2, interval=laws.MINUTE)
    one = table.filter(pl.col("symbol") == "S1")
    known = one["rsi"].is_not_null().to_numpy()
    expected = np.zeros(1_499, bool)
    expected[needed:600] = expected[600 + needed :] = True
    np.testing.assert_array_equal(known, expected)
    assert one["sigma"].is_not_null().to_list() == [
        (i if i < 600 else i - 600) >= 120 for i in range(1_499)
    ]


def test_values_equal_one_pass_after_the_warmup():
    bars = laws.market(symbols=2, rows=4_000)
    anchored, plain = features.build(bars, S2, interval=laws.MINUTE), features.evaluate(bars, S2)
    settled = anchored["rsi"].is_not_null()
    assert settled.sum() > 7_000
    for name in S2.names:
        a, b = (t.filter(settled)[name].to_numpy() for t in (anchored, plain))
        assert np.abs(a - b).max() <= 1e-8 * b.std(), name


def test_a_symbol_too_short_for_any_value_is_all_null():
    bars = pl.concat(
        [
            laws.market(symbols=1, rows=100),
            laws.market(symbols=2, rows=700).filter(pl.col("symbol") == "S1"),
        ]
    )
    table = features.build(bars, S2, interval=laws.MINUTE)
    assert table.filter(pl.col("symbol") == "S0").drop_nulls().is_empty()
    live = features.latest(bars, S2, interval=laws.MINUTE)
    assert live["symbol"].to_list() == ["S0", "S1"]
    assert live["rsi"].is_null().to_list() == [True, False]


def test_no_bars_make_an_empty_table():
    none = laws.market(symbols=1, rows=10).clear()
    for make in (features.build, features.latest):
        table = make(none, S2, interval=laws.MINUTE)
        assert table.columns == ["symbol", "time", *S2.names, "sigma"]
        assert table.is_empty()
    assert features.evaluate(none, S2).is_empty()


def test_pandas_bars_are_as_good():
    bars = laws.market(rows=700)
    frame = bars.to_pandas().set_index("time")
    a, b = (features.build(t, S2, interval=laws.MINUTE) for t in (bars, frame))
    assert laws.same(a, b)


def test_bars_of_another_interval_are_refused():
    with pytest.raises(UserError, match="0:05:00 expected, found one of 0:01:00 at S0 2024-04-30"):
        features.build(laws.market(rows=50), S2, interval=timedelta(minutes=5))


def test_unsorted_bars_are_refused():
    with pytest.raises(schema.TableError, match="not sorted"):
        features.build(laws.market(rows=50).reverse(), S2, interval=laws.MINUTE)


def test_progress_counts_every_window():
    calls = []
    bars = laws.market(symbols=2, rows=3_000)
    features.build(bars, S2, interval=laws.MINUTE, progress=lambda *c: calls.append(c))
    assert [c[0] for c in calls] == list(range(1, 7))
    assert {c[1] for c in calls} == {6}
    assert [c[2] for c in calls] == ["S0"] * 3 + ["S1"] * 3


def test_the_input_is_left_alone():
    bars = laws.market(rows=700)
    before = bars.clone()
    features.build(bars, S2, interval=laws.MINUTE)
    assert bars.equals(before)


def test_a_null_in_one_column_empties_the_row():
    hole = feature("hole", pl.when(pl.col("close") > pl.col("open")).then(1.0))
    both = features.FeatureSet("x", "0", {"hole": hole, "body": feature("b", pl.col("close"))})
    table = features.build(laws.market(rows=400), both, interval=laws.MINUTE)
    assert (table["hole"].is_null() == table["body"].is_null()).all()
    assert 0 < table["body"].null_count() < table.height


@pytest.mark.real
@pytest.mark.skipif(not KRAKEN.is_file(), reason="the gappy Kraken bars are not here")
def test_kraken_with_its_thousands_of_gaps():
    names = ["open_time", "open", "high", "low", "close", "volume", "trades"]
    bars = real_bars.read(KRAKEN, names)
    gaps = (bars["open_time"].diff() != laws.MINUTE).sum()
    assert gaps == 26_746
    began = time.process_time()
    table = features.build(bars, S2, interval=laws.MINUTE)
    assert time.process_time() - began < 5
    assert table["sigma"].is_not_null().sum() >= table["rsi"].is_not_null().sum()


@pytest.mark.real
@pytest.mark.skipif(not SEVEN.is_dir(), reason="the seven futures symbols are not here")
def test_live_is_batch_on_real_bars():
    bars = pl.concat(real_bars.read(p).head(6_000) for p in sorted(SEVEN.glob("*.parquet"))[:2])
    moments = bars["time"].unique().sort()[400::61].to_list()
    assert laws.law_live_is_batch(S2, bars, moments) > 100


def test_a_column_that_the_source_lacks_is_named():
    bars = laws.market(rows=700).with_columns(trades=pl.lit(None, pl.Int64))
    plus = features.SETS["S2_plus"]
    with pytest.raises(UserError) as error:
        features.build(bars, plus, interval=laws.MINUTE)
    assert str(error.value) == (
        "feature 'trades_ratio': has no value in any row: these bars have no trades. "
        "Leave it out (features.groups.flow = false)."
    )
    without = features.resolve("S2_plus", groups={"flow": False})
    assert features.build(bars, without, interval=laws.MINUTE)["rsi"].count() > 0
