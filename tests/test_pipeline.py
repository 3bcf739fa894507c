import json
import logging

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from research import datasets, league, pipeline, schema, scores, tape
from research.errors import UserError
from research.store import atomic, ledger


def built(caplog):
    """Stages that were built, by the log."""
    return [r.getMessage().split(":")[0] for r in caplog.records if "building" in r.getMessage()]


@pytest.fixture
def _watch(caplog):
    caplog.set_level(logging.INFO, "research")


@pytest.fixture(scope="module")
def forecasts(small):
    return pipeline.forecasts(small)


def test_forecasts_are_out_of_sample_and_well_formed(small, forecasts):
    schema.check(forecasts, schema.FORECASTS, "forecasts")
    first = pipeline.folds(small)[0]
    assert forecasts["time"].min() >= first.test_start
    starts = forecasts["fold"].str.to_datetime("%Y-%m-%dT%H:%MZ", time_zone="UTC")
    assert (starts <= forecasts["time"]).all()


@pytest.mark.usefixtures("_watch")
def test_nothing_is_built_twice(small, forecasts, caplog):
    pipeline.backtest(small)
    caplog.clear()
    assert_frame_equal(pipeline.forecasts(small), forecasts)
    pipeline.backtest(small)
    assert built(caplog) == []


@pytest.mark.usefixtures("_watch")
@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({"features.groups.cci": False}, {"features", "forecasts", "backtest"}),
        ({"validation.embargo": "1 h"}, {"forecasts", "backtest"}),
        ({"costs.fee": "3 bps"}, {"backtest"}),
        ({"evaluation.draws": 300, "threads": 2, "question": "other"}, set()),
    ],
)
def test_a_change_rebuilds_its_stage_and_what_follows(small, forecasts, caplog, options, stages):
    pipeline.backtest(small)
    caplog.clear()
    pipeline.backtest(small.with_options(options))
    assert set(built(caplog)) == stages


def test_a_table_of_one_s_own_goes_through(small, forecasts):
    table = pipeline.features(small)
    made = pipeline.forecasts(small, table.with_columns(noise=pl.col("rsi").reverse()))
    assert made.height > 0
    assert not made["forecast"].equals(forecasts["forecast"])


def test_the_same_work_elsewhere_gives_the_same_bytes(small, forecasts, tmp_path, monkeypatch):
    def stored():
        places = (atomic.data_root() / stage for stage in ("features", "forecasts", "backtest"))
        files = sorted(p for place in places for p in place.rglob("*") if p.is_file())
        return {p.relative_to(atomic.data_root()): content(p) for p in files}

    def content(path):
        if path.parent.parent.name != "backtest" or path.suffix != ".json":
            return path.read_bytes()
        card = json.loads(path.read_text())
        assert card.pop("ledger")["rows"] > 0  # what was tried before is no part of the work
        return card

    pipeline.backtest(small)
    here = stored()
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))
    pipeline.backtest(small)
    there = stored()
    assert there
    assert all(here[name] == content for name, content in there.items())


def test_books_balance(small):
    tested = pipeline.backtest(small.with_options({"backtest.enter": "0.5 bps"}))
    gained = tested.equity["equity"][-1] - small.backtest.capital
    assert tested.trades.height > 10
    assert tested.trades["net"].sum() == pytest.approx(gained, abs=1e-6)
    gross = tested.equity["gross"][-1] - small.backtest.capital
    assert tested.trades["gross"].sum() == pytest.approx(gross, abs=1e-6)
    per_bar = tested.reasons.group_by("symbol", "time").len()
    assert (per_bar["len"] == 1).all()


def test_costs_of_both_sides_are_charged(small):
    """At no edge asked for, what is lost to fees is fee times all that was bought and sold."""
    tested = pipeline.backtest(small.with_options({"backtest.enter": "0.5 bps"}))
    fees, traded = tested.equity["fees"].sum(), tested.equity["traded"].sum()
    assert fees == pytest.approx(small.fee * traded, rel=1e-9)


def test_break_even_fee_is_where_nothing_is_left(small):
    chosen = small.with_options({"backtest.enter": "0.5 bps"})
    fee = pipeline.backtest(chosen).summary["break_even_fee"]
    rule = tape.rules(chosen)._replace(fee=fee)
    laid = tape.lay(chosen, pipeline.bars(chosen), pipeline.forecasts(chosen))
    left = laid.play(rule, capital=1000.0).equity[-1] / 1000 - 1
    assert left == pytest.approx(0, abs=1e-4)


