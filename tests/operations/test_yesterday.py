"""A day of a run as tables: by hand from a journal written by hand, and against the desk itself."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from research.errors import UserError
from research.live.record import Run
from research.operations import filled, yesterday
from research.operations.table import Table

from ..live import shown

DAY = datetime(2024, 1, 13, tzinfo=UTC)  # shown.START is its midnight
US = 1_000_000
RULES = {"fee": 0.001, "slippage": 0.0002, "latency": 15 * US, "walks": False}
SAID = {
    "name": "demo",
    "data": {"interval": "1 min"},
    "costs": {"funding": 0.0001, "funding_history": None},
}


def begin(**more):
    desk = {"rules": {**RULES, **more.pop("rules", {})}, "symbols": ["AUSDT", "BUSDT"]}
    return shown.begun(study=SAID, desk=desk, **more)


def rows(n, close=100.0, position=0.0, symbols=("AUSDT", "BUSDT"), **more):
    """Return the rows of the n-th moment; each bar opens one below its close."""
    bar = {"open": close - 1, "open_time": shown.START + (n - 1) * shown.MINUTE, "close": close}
    more = {"half_spread": 0.0001, **more}
    return [
        shown.row(symbol, position=position, **bar, **more) | {"open": close - 1}
        for symbol in symbols
    ]


def trade(**more):
    """A long of 10 from the first bar's open to the third's; bought at 99, at a cost of 3 bps."""
    base = {"symbol": "AUSDT", "side": 1, "quantity": 10.0, "funding": 0.0, "gross": 0.0}
    base |= {"entry_time": shown.START, "exit_time": shown.START + 2 * shown.MINUTE}
    base |= {"entry_price": 99 * 1.0003, "exit_price": 99 * 0.9997, "slippage": 0.594}
    base |= {"fees": 10 * 99 * 2 * 0.001, "net": -2.574}
    return {**base, "entry_reason": "entry", "exit_reason": "horizon", **more}


def journal(tmp_path, *events, **more):
    place = shown.folder(tmp_path)
    shown.write(place, *begin(**more), *events)
    return Run(place)


def three(trades=()):
    return [shown.moment(n, *rows(n), trades=trades if n == 3 else ()) for n in (1, 2, 3)]


def test_a_fill_stands_beside_the_bar_it_was_made_in(tmp_path):
    day = yesterday.of(journal(tmp_path, *three([trade()])))
    fills = day.fills()
    assert fills["time"].to_list() == [DAY, DAY + timedelta(minutes=2)]
    assert fills["side"].to_list() == [1, -1]
    assert fills["reason"].to_list() == ["entry", "horizon"]
    assert fills["reference"].to_list() == [99.0, 99.0]  # the opens
    assert fills["slippage"].to_list() == pytest.approx([0.0003, 0.0003])
    assert fills["slippage_assumed"].to_list() == pytest.approx([0.0003, 0.0003])
    assert fills["fee"].to_list() == pytest.approx([0.001, 0.001])


def test_what_is_slower_than_the_open_is_held_against_the_price_on_its_way(tmp_path):
    """A quarter of the bar has passed: a quarter of the way from 99 to 100."""
    late = trade(entry_time=shown.START + 15 * US, entry_price=99.25 * 1.0005)
    fills = yesterday.of(journal(tmp_path, *three([late]))).fills()
    assert fills["reference"][0] == 99.25
    assert fills["slippage"][0] == pytest.approx(0.0005)


def test_impact_is_that_of_the_fill_and_an_exit_inside_a_bar_has_no_reference(tmp_path):
    events = [
        shown.moment(n, *rows(n, impact=1e-6), trades=[trade(exit_reason="stop")] if n == 3 else ())
        for n in (1, 2, 3)
    ]
    fills = yesterday.of(journal(tmp_path, *events)).fills()
    assert fills["slippage_assumed"][0] == pytest.approx(0.0003 + 1e-6 * 990**0.5)
    assert fills["reference"].to_list() == [99.0, None]
    assert fills["slippage"][1] is None


def test_costs_are_added_up_beside_what_was_said(tmp_path):
    dear = trade(entry_price=99 * 1.0013)
    costs = yesterday.of(journal(tmp_path, *three([dear]))).costs()
    bought, sold = 990 * 1.0013, 990 * 0.9997
    fees, spread, funding = costs.rows(named=True)
    assert (fees["cost"], spread["cost"], funding["cost"]) == (
        "fees", "spread and slippage", "funding",
    )  # fmt: skip
    assert fees["assumed"] == pytest.approx(0.001 * (bought + sold))
    assert fees["measured"] == pytest.approx(1.98)
    assert spread["assumed"] == pytest.approx(0.0003 * (bought + sold))
    assert spread["measured"] == pytest.approx(0.0013 * bought + 0.0003 * sold)
    assert spread["measured_bps"] == pytest.approx(1e4 * spread["measured"] / (bought + sold))


def test_funding_is_what_flowed_and_what_the_rate_would_have_been(tmp_path):
    """At 08:00 two of each symbol are held at 100: 400 at 1 bp are 0.04."""
    body = shown.moment(480, *rows(480, position=2.0))
    body[1]["flows"] = {"funding": 0.05}
    day = yesterday.of(journal(tmp_path, shown.moment(1, *rows(1)), body))
    funding = day.costs().row(2, named=True)
    assert (funding["assumed"], funding["measured"]) == (pytest.approx(0.04), 0.05)


def test_of_a_live_run_fills_are_the_venues(tmp_path):
    """Bought at 101 when the mid-price was 100; what a person told us to take is no fill."""
    fill = {"symbol": "AUSDT", "quantity": 2.0, "price": 101.0, "reference": 100.0, "fee": 0.5}
    fill |= {"cid": "a1", "trade": "7", "reason": "entry", "time": shown.START + 90 * US}
    more = [("booked", fill), ("booked", {**fill, "cid": "", "quantity": -2.0})]
    day = yesterday.of(journal(tmp_path, *three([trade()]), *more, mode="live"))
    assert day.mode == "live"
    (row,) = day.fills().rows(named=True)
    assert (row["side"], row["reference"], row["slippage"]) == (1, 100.0, pytest.approx(0.01))
    assert row["fee"] == pytest.approx(0.5 / 202)
    assert row["slippage_assumed"] == pytest.approx(0.0003)


def test_orders_have_a_latency_of_their_own(tmp_path):
    when = shown.START + shown.MINUTE
    orders = [
        ("intent", {"cid": "a1", "moment": when, "time": when}),
        ("send", {"cid": "a1", "time": when + 1_000}),
        ("ack", {"cid": "a1", "time": when + 41_000}),
        ("done", {"cid": "a1", "time": when + 91_000}),
    ]
    day = yesterday.of(journal(tmp_path, *three()[:1], *orders, *three()[1:], mode="live"))
    assert day.latency()["order"].to_list() == [40_000, None, None]
    hops = {row["hop"]: row for row in day.hops().rows(named=True)}
    assert hops["order"]["most"] == 40.0
    assert hops["features"]["median"] == 0.9 and hops["total"]["p99"] == pytest.approx(1.051)
    assert day.latency_assumed == 15.0


def test_closes_that_were_not_acted_on_are_gaps(tmp_path):
    events = [shown.moment(n, *rows(n)) for n in (1, 2)]
    events.append(shown.moment(5, *rows(5, symbols=("BUSDT",))))
    events[1][1]["late"] = True
    day = yesterday.of(journal(tmp_path, *events))
    assert day.closes()["acted"].to_list() == [True, True, False, False, True]
    assert day.closes()["late"].to_list() == [False, True, False, False, False]
    assert day.closes()["missing"].to_list() == [0, 0, 2, 2, 1]
    found = day.gaps().rows(named=True)
    assert [(row["symbol"], row["bars"]) for row in found] == [("AUSDT", 3), ("BUSDT", 2)]
    assert found[0]["since"] == DAY + timedelta(minutes=2)
    assert found[1]["until"] == DAY + timedelta(minutes=4)


def test_incidents_are_alarms_and_every_change_of_state(tmp_path):
    when = shown.START + shown.MINUTE
    halted = {"time": when, "state": 2, "was": 0, "why": "daily loss", "by": "risk"}
    again = {"time": when + shown.MINUTE, "state": 0, "why": "a new day", "by": "risk"}
    gap = {"kind": "gap", "symbol": "AUSDT", "time": when}
    events = [*three()[:1], ("control", halted), ("note", gap), ("control", again), *three()[1:]]
    found = yesterday.of(journal(tmp_path, *events)).incidents()
    assert found["kind"].to_list() == ["halted", "gap", "active"]
    assert found["text"][0] == "trading is halted: daily loss (risk)"


def test_jobs_of_the_day(tmp_path):
    run = journal(tmp_path, *three())
    assert yesterday.of(run).jobs().is_empty()
    kept = Table(run.folder)
    kept.end(kept.begin("report", shown.START + 2 * shown.MINUTE, 0), "failed", "no disk")
    kept.end(kept.begin("report", shown.START - shown.MINUTE, 0), "done", "as ever")
    day = yesterday.of(run)
    (job,) = day.jobs().rows(named=True)
    assert (job["name"], job["outcome"], job["said"]) == ("report", "failed", "no disk")
    assert job["seconds"] >= 0
    assert (day.summary()["jobs"], day.summary()["jobs_failed"]) == (1, 1)


def test_the_day_is_the_newest_that_is_over(tmp_path):
    """Closes of the 13th from noon on, of the whole 14th and of a part of the 15th."""
    minutes = (720, 1440, 1441, 2880, 2881, 3000)
    run = journal(tmp_path, *(shown.moment(n, *rows(n)) for n in minutes))
    day = yesterday.of(run)
    assert day.since == DAY + timedelta(days=1) and day.until == DAY + timedelta(days=2)
    assert day.decisions()["time"].unique().len() == 2  # 1441 and 2880: midnight ends its day
    first = yesterday.of(run, "2024-01-13")
    assert first.closes().height == 1440 and first.summary()["uptime"] == pytest.approx(2 / 1440)
    part = yesterday.of(run, date(2024, 1, 15))
    assert part.until == DAY + timedelta(minutes=3000)
    with pytest.raises(UserError, match=r"has no bar of 2024-01-16; its bars closed from 2024-01"):
        yesterday.of(run, "2024-01-16")
    with pytest.raises(UserError, match=r"expected a day such as 2026-11-20, found 'monday'"):
        yesterday.of(run, "monday")


def test_a_run_without_bars_is_named(tmp_path):
    with pytest.raises(UserError, match="has decided no bar yet"):
        yesterday.of(journal(tmp_path))


def test_a_day_without_trades_is_a_day(tmp_path):
    day = yesterday.of(journal(tmp_path, *three()))
    assert day.fills().is_empty()
    assert day.costs()["measured"].to_list() == [0.0, 0.0, 0.0]
    assert day.costs()["measured_bps"].to_list() == [None] * 3
    assert day.summary()["uptime"] == 1.0


def test_walked_books_assume_nothing(tmp_path):
    day = yesterday.of(journal(tmp_path, *three([trade()]), rules={"walks": True}))
    assert day.fills()["slippage_assumed"].null_count() == 2
    assert day.costs()["fills"].to_list() == [2, 0, None]


def test_what_the_desk_traded_cost_what_it_was_told(tmp_path):
    """The compiled desk on a random market, journalled: measured is assumed, to the bit's worth."""
    import numpy as np

    from research.trading import loop
    from research.trading.rules import REASONS, probability, with_costs, with_exits

    from ..trading.markets import MINUTE, random_charges, random_market

    arrays = random_market(3, n_symbols=1, n_times=200, start_hours=0)
    charges = random_charges(3, arrays)
    charges.pop("sigma")
    rules = with_exits(probability(enter=0.004, interval=MINUTE), hold=3 * MINUTE)
    costs = {"fee": 0.001, "slippage": 0.0002}
    rules = with_costs(rules, latency=timedelta(seconds=15), **costs)
    found = loop.run(*arrays, 1, rules, 10_000.0, **charges)
    trades = pl.DataFrame(found.trades._asdict()).to_dicts()
    named = [
        {**t, "symbol": "A", **{e: REASONS[t[e]] for e in ("entry_reason", "exit_reason")}}
        for t in trades
    ]
    moments = {"time": arrays[0], "open_time": arrays[0] - 60 * US}
    bars = pl.DataFrame(
        {"open": arrays[2], "close": arrays[5], **charges}
        | {n: pl.Series(t).cast(pl.Datetime("us", "UTC")) for n, t in moments.items()}
    ).with_columns(symbol=pl.lit("A"))
    fills = filled.beside(filled.paper(named), bars, {**costs, "walks": False})
    known = fills.drop_nulls("slippage")
    assert known.height > 40
    np.testing.assert_allclose(known["slippage"], known["slippage_assumed"], atol=1e-12)
    np.testing.assert_allclose(known["fee"], known["fee_assumed"], atol=1e-12)
    paid = float((fills["notional"] * fills["fee"]).sum())
    assert paid == pytest.approx(float(found.trades.fees.sum()))
