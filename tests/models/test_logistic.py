"""Logistic regression: scikit-learn as oracle, weights as repeated rows, threads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from research.errors import UserError
from research.models import logistic

ROOT = Path(__file__).resolve().parents[2]


def made(rows: int = 1200, columns: int = 6) -> tuple[pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, columns))
    X[:, 1] = X[:, 0] + 0.05 * X[:, 1]  # nearly the same twice
    y = X[:, 0] - 0.7 * X[:, 2] + rng.logistic(size=rows)
    X = X * np.geomspace(1e-4, 1e4, columns) + 3
    return pl.DataFrame({f"f{k}": X[:, k] for k in range(columns)}), np.digitize(y, [-1, 2.0]) - 1.0


def probabilities(model, X):
    return np.column_stack(list(model.forecast(X).values())[1:])


@pytest.mark.parametrize("alpha", [0.01, 1.0, 300.0])
def test_logistic_is_scikit_learns(alpha):
    X, y = made()
    scaled = StandardScaler().fit_transform(X.to_numpy())
    oracle = LogisticRegression(C=1 / (alpha * 1e-3 * len(y)), tol=1e-12, max_iter=100_000)
    expected = oracle.fit(scaled, y).predict_proba(scaled)
    model = logistic.fit(X, y, seed=1, params={"alpha": alpha})
    np.testing.assert_allclose(probabilities(model, X), expected, atol=1e-6)


def test_weights_count_as_repeated_rows():
    X, y = made()
    times = np.random.default_rng(1).integers(1, 4, len(y))
    model = logistic.fit(X, y, seed=1, params={"alpha": 1.0}, weight=times.astype(float))
    repeated = np.repeat(np.arange(len(y)), times)
    twin = logistic.fit(X[repeated], y[repeated], seed=1, params={"alpha": 1.0})
    np.testing.assert_allclose(probabilities(model, X), probabilities(twin, X), atol=1e-7)


def test_two_classes_are_told_apart_and_the_third_left_out():
    X, y = made()
    two = y != 0
    X, y = X.filter(two), y[two]
    scaled = StandardScaler().fit_transform(X.to_numpy())
    penalty = 1e-3 * len(y)
    # two opposite halves of one coefficient: half the penalty of the whole
    oracle = LogisticRegression(C=2 / penalty, tol=1e-12, max_iter=10_000).fit(scaled, y)
    found = probabilities(logistic.fit(X, y, seed=1, params={}), X)
    np.testing.assert_allclose(found[:, 2], oracle.predict_proba(scaled)[:, 1], atol=1e-6)
    assert found[:, 1].max() < 1e-12


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_a_penalty_of_nothing_is_named(alpha):
    X, y = made(60)
    with pytest.raises(UserError, match="alpha must be above 0"):
        logistic.fit(X, y, seed=1, params={"alpha": alpha})


def test_it_has_no_rounds():
    X, y = made(60)
    model = logistic.fit(X, y, seed=1, params={})
    with pytest.raises(UserError, match="no rounds to add"):
        logistic.fit(X, y, seed=1, params={}, start_from=model)


BYTES = """
import hashlib, numpy as np, polars as pl
from research.models import logistic
rng = np.random.default_rng(0)
X = rng.normal(size=(20_000, 30)); y = np.sign((X[:, 0] + rng.normal(size=20_000)).round())
frame = pl.DataFrame({f"f{k}": X[:, k] for k in range(30)})
model = logistic.fit(frame, y, seed=1, params={}, early=(frame, y))
print(hashlib.sha256(model.core.text.encode() + model.predict(frame).tobytes()).hexdigest())
"""


def test_bytes_do_not_depend_on_the_number_of_threads():
    found = set()
    for threads in ("1", "2"):
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        command = [sys.executable, "-c", BYTES]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | limits, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1 and len(found.pop().strip()) == 64
