"""Out-of-sample forecasts: no answer from later, the formula, resuming, adding rounds."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.stats import spearmanr

from research import models, schema
from research.errors import UserError
from research.models import gates, learners
from research.models.oos.rows import Rows, Timeline
from research.validation import Fold, walk_forward

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
START = datetime(2025, 5, 1, tzinfo=UTC)
HORIZON = 5
PARAMS = {"rounds": 15, "early_stopping": 5, "min_data_in_leaf": 20, "alpha": 1.0}
LEARNERS = ["ridge", "lightgbm"]
CLASSES = ["logistic", "lightgbm_classes", "xgboost_classes"]


@pytest.fixture(scope="module")
def data(toy):
    features, labels = toy.tables(rows=3000, horizon=HORIZON)
    folds = walk_forward(
        toy.start,
        features["time"].max(),
        train=20 * HOUR,
        test=7 * HOUR,
        embargo=timedelta(minutes=20),
    )
    return features, labels, folds


@pytest.fixture
def made(toy, data):
    def _made(learner="ridge", *, features=None, labels=None, **more):
        usual = {
            "columns": toy.columns,
            "horizon_bars": HORIZON,
            "params": PARAMS,
            "seed": 1,
            "feature_card": toy.card,
        }
        return models.out_of_sample(
            data[0] if features is None else features,
            data[1] if labels is None else labels,
            data[2][: more.pop("first", None)],
            learner=learner,
            **(usual | more),
        )

    return _made


@pytest.fixture
def run(made):
    return lambda *args, **more: made(*args, **more).forecasts


def with_classes(labels: pl.DataFrame) -> pl.DataFrame:
    """Down, flat and up beyond 10 bp."""
    side = pl.col("y").sign() * (pl.col("y").abs() > 0.001)
    return labels.with_columns(side.cast(pl.Int8).alias("label"))


def content(folder: Path) -> dict[str, str]:
    """Every file below `folder` by the fingerprint of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("learner", LEARNERS)
def test_forecasts_are_a_table_of_every_test_row_with_known_features(learner, run, data):
    features, labels, folds = data
    found = run(learner)
    schema.check(found, schema.FORECASTS, "forecasts")
    assert found.columns == list(schema.FORECASTS)
    inside = pl.col("time") >= folds[0].test_start
    expected = features.drop_nulls().filter(inside).select("symbol", "time", "sigma")
    assert_frame_equal(found.select("symbol", "time", "sigma"), expected)
    answers = expected.join(labels, on=schema.KEY, how="left", maintain_order="left")
    assert_frame_equal(found.select("y", "known_at"), answers.select("y", "known_at"))
    assert found["y"].null_count() == 2 * HORIZON  # the newest rows: forecast, not answered yet
    assert found["fold"].unique(maintain_order=True).to_list() == [f.name for f in folds]
    assert found["model"].n_unique() == len(folds)
    assert found["model"].str.starts_with(learner + "-").all()
    assert found.select(pl.corr("forecast", "y", method="spearman")).item() > 0.15


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("single", [False, True])
def test_answers_not_known_before_the_embargo_change_nothing(learner, single, run, data):
    _, labels, folds = data
    fold = folds[2]
    late = pl.col("known_at") >= fold.train_end
    bent = labels.with_columns(pl.when(late).then(-3 * pl.col("y")).otherwise("y").alias("y"))
    mine = pl.col("fold") == fold.name
    straight, crooked = (
        run(learner, labels=table, single=single).select("symbol", "time", "forecast", "fold")
        for table in (labels, bent)
    )
    assert_frame_equal(straight.filter(mine), crooked.filter(mine), check_exact=True)
    after = pl.col("fold") == folds[3].name  # which did learn from them
    assert not straight.filter(after).equals(crooked.filter(after))


@pytest.mark.parametrize("learner", LEARNERS)
def test_later_features_change_no_earlier_forecast(learner, run, data):
    features, _, folds = data
    moment = folds[2].test_start + HOUR
    later = pl.col("time") > moment
    bent = features.with_columns(
        pl.when(later).then(pl.col(c) * -2 + 1).otherwise(c).alias(c) for c in ("a", "b", "c")
    )
    straight, crooked = run(learner), run(learner, features=bent)
    columns = ["symbol", "time", "forecast"]
    before = straight.filter(~later).select(columns)
    assert_frame_equal(before, crooked.filter(~later).select(columns), check_exact=True)
    assert not straight.select(columns).equals(crooked.select(columns))


