"""Weights: the published lengths and sums, the binomial series, and what is refused."""

import numpy as np
import pytest
from scipy.special import binom

from research.errors import UserError
from research.features import fracdiff

ORDERS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9)
LENGTHS = {
    1e-3: (62, 73, 66, 55, 44, 34, 18, 12),
    1e-4: (503, 497, 388, 282, 200, 140, 64, 38),
    1e-5: (4076, 3382, 2275, 1458, 927, 590, 228, 125),
}
SUMS = (0.4075, 0.1691, 0.0758, 0.0364, 0.0185, 0.0098, 0.0028, 0.0014)


@pytest.mark.parametrize("threshold", LENGTHS)
def test_lengths(threshold):
    found = tuple(len(fracdiff.weights(d, threshold)) for d in ORDERS)
    assert found == LENGTHS[threshold]


def test_the_first_weights_and_the_sums():
    first = [1, -0.4, -0.12, -0.064, -0.0416, -0.029952, -0.0229632, -0.01837056]
    assert fracdiff.weights(0.4)[:8].tolist() == pytest.approx(first, rel=1e-14)
    sums = [fracdiff.weights(d, 1e-5).sum() for d in ORDERS]
    assert sums == pytest.approx(list(SUMS), abs=5e-5)


@pytest.mark.parametrize("d", [0.05, 0.4, 0.99, 1.3, 1.9])
def test_weights_are_the_binomial_series(d):
    found = fracdiff.weights(d, 1e-4)
    k = np.arange(len(found))
    assert found == pytest.approx((-1.0) ** k * binom(d, k), rel=1e-9)
    assert abs((-1.0) ** len(found) * binom(d, len(found))) < 1e-4


def test_whole_orders_are_plain_differences():
    found = [fracdiff.weights(float(d), 1e-5).tolist() for d in (0, 1, 2)]
    assert found == [[1.0], [1.0, -1.0], [1.0, -2.0, 1.0]]


@pytest.mark.parametrize("d", [0.1, 0.4, 0.9, 1.0])
def test_balanced_weights_sum_to_zero_and_differ_in_the_oldest_alone(d):
    plain, balanced = fracdiff.weights(d), fracdiff.weights(d, balanced=True)
    assert abs(balanced.sum()) < 1e-14
    assert np.array_equal(plain[:-1], balanced[:-1])


def test_weights_cannot_be_written_over():
    with pytest.raises(ValueError, match="read-only"):
        fracdiff.weights(0.4)[0] = 2.0


def test_the_table_of_weights():
    table = fracdiff.weight_table([0.4, 1.0])
    assert table.columns == ["d", "lag", "weight"]
    assert table.height == 282 + 2 and table["lag"].max() == 281


@pytest.mark.parametrize("d", [-0.1, 2.1, float("nan")])
def test_an_order_out_of_range_is_named(d):
    with pytest.raises(UserError, match="order d must lie between 0 and 2, found"):
        fracdiff.weights(d)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 1e-9, float("nan")])
def test_a_threshold_out_of_range_is_named(threshold):
    with pytest.raises(UserError, match="threshold of weights"):
        fracdiff.weights(0.4, threshold)
