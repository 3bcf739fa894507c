"""Where the verdict's numbers come from: each against the public way to the same number."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests_settings import SMALL

import research
from research import datasets, judgement, league, pipeline, report, sweeps
from research.performance.verdict import Evidence
from research.store import ledger
from research.store.ledger import chain, trials


@pytest.fixture(scope="module")
def traded(small):
    """A study that trades often."""
    chosen = small.with_options({"backtest.enter": "1 bps"})
    forecasts = pipeline.forecasts(chosen)
    found = pipeline.evaluation(chosen, forecasts)
    return chosen, forecasts, found, pipeline.backtest(chosen, forecasts)


@pytest.fixture(scope="module")
def seen(traded):
    study, _, found, tested = traded
    return judgement.evidence(study, found, tested)


@pytest.mark.parametrize(
    ("key", "option"),
    [("bar_later", {"costs.latency": "1 min"}), ("bp_more", {"costs.slippage": None})],
)
def test_other_conditions_are_those_of_a_backtest_that_has_them(traded, seen, key, option):
    study, forecasts, _, tested = traded
    if key == "bp_more":
        option = {"costs.fee": study.fee + 0.5e-4}
    other = pipeline.backtest(study.with_options(option), forecasts)
    assert getattr(seen, key) == pytest.approx(other.summary["net_return"], abs=1e-12)
    assert getattr(seen, key) != tested.summary["net_return"]


def test_what_is_left_without_the_best_symbol(traded, seen):
    study, _, _, tested = traded
    by_symbol = dict(tested.trades.group_by("symbol").agg(pl.col("net").sum()).rows())
    others = tested.summary["net_return"] - max(by_symbol.values()) / study.backtest.capital
    assert seen.without_symbol == pytest.approx(others)
    assert (seen.symbols, len(by_symbol)) == (2, 2)


def test_bars_that_are_missing_count_against_it(traded, seen):
    study, *_ = traded
    quality = datasets.quality(study)
    due = quality["rows"].sum() + quality["missing"].sum()
    assert seen.coverage == pytest.approx(quality["rows"].sum() / due)
    assert 0.9 < seen.coverage <= 1.0


def test_a_question_about_a_trial_is_no_trial(traded):
    study, _, found, tested = traded
    before = len(chain.read().rows)
    judgement.judge(study, found, tested)
    assert len(chain.read().rows) == before


@pytest.mark.parametrize(("needed", "word"), [(-0.01, "undecided"), (0.0, "deployable")])
def test_what_rebates_pay_for_is_not_deployable(traded, monkeypatch, needed, word):
    """Fills are taken to be certain, and a rebate is paid to orders that are not."""
    study, _, found, tested = traded
    good = Evidence(
        ic=0.1, ic_low=0.08, ic_high=0.12, ic_break_even=needed, scored_days=40, net_return=0.3,
        net_low=0.2, net_high=0.4, days=40, dsr=0.99, trials=2, without_day=0.2, without_week=0.1,
        bar_later=0.2, bp_more=0.2,
    )  # fmt: skip
    monkeypatch.setattr(judgement, "evidence", lambda *_: good)
    said = judgement.judge(study, replace(found, ic_break_even=needed), tested)
    assert said.word == word
    assert said.because.startswith("rebates") == bool(said.change) == (needed < 0)


def test_a_sweep_inside_an_exploration_bears_its_note(small):
    lineage, words = datasets.dataset(small).lineage, "how large must an edge be?"
    before = ledger.count(lineage)
    with research.exploring(words):
        sweeps.run("demo", SMALL, ["backtest.enter=7.7 bps,7.8 bps"], progress=lambda *_: None)
    found = research.trials(lineage).filter(pl.col("note") == words)
    assert found.height == 2 and ledger.count(lineage) == before + 2
    assert found["net_return"].null_count() == 0 == found["ic"].null_count()


def tried(seed, returns, lineage="made"):
    begun = ledger.begin({"seed": seed}, lineage=lineage, what="backtest")
    begun.done(returns=[float(r) for r in returns], first="2025-01-01")


def test_trials_that_go_together_amount_to_few(store):
    noise = np.random.default_rng(3).normal(0, 0.01, size=(60, 2))
    for seed in range(6):
        tried(seed, noise[:, seed % 2])
    found = judgement.counted("made")
    assert found.trials == 6 and found.effective == pytest.approx(2, abs=0.3)
    ledger.begin({"seed": 99}, lineage="made", what="training")
    more = judgement.counted("made")
    assert more.trials == 7 and more.effective == pytest.approx(found.effective + 1)


def test_of_many_trials_some_are_compared_and_stand_for_all(store, monkeypatch):
    monkeypatch.setattr(judgement, "MOST", 4)
    noise = np.random.default_rng(4).normal(0, 0.01, size=(60, 8))
    for seed in range(8):
        tried(seed, noise[:, seed], lineage="many")
    found = judgement.counted("many")
    assert found.trials == 8 and found.effective == pytest.approx(8, rel=0.2)


def test_days_that_a_trial_did_not_cover_are_zero():
    known = [
        ledger.Known("a", "x", "", {"first": "2025-01-01", "returns": [0.1, 0.2]}),
        ledger.Known("b", "x", "", {"first": "2025-01-02", "returns": [0.3, 0.4]}),
    ]
    table = judgement.side_by_side(known)
    assert table["a"].to_list() == [0.1, 0.2, 0.0] and table["b"].to_list() == [0.0, 0.3, 0.4]
    assert [str(day) for day in table["time"]] == ["2025-01-01", "2025-01-02", "2025-01-03"]


def test_more_trials_make_a_sharpe_ratio_less_sure(store):
    days = np.random.default_rng(5).normal(0.004, 0.01, 60)
    none = pl.DataFrame(schema={"entry_time": pl.Datetime, "exit_time": pl.Datetime})
    tried(0, days, lineage="alone")
    alone = judgement.deflated(days, none, "alone")
    for seed in range(1, 12):
        tried(seed, np.random.default_rng(seed).normal(0, 0.01, 60), lineage="alone")
    among = judgement.deflated(days, none, "alone")
    assert alone["dsr"] == alone["dsr_raw"] > among["dsr"] >= among["dsr_raw"]
    assert alone["days_needed"] < among["days_needed"]


# -- a ledger that cannot be reached ----------------------------------------------------------


PROOF = {"verdict": "causal", "features": 1, "bars": 2, "checked": 1, "mismatches": 0}


def test_a_report_that_cannot_reach_the_ledger_shows_no_sharpe_and_says_why(traded, tmp_path):
    study, _, found, tested = traded
    place = chain.place()
    hidden = place.rename(place.with_name("hidden"))
    try:
        seen = judgement.evidence(study, found, tested)
        assert seen.dsr is None and seen.trials is None and "is gone" in seen.unreached
        said = report.verdict(study, found, tested)
        assert said.word != "deployable"
        content = report.numbers.summary(study, "a_run", found, tested, _league())
    finally:
        hidden.rename(place)
        chain._known.clear()
        trials._folds.clear()
    assert content["trials"] is None and "is gone" in content["ledger"]["unreached"]
    assert {content["backtest"][k] for k in ("sharpe", "sharpe_low", "sharpe_high")} == {None}
    many = {**content["backtest"], "days": 99.0}
    html = report.pages.run(
        study, content | {"backtest": many, "certificate": PROOF}, tested, found, tmp_path, []
    )
    text = html.read_text()
    assert "the ledger of trials could not be reached" in text and "is gone" in text


def _league():
    one = pl.DataFrame({"name": ["ridge"], "net_return": [0.0], "mine": [True]})
    return pl.concat([pl.DataFrame(schema=league.COLUMNS), one], how="diagonal")


def test_a_run_that_was_not_counted_has_no_sharpe(traded, monkeypatch, tmp_path):
    study, _, found, tested = traded
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))
    monkeypatch.setattr(judgement, "_again", lambda *_: {})
    monkeypatch.setattr(judgement, "_coverage", lambda _: 1.0)
    seen = judgement.evidence(study, found, tested)
    assert seen.dsr is None and "this run was not counted" in seen.unreached


def test_the_ledger_keeps_what_a_backtest_earned_day_by_day(traded):
    study, _, found, tested = traded
    known = [k.found for k in ledger.known(datasets.dataset(study).lineage)]
    net = tested.summary["net_return"]
    (mine,) = (k for k in known if k.get("net_return") == net and k.get("ic_low") is not None)
    assert np.prod(1 + np.array(mine["returns"])) - 1 == pytest.approx(net, abs=1e-6)
    assert (mine["ic"], mine["ic_high"]) == (found.score.ic, found.score.high)
