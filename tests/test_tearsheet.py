"""The tear sheet: against slow loops, and figures that follow from each other."""

import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from research import performance, tape
from research.performance.daily import daily
from research.report import tearsheet as room

HOUR, START = timedelta(hours=1), datetime(2024, 1, 17, tzinfo=UTC)
NONE = pl.DataFrame(schema=dict.fromkeys(("net", "entry_price", "quantity"), pl.Float64))
TRADES = NONE.with_columns(
    *(pl.lit(None, pl.Datetime("us", "UTC")).alias(c) for c in ("entry_time", "exit_time"))
)


def curve(returns, capital=100.0):
    """Hourly equity; long of half the equity in every second hour."""
    n = len(returns)
    equity = capital * np.cumprod(1 + np.asarray(returns))
    times = pl.Series([START + (k + 1) * HOUR for k in range(n)], dtype=pl.Datetime("us", "UTC"))
    held = np.where(np.arange(n) % 2, equity / 2, 0.0)
    flows = dict.fromkeys(("fees", "slippage", "funding"), pl.lit(0.0))
    table = pl.DataFrame({"time": times, "equity": equity, "exposure": held})
    return table.with_columns(**flows, traded=pl.lit(10.0))


def sheet(returns, *, ratios=True, capital=100.0):
    equity = curve(returns, capital)
    metrics = performance.summary(equity, TRADES, capital=capital)
    sure = performance.intervals(equity, capital=capital, draws=200)
    tested = tape.Backtest(TRADES, equity, pl.DataFrame(), metrics | sure, pl.DataFrame())
    return room.tearsheet(tested, capital=capital, ratios=ratios), metrics | sure


def noise(days, seed=1):
    return np.random.default_rng(seed).normal(0.0001, 0.003, 24 * days)


@pytest.mark.parametrize(("days", "per"), [(59, "day"), (60, "year")])
def test_a_year_is_made_of_sixty_days_or_more(days, per):
    found, metrics = sheet(noise(days))
    assert found["per"] == per and metrics["days"] == days
    span = 365 if per == "year" else 1
    whole = (1 + found["return"]) ** (days / span) - 1
    assert whole == pytest.approx(metrics["net_return"], rel=1e-9)
    for end in ("_low", "_high"):  # a return of the span, and of a year, are one thing
        grown = (1 + found[f"return{end}"]) ** (days / span) - 1
        # quantiles lie between two draws, where a power is not quite a line
        assert grown == pytest.approx(metrics[f"net{end}"], rel=1e-3)
    r = np.asarray(noise(days))
    scale = math.sqrt(24 * span)
    assert found["volatility"] == pytest.approx(r.std(ddof=1) * scale, rel=1e-6)
    assert found["sharpe"] == pytest.approx(r.mean() / r.std(ddof=1) * scale, rel=1e-6)
    assert found["sharpe_low"] < found["sharpe"] < found["sharpe_high"]
    assert (found["calmar"] is None) == (per == "day")


def test_no_ratio_where_nobody_knows_the_trials():
    found, _ = sheet(noise(20), ratios=False)
    names = [f"{name}{end}" for name in ("sharpe", "sortino") for end in ("", "_low", "_high")]
    assert all(found[name] is None for name in names) and found["volatility"] is not None


def test_the_path_by_hand():
    found, _ = sheet([0.0, 0.1, 0.0, -0.5, 0.0, 1.0, 0.2, -0.1] * 3)
    assert (found["in_position"], found["exposure"]) == (0.5, 0.25)
    assert found["turnover_day"] == pytest.approx(24 * 10 / 100)
    assert (found["trades"], found["win_rate"], found["avg_minutes"]) == (0, None, None)
    assert found["deepest"]["depth"] == pytest.approx(1 - 0.9 * 0.5 * 1.1)


def test_an_account_that_only_grows_never_fell():
    found, _ = sheet(np.full(48, 0.001))
    assert found["deepest"] is None and found["longest"] is None


def slow_drawdowns(times, equity, capital):
    """Walk along the curve, and note every spell below the highest so far."""
    peak, spells, last, since, deepest = capital, [], times[0], None, 0.0
    for time, value in zip(times, equity, strict=True):
        if value >= peak:
            if since is not None:
                spells.append([since, time, deepest, True])
                since = None
            peak, last = value, time
        else:
            if since is None:
                since, deepest = last, 0.0
            deepest = max(deepest, 1 - value / peak)
    return spells + ([[since, times[-1], deepest, False]] if since is not None else [])


@pytest.mark.parametrize("seed", range(8))
def test_drawdowns_are_those_of_a_slow_walk(seed):
    equity = curve(np.random.default_rng(seed).normal(0, 0.01, 300).round(3))
    # a capital above the first row: then the first row lies below the peak already
    for capital in (100.0, 101.5):
        found = room.drawdowns(equity, capital=capital)
        slow = slow_drawdowns(equity["time"].to_list(), equity["equity"].to_list(), capital)
        rows = found.select("start", "end", "depth", "recovered").rows()
        assert [row[:2] + row[3:] for row in rows] == [(a, b, d) for a, b, _, d in slow]
        assert [row[2] for row in rows] == pytest.approx([depth for _, _, depth, _ in slow])
        lasted = [(b - a) / timedelta(days=1) for a, b, _, _ in slow]
        assert found["days"].to_list() == pytest.approx(lasted)
    assert found["depth"].max() == pytest.approx(
        -performance.drawdown(equity, capital=101.5)["drawdown"].min()
    )


@pytest.mark.parametrize(("days", "period"), [(89, "week"), (90, "month")])
def test_periods_compound_to_the_whole(days, period):
    found, metrics = sheet(noise(days))
    assert found["period"] == period
    whole = math.prod(1 + row["net_return"] for row in found["periods"]) - 1
    assert whole == pytest.approx(metrics["net_return"], rel=1e-9)
    assert sum(row["days"] for row in found["periods"]) == days


def test_weeks_begin_on_monday_and_months_on_their_first():
    days = daily(curve(noise(100)), capital=100.0)
    weeks, months = (room.periods(days, name) for name in ("week", "month"))
    assert {start.isoweekday() for start in weeks["start"]} == {1}
    assert weeks["days"].to_list()[0] == 5  # the 17th of January 2024 was a Wednesday
    assert months["start"].to_list()[:2] == [date(2024, 1, 1), date(2024, 2, 1)]
    assert months["days"].to_list()[:2] == [15, 29]
