"""One fold alone: the walk's model byte for byte, and its forecasts bit for bit, row by row."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from research import models
from research.errors import UserError
from research.validation import walk_forward

HOUR = timedelta(hours=1)
HORIZON = 5
PARAMS = {"rounds": 15, "early_stopping": 5, "min_data_in_leaf": 20, "alpha": 1.0}
OWN = """
class Slope:
    def fit(self, X, y):
        self.k = float((X[:, 0] * y).sum() / (X[:, 0] ** 2).sum())
        return self
    def predict(self, X):
        return X[:, 0] * self.k
    def to_text(self):
        return repr(self.k)
    @classmethod
    def from_text(cls, text):
        made = cls()
        made.k = float(text)
        return made
"""


@pytest.fixture(scope="module")
def data(toy):
    features, labels = toy.tables(rows=2600, horizon=HORIZON, symbols="ABC")
    labels = labels.with_columns(label=pl.col("y").sign().cast(pl.Int8))
    features = features.with_columns(trend=pl.col("a").sign())
    end = features["time"].max()
    folds = walk_forward(toy.start, end, train=20 * HOUR, test=7 * HOUR, embargo=HOUR / 3)
    return features, labels, folds


def how(toy, learner, **more):
    columns = ["trend"] if learner == "trend" else toy.columns
    usual = {"columns": columns, "horizon_bars": HORIZON, "params": PARAMS, "seed": 1}
    return usual | {"learner": learner, "feature_card": toy.card} | more


LEARNERS = [name for name in models.LEARNERS if not models.is_rule(name)]


@pytest.mark.parametrize("single", [False, True], ids=["pooled", "single"])
@pytest.mark.parametrize("learner", [*LEARNERS, "trend", "mine:Slope"])
def test_a_fold_alone_is_the_walk_s_and_so_are_its_forecasts(toy, data, tmp_path, learner, single):
    (tmp_path / "mine.py").write_text(OWN)
    features, labels, folds = data
    asked = how(toy, learner, single=single, own_folder=tmp_path)
    walk = models.out_of_sample(features, labels, folds, **asked, folder=tmp_path / "models")
    kept = list(models.stored(tmp_path / "models", own_folder=tmp_path))
    for fold in folds:
        before = pl.col("time") < fold.test_start
        found = models.fresh(features.filter(before), labels.filter(before), fold, **asked)
        want = {m.card["symbol"] or "": m for m in kept if m.card["fold"]["name"] == fold.name}
        assert {k: (m.card, m.core.text) for k, m in found.items()} == {
            k: (m.card, m.core.text) for k, m in want.items()
        }
        test = features.filter(fold.test(features))
        batch = models.forecast_table(found, test)
        told = walk.forecasts.filter(fold=fold.name).select(batch.columns)
        assert_frame_equal(batch, told, check_exact=True)
        rows = [
            models.forecast_table(found, test[k]) for k in range(0, test.height, test.height // 40)
        ]
        alone = pl.concat(rows)
        same = batch.join(alone.select("symbol", "time"), on=["symbol", "time"], how="semi")
        assert_frame_equal(alone, same, check_exact=True)
        shown = test["time"].unique().sort().gather_every(25)
        for time in shown:
            assert_said(found, test.filter(time=time), batch)


def assert_said(found, rows, batch):
    """A few rows as arrays are told what the table is, bit for bit, and None where it is silent."""
    names = [name for name in rows.columns if name not in ("symbol", "time", "sigma")]
    values = rows.select(pl.col(*names, "sigma").fill_null(np.nan)).to_numpy()
    said = models.forecast_rows(
        found, rows["symbol"].to_list(), names, values[:, :-1], values[:, -1]
    )
    want = rows.select("symbol", "time").join(batch, on=["symbol", "time"], how="left")
    assert said.model == want["model"].to_list()
    told = [name for name in batch.columns if name not in ("symbol", "time", "sigma", "model")]
    assert list(said.columns) == told
    for name in told:
        assert said.columns[name].tobytes() == want[name].fill_null(np.nan).to_numpy().tobytes()


@pytest.mark.parametrize("more", [{"continue_rounds": 3}, {"gate": "s1"}, {"gate": "ic"}])
def test_added_rounds_and_gates_cut_as_in_the_walk(toy, data, tmp_path, more):
    features, labels, folds = data
    asked = how(toy, "lightgbm", **more)
    models.out_of_sample(features, labels, folds, **asked, folder=tmp_path)
    rounds = more.get("continue_rounds", 0)
    kept = list(models.stored(tmp_path, continued=rounds))
    for fold, want in zip(folds, kept):
        found = models.fresh(features, labels, fold, **asked)
        assert (found[""].card, found[""].core.text) == (want.card, want.core.text)


def test_what_comes_after_the_fold_s_start_is_not_looked_at(toy, data):
    features, labels, folds = data
    fold, asked = folds[0], how(toy, "lightgbm")
    later = pl.col("time") >= fold.test_start
    noise = [pl.when(later).then(pl.col(c) * 9 + 1).otherwise(pl.col(c)) for c in toy.columns]
    unknown = pl.col("known_at") >= fold.train_end
    lies = pl.when(unknown).then(-pl.col("y")).otherwise(pl.col("y"))
    one = models.fresh(features, labels, fold, **asked)[""]
    two = models.fresh(
        features.with_columns(noise), labels.with_columns(lies.alias("y")), fold, **asked
    )[""]
    assert (one.card, one.core.text) == (two.card, two.core.text)


def test_rows_that_cannot_be_forecast_are_left_out(toy, data):
    features, labels, folds = data
    found = models.fresh(features, labels, folds[0], **how(toy, "ridge", single=True))
    rows = features.filter(pl.col("time") == folds[0].test_start)
    holes = rows.with_columns(
        pl.when(pl.col("symbol") != "A").then(pl.col("b")),
        pl.when(pl.col("symbol") != "B").then(pl.col("sigma")).alias("sigma"),
    )
    assert models.forecast_table(found, rows)["symbol"].to_list() == ["A", "B", "C"]
    assert models.forecast_table(found, holes)["symbol"].to_list() == ["C"]
    del found["C"]
    assert models.forecast_table(found, rows[::-1])["symbol"].to_list() == ["B", "A"]
    none = models.forecast_table(found, rows.clear())
    assert none.schema == models.forecast_table(found, rows).schema
    assert_said(found, holes, models.forecast_table(found, holes))
    with pytest.raises(UserError, match="'b' is missing"):
        models.forecast_table(found, rows.drop("b"))
    with pytest.raises(UserError, match="'b' is missing"):
        assert_said(found, rows.drop("b"), models.forecast_table(found, rows))


def test_too_little_to_learn_from_is_one_line(toy, data):
    features, labels, folds = data
    asked = how(toy, "ridge")
    early = pl.col("time") < folds[0].train_start + timedelta(minutes=22)
    with pytest.raises(UserError, match="more known training rows"):
        models.fresh(features.filter(early), labels, folds[0], **asked)
    one = labels.with_columns(label=pl.lit(1, pl.Int8))
    with pytest.raises(UserError):
        models.fresh(features, one, folds[0], **how(toy, "logistic"))


def test_a_rule_needs_no_rows(toy):
    made = models.standing(
        "trend", columns=["trend"], horizon_bars=4, target="raw", seed=1, feature_card=toy.card
    )
    rows = pl.DataFrame({"symbol": ["A"], "trend": [-1.0], "sigma": [0.01]}).with_columns(
        pl.lit(toy.start).dt.cast_time_unit("us").alias("time")
    )
    assert models.forecast_table({"": made}, rows)["forecast"].to_list() == [-0.02]
    assert np.isfinite(made.core.importance()).all()
