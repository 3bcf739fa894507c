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

SMALL = {"rounds": 40, "min_data_in_leaf": 20}


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
        {
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
        },
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
