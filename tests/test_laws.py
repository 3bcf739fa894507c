"""Every law on every feature set there is, the user's examples among them; and that laws bite."""

import sys
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.append(str(Path(__file__).resolve().parent))

import laws

from research import features
from research.features.kernels import numpy_expr

OWN = ["my_features:gap_to_vwap", "my_features:surprise", "my_features:trend"]
# a hole of one bar, a long one, and a run between gaps too short for any value
MISSING = (700, *range(2_500, 2_580), *range(2_700, 2_703))


def sets():
    return {**features.SETS, "S2 and own": features.resolve("S2", extra=OWN)}


@cache
def chosen(name):
    return sets()[name]


@pytest.fixture(scope="module")
def market():
    return laws.market(rows=3_600, missing=MISSING)


@pytest.fixture(params=list(sets()))
def feature_set(request):
    return chosen(request.param)


@pytest.fixture
def bars(market, feature_set):
    return laws.beside(market, feature_set)


def test_no_lookahead(feature_set, bars):
    laws.law_no_lookahead(feature_set, bars)


def test_symbols_do_not_mix(feature_set, bars):
    laws.law_symbols_do_not_mix(feature_set, bars)


def test_gap_is_a_start(feature_set, bars):
    laws.law_gap_is_a_start(feature_set, bars)


def test_prefix_stable(feature_set, bars):
    laws.law_prefix_stable(feature_set, bars)


def test_null_is_the_only_unknown(feature_set, bars):
    laws.law_null_is_the_only_unknown(feature_set, bars)


def test_live_is_batch(feature_set, bars):
    """Hundreds of rows: the start, across both midnights, around every gap."""
    numbers = [*range(1, 1_000, 31), *range(1_280, 1_480, 4), *range(2_440, 3_600, 13)]
    moments = [laws.START + k * laws.MINUTE for k in numbers]
    assert laws.law_live_is_batch(feature_set, bars, moments) >= 150


@pytest.mark.parametrize("minutes", [5, 60, 7 * 60])
def test_other_bars(minutes):
    """Windows of several days, and bars that straddle no midnight evenly."""
    interval = timedelta(minutes=minutes)
    bars = laws.market(symbols=1, rows=1_300, interval=interval, missing=(400, 401))
    moments = [laws.START + k * interval for k in (*range(380, 420, 9), *range(780, 1_300, 40))]
    laws.law_live_is_batch(chosen("S2"), bars, moments, interval=interval)
    laws.law_gap_is_a_start(chosen("S2"), bars, interval=interval)
    laws.law_no_lookahead(chosen("S2"), bars, interval=interval)


def only(name, expr):
    return features.FeatureSet(name, "0", {name: features.Feature(expr, "test", name)})


def unsteady(close):
    return close + 1e-12 * (len(close) % 7)  # the same to 1e-9, but not to the bit


def test_no_lookahead_bites(market):
    for peek in (pl.col("close").shift(-1), pl.col("close").reverse().shift(1).reverse()):
        with pytest.raises(AssertionError, match=r"sees|needs"):
            laws.law_no_lookahead(only("peek", peek.fill_null(0.0)), market)


def test_a_law_that_proves_nothing_says_so(market):
    hour = pl.col("time").dt.hour().cast(pl.Float64)
    with pytest.raises(AssertionError, match="proves nothing"):
        laws.law_no_lookahead(only("hour", hour), market)
    with pytest.raises(AssertionError, match="proves nothing"):
        laws.law_gap_is_a_start(chosen("S2"), market.head(600))


def test_prefix_and_live_bite(market):
    tail = only("unsteady", numpy_expr(unsteady, "close"))
    with pytest.raises(AssertionError):
        laws.law_prefix_stable(tail, market)
    with pytest.raises(AssertionError, match="live differs"):
        laws.law_live_is_batch(tail, market, [laws.START + 1_000 * laws.MINUTE])


def test_mixing_bites(market):
    calls = []

    def count(close):
        calls.append(1)
        return close + 1e-10 * len(calls)

    mixed = only("mixed", numpy_expr(count, "close"))
    with pytest.raises(AssertionError, match="differs"):
        laws.law_symbols_do_not_mix(mixed, market)


def test_nan_bites(market):
    hole = only("hole", pl.when(pl.col("volume") > 0).then(1.0).otherwise(np.inf))
    with pytest.raises(AssertionError):
        laws.law_null_is_the_only_unknown(hole, market)


def test_gap_bites(market, monkeypatch):
    """One pass over everything, gaps ignored, breaks the law."""

    def careless(table, feature_set, *, interval):
        values = features.evaluate(table, feature_set)
        return values.with_columns(sigma=pl.lit(None, pl.Float64))

    monkeypatch.setattr(features, "build", careless)
    with pytest.raises(AssertionError):
        laws.law_gap_is_a_start(chosen("S2"), market)
