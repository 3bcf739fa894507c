import math
from datetime import UTC, datetime, timedelta

import empyrical
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research import performance
from research.errors import UserError

START = datetime(2024, 5, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NO_TRADES = pl.DataFrame(
    schema={
        "net": pl.Float64,
        "entry_price": pl.Float64,
        "quantity": pl.Float64,
        "entry_time": pl.Datetime("us", "UTC"),
        "exit_time": pl.Datetime("us", "UTC"),
    }
)


def curve(equity, step=HOUR, **more):
    times = [START + step * (k + 1) for k in range(len(equity))]
    time = pl.Series("time", times, pl.Datetime("us", "UTC"))
    return pl.DataFrame({"time": time, "equity": np.asarray(equity, float), **more})


def trades(nets, minutes=10):
    n = len(nets)
    return pl.DataFrame(
        {
            "net": np.asarray(nets, float),
            "entry_price": [10.0] * n,
            "quantity": [10.0] * n,
            "entry_time": [START] * n,
            "exit_time": [START + timedelta(minutes=minutes)] * n,
        }
    ).cast({"entry_time": pl.Datetime("us", "UTC"), "exit_time": pl.Datetime("us", "UTC")})


def summed(equity, made=NO_TRADES, capital=100.0, **kwargs):
    return performance.summary(curve(equity, **kwargs), made, capital=capital)


@pytest.mark.parametrize(("step", "year"), [(HOUR, 365 * 24), (DAY, 365), (4 * HOUR, 365 * 6)])
def test_ratios_are_empyricals_at_365_days(step, year):
    r = np.random.default_rng(1).normal(0.0004, 0.01, 400)
    found = summed(100 * np.cumprod(1 + r), step=step)
    series = pd.Series(r, pd.DatetimeIndex([START + step * k for k in range(1, 401)]))
    expected = {
        "sharpe": empyrical.sharpe_ratio(series, annualization=year),
        "sortino": empyrical.sortino_ratio(series, annualization=year),
        "omega": empyrical.omega_ratio(series, annualization=1),
        "max_drawdown": -empyrical.max_drawdown(series),
        "calmar": empyrical.calmar_ratio(series, annualization=year),
        "annual_return": empyrical.annual_return(series, annualization=year),
        "volatility": empyrical.annual_volatility(series, annualization=year),
        "var_95": -empyrical.value_at_risk(series, 0.05),
        "cvar_95": -empyrical.conditional_value_at_risk(series, 0.05),
        "net_return": empyrical.cum_returns_final(series),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_minutes_are_read_by_the_hour():
    r = np.random.default_rng(2).normal(0, 0.001, 60 * 48)
    minutes = 100 * np.cumprod(1 + r)
    by_minute, by_hour = summed(minutes, step=timedelta(minutes=1)), summed(minutes[59::60])
    for name in ("sharpe", "sortino", "omega", "var_95", "volatility"):
        assert by_minute[name] == pytest.approx(by_hour[name]), name
    assert by_minute["max_drawdown"] >= by_hour["max_drawdown"]  # of every minute
    assert (by_minute["period_minutes"], by_minute["days"]) == (60.0, 2.0)


def test_an_hour_without_bars_is_an_hour_without_return():
    whole = curve([101.0, 101.0, 101.0, 102.0, 100.0, 103.0, 104.0])
    holed = whole.filter(pl.int_range(7).is_in([0, 3, 4, 5, 6]))
    found = [performance.summary(t, NO_TRADES, capital=100.0)["sharpe"] for t in (whole, holed)]
    assert found[0] == pytest.approx(found[1])


def test_a_loss_in_the_first_bar_is_a_drawdown():
    assert summed([90.0, 95.0])["max_drawdown"] == pytest.approx(0.1)


def test_returns_and_costs_are_of_starting_equity():
    flows = {
        "fees": [1.0, 1.0],
        "slippage": [0.5, 0.5],
        "funding": [0.0, -1.0],
        "traded": [100, 300],
    }
    found = performance.summary(
        curve([99.0, 110.0], **flows, exposure=[49.5, 55.0]), NO_TRADES, capital=100.0
    )
    assert found["net_return"] == pytest.approx(0.10)
    assert found["gross_return"] == pytest.approx(0.12)
    assert (found["fees"], found["slippage"], found["funding"]) == (0.02, 0.01, -0.01)
    assert (found["turnover"], found["exposure"]) == (4.0, 0.5)


def test_trades_by_hand():
    found = summed([100.0, 101.0], trades([3.0, -1.0, 2.0, 0.0]))
    assert (found["trades"], found["win_rate"], found["profit_factor"]) == (4, 0.5, 5.0)
    assert found["expectancy"] == pytest.approx(0.01)
    assert found["sqn"] == pytest.approx(2 * 1.0 / math.sqrt(10 / 3))
    assert found["kelly"] == pytest.approx(0.5 - 0.5 / 2.5)
    assert found["avg_minutes"] == 10.0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-50, 1e6).map(lambda x: round(x, 2)), min_size=1, max_size=30),
    st.lists(st.floats(-10, 10), max_size=5),
    st.sampled_from([timedelta(minutes=1), HOUR, DAY]),
)
def test_never_nan_never_infinite(equity, nets, step):
    flows = {
        name: [0.0] * len(equity) for name in ("fees", "slippage", "funding", "traded", "exposure")
    }
    table = curve(equity, step, **flows)
    found = performance.summary(table, trades(nets), capital=100.0)
    for name, value in found.items():
        assert value is None or math.isfinite(value), name
    assert isinstance(found["trades"], int)
    assert performance.text(found)


