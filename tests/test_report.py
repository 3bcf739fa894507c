import json
import math
import re

import pytest

import research
from research import pipeline, report
from research.errors import UserError
from research.scores import Score

KEYS = {
    "study": None, "run": None, "code": None, "trials": None, "folds": None,
    "verdict": {"word", "because"},
    "data": {"fingerprint", "symbols", "rows", "start", "end", "missing_minutes",
             "zero_volume_bars", "duplicates"},
    "scores": {"ic", "ic_low", "ic_high", "ic_break_even"},
    "quantiles": {"rule", "bins", "spread", "optimism_gap"},
    "backtest": {"trades", "gross_return", "net_return", "fees", "sharpe", "max_drawdown",
                 "win_rate", "profit_factor", "turnover", "break_even_fee"},
    "truth": {"planted_ic", "oracle_ic", "oracle_ic_low", "oracle_ic_high", "found_ic",
              "found_ic_low", "found_ic_high"},
}  # fmt: skip


@pytest.fixture(scope="module")
def kept(small):
    return report.keep(small)


def test_summary_holds_the_agreed_keys(kept):
    summary = json.loads((kept.folder / "summary.json").read_text())
    for key, inside in KEYS.items():
        assert key in summary
        assert inside is None or inside <= set(summary[key]), key
    assert {"name", "ic", "net_return"} <= set(summary["league"][0])
    counts = [summary["trials"], summary["folds"], summary["backtest"]["trades"]]
    counts += [summary["data"][k] for k in ("rows", "missing_minutes", "zero_volume_bars")]
    assert all(isinstance(count, int) for count in counts)
    assert "NaN" not in (kept.folder / "summary.json").read_text()


def test_a_run_has_its_files(kept):
    names = {p.name for p in kept.folder.iterdir()}
    assert {"index.html", "summary.json", "study.json", "reasons.parquet"} <= names
    for stem in ("trades", "equity", "quantiles_10_trailing"):
        assert {f"{stem}.parquet", f"{stem}.csv"} <= names
    pictures = {p.name for p in (kept.folder / "figures").iterdir()}
    assert {"equity.png", "equity.svg", "truth.svg", "quantiles.png"} <= pictures


def test_the_page_says_verdict_trials_and_break_even(kept):
    page = (kept.folder / "index.html").read_text()
    said = kept.summary
    for text in (
        said["verdict"]["word"],
        "break-even fee",
        "Trials on this data",
        "figures/equity.svg",
    ):
        assert text in page
    assert not re.search(r"(src|href)=.https?:", page), "the page must open without a network"


def test_runs_are_found_and_compared(small, kept):
    other = report.keep(small.with_options({"costs.fee": "2 bps"}))
    assert {kept.id, other.id} <= {r.id for r in research.runs()}
    assert research.run(kept.id).summary["run"] == kept.id
    found = research.compare(kept.id, other.id)
    assert found.changed == {"costs.fee": (None, 0.0002)}
    assert found.difference["ic"] == 0.0
    assert "IC difference" in found.text()
    assert json.dumps(found.to_dict())
    with pytest.raises(UserError, match="no such run"):
        research.run("nothing-like-it")
    listed = (kept.folder.parent.parent / "index.html").read_text()
    assert kept.id in listed
    assert other.id in listed


def test_a_run_opens_its_tables(kept, small):
    assert kept.trades.columns[:2] == ["symbol", "side"]
    assert kept.bars.equals(pipeline.bars(small))
    assert kept.forecasts.height > 0
    assert "equity" in kept.figures
    assert kept.study == small


def test_an_interrupted_run_leaves_no_trace_after_the_next(small, kept):
    home = kept.folder.parent
    with pytest.raises(KeyboardInterrupt), report.new_run(small) as part:
        raise KeyboardInterrupt
    assert not part.folder.exists()
    assert part.run.id not in {r.id for r in research.runs()}
    (home / ".killed.part").mkdir()  # a kill -9 cleans nothing: the next run does
    report.keep(small)
    assert not list(home.glob(".*.part"))


@pytest.mark.parametrize(
    ("ic", "low", "high", "needed", "word"),
    [
        (-0.01, -0.02, -0.001, 0.1, "nothing"),
        (0.005, -0.01, 0.02, 0.1, "nothing"),
        (0.005, -0.2, 0.21, 0.1, "undecided"),
        (0.05, 0.03, 0.07, 0.1, "undecided"),
        (0.15, 0.13, 0.17, 0.1, "undecided"),
    ],
)
def test_verdict(ic, low, high, needed, word):
    score = Score(ic=ic, low=low, high=high, n_days=40, n_rows=1000, blocks="")
    found, because = report.verdict(score, needed, 0.01)
    assert found == word
    assert f"{needed:.3f}" in because


def test_what_is_not_finite_becomes_null():
    from research.report.numbers import clean

    assert clean({"a": math.nan, "b": [math.inf, 1.0]}) == {"a": None, "b": [None, 1.0]}
