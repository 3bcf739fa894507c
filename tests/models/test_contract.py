"""Laws of every learner, by discovery: the same bytes, sealed columns, a round trip on disk."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from research import models, schema
from research.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LEARNERS = [name for name in models.LEARNERS if not models.is_rule(name)]  # rules learn nothing
TREES = {"rounds": 30, "min_data_in_leaf": 20}
SMALL = {name: TREES if "rounds" in models.learner(name).PARAMS else {} for name in LEARNERS}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    X = pl.DataFrame({name: rng.normal(size=4000) for name in ("a", "b", "c", "d")})
    y = X["a"].to_numpy() * 0.5 + np.sin(X["b"].to_numpy()) + rng.normal(size=4000)
    return X, y


def answers(learner, y):
    """What the learner is taught: the number, or its class."""
    return np.sign(y) * (np.abs(y) > 0.6) if models.learner(learner).CLASSES else y


def fitted(learner, data, **more):
    X, y = data
    fit = models.learner(learner).fit
    return fit(X, answers(learner, y), seed=7, **({"params": SMALL[learner]} | more))


def said(model, X):
    """All that a model says, one column after the other."""
    return np.column_stack(list(model.forecast(X).values()))


@pytest.mark.parametrize("learner", LEARNERS)
def test_same_data_and_seed_give_the_same_bytes(learner, data, tmp_path):
    for name in ("one", "two"):
        fitted(learner, data).save(tmp_path / name)
    one, two = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [p.name for p in one] == [p.name for p in two] and len(one) == 2
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_stored_model_forecasts_bit_for_bit_and_saves_the_same(learner, data, tmp_path):
    X, _ = data
    model = fitted(learner, data)
    model.save(tmp_path / "a")
    loaded = models.load(tmp_path / "a")
    assert (said(loaded, X) == said(model, X)).all()
    assert (loaded.id, loaded.card) == (model.id, json.loads(json.dumps(model.card)))
    loaded.save(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()
    assert (said(pickle.loads(pickle.dumps(model)), X) == said(model, X)).all()


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_forecast_depends_on_its_own_row_alone(learner, data):
    X, _ = data
    model = fitted(learner, data)
    whole = said(model, X)
    alone = [said(model, X.slice(k, 1))[0].tolist() for k in range(0, 4000, 97)]
    assert alone == whole[::97].tolist()
    assert (said(model, X.reverse())[::-1] == whole).all()
    assert said(model, X.head(0)).shape == (0, whole.shape[1])


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_forecast_comes_first_and_is_the_prediction(learner, data):
    X, _ = data
    model = fitted(learner, data)
    found = model.forecast(X)
    assert list(found) == ["forecast", *model.core.outputs]
    assert all(v.shape == (4000,) and v.dtype == np.float64 for v in found.values())
    assert (found["forecast"] == model.predict(X)).all()
    if models.learner(learner).CLASSES:
        assert list(found)[1:] == list(schema.CLASSES)
        p = np.column_stack(list(found.values())[1:])
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
        assert (p >= 0).all() and (found["forecast"] == p[:, 2] - p[:, 0]).all()
        model.card["payoff"] = [-2.0, 0.1, 3.0]
        np.testing.assert_allclose(model.predict(X), p @ [-2.0, 0.1, 3.0], rtol=1e-12)


@pytest.mark.parametrize("learner", LEARNERS)
def test_it_learns_and_pandas_is_at_home(learner, data):
    X, y = data
    model = fitted(learner, data)
    assert np.corrcoef(model.predict(X), y)[0, 1] > 0.5
    again = fitted(learner, (X.to_pandas(), y))
    assert again.core.text == model.core.text
    assert (model.predict(X.to_pandas()) == model.predict(X)).all()
    table = models.importance(model)
    assert set(table["feature"][:2]) == {"a", "b"}
    assert table["importance"].sum() == pytest.approx(1)


@pytest.mark.parametrize("learner", LEARNERS)
def test_another_frame_is_refused_and_the_difference_named(learner, data):
    X, _ = data
    model = fitted(learner, data)
    with pytest.raises(UserError, match="found 'b' where 'a' belongs"):
        model.predict(X.select("b", "a", "c", "d"))
    with pytest.raises(UserError, match=r"missing \['d'\]"):
        model.predict(X.drop("d"))
    with pytest.raises(UserError, match=r"not known to it \['e'\]"):
        model.predict(X.with_columns(e=1.0))
    for bad in (None, float("nan"), float("inf")):
        broken = X.with_columns(
            pl.when(pl.int_range(pl.len()) == 5).then(bad).otherwise("c").alias("c")
        )
        with pytest.raises(UserError, match="in column 'c', row 5"):
            model.predict(broken)


@pytest.mark.parametrize("learner", LEARNERS)
def test_another_version_of_the_feature_set_is_refused(learner, data, toy):
    X, _ = data
    model = fitted(learner, data)
    model.card["features"] = toy.card
    assert model.predict(X, features=dict(toy.card)).shape == (4000,)
    with pytest.raises(UserError, match=r"learnt from feature set toy 1 f+, found toy 2 f+"):
        model.predict(X, features=toy.card | {"version": 2})


@pytest.mark.parametrize("learner", LEARNERS)
def test_what_cannot_be_learnt_is_named(learner, data):
    X, y = data
    y, fit = answers(learner, y), models.learner(learner).fit
    usual = {"seed": 1, "params": {}}
    with pytest.raises(UserError, match="same number of rows"):
        fit(X, y[:-1], **usual)
    with pytest.raises(UserError, match="same number of rows, at least 1"):
        fit(X.head(0), y[:0], **usual)
    with pytest.raises(UserError, match="y must be finite, found nan"):
        fit(X, np.where(np.arange(len(y)) == 3, np.nan, y), **usual)
    with pytest.raises(UserError, match="one number above zero per row"):
        fit(X, y, weight=np.zeros(len(y)), **usual)
    with pytest.raises(UserError, match="unknown setting 'alpah'"):
        fit(X, y, seed=1, params={"alpah": 1})
    nothing = (
        r"training rows" if models.learner(learner).CLASSES else r"y must vary, found 1 in all"
    )
    with pytest.raises(UserError, match=nothing):
        fit(X, np.ones(len(y)), **usual)


@pytest.mark.parametrize("learner", LEARNERS)
def test_weights_count_rows(learner, data):
    X, y = data
    weight = np.where(np.arange(len(y)) < 2000, 1.0, 1e-12)
    weighted = fitted(learner, data, weight=weight)
    assert weighted.core.text != fitted(learner, data).core.text
    if learner == "ridge":  # trees also count rows per leaf, whatever their weight
        alone = fitted(learner, (X.head(2000), y[:2000]), params={"alpha": 0.0})
        weighted = fitted(learner, data, weight=weight, params={"alpha": 0.0})
        np.testing.assert_allclose(weighted.predict(X), alone.predict(X), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("place", [40, -40])
def test_one_flipped_byte_is_noticed(learner, data, tmp_path, place):
    fitted(learner, data).save(tmp_path)
    path = next(p for p in tmp_path.iterdir() if p.name.startswith("model"))
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not what its card says"):
        models.load(tmp_path)


def test_no_model_and_half_a_model_are_named(tmp_path, data):
    with pytest.raises(UserError, match=r"no readable model in .*nowhere"):
        models.load(tmp_path / "nowhere")
    fitted("ridge", data).save(tmp_path)
    (tmp_path / "card.json").write_text('{"learner": "ri')
    with pytest.raises(UserError, match="no readable model"):
        models.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        fitted("ridge", data).save(tmp_path / "file" / "model")


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_card_holds_no_clock_path_or_host(learner, data, tmp_path):
    import getpass
    import socket

    fitted(learner, data).save(tmp_path)
    text = "".join(path.read_text() for path in tmp_path.iterdir())
    for word in (str(ROOT), str(tmp_path), socket.gethostname(), str(Path.home()) + "/"):
        assert word not in text
    assert not (getpass.getuser() != "root" and getpass.getuser() in text)
    card = json.loads((tmp_path / "card.json").read_text())
    assert set(card) == {
        "learner",
        "columns",
        "params",
        "seed",
        "rows",
        "best_iteration",
        "versions",
        "sha256",
    }


def test_settings_are_picked_from_a_whole_study():
    whole = {"alpha": 2.0, "rounds": 9, "learning_rate": 0.1}
    assert models.settings("ridge", whole) == {"alpha": 2.0}
    chosen = models.settings("lightgbm", whole, threads=2)
    assert (chosen["rounds"], chosen["threads"], chosen["num_leaves"]) == (9, 2, 15)
    with pytest.raises(UserError, match=r"unknown setting 'round'. Did you mean 'rounds'"):
        models.settings("ridge", {"round": 3})
    assert models.settings("logistic", whole) == {"alpha": 2.0, "calibrate": True}
    assert models.settings("xgboost_classes", whole)["rounds"] == 9
    assert models.settings("trend", whole) == {}
    with pytest.raises(UserError, match=r"no learner 'lightgmb'. Did you mean 'lightgbm'"):
        models.settings("lightgmb", {})


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_model_shows_itself_small(learner, data):
    page = fitted(learner, data)._repr_html_()
    assert f"model {learner}-" in page and "4,000" in page and len(page) < 3000


@pytest.mark.parametrize("learner", LEARNERS)
def test_learners_print_nothing(learner, data, tmp_path, capfd):
    X, y = data
    for rows in (3000, 60):  # also too few for a leaf
        early = (X.tail(500), answers(learner, y[-500:]))
        model = fitted(learner, (X.head(rows), y[:rows]), early=early, params={})
        model.save(tmp_path)
        models.load(tmp_path).predict(X)
    if models.learner(learner).CONTINUES:
        fitted(learner, data, start_from=model)
    assert capfd.readouterr() == ("", "")


def test_importing_models_loads_no_library():
    code = (
        "import sys, research.models; heavy = {'lightgbm', 'xgboost', 'shap', 'sklearn', 'scipy', "
        "'pandas', 'numba'}; print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_setting_of_a_learner_is_a_studys_and_has_its_default():
    """A study hands its settings over by name: one that it lacks could never be set."""
    from research.study.sections import Model

    words = Model().model_dump()
    for name in models.LEARNERS:
        settings = {k: v for k, v in models.learner(name).PARAMS.items() if k != "threads"}
        assert settings == {key: words[key] for key in settings}


def test_all_learners_that_a_study_may_name_are_here():
    from research.study import sections

    assert tuple(models.LEARNERS) == sections.LEARNERS


@pytest.mark.parametrize("learner", [x for x in LEARNERS if models.learner(x).CONTINUES])
def test_rounds_are_added_to_a_model_of_the_same_learner_alone(learner, data):
    X, y = data
    base = fitted(learner, data)
    longer = fitted(learner, data, params=SMALL[learner] | {"rounds": 5}, start_from=base)
    rounds, more = (np.atleast_1d(m.card["best_iteration"]) for m in (base, longer))
    assert (more == rounds + 5).all()
    again = fitted(learner, data, params=SMALL[learner] | {"rounds": 5}, start_from=base)
    assert again.core.text == longer.core.text and not (said(longer, X) == said(base, X)).all()
    other = fitted("xgboost" if learner != "xgboost" else "lightgbm", data)
    with pytest.raises(UserError, match=f"can add rounds to a {learner} model only, found"):
        fitted(learner, data, start_from=other)
    with pytest.raises(UserError, match="columns must be those it learnt"):
        fitted(learner, (X.select("b", "a", "c", "d"), y), start_from=base)


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_constant_column_does_no_harm(learner, data):
    X, y = data
    model = fitted(learner, (X.with_columns(still=pl.lit(0.1)), y))
    importance = dict(models.importance(model).rows())
    assert importance["still"] == 0 and importance["a"] > 0.2


@pytest.mark.parametrize("learner", [x for x in LEARNERS if models.learner(x).CLASSES])
def test_classes_that_cannot_be_learnt_are_named(learner, data):
    X, _ = data
    fit = models.learner(learner).fit
    usual = {"seed": 1, "params": {}}
    with pytest.raises(UserError, match=r"y must be the class -1, 0 or 1, found 0\.003"):
        fit(X, np.full(4000, 0.003), **usual)
    line = "two classes at least, found flat in all 4,000 and no down and up"
    with pytest.raises(UserError, match=line):
        fit(X, np.zeros(4000), **usual)
    early = (X, np.full(4000, 2.0))
    with pytest.raises(UserError, match="early rows: y must be the class -1, 0 or 1"):
        fit(X, np.sign(X["a"].to_numpy()), early=early, **usual)


@pytest.mark.parametrize("learner", [x for x in LEARNERS if models.learner(x).CLASSES])
def test_a_class_that_never_came_gets_next_to_nothing(learner, data):
    X, y = data
    model = models.learner(learner).fit(X, np.sign(y), seed=1, params=SMALL[learner])
    found = model.forecast(X)
    assert found["p_flat"].max() < 1e-4
    assert np.corrcoef(found["p_up"], y)[0, 1] > 0.5


@pytest.mark.parametrize("learner", [x for x in LEARNERS if models.learner(x).CLASSES])
def test_early_rows_calibrate_where_asked(learner, data):
    X, y = data
    known = answers(learner, y)
    early = (X.tail(1000), known[-1000:])
    params = SMALL[learner] | (
        {"early_stopping": 0, "rounds": 80} if "rounds" in SMALL[learner] else {}
    )

    def loss(calibrate):
        model = fitted(
            learner,
            (X.head(1000), y[:1000]),
            early=early,
            params=params | {"calibrate": calibrate},
        )
        p = np.column_stack(list(model.forecast(early[0]).values())[1:])
        return -np.log(p[np.arange(1000), early[1].astype(int) + 1]).mean(), model

    plain, without = loss(False)
    better, model = loss(True)
    assert better < plain and without.id != model.id