@pytest.mark.parametrize("equity", [[100.0], [100.0] * 30])
def test_what_is_not_known_is_none(equity):
    found = summed(equity)
    unknown = ("sharpe", "sortino", "omega", "calmar", "win_rate", "profit_factor", "expectancy",
               "sqn", "kelly", "avg_minutes", "turnover", "gross_return", "exposure")  # fmt: skip
    assert {name: found[name] for name in unknown} == dict.fromkeys(unknown)
    assert (found["net_return"], found["max_drawdown"], found["trades"]) == (0.0, 0.0, 0)


def test_a_missing_column_or_an_empty_table_is_one_clear_line():
    with pytest.raises(UserError, match="equity needs column 'equity'"):
        performance.summary(curve([1.0]).drop("equity"), NO_TRADES, capital=1.0)
    with pytest.raises(UserError, match="trades needs column 'net'"):
        performance.summary(curve([1.0]), NO_TRADES.drop("net"), capital=1.0)
    with pytest.raises(UserError, match="no row"):
        performance.summary(curve([1.0]).head(0), NO_TRADES, capital=1.0)


def test_rolling_is_the_slow_way():
    r = np.random.default_rng(3).normal(0, 0.01, 60)
    r[20:25] = 0
    table = curve(100 * np.cumprod(1 + r))
    found = performance.rolling(table, timedelta(hours=10))
    for k in (10, 23, 40, 59):
        part = r[k - 9 : k + 1]
        value = table["equity"].to_numpy()[k - 9 : k + 1]
        row = found.row(k, named=True)
        expected = part.mean() / part.std(ddof=1) * math.sqrt(365 * 24)
        assert row["sharpe"] == pytest.approx(expected)
        assert row["drawdown"] == pytest.approx(value[-1] / value.max() - 1)
        assert row["hit_rate"] == pytest.approx((part > 0).sum() / (abs(part) > 1e-12).sum())
    assert found["sharpe"][:10].null_count() == 10


def test_rolling_over_nothing_is_null_and_a_short_window_refused():
    found = performance.rolling(curve([100.0] * 30), timedelta(hours=5))
    assert found["sharpe"].null_count() == found["hit_rate"].null_count() == 30
    with pytest.raises(UserError, match="two periods"):
        performance.rolling(curve([100.0] * 30), HOUR)


