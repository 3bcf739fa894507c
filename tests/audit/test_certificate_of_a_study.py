"""A study's certificate: labels, folds and fitted transforms, each guard broken once."""

import json
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from research import pipeline, signals, tape, training
from research.audit.certificate import run, studied, text
from research.store import atomic

GROUPS = dict.fromkeys(("rsi", "stochrsi", "stoch", "natr", "mfi", "cci"), False)
OPTIONS = {
    "data.interval": "15 min",
    "labels.horizon": "1 h",
    "features.groups": GROUPS,
    "backtest.rule": "quantile",
    "evaluation.bins": 4,
}


@pytest.fixture(scope="module")
def study(small):
    return small.with_options(OPTIONS)


@pytest.fixture(scope="module")
def bars(study):
    return pipeline.bars(study)


def stored_models():
    return set((atomic.data_root() / "forecasts").glob("*/models/*/*"))


def test_an_honest_study_is_causal_through_and_through(study, bars):
    before = stored_models()
    found = run(study)
    assert found["ok"] and found["verdict"] == "causal"
    numbers = [found[key] for key in ("features", "bars", "checked", "mismatches")]
    # 11 columns and sigma; all bars but the last of each of two symbols
    assert numbers == [12, bars.height, 12 * (bars.height - 2), 0]
    assert all(type(number) is int for number in numbers)
    assert {name: guard["ok"] for name, guard in found["guards"].items()} == dict.fromkeys(
        ("labels", "folds", "training", "cut-points"), True
    )
    assert json.loads(json.dumps(found)) == found
    assert "0 mismatches" in text(found) and "byte for byte" in text(found)
    assert stored_models() == before  # the models of the trial are gone


def test_a_certificate_is_kept_until_what_it_is_about_changes(study, monkeypatch):
    asked = []
    real = studied.certify
    monkeypatch.setattr(
        studied, "certify", lambda one, *a, **k: asked.append(1) or real(one, *a, **k)
    )
    found = studied.kept(study)
    assert found["verdict"] == "causal" and len(asked) == 2  # the set, and sigma
    assert studied.kept(study) == found and len(asked) == 2
    cheaper = study.with_options({"costs.fee": "1 bps"})  # nothing is forecast from a fee
    assert studied.kept(cheaper) == found and len(asked) == 2
    other = studied.kept(study.with_options({"features.groups": {}}))
    assert len(asked) == 3 and other["features"] > found["features"]


def test_sets_are_named_and_what_bars_cannot_feed_is_left_out(study, monkeypatch):
    short = pipeline.bars(study).drop("trades").group_by("symbol", maintain_order=True).head(400)
    monkeypatch.setattr(pipeline, "bars", lambda *_, **__: short)
    for name in ("labels", "folds", "training", "cuts"):
        monkeypatch.setattr(studied, f"{name}_guard", lambda *_: studied.guard(True, 0, ""))
    found = run(study, sets=["S2_plus"])
    assert "trades" in found["skipped"]["S2_plus"]
    assert list(found["certificates"]) == ["sigma"]


def test_an_answer_that_knows_more_than_it_says_is_found(study, bars, monkeypatch):
    honest = training.labels
    early = pl.col("known_at") - timedelta(minutes=15)
    monkeypatch.setattr(training, "labels", lambda *a: honest(*a).with_columns(known_at=early))
    found = studied.labels_guard(study, bars)
    assert found["ok"] is False and "move with later bars" in found["note"]


def test_a_fold_that_learns_from_its_test_is_found(study, bars, monkeypatch):
    honest = pipeline.folds(study, bars)
    wide = [replace(fold, train_end=fold.test_start + timedelta(hours=1)) for fold in honest]
    monkeypatch.setattr(pipeline, "folds", lambda *_: wide)
    found = studied.folds_guard(study, bars)
    assert found["ok"] is False and "known too late" in found["note"]


def test_a_fit_that_sees_its_test_is_found(study, bars, monkeypatch):
    honest = training.forecast

    def scaled(study, bars, table, known, folds, decided, watch):
        # a scaler of all rows, the test's among them
        name = table.columns[2]
        whole = table.with_columns((pl.col(name) - pl.col(name).mean()) / pl.col(name).std())
        return honest(study, bars, whole, known, folds, decided, watch)

    monkeypatch.setattr(training, "forecast", scaled)
    found = studied.training_guard(study, bars)
    assert found["ok"] is False and "may not see" in found["note"]


def test_cut_points_of_the_whole_sample_are_found(study, bars, monkeypatch):
    monkeypatch.setattr(
        tape, "binned", lambda study, made: signals.assign(made, bins=4, scope="global")
    )
    found = studied.cuts_guard(study, bars)
    assert found["ok"] is False and "later forecasts" in found["note"]


def test_what_there_is_not_is_not_judged(study, bars):
    rule = study.with_options({"model.name": "trend", "backtest.rule": "threshold"})
    assert studied.training_guard(rule, bars)["ok"] is None
    assert studied.cuts_guard(rule, bars)["ok"] is None
