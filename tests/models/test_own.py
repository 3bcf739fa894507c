"""A user's own model or rule: found, fitted, stored where it has a text; mistakes named."""

import numpy as np
import polars as pl
import pytest

from research import models
from research.errors import UserError
from research.models import own

FILE = """
# a comment that changes nothing
import polars as pl

class Slope:
    def fit(self, X, y, sample_weight=None):
        w = 1 if sample_weight is None else sample_weight
        self.k = float((w * X[:, 0] * y).sum() / (w * X[:, 0] ** 2).sum())
        return self

    def predict(self, X):
        return X[:, 0] * self.k

class Kept(Slope):
    def to_text(self):
        return repr(self.k)

    @classmethod
    def from_text(cls, text):
        made = cls()
        made.k = float(text)
        return made

class Classes:
    def fit(self, X, y):
        self.classes_ = sorted(set(y))

    def predict(self, X):
        return X[:, 0]

    def predict_proba(self, X):
        import numpy as np
        p = 1 / (1 + np.exp(-X[:, 0]))
        return np.column_stack([1 - p, p])

class NoFit:
    def predict(self, X):
        return X[:, 0]

class Wide(Slope):
    def predict(self, X):
        return X

class Plain(Slope):
    def fit(self, X, y):
        return Slope.fit(self, X, y)

class Fails(Slope):
    def fit(self, X, y):
        raise ZeroDivisionError("no rows")

def slope():
    return Slope()

def with_argument(a, b):
    return Slope()

number = 3
side = (pl.col("close") > pl.col("open")).cast(pl.Float64)

def also_side():
    return side

def pandas_side(bars):
    return bars["close"] * 0
"""
X = pl.DataFrame({"a": [1.0, 2.0, 3.0, -1.0], "b": [0.0, 1.0, 0.0, 1.0]})
Y = np.array([2.0, 3.0, 7.0, -2.0])


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)

    def _mine(name):
        return models.learner(f"mine:{name}", folder=tmp_path)

    return _mine


@pytest.mark.parametrize("name", ["Slope", "slope"])
def test_a_class_or_a_function_is_fitted(mine, name, tmp_path):
    learner = mine(name)
    assert (learner.PARAMS, learner.CONTINUES, learner.CLASSES, learner.FILE) == (
        {},
        False,
        False,
        None,
    )
    model = learner.fit(X, Y, seed=1, params={})
    k = (X["a"].to_numpy() * Y).sum() / (X["a"].to_numpy() ** 2).sum()
    np.testing.assert_allclose(model.predict(X), X["a"].to_numpy() * k)
    assert model.predict(X.head(0)).shape == (0,)
    weighed = learner.fit(X, Y, seed=1, params={}, weight=np.array([1.0, 1.0, 1.0, 9.0]))
    assert weighed.predict(X)[0] != model.predict(X)[0]
    assert weighed.id != model.id == learner.fit(X, Y, seed=1, params={}).id
    model.save(tmp_path / "model")  # nothing to come back from: nothing is written
    assert not (tmp_path / "model").exists()


def test_one_with_a_text_is_stored_and_comes_back(mine, tmp_path):
    model = mine("Kept").fit(X, Y, seed=1, params={})
    model.save(tmp_path / "model")
    loaded = models.load(tmp_path / "model", folder=tmp_path)
    assert (loaded.predict(X) == model.predict(X)).all() and loaded.id == model.id
    assert loaded.card == model.card
    (tmp_path / "mine.py").unlink()
    with pytest.raises(UserError, match="no readable model"):
        models.load(tmp_path / "model", folder=tmp_path)


def test_probabilities_are_put_where_their_classes_belong(mine):
    learner = mine("Classes")
    assert learner.CLASSES
    found = learner.fit(X, np.sign(Y), seed=1, params={}).forecast(X)
    p = 1 / (1 + np.exp(-X["a"].to_numpy()))
    np.testing.assert_allclose(
        np.column_stack(list(found.values())), np.column_stack([2 * p - 1, 1 - p, 0 * p, p])
    )
    with pytest.raises(UserError, match="two classes at least, found up"):
        learner.fit(X, np.ones(4), seed=1, params={})


