"""Stored walks: folders or packs, the same models; kills, tears and changed inputs."""

import gzip
import hashlib
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from research import models
from research.errors import UserError
from research.models import learners
from research.models.oos import newest, shelves, stored
from research.validation import walk_forward

HOUR = timedelta(hours=1)
PARAMS = {"rounds": 6, "early_stopping": 3, "min_data_in_leaf": 20, "alpha": 1.0}
FOLDS = 8


@pytest.fixture(scope="module")
def data(toy):
    features, labels = toy.tables(rows=1000, horizon=5)
    end = features["time"].max()
    folds = walk_forward(toy.start, end, train=7 * HOUR, test=HOUR)
    assert len(folds) >= FOLDS
    return features, labels, folds


@pytest.fixture
def run(toy, data):
    def _run(learner="ridge", *, first=FOLDS, **more):
        usual = {
            "columns": toy.columns,
            "horizon_bars": 5,
            "params": PARAMS,
            "seed": 1,
            "feature_card": toy.card,
        }
        features, labels, folds = data
        return models.out_of_sample(
            features, labels, folds[:first], learner=learner, **(usual | more)
        ).forecasts

    return _run


@pytest.fixture
def packed(monkeypatch):
    """Packs of three from the first model on."""
    monkeypatch.setattr(shelves, "MANY", 1)
    monkeypatch.setattr(shelves, "SIZE", 3)


