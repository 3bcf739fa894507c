"""Out-of-sample forecasts: no answer from later, the formula, resuming, adding rounds."""

import hashlib
import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from research import models, schema
from research.errors import UserError
from research.models import oos
from research.validation import walk_forward

HOUR = timedelta(hours=1)
HORIZON = 5
PARAMS = {"rounds": 15, "early_stopping": 5, "min_data_in_leaf": 20, "alpha": 1.0}
LEARNERS = list(models.FITTERS)


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
def run(toy, data):
    def _run(learner="ridge", *, features=None, labels=None, **more):
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

    return _run


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
    model = models.FITTERS["ridge"](
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
    model = models.FITTERS["ridge"](
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

    module = oos.learners.LEARNERS[learner]
    monkeypatch.setattr(module, "fit", refuse)
    assert_frame_equal(run(learner, folder=tmp_path), first, check_exact=True)
    assert content(tmp_path) == before
    with pytest.raises(AssertionError):
        run(learner, folder=tmp_path, retrain=True)
    for changed in ({"seed": 2}, {"code": "other"}, {"feature_card": {"name": "x"}}):
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


def test_a_damaged_model_is_named_and_retrain_mends_it(run, data, tmp_path):
    first = run(folder=tmp_path)
    path = tmp_path / data[2][0].name.replace(":", "") / "model.json"
    path.write_text(path.read_text().replace("1", "2", 1))
    with pytest.raises(UserError, match="is not what its card says"):
        run(folder=tmp_path)
    assert_frame_equal(run(folder=tmp_path, retrain=True), first)
    assert_frame_equal(run(folder=tmp_path), first)


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


class Killed(BaseException):
    """What no code catches, like a kill."""


@pytest.mark.parametrize("retrain", [False, True])
def test_killed_at_any_write_it_resumes_to_the_same_bytes(run, tmp_path, monkeypatch, retrain):
    expected = run(folder=tmp_path / "undisturbed", first=2)
    bytes_expected = content(tmp_path / "undisturbed")
    calls = {"left": 0}

    def mortal(real):
        def call(*args, **kwargs):
            calls["left"] -= 1
            if calls["left"] < 0:
                raise Killed
            return real(*args, **kwargs)

        return call

    deaths = 0
    for survived in range(20):
        folder = tmp_path / f"killed_{survived}"
        if retrain:  # the kill meets a folder of another run's models
            run(folder=folder, first=2, seed=5)
        calls["left"] = survived
        with monkeypatch.context() as patch:
            for owner, name in ((Path, "unlink"), (Path, "replace"), (Path, "open"), (os, "fsync")):
                patch.setattr(owner, name, mortal(getattr(owner, name)))
            try:
                run(folder=folder, first=2, retrain=retrain)
            except Killed:
                deaths += 1
        found = run(folder=folder, first=2)
        assert_frame_equal(found, expected, check_exact=True)
        left = {k: v for k, v in content(folder).items() if not k.endswith(".part")}
        assert left == bytes_expected, survived
    assert deaths >= 13
