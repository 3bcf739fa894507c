"""The rule baselines against a plain pandas reading of each, the future, and their memory."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))

import laws

from research import features
from research.errors import UserError
from research.features import rules
from research.features.sets import Feature, FeatureSet
from research.features.warmup import by_column

SIDES = FeatureSet("rules", "1", {n: Feature(f(*p), n, n) for n, (f, p) in rules.COLUMNS.items()})


def plain_sigma(close, n):
    return np.sqrt((close.pct_change() ** 2).rolling(n).mean())


def plain_trend(bars, fast=60, slow=240, band=0.5):
    close = bars["close"]
    apart = close.rolling(fast).mean() / close.rolling(slow).mean() - 1
    spread = plain_sigma(close, slow) * np.sqrt(slow / 3) * (1 - fast / slow)
    return apart / spread, -band, band


def plain_reversion(bars, window=60, strength=14):
    close = bars["close"]
    change = close.diff()
    up, down = change.clip(lower=0), -change.clip(upper=0)
    # Wilder: the mean of the first n changes, then 1/n of each new one
    rise, fall = ([np.nan] * len(close) for _ in "ab")
    rise[strength], fall[strength] = up[1 : strength + 1].mean(), down[1 : strength + 1].mean()
    for i in range(strength + 1, len(close)):
        rise[i] = rise[i - 1] + (up[i] - rise[i - 1]) / strength
        fall[i] = fall[i - 1] + (down[i] - fall[i - 1]) / strength
    strong = 100 * pd.Series(rise) / (pd.Series(rise) + pd.Series(fall))
    middle, spread = close.rolling(window).mean(), close.rolling(window).std(ddof=0)
    side = pd.Series(0.0, index=close.index)
    side[(close < middle - 2 * spread) & (strong <= 30)] = 1
    side[(close > middle + 2 * spread) & (strong >= 70)] = -1
    return side


def plain_momentum(bars, n=60):
    close = bars["close"]
    macd = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
    pace = macd - macd.ewm(span=9, adjust=False).mean()
    z = (close / close.shift(n) - 1) / (plain_sigma(close, n) * np.sqrt(n))
    return np.where((z > 1) & (pace > 0), 1.0, np.where((z < -1) & (pace < 0), -1.0, 0.0))


def plain_breakout(bars, n=240):
    side = [0.0] * len(bars)
    for i in range(n, len(bars)):
        before = bars.iloc[i - n : i]
        if bars["close"][i] > before["high"].max():
            side[i] = 1.0
        if bars["close"][i] < before["low"].min():
            side[i] = -1.0
    return np.array(side)


@pytest.fixture(scope="module")
def bars():
    return laws.market(symbols=1, rows=4_000)


@pytest.fixture(scope="module")
def sides(bars):
    return features.evaluate(bars, SIDES)


def test_every_rule_takes_both_sides_and_none(sides):
    for name in SIDES.names:
        assert set(sides[name].drop_nulls().unique()) == {-1.0, 0.0, 1.0}
        assert sides.schema[name] == pl.Float64


def test_trend_is_the_plain_reading(bars, sides):
    z, low, high = plain_trend(bars.to_pandas())
    plain = np.where(z > high, 1.0, np.where(z < low, -1.0, 0.0))
    assert sides["trend"].null_count() == 240
    np.testing.assert_array_equal(sides["trend"][240:].to_numpy(), plain[240:])


def test_trends_band_is_in_standard_deviations_of_a_random_walk():
    close = 1e4 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 1e-5, 300_000)))
    walk = pl.DataFrame({"close": close})
    for fast, slow in ((60, 240), (2, 50)):
        inside = (walk.select(rules.trend(fast, slow, band=1.0)).to_series() == 0).mean()
        assert inside == pytest.approx(0.6827, abs=0.03)  # a normal variable within one


@pytest.mark.parametrize(
    ("name", "plain", "first"),
    [
        ("mean_reversion", plain_reversion, 294),
        ("momentum", plain_momentum, 385),
        ("breakout", plain_breakout, 240),
    ],
)
def test_the_others_are_the_plain_reading(bars, sides, name, plain, first):
    frame = bars.to_pandas()
    assert sides[name].null_count() == first
    np.testing.assert_array_equal(sides[name][first:].to_numpy(), np.asarray(plain(frame))[first:])


def test_no_rule_sees_the_future(bars):
    verdict = features.causality(bars, SIDES, interval=laws.MINUTE)
    assert verdict["causal"].all()
    assert (verdict["moved"] > 0).all()


def test_a_prefix_gives_the_same_values_bit_for_bit(bars, sides):
    for rows in (1, 2, 100, 386, 2_001):
        assert features.evaluate(bars.head(rows), SIDES).equals(sides.head(rows))


def test_rules_forget_where_they_began():
    needed = by_column(SIDES, interval=laws.MINUTE)
    assert needed == {"trend": 240, "mean_reversion": 294, "momentum": 385, "breakout": 240}


def test_no_side_where_nothing_moves():
    falls = np.concatenate([100.0 - np.arange(500) % 50 * 0.1, np.full(1_500, 80.0)])
    flat = pl.DataFrame(dict.fromkeys(("open", "high", "low", "close"), falls))
    still = flat.select(SIDES.exprs).tail(1_200)
    assert still.null_count().sum_horizontal().item() == 0
    assert still.unique().rows() == [(0.0,) * 4]


def test_build_and_latest_agree():
    bars = laws.market(symbols=2, rows=4_500)
    moments = [bars["time"][k] for k in (3_000, 3_500, 4_499)]
    assert laws.law_live_is_batch(SIDES, bars, moments) > 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: rules.trend(1, 10), "at least 2 bars, found 1"),
        (lambda: rules.trend(20, 20), "the fast mean must be over fewer bars"),
        (lambda: rules.trend(2, 4, band=-0.1), "trend: band must not be below zero, found -0.1"),
        (lambda: rules.mean_reversion(20, 1), "at least 2 bars, found 1"),
        (lambda: rules.mean_reversion(width=float("nan")), "width must not be below zero"),
        (lambda: rules.mean_reversion(extreme=70), "extreme must lie between 0 and 50, found 70"),
        (lambda: rules.momentum(1), "at least 2 bars, found 1"),
        (lambda: rules.breakout(2.5), "found 2.5"),
    ],
)
def test_mistakes_are_named(call, says):
    with pytest.raises(UserError, match="must") as error:
        call()
    assert says in str(error.value) and "\n" not in str(error.value)
