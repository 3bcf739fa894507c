import json
import re
import shutil
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from research import models, pipeline, signals
from research.audit import why
from research.audit.why import chain, scenes
from research.errors import UserError
from research.live.journal import Journal
from research.live.rows import micros
from research.store import atomic
from research.trading.rules import REASONS


@pytest.fixture(scope="module")
def scene(sealed_run):
    return scenes.find(sealed_run.id)


@pytest.fixture(scope="module")
def trade(sealed_run):
    return sealed_run.trades.row(0, named=True)


@pytest.fixture(scope="module")
def entered(sealed_run, trade):
    """The chain of the bar that ordered the first trade."""
    return why.run(sealed_run.id, trade["symbol"], trade["entry_time"])


LINKS = {"coverage", "features", "forecast", "cut_points", "costs", "limits", "reason", "then"}


def test_the_chain_has_every_link_and_is_json(entered):
    assert entered.keys() >= LINKS
    assert json.loads(json.dumps(entered, allow_nan=False)) == entered
    said = why.text(entered)
    for word in ("coverage", "features", "forecast", "cut-points", "costs", "limits", "reason"):
        assert f"\n{word}" in said
    assert "net " in said.splitlines()[-1]


def test_an_entry_leads_to_its_trade(entered, trade, sealed_run):
    assert entered["reason"]["word"] == "entry"
    then = entered["then"]["trade"]
    assert then["net"] == trade["net"] and then["entry_price"] == trade["entry_price"]
    cut = entered["cut_points"]
    assert cut["side"] == trade["side"]
    assert abs(cut["told"]) > cut["enter"] == pytest.approx(12e-4)
    assert entered["forecast"]["value"] == cut["told"]
    size = trade["quantity"] * trade["entry_price"]
    assert entered["limits"]["new_position"] == pytest.approx(size, rel=0.01)


def test_its_last_bar_belongs_to_the_same_trade(sealed_run, trade):
    found = why.run(sealed_run.id, trade["symbol"], trade["exit_time"])
    assert found["then"]["trade"]["net"] == trade["net"]
    assert found["reason"]["word"] == trade["exit_reason"]
    assert found["limits"]["position"] != 0 or trade["exit_reason"] in ("stop", "take")


def test_a_fill_pays_what_the_chain_says(entered, trade, sealed_run):
    """Fee and slippage of the trade's entry, in basis points of its worth, by hand."""
    cost = entered["costs"]
    assert cost["side"] == cost["fee"] + cost["half_spread"] + cost["slippage"] + cost["impact"]
    sides = trade["quantity"] * (trade["entry_price"] + trade["exit_price"])
    assert trade["fees"] / sides * 1e4 == pytest.approx(cost["fee"])
    spread = cost["half_spread"] + cost["slippage"] + cost["impact"]
    assert trade["slippage"] / sides * 1e4 == pytest.approx(spread, rel=1e-3)


def test_the_shares_of_a_forecast_add_up_to_it(entered, scene):
    shares, sigma = entered["forecast"]["shares"], entered["forecast"]["sigma"]
    total = shares["base"] + shares["others"] + sum(term["share"] for term in shares["top"])
    assert total == pytest.approx(shares["sum"])
    bars = scene.study.labels.horizon // scene.study.data.interval
    assert shares["sum"] * sigma * bars**0.5 == pytest.approx(entered["forecast"]["value"])


def test_features_are_ranked_among_the_rows_their_model_learnt_from(entered, scene, trade):
    said = entered["features"]
    fold = next(f for f in pipeline.folds(scene.study) if f.name == entered["forecast"]["fold"])
    window = scene.features.filter(
        pl.col("time") >= fold.train_start, pl.col("time") < fold.train_end
    )
    assert said["ranked_among"]["rows"] == window.height
    top = said["unusual"][0]
    known = window[top["name"]].drop_nulls().to_numpy()
    below, ties = (known < top["value"]).sum(), (known == top["value"]).sum()
    assert top["rank"] == pytest.approx((below + ties / 2) / len(known))
    assert len(said["values"]) == len(pipeline.feature_set(scene.study).names)


