"""The live desk is the backtest's, one moment at a time: equal to the last bit."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.live import desk as desk_room
from research.live.desk import ACTIVE, HALTED, REDUCING, Desk
from research.trading.account import LOT, PURSE, TRADE, new_venue
from research.trading.loop import run
from research.trading.rules import REASONS, threshold, with_costs

from ..trading.markets import MINUTE, US, every_eight_hours, one_symbol
from .markets import CAPITAL, SYMBOLS, market, moments


def new_desk(rules, venue, symbols=SYMBOLS, capital=CAPITAL, **more):
    return Desk(rules, venue, symbols, capital, **more)


def backtest(arrays, given, rules):
    return run(*arrays, len(SYMBOLS), rules, CAPITAL, **given)


def compare(steps, result):
    """Assert that steps are a backtest's, but for what it closes in the books at its end."""
    end = REASONS.index("end")
    reasons = [reason for step in steps for reason in step.reasons]
    positions = [position for step in steps for position in step.positions]
    closed = result.trades.exit_reason == end
    cut = result.reasons == end
    assert len(reasons) == len(result.reasons)
    told = np.array([REASONS.index(reason) for reason in reasons])
    np.testing.assert_array_equal(told[~cut], result.reasons[~cut])
    assert np.array(positions)[~cut].tobytes() == result.position[~cut].tobytes()
    last = len(result.equity) - bool(cut.any())
    equity = np.array([step.equity for step in steps])
    assert equity[:last].tobytes() == result.equity[:last].tobytes()
    trades = [trade for step in steps for trade in step.trades]
    assert len(trades) == np.count_nonzero(~closed)
    for name in TRADE.names:
        said = np.array([code(name, trade[name]) for trade in trades])
        want = getattr(result.trades, name)[~closed]
        assert said.astype(want.dtype).tobytes() == want.tobytes(), name
    flows = {t: step.flow for t, step in enumerate(steps[:last]) if step.flow}
    written = {int(row["moment"]): row for row in result.flows if row["moment"] < last}
    assert flows.keys() == written.keys()
    for t, flow in flows.items():
        assert all(flow[name] == written[t][name] for name in flow)


def code(name, value):
    if name == "symbol":
        return SYMBOLS.index(value)
    return REASONS.index(value) if name.endswith("reason") else value


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_step_by_step_equals_the_backtest(seed):
    arrays, given_, rules = market(seed)
    desk = new_desk(rules, given_["venue"])
    steps = [desk.step(*m) for m in moments(arrays, given_, rules.interval)]
    compare(steps, backtest(arrays, given_, rules))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 149))
def test_a_desk_restored_from_text_goes_on_as_if_nothing_had_been(seed, cut):
    arrays, given_, rules = market(seed)
    desk = new_desk(rules, given_["venue"])
    told = moments(arrays, given_, rules.interval)
    steps = [desk.step(*m) for m in told[:cut]]
    said = json.loads(json.dumps([desk.constants(), desk.snapshot()], allow_nan=False))
    again = Desk.made_with(said[0])
    again.restore(said[1])
    assert again.snapshot() == desk.snapshot() and again.constants() == desk.constants()
    compare(steps + [again.step(*m) for m in told[cut:]], backtest(arrays, given_, rules))
    assert desk.time == told[cut - 1][0]  # the first is not carried along


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_funding_may_become_known_late_but_before_it_is_due(seed):
    arrays, given_, rules = market(seed)
    venue = given_["venue"]
    desk = new_desk(rules, new_venue(3, lot=venue.lot, tick=venue.tick))
    due = [
        (SYMBOLS[s], int(venue.moment[k]), float(venue.rate[k]))
        for s in range(3)
        for k in range(venue.first[s], venue.first[s + 1])
    ]
    steps, before = [], 0
    for time, rows in moments(arrays, given_, rules.interval):
        desk.extend(row for row in due if before < row[1] <= time)
        steps.append(desk.step(time, rows))
        before = time
    compare(steps, backtest(arrays, given_, rules))


def test_funding_that_was_due_cannot_be_learnt_afterwards():
    rules = threshold(enter=0.0, interval=MINUTE)
    desk = new_desk(rules, new_venue(1, funding=every_eight_hours(0.001, 10**11)), ["BTC"])
    with pytest.raises(ValueError, match="funding of BTC at 5 us, not after"):
        desk.extend([("BTC", 5, 0.1)])


