"""What stands beside the sources' sets: alphas, flow, calendar, range volatility, twins, hearts."""

import math
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[1]))

import laws

from research import features
from research.errors import UserError
from research.features import (
    alphas,
    averages,
    bands,
    catalogue,
    estimators,
    flow,
    kernels,
    oscillators,
    ranges,
    rules,
    stationary,
    volume,
    windows,
)
from research.features.warmup import canonical

PLUS = ("alpha", "flow", "calendar", "range")


def values(expr, bars):
    return bars.select(expr).to_series().to_numpy()


# -- hearts -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-50, 50), min_size=30, max_size=60),
    st.integers(2, 25),
    st.sampled_from([1.0, 1e-7, 0.1]),
)
def test_hearts_equal_a_slow_reading(numbers, window, tick):
    x = np.array(numbers) * tick
    views = np.lib.stride_tricks.sliding_window_view(x, window)
    place = np.arange(float(window))
    scale = np.abs(x).max() + tick
    slow = {
        windows.window_means: views.mean(axis=1),
        windows.window_deviations: views.std(axis=1, ddof=1),
        windows.window_slopes: np.array([np.polyfit(place, v, 1)[0] for v in views]),
    }
    for heart, theirs in slow.items():
        np.testing.assert_allclose(heart(x, window), theirs, rtol=1e-9, atol=1e-9 * scale)
    score = windows.window_scores(x, window) * windows.window_deviations(x, window)
    np.testing.assert_allclose(score, x[window - 1 :] - views.mean(axis=1), atol=1e-9 * scale)


@pytest.mark.parametrize("price", [0.1, 123.456, 1e-7, 98_765.43])
@pytest.mark.parametrize("rows", [1, 2, 59, 61, 5_000])
def test_hearts_are_exactly_zero_where_nothing_moves(price, rows):
    x = np.concatenate([[7 * price] * 3, np.full(rows + 60, price)])
    for window in (2, 20, 60):
        for heart in (windows.window_deviations, windows.window_scores, windows.window_slopes):
            assert (heart(x, window)[3:] == 0.0).all()


def test_exponential_means_are_pandas():
    x = np.random.default_rng(1).normal(0, 1, 500).cumsum() + 100
    for adjusted in (True, False):
        theirs = pd.Series(x).ewm(span=12, adjust=adjusted).mean().to_numpy()
        ours = windows.exponential_mean(x, 12, adjusted=adjusted)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_equal_hearts_are_computed_once_in_an_evaluation_and_then_forgotten():
    calls = []

    def heart(close, factor=1.0):
        calls.append(factor)
        return close * factor

    def times(factor):
        return kernels.numpy_expr(kernels.partial(heart, factor=factor), "close")

    def more(expr):
        return kernels.numpy_expr(np.add, expr, "open", lookback=0)

    bars = laws.market(symbols=1, rows=50)
    chosen = {"a": times(2.0), "b": more(times(2.0)), "c": more(times(3.0)), "d": times(3.0)}
    chosen = [kernels.named(expr, name) for name, expr in chosen.items()]
    table = kernels.evaluated(bars, chosen)
    assert sorted(calls) == [2.0, 3.0]
    assert (table["b"] - bars["open"] - table["a"]).abs().max() < 1e-12
    assert table.equals(bars.select(chosen)), "polars, asked itself, says the same"
    calls.clear()
    kernels.evaluated(bars.head(20), chosen)
    assert sorted(calls) == [2.0, 3.0]
    with pytest.raises(UserError, match=r"^no$"):
        kernels.evaluated(bars, [pl.col("close").map_batches(_refuse, return_dtype=pl.Float64)])


def test_hearts_polars_and_single_values_stand_side_by_side():
    bars = laws.market(symbols=1, rows=50)
    heart = kernels.named(kernels.numpy_expr(np.negative, "close"), "b")
    table = kernels.evaluated(bars, [pl.col("close"), heart, pl.lit(1.0).alias("one")])
    assert table.columns == ["close", "b", "one"] and table.height == 50
    assert (table["one"] == 1.0).all() and (table["b"] == -table["close"]).all()
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="nope"):
        kernels.evaluated(bars, [kernels.numpy_expr(np.negative, "nope")])