def test_coverage_counts_from_the_last_gap(scene):
    symbol = scene.bars["symbol"][0]
    mine = scene.bars.filter(pl.col("symbol") == symbol)
    gaps = mine.filter(pl.col("open_time") > pl.col("time").shift(1))
    row = gaps.row(-1, named=True)
    minute = timedelta(minutes=1)
    after = mine.filter(pl.col("time") >= row["time"])["time"]
    said = chain.coverage(scene, symbol, after[3])
    last = mine.filter(pl.col("time") < row["time"])["time"][-1]
    lost = (row["open_time"] - last) // minute
    assert said["bars_since_gap"] == 4 and not said["warm"]
    assert said["last_gap"] == {"from": last, "to": row["open_time"], "bars": lost}
    near = mine.filter(pl.col("open_time").is_between(after[3] - minute - chain.DAY, after[3]))
    assert said["missing_day_before"] == 1441 - near.filter(pl.col("time") <= after[3]).height
    before = scene.bars.filter(pl.col("symbol") == symbol)["time"][1]
    assert chain.coverage(scene, symbol, before)["missing_day_before"] == 0


def test_a_bar_before_the_warm_up_has_no_forecast(sealed_run, scene):
    missing = scene.reasons.join(scene.forecasts, on=["symbol", "time"], how="anti")
    row = missing.row(0, named=True)
    found = why.run(sealed_run.id, row["symbol"], row["time"])
    assert found["forecast"]["value"] is None and found["reason"]["word"] == "stale_data"
    assert found["limits"]["new_position"] is None
    assert "forecast   none" in why.text(found)


@pytest.mark.parametrize("scope", ["trailing", "fold"])
def test_cut_points_are_those_the_bins_were_drawn_with(scene, scope):
    """Each forecast's bin, drawn by the signals room, lies between the edges that are shown."""
    options = {"backtest.rule": "quantile", "evaluation.scope": scope}
    study = scene.study.with_options(options)
    binned = signals.assign(scene.forecasts.drop("bin"), scope=scope, **pipeline.cuts(study))
    asked = scene._replace(study=study, forecasts=binned)
    known = binned.drop_nulls("bin")
    ends = known.filter(pl.col("time").dt.hour().is_in([0, 23]), pl.col("time").dt.minute() < 3)
    for row in pl.concat([known.sample(12, seed=3), ends]).iter_rows(named=True):
        said = chain.cut_points(asked, row["symbol"], row["time"])
        above, below = said["above"], said["below"]
        assert said["bin"] == row["bin"] and said["bins"] == 10
        assert (above is None) == (row["bin"] == 1) and (below is None) == (row["bin"] == 10)
        assert (above or -np.inf) <= row["forecast"] < (below or np.inf)
        assert said["side"] == {1: "short", 10: "long"}.get(row["bin"], "none")


@pytest.mark.parametrize(
    ("symbol", "time", "said"),
    [
        ("SIM1USDT", None, "has no 'SIM1USDT'. Did you mean 'SIM01USDT'"),
        ("SIM01USDT", "1999-01-01", "the run decides from .* The nearest bar closed at"),
        ("SIM01USDT", "yesterday", "'yesterday' is no time"),
    ],
)
def test_a_mistake_names_what_is_nearest(sealed_run, symbol, time, said):
    with pytest.raises(UserError, match=said):
        why.run(sealed_run.id, symbol, time or "2024-01-08")


def test_a_bar_between_two_closes_names_the_nearer(sealed_run, scene):
    time = scene.reasons["time"][100]
    said = re.escape(f"no bar closed then. The nearest bar closed at {time}.")
    with pytest.raises(UserError, match=said):
        why.run(sealed_run.id, scene.reasons["symbol"][100], time + timedelta(seconds=20))


