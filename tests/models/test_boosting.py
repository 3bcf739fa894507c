"""LightGBM: the rank IC, early stopping, threads, rounds added, and lgb.train as oracle."""

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from research.errors import UserError
from research.models import boosting
from research.models.boosting import classes, quantiles

SMALL = {"rounds": 40, "min_data_in_leaf": 20}
BARE = {
    "objective": "regression",
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_col_wise": True,
    "seed": 5,
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.8,
}


def made(rows: int = 3000, *, seed: int = 0, edge: float = 0.5) -> tuple[pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = pl.DataFrame({f"f{k}": rng.normal(size=rows) for k in range(12)})
    return X, edge * X["f0"].to_numpy() + rng.standard_t(3, rows)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.floats(-1, 1)), min_size=2, max_size=60))
@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_rank_ic_is_scipy_spearman_also_with_ties(pairs):
    forecast, y = (np.array(column, dtype=float) for column in zip(*pairs))
    assert boosting.ranks(forecast).tolist() == (rankdata(forecast) - 1).tolist()
    expected = spearmanr(forecast, y).statistic
    found = boosting.rank_ic(forecast, y)
    assert found == (pytest.approx(expected, abs=1e-12) if np.isfinite(expected) else 0.0)


def test_trees_are_those_of_lgb_train():
    X, y = made()
    bare = lgb.train(
        BARE,
        lgb.Dataset(X.to_numpy(), y),
        40,
    )
    model = boosting.fit(X, y, seed=5, params=SMALL)
    assert (model.predict(X) == bare.predict(X.to_numpy(), num_threads=1)).all()


def test_two_threads_forecast_the_same_bits_as_one():
    X, y = made(20_000)
    one, two = (boosting.fit(X, y, seed=1, params=SMALL | {"threads": k}) for k in (1, 2))
    assert (one.predict(X) == two.predict(X)).all()
    again = boosting.fit(X, y, seed=1, params=SMALL | {"threads": 2})
    assert again.core.text == two.core.text


def test_the_seed_draws_the_columns():
    X, y = made()
    one, two = (boosting.fit(X, y, seed=k, params=SMALL).core.text for k in (1, 2))
    assert one != two


def test_early_stopping_keeps_the_round_with_the_best_ic_on_early_rows():
    X, y = made(6000)
    late, after = made(3000, seed=1)
    params = {"rounds": 150, "early_stopping": 20, "min_data_in_leaf": 20, "learning_rate": 0.3}
    model = boosting.fit(X, y, seed=1, params=params, early=(late, after))
    whole = boosting.fit(X, y, seed=1, params=params | {"early_stopping": 0}, early=(late, after))
    assert whole.card["best_iteration"] == 150
    by_round = [
        spearmanr(whole.core.booster.predict(late.to_numpy(), num_iteration=k), after).statistic
        for k in range(1, 151)
    ]
    best = model.card["best_iteration"]
    assert best == 1 + int(np.argmax(by_round[: best + 20]))
    assert best < 130 and model.core.booster.num_trees() == best
    first = whole.core.booster.predict(late.to_numpy(), num_iteration=best)
    assert (model.predict(late) == first).all()


def test_early_rows_stop_and_never_teach():
    X, y = made()
    late, after = made(1000, seed=1)
    never = {"rounds": 10, "early_stopping": 10}
    model = boosting.fit(X, y, seed=1, params=SMALL | never, early=(late, after))
    trees = model.card["best_iteration"]
    alone = boosting.fit(X, y, seed=1, params=SMALL | {"rounds": trees})
    assert (model.predict(X) == alone.predict(X)).all()


def test_rounds_are_added_to_a_stored_model():
    X, y = made()
    base = boosting.fit(X, y, seed=1, params=SMALL)
    longer = boosting.fit(X, y, seed=1, params=SMALL | {"rounds": 15}, start_from=base)
    assert longer.card["best_iteration"] == 55
    first = longer.core.booster.predict(X.to_numpy(), num_iteration=40)
    np.testing.assert_allclose(first, base.predict(X), rtol=1e-12)

    def error(model):
        return ((model.predict(X) - y) ** 2).mean()

    assert error(longer) < error(base)
    again = boosting.fit(X, y, seed=1, params=SMALL | {"rounds": 15}, start_from=base)
    assert again.core.text == longer.core.text
    with pytest.raises(UserError, match="columns must be those it learnt"):
        boosting.fit(X.select("f1", "f0"), y, seed=1, params=SMALL, start_from=base)


def test_too_few_rows_for_a_leaf_give_the_mean():
    X, y = made(50)
    model = boosting.fit(X, y, seed=1, params={})
    np.testing.assert_allclose(model.predict(X), y.mean(), rtol=1e-6)
    assert boosting.Trees(model.core.text).importance().sum() == 0


def test_a_column_name_that_lightgbm_cannot_write_is_named():
    X, y = made(100)
    with pytest.raises(UserError, match=r"found 'my: feature'. Rename"):
        boosting.fit(X.rename({"f3": "my: feature"}), y, seed=1, params={})


