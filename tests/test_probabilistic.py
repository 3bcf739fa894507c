"""The Sharpe ratio's surety: published numbers, scipy, statsmodels, and simulation."""

import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.signal import lfilter
from statsmodels.stats.sandwich_covariance import S_hac_simple

from research import performance
from research.errors import UserError
from research.performance import (
    Sample,
    deflation,
    dsr,
    effective_n,
    expected_maximum,
    min_backtest_length,
    min_track_record,
    psr,
    sample,
)

YEAR_OF_DAYS = math.sqrt(250)
SPREAD = math.sqrt(0.5 / 250)


# published numbers


@pytest.mark.parametrize(
    ("ratio", "skew", "kurtosis", "sure"),
    [
        (0.458, -2.448, 10.164, 0.9134),
        (0.036 / 0.079, -2.448, 10.164, 0.9127),
        (0.458, 0, 3, 0.9817),
        (0.036 / 0.079, 0, 3, 0.9812),
    ],
)
def test_psr_of_the_published_fund(ratio, skew, kurtosis, sure):
    assert psr(Sample(ratio, 24, skew, kurtosis)) == pytest.approx(sure, abs=5e-5)


@pytest.mark.parametrize(
    ("periods", "skew", "kurtosis", "years"),
    [(252, 0, 3, 2.731), (52, 0, 3, 2.829), (12, 0, 3, 3.240), (12, -0.72, 5.78, 4.991)],
)
def test_track_record_of_two_against_one(periods, skew, kurtosis, years):
    seen = Sample(2 / math.sqrt(periods), 100, skew, kurtosis)
    found = min_track_record(seen, benchmark=1 / math.sqrt(periods))
    assert found / periods == pytest.approx(years, abs=5e-4)


@pytest.mark.parametrize(
    ("skew", "kurtosis", "trials", "sure"),
    [(-3, 10, 100, 0.90040), (-3, 10, 46, 0.95050), (0, 3, 100, 0.94277), (0, 3, 88, 0.95049)],
)
def test_dsr_of_the_published_strategy(skew, kurtosis, trials, sure):
    seen = Sample(2.5 / YEAR_OF_DAYS, 1250, skew, kurtosis)
    assert dsr(seen, trials=trials, spread=SPREAD) == pytest.approx(sure, abs=5e-6)


def test_hurdle_of_a_hundred_trials():
    hurdle = expected_maximum(100, spread=SPREAD)
    assert hurdle == pytest.approx(0.11317, abs=5e-6)
    assert hurdle * YEAR_OF_DAYS == pytest.approx(1.7894, abs=5e-5)


@pytest.mark.parametrize(
    ("trials", "formula", "exact"),
    [(10, 1.5746, 1.5388), (100, 2.5306, 2.5076), (1000, 3.2551, 3.2414)],
)
def test_expected_maximum_beside_the_exact_one(trials, formula, exact):
    assert expected_maximum(trials) == pytest.approx(formula, abs=5e-5)

    def density(x):
        return x * trials * stats.norm.pdf(x) * stats.norm.cdf(x) ** (trials - 1)

    assert integrate.quad(density, -8, 9)[0] == pytest.approx(exact, abs=5e-5)


@pytest.mark.parametrize(("trials", "years"), [(45, 4.998), (7, 1.923), (100, 6.404)])
def test_shortest_backtest(trials, years):
    found = min_backtest_length(trials)
    assert found == pytest.approx(years, abs=5e-4)
    assert found < 2 * math.log(trials)
    assert min_backtest_length(trials, sharpe=2) == pytest.approx(found / 4)


def test_at_most_45_trials_in_five_years():
    assert min_backtest_length(45) < 5 < min_backtest_length(46)


# moments


def test_moments_are_scipys_in_any_container():
    values = np.random.default_rng(0).standard_t(5, 400) * 0.01 + 0.001
    found = sample(values, lags=0)
    assert found.sharpe == pytest.approx(values.mean() / values.std(ddof=1))
    assert found.skew == pytest.approx(stats.skew(values))
    assert found.kurtosis == pytest.approx(stats.kurtosis(values, fisher=False))
    assert found.n == 400
    for other in (pl.Series(values), pd.Series(values), values.tolist()):
        assert sample(other, lags=0) == found
    year = performance.sharpe(values, step=performance.curve.HOUR)
    assert found.sharpe * math.sqrt(365 * 24) == pytest.approx(year)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-0.5, 0.5), min_size=10, max_size=60), st.floats(0.1, 9), st.floats(-0.2, 1)
)
def test_only_the_shape_of_returns_counts(returns, scale, benchmark):
    values = np.array(returns)
    assume(values.std() > 1e-3)
    one, other = sample(values, lags=3), sample(values * scale, lags=3)
    assert other.sharpe == pytest.approx(one.sharpe, rel=1e-9, abs=1e-9)
    assert other.error == pytest.approx(one.error, rel=1e-6, abs=1e-6)
    sure = psr(one, benchmark=benchmark)
    assert 0 <= sure <= 1
    assert psr(one, benchmark=benchmark + 0.1) <= sure


@settings(max_examples=60, deadline=None)
@given(st.floats(1, 1e6), st.floats(1, 1e6), st.floats(0, 1))
def test_more_trials_never_help(few, many, spread):
    few, many = sorted((few, many))
    seen = Sample(0.1, 500, -0.5, 6)
    low, high = (expected_maximum(n, spread=spread) for n in (few, many))
    assert 0 <= low <= high
    assert dsr(seen, trials=many, spread=spread) <= dsr(seen, trials=few, spread=spread)