@pytest.mark.parametrize("rows", [1, 7, 60, 999])
@pytest.mark.parametrize("block", [3, 64, 10_000])
def test_pieces_are_the_whole(rows, block, monkeypatch):
    """Hearts on hearts, wholes between pieces: the values do not depend on where pieces end."""
    step = kernels.numpy_expr(np.diff, "close", lookback=1)
    mean = windows.mean_of(kernels.numpy_expr(np.negative, "close"), 20)
    whole = kernels.numpy_expr(np.cumsum, "volume")
    chosen = [step, mean, kernels.numpy_expr(np.add, windows.mean_of(whole, 3), mean, lookback=0)]
    chosen = [kernels.named(expr, str(i)) for i, expr in enumerate(chosen)]
    bars = laws.market(symbols=1, rows=rows)
    straight = kernels.evaluated(bars, chosen)
    monkeypatch.setattr(kernels, "_BLOCK", block)
    assert straight.equals(kernels.evaluated(bars, chosen))
    assert straight.equals(bars.select(chosen))
    assert straight.null_count().row(0) == tuple(min(rows, n) for n in (1, 19, 19))


def _refuse(_):
    raise UserError("no")


# -- the columns --------------------------------------------------------------------------------


def slow_alpha001(close, ranked):
    """As the formula reads, a window at a time."""
    change = close.pct_change()
    base = close.where(~(change < 0), change.rolling(20).std())
    place = (base**2).rolling(5).apply(np.argmax, raw=True)
    return place.rolling(ranked).rank(pct=True) - 0.5


def test_alpha001_is_the_formula_with_a_rank_among_the_last_bars():
    bars = laws.market(symbols=1, rows=900)
    theirs = slow_alpha001(bars["close"].to_pandas(), 240).to_numpy()
    ours = values(alphas.alpha001(), bars)
    assert np.flatnonzero(~np.isnan(ours))[0] == 263
    np.testing.assert_allclose(ours[263:], theirs[263:], atol=1e-12)


def test_alpha054_is_the_formula():
    b = laws.market(symbols=1, rows=400).to_pandas()
    b = b[b.high > b.low]
    theirs = -((b.low - b.close) * b.open**5) / ((b.low - b.high) * b.close**5)
    ours = values(alphas.alpha054(), pl.from_pandas(b))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_range_volatilities_are_their_formulas():
    bars = laws.market(symbols=1, rows=300)
    b, n, log = bars.to_pandas(), 60, np.log
    hl, co = log(b.high / b.low), log(b.close / b.open)
    rs = log(b.high / b.close) * log(b.high / b.open) + log(b.low / b.close) * log(b.low / b.open)
    jump, k = log(b.open / b.close.shift()), 0.34 / (1.34 + (n + 1) / (n - 1))
    slow = {
        estimators.parkinson: (hl**2 / (4 * math.log(2))).rolling(n).mean(),
        estimators.garman_klass: (hl**2 / 2 - (2 * math.log(2) - 1) * co**2).rolling(n).mean(),
        estimators.rogers_satchell: rs.rolling(n).mean(),
        estimators.yang_zhang: jump.rolling(n).var()
        + k * co.rolling(n).var()
        + (1 - k) * rs.rolling(n).mean(),
    }
    for factory, variance in slow.items():
        ours, theirs = values(factory(n), bars), np.sqrt(variance.to_numpy())
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_range_volatilities_find_the_volatility_of_a_walk_of_many_steps():
    """A walk of 400 steps a bar, 1e-3 a bar: all four within a twentieth of it."""
    rng = np.random.default_rng(5)
    path = np.exp(np.cumsum(rng.normal(0, 1e-3 / 20, (3_000, 400)).ravel())).reshape(3_000, 400)
    opened = np.append(1.0, path[:-1, -1])
    bars = pl.DataFrame(
        {
            "open": opened,
            "high": np.maximum(path.max(axis=1), opened),
            "low": np.minimum(path.min(axis=1), opened),
            "close": path[:, -1],
        }
    )
    names = ("parkinson", "garman_klass", "rogers_satchell", "yang_zhang")
    found = [values(getattr(estimators, name)(3_000 - 1), bars)[-1] for name in names]
    assert found == pytest.approx([1e-3] * 4, rel=0.06)


