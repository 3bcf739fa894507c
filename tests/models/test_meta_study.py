"""A study with a second model, and one in bags: through the pipeline, the league and the desk."""

import polars as pl
import pytest
from tests_settings import SMALL

from research import labels, league, models, pipeline, tape, training
from research.errors import UserError
from research.study import read

META = {
    **SMALL,
    "simulated.ic": 0.15,
    "model.name": "ridge",
    "model.meta": "logistic",
    "model.league": [],
    "backtest.rule": "probability",
    "costs.fee": 0.0,
    "costs.slippage": 0.0,
}


@pytest.fixture(scope="module")
def study(small):  # `small` brings a store of its own
    return read("demo", META)


def test_the_desk_trades_what_the_second_model_says(study):
    made = pipeline.forecasts(study)
    assert {"p_down", "p_flat", "p_up", "label"} <= set(made.columns)
    alone = pipeline.forecasts(study.with_options({"model.meta": None}))
    both = made.join(alone, on=["symbol", "time"], suffix="_alone")
    assert both.height == made.height
    assert both["forecast"].equals(both["forecast_alone"], null_equal=True)  # the first is as ever
    tested = pipeline.backtest(study, made)
    assert tested.trades.height > 10
    first = made.filter(pl.max_horizontal("p_up", "p_down") >= 0.5)
    longs = first.filter(pl.col("p_up") >= 0.5).select("symbol", "time")
    entered = tested.trades.filter(pl.col("side") == "long")
    came = entered.select("symbol", pl.col("entry_time").alias("time"))
    assert came.join(longs, on=["symbol", "time"], how="anti").is_empty()


def test_probability_sizes_where_the_study_says_kelly(study):
    chosen = study.with_options({"sizing.kind": "kelly", "sizing.kelly": 0.001})
    made, tested = pipeline.forecasts(chosen), pipeline.backtest(chosen)
    p = made.select(
        "symbol", pl.col("time").alias("entry_time"), "sigma", p=pl.max_horizontal("p_up", "p_down")
    )
    owned = tested.equity.select(pl.col("time").alias("entry_time"), "equity")
    sized = tested.trades.join(p, on=["symbol", "entry_time"]).join(owned, on="entry_time")
    assert sized.height == tested.trades.height
    wanted = 0.001 * (2 * sized["p"] - 1) / (sized["sigma"] * 10**0.5) * sized["equity"]
    found = sized["entry_price"] * sized["quantity"].abs()
    assert found.to_numpy() == pytest.approx(wanted.to_numpy(), rel=0.02)


def test_what_a_trade_costs_is_what_the_second_model_learns_from(study):
    dear = study.with_options({"costs.fee": "2 bps"})
    assert training._meta(study)["cost"] == 0
    assert training._meta(dear)["cost"] == pytest.approx(4e-4)
    one, two = pipeline.forecasts(study), pipeline.forecasts(dear)
    assert one["forecast"].equals(two["forecast"])
    assert two["p_flat"].mean() > one["p_flat"].mean()  # fewer trades pay more


def test_a_rule_that_does_not_trade_it_is_refused(study):
    with pytest.raises(UserError, match=r"'probability' trades; found backtest\.rule 'threshold'"):
        pipeline.forecasts(study.with_options({"backtest.rule": "threshold"}))


def test_a_second_model_without_probabilities_is_refused(study):
    with pytest.raises(UserError, match="'ridge' gives no probabilities"):
        pipeline.forecasts(study.with_options({"model.meta": "ridge"}))


def test_the_league_has_the_first_model_alone(study):
    found = league.table(study)
    assert found["name"].to_list()[2:] == ["ridge", "ridge+logistic"]
    assert found.filter("mine")["name"].to_list() == ["ridge+logistic"]
    plain = league.entry(study, "ridge")
    assert (plain.model.meta, plain.backtest.rule) == (None, "threshold")


def test_fold_models_are_those_of_the_first(study):
    assert {model.card["learner"] for model in pipeline.fold_models(study)} == {"ridge"}
    assert len(pipeline.fold_models(study)) == len(pipeline.folds(study))


def test_a_learner_in_bags_is_trained_on_draws_by_uniqueness(small, monkeypatch):
    asked, draw = [], labels.sequential_bootstrap
    monkeypatch.setattr(
        labels, "sequential_bootstrap", lambda rows, **k: asked.append((rows, k)) or draw(rows, **k)
    )
    chosen = small.with_options({"model.name": "bagged_ridge", "model.bags": 2})
    made = pipeline.forecasts(chosen)
    folds = len(pipeline.folds(chosen))
    assert len(asked) == 2 * folds
    for rows, how in asked:
        whole = labels.uniqueness(rows, interval=how["interval"]).sum()
        assert how["draws"] == round(whole) < rows.height / 5  # ten minutes overlap tenfold
    assert made.height == pipeline.forecasts(small.with_options({"model.name": "ridge"})).height
    newest = pipeline.newest_model(chosen)
    assert (newest.card["learner"], newest.card["params"]["bags"]) == ("bagged_ridge", 2)
    again = pipeline.forecasts(chosen)
    assert again.equals(made)
    assert pipeline.backtest(chosen, made).equity.height > 0


def test_bags_of_classes_trade_probabilities(small):
    told = {"model.name": "bagged_logistic", "model.bags": 2, "backtest.rule": "probability"}
    chosen = small.with_options(
        {**told, "labels.kind": "direction", "labels.threshold": 0.5, "labels.unit": "sigma"}
    )
    made = pipeline.forecasts(chosen)
    total = made.select(pl.sum_horizontal("p_down", "p_flat", "p_up")).to_series()
    assert total.to_numpy() == pytest.approx(1.0)
    assert tape.lay(chosen, pipeline.bars(chosen), made).table["forecast"].abs().max() <= 1


@pytest.mark.parametrize("name", ["bagged_ridg", "bagged_"])
def test_an_unknown_learner_in_bags_is_named(name):
    with pytest.raises(UserError, match="no learner"):
        read("demo", {"model.name": name})
    with pytest.raises(UserError, match="no learner"):
        models.learner(name)
