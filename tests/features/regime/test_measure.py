"""Dimension and regime: streaming is batch, only the window counts, walks are left in peace."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.features import regime
from research.features.regime import stepping
from research.features.regime.null import dimensions_of

FORMULAS = regime.FORMULAS


def walk(rows, seed=0):
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).standard_normal(rows) * 1e-3))


def streamed(series, formula, **options):
    live = regime.stream(formula, **options)
    return np.array([live.update(value) for value in series])


def equal(a, b):
    return np.array_equal(a, b, equal_nan=True)


def slowly(window, formula, lags):
    """Each formula once more, in numpy, as it is written."""
    n, low, high = len(window), window.min(), window.max()
    moves = np.abs(np.diff(window))
    unit = np.hypot(np.diff(window) / (high - low), 1 / (n - 1)).sum()
    if formula == "madogram":
        sizes = [np.abs(window[k:] - window[:-k]).mean() for k in range(1, lags + 1)]
        return 2 - np.polyfit(np.log(range(1, lags + 1)), np.log(sizes), 1)[0]
    if formula == "higuchi":
        lengths = []
        for k in range(1, lags + 1):
            parts = [np.abs(np.diff(window[m::k])) for m in range(k)]
            lengths.append(np.mean([p.sum() * (n - 1) / (len(p) * k * k) for p in parts]))
        return -np.polyfit(np.log(range(1, lags + 1)), np.log(lengths), 1)[0]
    if formula == "trading":
        return 1 + (np.log(unit) + np.log(2)) / np.log(2 * (n - 1))
    if formula == "sevcik":
        return 1 + np.log(unit) / np.log(2 * (n - 1))
    if formula == "seed":
        scaled = (window - low) / (high - low)
        straight = np.hypot(1 / (n - 1), scaled[-1] - scaled[0])
        ratio = np.abs(np.diff(scaled)).sum() / straight
        return np.clip(1 + np.log(ratio) / np.log(2 * (n - 1)), 1, 2)
    if formula == "katz":
        furthest = np.abs(window - window[0]).max()
        return np.log(n - 1) / (np.log(n - 1) + np.log(furthest / moves.sum()))
    halves = np.ptp(window[: n // 2]) + np.ptp(window[n // 2 :])
    return np.log2(halves / (n / 2) / ((high - low) / n))


@pytest.mark.parametrize("formula", FORMULAS)
def test_each_formula_by_another_way(formula):
    series = walk(120)
    for window in (20, 58):
        of = stepping.method(formula, window)
        found = regime.dimension(series, formula, window=window)
        wanted = [
            slowly(series[t - window + 1 : t + 1], formula, of.lags) for t in range(window - 1, 120)
        ]
        assert np.isnan(found[: window - 1]).all()
        assert found[window - 1 :] == pytest.approx(wanted, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(FORMULAS),
    st.sampled_from([16, 30, 31, 32, 33, 64, 100]),
    st.integers(1, 260),
    st.lists(st.integers(0, 259), max_size=2),
    st.floats(0, 1),
)
def test_batch_is_streaming_and_the_window_alone_counts(seed, formula, window, rows, gaps, still):
    window += formula == "frama" and window % 2
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random(rows) < still, 0.0, rng.standard_normal(rows))
    series = 100 + np.cumsum(steps * 10.0 ** rng.integers(-6, 6))
    series[[gap for gap in gaps if gap < rows]] = np.nan
    found = regime.dimension(series, formula, window=window)
    assert equal(found, streamed(series, formula, window=window))
    for t in range(window - 1, rows, 17):
        alone = regime.dimension(series[t - window + 1 : t + 1], formula, window=window)
        assert equal(found[t], alone[-1])
    assert not np.isinf(found).any()


def test_the_madogram_kept_in_sums_is_that_of_each_window():
    series = walk(5_000)
    for window in (10, 63, 64, 65, 240):
        kept = regime.dimension(series, window=window)[window - 1 :]
        windows = np.lib.stride_tricks.sliding_window_view(series, window)
        afresh = dimensions_of(windows, stepping.method("madogram", window))
        assert np.abs(kept - afresh).max() < 1e-12


def test_a_spike_that_left_the_window_leaves_nothing_behind():
    series = walk(400)
    spiked = series.copy()
    spiked[100] = 1e15
    plain, bent = (regime.dimension(x, window=30) for x in (series, spiked))
    assert equal(plain[130:], bent[130:])


@pytest.mark.parametrize("formula", FORMULAS)
def test_later_values_change_nothing(formula):
    series = walk(300)
    bent = np.append(series[:200], series[200:] * 3.0)
    plain, other = (regime.dimension(x, formula, window=30) for x in (series, bent))
    assert equal(plain[:200], other[:200]) and not equal(plain, other)


@pytest.mark.parametrize("formula", FORMULAS)
def test_unknown_until_full_after_a_gap_and_where_nothing_moves(formula):
    series = walk(200)
    series[60] = np.nan
    series[120:170] = series[119]
    known = np.flatnonzero(np.isfinite(regime.dimension(series, formula, window=30)))
    assert known[0] == 29 and known[known > 59][0] == 90
    assert not set(known) & set(range(148, 170))
    assert 199 in known


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_unit_of_a_price_does_not_matter(formula):
    series = walk(200)
    plain, other = (regime.dimension(x, formula, window=30) for x in (series, series * 1e6))
    assert other[29:] == pytest.approx(plain[29:], abs=1e-6)


@pytest.mark.parametrize("formula", FORMULAS)
def test_walks_are_called_walks_but_for_a_window_in_twenty(formula):
    rng = np.random.default_rng(99)
    windows = np.cumsum(rng.standard_normal((2_000, 60)), axis=1)
    walk_of = regime.null(formula, window=60)
    z = walk_of.z(dimensions_of(windows, stepping.method(formula, 60)))
    assert abs(z.mean()) < 0.1 and abs(z.std() - 1) < 0.1
    assert 0.01 < (np.abs(z) > 2).mean() < 0.07


def test_the_trading_formula_takes_walks_for_trends():
    """Below 1.5 more often than not, which is why each formula is held against its own null."""
    rng = np.random.default_rng(5)
    windows = np.cumsum(rng.standard_normal((2_000, 30)), axis=1)
    found = dimensions_of(windows, stepping.method("trading", 30))
    assert 0.55 < (found < 1.5).mean() < 0.68


def uneven(rng, shape):
    """Steps of a random walk with heavy tails and volatility that comes and goes."""
    steps = rng.standard_t(4, shape)
    return steps * np.exp(np.sin(np.arange(shape[-1]) / 50))


def test_walks_of_uneven_steps_are_held_against_their_own_kind():
    """A Gaussian null calls a sixth of them trends; one of their own steps does not."""
    rng = np.random.default_rng(21)
    windows = np.cumsum(uneven(rng, (2_000, 240)), axis=1)
    found = dimensions_of(windows, stepping.method("madogram", 240))
    gaussian = regime.null(window=240).z(found)
    own = regime.null(window=240, steps=uneven(rng, (1, 50_000))[0]).z(found)
    assert (gaussian < -2).mean() > 0.1
    assert (own < -2).mean() < 0.05 and abs(own.mean()) < 0.2


def test_the_null_of_gaussian_steps_is_the_gaussian_null():
    steps = np.random.default_rng(8).standard_normal(20_000)
    own, gaussian = regime.null(window=60, steps=steps), regime.null(window=60)
    assert abs(own.centre - gaussian.centre) < 4 * gaussian.spread / 4_000**0.5
    assert own.spread == pytest.approx(gaussian.spread, rel=0.06)
    trend = regime.null(window=60, steps=steps + 5.0)  # steps of a sure direction have none left
    assert trend.centre > 1.4


def test_steps_of_a_null_that_are_refused():
    for steps, message in (
        (np.ones(149), "needs 150 steps, 5 windows of them, found 149"),
        (np.zeros(150), "must be known, and not all zero"),
        (np.full(150, np.nan), "must be known"),
    ):
        with pytest.raises(UserError, match=message):
            regime.regime(walk(50), steps=steps)


def test_trends_and_returns_are_told():
    rng = np.random.default_rng(3)
    trend = np.cumsum(0.5 + rng.standard_normal(500))
    noise = rng.standard_normal(500)
    called = [regime.regime(x, window=120)["regime"].drop_nulls() for x in (trend, noise)]
    assert (called[0] == "trending").mean() > 0.3 and not (called[0] == "mean reverting").any()
    assert (called[1] == "mean reverting").all()


def test_the_table_of_a_regime():
    series = walk(400)
    table = regime.regime(series, "trading", window=30)
    of = regime.null("trading", window=30)
    found = regime.dimension(series, "trading", window=30)
    assert equal(table["fdi"].fill_null(np.nan).to_numpy(), found)
    assert table["z"].drop_nulls().to_list() == of.z(found[29:]).tolist()
    assert table["regime"].to_list() == [of.regime(value) for value in found]
    assert table.null_count().row(0) == (29, 29, 29)


def test_the_null_is_the_same_in_every_process():
    found = regime.null("madogram", window=30)
    assert (found.centre, found.spread) == pytest.approx((1.51706, 0.146753), abs=5e-6)
    assert regime.null("madogram", window=30) is found
    assert found.regime(None) is None and found.regime(float("nan")) is None


@pytest.mark.parametrize("kind", [list, pl.Series, pd.Series])
def test_any_kind_of_series(kind):
    series = walk(50)
    assert equal(regime.dimension(kind(series)), regime.dimension(series))


@pytest.mark.parametrize(
    ("formula", "options", "message"),
    [
        ("madogramm", {}, r"no formula 'madogramm'. Did you mean 'madogram'\?"),
        (
            "madogram",
            {"window": 9},
            "madogram must be a whole number of at least 10 values, found 9",
        ),
        ("higuchi", {"window": 15}, "at least 16 values, found 15"),
        ("madogram", {"window": 30, "lags": 16}, "at least 32 values, found 30"),
        ("madogram", {"window": 30.0}, "whole number of at least 10 values, found 30.0"),
        ("madogram", {"lags": 1}, "lags of madogram must be a whole number of at least 2, found 1"),
        ("frama", {"window": 31}, "window of frama must be even, found 31"),
    ],
)
def test_what_is_refused(formula, options, message):
    for ask in (regime.stream, regime.null, regime.fdi if options.get("window") else regime.null):
        with pytest.raises(UserError, match=message):
            ask(formula=formula, **options)
    with pytest.raises(UserError, match=message):
        regime.dimension(walk(50), formula, **options)


def test_a_table_is_refused():
    with pytest.raises(UserError, match="one series"):
        regime.dimension(np.zeros((40, 2)))


@pytest.mark.parametrize("formula", ["madogram", "seed"])
def test_the_step_runs_uncompiled_with_the_same_bits(formula):
    series = walk(60)
    step, state, rules = stepping.machine(stepping.method(formula, 20))
    found = []
    for value in series:
        state, said = step.py_func(state, (value,), rules)
        found.append(said)
    assert equal(regime.dimension(series, formula, window=20), found)