def test_ranking_with_hindsight_cannot_be_traded(small):
    with pytest.raises(UserError, match=r"cannot be traded\. Use 'trailing' or 'fold'"):
        pipeline.backtest(
            small.with_options({"backtest.rule": "quantile", "evaluation.scope": "date"})
        )


def test_a_window_longer_than_the_data_is_one_line(small):
    with pytest.raises(UserError, match=r"400 d"):
        pipeline.forecasts(small.with_options({"validation.train": "400 d"}))


def test_no_bars_say_how_to_get_them(small):
    with pytest.raises(UserError, match=r"\./run download"):
        pipeline.bars(small.with_options({"data.source": "binance", "data.venue": "nowhere"}))


@pytest.mark.parametrize("interval", ["5m", "1h"])
def test_other_intervals_go_through(small, interval):
    chosen = small.with_options(
        {"data.interval": interval, "labels.horizon": "2 h", "simulated.days": 40,
         "validation.train": "20 d", "validation.test": "5 d"}
    )  # fmt: skip
    made = pipeline.forecasts(chosen)
    assert made.height > 100
    assert (made["time"].dt.epoch("us") % (chosen.data.interval.total_seconds() * 1e6) == 0).all()


def test_single_trains_a_model_per_symbol(small):
    made = pipeline.forecasts(small.with_options({"model.single": True}))
    assert made["model"].n_unique() == made.select("symbol", "fold").n_unique()


def test_league_and_truth(small):
    table = league.table(small)
    assert table["name"].to_list()[:2] == ["no_trade", "buy_and_hold"]
    assert {"ridge", "lightgbm"} <= set(table["name"])
    found = pipeline.evaluation(small)
    known = league.truth(small, found)
    assert known["planted_ic"] == pytest.approx(small.simulated.ic)
    assert known["found_ic"] == found.score.ic


def test_no_edge_has_no_oracle_but_is_scored(small):
    chosen = small.with_options({"simulated.ic": 0.0})
    known = league.truth(chosen, pipeline.evaluation(chosen))
    assert (known["planted_ic"], known["oracle_ic"]) == (0.0, None)
    assert known["found_ic"] is not None


def test_trials_are_counted_per_configuration(small):
    lineage = datasets.dataset(small).lineage
    pipeline.evaluation(small)
    before = ledger.count(lineage)
    pipeline.evaluation(small)
    assert ledger.count(lineage) == before
    pipeline.evaluation(small.with_options({"evaluation.bins": 7}))
    assert ledger.count(lineage) == before + 1


def test_pandas_users_get_the_same_score(small, forecasts):
    horizon = small.labels.horizon
    frame = schema.to_pandas(forecasts)
    assert scores.ic(frame, horizon=horizon) == scores.ic(forecasts, horizon=horizon)


def test_buy_and_hold_is_not_mistaken_for_a_strategy_of_the_same_rules(small):
    chosen = small.with_options({"backtest.enter": 0.0, "backtest.side": "long"})
    traded = pipeline.backtest(chosen)
    held = pipeline.backtest(chosen, name="buy_and_hold")
    symbols = pipeline.bars(small)["symbol"].n_unique()
    assert held.trades.height == symbols < traded.trades.height


def test_other_horizons_have_a_truth_of_their_own(small):
    _, planted = datasets.oracle(small)
    _, shorter = datasets.oracle(small.with_options({"labels.horizon": "1 min"}))
    assert planted == pytest.approx(small.simulated.ic)
    assert 0 < shorter < planted


def test_coverage_is_counted_over_the_bars_that_are_read(small):
    start = "2024-01-03T12:30:00+00:00"
    cut = small.with_options({"data.start": start})
    quality = datasets.quality(cut)
    assert quality["rows"].sum() == pipeline.bars(cut).height
    assert quality["missing"].sum() <= datasets.quality(small)["missing"].sum()


def test_continued_rounds_build_on_the_stored_models(small, monkeypatch):
    from research.models import boosting

    chosen = small.with_options({"model.name": "lightgbm"})
    pipeline.forecasts(chosen)
    calls = []
    real = boosting.fit
    monkeypatch.setattr(
        boosting, "fit", lambda *a, **k: calls.append(k.get("start_from")) or real(*a, **k)
    )
    pipeline.forecasts(chosen.with_options({"model.continue_rounds": 5}))
    assert calls
    assert all(start is not None for start in calls)