def test_the_forecast_is_the_prediction_times_sigma_root_h(run, data, toy):
    """Slow twin of one fold, by hand."""
    features, labels, folds = data
    fold = folds[1]
    rows = features.drop_nulls().join(labels, on=schema.KEY).sort("symbol", "time")
    train = rows.filter(
        pl.col("time") >= fold.train_start, pl.col("known_at") < fold.train_end
    ).with_columns(scaled=(pl.col("y") / (pl.col("sigma") * HORIZON**0.5)).clip(-3, 3))
    assert 0 < (train["scaled"].abs() == 3).mean() < 0.05
    model = models.learner("ridge").fit(
        train.select(toy.columns), train["scaled"].to_numpy(), seed=1, params={"alpha": 1.0}
    )
    found = run().filter(pl.col("fold") == fold.name)
    inputs = features.join(found, on=schema.KEY, how="semi").select(toy.columns)
    expected = model.predict(inputs) * (found["sigma"] * HORIZON**0.5).to_numpy()
    np.testing.assert_allclose(found["forecast"], expected, rtol=1e-12)


def test_a_raw_target_is_learnt_as_it_is(run, data, toy):
    features, labels, folds = data
    found = run(target="raw").filter(pl.col("fold") == folds[0].name)
    rows = features.drop_nulls().join(labels, on=schema.KEY)
    rows = rows.filter(folds[0].train(rows))
    model = models.learner("ridge").fit(
        rows.select(toy.columns), rows["y"].to_numpy(), seed=1, params={"alpha": 1.0}
    )
    inputs = features.join(found, on=schema.KEY, how="semi").select(toy.columns)
    np.testing.assert_allclose(found["forecast"], model.predict(inputs), rtol=1e-12)


def test_early_stopping_rows_lie_inside_the_training_window(run, data, tmp_path):
    run("lightgbm", folder=tmp_path, params=PARAMS | {"rounds": 60})
    features, labels, folds = data
    rows = features.drop_nulls().join(labels, on=schema.KEY)
    stopped = set()
    for fold in folds:
        card = models.load(tmp_path / fold.name.replace(":", "")).card
        fit, early = fold.inner(rows, 0.2)
        assert (card["rows"], card["early_rows"]) == (fit.sum(), early.sum())
        assert card["rows"] + card["early_rows"] < fold.train(rows).sum()  # purged in between
        stopped.add(card["best_iteration"])
    assert min(stopped) < 60
    run("lightgbm", folder=tmp_path, params=PARAMS | {"early_stopping": 0})
    card = models.load(tmp_path / folds[0].name.replace(":", "")).card
    assert (card["rows"], card["early_rows"]) == (folds[0].train(rows).sum(), 0)


def test_single_learns_from_one_symbol_and_pooled_from_all(run, data, tmp_path):
    found = run(single=True, folder=tmp_path)
    first = data[2][0].name.replace(":", "")
    assert sorted(p.name for p in (tmp_path / first).iterdir()) == ["A", "B"]
    alone = run(features=data[0].filter(pl.col("symbol") == "A"), single=True)
    assert_frame_equal(found.filter(pl.col("symbol") == "A"), alone)
    assert not found["forecast"].equals(run()["forecast"])


def test_a_symbol_listed_later_is_forecast_alone_only_when_it_has_a_past(run, data):
    features, _, folds = data
    listed = folds[1].test_start
    late = features.filter((pl.col("symbol") == "A") | (pl.col("time") >= listed))
    pooled = run(features=late).filter(pl.col("symbol") == "B")
    assert pooled["time"].min() == listed
    single = run(features=late, single=True).filter(pl.col("symbol") == "B")
    assert single["fold"].unique(maintain_order=True).to_list() == [f.name for f in folds[2:]]


