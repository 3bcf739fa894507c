import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import research
from research import pipeline, plots, report, tape
from research.errors import UserError, the_one
from research.report import numbers, pages
from research.study import Study, read

KEYS = {
    "study": None, "run": None, "code": None, "trials": None, "folds": None,
    "verdict": {"word", "because", "change", "checks"},
    "ledger": {"rows", "hash", "home", "effective", "dsr", "dsr_raw"},
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
    assert not {"order_flow", "untrained"} & set(summary), "of recordings alone"
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
    assert found.metrics["ic_low"] == (kept.summary["scores"]["ic_low"],) * 2
    assert json.dumps(found.to_dict())
    with pytest.raises(UserError, match="no such run"):
        research.run("nothing-like-it")
    listed = (kept.folder.parent.parent / "index.html").read_text()
    assert kept.id in listed
    assert other.id in listed


def test_a_comparison_fits_a_terminal(small, kept):
    """Settings come first, then results with their intervals; what is long goes on below."""
    many = [f"SIM{n:02}USDT" for n in range(30)]
    found = research.compare(kept, kept)
    assert "settings that differ" not in found.text()
    lines = replace(found, changed={"data.symbols": (many, None)}).text().splitlines()
    assert max(map(len, lines)) <= 100
    settings, results = lines.index("settings that differ:"), lines.index("results:")
    assert settings < results and " ".join(many[-3:]).replace(" ", ", ") in lines[results - 2]
    said = {line.split()[0]: line for line in lines[results + 2 :] if line}
    score, tested = kept.summary["scores"], kept.summary["backtest"]
    assert said["ic"].count(f" [{score['ic_low']:.4g}, {score['ic_high']:.4g}]") == 2
    assert said["net_return"].split()[1:] == [f"{tested['net_return']:.4g}"] * 2  # too few days
    assert said["verdict"].split()[1:] == [kept.summary["verdict"]["word"]] * 2
    assert "SIM29USDT</td><td>-" in replace(found, changed={"a": (many, None)})._repr_html_()


KNOWN = ["2026-11-21_0900_demo_9c01", "2026-11-20_2216_demo_3f2a", "2026-11-20_2215_trend_3f2a"]


@pytest.mark.parametrize("part", ["9c01", "2026-11-21", "_0900_", KNOWN[0]])
def test_a_part_that_fits_one_name_alone_is_that_name(part):
    assert the_one(part, KNOWN, what="run") == KNOWN[0]
    assert the_one(part, [*KNOWN, KNOWN[0] + "-2"][1:], what="run") == KNOWN[0] + "-2"


def test_a_whole_name_is_itself_though_it_is_a_part_of_another():
    assert the_one(KNOWN[0], [KNOWN[0] + "-2", *KNOWN], what="run") == KNOWN[0]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("3f2a", f"fits 2, must fit one alone. Choose one of: {KNOWN[1]}, {KNOWN[2]}."),
        ("9c0x", f"no such run. Did you mean '{KNOWN[0]}'?"),
        ("trand_3f", f"no such run. Did you mean '{KNOWN[2]}'?"),
        ("~~", f"no such run. The newest is {KNOWN[0]}."),
    ],
)
def test_what_fits_several_or_none_is_told_in_one_line(word, said):
    with pytest.raises(UserError) as caught:
        the_one(word, KNOWN, what="run")
    assert said in str(caught.value) and "\n" not in str(caught.value)
    many = [f"{word}{n}" for n in range(20)]
    with pytest.raises(UserError, match=f"{word}7 and 12 older ones"):
        the_one(word, many, what="run")


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


def test_what_is_not_finite_becomes_null():
    from research.report.numbers import clean

    assert clean({"a": math.nan, "b": [math.inf, 1.0]}) == {"a": None, "b": [None, 1.0]}


# -- sizes ------------------------------------------------------------------------------------


def traded(sizes, *, small=0):
    """Entries of so many quote units each, an hour apart, on an account of 1,000 and then 2,000."""
    start, hour = datetime(2024, 5, 1, tzinfo=UTC), timedelta(hours=1)
    times = [start + n * hour for n in range(len(sizes) + 1)]
    owned = [1000.0 if n < 2 else 2000.0 for n in range(len(times))]
    trades = pl.DataFrame(
        {
            "entry_time": times[: len(sizes)],
            "entry_price": pl.Series([10.0] * len(sizes), dtype=pl.Float64),
            "quantity": pl.Series([size / 10 for size in sizes], dtype=pl.Float64),
        },
        schema_overrides={"entry_time": pl.Datetime("us", "UTC")},
    )
    words = ["entry"] * len(sizes) + ["too_small"] * small
    reasons = pl.DataFrame({"reason": words}, schema={"reason": pl.String})
    equity = pl.DataFrame({"time": times, "equity": owned})
    equity = equity.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
    return tape.Backtest(trades, equity, reasons, {}, pl.DataFrame())


