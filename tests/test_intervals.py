from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from research import performance


def curve(returns):
    """Hourly equity from 100 with the given returns."""
    start = datetime(2024, 5, 1, tzinfo=UTC)
    times = [start + timedelta(hours=i + 1) for i in range(len(returns))]
    table = pl.DataFrame({"time": times, "equity": 100 * np.cumprod(1 + np.asarray(returns))})
    return table.with_columns(pl.col("time").dt.cast_time_unit("us"))


def test_covers_the_truth_about_as_often_as_it_says():
    """Hourly normal returns of mean 0.0002: the Sharpe ratio's true value is known."""
    mean, sd, hits = 0.0002, 0.004, 0
    true = mean / sd * np.sqrt(365 * 24)
    for seed in range(100):
        returns = np.random.default_rng(seed).normal(mean, sd, 24 * 60)
        found = performance.intervals(curve(returns), capital=100.0, draws=300, seed=seed)
        hits += found["sharpe_low"] <= true <= found["sharpe_high"]
    assert 88 <= hits <= 99


def test_holds_what_was_seen():
    returns = np.random.default_rng(1).normal(0, 0.004, 24 * 40)
    equity = curve(returns)
    found = performance.intervals(equity, capital=100.0)
    assert found["net_low"] < equity["equity"][-1] / 100 - 1 < found["net_high"]


@pytest.mark.parametrize(("hours", "known"), [(24 * 9, False), (24 * 10, True)])
def test_too_few_days_have_no_interval(hours, known):
    returns = np.random.default_rng(1).normal(0, 0.004, hours)
    found = performance.intervals(curve(returns), capital=100.0)
    assert (found["net_low"] is not None) == known


def test_an_account_that_never_moved_has_no_sharpe():
    found = performance.intervals(curve(np.zeros(24 * 30)), capital=100.0)
    assert (found["net_low"], found["net_high"]) == (0.0, 0.0)
    assert found["sharpe_low"] is None


def slow_ends(returns, draws, seed):
    """The same draws of days, each laid out hour by hour and measured by its definition."""
    days = np.asarray(returns).reshape(-1, 24)
    found = {name: [] for name in ("net", "annual", "volatility", "sharpe", "sortino")}
    for drawn in np.random.default_rng(seed).integers(len(days), size=(draws, len(days))):
        r = days[drawn].ravel()
        grown, root = np.prod(1 + r), np.sqrt(365 * 24)
        found["net"].append(grown - 1)
        found["annual"].append(grown ** (365 / len(days)) - 1)
        found["volatility"].append(r.std() * root)
        found["sharpe"].append(r.mean() / r.std() * root)
        found["sortino"].append(r.mean() / np.sqrt(np.mean(np.minimum(r, 0) ** 2)) * root)
    return {name: np.quantile(values, [0.025, 0.975]) for name, values in found.items()}


def test_every_interval_is_that_of_a_slow_twin():
    returns = np.random.default_rng(5).standard_t(4, 24 * 30) * 0.003
    found = performance.intervals(curve(returns), capital=100.0, draws=200, seed=3)
    for name, ends in slow_ends(returns, 200, 3).items():
        assert [found[f"{name}_low"], found[f"{name}_high"]] == pytest.approx(ends, rel=1e-9), name


def test_volatility_and_sortino_cover_the_truth():
    """Of normal returns both are known: the downside deviation by a million of them."""
    mean, sd, hits = 0.0002, 0.004, {"volatility": 0, "sortino": 0}
    many = np.random.default_rng(99).normal(mean, sd, 1_000_000)
    root = np.sqrt(365 * 24)
    below = np.sqrt(np.mean(np.minimum(many, 0) ** 2))
    true = {"volatility": sd * root, "sortino": mean / below * root}
    for seed in range(100):
        returns = np.random.default_rng(seed).normal(mean, sd, 24 * 60)
        found = performance.intervals(curve(returns), capital=100.0, draws=300, seed=seed)
        for name in hits:
            hits[name] += found[f"{name}_low"] <= true[name] <= found[f"{name}_high"]
    assert all(88 <= count <= 99 for count in hits.values()), hits


def test_an_end_that_would_be_infinite_is_not_known():
    """Eleven days gain and one loses: one draw in three has no loss to divide by."""
    returns = np.full((12, 24), 0.001)
    returns[0] = -0.001
    found = performance.intervals(curve(returns.ravel()), capital=100.0)
    assert found["sortino_high"] is None and found["sortino_low"] is not None
    assert found["volatility_low"] is not None
