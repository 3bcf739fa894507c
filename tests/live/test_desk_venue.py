"""A live desk, filled by a venue as paper fills itself, decides and books what paper does."""

import json
import math
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.live.desk import ACTIVE, HALTED, REDUCING, Desk, Fill, Wish
from research.live.moments import Bar, Scored
from research.trading.account import new_venue
from research.trading.rules import threshold, with_exits

from .markets import CAPITAL, SYMBOLS, market, moments

INSIDE = ("stop", "take")


def plain(seed):
    """Return moments without spread, impact and funding, and rules that fill at the open."""
    arrays, charges, rules = market(seed, 120)
    venue = new_venue(3, lot=charges["venue"].lot)
    kept = {"sigma": charges["sigma"]} if "sigma" in charges else {}
    far = {"liquid_long": 0.0, "liquid_short": math.inf, "latency": 0, "overlap": 1}
    return list(moments(arrays, kept, rules.interval)), venue, rules._replace(**far, walks=False)


def filled(desk, paper, row, ends, slippage):
    """Yield the venue's fills of one bar: what paper did in it, by its positions and trades."""
    symbol, held = row.bar.symbol, desk.positions[row.bar.symbol]
    wish = next((w for w in desk.wishes() if w.symbol == symbol), None)
    inside = [trade for trade in ends if trade["exit_reason"] in INSIDE]
    opened = row.bar.open_time
    if wish is not None and row.bar.volume > 0.0:
        if held:
            price = row.bar.open * (1 - math.copysign(slippage, held))
            yield Fill(symbol, -held, price, row.bar.open, 0.0, opened, wish.reason)
        entered = inside[0]["side"] * inside[0]["quantity"] if inside else paper
        if entered and wish.target:
            price = row.bar.open * (1 + math.copysign(slippage, entered))
            yield Fill(symbol, entered, price, row.bar.open, 0.0, opened, wish.reason)
    for trade in inside:
        left, price = -trade["side"] * trade["quantity"], trade["exit_price"]
        reference = price / (1 - trade["side"] * slippage)
        yield Fill(symbol, left, price, reference, 0.0, trade["exit_time"], trade["exit_reason"])


def traded(desk, fee, fills):
    for fill in fills:
        desk.book(fill._replace(fee=fee * abs(fill.quantity) * fill.price))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_filled_as_paper_fills_it_decides_and_books_what_paper_does(seed):
    told, venue, rules = plain(seed)
    paper = Desk(rules, venue, SYMBOLS, CAPITAL)
    desk = Desk(rules, venue, SYMBOLS, CAPITAL, live=True)
    for when, rows in told:
        step = paper.step(when, rows)
        if paper.equity <= 0:
            break  # ruin is left by paper inside the scan
        for row, position in zip(rows, step.positions):
            ends = [trade for trade in step.trades if trade["symbol"] == row.bar.symbol]
            traded(desk, rules.fee, filled(desk, position, row, ends, rules.slippage))
            if row.bar.volume > 0.0:
                desk.settle(row.bar.symbol)
        seen = desk.step(when, rows)
        assert seen.positions == pytest.approx(step.positions, rel=1e-9, abs=1e-9)
        assert seen.equity == pytest.approx(step.equity, rel=1e-9)
        nothing = ("too_thin",)
        assert [r for r in seen.reasons if r not in nothing] == list(step.reasons)
        assert seen.flow == pytest.approx(step.flow, rel=1e-6, abs=1e-9)
        order = ("symbol", "exit_time")
        ours, theirs = (sorted(s.trades, key=lambda t: [t[n] for n in order]) for s in (seen, step))
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs):
            words = ("symbol", "entry_reason", "exit_reason")
            assert [one.pop(name) for name in words] == [other.pop(name) for name in words]
            assert one == pytest.approx(other, rel=1e-6, abs=1e-6)


def bar(n, close=10.0, told=0.02, symbol="BTC"):
    seen = Bar(symbol, n * 60_000_000, close, close, close, close, 1.0)
    return Scored(seen, None, "m", told, told, 0, math.nan, 0.0, 0.0)


def simple(**more):
    rules = threshold(enter=0.01, interval=timedelta(minutes=1))
    return Desk(with_exits(rules, **more), new_venue(1), ["BTC"], 1000.0, live=True)


def stepped(desk, n, **more):
    return desk.step((n + 1) * 60_000_000, [bar(n, **more)]).reasons[0]


BOUGHT = Fill("BTC", 100.0, 10.0, 10.0, 1.0, 60_000_000, "entry")


def test_an_order_waits_for_the_venue_and_never_for_a_bar():
    desk = simple()
    assert stepped(desk, 0) == "entry"
    assert desk.wishes() == [Wish("BTC", "entry", 1, 1000.0, 0.0)]
    assert [stepped(desk, n) for n in (1, 2, 3)] == ["waiting"] * 3
    desk.book(BOUGHT._replace(quantity=40.0, fee=0.5))
    desk.settle("BTC")  # the rest was cancelled
    assert (stepped(desk, 4), desk.positions, desk.cash) == ("hold", {"BTC": 40.0}, 599.5)
    assert desk.wishes() == []


