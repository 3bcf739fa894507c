"""What each formula says of paths of a known dimension: the published table.

`faults(window, paths)` counts what lies beyond two standard errors; run it with more paths for a
closer look: ``faults(30, 20_000)``.
"""

import numpy as np
import pytest

from research.features.fracdiff import sample
from research.features.regime.null import dimensions_of, null
from research.features.regime.stepping import method

# published means by path and formula; what is not given was not published
TABLE = {
    30: {
        "line": {"trading": 1.256, "sevcik": 1.085, "seed": 1, "frama": 0.95, "katz": 1},
        "H = 0.5": {
            "trading": 1.482,
            "sevcik": 1.311,
            "seed": 1.484,
            "frama": 1.41,
            "katz": 1.81,
            "higuchi": 1.533,
            "madogram": 1.522,
        },
        "H = 0.7": {
            "trading": 1.401,
            "sevcik": 1.230,
            "seed": 1.321,
            "frama": 1.27,
            "katz": 1.44,
            "higuchi": 1.340,
            "madogram": 1.326,
        },
        "H = 0.3": {
            "trading": 1.560,
            "sevcik": 1.389,
            "seed": 1.651,
            "frama": 1.55,
            "katz": 2.33,
            "higuchi": 1.711,
            "madogram": 1.705,
        },
        "noise": {
            "trading": 1.690,
            "sevcik": 1.519,
            "seed": 1.851,
            "frama": 1.78,
            "katz": 4.07,
            "higuchi": 2.001,
            "madogram": 2.007,
        },
    },
    1_000: {
        "line": {"trading": 1.137, "sevcik": 1.046, "seed": 1, "frama": 1, "katz": 1},
        "H = 0.5": {
            "trading": 1.462,
            "sevcik": 1.370,
            "seed": 1.505,
            "higuchi": 1.500,
            "madogram": 1.498,
        },
        "H = 0.7": {"trading": 1.334, "higuchi": 1.299, "madogram": 1.298},
        "H = 0.3": {"trading": 1.588, "higuchi": 1.697, "madogram": 1.697},
        "noise": {"trading": 1.769},
    },
}
PUBLISHED_PATHS = {30: 400, 1_000: 100}
"""The table was simulated itself, and does not say with how many paths: a guess by its digits."""


def drawn(path, window, paths, seed):
    if path == "line":
        return np.arange(window)[None, :] * np.ones((1, 1))
    if path == "noise":
        return np.random.default_rng(seed).standard_normal((paths, window))
    k, power = np.arange(window), 2 * float(path[4:])
    covariance = (
        np.abs(k + 1.0) ** power - 2 * np.abs(k * 1.0) ** power + np.abs(k - 1.0) ** power
    ) / 2
    return np.cumsum(sample(covariance, series=paths, seed=seed), axis=1)


def faults(window, paths, seed=1):
    """Return what is further from the published mean than two standard errors, and how far."""
    found = {}
    for path, row in TABLE[window].items():
        curves = drawn(path, window, paths, seed)
        for formula, mean in row.items():
            values = dimensions_of(curves, method(formula, window))
            error = np.std(values) * (1 / paths + 1 / PUBLISHED_PATHS[window]) ** 0.5
            away = abs(np.nanmean(values) - mean)
            if away > 2 * error + 0.005 * (formula in ("frama", "katz")) + 0.0005:
                found[path, formula] = (round(away, 4), round(away / max(error, 1e-12), 1))
    return found


@pytest.mark.parametrize(("window", "paths"), [(30, 2_000), (1_000, 300)])
def test_the_published_table(window, paths):
    assert not faults(window, paths)


@pytest.mark.parametrize("formula", ["madogram", "higuchi"])
def test_a_straight_line_is_exactly_of_one_dimension(formula):
    for window in (30, 1_000):
        line = np.arange(window)[None, :] * 0.25
        assert dimensions_of(line, method(formula, window)) == pytest.approx(1.0, abs=1e-12)


def test_the_null_is_the_tables_random_walk():
    for formula, (centre, spread) in {
        "madogram": (1.522, 0.147),
        "trading": (1.482, 0.064),
        "seed": (1.484, 0.213),
        "higuchi": (1.533, 0.159),
        "frama": (1.41, 0.26),
    }.items():
        found = null(formula, window=30)
        assert abs(found.centre - centre) < 2 * found.spread * (1 / 4_000 + 1 / 400) ** 0.5 + 0.005
        assert found.spread == pytest.approx(spread, rel=0.1)
