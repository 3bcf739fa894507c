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