def test_rows_without_volatility_teach_nothing_and_are_forecast_flat(run, data):
    features, labels, _ = data
    flat = pl.col("time").dt.minute() == 7
    still = features.with_columns(pl.when(flat).then(0.0).otherwise("sigma").alias("sigma"))
    found = run(features=still)
    assert (found.filter(flat)["forecast"] == 0).all() and found.filter(flat).height
    without = run(labels=labels.filter(~flat))  # their answers left out: the same models
    assert_frame_equal(
        found.filter(~flat).drop("y", "known_at"), without.filter(~flat).drop("y", "known_at")
    )


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_second_run_trains_nothing_and_changes_no_byte(learner, run, data, tmp_path, monkeypatch):
    first = run(learner, folder=tmp_path)
    before = content(tmp_path)
    assert len(before) == 2 * len(data[2])

    def refuse(*_, **__):
        raise AssertionError("a stored model would have done")

    module = learners.LEARNERS[learner]
    monkeypatch.setattr(module, "fit", refuse)
    assert_frame_equal(run(learner, folder=tmp_path), first, check_exact=True)
    assert content(tmp_path) == before
    for changed in ({"seed": 2}, {"feature_card": {"name": "x"}}):
        with pytest.raises(AssertionError):
            run(learner, folder=tmp_path, **changed)
    with pytest.raises(AssertionError):  # the data changed
        run(learner, folder=tmp_path, labels=data[1].with_columns(pl.col("y") * 1.0001))
    with pytest.raises(AssertionError):
        run(learner, folder=tmp_path, target="raw")


def test_more_data_leaves_the_old_folds_models_alone(run, data, tmp_path, toy):
    features, labels, folds = data
    cut = folds[-2].test_start
    known = labels.filter(pl.col("known_at") < cut)
    run(folder=tmp_path, features=features.filter(pl.col("time") < cut), labels=known)
    before = content(tmp_path)
    run(folder=tmp_path)
    after = content(tmp_path)
    assert before.items() <= after.items() and len(after) > len(before)


def test_a_learner_in_another_learners_folder_is_trained_anew(run, tmp_path):
    run("ridge", folder=tmp_path)
    assert_frame_equal(run("lightgbm", folder=tmp_path), run("lightgbm"))


def test_a_damaged_model_is_named(run, data, tmp_path):
    run(folder=tmp_path)
    path = tmp_path / data[2][0].name.replace(":", "") / "model.json"
    path.write_text(path.read_text().replace("1", "2", 1))
    with pytest.raises(UserError, match="is not what its card says"):
        run(folder=tmp_path)


def test_rounds_are_added_to_each_folds_model_and_kept_beside_it(run, data, tmp_path):
    run("lightgbm", folder=tmp_path / "a")
    before = content(tmp_path / "a")
    grown = run("lightgbm", folder=tmp_path / "a", continue_rounds=4)
    for fold in data[2]:
        folder = tmp_path / "a" / fold.name.replace(":", "")
        base, longer = models.load(folder), models.load(folder / "continued_4")
        assert longer.card["continued"] == {"from": base.id, "rounds": 4}
        assert longer.card["best_iteration"] == base.card["best_iteration"] + 4
        assert longer.id in set(grown["model"])
    assert before.items() <= content(tmp_path / "a").items()
    # as when nothing was stored before, and as when all was
    assert_frame_equal(run("lightgbm", folder=tmp_path / "b", continue_rounds=4), grown)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert_frame_equal(run("lightgbm", folder=tmp_path / "b", continue_rounds=4), grown)
    assert_frame_equal(run("ridge", continue_rounds=4), run("ridge"))


def test_decisions_are_equal_for_one_and_two_threads(run):
    one, two = (run("lightgbm", threads=k).drop("model") for k in (1, 2))
    assert_frame_equal(one, two, check_exact=True)


def test_progress_names_learner_fold_and_symbol(run, data):
    seen = []
    run(single=True, progress=lambda *step: seen.append(step))
    total = 2 * len(data[2])
    assert [step[:2] for step in seen] == [(k + 1, total) for k in range(total)]
    assert seen[1][2] == f"ridge, fold {data[2][0].name}, B"


def test_mistakes_are_named(run, data, toy):
    _, labels, folds = data
    with pytest.raises(UserError, match="target must be 'scaled' or 'raw', found 'log'"):
        run(target="log")
    with pytest.raises(UserError, match="features: column 'd' is missing"):
        run(columns=["a", "d"])
    with pytest.raises(UserError, match="labels: column 'y' is missing"):
        run(labels=labels.drop("y"))
    with pytest.raises(UserError, match="no fold has more known training rows than the 3 columns"):
        run(labels=labels.filter(pl.col("time") > folds[-1].test_end))
    with pytest.raises(UserError, match="no learner 'rigde'"):
        run("rigde")


# -- which rows are whose --------------------------------------------------------------------------


