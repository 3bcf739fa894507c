"""Bags: the mean of fits to draws, from the same seed the same, in the shape of a learner."""

import json
import pickle

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research import models
from research.errors import UserError
from research.models import bagging

LEARNERS = [name for name in models.LEARNERS if not models.is_rule(name)]
SMALL = {"rounds": 10, "min_data_in_leaf": 20}


def small(name):
    """Settings that fit in no time, of those the learner has."""
    return {k: v for k, v in SMALL.items() if k in models.learner(name).PARAMS} | {"bags": 3}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    X = pl.DataFrame({name: rng.normal(size=1200) for name in ("a", "b", "c")})
    return X, X["a"].to_numpy() * 0.5 + rng.normal(size=1200)


def answers(name, y):
    return np.sign(y) * (np.abs(y) > 0.6) if models.learner(name).CLASSES else y


def fitted(name, data, **more):
    X, y = data
    usual = {"seed": 7, "params": small(f"bagged_{name}")}
    return models.learner(f"bagged_{name}").fit(X, answers(name, y), **(usual | more))


def said(model, X):
    return np.column_stack(list(model.forecast(X).values()))


@pytest.mark.parametrize("name", LEARNERS)
def test_bags_are_the_mean_of_fits_to_their_draws(name, data):
    X, y = data
    asked, rng = [], np.random.default_rng(11)
    rows = [rng.integers(1200, size=400) for _ in range(3)]

    def draw(seed):
        asked.append(seed)
        return rows[len(asked) - 1]

    weight = rng.uniform(0.5, 1.5, 1200)
    model = fitted(name, data, draw=draw, weight=weight)
    each = []
    for seed, mine in zip(asked, rows, strict=True):
        own, params = np.sort(mine), {k: v for k, v in small(name).items() if k != "bags"}
        taught, w = answers(name, y)[own], weight[own]
        alone = models.learner(name).fit(X[own], taught, weight=w, seed=seed, params=params)
        each.append(alone.core.predict(X.to_numpy()))
    assert len(set(asked)) == 3
    np.testing.assert_allclose(model.core.predict(X.to_numpy()), np.mean(each, axis=0), atol=1e-12)


@pytest.mark.parametrize("name", LEARNERS)
def test_stored_bags_forecast_bit_for_bit_and_a_row_alone_as_in_a_batch(name, data, tmp_path):
    X, _ = data
    model = fitted(name, data)
    for place in ("one", "two"):
        fitted(name, data).save(tmp_path / place)
    one, two = (sorted((tmp_path / place).iterdir()) for place in ("one", "two"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    loaded, whole = models.load(tmp_path / "one"), said(model, X)
    assert (said(loaded, X) == whole).all()
    assert (said(pickle.loads(pickle.dumps(model)), X) == whole).all()  # as to another process
    assert (loaded.id, loaded.card) == (model.id, json.loads(json.dumps(model.card)))
    assert (loaded.card["learner"], loaded.card["params"]["bags"]) == (f"bagged_{name}", 3)
    alone = [said(model, X.slice(k, 1))[0].tolist() for k in range(0, 1200, 101)]
    assert alone == whole[::101].tolist()


@pytest.mark.parametrize("name", LEARNERS)
def test_what_bags_say_is_whole(name, data):
    X, _ = data
    model = fitted(name, data)
    found = model.forecast(X)
    assert list(found) == list(fitted(name, data).forecast(X))
    if models.learner(name).CLASSES:
        total = found["p_down"] + found["p_flat"] + found["p_up"]
        np.testing.assert_allclose(total, 1.0, atol=1e-12)
    if "q_10" in found:
        assert (found["q_10"] <= found["q_50"]).all() and (found["q_50"] <= found["q_90"]).all()
    assert model.core.importance().shape == (3,)
    assert np.isfinite(model.core.contributions(X.to_numpy())).all()


def test_contributions_add_up_to_the_forecast(data):
    X, _ = data
    for name in ("ridge", "lightgbm"):
        core = fitted(name, data).core
        parts = core.contributions(X.to_numpy()).sum(axis=2)[:, 0]
        np.testing.assert_allclose(parts, core.predict(X.to_numpy()), atol=1e-9)


def test_a_pandas_frame_gives_the_same_bags(data):
    X, y = data
    assert fitted("ridge", (X.to_pandas(), y)).core.text == fitted("ridge", data).core.text


def test_more_bags_leave_those_before_as_they_are(data):
    three, five = (
        json.loads(fitted("ridge", data, params={"bags": bags}).core.text)["bags"]
        for bags in (3, 5)
    )
    assert five[:3] == three and len(set(five)) == 5


def test_bags_of_one_learner_hang_on_the_seed(data):
    assert fitted("ridge", data).core.text != fitted("ridge", data, seed=8).core.text


def test_the_mean_of_bags_errs_less_than_they_do_each():
    """Breiman's inequality: the square of a mean is at most the mean of squares."""
    rng = np.random.default_rng(2)
    X = pl.DataFrame({name: rng.normal(size=600) for name in "abcdefgh"})
    y, fresh = rng.normal(size=600), rng.normal(size=(600, 8))
    model = models.learner("bagged_lightgbm").fit(
        X, y, seed=1, params={"bags": 8, "rounds": 30, "min_data_in_leaf": 5}
    )
    each = [np.mean((core.predict(fresh) - y) ** 2) for core in model.core.cores]
    whole = np.mean((model.core.predict(fresh) - y) ** 2)
    assert whole < np.mean(each) - 1e-3


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 200))
def test_an_even_draw_has_as_many_rows_as_there_are(seed, rows):
    found = bagging._evenly(rows, seed)
    assert found.shape == (rows,)
    assert set(found) <= set(range(rows))
    assert (found == bagging._evenly(rows, seed)).all()


@pytest.mark.parametrize("name", ["bagged_trend", "bagged_bagged_ridge"])
def test_what_learns_nothing_is_not_bagged(name):
    with pytest.raises(UserError, match="bags need a learner that learns"):
        models.learner(name)


def test_a_user_mistake_is_one_line(data):
    with pytest.raises(UserError, match=r"no learner 'ridg'\. Did you mean 'ridge'"):
        models.learner("bagged_ridg")
    with pytest.raises(UserError, match="bags must be at least 1, found 0"):
        fitted("ridge", data, params={"bags": 0})
    with pytest.raises(UserError, match="unknown setting 'rounds'"):
        fitted("ridge", data, params={"rounds": 3})
    with pytest.raises(UserError, match="bags have no rounds to add"):
        fitted("ridge", data, start_from=fitted("ridge", data))


def test_a_study_reads_bags_as_any_setting():
    assert models.settings("bagged_ridge", {"bags": 5, "rounds": 9}) == {"alpha": 1.0, "bags": 5}
    assert models.settings("ridge", {"bags": 5}) == {"alpha": 1.0}
    assert not models.is_rule("bagged_ridge")


def test_bags_of_a_users_own_model(tmp_path, data):
    text = "class Mean:\n    def fit(self, X, y):\n        self.m = float(y.mean())\n"
    text += "    def predict(self, X):\n        return X[:, 0] * 0 + self.m\n"
    (tmp_path / "mine.py").write_text(text)
    X, y = data
    model = models.learner("bagged_mine:Mean", folder=tmp_path).fit(
        X, y, seed=1, params={"bags": 2}
    )
    same = [models.own_source(word, folder=tmp_path) for word in ("mine:Mean", "bagged_mine:Mean")]
    assert same[0] == same[1]
    assert model.core.file is None  # its own are not stored, so bags of them are not
    assert np.ptp(model.predict(X)) == 0
