"""Campaigns: the arithmetic of their summaries on rows made by hand, and small ones run whole."""

import json
import os
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from research import campaigns, cli, models, pipeline, scores, tape
from research.campaigns import grid, markets, noise, worth
from research.campaigns.markets import STUDIES
from research.charges import round_trip
from research.errors import UserError
from research.study import Study

TINY = {
    "simulated.days": 8,
    "validation.train": "4 d",
    "validation.test": "2 d",
    "model.rounds": 10,
    "evaluation.draws": 100,
    "evaluation.window": "1 d",
    "evaluation.horizons": ["1 min"],
}


def curve(equity, gross, *, hours=6):
    """Lay equity out in time, rows at the end of every few hours from the first of May on."""
    start = datetime(2024, 5, 1, tzinfo=UTC)
    time = [start + timedelta(hours=hours * (i + 1)) for i in range(len(equity))]
    columns = {"time": time, "equity": equity, "gross": gross}
    return pl.DataFrame(columns, schema_overrides={"time": pl.Datetime("us", "UTC")})


# -- t of daily returns -----------------------------------------------------------------------


def test_t_is_that_of_the_days_in_percent_of_what_was_there():
    # days end at 110, 99, 118.8: 10, -10 and 20 percent; gross 20, 0 and 30 of 100, 110, 99
    equity = [105.0, 110.0, 100.0, 99.0, 90.0, 118.8]
    gross = [110.0, 120.0, 125.0, 120.0, 149.0, 150.0]
    found = markets.daily_t(curve(equity, gross, hours=12), capital=100.0)
    assert found["net_t"] == pytest.approx(stats.ttest_1samp([0.1, -0.1, 0.2], 0).statistic)
    expected = stats.ttest_1samp([20 / 100, 0.0, 30 / 99], 0).statistic
    assert found["gross_t"] == pytest.approx(expected)


def test_days_of_a_ruined_account_do_not_count():
    equity = [110.0, 99.0, 0.0, 0.0, 0.0]
    found = markets.daily_t(curve(equity, equity, hours=24), capital=100.0)
    assert found["net_t"] == pytest.approx(stats.ttest_1samp([0.1, -0.1, -1.0], 0).statistic)


@pytest.mark.parametrize("equity", [[100.0], [101.0], [100.0, 100.0, 100.0]])
def test_a_day_or_an_idle_account_has_no_t(equity):
    found = markets.daily_t(curve(equity, equity, hours=24), capital=100.0)
    assert found == {"gross_t": None, "net_t": None}


@given(
    returns=st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=20),
    times=st.floats(1e-3, 1e3),
)
def test_t_knows_no_currency(returns, times):
    equity = 100.0 * np.cumprod(1 + np.array(returns))
    one = markets.daily_t(curve(equity, equity), capital=100.0)
    other = markets.daily_t(curve(equity * times, equity * times), capital=100.0 * times)
    assert (one["net_t"] is None) == (other["net_t"] is None) or np.ptp(returns) < 1e-12
    if one["net_t"] is not None and other["net_t"] is not None and abs(one["net_t"]) < 1e6:
        assert other["net_t"] == pytest.approx(one["net_t"], rel=1e-6, abs=1e-6)


# -- nothing ----------------------------------------------------------------------------------


def market(**changed):
    row = {
        "verdict": "nothing",
        "ic": 0.01,
        "ic_whole": 0.01,
        "ic_low": -0.01,
        "ic_high": 0.03,
        "net_return": -0.1,
        "net_t": -4.0,
        "gross_t": 0.5,
        "trades": 10,
    }
    return row | changed


