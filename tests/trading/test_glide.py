"""Quiet bars passed quickly leave what the long way leaves, to the bit."""

import numpy as np
import pytest

from research.trading import loop
from research.trading.rules import threshold, with_risk, with_sizing

from .markets import MINUTE, random_market
from .strategies import any_rule


def alone(seed, n_symbols):
    """One symbol's bars at a desk that knows `n_symbols`; midnight, funding and costs in them."""
    columns = random_market(seed, n_symbols=1, n_times=600, start_hours=20)
    rng = np.random.default_rng(seed)
    n = len(columns[0])
    quiet = rng.random(n) < 0.7
    columns[7] = np.where(quiet, 0.0, columns[7])
    sigma = np.where(rng.random(n) < 0.05, np.nan, 0.003)
    return columns, {"sigma": sigma, "half_spread": np.full(n, 1e-4), "impact": np.full(n, 1e-6)}


@pytest.mark.parametrize("seed", range(120))
def test_one_symbol_alone_and_beside_one_that_never_comes(seed):
    rules = any_rule(seed)._replace(overlap=1)
    if rules.sizing == 0:  # equal sizes would be shared with the other one
        rules = with_sizing(rules, "fraction", fraction=0.5, leverage=rules.leverage)
    compare(rules, seed)


@pytest.mark.parametrize("seed", range(30))
def test_a_position_held_for_long_meets_its_limits_all_the_same(seed):
    """Only a very sure forecast turns it, so that highs and falls lie between two decisions."""
    rules = threshold(enter=0.015, leave=0.018, interval=MINUTE)
    rules = with_sizing(rules, "fraction", fraction=1.0)
    quick = compare(with_risk(rules, drawdown=0.04, resume="next_day"), seed)
    assert np.isin(quick.reasons, [10]).any()
    compare(with_risk(rules, daily_loss=0.03, drawdown=0.05, on_limit="reduce"), seed)


def compare(rules, seed):
    """Check that the quick way leaves what the long one does; return it."""
    runs = []
    for n_symbols in (1, 2):
        columns, more = alone(seed, n_symbols)
        moments = np.arange(1, 40, dtype=np.int64) * 4 * 3600 * 1_000_000
        first = np.array([0, *[len(moments)] * n_symbols])
        venue = loop.new_venue(n_symbols, funding=(first, moments, np.full(len(moments), 1e-4)))
        runs.append(loop.run(*columns, n_symbols, rules, 10_000.0, venue=venue, **more))
    quick, slow = runs
    for name in ("reasons", "position", "equity", "fees", "slippage", "funding", "traded"):
        np.testing.assert_array_equal(getattr(quick, name), getattr(slow, name), err_msg=name)
    for name in quick.trades._fields:
        ours, theirs = getattr(quick.trades, name), getattr(slow.trades, name)
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    return quick
