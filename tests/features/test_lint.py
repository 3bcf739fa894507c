"""The lint: what it finds on made and simulated tables, what it lets pass, and what it says."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from research import features
from research.errors import UserError
from research.features import lint, rules
from research.features.kernels import talib_expr
from research.sources import simulated

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared/data/klines_1m/um_futures_ohlcv_2025-05_06"
MINUTE = timedelta(minutes=1)
START = datetime(2025, 1, 1, tzinfo=UTC)
CLOSE = pl.col("close")

LEVELS = {
    "ema_20": talib_expr("EMA", "close", timeperiod=20),
    "sma_240": CLOSE.rolling_mean(240),
    "upper_band": CLOSE.rolling_mean(60) + 2 * CLOSE.rolling_std(60),
    "log_close": CLOSE.log(),
    "minus_close": -CLOSE,
}
SOUND = {
    "ret_60": CLOSE / CLOSE.shift(60) - 1,
    "distance_240": CLOSE / CLOSE.rolling_mean(240) - 1,
    "hour": pl.col("open_time").dt.hour().cast(pl.Float64),
    **{name: f.expr for name, f in features.SETS["S2"].columns.items()},
    **{name: make(*p) for name, (make, p) in rules.COLUMNS.items()},
}
CLOCKS = {
    "age": pl.col("time").to_physical().cast(pl.Float64),
    "traded_so_far": pl.col("volume").cum_sum(),
}


def table_of(bars, columns):
    parts = bars.partition_by("symbol", maintain_order=True)
    made = [p.select("symbol", "time", *(e.alias(n) for n, e in columns.items())) for p in parts]
    return pl.concat(part.slice(1_500) for part in made)


def noise(rows=400, symbols=("A",), seed=0, **columns):
    rng = np.random.default_rng(seed)
    time = pl.Series([START + k * MINUTE for k in range(rows)], dtype=pl.Datetime("us", "UTC"))
    return pl.concat(
        pl.DataFrame({"symbol": s, "time": time, "noise": rng.normal(size=rows)} | columns)
        for s in symbols
    )


def found(table, bars=None, **options):
    rows = lint.lint(table, bars, **options)
    return set(rows.select("feature", "finding").iter_rows())


@pytest.fixture(scope="module", params=[0, 1, 2])
def bars(request):
    ten = timedelta(minutes=10)
    made = simulated.market(
        symbols=2, days=31, ic=0, horizon=ten, half_life=ten, seed=request.param
    )
    return made.bars.with_columns(time=pl.col("open_time") + MINUTE)


def test_levels_and_clocks_are_found_on_a_random_walk_and_nothing_else(bars):
    rows = lint.lint(table_of(bars, LEVELS | CLOCKS | SOUND), bars)
    by = {word: set(part["feature"]) for (word,), part in rows.group_by("finding")}
    assert by["level"] - set(CLOCKS) == set(LEVELS)
    assert set(CLOCKS) <= by["clock"] <= set(CLOCKS) | set(LEVELS)
    assert not set(rows["feature"]) & set(SOUND)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("S1", {"ema_12", "ema_26", "vwap"}),
        ("S4", {"ema_9", "ema_21", "ema_50", "bb_upper", "bb_middle", "bb_lower", "vwap"}),
        ("S1_stationary", set()),
        ("S4_stationary", set()),
    ],
)
def test_of_the_sets_it_refuses_the_prices_and_no_stationary_twin(bars, name, levels):
    rows = lint.lint(
        table_of(bars, {n: f.expr for n, f in features.SETS[name].columns.items()}), bars
    )
    rows = rows.filter(pl.col("finding") != "duplicate")
    assert set(rows["feature"]) == levels


def test_without_the_close_nobody_looks_for_levels(bars):
    rows = lint.lint(table_of(bars, {"ema_20": LEVELS["ema_20"]} | SOUND))
    assert "level" not in set(rows["finding"])


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="real Binance futures bars are not here")
def test_real_bars_are_judged_alike():
    parts = [
        pl.read_parquet(REAL / f"{symbol}.parquet")
        .sort("open_time")
        .with_columns(symbol=pl.lit(symbol), open_time=pl.from_epoch("open_time", "ms"))
        .with_columns(pl.col("open_time").dt.replace_time_zone("UTC").dt.cast_time_unit("us"))
        .with_columns(time=pl.col("open_time") + MINUTE)
        .head(45_000)
        for symbol in ("BTCUSDT", "SOLUSDT")
    ]
    bars = pl.concat(parts)
    rows = lint.lint(table_of(bars, LEVELS | SOUND), bars)
    assert set(rows.filter(pl.col("finding") == "level")["feature"]) == set(LEVELS)
    assert not set(rows["feature"]) & set(SOUND)


def test_values_are_medians_over_symbols_of_spearmans_correlation():
    table = noise(300, ("A", "B", "C"))
    drift = pl.int_range(pl.len()).over("symbol").cast(pl.Float64)
    weight = pl.col("symbol").replace_strict({"A": 0.001, "B": 0.03, "C": 0.05})
    table = table.with_columns(x=weight * drift + pl.col("noise"))
    table = table.with_columns(pl.when(drift % 7 > 0).then("x").alias("x"))  # with holes
    each = []
    for part in table.drop_nulls().partition_by("symbol"):
        each.append(abs(spearmanr(part["x"], part["time"].to_physical())[0]))
    rows = lint.lint(table, limit=0.5)
    assert rows.select("feature", "finding").rows() == [("x", "clock")]
    assert rows["value"][0] == pytest.approx(np.median(each), abs=1e-12)


def test_few_rows_have_no_say():
    rising = pl.Series(np.arange(29.0))
    assert found(noise(29, x=rising)) == set()
    assert found(noise(30, x=pl.Series(np.arange(30.0)))) == {("x", "clock")}


@pytest.mark.parametrize(
    ("values", "finding", "value"),
    [
        ([np.nan] * 3 + [1.0] * 397, "nan", 3),
        ([-np.inf] + [1.0, 2.0] * 199 + [1.0], "infinite", 1),
        ([None] * 400, "unknown", 400),
        ([None] * 10 + [2.5] * 390, "constant", 2.5),
        ([True] * 400, "constant", 1.0),
    ],
)
def test_broken_columns_are_found(values, finding, value):
    rows = lint.lint(noise(x=pl.Series(values, strict=False)))
    assert rows.select("feature", "finding", "value").rows() == [("x", finding, value)]


def test_copies_are_reported_and_stop_nobody():
    table = noise(seed=3).with_columns(
        same=pl.col("noise") * 2, other_way=-(pl.col("noise") ** 3), near=pl.col("noise").round(2)
    )
    rows = lint.refuse(table)
    assert rows.select("feature", "finding", "twin", "allowed").rows() == [
        ("same", "duplicate", "noise", True),
        ("other_way", "duplicate", "noise", True),
    ]
    assert rows["value"].to_list() == pytest.approx([1.0, -1.0])


def test_what_a_study_allows_passes_but_a_hole_never():
    table = noise(
        age=pl.Series(np.arange(400.0)), one=pl.Series([1.0] * 400), bad=pl.Series([np.inf] * 400)
    )
    assert found(table) == {("age", "clock"), ("one", "constant"), ("bad", "infinite")}
    passed = lint.refuse(table.drop("bad"), allow=["age", "one"])
    assert passed["allowed"].all() and passed.height == 2
    with pytest.raises(UserError, match=r"'bad' holds infinity\. Mend or leave out the column"):
        lint.refuse(table, allow=["age", "one", "bad"])


def test_the_refusal_is_one_line_that_names_all():
    bars = noise(2_000, seed=5).with_columns(close=100 + 0.1 * pl.col("noise").cum_sum())
    table = bars.select("symbol", "time", "noise", ema=LEVELS["ema_20"], one=pl.lit(1.0))
    with pytest.raises(UserError) as error:
        lint.refuse(table, bars)
    said = str(error.value)
    assert "\n" not in said
    assert "'ema' is a price level in disguise (rank correlation with the close 0.9" in said
    assert "'one' is constant" in said and "features.allow" in said and "noise" not in said


def test_labels_keys_and_sigma_are_no_features():
    table = noise().with_columns(
        sigma=pl.lit(1.0), y=pl.lit(0.0), known_at=pl.col("time"), label=pl.lit(0), fold=pl.lit("1")
    )
    assert lint.columns(table) == ["noise"]
    assert found(table) == set()


def test_pandas_frames_are_taken():
    table = noise(age=pl.Series([None] * 20 + list(range(380)), dtype=pl.Float64))
    assert found(table.to_pandas()) == {("age", "clock")}


def test_mistakes_are_named():
    with pytest.raises(UserError, match="lint: limit must lie above 0"):
        lint.lint(noise(), limit=1.5)
    with pytest.raises(UserError, match="lint: column 'time' is missing"):
        lint.lint(noise().drop("time"))
