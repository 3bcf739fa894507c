"""XGBoost: xgb.train as oracle, early stopping, threads, leaves by rows."""

import numpy as np
import polars as pl
import pytest
import xgboost as xgb
from scipy.stats import spearmanr

from research.models import xgb as regression
from research.models.xgb import classes, trees

SMALL = {"rounds": 40, "min_data_in_leaf": 20}
BARE = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "nthread": 1,
    "seed": 5,
    "eta": 0.05,
    "max_depth": 4,
    "min_child_weight": 20,
    "colsample_bytree": 0.8,
}


def made(rows: int = 3000, *, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = pl.DataFrame({f"f{k}": rng.normal(size=rows) for k in range(8)})
    return X, 0.5 * X["f0"].to_numpy() + rng.standard_t(3, rows)


def bare(X, y, **more):
    return xgb.train(BARE | more, xgb.DMatrix(X.to_numpy(), y), 40)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"max_depth": 2}, {"max_depth": 2}),
        ({"subsample": 0.5}, {"subsample": 0.5}),
        ({"learning_rate": 0.3, "feature_fraction": 1.0}, {"eta": 0.3, "colsample_bytree": 1.0}),
    ],
)
def test_trees_are_those_of_xgb_train(ours, theirs):
    X, y = made()
    model = regression.fit(X, y, seed=5, params=SMALL | ours)
    expected = bare(X, y, **theirs).predict(xgb.DMatrix(X.to_numpy()))
    assert (model.predict(X) == expected).all()


def test_weights_are_counted_in_rows():
    """Weights of any size: their mean is 1, so a leaf's least weight is its least rows."""
    X, y = made()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    one, two = (
        regression.fit(X, y, seed=5, params=SMALL, weight=weight * size).predict(X)
        for size in (1, 1024)
    )
    np.testing.assert_allclose(one, two, rtol=1e-5)
    data = xgb.DMatrix(X.to_numpy(), y, weight=weight / weight.mean())
    assert (one == xgb.train(BARE, data, 40).predict(xgb.DMatrix(X.to_numpy()))).all()


def test_early_stopping_keeps_the_round_with_the_best_ic_on_early_rows():
    X, y = made()
    late, after = made(2000, seed=1)
    params = SMALL | {"rounds": 150, "early_stopping": 20, "learning_rate": 0.3}
    model = regression.fit(X, y, seed=5, params=params, early=(late, after))
    off = params | {"early_stopping": 0}
    whole = regression.fit(X, y, seed=5, params=off, early=(late, after))
    assert whole.card["best_iteration"] == 150
    by_round = [
        spearmanr(
            whole.core.booster.inplace_predict(late.to_numpy(), iteration_range=(0, k)), after
        ).statistic
        for k in range(1, 151)
    ]
    best = model.card["best_iteration"]
    assert best == 1 + int(np.argmax(by_round[: best + 20])) < 130
    assert model.core.booster.num_boosted_rounds() == best
    kept = whole.core.booster.inplace_predict(late.to_numpy(), iteration_range=(0, best))
    assert (model.predict(late) == kept).all()


def test_two_threads_forecast_the_same_bits_as_one():
    X, y = made(20_000)
    one, two = (
        regression.fit(X, y, seed=1, params=SMALL | {"subsample": 0.7, "threads": k})
        for k in (1, 2)
    )
    assert (one.predict(X) == two.predict(X)).all() and one.core.text == two.core.text


def test_classes_are_those_of_xgb_train_and_stop_on_log_loss():
    X, y = made(4000)
    known = np.sign(y) * (np.abs(y) > 0.8)
    late, after = X.tail(1000), known[-1000:]
    X, known = X.head(3000), known[:3000]
    theirs = BARE | {
        "objective": "multi:softprob",
        "num_class": 3,
        "eval_metric": "mlogloss",
        "min_child_weight": 20 * 4 / 9,
    }
    early = xgb.DMatrix(late.to_numpy(), after + 1)
    booster = xgb.train(
        theirs,
        xgb.DMatrix(X.to_numpy(), known + 1),
        200,
        evals=[(early, "early")],
        early_stopping_rounds=10,
        verbose_eval=False,
    )
    params = SMALL | {"rounds": 200, "early_stopping": 10, "calibrate": False}
    model = classes.fit(X, known, seed=5, params=params, early=(late, after))
    assert model.card["best_iteration"] == booster.best_iteration + 1 < 190
    found = np.column_stack(list(model.forecast(late).values())[1:])
    expected = booster.predict(early, iteration_range=(0, booster.best_iteration + 1))
    np.testing.assert_allclose(found, expected, rtol=2e-6)  # theirs in single precision


def test_leaves_hold_the_rows_asked_for():
    """`min_child_weight` in rows: exact for squares, for classes while all are as likely."""
    X, y = made(900)
    for module, answer, row in (
        (regression, y, 1.0),
        (classes, np.tile([-1.0, 0.0, 1.0], 300), 4 / 9),
    ):
        params = {"rounds": 1, "min_data_in_leaf": 120, "max_depth": 6, "feature_fraction": 1.0}
        core = module.fit(X, answer, seed=1, params=params).core
        booster = getattr(core, "ensemble", core).booster
        table = booster.trees_to_dataframe()
        leaves = table[table["Feature"] == "Leaf"]
        assert len(leaves) > 1 and leaves["Cover"].min() / row >= 120 * (1 - 1e-5)


def test_the_calibration_is_an_attribute_of_the_models_own_text():
    X, y = made(600)
    known = np.sign(y) * (np.abs(y) > 0.8)
    model = classes.fit(X, known, seed=1, params=SMALL, early=(X, known))
    booster = xgb.Booster()
    booster.load_model(bytearray(model.core.text.encode()))
    assert booster.attr("calibration") and booster.feature_names == X.columns
    assert trees.text(booster) == model.core.text
    longer = classes.fit(X, known, seed=1, params=SMALL, start_from=model)
    assert longer.core.calibration == model.core.calibration
