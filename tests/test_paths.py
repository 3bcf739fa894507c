"""Paths of a study: whole, out of sample, kept apart from what may be traded; and naive splits."""

import json

import polars as pl
import pytest
from tests_settings import SMALL

from research import datasets, paths, pipeline, schema, tape, training
from research.errors import UserError
from research.store import atomic, ledger
from research.study import read


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHABOOK_DATA", str(tmp_path_factory.mktemp("data")))
        yield read("demo", {**SMALL, "simulated.days": 6, "validation.train": "3 d"})


@pytest.fixture(scope="module")
def found(small):
    return paths.made(small, groups=4, test_groups=2)


def test_every_path_is_the_whole_sample_once(small, found):
    table = pipeline.features(small).drop_nulls().select(schema.KEY)
    assert found.scores["path"].to_list() == [1, 2, 3]
    for path in (1, 2, 3):
        told = found.forecasts.filter(pl.col("path") == path)
        assert told.select(schema.KEY).equals(table)
        schema.check(told.drop("path", "split"), schema.FORECASTS, "forecasts")
    # of a row's forecasts each is another model's
    each = found.forecasts.group_by(schema.KEY).agg(pl.col("split", "model").n_unique())
    assert each["split"].unique().to_list() == each["model"].unique().to_list() == [3]


def test_a_path_s_forecasts_are_those_of_the_split_that_lends_them(small, found):
    known, table = pipeline.labels(small), pipeline.features(small)
    span = found.splits[0]
    assert span.embargo >= small.labels.horizon
    lent = found.splits.paths()
    for path, _, start, end, number, _ in lent.rows():
        inside = (pl.col("time") >= start) & (pl.col("time") < end)
        part = found.forecasts.filter(pl.col("path") == path, inside)
        assert part["split"].unique().to_list() == [number]
        assert part["fold"].unique().to_list() == [f"{start:%Y-%m-%dT%H:%MZ}"]
    # and its model was fitted on rows that the split lets train, and no others
    from research import models

    rows = table.drop_nulls().join(known, on=schema.KEY, how="left", maintain_order="left")
    place = next((atomic.data_root() / "paths").glob("*/models"))
    cards = {m.card["fold"]["name"]: m.card["rows"] for m in models.stored(place)}
    assert cards == {s.name: int(s.train(rows).sum()) for s in found.splits}


def test_paths_leave_nothing_that_could_be_traded(small, found):
    kept = {place.name for place in atomic.data_root().iterdir()}
    assert "paths" in kept and not kept & {"forecasts", "backtest", "trials"}
    with pytest.raises(schema.TableError, match="rows"):
        pipeline.backtest(small, found.forecasts)


def test_looking_at_paths_is_a_trial_and_evaluating_the_same_settings_is_no_other(small):
    lineage = datasets.dataset(small).lineage
    before, other = ledger.count(lineage), small.with_options({"model.alpha": 7.0})
    paths.made(other, groups=3, test_groups=1)
    assert ledger.count(lineage) == before + 1
    paths.made(other, groups=2, test_groups=1)
    pipeline.evaluation(other)
    assert ledger.count(lineage) == before + 1


def test_a_path_is_traded_by_the_study_s_rule_at_its_costs(small, found):
    part = found.forecasts.filter(pl.col("path") == 2).drop("path", "split")
    laid = tape.lay(small, pipeline.bars(small), tape.binned(small, part))
    played = laid.play(tape.rules(small), capital=small.backtest.capital)
    score = found.scores.row(1, named=True)
    assert played.equity[-1] / small.backtest.capital - 1 == pytest.approx(score["net_return"])
    assert len(played.trades.side) == score["trades"]
    last = found.equity.filter(pl.col("path") == 2)["equity"][-1]
    assert last == pytest.approx(played.equity[-1])


def test_done_paths_are_read_back_and_told_as_one_object(small, found, monkeypatch):
    monkeypatch.setattr(training, "crosswise", lambda *_: pytest.fail("anew"))
    told = paths.run(small, groups=4, test_groups=2)
    assert json.loads(json.dumps(told)) == told
    assert (told["splits"], told["paths"], len(told["ic"])) == (6, 3, 3)
    assert told["ic"] == found.scores["ic"].to_list()
    said = paths.text(told)
    assert "3 paths of 6 splits (4 groups, 2 tested)" in said and "may not be traded" in said
    assert "3 paths" in said.splitlines()[-2] and "6 splits" in found._repr_html_()


def test_a_second_model_is_named_as_a_mistake(small):
    own = {"model.meta": "logistic", "backtest.rule": "probability", "labels.kind": "direction"}
    two = small.with_options({**own, "model.name": "lightgbm_classes"})
    with pytest.raises(UserError, match=r"model.meta.*walking forward alone"):
        paths.made(two, groups=3, test_groups=1)


def test_forecasts_of_volatility_have_scores_and_no_trades(small):
    calm = paths.made(small.with_options({"labels.kind": "volatility"}), groups=3, test_groups=1)
    assert calm.scores["ic"][0] > 0 and calm.scores["sharpe"].null_count() == 1
    assert calm.equity.is_empty()


def test_without_an_edge_shuffled_rows_claim_one_and_purged_blocks_do_not(small):
    own = {"model.name": "lightgbm", "model.num_leaves": 31, "model.min_data_in_leaf": 20}
    null = small.with_options({**own, "simulated.ic": 0.0, "simulated.days": 3})
    told = paths.naive(null, k=3)
    assert told["name"].to_list() == list(paths.WAYS)
    shuffled, _, purged = told["ic"]
    assert told["low"][0] > 0.05 and shuffled > purged + 0.08
    assert told["low"][2] < 0.02