def test_markets_are_counted():
    found = noise.counted(
        [
            market(),
            market(ic=0.03, ic_whole=0.03, ic_low=0.01, verdict="undecided", net_t=1.5),
            market(ic=-0.01, ic_whole=-0.01, gross_t=-2.5, net_return=0.2),
            market(ic=0.01, gross_t=None, net_t=None, trades=0, net_return=0.0),
        ]
    )
    assert (found["markets"], found["verdict_nothing"], found["covers_zero"]) == (4, 3, 3)
    assert (found["largest_net_t"], found["smallest_net_t"]) == (1.5, -4.0)
    assert found["largest_gross_t_size"] == 2.5
    assert (found["net_gains"], found["idle"], found["trades"]) == (1, 1, 7.5)
    assert found["mean_ic"] == pytest.approx(0.01)
    expected = stats.ttest_1samp([0.01, 0.03, -0.01, 0.01], 0).statistic
    assert found["mean_ic_whole_t"] == pytest.approx(expected)


def test_no_market_and_one_market_have_a_summary():
    assert noise.counted([]) == {}
    assert grid.counted([]) == {}
    idle = noise.counted([market(net_t=None, gross_t=None, trades=0)])
    assert (idle["largest_net_t"], idle["mean_ic_whole_t"]) == (None, None)


