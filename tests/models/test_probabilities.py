"""Calibration: never worse on its own rows, finds a known temperature, scipy as oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from research.models import probabilities


def drawn(rows: int = 4000, *, stretch: float = 1.0, shift=(0.0, 0.0, 0.0), seed: int = 0):
    """Margins, and classes drawn from the softmax of the stretched and shifted ones."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(size=(rows, 3))
    p = softmax(stretch * margins + shift, axis=1)
    known = (rng.uniform(size=rows)[:, None] > p.cumsum(axis=1)).sum(axis=1)
    return margins, np.minimum(known, 2)


def test_softmax_and_log_loss_are_those_of_scipy_and_scikit_learn():
    margins, known = drawn(200)
    margins[0] = (1000, 0, -1000)
    np.testing.assert_allclose(probabilities.softmax(margins), softmax(margins, axis=1), rtol=1e-12)
    expected = log_loss(known[1:], softmax(margins[1:], axis=1), labels=[0, 1, 2])
    assert probabilities.log_loss(margins[1:], known[1:]) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60),
    st.floats(-3, 3),
    st.tuples(*[st.floats(-2, 2)] * 3),
    st.integers(0, 100),
)
def test_log_loss_on_its_own_rows_is_never_worse(rows, stretch, shift, seed):
    margins, known = drawn(rows, stretch=stretch, shift=shift, seed=seed)
    a, *b = probabilities.calibration(margins, known)
    after = probabilities.log_loss(a * margins + b, known)
    assert after <= probabilities.log_loss(margins, known) and a >= 0.05


@pytest.mark.parametrize("stretch", [0.3, 1.0, 2.5])
def test_a_known_temperature_and_shift_are_found(stretch):
    shift = np.array([0.5, -0.2, -0.3])
    margins, known = drawn(40_000, stretch=stretch, shift=shift)
    a, *b = probabilities.calibration(margins, known)
    assert a == pytest.approx(stretch, rel=0.04)
    np.testing.assert_allclose(b, shift, atol=0.04)


def test_it_is_the_optimum_that_scipy_finds():
    margins, known = drawn(300, stretch=0.5, shift=(1.0, 0.0, -1.0))

    def penalised(at):
        fit = -log_softmax(at[0] * margins + at[1:], axis=1)[np.arange(300), known].sum()
        return fit + ((at - [1, 0, 0, 0]) ** 2).sum() / 2

    expected = minimize(penalised, [1, 0, 0, 0], tol=1e-12).x
    np.testing.assert_allclose(probabilities.calibration(margins, known), expected, atol=1e-5)


def test_margins_that_point_the_wrong_way_are_flattened_not_turned():
    margins, known = drawn(stretch=-1.0)
    found = probabilities.calibration(margins, known)
    assert found.stretch == 0.05


def test_a_class_that_did_not_occur_keeps_a_probability():
    margins, known = drawn()
    kept = known != 1
    found = probabilities.calibration(margins[kept], known[kept])
    p = probabilities.calibrated(margins, found)
    assert 0 < p[:, 1].max() < 0.1


@given(st.floats(0.05, 20))
def test_a_temperature_alone_leaves_the_likeliest_class(stretch):
    margins, _ = drawn(50)
    p = probabilities.calibrated(margins, probabilities.Calibration(stretch, 0.0, 0.0, 0.0))
    assert (p.argmax(axis=1) == margins.argmax(axis=1)).all()
