"""Data snooping: size under the null, power, and agreement with arch itself."""

import numpy as np
import polars as pl
import pytest
from arch.bootstrap import SPA as Peer
from scipy.signal import lfilter

from research.errors import UserError
from research.performance import spa, step_m

DRAWS = 150


def noise(seed, periods=250, strategies=30):
    """Fat-tailed strategies that earn nothing, of variance 1."""
    drawn = np.random.default_rng([seed, 5]).standard_t(4, (periods, strategies))
    return drawn / np.sqrt(2)


def share(count, skill=0.0):
    """Share of markets in which SPA finds something, and StepM the planted one."""
    found, named = 0, 0
    for seed in range(count):
        values = noise(seed)
        values[:, 3] += skill
        found += spa(values, draws=DRAWS).p_value <= 0.05
        named += "trial 3" in step_m(values, draws=DRAWS) if skill else 0
    return found / count, named / count


def test_of_nothing_little_is_found():
    """Known: .047 of many nulls at a nominal 5 %; here 25, of which 6 have a chance of 0.3 %."""
    assert share(25)[0] * 25 <= 5


def test_what_was_planted_is_found():
    """Known: .87 at a quarter of a standard deviation a period, StepM .82."""
    found, named = share(10, 0.25)
    assert found >= 0.6 and named >= 0.5


def test_the_numbers_are_archs():
    values = noise(1)
    found = spa(values, block=1, draws=DRAWS, seed=7)
    scaled = values / values.std(axis=0)
    peer = Peer(np.zeros(250), -scaled, block_size=1, reps=DRAWS, seed=7)
    peer.compute()
    told = [peer.pvalues[k] for k in ("lower", "consistent", "upper")]
    assert [found.lower, found.p_value, found.upper] == pytest.approx(told)
    assert found.error == pytest.approx(np.sqrt(told[1] * (1 - told[1]) / DRAWS))
    assert found.lower <= found.p_value <= found.upper
    assert found.best == f"trial {scaled.mean(axis=0).argmax()}"


def test_a_loud_strategy_does_not_drown_the_others():
    values = noise(2)
    values[:, 3] += 0.3
    loud = values * np.where(np.arange(30) == 9, 1000.0, 1.0)
    assert spa(loud, draws=DRAWS) == spa(values, draws=DRAWS)
    assert step_m(loud, draws=DRAWS) == step_m(values, draws=DRAWS) == ["trial 3"]
    raw = Peer(np.zeros(250), -loud, block_size=1, reps=DRAWS, seed=0)
    raw.compute()
    assert raw.pvalues["consistent"] > 0.05  # arch alone would have missed it


def test_blocks_grow_with_memory():
    rng = np.random.default_rng(3)
    slow = lfilter([1], [1, -0.9], rng.normal(size=(400, 3)), axis=0)
    fresh = rng.normal(size=(400, 3))
    assert spa(slow, draws=100).block > 4 * spa(fresh, draws=100).block
    assert spa(slow, block=17, draws=100).block == 17


def test_persistent_returns_are_not_taken_for_skill():
    rng, found = np.random.default_rng(4), []
    for _ in range(20):
        slow = lfilter([1], [1, -0.5], rng.normal(size=(300, 5)), axis=0)
        found.append((spa(slow, draws=100).p_value, spa(slow, block=1, draws=100).p_value))
    honest, naive = (np.array(found) <= 0.05).mean(axis=0)
    assert honest <= 0.2 < 0.3 <= naive


def test_names_seeds_and_those_that_never_traded():
    values = noise(5, strategies=3)
    values[:, 1] += 0.4
    frame = pl.DataFrame(values, schema=["a", "b", "c"])
    holed = frame.with_columns(idle=pl.lit(0.0), time=pl.int_range(pl.len()))
    found = spa(holed, draws=DRAWS)
    assert (found.best, found.strategies) == ("b", 3)
    assert found == spa(frame.to_pandas(), draws=DRAWS)
    assert step_m(holed, draws=DRAWS) == ["b"]
    assert "for b, the best of 3; 150 draws of blocks of " in str(found)
    alone = spa(values[:, :1], draws=DRAWS)
    assert alone.strategies == 1 and alone.lower <= alone.p_value


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: spa(np.zeros((20, 2))), "spa: none of the 2 strategies ever traded"),
        (lambda: spa(noise(0), draws=10), "spa: needs 100 or more draws, found 10"),
        (lambda: spa(noise(0), block=126), "block must be from 1 to half of the 250 periods"),
        (lambda: spa(noise(0)[:9]), "found an array of shape"),
        (lambda: step_m(noise(0), size=0.0), "step_m: size must lie between 0 and 1, found 0.0"),
        (lambda: step_m(np.ones((20, 2))), "step_m: every return of trial 0 is 1"),
    ],
)
def test_mistakes_are_named(call, says):
    with pytest.raises(UserError, match=says):
        call()