def test_settings_reach_lightgbm():
    """Each against lgb.train, told directly; the words differ, the forecasts do not."""
    X, y = made()
    cases = [
        ({"boosting": "goss"}, {"data_sample_strategy": "goss"}),
        ({"max_depth": 2}, {"max_depth": 2}),
        ({"subsample": 0.5}, {"bagging_fraction": 0.5, "bagging_freq": 1}),
        ({"num_leaves": 4, "learning_rate": 0.3}, {"num_leaves": 4, "learning_rate": 0.3}),
    ]
    plain = boosting.fit(X, y, seed=5, params=SMALL).predict(X)
    for ours, theirs in cases:
        found = boosting.fit(X, y, seed=5, params=SMALL | ours).predict(X)
        bare = lgb.train(BARE | theirs, lgb.Dataset(X.to_numpy(), y), 40)
        assert (found == bare.predict(X.to_numpy(), num_threads=1)).all(), ours
        assert not (found == plain).all(), ours


def test_goss_and_a_share_of_rows_exclude_each_other():
    X, y = made(100)
    with pytest.raises(UserError, match=r"subsample must be 1, found 0\.5"):
        boosting.fit(X, y, seed=1, params={"boosting": "goss", "subsample": 0.5})


@pytest.mark.parametrize("draw", [{"boosting": "goss"}, {"subsample": 0.5}])
def test_drawn_rows_are_the_same_for_two_threads(draw):
    X, y = made(6000)
    one, two = (boosting.fit(X, y, seed=1, params=SMALL | draw | {"threads": k}) for k in (1, 2))
    assert (one.predict(X) == two.predict(X)).all()


def test_classes_are_those_of_lgb_train_and_stop_on_log_loss():
    X, y = made(4000)
    known = np.sign(y) * (np.abs(y) > 0.8)
    late, after = X.tail(1000), known[-1000:]
    X, known = X.head(3000), known[:3000]
    theirs = BARE | {"objective": "multiclass", "num_class": 3, "metric": "multi_logloss"}
    data = lgb.Dataset(X.to_numpy(), known + 1)
    bare = lgb.train(
        theirs,
        data,
        200,
        valid_sets=[lgb.Dataset(late.to_numpy(), after + 1, reference=data)],
        callbacks=[lgb.early_stopping(10, verbose=False)],
    )
    params = SMALL | {"rounds": 200, "early_stopping": 10, "calibrate": False}
    model = classes.fit(X, known, seed=5, params=params, early=(late, after))
    assert model.card["best_iteration"] == bare.best_iteration < 190
    found = np.column_stack(list(model.forecast(late).values())[1:])
    np.testing.assert_allclose(found, bare.predict(late.to_numpy()), rtol=1e-12)


def test_rounds_added_to_classes_keep_the_calibration():
    X, y = made()
    known = np.sign(y) * (np.abs(y) > 0.8)
    base = classes.fit(X, known, seed=1, params=SMALL, early=(X, known))
    longer = classes.fit(X, known, seed=1, params=SMALL, start_from=base)
    assert longer.core.calibration == base.core.calibration is not None


def test_each_quantile_is_that_of_lgb_train_and_they_never_cross():
    X, y = made()
    wanted = [0.9, 0.025, 0.5]
    model = quantiles.fit(X, y, seed=5, params=SMALL | {"quantiles": wanted})
    found = model.forecast(X)
    assert list(found) == ["forecast", "q_2.5", "q_50", "q_90"]
    bare = [
        lgb.train(
            BARE | {"objective": "quantile", "alpha": q}, lgb.Dataset(X.to_numpy(), y), 40
        ).predict(X.to_numpy(), num_threads=1)
        for q in sorted(wanted)
    ]
    table = np.column_stack(list(found.values())[1:])
    assert (table == np.sort(np.column_stack(bare), axis=1)).all()
    assert (found["forecast"] == found["q_50"]).all()
    for share, column in zip(sorted(wanted), table.T):
        assert (y <= column).mean() == pytest.approx(share, abs=0.03)


def test_crossed_ensembles_are_put_in_order():
    X, y = made(300)
    low, high = (
        quantiles.fit(X, y, seed=1, params=SMALL | {"quantiles": [q]}).core.text for q in (0.4, 0.6)
    )
    crossed = quantiles.QuantileTrees(high + low)
    assert (np.diff(crossed.predict(X.to_numpy()), axis=1) >= 0).all()
    straight = quantiles.QuantileTrees(low + high)
    assert (crossed.predict(X.to_numpy()) == straight.predict(X.to_numpy())).all()


def test_each_quantile_stops_for_itself():
    X, y = made(4000)
    params = SMALL | {"rounds": 300, "early_stopping": 10, "learning_rate": 0.2}
    early = (X.tail(1000), y[-1000:])
    best = quantiles.fit(X.head(3000), y[:3000], seed=1, params=params, early=early).card
    assert len(set(best["best_iteration"])) > 1 and max(best["best_iteration"]) < 300


@pytest.mark.parametrize("wanted", [[], [0.5, 0.5], [0.1, 1.0]])
def test_quantiles_that_are_none_are_named(wanted):
    X, y = made(100)
    with pytest.raises(UserError, match="quantiles must lie between 0 and 1, each once, found"):
        quantiles.fit(X, y, seed=1, params={"quantiles": wanted})


def test_rounds_are_added_to_the_same_quantiles_alone():
    X, y = made(300)
    base = quantiles.fit(X, y, seed=1, params=SMALL)
    with pytest.raises(UserError, match="quantiles must be those of the model it adds to"):
        quantiles.fit(X, y, seed=1, params=SMALL | {"quantiles": [0.2]}, start_from=base)
