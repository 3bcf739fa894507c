"""Leaks let into the real pipeline: each is caught, by the guard that is there for it alone."""

import json
from datetime import timedelta

import polars as pl
import pytest

from research.audit import guards, mutations
from research.audit.mutations import campaign, small, switch
from research.errors import UserError

# one leak for some guards, which no other guard sees; `./run audit mutations` has one for each
ALONE = {
    "universe": "survivorship",
    "other_coins": "symbol_mixing",
    "labels": "shifted_label",
    "lesson": "unpurged_inner",
    "sealed_room": "tuned_on_test",
    "forecasts": "recalibrated_on_test",
    "cut_points": "full_day_quantile",
    "decisions": "early_forecast",
    "equity": "marked_ahead",
}
# leaks of other stages, several at once: each of the guards named must ring
TOGETHER = [
    (
        ("unclosed_candle", "next_bar", "label_over_gap", "no_purge", "exit_fee_left_out"),
        ("bars", "later_bars", "labels", "sealed_room", "costs"),
    ),
    (
        ("one_bar_peek", "dropped_fold", "invented_rows", "whole_sample_cuts", "no_slippage"),
        ("certificate", "folds", "keys", "cut_points", "fills"),
    ),
]


def test_every_guard_is_put_to_the_test():
    rung = {guard for _, guards_ in TOGETHER for guard in guards_}
    assert set(guards.GUARDS) - set(ALONE) - rung == {"second_lesson"}
    assert len(mutations.MUTATIONS) >= 40


@pytest.mark.parametrize(("guard", "leak"), ALONE.items())
def test_a_leak_is_caught_by_its_guard_and_passes_without_it(guard, leak):
    needs = mutations.MUTATIONS[leak].needs
    with small.market(campaign.SEED, **needs) as (study, raw), mutations.inject(leak):
        seen = guards.look(study, raw)
        found = guards.alarms(seen)
        missed = guards.alarms(seen, without=[guard])
    assert [alarm.guard for alarm in found] == [guard], found
    assert missed == []
    assert any(c.isdigit() for c in found[0].evidence)  # names a place and a value


@pytest.mark.long
@pytest.mark.parametrize(("leaks", "rung"), TOGETHER)
def test_leaks_can_be_let_in_together(leaks, rung):
    with small.market(campaign.SEED) as (study, raw), mutations.inject(*leaks):
        found = guards.alarms(guards.look(study, raw))
    assert set(rung) <= {alarm.guard for alarm in found}


def test_a_clean_run_rings_nothing():
    with small.market(2, **small.VARIANTS[8]) as (study, raw):
        seen = guards.look(study, raw)
        found = guards.alarms(seen)
    assert found == []
    assert seen.refused is None
    assert seen.forecasts.height > 1_000
    assert seen.backtest.trades.height > 20


def test_every_place_exists_and_stands_again_afterwards():
    for name, each in mutations.MUTATIONS.items():
        before = at(each.place)
        with mutations.inject(name):
            assert at(each.place) is not before, name
        assert at(each.place) is before, name


def at(place):
    from functools import reduce
    from importlib import import_module

    module, _, path = place.partition(":")
    *owners, last = path.split(".")
    return vars(reduce(getattr, owners, import_module(module)))[last]


def test_a_place_stands_again_after_an_error():
    place = mutations.MUTATIONS["no_purge"].place
    before = at(place)
    with pytest.raises(KeyError), mutations.inject("no_purge", "row_sliced_folds"):
        raise KeyError
    assert at(place) is before


def test_an_unknown_leak_is_named():
    with pytest.raises(UserError, match=r"no mutation 'no_purg'.*no_purge"):
        mutations.run(only=["no_purg"], clean=0)


def test_what_the_command_gives(monkeypatch):
    quiet = campaign.Result(0.01, -0.02, "same", [])
    loud = campaign.Result(0.31, 0.05, "other", [guards.Alarm("labels", "label A: y is 1")])
    deaf = campaign.Result(0.02, -0.01, "other", [])
    answers = {None: quiet, "shifted_label": loud, "no_purge": deaf, "label_over_gap": quiet}
    monkeypatch.setattr(campaign, "_result", lambda study, seed, how, leak=None: answers[leak])
    told = []
    found = campaign.run(
        only=["shifted_label", "no_purge", "label_over_gap"],
        clean=2,
        progress=lambda *step: told.append(step),
    )
    assert found["caught"] == ["shifted_label"]
    assert found["missed"] == ["no_purge"]
    assert found["without_effect"] == ["label_over_gap"]
    assert found["false_alarms"] == []
    assert told[-1] == (5, 5, "clean 2")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    shown = campaign.text(found)
    assert "1 of 3 leaks caught; missed: no_purge; without effect here: label_over_gap" in shown
    assert "0.010 > 0.310" in shown


def test_an_alarm_in_a_clean_run_is_a_false_one(monkeypatch):
    loud = campaign.Result(0.0, 0.0, "x", [guards.Alarm("equity", "off by 1")])
    monkeypatch.setattr(campaign, "_result", lambda *asked: loud)
    found = campaign.run(only=[], clean=2)
    assert found["false_alarms"] == ["clean-1: equity: off by 1", "clean-2: equity: off by 1"]
    assert "false alarm: clean-2" in campaign.text(found)


def test_what_rang_before_a_leak_did_not_catch_it(monkeypatch):
    rung = campaign.Result(0.0, 0.0, "x", [guards.Alarm("equity", "off")])
    leaky = rung._replace(print="y")
    monkeypatch.setattr(campaign, "_result", lambda *asked: leaky if len(asked) > 3 else rung)
    found = campaign.run(only=["no_purge"], clean=0)
    assert found["missed"] == ["no_purge"]
    assert len(found["false_alarms"]) == 1


def test_the_small_market_has_the_flaws_that_leaks_need():
    raw = small.minutes(1)
    assert raw.select(pl.struct("symbol", "open_time").is_duplicated().any()).item()
    last = raw.group_by("symbol").agg(pl.col("open_time").max()).sort("symbol")["open_time"]
    assert last[2] < last[0] - timedelta(hours=10)  # delisted
    assert last[0].minute % 5 != 4  # ends inside a bar
    steps = raw.sort("symbol", "open_time").select(pl.col("open_time").diff().over("symbol"))
    assert steps["open_time"].max() > timedelta(minutes=40)  # an outage


def test_a_refusal_of_the_pipeline_is_an_alarm(monkeypatch):
    def refuse(*asked, **more):
        raise UserError("no bars")

    with small.market(1) as (study, raw):
        monkeypatch.setattr("research.pipeline.bars", refuse)
        seen = guards.look(study, raw)
    assert guards.alarms(seen) == [guards.Alarm("pipeline", "no bars")]


def test_a_leak_needs_a_name_of_its_own():
    assert len({(m.place, m.does) for m in mutations.MUTATIONS.values()}) == len(
        mutations.MUTATIONS
    )
    assert switch.named("no_purge").does.startswith("rows train")