def simple(dry_run=False):
    rules = with_costs(threshold(enter=0.01, interval=MINUTE), fee=0.001)
    rows = [(10, 11, 9, 10, 0.02), (10, 12, 10, 12, 0.02), (12, 12, 8, 9, -0.02), (9, 9, 9, 9, 0.0)]
    arrays = one_symbol(rows)
    arrays[1] = np.ones(4, np.int64)  # BTC
    return new_desk(rules, new_venue(3), dry_run=dry_run), moments(arrays, {}, US)


def test_a_dry_run_decides_each_moment_as_the_first_and_holds_nothing():
    desk, told = simple(dry_run=True)
    steps = [desk.step(*m) for m in told]
    assert [step.reasons[0] for step in steps] == ["entry", "entry", "entry", "no_edge"]
    assert all(step.equity == CAPITAL and not step.trades and not step.flow for step in steps)
    assert desk.positions == dict.fromkeys(SYMBOLS, 0.0)


def test_a_summary_counts_what_is_held_at_its_marks():
    desk, told = simple()
    for m in told[:2]:
        desk.step(*m)
    summary, held = desk.summary(), desk.positions["BTC"]
    assert held == pytest.approx(CAPITAL / 3 / 10)
    assert summary["equity"] == pytest.approx(summary["cash"] + held * 12)
    assert summary["net_return"] == summary["equity"] / CAPITAL - 1
    assert summary["control"] == ACTIVE and summary["positions"]["ADA"] == 0.0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t, rows: (t - US, rows), "after the moment"),
        (lambda t, rows: (t, []), "0 bars"),
        (lambda t, rows: (t + US, rows * 2), "not, in order"),
        (lambda t, rows: (t + US, [renamed(rows[0], "XRP")]), "not, in order"),
    ],
)
def test_a_moment_out_of_order_changes_nothing(change, match):
    desk, told = simple()
    desk.step(*told[0])
    before = desk.snapshot()
    with pytest.raises(ValueError, match=match):
        desk.step(*change(*told[0]))
    assert desk.snapshot() == before


def renamed(row, symbol):
    return row._replace(bar=row.bar._replace(symbol=symbol))


def test_the_same_moment_is_not_taken_twice():
    desk, told = simple()
    desk.step(*told[0])
    with pytest.raises(ValueError, match="after the moment"):
        desk.step(*told[0])


@pytest.mark.parametrize("records", ["PURSE", "LOT"])
def test_a_changed_layout_is_refused(records, monkeypatch):
    desk, _ = simple()
    snapshot = desk.snapshot()
    known = {"PURSE": PURSE, "LOT": LOT}[records]
    wider = np.dtype([*((n, known.fields[n][0]) for n in known.names), ("new", "f8")], align=True)
    monkeypatch.setattr(desk_room, records, wider)
    with pytest.raises(UserError, match="must have this version's layout"):
        desk.restore(snapshot)


def test_a_snapshot_of_other_symbols_is_refused():
    desk, _ = simple()
    other = new_desk(desk.rules, new_venue(2), SYMBOLS[:2])
    with pytest.raises(UserError, match="must hold 2 positions, found 3"):
        other.restore(desk.snapshot())


def test_rules_of_another_version_are_refused():
    desk, _ = simple()
    constants = desk.constants()
    del constants["rules"]["fee"]
    with pytest.raises(UserError, match=r"differing: \['fee'\]"):
        Desk.made_with(constants)


def test_a_state_that_does_not_exist_is_refused():
    desk, _ = simple()
    with pytest.raises(ValueError, match="no state 7"):
        desk.control = 7


def test_a_halt_is_in_the_account_and_in_its_snapshot():
    desk, told = simple()
    desk.step(*told[0])
    desk.control = HALTED
    again = Desk.made_with(desk.constants())
    again.restore(desk.snapshot())
    assert again.control == HALTED
    assert again.step(*told[1]).reasons == ("risk_halt",)
    assert again.positions["BTC"] == 0.0


def test_a_halt_is_eased_by_nothing_but_a_resume():
    desk, told = simple()
    desk.control = HALTED
    desk.control = REDUCING
    assert desk.control == HALTED
    desk.control = ACTIVE
    assert desk.control == ACTIVE
    assert desk.step(*told[0]).reasons == ("entry",)
