"""A model trained live at t is, byte for byte, that of the backtest's fold that starts at t."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from tests_settings import SMALL

from research import models, pipeline, study
from research.errors import UserError

CASES = {
    "ridge": {},
    "each its own, weighed, embargo": {
        "model.name": "lightgbm",
        "model.single": True,
        "model.weight": "uniqueness",
        "model.decay": "2 d",
        "validation.embargo": "1 h",
    },
    "expanding, more rounds, a gate": {
        "model.name": "lightgbm",
        "model.continue_rounds": 3,
        "validation.scheme": "expanding",
        "validation.gate": "s1",
    },
    "barriers in sigma": {
        "model.name": "logistic",
        "labels.kind": "barrier",
        "labels.unit": "sigma",
        "labels.threshold": 1.0,
    },
    "hours": {"validation.train": "50 h", "validation.test": "7 h", "model.target": "raw"},
}


def told(found):
    return {name: (model.card, model.core.text) for name, model in found.items()}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_fresh_models_are_those_of_the_fold(store, options):
    chosen = study.read("demo", SMALL | options)
    bars = pipeline.bars(chosen)
    stored = pipeline.fold_models(chosen)
    folds = pipeline.folds(chosen, bars)
    for fold in folds[:: max(len(folds) // 3, 1)]:
        want = {m.card["symbol"] or "": m for m in stored if m.card["fold"]["name"] == fold.name}
        assert want
        known = bars.filter(pl.col("time") <= fold.test_start)  # what a live run has by then
        for table in (bars, known):
            assert told(pipeline.fresh_models(chosen, table, at=fold.test_start)) == told(want)


def test_forecasts_of_fresh_models_are_the_backtest_s(small):
    bars, table, made = pipeline.bars(small), pipeline.features(small), pipeline.forecasts(small)
    for fold in pipeline.folds(small, bars):
        found = pipeline.fresh_models(small, bars, at=fold.test_start)
        said = models.forecast_table(found, table.filter(fold.test(table)))
        assert said.equals(made.filter(fold=fold.name).select(said.columns))


def test_gaps_change_nothing(small):
    """Bars before a window decide its features, so the cut must reach back far enough."""
    bars = pipeline.bars(small)
    at = pipeline.folds(small, bars)[-1].test_start
    hours = pl.col("open_time").dt.epoch("s") // 3600 % 31
    holes = bars.filter(~((hours == 5) & (pl.col("symbol") == bars["symbol"][0])))
    table = pipeline.features(small, holes)
    fold = next(f for f in pipeline.folds(small, holes) if f.test_start == at)
    want = models.fresh(
        table,
        pipeline.labels(small, holes),
        fold,
        learner="ridge",
        columns=pipeline.feature_set(small).names,
        horizon_bars=10,
        inner=0.2,
        params={},
        seed=small.seed,
        feature_card=pipeline.fresh_models(small, bars, at=at)[""].card["features"],
    )
    assert told(pipeline.fresh_models(small, holes, at=at)) == told(want)


def test_a_rule_stands_at_once(small):
    chosen = small.with_options({"model.name": "trend"})
    bars = pipeline.bars(chosen)
    folds = pipeline.folds(chosen, bars)
    found = pipeline.fresh_models(chosen, bars.clear(), at=folds[0].test_start)
    assert {m.id for m in pipeline.fold_models(chosen)} == {found[""].id}
    made, table = pipeline.forecasts(chosen), pipeline.features(chosen)
    tested = pl.col("time").is_between(folds[0].test_start, folds[-1].test_end, closed="left")
    said = models.forecast_table(found, table.filter(tested))
    assert said.equals(made.select(said.columns))


def test_what_cannot_be_trained_is_one_line(small):
    bars = pipeline.bars(small)
    first = bars["open_time"].min()
    for table, at, word in (
        (bars, first + timedelta(days=3), "Bring older bars"),
        (bars.clear(), first + timedelta(days=9), "0 bars"),
        (bars, datetime(2024, 1, 9), "time zone"),
        (bars, first + timedelta(days=90), "more known training rows|no rows"),
    ):
        with pytest.raises(UserError, match=word):
            pipeline.fresh_models(small, table, at=at)


def test_a_second_model_is_not_left_out_in_silence(small):
    words = {"model.name": "logistic", "model.meta": "logistic", "labels.kind": "direction"}
    chosen = small.with_options(words | {"backtest.rule": "probability"})
    bars = pipeline.bars(small)
    with pytest.raises(UserError, match="second model"):
        pipeline.fresh_models(chosen, bars, at=pipeline.folds(small, bars)[0].test_start)
