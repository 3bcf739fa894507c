"""Search: judged out of sample, shown on days that no trial has seen, counted, resumable."""

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from tests_settings import SMALL

from research import datasets, pipeline, search
from research.errors import UserError
from research.search import journal
from research.store import atomic, ledger
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
    [
        ("seed", "expected KEY=V1"),
        ("a=3..1", "must lie below"),
        ("a=1 bps..2 %", "in one unit"),
        ("a=1.2.3..4", "must be numbers"),
        ("a=0..4:log", "must be above 0"),
    ],
)
def test_a_wrong_entry_is_one_line(entry, said):
    with pytest.raises(UserError, match=said):
        search.parse(entry)


@pytest.mark.parametrize(
    ("space", "how", "said"),
    [
        ([], {}, "at least one setting"),
        (["model.name=ridge,foo"], {}, "no learner 'foo'"),
        (["seed=1,2"], {}, "a fact of the market"),
        (["backtest.entr=1,2"], {}, "Did you mean 'backtest.enter'"),
        (SPACE, {"goal": "nett"}, "no goal 'nett'"),
        (
            ["model.alpha=1,2", "labels.horizon=5 min,1 h"],
            {"goal": "ic"},
            "labels.horizon changes what is forecast",
        ),
        (["model.alpha=0.1..1"], {"sampler": "grid"}, "a grid needs choices"),
        (SPACE, {"held_out": 0.99}, "held_out must be a share"),
        (SPACE, {"n_trials": 0}, "at least one trial"),
        (SPACE, {"sampler": "tpee"}, "no sampler 'tpee'. Did you mean 'tpe'"),
        (["model.alpha=1", "model.alpha=2"], {}, "model.alpha is named twice"),
        (["costs.fee=1 bps..8 bps"], {}, "costs.fee is a fact of the market"),
        (["simulated.seed=1,2"], {}, "simulated.seed is a fact"),
    ],
)
def test_a_wrong_search_is_one_line(store, space, how, said):
    with pytest.raises(UserError, match=said):
        search.run("demo", SMALL, space, **how)


def test_a_search_counts_its_trials_and_goes_on(store):
    own = {**SMALL, "simulated.seed": 5}  # a market that no other test counts trials on
    watched = []
    first = search.run("demo", own, SPACE, n_trials=2, sampler="grid", progress=lambda *a: None)
    found = search.run(
        "demo", own, SPACE, n_trials=6, sampler="grid", progress=lambda *a: watched.append(a[0])
    )
    assert first.trials.height == 2 and found.trials.height == 6
    assert watched == [3, 4, 5, 6]
    assert found.trials.select("backtest.enter", "model.alpha").n_unique() == 6
    assert found.trials["value"][0] == found.trials["value"].max()
    assert found.counted == ledger.count(datasets.dataset(read("demo", own)).lineage) == 6


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
    assert found.held_out["value"] == found.held_out["ic"]


def test_a_setting_that_cannot_work_is_set_aside_with_its_reason(store):
    found = search.run("demo", SMALL, ["backtest.leave=0,-1"], n_trials=2, sampler="grid")
    failed = found.trials.filter(pl.col("value").is_null())
    assert failed.height == 1 and "leave must be at least -enter" in failed["error"][0]


def _judged_on(monkeypatch):
    """Collect what each trial is judged on; the value of a trial is then 0."""
    seen = []
    monkeypatch.setattr(search, "_value", lambda made, rows, _: seen.append((made, rows)) or 0.0)
    return seen


def test_all_trials_are_judged_on_the_same_days(store, monkeypatch):
    seen = _judged_on(monkeypatch)
    space = ["labels.horizon=10 min,2 h", "validation.train=4 d,7 d,8 d"]
    with pytest.raises(UserError, match="out of sample are too few"):
        search.run("demo", SMALL, [*space[:1], "validation.train=4 d,10 d"], sampler="grid")
    found = search.run("demo", SMALL, space, n_trials=6, sampler="grid", held_out=0.4)
    assert len(seen) == 6 and found.trials["error"].null_count() == 6
    starts = {rows["time"].min() for _, rows in seen}
    first = pipeline.folds(read("demo", {**SMALL, "validation.train": "8 d"}))[0].test_start
    assert starts == {first}  # the longest training leaves these days to all
    cut = first + timedelta(days=2)
    for tried, rows in seen:
        assert rows["known_at"].max() < cut
        assert rows["time"].max() >= cut - tried.labels.horizon - timedelta(minutes=2)
    assert found.held_out["start"].startswith(f"{cut:%Y-%m-%d %H:%M}")


