"""Ridge: scikit-learn as oracle, and the same bytes under any number of threads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from research.errors import UserError
from research.models import linear

ROOT = Path(__file__).resolve().parents[2]


def made(rows: int = 500, columns: int = 6) -> tuple[pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, columns)) * np.geomspace(1e-4, 1e4, columns) + 3
    y = X @ np.geomspace(1, 1e-8, columns) + rng.normal(size=rows)
    return pl.DataFrame({f"f{k}": X[:, k] for k in range(columns)}), y


@pytest.mark.parametrize("alpha", [0.0, 1.0, 300.0])
def test_ridge_is_scikit_learns(alpha):
    X, y = made()
    scaled = StandardScaler().fit_transform(X.to_numpy())
    expected = Ridge(alpha=alpha * 1e-3 * len(y)).fit(scaled, y).predict(scaled)
    model = linear.fit(X, y, seed=1, params={"alpha": alpha})
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-8)


def test_weighted_ridge_is_scikit_learns_on_repeated_rows():
    X, y = made()
    times = np.random.default_rng(1).integers(1, 4, len(y))
    model = linear.fit(X, y, seed=1, params={"alpha": 0.0}, weight=times.astype(float))
    repeated = np.repeat(np.arange(len(y)), times)
    twin = linear.fit(X[repeated], y[repeated], seed=1, params={"alpha": 0.0})
    np.testing.assert_allclose(model.predict(X), twin.predict(X), rtol=1e-8)


def test_means_and_scales_are_those_of_the_training_rows():
    X, y = made()
    model = linear.fit(X.head(300), y[:300], seed=1, params={})
    np.testing.assert_allclose(model.core.numbers["mean"], X.head(300).mean().row(0))
    shifted = X.with_columns(pl.all() + 100)  # forecasting other rows restandardises nothing
    numbers = model.core.numbers
    slopes = np.array(numbers["coef"]) / np.array(numbers["scale"])
    moved = model.predict(shifted) - model.predict(X)
    np.testing.assert_allclose(moved, 100 * slopes.sum(), rtol=1e-6)


def test_a_constant_column_has_no_say_and_twins_need_a_penalty():
    X, y = made()
    still = X.with_columns(still=pl.lit(0.1))
    model = linear.fit(still, y, seed=1, params={})
    assert model.core.numbers["coef"][-1] == 0
    np.testing.assert_allclose(model.predict(still), linear.fit(X, y, seed=1, params={}).predict(X))
    twins = X.with_columns(twin=pl.col("f2"))
    with pytest.raises(UserError, match="alpha must be above 0"):
        linear.fit(twins, y, seed=1, params={"alpha": 0.0})
    coef = linear.fit(twins, y, seed=1, params={"alpha": 1.0}).core.numbers["coef"]
    assert coef[2] == pytest.approx(coef[6])
    flat = linear.fit(X.select(pl.all() * 0), y, seed=1, params={})
    np.testing.assert_allclose(flat.predict(X), y.mean())


@pytest.mark.parametrize("alpha", [-1.0, float("nan"), float("inf")])
def test_a_penalty_below_zero_is_named(alpha):
    X, y = made(20)
    with pytest.raises(UserError, match="alpha must be at least 0"):
        linear.fit(X, y, seed=1, params={"alpha": alpha})


def test_a_closed_form_has_no_rounds():
    X, y = made(20)
    model = linear.fit(X, y, seed=1, params={})
    with pytest.raises(UserError, match="no rounds to add"):
        linear.fit(X, y, seed=1, params={}, start_from=model)


BYTES = """
import hashlib, numpy as np, polars as pl
from research.models import linear
rng = np.random.default_rng(0)
X = rng.normal(size=(60_000, 60)); y = X[:, 0] + rng.normal(size=60_000)
frame = pl.DataFrame({f"f{k}": X[:, k] for k in range(60)})
model = linear.fit(frame, y, seed=1, params={})
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
