"""Differences over a window: batch is streaming, a value arrives at once, the future never does."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.features import fracdiff
from research.features.fracdiff import window


def walk(rows, seed=0):
    return np.log(60_000.0) + np.cumsum(np.random.default_rng(seed).standard_normal(rows) * 1e-3)


def slowly(series, weight):
    """The sum as it is written, one value after the other."""
    size = len(weight)
    sums = [
        float(np.sum(weight * series[t - size + 1 : t + 1][::-1]))
        for t in range(size - 1, len(series))
    ]
    return np.array([np.nan] * min(size - 1, len(series)) + sums)


def streamed(series, d, **options):
    live = fracdiff.stream(d, **options)
    return np.array([live.update(value) for value in series])


def same(a, b, within=0.0):
    return np.allclose(a, b, rtol=0.0, atol=within, equal_nan=True)


def test_an_impulse_arrives_at_once_with_weight_one():
    """S3's batch version reversed time: an impulse arrived 1,457 bars late."""
    weight = fracdiff.weights(0.4, 1e-5)
    series = np.zeros(4_000)
    series[2_000] = 1.0
    response = np.concatenate([np.zeros(2_000), weight, np.zeros(4_000 - 2_000 - len(weight))])
    response[: len(weight) - 1] = np.nan
    for way in (fracdiff.ffd, fracdiff.ffd_exact, streamed):
        assert same(way(series, 0.4, threshold=1e-5), response, 1e-15), way


def test_batch_and_streaming_agree_on_a_walk():
    """In S3 they were correlated at -0.2."""
    series = walk(3_000)
    batch = fracdiff.ffd(series, 0.4, threshold=1e-5)
    live = streamed(series, 0.4, threshold=1e-5)
    assert same(batch, live, 1e-12)
    assert np.array_equal(fracdiff.ffd_exact(series, 0.4, threshold=1e-5), live, equal_nan=True)
    assert same(batch, slowly(series, fracdiff.weights(0.4, 1e-5)), 1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(0, 2),
    st.sampled_from([1e-2, 1e-3, 1e-4]),
    st.integers(1, 1_200),
    st.booleans(),
    st.lists(st.integers(0, 1_199), max_size=3),
)
def test_all_ways_agree(seed, d, threshold, rows, balanced, gaps):
    series = walk(rows, seed)
    series[[gap for gap in gaps if gap < rows]] = np.nan
    options = {
        "threshold": threshold,
        "balanced": balanced,
        "level": series[0] if seed % 2 else 1.5,
    }
    if np.isnan(options["level"]):
        options["level"] = 0.0
    exact = fracdiff.ffd_exact(series, d, **options)
    assert np.array_equal(exact, streamed(series, d, **options), equal_nan=True)
    assert same(fracdiff.ffd(series, d, **options), exact, 1e-12)
    plain = slowly(series - options["level"], fracdiff.weights(d, threshold, balanced=balanced))
    assert same(exact, plain, 1e-12)


@pytest.mark.parametrize("way", [fracdiff.ffd, fracdiff.ffd_exact])
def test_whole_orders(way):
    series = walk(100)
    assert np.array_equal(way(series, 0.0), series)
    assert np.array_equal(way(series, 1.0)[1:], np.diff(series))
    assert np.isnan(way(series, 1.0)[0])


def test_a_long_series_in_many_blocks():
    series = walk(200_000)
    found = fracdiff.ffd(series, 0.4, threshold=1e-3)
    wanted = np.convolve(series, fracdiff.weights(0.4, 1e-3), "valid")
    assert same(found[54:], wanted, 1e-12)


def test_unknown_until_the_window_is_full_and_again_after_a_gap():
    series = walk(900)
    series[400] = np.nan
    series[850] = np.inf  # no time to fill it again
    for way in (fracdiff.ffd, fracdiff.ffd_exact, streamed):
        known = np.flatnonzero(np.isfinite(way(series, 0.4)))
        assert known.tolist() == [*range(281, 400), *range(682, 850)], way


def test_later_values_change_nothing():
    series = walk(4_000)
    bent = np.append(series[:2_500], series[2_500:] * 1.7 - 3.0)
    exact = [fracdiff.ffd_exact(x, 0.4)[:2_500] for x in (series, bent, series[:2_500])]
    assert np.array_equal(exact[0], exact[1], equal_nan=True)
    assert np.array_equal(exact[0], exact[2], equal_nan=True)
    fast = [fracdiff.ffd(x, 0.4)[:2_500] for x in (series, bent)]
    assert same(*fast, 1e-12)


def test_where_a_series_begins_changes_no_bit():
    series = walk(1_000)
    whole, late = fracdiff.ffd_exact(series, 0.4), fracdiff.ffd_exact(series[123:], 0.4)
    assert np.array_equal(whole[123 + 281 :], late[281:])


def test_a_level_is_subtracted_and_balance_makes_it_of_no_account():
    series, weight = walk(600), fracdiff.weights(0.4)
    plain, less = (fracdiff.ffd(series, 0.4, level=level) for level in (0.0, series[0]))
    assert same(plain - less, np.where(np.isnan(plain), np.nan, weight.sum() * series[0]), 1e-12)
    balanced = [fracdiff.ffd_exact(series + up, 0.4, balanced=True) for up in (0.0, 5.0)]
    assert same(*balanced, 1e-12)


@pytest.mark.parametrize("kind", [list, pl.Series, pd.Series])
def test_any_kind_of_series(kind):
    series = walk(400)
    assert np.array_equal(
        fracdiff.ffd(kind(series), 0.4), fracdiff.ffd(series, 0.4), equal_nan=True
    )


def test_null_is_a_gap():
    series = pl.Series([1.0, None, 2.0, 4.0])
    assert np.array_equal(fracdiff.ffd(series, 1.0), [np.nan, np.nan, np.nan, 2.0], equal_nan=True)


def test_what_is_no_series_is_refused():
    with pytest.raises(UserError, match="one series"):
        fracdiff.ffd(np.zeros((10, 2)), 0.4)
    with pytest.raises(UserError, match="needs a series of numbers: could not convert"):
        fracdiff.ffd(["a", "b"], 0.4)


def test_the_step_runs_uncompiled_with_the_same_bits():
    series = walk(300)
    state, rules = window._start(0.4, 1e-3, 0.0, False)
    plain, found = window.step.py_func, []
    for value in series:
        state, said = plain(state, (value,), rules)
        found.append(said)
    assert np.array_equal(fracdiff.ffd_exact(series, 0.4, threshold=1e-3), found, equal_nan=True)