def test_entries_at_the_cap_are_counted():
    study = Study().with_options(
        {"sizing.kind": "volatility", "sizing.max_position": "10 %", "sizing.leverage": 1.0}
    )
    found = numbers.sizing(study, traded([100.0, 99.0, 100.0, 196.0, 195.0], small=3))
    # of 1,000, 1,000, 2,000, 2,000 and 2,000: 10, 9.9, 5, 9.8 and 9.75 percent
    assert found["capped"] == 3
    assert found["median"] == pytest.approx(0.098)
    assert (found["kind"], found["cap"], found["too_small"]) == ("volatility", 0.1, 3)


def test_leverage_caps_where_no_largest_position_is_set():
    study = Study().with_options({"sizing.kind": "kelly", "sizing.leverage": 2.0})
    assert numbers.sizing(study, traded([1990.0, 10.0])) == {
        "kind": "kelly",
        "cap": 2.0,
        "median": 1.0,
        "capped": 1,
        "too_small": 0,
    }


def test_a_run_without_trades_has_no_sizes():
    found = numbers.sizing(Study(), traded([]))
    assert (found["median"], found["capped"], found["too_small"]) == (None, 0, 0)


def test_a_size_by_volatility_says_how_often_the_cap_was_it(small):
    """On the desk itself: half a percent at risk over minutes is far more than a tenth."""
    told = {"sizing.kind": "volatility", "sizing.max_position": "10 %"}
    capped = numbers.sizing(small, pipeline.backtest(small))
    assert capped["kind"] == "equal"
    chosen = small.with_options(told)
    tested = pipeline.backtest(chosen)
    found = numbers.sizing(chosen, tested)
    assert found["capped"] > 0.9 * tested.trades.height > 0
    careful = small.with_options(told | {"sizing.risk": "0.01 %"})
    found = numbers.sizing(careful, pipeline.backtest(careful))
    assert found["capped"] < 0.5 * tested.trades.height
    assert 0 < found["median"] < 0.098


# -- what the page shows, and what it does not ------------------------------------------------


def page(kept, small, sheet=None, **changed):
    """The page of a run whose summary is changed in its tear sheet and its section of backtests."""
    summary = kept.summary | {"backtest": kept.summary["backtest"] | changed}
    summary |= {"tearsheet": kept.summary["tearsheet"] | (sheet or {})}
    found, tested = pipeline.evaluation(small), pipeline.backtest(small)
    return pages.run(small, summary, tested, found, kept.folder, ["a proof"]).read_text()


def test_a_run_carries_its_certificate(kept):
    proof = json.loads((kept.folder / "certificate.json").read_text())
    said = kept.summary["certificate"]
    assert said["verdict"] == proof["verdict"] == "causal" and said["mismatches"] == 0
    # every feature and sigma, at every bar but the last of each symbol
    assert said["checked"] == said["features"] * (
        said["bars"] - len(kept.summary["data"]["symbols"])
    )
    assert proof["fingerprints"]["bars"] == kept.summary["data"]["fingerprint"]
    text = (kept.folder / "index.html").read_text()
    assert "Nothing does" in text and f"{said['checked']:,} values" in text


def test_the_page_shows_the_tear_sheet(kept):
    text = (kept.folder / "index.html").read_text()
    sheet = kept.summary["tearsheet"]
    assert sheet["per"] == "day" and "Fewer than 60 days are not made into a year" in text
    for words in ("Sharpe ratio, a day", "largest drawdown", "time with a position", "week from"):
        assert words in text
    assert "a year</td>" not in text and "Calmar" not in text
    assert sheet["deepest"]["depth"] == pytest.approx(kept.summary["backtest"]["max_drawdown"])
    whole = math.prod(1 + row["net_return"] for row in sheet["periods"]) - 1
    assert whole == pytest.approx(kept.summary["backtest"]["net_return"], rel=1e-9)