def test_alpha_factor_is_pandas_rolling_z():
    rng = np.random.default_rng(4)
    times = [START + timedelta(minutes=k) for k in range(2_000)]
    parts = {s: rng.choice([-1.0, 0.0, 0.0, 1.0], 2_000) for s in "AB"}
    parts["B"][:200] = 0.0
    table = pl.concat(
        pl.DataFrame({"symbol": [s] * 2_000, "time": times, "signal": x}) for s, x in parts.items()
    )
    found = performance.alpha_factor(table)
    z = []
    for x in parts.values():
        window = pd.Series(x).rolling(1440, min_periods=60)
        z.append(0.01 * (pd.Series(x) - window.mean()) / window.std(ddof=0))
    expected = np.mean([a.replace([np.inf, -np.inf], np.nan).fillna(0.0) for a in z], axis=0)
    assert found["alpha"].to_numpy() == pytest.approx(expected, abs=1e-9)
    assert found["time"].to_list() == times


def test_a_sparse_signal_reads_its_mechanical_spike():
    times = [START + timedelta(minutes=k) for k in range(1_440)]
    table = pl.DataFrame({"symbol": "A", "time": times, "signal": [0.0] * 1_439 + [1.0]})
    assert performance.alpha_factor(table)["alpha"][-1] == pytest.approx(0.3795, abs=1e-3)


@settings(max_examples=100, deadline=None)
@given(st.floats(-0.4, 0.5), st.integers(2, 5_000))
def test_the_break_even_fee_breaks_even(gain, sides):
    def net(fee):
        return (1 + gain) * (1 - fee) ** sides - 1

    found = performance.break_even_fee(net)
    assert abs(net(found)) < 1e-4
    assert found == pytest.approx(1 - (1 + gain) ** (-1 / sides), abs=1e-8)


def test_without_a_trade_no_fee_breaks_even():
    assert performance.break_even_fee(lambda fee: 0.0) is None
    assert performance.break_even_fee(lambda fee: 0.1) is None
    # a fee that decides what fits into the account makes the return jump over zero
    assert performance.break_even_fee(lambda fee: 0.01 if fee < 0.0003 else -0.01) is None


def test_a_run_breaks_even_at_its_fee():
    from research.trading import loop
    from research.trading.rules import threshold

    rng = np.random.default_rng(7)
    n = 3_000
    forecast = rng.normal(0, 0.001, n)
    moves = np.concatenate([[0.0], forecast[:-1] + rng.normal(0, 0.001, n - 1)])
    close = 100 * np.cumprod(1 + moves)
    open_ = np.concatenate([[100.0], close[:-1]])
    rules = threshold(enter=0.001, interval=timedelta(minutes=1))
    time, zero = 60_000_000 * np.arange(1, n + 1), np.zeros(n)

    def net(fee):
        top, low = np.maximum(open_, close), np.minimum(open_, close)
        arrays = (time, zero, open_, top, low, close, zero + 1, forecast, zero)
        return loop.run(*arrays, 1, rules._replace(fee=fee), 1_000.0).equity[-1] / 1_000 - 1

    found = performance.break_even_fee(net)
    assert 0.0001 < found < 0.002
    assert net(found) == pytest.approx(0.0, abs=1e-5)
    swept = performance.fee_sweep(net, [0.0, found, 0.005])["net_return"].to_list()
    assert swept[0] > 0 > swept[2] and swept == sorted(swept, reverse=True)


def test_text_shows_every_number_it_knows():
    lines = performance.text(summed([100.0, 110.0], trades([3.0, -1.0]))).splitlines()
    assert lines[0].split() == ["net", "return", "+10.00%"]
    assert any(line.startswith("win rate") and line.endswith("50.0%") for line in lines)
    assert len({len(line) for line in lines[:-1]}) == 1


def test_no_figure_of_a_year_from_less_than_two_months():
    """Fifty-nine days are not written as a year; sixty are, with their interval."""
    known = {"annual_return": 0.5, "annual_low": -0.1, "annual_high": 0.9, "sharpe": 2.0}
    few = performance.text({"net_return": 0.08, **known, "days": 59.9})
    assert "annual" not in few and "Sharpe" not in few and "net return" in few
    assert few.splitlines()[-1] == "figures of a year are shown from 60 days on: here are 59.9"
    many = performance.text({"net_return": 0.08, **known, "days": 60.0})
    assert "+50.00%  95 % from -10.00% to +90.00%" in many and "Sharpe" in many
    assert "60 days" not in many
