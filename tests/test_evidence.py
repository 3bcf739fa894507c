"""E-processes: Ville's promise over many nulls, power, and the contest's own fortune."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from research.errors import UserError
from research.scores import e_process, evidence

ALPHA = 0.05


def crossed(count, drift, periods, seed):
    """How many of so many fat-tailed series ever meet 1 / alpha."""
    rng = np.random.default_rng(seed)
    made = (rng.standard_t(4, periods) / math.sqrt(2) + drift for _ in range(count))
    return sum(e_process(values).max() >= 1 / ALPHA for values in made)


def test_luck_hardly_ever_meets_the_line_however_often_one_looks():
    """Ville on 4,000 nulls, looked at after every one of 500 returns."""
    assert crossed(4000, 0.0, 500, 0) <= binom.ppf(0.99, 4000, ALPHA)
    assert crossed(300, -0.05, 500, 1) <= 0.02 * 300


def test_skill_meets_it():
    """Known: .97 at a drift of .03 of a standard deviation, over enough periods."""
    assert crossed(60, 0.03, 30_000, 2) >= 0.9 * 60


def test_the_fortune_is_that_of_the_formula():
    values = np.random.default_rng(3).normal(0.1, 1, 300)
    fortunes = [1.0] * len(evidence.STAKES)
    each = []
    for k, value in enumerate(values):
        if k >= 10:
            x = np.clip(value / (3 * np.sqrt(np.mean(values[:k] ** 2))), -1, 1)
            fortunes = [f * (1 + stake * x) for f, stake in zip(fortunes, evidence.STAKES)]
        each.append(np.mean(fortunes))
    assert e_process(values) == pytest.approx(each, rel=1e-9)
    assert e_process(pl.Series(values)).tolist() == e_process(values).tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5), max_size=60))
def test_bets_one_by_one_are_the_product(outcomes):
    fortunes = evidence.begin()
    for x in outcomes:
        fortunes = evidence.bet(fortunes, x)
    cut = np.clip(outcomes, -1, 1)
    expected = np.mean([np.prod(1 + stake * cut) for stake in evidence.STAKES])
    assert evidence.e_value(fortunes) == pytest.approx(expected, rel=1e-9)
    fair = [evidence.e_value(evidence.bet(fortunes, x)) for x in (-1.0, 1.0)]
    assert np.mean(fair) == pytest.approx(expected)  # no bet is worth anything to luck


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(20, 60), st.floats(0.001, 1000))
def test_evidence_knows_no_future_and_no_unit(seed, cut, scale):
    values = np.random.default_rng(seed).normal(size=80)
    whole = e_process(values)
    bent = np.concatenate([values[:cut], values[cut:] * -9])
    assert e_process(bent)[:cut].tolist() == whole[:cut].tolist()
    assert e_process(values * scale) == pytest.approx(whole, rel=1e-6)
    assert (whole[:10] == 1).all() and (whole > 0).all()


def test_no_return_no_evidence_and_mistakes():
    assert e_process(np.zeros(50)).tolist() == [1.0] * 50
    assert e_process([]).tolist() == []
    for bad in ([0.1, math.nan], np.ones((3, 2)), pl.Series([0.1, None])):
        with pytest.raises(UserError, match="one series of returns that are all numbers"):
            e_process(bad)