def test_a_forecast_whose_outcome_a_gap_swallowed_is_still_traded(store, monkeypatch):
    made = pipeline.forecasts(read("demo", SMALL))
    middle = made["time"].min() + timedelta(hours=30)
    holed = made.with_columns(
        pl.when(pl.col("time") != middle).then(pl.col(c)).alias(c) for c in ("y", "known_at")
    )
    monkeypatch.setattr(pipeline, "forecasts", lambda *_: holed)
    seen = _judged_on(monkeypatch)
    search.run("demo", SMALL, ["backtest.enter=3 bps"], n_trials=1)
    assert (seen[0][1]["time"] == middle).any()


def _fresh():
    for path in (atomic.data_root() / "search").glob("*.jsonl"):
        path.unlink()


def _value_of(settings):
    if settings["a"] > 4.5:
        raise UserError("cannot work")
    return -abs(settings["a"] - 3.0)


@pytest.mark.parametrize("sampler", search.SAMPLERS)
def test_a_search_in_many_calls_is_the_search_in_one(tmp_path, sampler):
    entries = ["a=0.1..9", "b=2 bps..20 bps"] if sampler != "grid" else ["a=5,4,3,2", "b=1,2,3,4"]
    ranges = dict(map(search.parse, entries))

    def after(path, *counts):
        for count in counts:
            for _ in journal.go_on(path, ranges, sampler, 42, count, _value_of):
                pass
        return journal.rows(path)

    whole = after(tmp_path / "whole", 30)
    assert len(whole) == (16 if sampler == "grid" else 30) and any(row["error"] for row in whole)
    assert len({json.dumps(row["settings"]) for row in whole}) > 0.8 * len(whole)
    if sampler == "genetic":  # the second generation is bred from the first
        assert list(whole[-1]["notes"].values()) == [1]
    assert after(tmp_path / "parts", 1, 3, 12, 25, 30) == whole


def test_a_setting_drawn_again_is_not_tried_again(store, monkeypatch):
    seen = _judged_on(monkeypatch)
    found = search.run("demo", SMALL, ["backtest.enter=4 bps,5 bps,6 bps"], n_trials=40)
    assert len(seen) == found.trials.height == 3
    search.run("demo", SMALL, ["backtest.enter=7 bps,8 bps"], n_trials=9, sampler="grid")
    search.run("demo", SMALL, ["backtest.enter=7 bps,8 bps"], n_trials=9, sampler="grid")
    assert len(seen) == 5


KILLED = """
import os, signal, sys
sys.path[:0] = ["{tests}", "{root}"]
from tests_settings import SMALL
from research import search
value, calls = search._value, []
def dies(*given):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return value(*given)
search._value = dies
search.run("demo", SMALL, ["backtest.enter=0.0002..0.0009"], n_trials=5, progress=lambda *_: None)
"""


def test_a_search_killed_in_the_middle_of_a_trial_goes_on(store):
    tests = Path(__file__).parent
    _fresh()
    pipeline.forecasts(read("demo", SMALL))
    script = KILLED.format(tests=tests, root=tests.parent)
    ended = subprocess.run([sys.executable, "-c", script], env=os.environ, capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    (path,) = (atomic.data_root() / "search").glob("*.jsonl")
    assert len(journal.rows(path)) == 2
    how = {"n_trials": 5, "progress": lambda *_: None}
    went_on = search.run("demo", SMALL, ["backtest.enter=0.0002..0.0009"], **how)
    _fresh()
    assert search.run("demo", SMALL, ["backtest.enter=0.0002..0.0009"], **how).trials.equals(
        went_on.trials
    )


def test_a_line_cut_off_by_a_kill_is_forgotten(tmp_path):
    path, row = tmp_path / "a.jsonl", {"value": 1.0}
    for _ in range(2):
        journal.append(path, row)
    whole = path.read_bytes()
    for cut in (1, 5):
        path.write_bytes(whole[:-cut])
        assert journal.rows(path) == [row]
        assert path.read_bytes() == (json.dumps(row) + "\n").encode()
    path.write_bytes(b"x" + whole)
    with pytest.raises(UserError, match="line 1 of"):
        journal.rows(path)


def test_the_same_search_does_not_run_twice_at_once(store, monkeypatch):
    def again(*_):
        search.run("demo", SMALL, ["backtest.enter=11 bps"], n_trials=1)

    monkeypatch.setattr(search, "_value", again)
    with pytest.raises(BlockingIOError, match="search-"):
        again()