def test_figures_of_a_year_have_sixty_days_and_an_interval(kept, small):
    """Twelve point three is shown with its interval; without one, or without trials, it is not."""
    ratio = {"sharpe": 12.345, "sharpe_low": 1.5, "sharpe_high": 20.5}
    year = {"per": "year", "calmar": 3.25, **ratio}
    shown = page(kept, small, year)
    assert shown.count("12.3") == 2 and shown.count("[1.50, 20.50]") == 2
    assert "Sharpe ratio, a year" in shown and "3.25" in shown
    assert "Fewer than 60 days" not in shown
    unsure = page(kept, small, year | {"sharpe_low": None})
    assert "12.3" not in unsure
    few = page(kept, small, year | {"sharpe_low": None}, net_low=None, net_high=None)
    assert "under ten days" in few and "12.3" not in few


def test_months_are_laid_out_by_year(kept, small):
    months = [
        {"start": "2023-12-01", "days": 10, "net_return": 0.1},
        {"start": "2024-01-01", "days": 31, "net_return": -0.05},
        {"start": "2024-02-01", "days": 9, "net_return": 0.2},
    ]
    text = page(kept, small, {"period": "month", "periods": months})
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in text.split("\n") if "<td>202" in row]
    assert rows == [
        ["2023", *[""] * 11, "+10.0%", "+10.0%"],
        ["2024", "-5.0%", "+20.0%", *[""] * 10, "+14.0%"],
    ]


def test_a_makers_rebate_is_income_on_the_page_and_in_the_ledger(kept, small):
    """What comes back is a rate of what was traded, and the break-even fee is where nothing is."""
    told = {"costs.fee": "-2 bps", "costs.role": "maker", "costs.slippage": 0.0}
    study = small.with_options(told | {"backtest.enter": "2 bps"})
    assert tape.rules(small.with_options(told)).enter == 0.0  # a round trip is paid for
    tested = pipeline.backtest(study)
    capital, traded = study.backtest.capital, tested.equity["traded"].sum()
    assert tested.equity["fees"].sum() == pytest.approx(-0.0002 * traded) and traded > 0
    gained = tested.equity["equity"][-1] - capital
    assert gained == pytest.approx(tested.trades["net"].sum(), rel=1e-9)
    gross = tested.trades["gross"].sum()
    assert gained == pytest.approx(gross + 0.0002 * traded, rel=1e-9)
    even = tested.summary["break_even_fee"]
    again = pipeline.backtest(study.with_options({"costs.fee": even}))
    assert again.summary["net_return"] == pytest.approx(0.0, abs=1e-6)
    found = pipeline.evaluation(study)
    assert found.ic_break_even < 0 and "trading costs nothing" in found._repr_html_()
    summary = kept.summary | {"scores": kept.summary["scores"] | {"ic_break_even": -0.1}}
    text = pages.run(study, summary, tested, found, kept.folder, ["a proof"]).read_text()
    assert "whose rebate is a gain here" in text and "-2.00 bps" in text
    assert "trading costs nothing" in text
    drawn = plots.fee_sweep(tested.fee_sweep, break_even=even).lines[0].get_xdata()
    assert min(drawn) == -0.0002


def test_the_page_says_how_large_entries_were(kept):
    text = (kept.folder / "index.html").read_text()
    assert "Sizing <code>equal</code>: the median entry was" in text
    assert kept.summary["sizing"]["median"] > 0


def test_a_page_without_its_twin_says_how_to_make_it(small, tmp_path, monkeypatch):
    twin = small.with_options({"twin": "trend"})
    words = pages.twin_words(twin)
    assert words.startswith("./run report trend -o data.source=simulated")
    assert f"-o simulated.days={small.simulated.days}" in words
    # the words are a command: what they say reads back as the same bars
    options = dict(pair.split("=", 1) for pair in words.replace("-o ", "").split()[3:])
    other = read("trend", {key: json.loads(f'"{value}"') for key, value in options.items()})
    assert other.simulated == small.simulated and other.data == small.data
    with report.new_run(twin) as part:
        pass
    text = (part.run.folder / "index.html").read_text()
    assert "No run of <code>trend</code> on these bars yet" in text
    assert "./run report trend -o data.source=simulated" in text
    assert pages.twin_words(small) == ""
    assert pages.twin_words(small.with_options({"twin": "gone"})).startswith("./run report gone")