def test_flow_is_null_where_the_source_lacks_it_and_in_its_window():
    bars = laws.market(symbols=1, rows=200)
    hole = pl.when(pl.int_range(pl.len()) != 100).then(pl.col("trades")).alias("trades")
    ratio = bars.with_columns(hole).select(flow.trades_ratio(60)).to_series()
    assert ratio.is_null().to_list() == [i < 59 or 100 <= i < 160 for i in range(200)]
    size = bars.select(flow.trade_size_ratio(60)).to_series().to_numpy()[59:]
    b = bars.to_pandas()
    usual = b.quote_volume.rolling(60).sum() / b.trades.rolling(60).sum()
    theirs = (b.quote_volume / b.trades / usual).to_numpy()[59:]
    known = np.isfinite(theirs)
    np.testing.assert_allclose(size[known], theirs[known], rtol=1e-9)
    none = bars.with_columns(pl.lit(None, pl.Float64).alias("taker_buy_volume"))
    assert none.select(flow.taker_buy_share()).to_series().null_count() == 200


def test_the_calendar_goes_round():
    start = datetime(2024, 4, 30, tzinfo=UTC)
    bars = laws.market(symbols=1, rows=2 * 1_440, start=start - timedelta(minutes=1))
    table = features.evaluate(bars, features.SETS["S2_plus"])
    periods = {"hour": 1_440, "minute": 60, "funding": 480}
    for name, period in periods.items():
        angle = 2 * np.pi * (np.arange(2 * 1_440) % period) / period
        np.testing.assert_allclose(table[f"{name}_sin"], np.sin(angle), atol=1e-12)
        np.testing.assert_allclose(table[f"{name}_cos"], np.cos(angle), atol=1e-12)


# -- the sets -----------------------------------------------------------------------------------


def test_twins_replace_what_is_a_price_or_a_size_and_keep_the_rest():
    for name, twins in (("S1", catalogue.S1_TWINS), ("S4", catalogue.S4_TWINS)):
        plain, chosen = features.SETS[name], features.SETS[f"{name}_stationary"]
        assert chosen.names == [f"{n}_z" if n in twins else n for n in plain.names]
        assert set(twins) <= set(plain.names)
        for kept in set(plain.names) - set(twins):
            assert chosen.columns[kept] is plain.columns[kept]


@pytest.mark.parametrize("name", ["S1_stationary", "S4_stationary"])
def test_a_stationary_set_does_not_know_the_price_or_the_size_of_the_market(name):
    """All prices times 4 and all volumes times 8: powers of two, so not one bit may change.

    S1 adds 1e-10 to two denominators, in units of price and of volume: a trace of both is left.
    """
    bars = laws.market(symbols=1, rows=2_000)
    grown = bars.with_columns(
        *(pl.col(c) * 4 for c in ("open", "high", "low", "close")),
        pl.col("volume") * 8,
        pl.col("trades") * 8,
    )
    chosen = features.SETS[name]
    a, b = (features.evaluate(t, chosen).select(chosen.names) for t in (bars, grown))
    room = 1e-6 if name.startswith("S1") else 1e-12
    for column in chosen.names:
        x, y = a[column].drop_nulls().to_numpy(), b[column].drop_nulls().to_numpy()
        assert np.abs(x - y).max() <= room * max(np.abs(x).max(), 1e-12), column
    plain = features.SETS[name.removesuffix("_stationary")]
    a, b = (features.evaluate(t, plain).select(plain.names) for t in (bars, grown))
    moved = {c for c in plain.names if (a[c] - b[c]).abs().max() > 0.1 * a[c].abs().max()}
    assert moved == {c for c in plain.names if f"{c}_z" in chosen.names}


