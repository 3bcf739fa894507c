"""What a model looks at: SHAP adds up and is the shap package's, a planted column is found."""

import numpy as np
import polars as pl
import pytest

from research import models
from research.errors import UserError

TREES = {"rounds": 20, "min_data_in_leaf": 20}
CLASSES = [x for x in models.LEARNERS if models.learner(x).CLASSES]
LEARNT = [x for x in models.LEARNERS if not models.is_rule(x)]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = pl.DataFrame({name: rng.normal(size=1500) for name in "abcd"})
    return X, X["a"].to_numpy() + 0.5 * X["b"].to_numpy() ** 2 + rng.normal(size=1500)


def fitted(learner, data, **more):
    X, y = data
    found = models.learner(learner)
    answers = np.sign(y) * (np.abs(y) > 0.6) if found.CLASSES else y
    params = (TREES if "rounds" in found.PARAMS else {}) | more
    return found.fit(X, answers, seed=1, params=params)


@pytest.mark.parametrize("learner", LEARNT)
def test_rows_add_up_to_the_forecast(learner, data):
    """base + sum = forecast; of classes the log odds of up against down."""
    X, _ = data
    model = fitted(learner, data, **({"quantiles": [0.5]} if "quantiles" in learner else {}))
    table = models.shap_values(model, X)
    assert table.columns == [*X.columns, "base"]
    found = model.forecast(X)
    told = found["forecast"]
    if learner in CLASSES:
        told = np.log(found["p_up"] / found["p_down"])
    exact = 2e-5 if learner.startswith("xgboost") else 1e-9  # single precision
    np.testing.assert_allclose(table.sum_horizontal().to_numpy(), told, atol=exact)
    assert models.shap_values(model, X.head(0)).shape == (0, 5)


@pytest.mark.parametrize("learner", CLASSES)
def test_each_class_has_its_own_margin(learner, data):
    X, _ = data
    model = fitted(learner, data)
    margins = np.column_stack(
        [models.shap_values(model, X, output=name).sum_horizontal() for name in model.core.outputs]
    )
    odds = np.exp(margins)
    p = np.column_stack(list(model.forecast(X).values())[1:])
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), p, atol=1e-5)


def test_quantiles_are_told_one_by_one(data):
    X, _ = data
    model = fitted("lightgbm_quantiles", data)
    for k, name in enumerate(model.core.outputs):
        told = models.shap_values(model, X, output=name).sum_horizontal().to_numpy()
        np.testing.assert_allclose(told, model.core.ensembles[k].predict(X.to_numpy()), atol=1e-9)
    middle = models.shap_values(model, X, output="q_50")
    assert models.shap_values(model, X).equals(middle)
    with pytest.raises(UserError, match=r"no output 'q_51'\. Did you mean 'q_50'"):
        models.shap_values(model, X, output="q_51")


@pytest.mark.parametrize("learner", ["lightgbm", "xgboost", "lightgbm_classes", "xgboost_classes"])
def test_values_are_those_of_the_shap_package(learner, data):
    import shap

    X, _ = data
    X = X.head(50)
    model = fitted(learner, data)
    booster = getattr(model.core, "ensemble", model.core).booster
    told = shap.TreeExplainer(booster)(X.to_numpy()).values
    for k, name in enumerate(model.core.outputs or (None,)):
        ours = models.shap_values(model, X, output=name).drop("base").to_numpy()
        theirs = told[:, :, k] if model.core.outputs else told
        np.testing.assert_allclose(ours, theirs, atol=1e-5 if "xgb" in learner else 1e-12)


def test_linear_values_by_hand():
    X = pl.DataFrame({"a": [0.0, 2.0], "b": [1.0, 5.0]})
    y = np.array([1.0, 7.0])
    model = models.learner("ridge").fit(X, y, seed=1, params={"alpha": 1000.0})
    # standardised columns are (-1, 1) both, y less its mean (-3, 3): X'X + 2 I = [[4, 2], [2, 4]],
    # X'y = (6, 6), so each coefficient is 1
    np.testing.assert_allclose(models.shap_values(model, X).to_numpy(), [[-1, -1, 4], [1, 1, 4]])


def test_importance_over_folds_has_its_spread(data):
    X, y = data
    parts = [fitted("lightgbm", (X.slice(k, 500), y[k : k + 500])) for k in (0, 500, 1000)]
    table = models.importance_across(parts)
    assert table.columns == ["feature", "mean", "sd", "min", "max", "folds"]
    shares = np.array([dict(models.importance(m).rows())["a"] for m in parts])
    expected = ("a", shares.mean(), shares.std(ddof=1), shares.min(), shares.max(), 3)
    assert table.row(by_predicate=pl.col("feature") == "a")[1:] == pytest.approx(expected[1:])
    assert table["feature"][0] in ("a", "b") and table["mean"].sum() == pytest.approx(1)
    assert models.importance_across(parts[:1])["sd"].null_count() == 4
    with pytest.raises(UserError, match="needs one model at least"):
        models.importance_across([])
    with pytest.raises(UserError, match="columns must be those"):
        models.importance_across([parts[0], fitted("lightgbm", (X.select("b", "a"), y))])


@pytest.mark.parametrize("learner", ["ridge", "lightgbm", "xgboost_classes"])
def test_permutation_finds_the_planted_column(learner, data):
    X, y = data
    model = fitted(learner, (X.head(1000), y[:1000]))
    usual = {"score": models.rank_ic, "seed": 1}
    found = models.permutation_importance(model, X.tail(500), y[-500:], **usual)
    assert found.columns == ["feature", "loss", "sd"] and found["feature"][0] == "a"
    loss = dict(found.select("feature", "loss").rows())
    assert loss["a"] > 0.2 and abs(loss["c"]) < 0.03 and abs(loss["d"]) < 0.03
    again = models.permutation_importance(model, X.tail(500), y[-500:], **usual)
    assert again.equals(found)
    once = models.permutation_importance(model, X.tail(500), y[-500:], repeats=1, **usual)
    assert once["sd"].null_count() == 4


def test_permutation_by_hand():
    X = pl.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [0.0, 0.0, 1.0, 0.0]})
    y = np.array([1.0, 2.0, 3.0, 4.0])
    model = models.learner("ridge").fit(X, y, seed=1, params={"alpha": 1e-9})

    def error(forecast, y):
        return -float(((forecast - y) ** 2).mean())

    found = models.permutation_importance(model, X, y, score=error, repeats=3, seed=5)
    rng = np.random.default_rng(5)
    losses = [((rng.permutation(y) - y) ** 2).mean() for _ in range(3)]
    row = found.row(by_predicate=pl.col("feature") == "a", named=True)
    assert row["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert row["sd"] == pytest.approx(np.std(losses, ddof=1), rel=1e-5)