def test_psr_and_track_record_are_one_statement():
    """After exactly the shortest track record the probability is the level asked for."""
    seen = Sample(0.12, 400, -1.0, 8.0)
    n = min_track_record(seen, benchmark=0.02, level=0.9)
    assert psr(Sample(0.12, n, -1.0, 8.0), benchmark=0.02) == pytest.approx(0.9)
    assert min_track_record(seen, benchmark=0.12) is None
    low, high = seen.interval()
    assert psr(seen, benchmark=low) == pytest.approx(0.975)
    assert psr(seen, benchmark=high) == pytest.approx(0.025)


def test_track_record_of_a_series_is_in_its_own_periods():
    noise = np.random.default_rng(1).normal(0.2, 1, 1000)
    doubled = np.repeat(noise, 2)
    once, twice = min_track_record(noise), min_track_record(doubled)
    assert twice == pytest.approx(2 * once, rel=0.15)


def test_deflation_is_dsr_trial_by_trial():
    values = np.random.default_rng(2).normal(0.1, 1, 500)
    table = deflation(values, trials=[1, 5, 50], spread=0.05)
    assert table["dsr"].to_list() == [dsr(values, trials=n, spread=0.05) for n in (1, 5, 50)]
    assert table["hurdle"][0] == 0 and table["dsr"][0] == psr(values)


# returns that hang together


def test_effective_n_is_statsmodels_long_run_variance():
    values = lfilter([1], [1, -0.5], np.random.default_rng(3).normal(0.1, 1, 800))
    z = (values - values.mean()) / values.std()
    felt = z - 0.5 * values.mean() / values.std() * (z**2 - 1)
    for lags in (0, 4, 25):
        peer = S_hac_simple((felt - felt.mean())[:, None], nlags=lags)[0, 0] / 800
        assert effective_n(values, lags=lags) == pytest.approx(800 * felt.var() / peer, rel=1e-6)
    assert effective_n(values, lags=0) == 800


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7])
def test_effective_n_of_an_autoregression(rho):
    """Known: (1 - rho) / (1 + rho) of the periods, where the mean is small."""
    rng = np.random.default_rng(4)
    made = (lfilter([1], [1, -rho], rng.normal(size=4000)) for _ in range(20))
    share = np.mean([effective_n(values) / 4000 for values in made])
    assert share == pytest.approx((1 - rho) / (1 + rho), abs=0.06)


def test_returns_that_turn_back_earn_no_credit():
    back = lfilter([1, -0.9], [1], np.random.default_rng(5).normal(size=500))
    assert effective_n(back) == 500


def test_a_sure_psr_is_as_rare_as_it_says():
    """Returns of AR(.6) without a mean: 5 % at 0.95; taken as independent, three times as many."""
    rng = np.random.default_rng(6)
    made = [lfilter([1], [1, -0.6], rng.standard_t(5, 500)) for _ in range(600)]
    honest = np.mean([psr(values) > 0.95 for values in made])
    naive = np.mean([psr(sample(values, lags=0)) > 0.95 for values in made])
    assert 0.03 <= honest <= 0.085
    assert naive > 0.15


def test_the_error_is_that_of_simulation():
    """Skewed, fat returns: the ratio's spread over samples, and the error each one states."""
    rng = np.random.default_rng(7)
    drawn = 0.4 - rng.gamma(2.0, 1.0, (4000, 300)) / math.sqrt(2) + math.sqrt(2)
    ratios = drawn.mean(axis=1) / drawn.std(axis=1, ddof=1)
    stated = np.mean([sample(values, lags=0).error for values in drawn[:300]])
    assert stated == pytest.approx(ratios.std(), rel=0.06)
    assert stats.skew(drawn[0]) < -0.8  # a normal's error would be far off
    assert Sample(ratios.mean(), 300).error < 0.9 * ratios.std()


# mistakes


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        ([0.1] * 9, "needs 10 or more returns, found 9. Take a longer span."),
        ([0.1] * 20, "the returns are all 0.1: nothing moved"),
        ([0.0] * 20, "the returns are all 0: nothing moved"),
        ([0.1, 0.2, math.nan] + [0.1] * 9, "row 2 of the returns is not a number"),
        (pl.Series([0.1, None] + [0.2] * 9), "row 1 of the returns is not a number"),
        (np.ones((20, 2)), r"found an array of shape \(20, 2\). Hand in one column"),
    ],
)
def test_bad_returns_are_named(returns, says):
    with pytest.raises(UserError, match=says):
        psr(returns)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Sample(0.1, 100, -2, 1.0), "Kurtosis is raw here: 3 for normal returns"),
        (lambda: Sample(0.1, 1), "needs 2 or more periods, found 1"),
        (lambda: Sample(math.nan, 10), "every moment must be a number"),
        (lambda: expected_maximum(0.5), "trials must be at least 1"),
        (lambda: expected_maximum(10, spread=-1), "spread at least 0"),
        (lambda: expected_maximum(math.inf), "trials must be at least 1"),
        (lambda: min_track_record(Sample(0.1, 10), level=1.0), "level must be above 0.5"),
        (lambda: min_backtest_length(10, sharpe=0), "sharpe must be above 0"),
        (lambda: effective_n(np.arange(12.0), lags=12), "lags must be from 0 to 11"),
    ],
)
def test_what_cannot_be_is_refused(call, says):
    with pytest.raises(UserError, match=says):
        call()
