"""The contest: chance does not promote, skill does, nothing is stuck, a restart changes nothing."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from research import study
from research.campaigns.paper.contests import ALPHA, MINUTE, held, market, rules, stuck
from research.live.shadow import ENOUGH, Contest, Look, Rules
from research.models import gates
from research.scores.evidence import STAKES


def promoted(count, kind, *, bets, seed, rule="evidence", **more):
    """Return the share of `count` challengers that were promoted within `bets` horizons."""
    rng, won = np.random.default_rng(seed), 0
    for _ in range(count):
        _, verdict = held(rules(rule, bets=bets), *market(rng, bets, kind, **more))
        assert verdict is not None, "nobody is left without a verdict"
        won += verdict.kind == "promote"
    return won / count


@pytest.mark.parametrize(
    ("count", "kind"), [(500, "both know nothing"), (150, "both know as much"), (150, "worse")]
)
def test_of_challengers_that_are_no_better_few_are_promoted(count, kind):
    share = promoted(count, kind, bets=250, seed=3)
    assert share * count <= binom.ppf(0.999, count, ALPHA)
    assert share <= ALPHA


def test_a_better_one_is_promoted():
    assert promoted(40, "better", bets=1000, seed=4, symbols=5) >= 0.9


def test_s1_s_rule_promotes_by_chance():
    """Why it is not the default: of two that know nothing, one in three or so takes over."""
    assert promoted(200, "both know nothing", bets=250, seed=5, rule="s1") > 0.25


def test_the_same_forecasts_never_win():
    rng = np.random.default_rng(6)
    said, outcome = market(rng, 400, "both know nothing")
    said[:, :, 1] = said[:, :, 0]
    contest, verdict = held(rules(bets=400), said, outcome)
    assert verdict.kind == "expire"
    assert contest.e_value == 1.0
    assert contest.state["bets"] == 0


def test_a_stuck_one_expires_however_well_it_looks():
    """A constant is often nearer to the truth than a model that has lost its way."""
    rng = np.random.default_rng(7)
    said, outcome = stuck(rng, 600)
    contest, verdict = held(rules(bets=600), said, outcome)
    assert contest.e_value > 1000
    assert verdict.kind == "expire"
    assert verdict.evidence["stuck"]
    said[:, :, 1] = 0.0001 * rng.normal(size=said.shape[:2])
    assert held(rules(bets=600), said, outcome)[1].kind == "promote"


def test_nobody_waits_for_ever():
    """S1 asked for 50 forecasts in 5 minutes of one a minute: no candidate was ever promoted."""
    contest = Contest(rules("s1", bets=30), Contest.begin("old", "new", 0))
    for k in range(31):
        verdict = contest.observe(k * MINUTE, {})
    assert verdict.kind == "expire"


def test_always_is_at_once():
    assert held(rules("always"), np.zeros((1, 1, 2)), np.zeros((1, 1)))[1].kind == "promote"


def twin(forecasts, outcomes, bars, entry):
    """The fortune, written once more: plain, from the formulas, with the whole past at hand."""
    prices = np.cumprod(1 + 0.001 * outcomes)
    fortunes, sizes = [1.0] * len(STAKES), []
    unit, k = 0.001 * math.sqrt(bars), 0
    while k + bars < len(prices):
        f0, f1 = forecasts[k] * 0.001 / unit
        begin = prices[k] if entry == "close" else prices[k] * 1.0001
        y = float(np.clip((prices[k + bars] / begin - 1) / unit, -3, 3))
        sizes.append(abs(f1 - f0))
        scale = 6 * np.sqrt(np.mean(np.square(sizes)))
        if scale > 0:
            x = np.clip(((y - f0) ** 2 - (y - f1) ** 2) / scale, -1, 1)
            fortunes = [fortune * (1 + stake * x) for fortune, stake in zip(fortunes, STAKES)]
        k += bars
    return np.mean(fortunes)


@pytest.mark.parametrize(
    ("bars", "entry"), [(1, "close"), (1, "next_open"), (7, "close"), (7, "next_open")]
)
def test_the_fortune_is_that_of_the_formulas(bars, entry):
    rng = np.random.default_rng(8)
    n = 300
    outcomes, forecasts = rng.normal(size=n), 0.3 * rng.normal(size=(n, 2))
    prices = np.cumprod(1 + 0.001 * outcomes)
    contest = Contest(rules(bars=bars, entry=entry, alpha=1e-9), Contest.begin("old", "new", 0))
    for k in range(n):
        opened = prices[k - 1] * 1.0001 if k else 1.0
        look = Look(opened, prices[k], 0.001, *(0.001 * forecasts[k]))
        assert contest.observe(k * MINUTE, {"A": look}) is None
    assert contest.e_value == pytest.approx(twin(forecasts, outcomes, bars, entry), rel=1e-9)
    assert contest.state["bets"] == (n - 1) // bars


def test_s1_s_numbers_are_the_gate_s():
    """Sums, bar by bar, against the gate's own function over all rows."""
    rng = np.random.default_rng(9)
    said, outcome = market(rng, ENOUGH + 20, "better", symbols=1)
    contest, verdict = held(rules("s1"), 10 * said, outcome)
    assert contest.state["forecasts"] == ENOUGH
    y, both = 0.001 * outcome[:ENOUGH, 0], 0.01 * said[:ENOUGH, 0]
    old, new = (gates.evidence(both[:, k], y) for k in (0, 1))
    shown = verdict.evidence
    assert shown["rmse"] == pytest.approx(new.rmse)
    assert shown["rmse_champion"] == pytest.approx(old.rmse)
    assert shown["sharpe"] == pytest.approx(new.sharpe)
    assert shown["sharpe_champion"] == pytest.approx(old.sharpe)
    assert (verdict.kind == "promote") == bool(gates.passes("s1", new, old))


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 119), rule=st.sampled_from(["evidence", "s1"]), seed=st.integers(0, 99))
def test_a_restart_changes_nothing(cut, rule, seed):
    rng = np.random.default_rng(seed)
    said, outcome = market(rng, 120, "better", symbols=2)
    made = rules(rule, bars=3)
    whole, split = (Contest(made, Contest.begin("old", "new", 0)) for _ in range(2))
    for k in range(120):
        looks = {
            s: Look(1.0, 1 + 0.001 * outcome[k, int(s)], 0.001, *(0.001 * said[k, int(s)]))
            for s in "01"
            if rng.random() > 0.05
        }
        if k == cut:
            split = Contest(made, json.loads(json.dumps(split.state, allow_nan=False)))
        assert whole.observe(k * MINUTE, looks) == split.observe(k * MINUTE, looks)
        assert whole.state == split.state


def test_gaps_and_unknown_numbers_void_a_bet():
    contest = Contest(rules(bars=2, entry="next_open"), Contest.begin("old", "new", 0))
    full = Look(1.0, 1.0, 0.001, 0.0001, 0.0002)
    for k, looks in enumerate(
        [
            {"A": full},  # opens
            {},  # no bar to enter at
            {"A": full},  # void; opens anew
            {"A": full},
            {},  # no bar to leave at
            {"A": full._replace(challenger=None)},
            {"A": full._replace(sigma=None)},
            {"A": full._replace(sigma=0.0)},
        ]
    ):
        assert contest.observe(k * MINUTE, looks) is None
        json.dumps(contest.evidence(k * MINUTE), allow_nan=False)
    assert contest.state["bets"] == 0
    assert contest.state["open"] == []


def test_a_study_says_how():
    made = Rules.of(study.read("demo", {"retrain.alpha": 0.01, "labels.entry": "close"}))
    assert made == Rules("evidence", 0.01, 2 * 1440 * MINUTE, 10, MINUTE, "close")
