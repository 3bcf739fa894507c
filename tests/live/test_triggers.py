"""The retraining clock: slots, age, drift, worse trades; nothing asks twice for one reason."""

import json
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research import pipeline, study
from research.live import rows
from research.live.triggers import WINDOW, Rules, Triggers, baseline, rolling_sharpe, watch

MINUTE = 60_000_000
DAY = 1440 * MINUTE


def clock(**more):
    rules = Rules(**({"every": 60 * MINUTE} | more))
    return Triggers(rules, Triggers.begin(0, rules))


def test_slots_come_once_each_and_on_time():
    made = clock()
    found = [made.due(k * MINUTE) for k in range(1, 200)]
    asked = [trigger for trigger in found if trigger]
    assert [trigger.at // MINUTE for trigger in asked] == [60, 120, 180]
    assert {trigger.kind for trigger in asked} == {"scheduled"}
    assert made.next_slot() == 240 * MINUTE


def test_slots_that_went_by_are_one_training():
    made = clock()
    late = made.due(200 * MINUTE)
    assert late.at == 180 * MINUTE
    assert made.due(201 * MINUTE) is None
    assert made.due(240 * MINUTE).at == 240 * MINUTE


HALF_PAST = 30 * MINUTE


@pytest.mark.parametrize(
    ("every", "begun", "slots"),
    [
        (DAY, 0, [HALF_PAST, DAY + HALF_PAST]),  # a run that begins at midnight
        (DAY, HALF_PAST, [DAY + HALF_PAST, 2 * DAY + HALF_PAST]),
        (DAY, 617 * MINUTE, [DAY + HALF_PAST, 2 * DAY + HALF_PAST]),
        (7 * DAY, 617 * MINUTE, [7 * DAY + HALF_PAST]),
        (15 * MINUTE, 617 * MINUTE, [630 * MINUTE, 645 * MINUTE]),
    ],
)
def test_beside_jobs_a_training_begins_at_the_time_that_they_say(every, begun, slots):
    rules = Rules(every, clock=HALF_PAST)
    made = Triggers(rules, Triggers.begin(begun, rules))
    closes = range(begun + MINUTE, slots[-1] + MINUTE, MINUTE)
    assert [(at, found.at) for at in closes if (found := made.due(at))] == [(s, s) for s in slots]


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 299), age=st.integers(10, 90), seed=st.integers(0, 999))
def test_the_clock_survives_a_restart(cut, age, seed):
    rng = np.random.default_rng(seed)
    made = {"every": 60 * MINUTE, "max_age": age * MINUTE, "sharpe": 0.5}
    one, two = clock(**made), clock(**made)
    trades = []
    for k in range(1, 300):
        trades += [(k * MINUTE, float(r)) for r in rng.normal(size=5)]
        seen = {"psi": {"a": float(rng.exponential())}, "limits": {"a": 5.0}, "trades": trades}
        if k == cut:
            two = Triggers(two.rules, json.loads(json.dumps(two.state)))
        assert one.due(k * MINUTE, **seen) == two.due(k * MINUTE, **seen)


def test_age_counts_from_the_newest_training_asked_for():
    """S1 asked again at every look: a candidate that was refused left the old model as old."""
    made = clock(every=1000 * MINUTE, max_age=30 * MINUTE)
    asked = [k for k in range(1, 100) if made.due(k * MINUTE)]
    assert asked == [30, 60, 90]


def test_drift_names_the_worst_feature():
    made = clock()
    limits = {"a": 0.25, "b": 2.0}
    assert made.due(MINUTE, psi={"a": 0.2, "b": 1.9}, limits=limits) is None
    assert made.due(MINUTE, psi=None, limits=limits) is None
    found = made.due(MINUTE, psi={"a": 0.3, "b": 4.0}, limits=limits)
    assert (found.kind, found.evidence) == ("drift", {"feature": "b", "psi": 4.0, "limit": 2.0})


def test_few_trades_are_not_a_sharpe_of_zero():
    """S1's file of trades was never written, so its Sharpe was 0.0, below 0.4, for ever."""
    made = clock(every=10 * DAY, sharpe=0.4)
    bad = [(k * MINUTE, -0.01 if k % 2 else 0.001) for k in range(1, 200)]
    assert made.due(DAY, trades=[]) is None
    assert made.due(DAY, trades=bad) is None
    bad.append((200 * MINUTE, -0.01))
    assert made.due(DAY, trades=bad).kind == "sharpe"
    # those trades have had their say: the next 200 must be bad as well
    assert made.due(DAY + MINUTE, trades=bad) is None
    more = [(DAY + k * MINUTE, 0.01 if k % 3 else -0.001) for k in range(1, 201)]
    assert made.due(2 * DAY, trades=bad + more) is None


def test_the_sharpe_is_of_the_newest_trades_by_hand():
    trades = [(k * 30 * MINUTE, 0.001 * (k % 7) - 0.002) for k in range(250)]
    last = np.array([r for _, r in trades[-200:]])
    by_hand = last.mean() / last.std(ddof=1) * np.sqrt(365 * 48)
    assert rolling_sharpe(trades) == pytest.approx(by_hand)
    assert rolling_sharpe([(k, 0.01) for k in range(200)]) is None
    assert rolling_sharpe([(5, 0.01 * k) for k in range(200)]) is None


def test_a_study_says_how():
    usual = Rules.of(study.read("demo"))
    assert usual == Rules(7 * DAY, None, None)
    said = {"retrain.every": "15 min", "retrain.max_age": "30 min", "retrain.sharpe": 0.4}
    assert Rules.of(study.read("demo", said)) == Rules(15 * MINUTE, 30 * MINUTE, 0.4)


@pytest.mark.parametrize(
    ("said", "clock"),
    [({}, 30), ({"jobs.retrain": "13:05"}, 785), ({"jobs.retrain": "off"}, None)],
)
def test_the_time_of_the_day_is_that_of_the_job(said, clock):
    found = Rules.of(study.read("demo", {"jobs.live": True, **said})).clock
    assert found == (clock and clock * MINUTE)
    assert Rules.of(study.read("demo", said)).clock is None  # no job is done beside the run


@pytest.mark.parametrize("kind", ["psi", "budget"])
def test_a_baseline_is_plain_and_watches(small, kind):
    made = small.with_options({"retrain.drift": kind, "retrain.every": "1 d"})
    bars = pipeline.bars(made)
    at = rows.micros(bars["time"].max() - timedelta(days=1))
    facts = json.loads(json.dumps({"drift": baseline(made, bars, at)}, allow_nan=False))
    names = pipeline.feature_set(made).names
    assert list(facts["drift"]["limits"]) == names
    if kind == "psi":
        assert set(facts["drift"]["limits"].values()) == {0.25}
    seen = watch(facts)
    table = pipeline.features(made)
    newest = table.filter(table["time"] >= rows.at(at)).sort("time", "symbol")
    for k, (_, part) in enumerate(newest.group_by("time", maintain_order=True)):
        seen.push(part)
        assert (seen.psi() is None) == (k + 1 < WINDOW)
        if k > WINDOW + 5:
            break
    assert list(seen.psi()) == names
    assert watch({}) is None
