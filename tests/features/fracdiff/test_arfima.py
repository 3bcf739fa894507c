"""Fractional noise: its moments, its inverse, and what is estimated of its memory."""

import numpy as np
import pytest

from research.errors import UserError
from research.features import fracdiff


def test_the_moments_of_fractional_noise():
    variances = [fracdiff.autocovariance(d, 0)[0] for d in (0.0, 0.2, 0.4)]
    assert variances == pytest.approx([1.0, 1.09869, 2.07010], abs=5e-6)
    covariance = fracdiff.autocovariance(0.4, 2)
    assert (covariance[1:] / covariance[0]).tolist() == pytest.approx([0.6667, 0.58333], abs=5e-5)
    assert fracdiff.autocovariance(0.0, 3).tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("d", [-0.4, 0.2, 0.3])
def test_the_moments_by_the_sum_of_squared_weights(d):
    """An oracle of its own: noise weighted as its own inverse says."""
    from research.features.fracdiff.weights import full_weights

    back = full_weights(-d, 1_000_000)
    found = [back @ back, back[1:] @ back[:-1], back[2:] @ back[:-2]]
    # what is left out falls as n to the power 2d - 1
    assert found == pytest.approx(fracdiff.autocovariance(d, 2).tolist(), abs=2e-3)


def test_samples_have_these_moments():
    wanted = fracdiff.autocovariance(0.3, 499)
    drawn = fracdiff.sample(wanted, series=400, seed=3)
    for lag in (0, 1, 10):
        found = (drawn[:, : 500 - lag] * drawn[:, lag:]).mean(axis=1)
        assert abs(found.mean() - wanted[lag]) < 3 * found.std() / 20


def test_the_difference_of_fractional_noise_has_no_memory_left():
    noise = fracdiff.sample(fracdiff.autocovariance(0.4, 19_999), series=1, seed=5)[0]
    left = fracdiff.ffd(noise, 0.4, threshold=1e-5)[2_000:]
    rows = len(left)
    assert abs(left.var() - 1.0) < 3 * (2 / rows) ** 0.5
    for lag in (1, 2, 5):
        assert abs(np.corrcoef(left[lag:], left[:-lag])[0, 1]) < 3 / rows**0.5


@pytest.mark.parametrize("d", [-0.7, 0.3, 0.4, 1.0, 1.6])
def test_there_and_back(d):
    series = np.cumsum(np.random.default_rng(1).standard_normal(3_000))
    assert np.abs(fracdiff.full(fracdiff.full(series, d), -d) - series).max() < 1e-8


def test_orders_add_up_and_whole_ones_are_known():
    series = np.random.default_rng(2).standard_normal(500)
    twice = fracdiff.full(fracdiff.full(series, 0.3), 0.5)
    assert np.abs(twice - fracdiff.full(series, 0.8)).max() < 1e-12
    assert np.abs(fracdiff.full(series, 0.0) - series).max() < 1e-13
    assert np.abs(fracdiff.full(series, 1.0)[1:] - np.diff(series)).max() < 1e-13
    assert np.abs(fracdiff.full(series, -1.0) - np.cumsum(series)).max() < 1e-11


def test_full_is_the_window_once_the_window_holds_all():
    series = np.random.default_rng(3).standard_normal(282)
    assert fracdiff.full(series, 0.4)[-1] == pytest.approx(fracdiff.ffd(series, 0.4)[-1], rel=1e-9)


@pytest.mark.parametrize("d", [-0.3, 0.0, 0.2, 0.45])
def test_local_whittle_finds_the_memory_of_noise(d):
    drawn = fracdiff.sample(fracdiff.autocovariance(d, 3_999), series=40, seed=7)
    found = [fracdiff.local_whittle(noise) for noise in drawn]
    orders = np.array([one.order for one in found])
    # its known error, and the bias of a finite sample
    assert abs(orders.mean() - d) < 0.02
    assert orders.std() == pytest.approx(found[0].error, rel=0.35)


@pytest.mark.parametrize(("sums", "order"), [(1, 1.0), (0.7, 0.7)])
def test_local_whittle_finds_the_order_of_what_is_not_stationary(sums, order):
    rng = np.random.default_rng(11)
    found = [
        fracdiff.local_whittle(fracdiff.full(rng.standard_normal(4_000), -sums)).order
        for _ in range(20)
    ]
    assert abs(np.mean(found) - order) < 0.03


def test_what_is_refused():
    with pytest.raises(UserError, match=r"below 0\.5, found 0\.5"):
        fracdiff.autocovariance(0.5, 3)
    with pytest.raises(UserError, match="128 values or more, found 5"):
        fracdiff.local_whittle([1.0, 2.0, 1.0, 2.0, 3.0])
    with pytest.raises(UserError, match="must vary, found 2 throughout"):
        fracdiff.local_whittle(np.full(200, 2.0))
    with pytest.raises(UserError, match="found nan at row 1"):
        fracdiff.full([1.0, np.nan], 0.4)
    with pytest.raises(UserError, match="between -2 and 2, found 3"):
        fracdiff.full([1.0], 3)
    with pytest.raises(UserError, match="no series that can be drawn"):
        fracdiff.sample(np.array([1.0, -1.0, -1.0, 1.0, 0.9]), series=1, seed=1)
