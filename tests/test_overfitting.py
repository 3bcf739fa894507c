"""PBO against a slow twin, known answers, and noise."""

from itertools import combinations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from research.errors import UserError
from research.performance import pbo
from research.performance.overfitting import _Halves, _share, _sums

MARKET = np.random.default_rng(0).normal(0, 0.01, (203, 7))


def ratio(part):
    return part.mean(axis=0) / part.std(axis=0)


def twin(values, blocks):
    """Each split with its rows gathered anew: logits, and the chosen one's ratios."""
    pieces, lines = np.array_split(values, blocks), []
    for taken in combinations(range(blocks), blocks // 2):
        inside = ratio(np.concatenate([pieces[k] for k in taken]))
        outside = ratio(np.concatenate([pieces[k] for k in range(blocks) if k not in taken]))
        best = inside.argmax()
        share = rankdata(outside)[best] / (values.shape[1] + 1)
        lines.append((np.log(share / (1 - share)), inside[best], outside[best]))
    return np.array(lines)


def only(values, blocks=10):
    """The probability without a band."""
    first, second, sizes = _sums(values, blocks)
    return _share(_Halves(second, sizes).judge(first))


@pytest.mark.parametrize("blocks", [2, 4, 8])
def test_every_split_is_that_of_the_slow_twin(blocks):
    found, slow = pbo(MARKET, blocks=blocks, draws=20), twin(MARKET, blocks)
    assert found.table.to_numpy() == pytest.approx(slow, abs=1e-9)
    assert found.logits == pytest.approx(slow[:, 0], abs=1e-9)
    assert found.probability == np.mean(slow[:, 0] <= 0)
    assert found.loss == np.mean(slow[:, 2] < 0)
    assert found.slope == pytest.approx(np.polyfit(slow[:, 1], slow[:, 2], 1)[0])


def test_sixteen_blocks_make_12870_splits():
    values = np.random.default_rng(1).normal(size=(160, 4))
    assert pbo(values, draws=20).table.height == 12_870


def test_ties_share_their_rank():
    clones = np.repeat(MARKET[:, :2], 3, axis=1)
    found, slow = pbo(clones, blocks=4, draws=20), twin(clones, 4)
    assert found.logits == pytest.approx(slow[:, 0], abs=1e-9)


def test_without_any_mean_the_best_is_always_the_worst():
    """Columns that sum to nothing: what one half gains the other loses. Known: 1.000 ± 0."""
    for seed in range(5):
        values = np.random.default_rng(seed).normal(size=(1000, 50))
        assert only(values - values.mean(axis=0)) == 1.0


def drawn(skill, count=60):
    """Known answers: 10 blocks, 1,000 periods, 50 strategies, `skill` a period for one of them."""
    found = []
    for seed in range(count):
        values = np.random.default_rng([seed, 1]).normal(size=(1000, 50))
        values[:, 0] += skill
        found.append(only(values))
    return np.array(found)


def test_noise_strays_about_one_half():
    """Known: .517, s.d. .171 over 60 (5 to 95 %: .24 to .74)."""
    found = drawn(0.0)
    assert found.mean() == pytest.approx(0.517, abs=3 * 0.171 / np.sqrt(60))
    assert found.std() == pytest.approx(0.171, abs=0.04)
    assert np.quantile(found, [0.05, 0.95]) == pytest.approx([0.24, 0.74], abs=0.1)


@pytest.mark.parametrize(("skill", "mean", "spread"), [(0.1, 0.256, 0.166), (0.2, 0.009, 0.02)])
def test_skill_is_seen(skill, mean, spread):
    found = drawn(skill)
    assert found.mean() == pytest.approx(mean, abs=3 * spread / np.sqrt(60))
    assert found.std() == pytest.approx(spread, rel=0.5)
    assert skill < 0.2 or found.mean() < 0.03


def test_the_band_is_where_noise_lies():
    """Of noise itself, nine in ten lie inside the band, and 5 % have a p-value below 5 %."""
    rng = np.random.default_rng(2)
    common = rng.normal(size=(60, 200, 1))  # strategies that hang together
    found = [pbo(c + rng.normal(size=(200, 8)), blocks=6, draws=60) for c in common]
    inside = np.mean([one.low <= one.probability <= one.high for one in found])
    assert 0.77 <= inside <= 0.99
    assert np.mean([one.p_value <= 0.05 for one in found]) <= 0.125


def test_the_band_finds_skill_and_tells_of_it():
    values = MARKET.copy()
    values[:, 3] += 0.006
    found = pbo(values, blocks=8, draws=40)
    assert found.probability < 0.05 < found.low and found.p_value == pytest.approx(1 / 41)
    assert found.loss < 0.05
    text = str(found)
    assert text.startswith(f"PBO {found.probability:.3f} (noise {found.low:.2f} to ")
    assert text.endswith("7 trials, 203 periods, 70 splits of 8 blocks")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0.01, 100))
def test_neither_scale_nor_order_of_trials_matters(seed, trials, scale):
    values = np.random.default_rng(seed).normal(0.05, 1, (40, trials))
    order = np.random.default_rng(seed + 1).permutation(trials)
    assert only(values[:, order] * scale, 4) == only(values, 4)


def test_frames_are_at_home_and_seeds_tell():
    names = [f"s{k}" for k in range(7)]
    frame = pl.DataFrame(MARKET, schema=names).with_columns(time=pl.int_range(pl.len()))
    first = pbo(MARKET, blocks=4, draws=20)
    for other in (frame, frame.lazy(), frame.to_pandas(), pd.DataFrame(MARKET, columns=names)):
        found = pbo(other, blocks=4, draws=20)
        assert found.table.equals(first.table) and found.null.tolist() == first.null.tolist()
    assert pbo(MARKET, blocks=4, draws=20, seed=1).null.tolist() != first.null.tolist()


def test_a_trial_that_never_traded_is_worth_nothing():
    values = np.hstack([MARKET - 0.02, np.zeros((len(MARKET), 1))])
    found = pbo(values, blocks=4, draws=20)
    assert found.probability == 0.0  # the only one that does not lose, in every half
    assert found.table["out_of_sample"].to_list() == [0.0] * 6


@pytest.mark.parametrize(
    ("returns", "more", "says"),
    [
        (MARKET[:, :1], {}, "needs 2 or more trials side by side, found 1. One trial alone"),
        (MARKET.T, {}, r"found an array of shape \(7, 203\). Turn it round"),
        (MARKET[:, 0], {}, "needs one row per period and one column per trial"),
        (MARKET[:9], {"blocks": 2}, "needs 10 or more returns, found 9"),
        (MARKET[:20], {}, "16 blocks need 32 or more periods, found 20"),
        (MARKET, {"blocks": 7}, "blocks must be even, from 2 to 18, found 7"),
        (MARKET, {"blocks": 20}, "blocks must be even, from 2 to 18, found 20"),
        (MARKET, {"draws": 5}, "a band needs 20 or more draws, found 5"),
        (np.where(MARKET > 0.02, np.nan, MARKET), {}, "row 11 of trial 2 is not a number"),
        (MARKET * [1, 1, 1, 1, 1, 1, 0] + [0, 0, 0, 0, 0, 0, 0.1], {}, "every return of trial 6"),
    ],
)
def test_bad_tables_are_named(returns, more, says):
    with pytest.raises(UserError, match=says):
        pbo(returns, **more)