@pytest.mark.parametrize("name", ["side", "also_side", "pandas_side"])
def test_expressions_and_pandas_functions_are_rules(mine, name, tmp_path):
    assert models.is_rule(f"mine:{name}", folder=tmp_path)
    frame = X.select(pl.col("b").alias(name))
    model = mine(name).fit(frame, Y, seed=1, params={})
    assert model.predict(frame).tolist() == X["b"].to_list()
    assert model.id.startswith(f"mine:{name}-")


def test_the_source_counts_without_its_comments(mine, tmp_path):
    before = own.source("mine:side", folder=tmp_path)
    assert mine("side").versions() == {"source": before} == mine("Slope").versions()
    (tmp_path / "mine.py").write_text(FILE.replace("# a comment that changes nothing", ""))
    assert own.source("mine:side", folder=tmp_path) == before
    (tmp_path / "mine.py").write_text(FILE.replace("number = 3", "number = 4"))
    assert own.source("mine:side", folder=tmp_path) != before


def test_mistakes_are_named(mine, tmp_path):
    for name, line in [
        ("Slop", "mine.py has no 'Slop'. Did you mean 'Slope'"),
        ("NoFit", r"must have fit\(X, y\) and predict\(X\), NoFit has no fit"),
        ("number", "expected a class or a function without arguments .* found a int"),
        ("with_argument", "expected a class or a function without arguments"),
    ]:
        with pytest.raises(UserError, match=line):
            mine(name)
    with pytest.raises(UserError, match=r"no file other.py in .* Files there: mine"):
        models.learner("other:x", folder=tmp_path)
    with pytest.raises(UserError, match="expected 'module:name'"):
        models.learner("../mine:x", folder=tmp_path)
    with pytest.raises(
        UserError, match=r"raised ZeroDivisionError: no rows \(line 50 of its file\)"
    ):
        mine("Fails").fit(X, Y, seed=1, params={})
    with pytest.raises(UserError, match=r"known numbers of shape \(4,\), gave shape \(4, 2\)"):
        mine("Wide").fit(X, Y, seed=1, params={}).predict(X)
    with pytest.raises(UserError, match="its fit has no sample_weight"):
        mine("Plain").fit(X, Y, seed=1, params={}, weight=np.ones(4))
    with pytest.raises(UserError, match="unknown setting 'rounds'"):
        mine("Slope").fit(X, Y, seed=1, params={"rounds": 3})
    with pytest.raises(UserError, match="y must vary"):
        mine("Slope").fit(X, np.ones(4), seed=1, params={})
    model = mine("Slope").fit(X, Y, seed=1, params={})
    with pytest.raises(UserError, match="no rounds to add"):
        mine("Slope").fit(X, Y, seed=1, params={}, start_from=model)
    with pytest.raises(UserError, match="Ask permutation_importance"):
        models.shap_values(model, X)
    (tmp_path / "broken.py").write_text("x = 1\nraise KeyError('y')\n")
    with pytest.raises(UserError, match=r"raised KeyError: 'y' \(line 2 of its file\)"):
        models.learner("broken:x", folder=tmp_path)
    (tmp_path / "broken.py").write_text("x = = 1\n")
    with pytest.raises(UserError, match=r"raised SyntaxError: .* \(line 1 of its file\)"):
        models.learner("broken:x", folder=tmp_path)


def test_the_forest_that_stands_in_studies_learns():
    rng = np.random.default_rng(0)
    X = pl.DataFrame({name: rng.normal(size=1500) for name in "abc"})
    y = X["a"].to_numpy() + rng.normal(size=1500)
    learner = models.learner("my_models:forest")
    one, two = (learner.fit(X, y, seed=1, params={}) for _ in range(2))
    assert (one.predict(X) == two.predict(X)).all()
    assert models.rank_ic(one.predict(X), y) > 0.5
    assert models.importance(one)["feature"][0] == "a"
