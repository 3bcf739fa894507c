"""Several processes train what one would have: the same models, byte for byte, packed or not."""

import shutil

import pytest

from research import models, pipeline, training
from research.models.oos import shelves
from research.store import tables
from research.study import read

TINY = {
    "simulated.symbols": 2,
    "simulated.days": 4,
    "validation.train": "1 d",
    "validation.test": "6 h",
    "model.name": "lightgbm",
    "model.rounds": 10,
    "validation.gate": "ic",
}


@pytest.mark.parametrize("many", [500, 2], ids=["folders", "packs"])
def test_shares_fill_the_shelf_that_one_walk_fills(store, tmp_path, monkeypatch, many):
    monkeypatch.setattr(shelves, "MANY", many)
    monkeypatch.setattr(shelves, "SIZE", 3)
    study = read("demo", TINY)
    bars = pipeline.bars(study)
    table, folds = pipeline.features(study, bars), pipeline.folds(study, bars)
    known = pipeline.labels(study, bars)
    how = training._how(study, table)
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    one = models.out_of_sample(table, known, folds, **how | {"folder": alone})
    for share in reversed(models.shares(len(folds))):  # in any order
        models.out_of_sample(table, known, folds, **how | {"folder": shared}, only=share)
    assert len(_stored(shared)) > 3 and _stored(shared) == _stored(alone)
    fits = []
    monkeypatch.setattr("research.models.boosting.fit", lambda *a, **k: fits.append(1))
    again = models.out_of_sample(table, known, folds, **how | {"folder": shared})
    assert again.forecasts.equals(one.forecasts) and again.gates.equals(one.gates) and not fits


def test_workers_change_nothing_but_the_time(store):
    study = read("demo", TINY | {"seed": 7})
    alone = pipeline.forecasts(study)
    source = pipeline.bars(study)
    parts = pipeline.forecast_parts(study, source, pipeline.features(study, source))
    before = _stored(training.model_folder(parts))
    shutil.rmtree(tables.folder("forecasts", parts))
    both = pipeline.forecasts(study.with_options({"workers": 2}))
    assert both.equals(alone) and before == _stored(training.model_folder(parts))


def _stored(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