def test_twins_are_counted_in_their_units():
    bars = laws.market(symbols=1, rows=1_500)
    plain, twin = (features.evaluate(bars, features.SETS[n]) for n in ("S4", "S4_stationary"))
    unit = bars.select(ranges.atr_sma(60)).to_series()
    usual = bars["volume"].rolling_mean(480)
    for column, oracle in {
        "ema_50_z": (bars["close"] - plain["ema_50"]) / unit,
        "bb_upper_z": (bars["close"] - plain["bb_upper"]) / unit,
        "macd_z": plain["macd"] / unit,
        "body_size_z": plain["body_size"] / unit,
        "obv_z": plain["obv"] / usual,
        "volatility_price_ratio_z": plain["volatility_60"] * bars["close"] / unit,
        "transactions_sma_20_z": plain["transactions_sma_20"]
        / bars["trades"].cast(pl.Float64).rolling_mean(480),
    }.items():
        a, b = twin[column].to_numpy()[600:], oracle.to_numpy()[600:]
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9, err_msg=column)


def test_s2_plus_is_s2_and_four_groups():
    s2, plus = features.SETS["S2"], features.SETS["S2_plus"]
    assert plus.names[:18] == s2.names
    assert {f.group for f in list(plus.columns.values())[18:]} == set(PLUS)
    only = features.resolve("S2_plus", groups=dict.fromkeys(PLUS, False))
    assert [f.source for f in only.columns.values()] == [f.source for f in s2.columns.values()]
    assert only.names == s2.names


def test_rules_are_a_set_whose_columns_are_the_rules():
    assert features.SETS["rules"].names == list(rules.COLUMNS)
    assert features.resolve("rules", groups={"trend": False}).names == list(rules.COLUMNS)[1:]