def test_a_study_on_noise(store):
    before = os.environ["ALPHABOOK_DATA"]
    found = campaigns.nothing(2, 1, ("quantiles",), TINY)
    assert os.environ["ALPHABOOK_DATA"] == before
    assert found["failed"] == []
    assert [row["seed"] for row in found["markets"]] == [1, 2]
    assert found["quantiles"] == noise.counted(found["markets"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for row in found["markets"]:
        assert row["verdict"] in ("nothing", "undecided")
        assert row["ic_low"] <= row["ic"] <= row["ic_high"]
        assert row["trades"] > 0
        assert row["net_return"] < row["gross_return"]
        assert row["net_t"] < row["gross_t"]  # the costs of 0.12 % a trade are in one of them
    assert found["markets"][0]["ic"] != found["markets"][1]["ic"]


def test_a_market_that_fails_is_listed_and_the_others_go_on(monkeypatch, store):
    work = noise._market
    monkeypatch.setattr(noise, "_market", lambda item: 1 / 0 if item[1] == 1 else work(item))
    found = campaigns.nothing(2, 1, ("quantiles",), TINY)
    assert found["failed"] == [
        "quantiles, seed 1, planted IC 0.0: ZeroDivisionError('division by zero')"
    ]
    assert found["quantiles"]["markets"] == 1


# -- phase ------------------------------------------------------------------------------------


def cell(planted, needed, net, *, own=0, **more):
    made = {"planted_ic": planted, "ic_break_even": needed, "net_return": net, "found_ic": 0.05}
    made |= {"expected_own": own, "verdict": "undecided", "trades": 5, "seed": 1, "cost": needed}
    made |= {"control_return": 0.1, "gross_return": 0.1, "expected_gross": 0.06, "noise": 0.02}
    return grid.judged(made | more)


@pytest.mark.parametrize(
    ("planted", "needed", "net", "expected", "right"),
    [
        (0.10, 0.0, 0.1, 1, True),
        (0.10, 0.0, -0.1, 1, False),
        (0.10, 0.04, 0.0, 1, False),  # did not trade what would have paid
        (0.10, 0.06, 0.5, 0, None),
        (0.10, 0.05, 0.5, 0, None),  # twice is not beyond twice
        (0.10, 0.19, -0.5, 0, None),
        (0.10, 0.21, -0.5, -1, True),
        (0.10, 0.21, 0.0, -1, True),  # did not trade what could not pay
        (0.10, 0.21, 0.5, -1, False),
    ],
)
def test_a_cell_is_right_when_its_sign_is(planted, needed, net, expected, right):
    found = cell(planted, needed, net)
    assert (found["expected"], found["right"]) == (expected, right)


@pytest.mark.parametrize(
    ("needed", "net", "own", "said", "right"),
    [
        (0.0, 0.1, 1, "undecided", True),
        (0.0, -0.1, 1, "undecided", False),
        (0.0, -0.1, -1, "undecided", True),  # its own positions could not pay
        (0.0, -0.1, 0, "undecided", None),  # luck decided, and nothing was said
        (0.0, 0.1, 0, "undecided", None),  # the same where luck was kind
        (0.0, -0.1, 0, "nothing", False),  # an edge that pays was denied
        (0.0, 0.0, 0, "nothing", False),  # by a study that never traded, too
        (0.0, 0.1, 1, "nothing", True),
        (0.3, 0.1, 0, "nothing", None),  # rightly denied
    ],
)
def test_by_its_own_line_a_cell_counts_where_luck_does_not_decide(needed, net, own, said, right):
    assert cell(0.1, needed, net, own=own, verdict=said)["right_own"] is right


def test_cells_are_counted():
    cells = [
        cell(0.10, 0.0, 0.125, own=1),
        cell(0.10, 0.06, 0.01, own=-1),
        cell(0.10, 0.3, -0.5, own=-1),
        cell(0.05, 0.0, 0.0, trades=0, noise=0.0),
        cell(0.05, 0.01, -0.2, own=-1, gross_return=0.0),
        cell(0.05, 0.06, -0.1, verdict="nothing"),
        cell(0.05, 0.3, 0.1),
        cell(0.05, 0.4, 0.0, trades=0),
        cell(0.05, 0.02, 0.1, verdict="nothing"),
    ]
    found = grid.counted(cells)
    lines = found.pop("grid")
    assert found == {
        "cells": 9,
        "near": 2,
        "away": 7,
        "right": 4,
        "pay": 4,
        "right_where_it_pays": 2,
        "idle_where_it_pays": 1,
        "right_where_it_does_not": 2,
        "right_control": 4,
        "decided": 5,
        "right_own": 3,
        "no_verdict": 4,
        "idle": 2,
        "denied": 1,
        "missed": 1,
        "largest_luck": 3.0,
    }
    assert [line.split()[0] for line in lines] == ["planted", "0.05", "0.10"]
    shown = ["+0.00%!?", "-20.00%!", "+10.00%", "#", "-10.00%~?", "+10.00%!?", "+0.00%", "?"]
    assert lines[1].split()[3:] == shown
    assert lines[2].split()[3:] == ["+12.50%", "+1.00%~#", "-50.00%"]


# -- what positions were worth ----------------------------------------------------------------


def ledger(position, close, drift, gross):
    """A run of one symbol: what was held at each close, and what the account was worth then."""
    times = curve(gross, gross)["time"]
    seen = pl.DataFrame({"symbol": "A", "time": times})
    equity = curve(gross, gross).with_columns(
        fees=pl.lit(0.5), slippage=pl.lit(0.25), funding=pl.lit(-0.125)
    )
    tested = tape.Backtest(
        trades=pl.DataFrame(),
        equity=equity,
        reasons=seen.with_columns(position=pl.Series(position)),
        summary={},
        fee_sweep=pl.DataFrame(),
    )
    return tested, seen.with_columns(close=pl.Series(close)), seen.with_columns(forecast=drift)


def test_positions_are_worth_what_the_market_was_going_to_do():
    # rows end at 06, 12, 18, 24 h of two days
    held = [0.0, 2.0, 2.0, -1.0, -1.0, 0.0, 3.0, 0.0]
    close = [10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0]
    drift = [0.01, 0.02, -0.03, 0.04, 0.05, 0.06, -0.07, 0.08]
    gross = [100.0, 101.0, 102.0, 103.0, 104.0, 105.0, 106.0, 110.0]
    found = worth.worth(*ledger(held, close, pl.Series(drift), gross), capital=100.0)
    first = 2 * 10 * 0.01 + 2 * 11 * 0.02 - 1 * 12 * -0.03
    second = -1 * 13 * 0.04 + 3 * 15 * 0.06
    assert found.gross == pytest.approx((first + second) / 100)
    assert found.paid == pytest.approx(8 * 0.625 / 100)
    assert found.noise == pytest.approx(np.hypot(3 - first, 7 - second) / 100)


@pytest.mark.parametrize(
    ("gross", "paid", "noise", "sign"),
    [
        (0.03, 0.01, 0.01, 1),
        (0.03, 0.01, 0.02, 0),
        (0.01, 0.03, 0.01, -1),
        (0.01, 0.03, 0.02, 0),
        (0.0, 0.0, 0.0, 0),  # nothing was held
    ],
)
def test_a_sign_is_sure_beyond_what_luck_does_19_times_in_20(gross, paid, noise, sign):
    assert worth.Worth(gross, paid, noise).sign == sign
    assert stats.norm.cdf(worth.SURE) == pytest.approx(0.95, abs=1e-4)


@given(gross=st.floats(1e-4, 1), paid=st.floats(1e-4, 1), planted=st.floats(0.01, 0.3))
def test_at_its_own_break_even_a_study_would_earn_nothing(gross, paid, planted):
    line = worth.Worth(gross, paid, 0.01).break_even(planted)
    assert gross * line / planted == pytest.approx(paid)  # what is expected grows with the edge


@pytest.mark.parametrize("gross", [0.0, -0.01])
def test_what_expects_nothing_pays_for_itself_at_no_edge(gross):
    assert worth.Worth(gross, 0.01, 0.01).break_even(0.1) == np.inf


def test_the_perfect_forecast_is_worth_what_it_earns(store):
    study = markets.simulated(("quantiles", 1, 0.15, TINY)).with_options(grid.CONTROL)
    free = dict.fromkeys(("fee", "slippage", "half_spread", "impact", "funding"), 0.0)
    study = study.with_options({f"costs.{key}": value for key, value in free.items()})
    with markets.own_store():
        made = pipeline.forecasts(study)
        known = made.drop("forecast").join(worth.drift(study), on=["symbol", "time"])
        tested = pipeline.backtest(study, known.select(made.columns))
        bars = pipeline.bars(study)
        found = worth.worth(tested, bars, worth.drift(study), capital=study.backtest.capital)
    assert found.sign == 1
    assert found.paid == 0
    # what it earned is what it was worth, give or take its luck; a bar late it would not be
    assert abs(tested.summary["gross_return"] - found.gross) < 3 * found.noise
    assert found.gross > 5 * found.noise


# -- phase, whole -----------------------------------------------------------------------------


def test_a_market_is_trained_once_and_traded_at_every_cost(monkeypatch, store):
    monkeypatch.setattr(grid, "_MINUTES", (0.15,))
    monkeypatch.setattr(grid, "COSTS", (0.0, 1e-4, 20e-4))
    trained, train = [], models.out_of_sample
    monkeypatch.setattr(
        models, "out_of_sample", lambda *a, **k: trained.append(1) or train(*a, **k)
    )
    paid, trade = [], pipeline.backtest
    monkeypatch.setattr(
        pipeline,
        "backtest",
        lambda study, made: paid.append(round_trip(study)) or trade(study, made),
    )
    found = campaigns.phase(1, 1, ("quantiles",), TINY)
    assert paid == [0.0, 0.0, 1e-4, 1e-4, 20e-4, 20e-4]  # the study and its control
    assert (found["failed"], len(trained), len(found["cells"])) == ([], 1, 3)
    free, cheap, dear = found["cells"]
    assert free["ic_break_even"] == 0
    assert dear["ic_break_even"] == pytest.approx(20 * cheap["ic_break_even"])
    assert free["net_return"] == pytest.approx(free["gross_return"])
    assert free["net_return"] > cheap["net_return"] > dear["net_return"]
    assert free["trades"] == dear["trades"]  # the rule of bins does not ask what it pays
    assert free["planted_ic"] == pytest.approx(0.15)
    assert free["right"] is True
    assert dear["right"] is True
    assert (free["expected_own"], dear["expected_own"]) == (1, -1)
    assert (free["right_own"], dear["right_own"]) == (True, True)
    assert dear["ic_own"] == pytest.approx(20 * cheap["ic_own"], rel=0.3)
    assert [free["right_control"], dear["right_control"]] == [True, True]
    assert free["control_return"] > cheap["control_return"] > dear["control_return"]
    assert found["quantiles"] == grid.counted(found["cells"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_control_trades_tenths_for_the_horizon_and_nothing_else():
    for name in STUDIES:
        study = markets.simulated((name, 1, 0.1, {}))
        same = {"backtest.rule": "quantile", "labels.horizon": study.labels.horizon}
        same |= {"backtest.overlap": 2}
        same |= {"costs.fee": study.fee, "costs.slippage": study.costs.slippage}
        rules = tape.rules(study.with_options(grid.CONTROL))
        assert rules == tape.rules(Study().with_options(same))
        assert rules.hold == study.labels.horizon // timedelta(microseconds=1)


def test_break_even_is_that_of_the_report(store):
    study = markets.simulated(("quantiles", 1, 0.15, TINY))
    with markets.own_store():
        made = pipeline.forecasts(study)
        report = pipeline.evaluation(study, made)
        found = grid._cell(study, made, report, made, 12e-4)
    assert found["ic_break_even"] == scores.break_even_ic(made, cost=12e-4)
    # a taker pays 5 bps and slips 1, on entry and on exit
    assert found["ic_break_even"] == pytest.approx(report.ic_break_even, rel=1e-12)


# -- the door ---------------------------------------------------------------------------------


def test_each_study_runs_as_its_source_but_for_its_windows():
    for name in STUDIES:
        made = markets.simulated((name, 7, 0.1, {"simulated.days": 40}))
        own = markets.read(name)
        assert (made.simulated.seed, made.simulated.ic, made.simulated.days) == (7, 0.1, 40)
        assert made.simulated.horizon == own.labels.horizon == made.labels.horizon
        for part in ("features", "labels", "backtest", "sizing", "costs", "evaluation"):
            assert getattr(made, part) == getattr(own, part)
        assert made.model == own.model.model_copy(update={"league": []})


@pytest.mark.parametrize("name", ["nothing", "phase"])
def test_an_unknown_study_is_said_before_any_work(name):
    with pytest.raises(UserError, match="Did you mean 'quantiles'"):
        campaigns.run(name, workers=1, studies=["quantils"])


def test_campaigns_take_their_own_number_of_markets(monkeypatch):
    asked = {}
    for name in campaigns.CAMPAIGNS:
        work = lambda *a, _name=name, **k: asked.__setitem__(_name, (a, k)) or {}  # noqa: E731
        monkeypatch.setitem(campaigns.CAMPAIGNS, name, work)
        campaigns.run(name, workers=2, studies=["trend"])
    assert asked == {
        "truth": ((20, 2), {}),
        "interruption": ((20, 2), {}),
        "nothing": ((10, 2), {"studies": ("trend",)}),
        "phase": ((1, 2), {"studies": ("trend",)}),
        "same": ((5, 2), {}),
        "crash": ((1000, 2), {}),
        "soak": ((7, 2), {}),
        "day": ((26, 2), {}),
        "switch": ((1000, 2), {}),
        "shadow": ((500, 2), {}),
        "books": ((1_000_000, 2), {}),
        "frames": ((1_000_000, 2), {}),
        "recorder": ((500, 2), {}),
        "order_timeouts": ((10_000, 2), {}),
        "order_kills": ((1_000, 2), {}),
        "order_steps": ((100_000, 2), {}),
    }


def test_the_command_hands_studies_on(monkeypatch, capsys):
    monkeypatch.setattr(campaigns, "run", lambda name, **k: {"asked": {"of": name, **k}})
    words = ["campaign", "nothing", "--study", "trend", "--study", "quantiles", "--json"]
    monkeypatch.setattr("sys.argv", ["research", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert not caught.value.code
    assert json.loads(capsys.readouterr().out)["asked"] == {
        "of": "nothing",
        "seeds": None,
        "workers": 2,
        "studies": ["trend", "quantiles"],
    }


def test_numbers_become_lines():
    found = {"cells": [1], "markets": [2], "failed": ["one"], "trend": {"right": 3, "grid": ["x"]}}
    lines = campaigns.text(found).splitlines()
    assert [line.split() for line in lines] == [
        ["failed"],
        ["one"],
        ["trend", "right", "3"],
        ["trend", "grid"],
        ["x"],
    ]
