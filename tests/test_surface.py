"""The break-even surface: by hand, against a slow twin, and its interval by simulation."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.signal import lfilter

from research import scores
from research.errors import UserError

START = datetime(2025, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = ["symbol", "time"]


def market(days=20, symbols=2, seed=0, edge=0.0, step=10 * MINUTE, horizons=(10, 60)):
    """Binned random forecasts and overlapping returns that lean towards the bin by `edge`."""
    rng = np.random.default_rng(seed)
    n = round(timedelta(days=days) / step)
    time = pl.datetime_range(START + step, START + n * step, step, eager=True)
    key = pl.concat(
        [
            pl.DataFrame({"symbol": f"S{k}", "time": time.dt.cast_time_unit("us")})
            for k in range(symbols)
        ]
    )
    bins = np.digitize(lfilter([0.6], [1, -0.8], rng.standard_normal(n * symbols)), [-0.6, 0, 0.6])
    binned = key.with_columns(bin=pl.Series(bins + 1, dtype=pl.Int32))
    labels = {}
    for minutes in horizons:
        length = minutes // 10
        noise = [np.convolve(rng.standard_normal(n + length - 1), np.ones(length), "valid")] * 1
        noise += [
            np.convolve(rng.standard_normal(n + length - 1), np.ones(length), "valid")
            for _ in range(symbols - 1)
        ]
        y = 0.001 * np.concatenate(noise) + edge * np.sign(bins - 1.5)
        labels[minutes * MINUTE] = key.with_columns(y=pl.Series(y))
    return binned, labels


def test_a_cell_is_half_the_mean_return_of_its_trade():
    binned, labels = market()
    found = scores.fee_surface(binned, labels, bins=4)
    assert found.columns == [
        *("bin", "horizon", "side", "n", "mean_return", "break_even_fee", "low", "high")
    ]
    assert found.select("bin", "horizon").rows() == [
        (b, h) for b in range(1, 5) for h in (10 * MINUTE, 60 * MINUTE)
    ]
    for row in found.iter_rows(named=True):
        part = labels[row["horizon"]].join(binned.filter(bin=row["bin"]), on=KEY)
        sign = 1 if row["bin"] > 2 else -1
        assert row["side"] == ("long" if sign > 0 else "short")
        assert row["n"] == part.height
        assert row["mean_return"] == pytest.approx(sign * part["y"].mean(), abs=1e-15)
        assert row["break_even_fee"] == pytest.approx(row["mean_return"] / 2)
        assert row["low"] < row["break_even_fee"] < row["high"]


def test_the_cube_adds_up_to_its_margins():
    binned, labels = market()
    cube = scores.fee_surface(binned, labels, bins=4, by=("bin", "horizon", "symbol", "hour"))
    assert cube.height == 4 * 2 * 2 * 24
    for by in (["horizon"], ["symbol", "horizon"], ["hour", "horizon"], ["bin", "horizon"]):
        margin = scores.fee_surface(binned, labels, bins=4, by=by)
        summed = cube.group_by(by).agg(
            n=pl.col("n").sum(),
            break_even_fee=(pl.col("break_even_fee") * pl.col("n")).sum() / pl.col("n").sum(),
        )
        assert_frame_equal(margin.select(summed.columns), summed.sort(by))
        assert set(margin["side"]) == ({"long", "short"} if "bin" in by else {"both"})


def test_the_hour_is_that_of_the_decision():
    at = [START + timedelta(hours=5, minutes=m) for m in (0, 59, 60)]
    time = pl.Series("time", at).dt.cast_time_unit("us")
    key = pl.DataFrame({"symbol": ["A"] * 3, "time": time})
    binned = key.with_columns(bin=pl.Series([2, 2, 2], dtype=pl.Int32))
    y = {MINUTE: key.with_columns(y=pl.Series([0.01, 0.02, 0.05]))}
    found = scores.fee_surface(binned, y, bins=2, by=["hour"])
    assert found.select("hour", "n", "break_even_fee").rows() == [(5, 2, 0.0075), (6, 1, 0.025)]


def test_the_interval_is_that_of_whole_days():
    """Against drawing the days of one cell's rows by hand, over and over."""
    binned, labels = market(days=30, symbols=1, edge=0.0004)
    found = scores.fee_surface(binned, labels, bins=4, draws=4000).filter(
        bin=4, horizon=60 * MINUTE
    )
    part = labels[60 * MINUTE].join(binned.filter(bin=4), on=KEY)
    day = (part["time"] - timedelta(microseconds=1)).dt.date()
    days = [rows["y"].to_numpy() for rows in part.with_columns(day=day).partition_by("day")]
    rng = np.random.default_rng(1)
    drawn = [
        np.concatenate([days[k] for k in rng.integers(0, len(days), len(days))]).mean() / 2
        for _ in range(4000)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    stretch = 2.045 / 1.96 * np.sqrt(30 / 29)  # Student with 29 degrees, over normal
    middle = found["break_even_fee"][0]
    assert found["low"][0] - middle == pytest.approx((low - middle) * stretch, rel=0.08)
    assert found["high"][0] - middle == pytest.approx((high - middle) * stretch, rel=0.08)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    hits = []
    for seed in range(60):
        binned, labels = market(days=20, symbols=1, seed=seed, edge=0.0002, horizons=(60,))
        found = scores.fee_surface(binned, labels, bins=4, draws=200)
        hits += (found["low"] <= 0.0001).__and__(found["high"] >= 0.0001).to_list()
    assert 0.90 <= np.mean(hits) <= 0.99  # of 240; neighbouring rows taken alone give far less


def test_same_seed_same_ends_and_rows_in_any_number_of_columns():
    binned, labels = market()
    one = scores.fee_surface(binned, labels, bins=4, seed=3)
    assert_frame_equal(one, scores.fee_surface(binned, labels, bins=4, seed=3), check_exact=True)
    assert not one.equals(scores.fee_surface(binned, labels, bins=4, seed=4))
    first = labels[10 * MINUTE].with_columns(known_at="time")
    alone = scores.fee_surface(binned.with_columns(y=0.0), {10 * MINUTE: first}, bins=4)
    both = one.filter(horizon=10 * MINUTE).select("bin", "n", "break_even_fee")
    assert_frame_equal(alone.select(both.columns), both)


def test_a_cell_in_too_few_blocks_has_no_interval():
    binned, labels = market()
    early = pl.col("time") <= START + timedelta(days=2)
    thin = binned.with_columns(bin=pl.when(early).then("bin").otherwise(1).cast(pl.Int32))
    found = scores.fee_surface(thin, labels, bins=4)
    known = found.with_columns(known=pl.col("low").is_not_null() & pl.col("high").is_not_null())
    assert known.filter("known")["bin"].unique().to_list() == [1]
    assert known["break_even_fee"].null_count() == 0


def test_rows_without_bin_or_label_are_left_out():
    binned, labels = market()
    holed = binned.with_columns(
        bin=pl.when(pl.int_range(pl.len()) % 3 > 0).then("bin").cast(pl.Int32)
    )
    some = {h: t.filter(pl.int_range(pl.len()) % 2 > 0) for h, t in labels.items()}
    found = scores.fee_surface(holed, some, bins=4, by=["horizon"])
    assert found["n"].to_list() == [binned.height // 3] * 2


def test_what_cannot_be_asked():
    binned, labels = market(days=3)
    with pytest.raises(UserError, match=r"no axis 'horzon'. Did you mean 'horizon'\?"):
        scores.fee_surface(binned, labels, bins=4, by=("bin", "horzon"))
    with pytest.raises(UserError, match="each axis once"):
        scores.fee_surface(binned, labels, bins=4, by=("horizon", "horizon"))
    with pytest.raises(UserError, match="2 horizons given"):
        scores.fee_surface(binned, labels, bins=4, by=["bin"])
    with pytest.raises(UserError, match="0 horizons given"):
        scores.fee_surface(binned, {}, bins=4, by=["bin"])
    with pytest.raises(UserError, match="between 1 and 3, found 4"):
        scores.fee_surface(binned, labels, bins=3)
    with pytest.raises(UserError, match="bins must be at least 2"):
        scores.fee_surface(binned, labels, bins=1)
    with pytest.raises(UserError, match="draws must be at least 100"):
        scores.fee_surface(binned, labels, bins=4, draws=10)
    stranger = {
        h: t.filter(symbol="S1").with_columns(symbol=pl.lit("Z")) for h, t in labels.items()
    }
    with pytest.raises(UserError, match="no row has both"):
        scores.fee_surface(binned, stranger, bins=4)


# capacity


def trades(days=25, each=8, seed=0, edge=0.0012):
    rng = np.random.default_rng(seed)
    at = [START + timedelta(days=d, hours=3 * k + 1) for d in range(days) for k in range(each)]
    n = len(at)
    return pl.DataFrame(
        {
            "symbol": "A",
            "time": pl.Series(at).dt.cast_time_unit("us"),
            "earned": edge + 0.002 * rng.standard_normal(n),
            "impact": rng.uniform(1e-6, 3e-6, n),
        }
    )


def test_capacity_is_the_mean_of_what_each_trade_keeps():
    table = trades()
    found = scores.capacity(table, [1e4, 1e2, 1e6], cost=0.0005, horizon=60 * MINUTE)
    assert found["notional"].to_list() == [1e2, 1e4, 1e6]
    for row in found.iter_rows(named=True):
        kept = table["earned"] - 0.0005 - 2 * table["impact"] * row["notional"] ** 0.5
        assert row["net"] == pytest.approx(kept.mean(), abs=1e-15)
        assert row["money"] == pytest.approx(kept.mean() * row["notional"], abs=1e-9)
        assert row["edge"] - 0.0005 - row["impact"] == pytest.approx(row["net"], abs=1e-15)
        spread = kept.std() / np.sqrt(len(kept)) * 1.96
        assert row["high"] - row["low"] == pytest.approx(2 * spread, rel=0.35)
        assert row["low"] < row["net"] < row["high"]
        assert row["n"] == 200


def test_capacity_ends_and_peaks_where_it_says():
    table = trades()
    before, weight = table["earned"].mean() - 0.0005, table["impact"].mean()
    last = (before / (2 * weight)) ** 2
    sizes = [last * share for share in (0.3, 4 / 9, 0.6, 1.0)]
    found = scores.capacity(table, sizes, cost=0.0005, horizon=60 * MINUTE)
    assert found["net"][3] == pytest.approx(0, abs=1e-15)
    assert found["money"].arg_max() == 1


def test_capacity_leaves_out_what_is_not_known():
    table = trades()
    half = table.with_columns(
        impact=pl.when(pl.int_range(pl.len()) % 2 > 0).then("impact").otherwise(0.0)
    )
    kept = table.filter(pl.int_range(pl.len()) % 2 > 0)
    how = {"cost": 0.0, "horizon": MINUTE}
    assert_frame_equal(scores.capacity(half, [10], **how), scores.capacity(kept, [10], **how))
    with pytest.raises(UserError, match="2 trades with an impact above 0 are needed, found 0"):
        scores.capacity(table.with_columns(impact=0.0), [10], **how)
    for sizes in ([], [0.0], [float("inf")]):
        with pytest.raises(UserError, match="notionals must be above 0"):
            scores.capacity(table, sizes, **how)
