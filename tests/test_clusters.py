"""How many different things were tried: planted groups, scikit-learn, and the deflated ratio."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples

from research.errors import UserError
from research.performance import (
    Sample,
    dsr,
    effective_trials,
    expected_maximum,
    sample,
)
from research.performance.clusters import _correlations, _silhouettes


def planted(groups, size, rho, *, periods=400, seed=0):
    """Returns without a mean: groups of trials, correlated by `rho` inside and not outside."""
    rng = np.random.default_rng([seed, groups, size])
    common = np.repeat(rng.normal(size=(periods, groups)), size, axis=1)
    own = rng.normal(size=(periods, groups * size))
    return np.sqrt(rho) * common + np.sqrt(1 - rho) * own


@pytest.mark.parametrize(
    ("groups", "size", "rho"), [(2, 3, 0.9), (4, 10, 0.9), (4, 10, 0.5), (10, 5, 0.8), (3, 10, 0.3)]
)
def test_planted_groups_are_found(groups, size, rho):
    found = effective_trials(planted(groups, size, rho))
    assert found.clusters == groups and found.tried == groups * size
    expected = np.repeat(np.arange(groups) + 1, size).tolist()
    assert found.table["cluster"].to_list() == expected
    assert found.count == pytest.approx(groups * (rho + (1 - rho) * size), rel=0.12)


def test_copies_are_one_trial_and_strangers_are_many():
    one = planted(1, 1, 0.0)
    assert effective_trials(np.repeat(one, 12, axis=1)).count == pytest.approx(1)
    assert effective_trials(one).count == 1
    assert effective_trials(planted(30, 1, 0.0)).count == pytest.approx(30, abs=2.5)
    two = effective_trials(np.hstack([one, -one]))
    assert two.count == pytest.approx(2)  # the contrary is another trial, not a copy


def test_one_crowd_is_counted_by_its_correlation():
    for rho in (0.5, 0.9, 0.98):
        found = effective_trials(planted(1, 20, rho))
        assert rho + (1 - rho) * 20 - 0.5 <= found.count <= 2 + (1 - rho) * 20


def test_silhouettes_are_scikit_learns():
    values = planted(4, 5, 0.6)
    distance = np.sqrt((1 - _correlations(values)) / 2)
    np.fill_diagonal(distance, 0)
    labels = np.repeat(np.arange(4), 5)
    labels[3] = 3  # one in the wrong group
    labels[19] = 4  # one alone
    peer = silhouette_samples(distance, labels, metric="precomputed")
    assert _silhouettes(distance, labels) == pytest.approx(peer)
    right = np.repeat(np.arange(4), 5)
    peer = silhouette_samples(distance, right, metric="precomputed").mean()
    assert effective_trials(values).silhouette == pytest.approx(peer, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 9))
def test_neither_order_nor_scale_of_trials_matters(seed, trials):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(40, trials)) + rng.normal(size=(40, 1))
    order, scale = rng.permutation(trials), rng.uniform(0.1, 10, trials)
    one, other = effective_trials(values), effective_trials((values * scale)[:, order])
    assert (other.clusters, other.tried) == (one.clusters, trials)
    assert other.count == pytest.approx(one.count) and other.spread == pytest.approx(one.spread)
    assert 1 - 1e-9 <= one.count <= trials + 1e-9
    pairs = one.table["cluster"].to_numpy()[order]
    mine = other.table["cluster"].to_numpy()
    assert ((pairs[:, None] == pairs) == (mine[:, None] == mine)).all()


def test_a_copy_is_no_news():
    values = planted(5, 1, 0.0)
    before, after = effective_trials(values), effective_trials(values[:, [0, 1, 2, 3, 4, 4, 4]])
    assert after.count == pytest.approx(before.count, abs=0.3)


def test_trials_that_never_traded_are_one_group():
    values = np.hstack([np.zeros((400, 1)), planted(2, 3, 0.9), np.zeros((400, 2))])
    found = effective_trials(values)
    assert found.table["cluster"].to_list() == [1, 2, 2, 2, 3, 3, 3, 1, 1]
    assert found.count == pytest.approx(effective_trials(values[:, 1:7]).count + 1)
    assert found.table["sharpe"][0] == 0
    nothing = effective_trials(np.zeros((20, 3)))
    assert (nothing.count, nothing.clusters, nothing.spread) == (1, 1, 0)


def test_spread_is_over_groups_and_never_below_one_ratio_s_error():
    alike = effective_trials(planted(4, 3, 0.95))
    assert alike.spread >= 0.9 / np.sqrt(400)
    apart = planted(4, 3, 0.95) + np.repeat([-1.0, -0.3, 0.4, 1.2], 3)
    groups = [apart[:, k : k + 3] for k in range(0, 12, 3)]
    pooled = [(g / g.std(axis=0)).mean(axis=1) for g in groups]
    by_hand = np.std([sample(p).sharpe for p in pooled], ddof=1)
    assert effective_trials(apart).spread == pytest.approx(by_hand)


@pytest.mark.parametrize(("groups", "size", "rho"), [(1, 20, 0.5), (4, 6, 0.5), (5, 3, 0.8)])
def test_luck_of_the_best_is_deflated(groups, size, rho):
    """Without skill a ratio of 0.95 is rarer than 5 %; told the number of groups alone it is not.

    The count also gives the expected maximum, which simulation knows.
    """
    best, passed, naive, counts = [], 0, 0, []
    for seed in range(60):
        values = planted(groups, size, rho, seed=seed)
        found = effective_trials(values)
        seen = Sample(found.table["sharpe"].max(), 400)
        passed += dsr(seen, trials=found.count, spread=found.spread) > 0.95
        naive += dsr(seen, trials=groups, spread=1 / np.sqrt(400)) > 0.95
        best.append(seen.sharpe * np.sqrt(400))
        counts.append(found.count)
    assert passed <= 0.05 * 60
    hurdle = expected_maximum(np.mean(counts))
    assert 0.85 <= hurdle / np.mean(best) <= 1.4
    if (groups, rho) in {(1, 0.5)}:
        assert naive > 0.05 * 60


def test_frames_are_at_home():
    values = planted(2, 2, 0.9)
    frame = pl.DataFrame(values, schema=list("abcd")).with_columns(time=pl.int_range(pl.len()))
    found = effective_trials(frame)
    assert found.table["trial"].to_list() == list("abcd")
    assert effective_trials(frame.to_pandas()).table.equals(found.table)
    assert isinstance(frame.to_pandas(), pd.DataFrame)
    wide = pl.DataFrame(np.random.default_rng(0).normal(size=(12, 30)))
    assert effective_trials(wide).tried == 30  # in a frame trials may outnumber periods
    assert str(found).startswith("4 trials amount to 2.")


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        (np.ones((20, 0)), "needs 1 or more trials side by side, found 0"),
        (np.zeros((5, 2)), "needs 10 or more returns, found 5"),
        (np.ones((20, 2)), "every return of trial 0 is 1: nothing moved"),
        (pl.DataFrame({"a": [0.1, None] * 6}), "row 1 of a is not a number. Keep the periods"),
    ],
)
def test_bad_tables_are_named(returns, says):
    with pytest.raises(UserError, match=says):
        effective_trials(returns)
