"""A study's recording: stored once, beside its bars, trained where it is long enough."""

import json
import shutil
import sys
from pathlib import Path

import polars as pl
import pytest

sys.path.append(str(Path(__file__).resolve().parent))

from recorded import RAW

import research
from research import datasets, features, pipeline, report, stages
from research.audit import verify
from research.errors import UserError
from research.features.aggregates import FLOW
from research.order_flow import short, studied
from research.study import read

SMALL = {
    "simulated_flow.minutes": 14,
    "validation.train": "9 min",
    "validation.test": "3 min",
    "validation.embargo": "10 s",
    "model.league": [],
    "model.rounds": 10,
    "evaluation.draws": 100,
    "evaluation.window": "3 min",
    "evaluation.horizons": ["10 s"],
}
NULL = ("scores", "backtest", "quantiles", "sizing", "classes", "gate", "trials")


@pytest.fixture(scope="module")
def small(store):
    return read("order_flow", SMALL)


@pytest.fixture(scope="module")
def kept(small):
    return report.keep(small)


def brief(small, **more):
    """The same market and longer folds than it holds."""
    return small.with_options({"validation.train": "60 min", **more})


def test_flow_stands_beside_the_bars_of_its_seconds(small):
    bars, flow = pipeline.bars(small), studied.kept(small)["flow"]
    assert set(FLOW) <= set(bars.columns)
    assert bars.height >= 14 * 60 - 2
    assert bars["ofi"].null_count() <= 1
    row = bars.row(100, named=True)
    same = flow.filter(pl.col("time") == row["time"]).row(0, named=True)
    assert {name: row[name] for name in FLOW} == {name: same[name] for name in FLOW}


def test_another_recording_interval_or_span_is_another_key(small):
    places = {
        datasets.dataset(small.with_options(options)).market
        for options in ({}, {"simulated.seed": 2}, {"simulated_flow.minutes": 13})
    }
    assert len(places) == 3
    other = small.with_options({"data.interval": "5 s"})
    assert datasets.dataset(other).interval.total_seconds() == 5
    assert pipeline.bars(other).height == pytest.approx(14 * 12, abs=1)


def test_the_set_s_rows_are_known_after_its_warm_up(small):
    table, needed = (
        pipeline.features(small),
        features.warmup(pipeline.feature_set(small), interval=small.data.interval),
    )
    assert needed < 9 * 60
    assert table.slice(needed).drop_nulls().height >= table.height - needed - 2
    assert table.head(needed).drop_nulls().is_empty()


def test_live_rows_are_batch_rows(small):
    bars, batch = pipeline.bars(small), pipeline.features(small)
    how = {"interval": small.data.interval}
    for row in (400, 555, 839):
        live = features.latest(bars.head(row + 1), pipeline.feature_set(small), **how)
        assert live.equals(batch[row : row + 1])


def test_a_trained_run_says_what_its_recording_holds(kept):
    summary = kept.summary
    found = summary["order_flow"]
    assert found["ofi_r2_1s"] == pytest.approx(0.38, abs=0.06)
    assert (found["gaps"], found["crossed"]) == (0, 0)
    assert found["clock_offset_s"] == pytest.approx(0.25, abs=0.01)
    assert summary["folds"] == 2
    assert isinstance(summary["scores"]["ic"], float)
    assert set(summary["truth"]) >= {"planted_ic", "oracle_ic", "found_ic"}
    page = (kept.folder / "index.html").read_text()
    assert "The recording and its order flow" in page
    assert "figures/flow_impact.svg" in page
    assert (kept.folder / "flow_impact.parquet").is_file()


@pytest.fixture(scope="module")
def looked_at(small):
    return report.keep(brief(small))


def test_a_short_recording_is_looked_at_and_not_trained(small, looked_at):
    run, why = looked_at, short.untrained(brief(small))
    assert "14.0 min" in why and "1 h to train on" in why
    assert all(run.summary[key] is None for key in NULL)
    assert run.summary["untrained"] == why
    assert (run.summary["folds"], run.summary["league"]) == (0, [])
    assert run.summary["order_flow"]["events"] > 10_000
    page = (run.folder / "index.html").read_text()
    assert "not trained" in page and "1 h to train on" in page
    assert "figures/flow_depth.svg" in page
    assert run.row()["ic"] is None and "nothing was trained" in run.text()
    assert run.id in (run.folder.parent.parent / "index.html").read_text()
    assert verify.run(run.id)["verdict"] == "identical"


def test_a_short_recording_is_no_mistake_but_a_command_that_trains_it_is(small, kept, looked_at):
    with pytest.raises(UserError, match="must hold train"):
        pipeline.forecasts(brief(small))
    with pytest.raises(UserError, match="nothing was trained"):
        research.compare(kept, looked_at)


def test_the_chain_has_one_more_notebook_and_stops_where_nothing_is_trained(small):
    assert stages.chain(read("demo")) == [
        "01_download", "02_feature_study", "03_training", "04_quantile_evaluation", "05_backtest"
    ]  # fmt: skip
    assert stages.chain(small)[-1] == "07_order_flow"
    assert len(stages.chain(small)) == 6
    assert stages.chain(brief(small)) == ["01_download", "07_order_flow"]


def test_a_bar_longer_than_the_recording_leaves_its_book_to_look_at(small):
    study = small.with_options({"data.interval": "1 h", "labels.horizon": "1 h"})
    assert "no whole bar of 1 h" in short.untrained(study)
    assert stages.chain(study) == ["07_order_flow"]
    with pytest.raises(UserError, match="no whole bar"):
        pipeline.bars(study)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"data.source": "recording"}, "source 'recording' needs data.path"),
        ({"data.source": "recording", "data.path": "not/there.gz"}, "is not there"),
        (
            {"data.source": "simulated", "data.interval": "1 min", "simulated.days": 2},
            "which only bars of a recording",
        ),
        ({"data.market": "spot"}, "the recording is of market 'um'"),
    ],
)
def test_mistakes_are_one_line(small, options, says):
    with pytest.raises(UserError, match=says) as error:
        pipeline.forecasts(read("order_flow", {**SMALL, **options}))
    assert "\n" not in str(error.value)


@pytest.mark.real
@pytest.mark.skipif(not RAW.is_dir(), reason="the shared recordings are not here")
def test_a_real_recording_without_trades_makes_a_report(store, tmp_path):
    here = shutil.copy(RAW / "bybit/2024-12-01_XRPUSDT_ob500.data.zip", tmp_path)
    run = report.keep(read("order_flow", {"data.source": "recording", "data.path": str(here)}))
    assert (run.summary["scores"], run.summary["data"]) == (None, None)
    found = json.loads((run.folder / "summary.json").read_text())["order_flow"]
    assert (found["events"], found["gaps"], found["crossed"], found["coverage"]) == (50, 0, 0, 1.0)


def test_a_folder_that_is_being_recorded_is_refused(tmp_path):
    import fcntl

    (tmp_path / "lock").touch()
    options = {"data.source": "recording", "data.path": str(tmp_path)}
    with (tmp_path / "lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="is still being recorded"):
            studied.source(read("order_flow", options))
