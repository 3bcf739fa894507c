"""Bins: causal where they say so, fair to ties, monotone, sensible beyond the rows there are."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.stats import rankdata

from research import schema, signals
from research.errors import UserError

START = datetime(2025, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def forecasts(days=4, symbols=3, seed=0, step=timedelta(minutes=10), ties=False):
    rng = np.random.default_rng(seed)
    times = pl.datetime_range(START + step, START + days * DAY, step, eager=True)
    times = times.dt.cast_time_unit("us")
    day = (times - timedelta(microseconds=1)).dt.strftime("%Y-%m-%dT00:00Z")
    tables = [
        pl.DataFrame(
            {
                "symbol": f"S{k}",
                "time": times,
                "forecast": rng.standard_normal(len(times)),
                "fold": day,
            }
        )
        for k in range(symbols)
    ]
    table = pl.concat(tables)
    return table.with_columns(pl.col("forecast").round(0)) if ties else table


@pytest.mark.parametrize("scope", signals.CAUSAL)
@pytest.mark.parametrize("bins", [4, 5000])
def test_law_causal_bins_do_not_know_the_future(scope, bins):
    table, changed = forecasts(), []
    for moment in table["time"].unique().sort().gather_every(67):
        later = pl.col("time") > moment
        bent = table.with_columns(
            forecast=pl.when(later).then(5 - 3 * pl.col("forecast")).otherwise("forecast")
        )
        straight, crooked = (signals.assign(t, bins=bins, scope=scope) for t in (table, bent))
        assert_frame_equal(straight.filter(~later), crooked.filter(~later))
        changed.append(not straight["bin"].equals(crooked["bin"]))
        assert_frame_equal(
            signals.assign(table.filter(~later), bins=bins, scope=scope), straight.filter(~later)
        )
    assert any(changed), "changing the forecasts changed nothing: this test proves nothing"


@pytest.mark.parametrize("scope", ["date", "global", "timestamp"])
def test_the_other_scopes_do_know_it(scope):
    table = forecasts()
    moment = START + timedelta(days=1, hours=5)
    past = pl.col("time") < moment if scope != "timestamp" else pl.col("symbol") == "S0"
    bent = table.with_columns(
        forecast=pl.when(past).then("forecast").otherwise(pl.col("forecast") - 3)
    )
    straight, crooked = (signals.assign(t, bins=4, scope=scope) for t in (table, bent))
    assert not straight.filter(past)["bin"].equals(crooked.filter(past)["bin"])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(signals.SCOPES),
    st.sampled_from([2, 3, 10, 700]),
    st.booleans(),
)
def test_law_bins_rise_with_forecasts_and_ties_share_one(seed, scope, bins, ties):
    table = signals.assign(forecasts(3, 3, seed, ties=ties), bins=bins, scope=scope)
    known = table.drop_nulls("bin")
    assert known["bin"].is_between(1, bins).all() and known.height
    day = (pl.col("time") - timedelta(microseconds=1)).dt.date()
    group = {"timestamp": pl.col("time"), "global": pl.lit(0)}.get(scope, day)
    ordered = known.with_columns(group=group).sort("group", "forecast", "bin")
    same = (pl.col("group") == pl.col("group").shift(1)).fill_null(False)
    step = pl.col("bin") - pl.col("bin").shift(1)
    assert ordered.filter(same & (step < 0)).is_empty()
    tied = same & (pl.col("forecast") == pl.col("forecast").shift(1))
    assert ordered.filter(tied & (step != 0)).is_empty()


def test_trailing_cut_points_are_quantiles_of_the_window_pooled_over_symbols():
    table = forecasts(days=5)
    found = signals.assign(table, bins=10, scope="trailing", window=2 * DAY)
    day = START + 3 * DAY
    window = table.filter(pl.col("time").is_between(day - 2 * DAY, day, closed="left"))
    cuts = np.quantile(window["forecast"], np.arange(1, 10) / 10)
    today = found.filter((pl.col("time") > day) & (pl.col("time") <= day + DAY))
    assert today["bin"].to_list() == (1 + np.searchsorted(cuts, today["forecast"])).tolist()


def test_trailing_is_unknown_for_the_first_day_alone():
    found = signals.assign(forecasts(days=3), bins=4)
    first = pl.col("time") <= START + DAY
    assert found.filter(first)["bin"].null_count() == found.filter(first).height
    assert found.filter(~first)["bin"].null_count() == 0
    late = forecasts(days=3).filter(pl.col("time") > START + timedelta(hours=2))
    found = signals.assign(late, bins=4)
    assert found.filter(pl.col("time") <= START + 2 * DAY)["bin"].drop_nulls().is_empty()


def test_cut_points_may_be_renewed_more_often_than_daily():
    table, six = forecasts(days=1), timedelta(hours=6)
    binned = signals.assign(table, bins=10, every=six)
    known = binned.filter(pl.col("bin").is_not_null())["time"]
    assert (known.min(), known.max()) == (START + six + timedelta(minutes=10), START + DAY)
    noon = START + 2 * six  # its period's cut-points: all forecasts up to it
    past = table.filter(pl.col("time") < noon)["forecast"].to_numpy()
    cuts = np.quantile(past, np.arange(1, 10) / 10)
    rows = binned.filter(pl.col("time").is_between(noon, noon + six, closed="right"))
    assert (rows["bin"] == 1 + np.searchsorted(cuts, rows["forecast"].to_numpy())).all()
    later = table.with_columns(
        forecast=pl.when(pl.col("time") > noon).then(9.0).otherwise("forecast")
    )
    again = signals.assign(later, bins=10, every=six).filter(pl.col("time") <= noon)
    assert_frame_equal(binned.filter(pl.col("time") <= noon), again)


def test_folds_that_overlap_do_not_leak_into_the_next():
    table = forecasts(days=3, symbols=2)
    late = pl.col("symbol") == "S1"
    fold = pl.when(late & (pl.col("time") > START + DAY)).then(pl.lit("b")).otherwise(pl.lit("a"))
    table = table.with_columns(fold=fold)
    after = (pl.col("time") > START + 2 * DAY) & (pl.col("fold") == "a")
    bent = table.with_columns(forecast=pl.when(after).then(9.0).otherwise("forecast"))
    straight, crooked = (signals.assign(t, bins=4, scope="fold") for t in (table, bent))
    assert straight["bin"].equals(crooked["bin"]) and straight["bin"].drop_nulls().len()


def test_a_window_of_few_forecasts_gives_no_bins():
    table = forecasts(days=8, symbols=1)
    start = START + 2 * DAY + timedelta(hours=1)
    gap = pl.col("time").is_between(start, START + 6 * DAY - timedelta(hours=1), closed="right")
    found = signals.assign(table.filter(~gap), bins=4, window=2 * DAY)
    after = found.filter(pl.col("time") > START + 6 * DAY)
    assert after.head(144)["bin"].null_count() == 144
    assert after.tail(144)["bin"].null_count() == 0


def test_fold_takes_its_cut_points_from_the_fold_before():
    table = forecasts(days=3)
    found = signals.assign(table, bins=4, scope="fold")
    names = table["fold"].unique().sort()
    assert found.filter(pl.col("fold") == names[0])["bin"].null_count() == 144 * 3
    before, now = (found.filter(pl.col("fold") == names[k]) for k in (1, 2))
    cuts = np.quantile(before["forecast"], [0.25, 0.5, 0.75])
    assert now["bin"].to_list() == (1 + np.searchsorted(cuts, now["forecast"])).tolist()


@pytest.mark.parametrize("bins", [2, 7, 10])
@pytest.mark.parametrize("ties", [False, True])
def test_date_bins_are_of_the_average_rank(bins, ties):
    table = forecasts(2, ties=ties)
    found = signals.assign(table, bins=bins, scope="date")
    for _, day in found.group_by((pl.col("time") - timedelta(microseconds=1)).dt.date()):
        rank = rankdata(day["forecast"])
        expected = 1 + np.floor((rank - 0.5) * bins / day.height)
        assert day["bin"].to_list() == expected.tolist()


def test_date_bins_hold_equal_counts():
    found = signals.assign(forecasts(1), bins=8, scope="date")
    assert set(found["bin"].value_counts()["count"]) == {144 * 3 // 8}


@pytest.mark.parametrize("scope", ["date", "global"])
def test_more_bins_than_rows_spread_from_end_to_end(scope):
    found = signals.assign(forecasts(1, 1), bins=5000, scope=scope).sort("forecast")
    bins = found["bin"].to_numpy()
    assert (bins[0], bins[-1]) == (1, 5000)
    assert set(np.diff(bins)) <= {34, 35}  # 4,999 steps over 143 places


def test_timestamp_ranks_symbols_against_each_other():
    found = signals.assign(forecasts(1, 3), bins=3, scope="timestamp")
    each = found.group_by("time").agg(pl.col("bin").sort_by("forecast"))
    assert each["bin"].to_list() == [[1, 2, 3]] * each.height
    with pytest.raises(UserError, match="found one symbol"):
        signals.assign(forecasts(1, 1), bins=3, scope="timestamp")


def test_alone_or_unknown_has_no_bin():
    table = forecasts(1, 2).with_columns(
        forecast=pl.when(pl.col("symbol") == "S0").then(None).otherwise("forecast")
    )
    assert signals.assign(table, bins=2, scope="timestamp")["bin"].drop_nulls().is_empty()
    found = signals.assign(table, bins=2, scope="date")
    assert found.filter(pl.col("symbol") == "S0")["bin"].drop_nulls().is_empty()
    assert found.filter(pl.col("symbol") == "S1")["bin"].null_count() == 0


@pytest.mark.parametrize("scope", signals.SCOPES)
def test_a_constant_forecast_falls_in_the_middle(scope):
    table = forecasts(3).with_columns(forecast=0.1)
    bins = signals.assign(table, bins=5, scope=scope)["bin"].drop_nulls()
    assert bins.len() and set(bins) == {3}


@pytest.mark.parametrize("scope", signals.SCOPES)
def test_what_comes_in_goes_out_with_one_column_more(scope):
    table = forecasts(3)
    found = signals.assign(table, bins=5, scope=scope)
    assert_frame_equal(found.drop("bin"), table)
    assert found.schema["bin"] == pl.Int32
    none = signals.assign(table.clear(), bins=5, scope=scope) if scope != "timestamp" else found
    assert none.schema["bin"] == pl.Int32


def test_pandas_frames_are_at_home():
    table = forecasts(2, 1)
    frame = schema.to_pandas(table)
    assert signals.assign(frame, bins=4)["bin"].equals(signals.assign(table, bins=4)["bin"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bins": 1}, "bins must be at least 2, got 1"),
        ({"bins": 3, "scope": "dates"}, "unknown scope 'dates'. Did you mean 'date'"),
        ({"bins": 3, "window": timedelta(0)}, "window must be above zero"),
    ],
)
def test_mistakes_are_named(options, said):
    with pytest.raises(UserError, match=said):
        signals.assign(forecasts(1), **options)


@pytest.mark.parametrize(("window", "every"), [(3, 24), (36, 24), (5, 1), (2, 6)])
@pytest.mark.parametrize("ties", [False, True])
def test_one_moment_at_a_time_gives_the_same_bins(window, every, ties):
    spans = {"window": timedelta(hours=window), "every": timedelta(hours=every)}
    holes = np.random.default_rng(1).random(forecasts(ties=ties).height) < 0.1
    table = forecasts(ties=ties).with_columns(
        forecast=pl.when(~pl.Series(holes)).then("forecast").otherwise(None)
    )
    table = table.filter(pl.Series(np.random.default_rng(2).random(table.height) < 0.9))
    batch = signals.assign(table, bins=7, **spans)
    live, found = signals.Trailing(bins=7, **spans), []
    for (time,), rows in table.sort("time", "symbol").group_by("time", maintain_order=True):
        values = rows["forecast"].fill_null(float("nan")).to_numpy()
        micros = int(time.timestamp()) * 1_000_000
        found.append(rows.select("symbol", "time", bin=live.update(micros, values)))
    together = pl.concat(found).sort("symbol", "time")
    expected = batch["bin"].fill_null(0).cast(pl.Int64).to_list()
    assert together["bin"].to_list() == expected
    assert window < 24 or len(set(expected)) > 3