def irregular(seed: int, rows: int = 300) -> pl.DataFrame:
    """Rows of two symbols, with gaps, whose outcomes are known after anything from 0 to 2 hours."""
    rng = np.random.default_rng(seed)
    minutes = np.concatenate([np.sort(rng.choice(1500, rows // 2, False)) for _ in "AB"])
    ahead = np.where(rng.random(rows) < 0.9, rng.integers(0, 120, rows), -1)
    moments = [START + int(m) * MINUTE for m in minutes]
    known = [None if h < 0 else t + int(h) * MINUTE for t, h in zip(moments, ahead)]
    return pl.DataFrame(
        {
            "symbol": ["A"] * (rows // 2) + ["B"] * (rows // 2),
            "time": pl.Series(moments, dtype=schema.TIME),
            "sigma": np.where(rng.random(rows) < 0.1, 0.0, 0.001),
            "a": rng.normal(size=rows),
            "known_at": pl.Series(known, dtype=schema.TIME),
            "y": rng.normal(0, 0.001, rows),
        }
    ).with_columns(pl.when(pl.col("known_at").is_not_null()).then("y").alias("y"))


def numbers(*masks: pl.Series) -> list[int]:
    return np.flatnonzero(np.logical_and.reduce([m.to_numpy() for m in masks])).tolist()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    train=st.integers(60, 900),
    test=st.integers(5, 120),
    embargo=st.integers(0, 50),
    share=st.floats(0.05, 0.6),
    symbol=st.sampled_from([None, "A", "B"]),
)
def test_slices_are_the_masks_of_validation(seed, train, test, embargo, share, symbol):
    table = irregular(seed)
    rows = Rows.join(
        table.select("symbol", "time", "sigma", "a"),
        table.drop("sigma", "a").drop_nulls(),
        ["a"],
        horizon_bars=5,
        target="scaled",
        classes=False,
    )
    key, line = rows.key, Timeline.of(rows, symbol)
    mine = pl.Series([symbol in (None, s) for s in key["symbol"]])
    can = mine & pl.Series(rows.learnable)
    assert rows.learnable.tolist() == ((table["sigma"] > 0) & table["y"].is_not_null()).to_list()
    spans = {"train": train * MINUTE, "test": test * MINUTE, "embargo": embargo * MINUTE}
    for fold in walk_forward(START, START + 1500 * MINUTE, **spans)[::7]:
        inside, tail = fold.inner(key, share)
        cut = line.cut(fold, share=share, stops=False, gate="none")
        assert cut.fit.tolist() == numbers(fold.train(key), can) and not len(cut.early)
        assert cut.test.tolist() == numbers(fold.test(key), mine)
        cut = line.cut(fold, share=share, stops=True, gate="none")
        if len(numbers(tail, can)) > 1:
            assert cut.fit.tolist() == numbers(inside, can)
            assert cut.early.tolist() == numbers(tail, can)
        else:
            assert cut.fit.tolist() == numbers(fold.train(key), can) and not len(cut.early)
        cut = line.cut(fold, share=share, stops=True, gate="s1")
        assert cut.fit.tolist() == numbers(inside, can)
        assert cut.early.tolist() == cut.judged.tolist() == numbers(tail, can)
        cut = line.cut(fold, share=share, stops=True, gate="ic")
        assert cut.judged.tolist() == numbers(tail, can)
        span, pause = fold.train_end - fold.train_start, fold.test_start - fold.train_end
        begins = fold.train_end - span * share  # of what is judged; the fit has its own test there
        before = Fold(fold.train_start, begins - pause, begins, fold.test_start)
        inside, tail = before.inner(key, share)
        if len(numbers(tail, can)) > 1:
            assert cut.fit.tolist() == numbers(inside, can)
            assert cut.early.tolist() == numbers(tail, can)


@pytest.mark.parametrize("gate", ["none", "s1", "ic"])
def test_no_row_trains_whose_answer_comes_at_the_test_or_later(gate, made, data):
    """Labels that end anywhere, as triple barriers do."""
    _, labels, folds = data
    rng = np.random.default_rng(3)
    ahead = pl.Series(rng.integers(1, 900, labels.height)) * MINUTE
    labels = labels.with_columns((pl.col("time") + ahead).alias("known_at"))
    seen = []

    def weigh(rows: pl.DataFrame) -> np.ndarray:
        seen.append(rows)
        return np.ones(rows.height)

    found = made(labels=labels, weigh=weigh, gate=gate)
    assert len(seen) == len(folds)
    for rows, fold in zip(seen, folds):
        assert rows["known_at"].max() < fold.train_end < fold.test_start
        assert rows["time"].min() >= fold.train_start
        if gate != "none":  # nor on what it is judged on
            start = found.gates.filter(pl.col("fold") == fold.name)["slice_start"].item()
            assert rows["known_at"].max() < start - (fold.test_start - fold.train_end)
            assert fold.train_start < start < fold.train_end
    assert any(rows["known_at"].is_sorted() is False for rows in seen)


# -- weights, classes, quantiles, rules, own models -----------------------------------------------


def training_rows(data, toy, fold) -> pl.DataFrame:
    features, labels, _ = data
    rows = features.drop_nulls().join(with_classes(labels), on=schema.KEY).sort("symbol", "time")
    scaled = (pl.col("y") / (pl.col("sigma") * HORIZON**0.5)).clip(-3, 3)
    return rows.filter(fold.train(rows)).with_columns(scaled.alias("scaled"))


def test_weights_reach_the_learner(run, data, toy, tmp_path):
    fold = data[2][1]
    straight = run(folder=tmp_path)
    shape = {}

    def weigh(rows: pl.DataFrame) -> np.ndarray:
        shape.update(columns=rows.columns, sorted=rows.equals(rows.sort("symbol", "time")))
        return 0.1 + rows["y"].abs().to_numpy() * 1000

    found = run(weigh=weigh, folder=tmp_path).filter(pl.col("fold") == fold.name)
    assert shape == {"columns": ["symbol", "time", "known_at", "y"], "sorted": True}
    rows = training_rows(data, toy, fold)
    model = models.learner("ridge").fit(
        rows.select(toy.columns),
        rows["scaled"].to_numpy(),
        weight=weigh(rows.select(shape["columns"])),
        seed=1,
        params={"alpha": 1.0},
    )
    inputs = data[0].join(found, on=schema.KEY, how="semi").select(toy.columns)
    expected = model.predict(inputs) * (found["sigma"] * HORIZON**0.5).to_numpy()
    np.testing.assert_allclose(found["forecast"], expected, rtol=1e-9)
    assert not found["forecast"].equals(straight.filter(pl.col("fold") == fold.name)["forecast"])
    with pytest.raises(UserError, match=r"weigh must give one finite number above zero for each"):
        run(weigh=lambda rows: np.zeros(rows.height))
    with pytest.raises(UserError, match=r"rows, found shape \(3,\)"):
        run(weigh=lambda rows: np.ones(3))


@pytest.mark.parametrize("learner", CLASSES)
def test_a_class_forecast_is_the_probabilities_times_the_payoff(learner, run, data, toy, tmp_path):
    labels = with_classes(data[1])
    found = run(learner, labels=labels, folder=tmp_path, first=2)
    assert found.columns == [*schema.FORECASTS, *schema.CLASSES, "label"]
    schema.check(found, schema.FORECASTS, "forecasts")
    chances = found.select(*schema.CLASSES).to_numpy()
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-9)
    answers = found.join(labels, on=schema.KEY, how="left", maintain_order="left")
    assert answers["label"].equals(answers["label_right"]) and found["label"].dtype == pl.Int8
    for fold in data[2][:2]:
        mine = found.filter(pl.col("fold") == fold.name)
        card = models.load(tmp_path / fold.name.replace(":", "")).card
        rows = training_rows(data, toy, fold)
        if card["early_rows"]:
            key = fold.inner(rows, 0.2)[0]
            rows = rows.filter(key)
        assert card["rows"] == rows.height
        payoff = [rows.filter(pl.col("label") == k)["scaled"].mean() for k in (-1, 0, 1)]
        np.testing.assert_allclose(card["payoff"], payoff, rtol=1e-12)
        assert payoff[0] < payoff[1] < payoff[2]
        scale = (mine["sigma"] * HORIZON**0.5).to_numpy()
        expected = mine.select(*schema.CLASSES).to_numpy() @ np.array(payoff) * scale
        np.testing.assert_allclose(mine["forecast"], expected, rtol=1e-9, atol=1e-15)
    assert found.select(pl.corr("forecast", "y", method="spearman")).item() > 0.1


def test_a_class_that_is_not_there_pays_nothing_and_rows_without_one_do_not_train(run, data):
    labels = with_classes(data[1]).with_columns(
        pl.when(pl.col("label") != 0).then(pl.col("label")).alias("label")
    )
    seen = []
    found = run(
        "logistic", labels=labels, first=1, weigh=lambda r: (seen.append(r), np.ones(len(r)))[1]
    )
    assert set(seen[0]["label"]) == {-1, 1}
    assert found["p_flat"].max() < 0.02 and found["label"].null_count() > 100


def test_classes_need_labels_with_a_class(run):
    with pytest.raises(UserError, match=r"labels\.kind to direction or barrier"):
        run("logistic")


def test_quantiles_come_in_units_of_return(run, data):
    found = run("lightgbm_quantiles", first=2, params=PARAMS | {"quantiles": [0.1, 0.5, 0.9]})
    assert found.columns == [*schema.FORECASTS, "q_10", "q_50", "q_90"]
    assert found["forecast"].equals(found["q_50"].rename("forecast"))
    known = found.drop_nulls("y")
    for name, share in (("q_10", 0.1), ("q_50", 0.5), ("q_90", 0.9)):
        assert abs((known["y"] < known[name]).mean() - share) < 0.06, name


@pytest.mark.parametrize("target", ["scaled", "raw"])
def test_a_rule_is_its_column_in_units_of_volatility(target, run, data, toy):
    features = data[0].rename({"a": "trend"}).with_columns(pl.col("trend").clip(-1, 1))
    found = run("trend", features=features, columns=["trend"], target=target)
    assert found["time"].min() == data[2][0].test_start  # out of sample like any other
    side = features.join(found, on=schema.KEY, how="semi")["trend"]
    expected = (side * found["sigma"] * HORIZON**0.5).to_numpy()
    np.testing.assert_allclose(found["forecast"], expected, rtol=1e-12)


OWN = '''
import numpy as np

class Mean:
    """Forecasts the mean of what it was taught, and counts its fits."""
    fits = 0

    def fit(self, X, y):
        Mean.fits += 1
        self.mean = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean)

class Stored(Mean):
    def to_text(self):
        return repr(self.mean)

    @classmethod
    def from_text(cls, text):
        made = cls()
        made.mean = float(text)
        return made
'''


@pytest.mark.parametrize(("name", "files"), [("Mean", 0), ("Stored", 2)])
def test_a_users_own_model_is_stored_where_it_can_be(name, files, run, data, toy, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    more = {"own_folder": tmp_path, "folder": tmp_path / "models", "params": {}}
    found = run(f"mine:{name}", **more)
    assert len(content(tmp_path / "models")) == files * len(data[2])
    fold = data[2][1]
    mine = found.filter(pl.col("fold") == fold.name)
    mean = training_rows(data, toy, fold)["scaled"].mean()
    expected = (mine["sigma"] * HORIZON**0.5).to_numpy() * mean
    np.testing.assert_allclose(mine["forecast"], expected, rtol=1e-9)
    assert_frame_equal(run(f"mine:{name}", **more), found, check_exact=True)


# -- gates -----------------------------------------------------------------------------------------


def test_without_a_gate_every_model_is_in_force_and_nothing_is_decided(made):
    found = made()
    assert found.gates.is_empty() and found.gates.schema == pl.Schema(gates.GATES)


@pytest.mark.parametrize("gate", ["s1", "ic"])
@pytest.mark.parametrize("single", [False, True])
def test_each_bar_is_forecast_by_the_model_in_force(gate, single, made, data, toy, tmp_path):
    noise = data[1].with_columns(pl.col("y").shuffle(seed=3))  # so that candidates fail
    forecasts, found = made(labels=noise, gate=gate, folder=tmp_path, single=single)
    chains = found.partition_by("symbol")
    assert len(chains) == (2 if single else 1)
    stored = {m.id: m for m in models.oos.stored(tmp_path)}
    for chain in chains:
        assert chain["fold"].to_list() == [f.name for f in data[2]]
        assert chain["time"].to_list() == [f.test_start for f in data[2]]
        assert chain["adopted"][0] and chain["ic_in_force"][0] is None
        force = None
        for row in chain.iter_rows(named=True):
            force = row["candidate"] if row["adopted"] else force
            assert row["in_force"] == force
            rows = forecasts.filter(pl.col("fold") == row["fold"])
            if single:
                rows = rows.filter(pl.col("symbol") == row["symbol"])
            assert set(rows["model"]) == {force}
            inputs = data[0].join(rows, on=schema.KEY, how="semi").select(toy.columns)
            scale = (rows["sigma"] * HORIZON**0.5).to_numpy()
            np.testing.assert_array_equal(rows["forecast"], stored[force].predict(inputs) * scale)
    assert 0 < found["adopted"].sum() < found.height


@pytest.mark.parametrize("gate", ["s1", "ic"])
def test_a_decision_by_hand(gate, made, data, toy):
    features, labels, folds = data
    noise = labels.with_columns(pl.col("y").shuffle(seed=3))
    found = made(labels=noise, gate=gate).gates
    rows = features.drop_nulls().join(noise, on=schema.KEY).sort("symbol", "time")
    scale = (rows["sigma"] * HORIZON**0.5).to_numpy()
    scaled = np.clip(rows["y"].to_numpy() / scale, -3, 3)

    def fitted(fold):
        mask = fold.inner(rows, 0.2)[0]
        X, y = rows.filter(mask).select(toy.columns), scaled[mask.to_numpy()]
        return models.learner("ridge").fit(X, y, seed=1, params={"alpha": 1.0})

    held = fitted(folds[0])
    for fold, row in list(zip(folds, found.iter_rows(named=True), strict=True))[1:]:
        judged = fold.inner(rows, 0.2)[1]
        inputs, y = rows.filter(judged).select(toy.columns), rows.filter(judged)["y"].to_numpy()
        candidate = fitted(fold)
        new, old = (m.predict(inputs) * scale[judged.to_numpy()] for m in (candidate, held))
        assert row["rows"] == len(y)
        for suffix, forecast in (("", new), ("_in_force", old)):
            assert row["ic" + suffix] == pytest.approx(spearmanr(forecast, y).statistic)
            rmse = np.mean((forecast - y) ** 2) ** 0.5
            assert row["rmse" + suffix] == pytest.approx(rmse)
            gain = (np.sign(forecast) * y)[abs(forecast) > 0.0001]
            sharpe = gain.mean() / gain.std() * (252 * 24 * 60) ** 0.5
            assert row["sharpe" + suffix] == pytest.approx(sharpe)
        better = row["rmse"] < 0.98 * row["rmse_in_force"]
        better |= row["sharpe"] > 1.05 * row["sharpe_in_force"]
        assert row["adopted"] == (better if gate == "s1" else row["ic"] > 0)
        held = candidate if row["adopted"] else held
    assert 0.02 < found["null_sd"].mean() < 0.08  # 0.038 = 1 / sqrt(687): rows of their own
    assert 0.2 < found["null_pass"].mean() < 0.8


@pytest.mark.parametrize(
    ("learner", "gate", "stops"),
    [
        ("ridge", "s1", False),
        ("ridge", "ic", False),
        ("lightgbm", "ic", False),
        ("lightgbm", "s1", True),
    ],
)
def test_what_is_judged_on_teaches_nothing(learner, gate, stops, made, data, tmp_path):
    _, labels, folds = data
    fold = folds[2]
    params = PARAMS | {"rounds": 60}
    plain = made(learner, gate=gate, first=3, params=params).gates
    start = plain["slice_start"][2]
    late = (pl.col("known_at") < fold.train_end) & (pl.col("time") >= start)
    bent = labels.with_columns(pl.when(late).then(-pl.col("y")).otherwise("y").alias("y"))
    crooked = made(learner, gate=gate, first=3, params=params, labels=bent).gates
    assert (plain["candidate"][2] == crooked["candidate"][2]) is not stops
    assert plain["ic"][2] != crooked["ic"][2]
    assert set(plain["stopped"]) == {stops}


def test_a_gate_that_is_killed_decides_the_same_again(made, tmp_path):
    expected = made(gate="s1")
    made(gate="s1", folder=tmp_path, first=2)
    for _ in range(2):
        found = made(gate="s1", folder=tmp_path)
        assert_frame_equal(found.gates, expected.gates, check_exact=True)
        assert_frame_equal(found.forecasts, expected.forecasts, check_exact=True)


def test_mistakes_with_gates_are_named(run):
    with pytest.raises(UserError, match=r"no gate 's2'\. Did you mean 's1'"):
        run(gate="s2")
    with pytest.raises(UserError, match=r"between 0 and 1, found 1\.0"):
        run(inner=1.0)