# version 1 of the sets, frozen: another value here needs another version
FROZEN = {
    "S1": {
        "ema_12": 9148.918834202696,
        "ema_26": 9141.548059647737,
        "ema_diff": 7.370774554958189,
        "ema_diff_pct": 0.08062939128978819,
        "rsi": 77.15263257730574,
        "rsi_normalized": 0.5430526515461148,
        "vwap": 9127.288956502432,
        "price_to_vwap": 0.34852674928085303,
        "spread": 0.10284853315282148,
        "spread_ma": 0.10653283630626144,
        "ret_1m": -0.05347010039283839,
        "ret_5m": 0.15900163594531058,
        "ret_15m": 0.2805064444220795,
        "volume_ratio": 1.073463549595457,
        "price_to_ma": 0.17881561108481492,
        "volatility_15m": 0.04442422596789148,
        "volatility_60m": 0.04562675416862151,
        "acceleration": -0.08457973182557366,
        "volume_price_div": 0.01168082456802712,
    },
    "S4": {
        "ema_9": 9151.676695483124,
        "ema_21": 9143.618132428697,
        "ema_50": 9134.01580990155,
        "price_ema9_ratio": 1.000811141473184,
        "price_ema21_ratio": 1.0016931883360696,
        "price_ema50_ratio": 1.0027462389621944,
        "ema9_ema21_cross": 1.0,
        "ema21_ema50_cross": 1.0,
        "rsi": 77.15263257935884,
        "macd": 7.370774554958189,
        "macd_signal": 4.78289467086582,
        "macd_histogram": 2.5878798840923682,
        "roc_5": 0.0015900163594531058,
        "roc_15": 0.002805064444220795,
        "stoch_k": 81.03683492496616,
        "stoch_d": 91.07546091289895,
        "bb_upper": 9162.379318291467,
        "bb_middle": 9140.848000000002,
        "bb_lower": 9119.316681708537,
        "bb_width": 0.004711011120951999,
        "bb_position": 0.9238477122702379,
        "atr": 9.506428571428712,
        "volatility_60": 0.00045626754168621514,
        "atr_price_ratio": 0.0010379216922436387,
        "volatility_price_ratio": 4.981576155803683e-08,
        "volume_sma_20": 10.77995,
        "volume_sma_60": 12.562133333333334,
        "volume_ratio_20": 1.1324727851242353,
        "volume_ratio_60": 0.9718094591152245,
        "volume_delta_20": 1.4280500000000007,
        "volume_delta_60": -0.3541333333333334,
        "vwap": 9139.032174824559,
        "vwap_deviation": 0.0021958370198895683,
        "obv": -316.59900000000016,
        "adx": 18.584679553752924,
        "trend_direction": 1.0,
        "trend_strength": 0.0010512706269609762,
        "body_size": 4.899999999999636,
        "upper_wick": 3.4400000000005093,
        "lower_wick": 1.0799999999999272,
        "total_range": 9.420000000000073,
        "body_ratio": 0.5201698513799998,
        "upper_wick_ratio": 0.3651804670913464,
        "lower_wick_ratio": 0.1146496815286538,
        "candle_type": -1.0,
        "is_doji": 0.0,
        "transactions": 37.0,
        "transactions_sma_20": 32.8,
        "transactions_sma_60": 38.166666666666664,
        "transactions_ratio_20": 1.128048780487805,
        "transactions_ratio_60": 0.9694323144104804,
        "transactions_trend": -0.5052631578947367,
    },
    "S2_plus": {
        "alpha001": 0.0708333333333333,
        "alpha054": -0.11495669032585948,
        "taker_buy_share": 0.44999999999999996,
        "trades_ratio": 0.9694323144104804,
        "trade_size_ratio": 1.0063435133883216,
        "hour_sin": 0.49999999999999994,
        "hour_cos": 0.8660254037844387,
        "minute_sin": 0.0,
        "minute_cos": 1.0,
        "funding_sin": 1.0,
        "funding_cos": 6.123233995736766e-17,
        "parkinson": 0.0006639129136293356,
        "garman_klass": 0.0007277087841628712,
        "rogers_satchell": 0.0007405659025728166,
        "yang_zhang": 0.0007068942931670103,
    },
    "S1_stationary": {
        "ema_12_z": 1.1755185079442287,
        "ema_26_z": 2.0265489380283146,
        "ema_diff_z": 0.8510304300840859,
        "vwap_z": 3.6729065347613696,
    },
    "S4_stationary": {
        "ema_9_z": 0.8570955451884019,
        "ema_21_z": 1.7875381100685048,
        "ema_50_z": 2.8962233112170455,
        "macd_z": 0.8510304300840859,
        "macd_signal_z": 0.5522335377976991,
        "macd_histogram_z": 0.2987968922863868,
        "bb_upper_z": -0.37863044584535127,
        "bb_middle_z": 2.1073779009350866,
        "bb_lower_z": 4.593386247715524,
        "atr_z": 1.0976132746136489,
        "volatility_price_ratio_z": 0.48250779829791685,
        "volume_sma_20_z": 0.6089171042082245,
        "volume_sma_60_z": 0.7095856522535767,
        "volume_delta_20_z": 0.08066494470424775,
        "volume_delta_60_z": -0.020003603341104487,
        "vwap_z": 2.3170332727677896,
        "obv_z": -17.883436034046518,
        "body_size_z": 0.565754531809224,
        "upper_wick_z": 0.39718277335187,
        "lower_wick_z": 0.12469691721509511,
        "total_range_z": 1.087634222376189,
        "transactions_z": 0.6906474820143885,
        "transactions_sma_20_z": 0.6122496597316741,
        "transactions_sma_60_z": 0.7124246548706981,
        "transactions_trend_z": -0.009431316966341577,
    },
}


@pytest.mark.parametrize("name", FROZEN)
def test_version_1_is_frozen(name):
    row = features.evaluate(canonical(3_000, interval=laws.MINUTE), features.SETS[name]).tail(1)
    assert features.SETS[name].version == "1"
    assert {n: row[n][0] for n in FROZEN[name]} == pytest.approx(FROZEN[name], rel=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        averages.ema,
        averages.ema_adjusted,
        averages.close_to_ema,
        bands.bollinger_width,
        ranges.atr_sma,
        ranges.deviation,
        oscillators.rsi_sma,
        oscillators.adx_sma,
        volume.volume_ratio,
        volume.obv_window,
        alphas.alpha001,
        estimators.yang_zhang,
        flow.trades_ratio,
    ],
)
@pytest.mark.parametrize("window", [1, 0, -3, 2.5])
def test_a_window_too_short_is_refused(make, window):
    with pytest.raises(UserError, match="at least 2 bars"):
        make(window)


def test_a_unit_without_range_gives_zero_not_infinity():
    bars = laws.market(symbols=1, rows=61).with_columns(
        pl.lit(5.0).alias(c) for c in ("open", "high", "low", "close")
    )
    assert bars.select(stationary.level(pl.lit(4.0)))[-1].item() == 0.0