def test_a_study_means_its_newest_run(sealed_run):
    from research import stored_runs

    assert scenes.find(sealed_run.study.name).run == stored_runs.runs("demo")[0].id
    with pytest.raises(UserError, match="no such run"):
        scenes.find("nothing-like-it")


def test_a_part_of_an_id_is_asked_of_stored_runs_and_of_paper_runs(sealed_run, paper):
    assert scenes.find(sealed_run.id[-7:]).run == sealed_run.id
    assert scenes.find("by_hand_0").run == paper.name
    with pytest.raises(UserError, match=f"Choose one of: .*{sealed_run.id}.*{paper.name}"):
        scenes.find("2")


# -- a run on paper ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paper(scene, trade):
    """A paper run made by hand: it did what the stored one did around its first trade."""
    start, end = (
        trade["entry_time"] - timedelta(minutes=5),
        trade["exit_time"] + timedelta(minutes=15),
    )
    folder = atomic.data_root() / "live" / "2026-11-20_2215_by_hand_00ff"
    (folder / "commands").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"run": folder.name}))
    known = pl.col("time") <= start
    atomic.write_parquet(folder / "history.parquet", scene.bars.filter(known))
    before = scene.forecasts.filter(known).select("symbol", "time", "forecast")
    atomic.write_parquet(folder / "history_forecasts.parquet", before)
    row = scene.forecasts.filter(pl.col("time") == start).row(0, named=True)
    model = scene.model(row["model"], row["symbol"])
    version = models.Registry(folder / "models").add({models.ALL: model}, {})
    told = {"study": json.loads(scene.study.model_dump_json()), "time": micros(start)}
    swap = {"time": micros(start), "model": version, "was": None, "at": micros(start), "why": "x"}
    with Journal.open(folder) as journal:
        journal.append(("start", told), ("swap", swap), *moments(scene, start, end, trade))
    (folder / "journal.lock").unlink()
    yield folder
    shutil.rmtree(folder)


def moments(scene, start, end, trade):
    """Return the bars between as a journal has them, decided and forecast as in `scene`."""
    seen = scene.bars.filter(pl.col("time") > start, pl.col("time") <= end)
    key = ["symbol", "time"]
    rows = seen.join(scene.forecasts.select(*key, *SAID), on=key, how="left")
    rows = rows.join(scene.reasons, on=key).with_columns(
        pl.col("open_time").dt.epoch("us"), pl.col("bin").fill_null(0), source=pl.lit("rest")
    )
    owned = dict(scene.equity.select("time", "equity").iter_rows())
    for (time,), part in rows.sort(key).group_by("time", maintain_order=True):
        ended = [as_journaled(trade)] if trade["exit_time"] == time else []
        body = {"time": micros(time), "late": False, "control": 0, "equity": owned[time]}
        yield "moment", {**body, "rows": part.drop("time").to_dicts(), "trades": ended}


SAID = ("forecast", "told", "bin", "sigma", "model")


def as_journaled(trade):
    times = {name: micros(trade[name]) for name in ("entry_time", "exit_time")}
    return {**trade, **times, "side": 1 if trade["side"] == "long" else -1}


def test_a_paper_run_has_the_same_chain(paper, sealed_run, trade):
    for time in (trade["entry_time"], trade["exit_time"]):
        stored = why.run(sealed_run.id, trade["symbol"], time)
        found = why.run(paper.name, trade["symbol"], time)
        assert (stored.pop("kind"), found.pop("kind")) == ("report", "paper")
        for side in (stored, found):
            side.pop("run")
            for name in ("fold", "y", "known_at", "late"):
                side["forecast"].pop(name, None)
        stored["limits"].pop("position_before"), found["limits"].pop("position_before")
        assert found == stored


def test_a_paper_run_that_does_not_know_the_bar(paper, trade):
    with pytest.raises(UserError, match="the run decides from"):
        why.run(paper.name, trade["symbol"], "2024-01-02")


def test_every_reason_is_explained():
    assert set(REASONS) <= set(chain.MEANS)