def test_a_refused_order_is_decided_anew():
    desk = simple()
    stepped(desk, 0)
    desk.settle("BTC")
    assert (desk.wishes(), stepped(desk, 1), len(desk.wishes())) == ([], "entry", 1)


@pytest.mark.parametrize("reason", INSIDE)
def test_the_close_after_a_stop_has_its_reason_and_no_decision(reason):
    desk = simple(stop=0.1, take=0.1, cooldown=timedelta(minutes=2))
    stepped(desk, 0)
    desk.book(BOUGHT)
    desk.settle("BTC")
    assert stepped(desk, 1, close=5.0) == "hold", "it left inside the bar by itself"
    left = desk.book(Fill("BTC", -100.0, 9.0, 9.0, 1.0, 150_000_000, reason))
    assert left["exit_reason"] == reason and left["net"] == pytest.approx(-102.0)
    assert desk.wishes() == []
    said = json.loads(json.dumps([desk.constants(), desk.snapshot()]))
    again = Desk.made_with(said[0])
    again.restore(said[1])
    for one in (desk, again):
        assert [stepped(one, n) for n in (2, 3, 4)] == [reason, "resting", "entry"]


def test_a_halt_leaves_at_once_and_what_is_filled_after_it_is_left_again():
    desk = simple()
    stepped(desk, 0)
    desk.book(BOUGHT._replace(quantity=40.0))
    desk.control = HALTED
    assert desk.wishes() == [Wish("BTC", "risk_halt", 0, 0.0, 40.0)]
    desk.settle("BTC")
    desk.book(BOUGHT._replace(quantity=60.0))
    assert desk.wishes() == [Wish("BTC", "risk_halt", 0, 0.0, 100.0)]
    desk.book(Fill("BTC", -100.0, 10.0, 10.0, 0.0, 90_000_000, "risk_halt"))
    desk.settle("BTC")
    assert (desk.wishes(), desk.positions["BTC"]) == ([], 0.0)
    assert stepped(desk, 1) == "risk_halt" and not desk.wishes()


def test_reducing_takes_back_what_would_open_and_keeps_what_is_held():
    desk = simple()
    stepped(desk, 0)
    desk.control = REDUCING
    assert desk.wishes() == []
    desk.control = ACTIVE
    assert stepped(desk, 1) == "entry"
    desk.book(BOUGHT)
    desk.settle("BTC")
    desk.control = REDUCING
    assert (desk.wishes(), stepped(desk, 2)) == ([], "hold")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_part_of_an_entry_that_is_taken_back_is_held(at_once):
    desk = simple()
    stepped(desk, 0)
    desk.book(BOUGHT._replace(quantity=40.0))
    desk.obey({"degraded": REDUCING}) if at_once else desk.obey({"state": REDUCING})
    assert desk.wishes() == []
    assert (stepped(desk, 1), desk.positions["BTC"]) == ("hold", 40.0)


def test_funding_is_of_the_account_and_of_the_trade():
    desk = simple()
    stepped(desk, 0)
    desk.book(BOUGHT)
    desk.settle("BTC")
    desk.receive("BTC", -2.0)
    step = desk.step(120_000_000, [bar(1)])
    assert (step.equity, step.flow["funding"]) == (997.0, 2.0)
    ended = desk.book(Fill("BTC", -100.0, 10.0, 10.0, 0.0, 130_000_000, "reversal"))
    assert (ended["funding"], ended["net"]) == (2.0, -3.0)


def test_positions_side_by_side_and_dry_runs_are_refused():
    rules = threshold(enter=0.01, interval=timedelta(minutes=1))
    for wrong in ({"rules": rules._replace(overlap=2)}, {"rules": rules, "dry_run": True}):
        with pytest.raises(UserError, match=r"real orders need backtest\.overlap 1"):
            Desk(wrong.pop("rules"), new_venue(1), ["BTC"], 1000.0, live=True, **wrong)


def test_what_takes_the_place_of_a_position_whose_time_is_over_was_entered():
    desk = simple()
    desk.book(BOUGHT._replace(reason="horizon"))
    ended = desk.book(Fill("BTC", -100.0, 10.0, 10.0, 0.0, 130_000_000, "horizon"))
    assert (ended["entry_reason"], ended["exit_reason"]) == ("entry", "horizon")


def test_who_lets_it_trade_again_takes_back_what_the_halt_has_ordered():
    desk = simple()
    desk.book(BOUGHT)
    desk.control = HALTED
    assert [wish.reason for wish in desk.wishes()] == ["risk_halt"]
    desk.control = ACTIVE
    assert (desk.wishes(), stepped(desk, 1), desk.positions["BTC"]) == ([], "hold", 100.0)


def test_an_exit_that_is_under_way_keeps_its_reason_in_a_halt():
    desk = simple()
    desk.book(BOUGHT)
    assert stepped(desk, 1, told=-0.02) == "reversal"
    desk.control = HALTED
    (wish,) = desk.wishes()
    assert (wish.reason, wish.target, wish.position) == ("reversal", 0, 100.0)