def content(folder: Path) -> dict[str, str]:
    """Every file below `folder` by the fingerprint of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def no_fit(monkeypatch):
    """Make any training an error from here on."""

    def refuse(*_, **__):
        raise AssertionError("a stored model would have done")

    def _no_fit(learner="ridge"):
        monkeypatch.setattr(learners.LEARNERS[learner], "fit", refuse)

    return _no_fit


@pytest.mark.parametrize("learner", ["ridge", "lightgbm"])
@pytest.mark.parametrize("single", [False, True])
def test_packs_hold_what_folders_hold(learner, single, run, tmp_path, monkeypatch):
    more = {"single": single, "continue_rounds": 2}
    in_folders = run(learner, folder=tmp_path / "folders", **more)
    monkeypatch.setattr(shelves, "MANY", FOLDS)
    monkeypatch.setattr(shelves, "SIZE", 3)
    in_packs = run(learner, folder=tmp_path / "packs", **more)
    assert_frame_equal(in_packs, in_folders, check_exact=True)
    total = FOLDS * (2 if single else 1)
    rounds = {"ridge": (0,), "lightgbm": (0, 2)}[learner]
    for continued in rounds:
        one, other = (
            list(stored(tmp_path / place, continued=continued)) for place in ("folders", "packs")
        )
        assert len(one) == len(other) == total
        for a, b in zip(one, other, strict=True):
            assert (a.card, a.core.text) == (b.card, b.core.text)
        starts = [model.card["fold"]["train_start"] for model in one]
        assert starts == sorted(starts)
    last = [newest(tmp_path / place, continued=2) for place in ("folders", "packs")]
    assert last[0].id == last[1].id == in_packs.sort("time", "symbol")["model"][-1]
    names = sorted(p.name for p in (tmp_path / "packs").iterdir())
    assert len(names) == len(rounds) * -(-total // 3) and "models-00000.gz" in names


def test_a_pack_is_text_that_zcat_reads(run, packed, tmp_path):
    run(folder=tmp_path, first=2)
    text = gzip.decompress((tmp_path / "models-00000.gz").read_bytes()).decode()
    cards = [json.loads(line) for line in text.splitlines() if line.startswith('{"')]
    assert [card["columns"] for card in cards] == [["a", "b", "c"]] * 2
    assert text.count('"coef":') == 2


@pytest.mark.parametrize("learner", ["ridge", "lightgbm"])
def test_a_second_run_trains_nothing_and_changes_no_byte(learner, run, packed, tmp_path, no_fit):
    first = run(learner, folder=tmp_path)
    before = content(tmp_path)
    no_fit(learner)
    assert_frame_equal(run(learner, folder=tmp_path), first, check_exact=True)
    assert content(tmp_path) == before
    for changed in ({"seed": 2}, {"feature_card": {"name": "x"}}, {"target": "raw"}):
        with pytest.raises(AssertionError):
            run(learner, folder=tmp_path, **changed)
    assert content(tmp_path) == before  # nothing was dropped before something new is there


def test_more_folds_leave_the_old_models_alone(run, packed, tmp_path):
    run(folder=tmp_path / "a", first=4)
    before = content(tmp_path / "a")
    run(folder=tmp_path / "a")
    run(folder=tmp_path / "b")
    after = content(tmp_path / "a")
    assert after == content(tmp_path / "b")
    assert after["models-00000.gz"] == before["models-00000.gz"]


def test_what_was_made_of_something_else_is_dropped_with_all_behind_it(run, packed, tmp_path):
    run(folder=tmp_path / "a", seed=5)
    run(folder=tmp_path / "a", first=2)
    assert len(list(stored(tmp_path / "a"))) == 2
    run(folder=tmp_path / "b", first=2)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_torn_at_any_byte_it_resumes_to_the_same_bytes(run, packed, tmp_path):
    expected = run(folder=tmp_path, first=5)
    before = content(tmp_path)
    whole = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    first, last = whole
    for path, size in [(last, k) for k in range(0, len(whole[last]), 97)] + [
        (first, k) for k in range(0, len(whole[first]), 211)
    ]:
        path.write_bytes(whole[path][:size])
        if path == first:
            last.unlink()
        assert_frame_equal(run(folder=tmp_path, first=5), expected, check_exact=True)
        assert content(tmp_path) == before


def test_a_damaged_pack_is_named(run, packed, tmp_path):
    run(folder=tmp_path)
    path = tmp_path / "models-00001.gz"
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(bytes(whole))
    with pytest.raises(UserError, match=r"models-00001\.gz is not what was written"):
        run(folder=tmp_path)
    with pytest.raises(UserError, match=r"models-00001\.gz is not what was written"):
        list(stored(tmp_path))


def test_a_full_disk_is_named(run, packed, tmp_path):
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"model: cannot write .*models-00000"):
        run(folder=tmp_path / "models")


def test_nothing_stored_is_said(tmp_path):
    with pytest.raises(UserError, match="no stored model in"):
        newest(tmp_path)


def test_the_disk_is_waited_for_once_a_pack(run, packed, tmp_path, monkeypatch):
    calls = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(handle), real(handle)))
    run(folder=tmp_path)
    assert len(calls) == -(-FOLDS // 3)


class Killed(BaseException):
    """What no code catches, like a kill."""


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("stale", [False, True])
def test_killed_at_any_write_it_resumes_to_the_same_bytes(packs, stale, run, tmp_path, monkeypatch):
    if packs:
        monkeypatch.setattr(shelves, "MANY", 1)
        monkeypatch.setattr(shelves, "SIZE", 2)
    expected = run(folder=tmp_path / "undisturbed", first=3)
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
        if stale:  # the kill meets a folder of another run's models
            run(folder=folder, first=3, seed=5)
        calls["left"] = survived
        with monkeypatch.context() as patch:
            for owner, name in ((Path, "unlink"), (Path, "replace"), (Path, "open"), (os, "fsync")):
                patch.setattr(owner, name, mortal(getattr(owner, name)))
            try:
                run(folder=folder, first=3)
            except Killed:
                deaths += 1
        found = run(folder=folder, first=3)
        assert_frame_equal(found, expected, check_exact=True)
        left = {k: v for k, v in content(folder).items() if not k.endswith(".part")}
        assert left == bytes_expected, survived
    assert deaths >= (3 if packs else 13)
