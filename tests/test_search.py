"""Search: judged out of sample, shown on days that no trial has seen, counted, resumable."""

import polars as pl
import pytest
from tests_settings import SMALL

from research import pipeline, search
from research.errors import UserError
from research.store import trials
from research.study import read

SPACE = ["backtest.enter=2 bps,10 bps,20 bps", "model.alpha=0.1,10"]


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("model.name=ridge,lightgbm", ("model.name", ["ridge", "lightgbm"])),
        ("backtest.hold=5 min,1 h", ("backtest.hold", ["5 min", "1 h"])),
        ("costs.fee=2 bps..8 bps", ("costs.fee", (2, 8, " bps", False))),
        ("model.alpha=1e-3..10:log", ("model.alpha", (1e-3, 10, "", True))),
        ("backtest.enter=0.001..0.002", ("backtest.enter", (0.001, 0.002, "", False))),
    ],
)
def test_an_entry_is_a_choice_or_a_range(entry, found):
    assert search.parse(entry) == found


@pytest.mark.parametrize(
    ("entry", "said"),
    [("seed", "expected KEY=V1"), ("a=3..1", "must lie below"), ("a=1 bps..2 %", "in one unit")],
)
def test_a_wrong_entry_is_one_line(entry, said):
    with pytest.raises(UserError, match=said):
        search.parse(entry)


@pytest.mark.parametrize(
    ("space", "how", "said"),
    [
        ([], {}, "at least one setting"),
        (["backtest.entr=1,2"], {}, "Did you mean 'backtest.enter'"),
        (SPACE, {"goal": "nett"}, "no goal 'nett'"),
        (["model.alpha=0.1..1"], {"sampler": "grid"}, "a grid needs choices"),
        (SPACE, {"held_out": 0.99}, "held_out must be a share"),
    ],
)
def test_a_wrong_search_is_one_line(store, space, how, said):
    with pytest.raises(UserError, match=said):
        search.run("demo", SMALL, space, **how)


def test_a_search_counts_its_trials_and_goes_on(store):
    watched = []
    first = search.run("demo", SMALL, SPACE, n_trials=2, sampler="grid", progress=lambda *a: None)
    found = search.run(
        "demo", SMALL, SPACE, n_trials=6, sampler="grid", progress=lambda *a: watched.append(a[0])
    )
    assert first.trials.height == 2 and found.trials.height == 6
    assert watched == [3, 4, 5, 6]
    assert found.trials.select("backtest.enter", "model.alpha").n_unique() == 6
    assert found.trials["value"][0] == found.trials["value"].max()
    assert found.counted == trials.count("simulated/" + _market()) == 6


def _market():
    from research import datasets

    return datasets.dataset(read("demo", SMALL)).market


def test_the_winner_is_shown_on_days_no_trial_saw(store, monkeypatch):
    seen = []
    value = search._value
    monkeypatch.setattr(
        search, "_value", lambda s, made, goal: seen.append(made) or value(s, made, goal)
    )
    found = search.run("demo", SMALL, ["model.alpha=0.1,10"], n_trials=2, goal="ic", sampler="grid")
    latest = max(made["known_at"].max() for made in seen)
    assert str(latest) < found.held_out["start"]
    winner = read("demo", SMALL).with_options(found.best)
    late = pipeline.forecasts(winner).filter(
        pl.col("time") >= pl.lit(found.held_out["start"]).str.to_datetime(time_zone="UTC")
    )
    assert found.held_out["trades"] == pipeline.backtest(winner, late).summary["trades"]


def test_a_setting_that_cannot_work_is_set_aside_with_its_reason(store):
    found = search.run("demo", SMALL, ["backtest.leave=0,-1"], n_trials=2, sampler="grid")
    failed = found.trials.filter(pl.col("value").is_null())
    assert failed.height == 1 and "leave must be at least -enter" in failed["error"][0]
