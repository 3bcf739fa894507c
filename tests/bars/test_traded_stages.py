"""Traded bars on their way through features, labels and the pipeline."""

from datetime import timedelta

import laws
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from research import bars, datasets, features, labels, pipeline, schema, study
from research.errors import UserError
from research.features.returns import SIGMA_BARS

MINUTE = laws.MINUTE
S2 = features.SETS["S2"]


def dollar_bars(rows=9_000, *, size=1_200.0, **more):
    return bars.volume_bars(laws.market(rows=rows, **more), size, kind="dollar")


@pytest.fixture(scope="module")
def traded():
    """Uneven bars of two symbols, with two gaps."""
    return dollar_bars(missing=(3_000, 3_001, 6_000))


@given(seed=st.integers(0, 99), hole=st.integers(100, 200), sparse=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_bar_opens_as_the_one_before_it_closes_or_there_is_a_gap(seed, hole, sparse):
    base = laws.market(rows=320, seed=seed, missing=(hole, hole + 1))
    made = bars.volume_bars(base, 3_000.0, kind="dollar", sparse=sparse)
    runs = bars.segments(made)
    follows = (made["symbol"] == made["symbol"].shift()) & (runs == runs.shift())
    assert (made["open_time"] == made["time"].shift()).filter(follows).all()
    across = (made["open_time"] <= laws.START + hole * MINUTE) & (
        made["time"] > laws.START + hole * MINUTE
    )
    assert across.sum() == (2 if sparse else 0)
    assert sparse == (runs.max() == 0)


def test_on_a_clock_they_are_gathered_where_they_close(traded):
    hours = bars.resample(traded, 60 * MINUTE)
    schema.check(hours, schema.BARS, "hours")
    ends = (pl.col("time") - timedelta(microseconds=1)).dt.truncate("1h") + 60 * MINUTE
    expected = traded.group_by("symbol", ends, maintain_order=True).agg(
        pl.col("open").first(), pl.col("high").max(), pl.col("close").last(), pl.col("trades").sum()
    )
    assert_frame_equal(hours.select(expected.columns), expected)
    assert ((hours["time"] - hours["open_time"]) == 60 * MINUTE).all()
    cut = hours["time"][5]
    known = bars.resample(traded.filter(pl.col("time") <= cut), 60 * MINUTE)
    assert_frame_equal(known, hours.filter(pl.col("time") <= cut))


def on_a_clock(made):
    """The same bars renamed to minutes, one after the other in a run, a minute lost at a gap."""
    number = pl.int_range(pl.len()).over("symbol") + pl.Series(bars.segments(made))
    opened = laws.START + number * pl.lit(MINUTE)
    named = made.with_columns(open_time=opened.cast(schema.TIME))
    return named.with_columns(time=pl.col("open_time") + MINUTE).drop("parts")


@pytest.mark.parametrize(
    ("label", "more"),
    [
        (labels.forward_return, {}),
        (labels.forward_return, {"entry": "close"}),
        (labels.volatility, {}),
        (labels.direction, {"up": 0.001, "down": 0.002}),
        (labels.barrier, {"take": 0.002, "stop": 0.001}),
    ],
)
def test_labels_are_those_of_the_same_bars_on_a_clock(traded, label, more):
    how = {"horizon": 25 * MINUTE, "interval": 5 * MINUTE, **more}
    found = label(traded, **how)
    clock = on_a_clock(traded)
    expected = label(clock, **how | {"horizon": 5 * MINUTE, "interval": MINUTE})
    real = clock.select("symbol", "time", real=traded["time"])
    ends = real.rename({"time": "known_at", "real": "known"})
    expected = (
        expected.join(real, on=["symbol", "time"], maintain_order="left")
        .join(ends, on=["symbol", "known_at"], maintain_order="left")
        .with_columns(time="real", known_at="known")
        .drop("real", "known")
    )
    assert 0.95 * traded.height < found.height < traded.height
    assert_frame_equal(found, expected, check_exact=True)
    schema.check(found, schema.LABELS, "labels")


def test_labels_change_only_with_prices_up_to_known_at(traded):
    moment = traded["time"][traded.height // 4]
    later = pl.col("time") > moment
    bent = traded.with_columns(
        pl.when(later).then(pl.col(c) * 1.5).otherwise(c) for c in schema.PRICES
    )
    how = {"horizon": 5 * MINUTE, "interval": MINUTE}
    for label, more in (
        (labels.forward_return, {}),
        (labels.barrier, {"take": 1e-3, "stop": 1e-3}),
    ):
        before, after = (label(table, **how, **more) for table in (traded, bent))
        known = pl.col("known_at") <= moment
        assert before.filter(known).height > 50
        assert_frame_equal(before.filter(known), after.filter(known), check_exact=True)


def test_bars_without_the_column_are_on_a_clock(traded):
    bare = traded.drop("parts")
    with pytest.raises(UserError, match="0:05:00 expected, found one of"):
        features.build(bare, S2, interval=5 * MINUTE)
    how = {"horizon": 5 * MINUTE, "interval": 5 * MINUTE}
    assert labels.forward_return(bare, **how).height < 0.2 * traded.height


def test_equal_bars_have_the_same_features_and_labels_either_way():
    clock = laws.market(rows=3_000, missing=(700,))
    said = clock.with_columns(parts=pl.lit(1, pl.Int64))
    assert laws.same(*(features.build(t, S2, interval=MINUTE) for t in (clock, said)))
    how = {"horizon": 5 * MINUTE, "interval": MINUTE}
    assert_frame_equal(*(labels.forward_return(t, **how) for t in (clock, said)))


def test_features_look_at_nothing_later(traded):
    laws.law_no_lookahead(S2, traded, interval=5 * MINUTE)


def test_features_of_a_symbol_are_its_own(traded):
    laws.law_symbols_do_not_mix(S2, traded, interval=5 * MINUTE)


def test_values_after_a_gap_are_those_of_a_series_that_starts_there(traded):
    one = traded.filter(pl.col("symbol") == "S0")
    whole = features.build(one, S2, interval=5 * MINUTE)
    for run in (1, 2):
        fresh = features.build(one.filter(bars.segments(one) == run), S2, interval=5 * MINUTE)
        assert fresh.drop_nulls().height > 100
        assert laws.same(whole.join(fresh, on=["symbol", "time"], how="semi"), fresh)


def test_live_is_batch_from_the_start_of_a_day_with_enough_bars_behind_it():
    made = dollar_bars(rows=9 * 1_440, size=4_000.0)
    needed = max(features.warmup(S2, interval=10 * MINUTE), SIGMA_BARS)
    batch, known = features.build(made, S2, interval=10 * MINUTE), 0
    day = pl.col("open_time").dt.truncate("1d")
    for symbol in ("S0", "S1"):
        one = made.filter(pl.col("symbol") == symbol).with_columns(day=day)
        for row in np.linspace(one.height // 2, one.height - 1, 12).astype(int):
            today = one["day"][int(row)]
            before = one.filter(pl.col("day") < today)["day"]
            begin = max(d for d in before.unique() if (before >= d).sum() >= needed)
            seen = (pl.col("day") >= begin) & (pl.col("time") <= one["time"][int(row)])
            live = features.latest(one.filter(seen), S2, interval=10 * MINUTE)
            assert laws.same(live, batch.join(live, on=["symbol", "time"], how="semi"))
            known += live.drop_nulls().height
    assert known == 24


# -- a study on them -------------------------------------------------------------------------------

OPTIONS = {
    "simulated.days": 10,
    "simulated.symbols": 2,
    "validation.train": "4 d",
    "validation.test": "1 d",
    "data.interval": "5 min",
    "labels.horizon": "15 min",
    "evaluation.draws": 100,
    "backtest.enter": "0 bps",
}


def chosen(kind, **more):
    options = {f"data.{key}": value for key, value in more.items()}
    return study.Study().with_options({**OPTIONS, "data.bars": kind, **options})


@pytest.mark.parametrize("kind", ["dollar", "volume", "tick_imbalance"])
@pytest.mark.usefixtures("store")
def test_a_study_runs_from_bars_to_backtest(kind):
    asked = chosen(kind)
    source = pipeline.bars(asked)
    made, found = pipeline.forecasts(asked), pipeline.labels(asked)
    assert source["parts"].min() >= 1 and source["parts"].n_unique() > 5
    assert made["time"].is_in(source["time"].implode()).all()
    three = source.with_columns(known_at=pl.col("time").shift(-3).over("symbol"))
    beside = found.join(three, on=["symbol", "time"], maintain_order="left")
    assert found.height > 0.9 * source.height
    assert (beside["known_at"] == beside["known_at_right"]).all()
    assert pipeline.evaluation(asked).score.low <= 1
    tested = pipeline.backtest(asked)
    # every fill is at the open of the bar after the decision, and every bar has its reason
    opens = source.select("symbol", entry_time="open_time")
    assert tested.trades.height > 5
    assert tested.trades.join(opens, on=["symbol", "entry_time"], how="anti").is_empty()
    assert tested.reasons.height == source.filter(pl.col("time") >= made["time"].min()).height


@pytest.mark.usefixtures("store")
def test_a_size_far_from_the_interval_is_one_line():
    asked = chosen("dollar", bar_size=1e12)
    with pytest.raises(UserError, match=r"of this data\.bar_size last .* data\.interval = 5 min"):
        datasets.load(chosen("dollar", bar_size=5e6))
    assert datasets.traded(asked).is_empty()
    with pytest.raises(UserError, match="no bars of"):
        pipeline.bars(asked)


@pytest.mark.usefixtures("store")
def test_a_size_that_fits_makes_the_bars_it_says():
    typical = datasets.traded(chosen("dollar"))["quote_volume"].median()
    made = datasets.load(chosen("dollar", bar_size=typical))
    assert (made["quote_volume"] >= typical).all()


@pytest.mark.parametrize("kind", ["time", "tick_imbalance"])
def test_a_size_is_of_volume_and_dollar_bars_alone(kind):
    with pytest.raises(UserError, match=r"data: bar_size is the size of volume or dollar bars"):
        chosen(kind, bar_size=5.0)


@pytest.mark.usefixtures("store")
def test_imbalance_bars_need_a_longer_interval():
    with pytest.raises(UserError, match=r"at least 2 base bars, found 1\. Take a longer"):
        datasets.load(chosen("tick_imbalance", interval="1 min"))


@pytest.mark.usefixtures("store")
def test_time_is_not_traded():
    with pytest.raises(UserError, match=r"data\.bars is time"):
        datasets.traded(study.Study().with_options({"simulated.days": 1}))
