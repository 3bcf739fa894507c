"""What an account may lose, and what happens once it has: daily loss, drawdown, halts by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.trading import loop
from research.trading.account import command, degrade, new_book, new_venue, resume
from research.trading.journal import new_journal, part
from research.trading.rules import (
    REASONS,
    quantile,
    threshold,
    with_costs,
    with_exits,
    with_limits,
    with_risk,
    with_sizing,
)
from research.trading.rules.words import ACTIVE, HALTED, REDUCING

from . import twin
from .markets import MINUTE, US, one_symbol, random_charges, random_market, random_venue
from .strategies import any_rule

DAY = 24 * 60
PLAIN = threshold(enter=0.001, interval=MINUTE)
TEN = with_risk(PLAIN, daily_loss=0.1)
REDUCE = with_risk(PLAIN, daily_loss=0.1, on_limit="reduce")


def bar(open_, close, forecast=0.0):
    return (open_, max(open_, close), min(open_, close), close, forecast)


UP = bar(100, 100, 0.01)
FALL = bar(100, 90)


def run(rows, rules=TEN, capital=1_000.0, start=0, volume=None, **others):
    arrays = one_symbol(rows, start)
    if volume is not None:
        arrays[6] = np.array(volume, float)
    return loop.run(*arrays, 1, rules, capital, **others)


def words(found):
    return [REASONS[code] for code in found.reasons]


# -- by hand -----------------------------------------------------------------------------------


def test_a_loss_of_exactly_the_limit_halts_and_what_is_held_is_left_at_the_next_open():
    found = run([UP, FALL, bar(88, 95, 0.01), bar(95, 200, 0.01), bar(200, 200, 0.0)])
    assert words(found) == ["entry", "risk_halt", "risk_halt", "risk_halt", "no_edge"]
    assert found.equity.tolist() == [1_000.0, 900.0, 880.0, 880.0, 880.0]
    assert REASONS[found.trades.exit_reason.item()] == "risk_halt"
    held = run([UP, bar(100, 90.01), bar(90.01, 90.01)])
    assert words(held) == ["entry", "hold", "end"]


def test_drawdown_counts_from_the_highest_equity():
    rows = [UP, bar(100, 150), bar(150, 121), bar(121, 120), bar(110, 110, 0.01), UP]
    found = run(rows, with_risk(PLAIN, drawdown=0.2))
    assert words(found)[2:] == ["hold", "risk_halt", "risk_halt", "risk_halt"]
    assert found.equity.tolist() == [1_000.0, 1_500.0, 1_210.0, 1_200.0, 1_100.0, 1_100.0]


def test_reducing_opens_nothing_turns_nothing_and_lets_exits_go_on():
    rows = [UP, FALL, bar(90, 92), bar(92, 92, -0.01), bar(92, 92, -0.01), bar(92, 92, 0.0)]
    found = run(rows, REDUCE)
    assert words(found) == ["entry", "hold", "hold", "reversal", "risk_halt", "no_edge"]
    assert found.position.tolist() == [0.0, 10.0, 10.0, 10.0, 0.0, 0.0]
    assert words(run(rows, PLAIN))[4:] == ["hold", "end"]  # it would have turned


@pytest.mark.parametrize(
    ("rules", "forecast", "why"),
    [
        (PLAIN, -0.01, "reversal"),
        (PLAIN, np.nan, "risk_halt"),
        (with_exits(PLAIN, hold=MINUTE), 0.0, "horizon"),
        (with_exits(PLAIN, stop=0.05), 0.0, "stop"),
        (with_exits(quantile(10, interval=MINUTE), hold=MINUTE), 0.0, "horizon"),
    ],
)
def test_at_the_close_that_halts_an_exit_keeps_its_own_reason(rules, forecast, why):
    arrays = one_symbol([UP, bar(100, 90, forecast), *[bar(90, 90)] * 2])
    arrays[8] = np.array([10, 5, 5, 5])
    found = loop.run(*arrays, 1, with_risk(rules, daily_loss=0.05), 1_000.0)
    assert [REASONS[c] for c in found.trades.exit_reason] == [why]
    assert words(found)[1] == why
    assert found.position.tolist()[2:] == [0.0, 0.0]


@pytest.mark.parametrize(("last", "why"), [(80, "stop"), (130, "take")])
def test_stop_and_take_work_while_a_halt_waits_for_its_fill(last, why):
    """Nothing trades at the open after the halt; the bar after that reaches the stop or take."""
    rules = with_costs(with_exits(TEN, stop=0.15, take=0.2), latency=2 * MINUTE)
    rows = [UP, bar(100, 100), bar(100, 100), FALL, bar(90, 90), bar(90, last), bar(last, last)]
    found = run(rows, rules)
    assert words(found) == [
        "entry", "waiting", "waiting", "risk_halt", "waiting", why, "no_edge",
    ]  # fmt: skip
    assert len(found.trades.net) == 1


def test_an_order_on_its_way_is_withdrawn():
    """Symbol 0 loses its half at the fourth close, while an order of symbol 1 is on its way."""
    n, t = 2, 7
    time, symbol = np.repeat(np.arange(1, t + 1) * US, n), np.tile(np.arange(n), t)
    price, forecast = np.full((t, n), 100.0), np.zeros((t, n))
    price[3:, 0], forecast[0, 0], forecast[2, 1] = 70.0, 0.01, 0.01
    p, one, zero = price.ravel(), np.ones(n * t), np.zeros(n * t)
    open_ = np.concatenate([[100.0, 100.0], p[:-n]])
    for word in ("reduce", "halt"):
        rules = with_costs(with_risk(PLAIN, daily_loss=0.1, on_limit=word), latency=2 * MINUTE)
        found = loop.run(
            time, symbol, open_, open_, p, p, one, forecast.ravel(), zero, n, rules, 1e3
        )
        assert words(found)[1::2] == [
            "no_edge", "no_edge", "entry", "risk_halt", "no_edge", "no_edge", "no_edge",
        ]  # fmt: skip
        assert (found.position[1::2] == 0).all()


def test_an_order_on_its_way_that_would_turn_a_position_closes_it():
    rules = with_costs(TEN, latency=MINUTE)
    rows = [UP, UP, UP, bar(100, 100, -0.01), FALL, bar(90, 90, -0.01), bar(90, 90), bar(90, 90)]
    found = run(rows, rules)
    assert words(found)[3:7] == ["reversal", "waiting", "risk_halt", "no_edge"]
    assert found.trades.side.tolist() == [1]
    assert found.position.tolist()[5:] == [0.0, 0.0, 0.0]


def test_a_turn_that_a_halt_withdrew_stays_withdrawn_when_trading_goes_on():
    """Long from the fifth open; turned at the sixth close, halted at the next, lifted at midnight.

    The order comes at the tenth open, when the account is active again: it closes all the same.
    """
    rules = with_risk(PLAIN, daily_loss=0.1, resume="next_day")
    rows = [UP, *[bar(100, 100)] * 4, bar(100, 100, -0.01), FALL, *[bar(90, 90)] * 5]
    found = run(rows, with_costs(rules, latency=3 * MINUTE), start=DAY - 8)
    assert words(found)[5:] == ["reversal", *["waiting"] * 3, *["no_edge"] * 3]
    assert np.sign(found.position).tolist() == [0] * 4 + [1] * 5 + [0] * 3


def over_midnight(rules, forecast=0.01):
    """Five bars from 23:57 on: the fall is the second, midnight is the close of the third."""
    rows = [UP, FALL, *[bar(90, 90, forecast)] * 3]
    return words(run(rows, rules, start=DAY - 3))


def test_the_next_day_begins_with_the_bar_that_opens_at_midnight():
    lifted = with_risk(PLAIN, daily_loss=0.1, resume="next_day")
    assert over_midnight(lifted) == ["entry", "risk_halt", "risk_halt", "entry", "end"]
    assert over_midnight(TEN) == ["entry"] + ["risk_halt"] * 4
    fallen = with_risk(PLAIN, drawdown=0.1, resume="next_day")  # from the old peak: halted again
    assert over_midnight(fallen) == ["entry", "risk_halt", "risk_halt", "entry", "end"]


def test_a_day_begins_with_the_equity_of_its_eve():
    """Up 20 % before midnight; then 9 % down, to 1092, is less than a tenth of 1200."""
    rows = [UP, bar(100, 120), bar(120, 109.2), bar(109.2, 108), bar(108, 108)]
    assert words(run(rows, start=DAY - 2)) == ["entry", "hold", "hold", "risk_halt", "no_edge"]


def test_several_positions_of_a_symbol_are_all_left():
    rules = with_exits(quantile(10, interval=MINUTE), hold=9 * MINUTE)
    rules = with_sizing(with_limits(rules, overlap=3), "fraction", fraction=0.3)
    arrays = one_symbol([*[bar(100, 100)] * 3, bar(100, 80), *[bar(80, 80)] * 3])
    arrays[8] = np.array([10, 10, 5, 5, 5, 10, 10])
    for word, kept in (("halt", 0), ("reduce", 2)):
        found = loop.run(*arrays, 1, with_risk(rules, daily_loss=0.1, on_limit=word), 1_000.0)
        assert np.count_nonzero(found.trades.entry_time) == 2
        assert found.position[4] == pytest.approx(3.0 * kept)
        expected = (
            ["risk_halt", "no_edge", "risk_halt"] if kept == 0 else ["hold", "hold", "risk_halt"]
        )
        assert words(found)[3:6] == expected


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"daily_loss": 0.0}, "daily_loss: must be above 0 and below 1, found 0.0"),
        ({"drawdown": 1.0}, "drawdown: must be above 0 and below 1"),
        ({"daily_loss": np.nan}, "daily_loss"),
        ({"on_limit": "hold"}, "'hold': expected one of reduce, halt"),
        ({"resume": "nextday"}, "next_day"),
    ],
)
def test_what_makes_no_limit_is_one_clear_line(terms, message):
    with pytest.raises(UserError, match=message) as caught:
        with_risk(PLAIN, **terms)
    assert "\n" not in str(caught.value)


# -- one moment at a time: persons and guards ----------------------------------------------------


class Desk:
    """A desk that is handed one moment at a time."""

    def __init__(self, bars, rules, venue, capital=10_000.0):
        self.bars, self.rules, self.venue = bars, rules, venue
        n_symbols = len(venue.lot)
        self.book = new_book(n_symbols, capital, rules.overlap)
        self.trades = []

    def step(self, time):
        rows = np.flatnonzero(self.bars.time == time)
        moment = part(self.bars, rows)
        journal = new_journal(len(rows), 1, len(self.book.lots))
        _, _, count, _ = loop.scan(self.book, moment, self.rules, self.venue, journal, 0, 0)
        self.trades += [row.copy() for row in journal.trades[:count]]
        return [REASONS[c] for c in journal.reason], journal.position, journal.equity[0]


def desk(rows, rules=PLAIN, start=0):
    return Desk(run(rows, rules, start=start).bars, rules, new_venue(1), 1_000.0)


def test_a_command_takes_effect_before_the_order_of_the_bar_before():
    for state in (REDUCING, HALTED):
        made = desk([UP] * 4)
        assert made.step(US)[0] == ["entry"]
        command(made.book, state)
        why, position, _ = made.step(2 * US)
        assert (why, position.tolist()) == (["risk_halt"], [0.0])
        assert made.step(3 * US)[0] == ["risk_halt"]
        command(made.book, ACTIVE)
        assert made.step(4 * US)[0] == ["entry"]


def test_a_position_that_would_be_held_is_left_when_someone_halts():
    made = desk([UP, *[bar(100, 100)] * 3])
    made.step(US)
    assert made.step(2 * US)[0] == ["hold"]
    command(made.book, HALTED)
    assert made.step(3 * US)[0] == ["risk_halt"]
    why, position, _ = made.step(4 * US)
    assert (why, position.tolist()) == (["no_edge"], [0.0])


def test_a_new_day_lifts_what_a_limit_set_and_not_what_a_person_did():
    rules = with_risk(PLAIN, daily_loss=0.1, resume="next_day")
    rows = [UP, FALL, *[bar(90, 90, 0.01)] * 3]
    for state, why in ((None, "entry"), (HALTED, "risk_halt"), (REDUCING, "risk_halt")):
        made = desk(rows, rules, start=DAY - 3)
        for minute in (1, 2, 3, 4):
            if minute == 3 and state is not None:
                command(made.book, state)
            reasons, *_ = made.step((DAY - 3 + minute) * US)
        assert reasons == [why]
        assert made.book.purse[0].state == (state or ACTIVE)


def test_a_guard_that_is_content_again_does_not_lift_a_limit_and_a_person_does():
    rows = [UP, FALL, *[bar(90, 90, 0.01)] * 3, bar(90, 81.5), bar(81, 81, 0.01)]
    made = desk(rows, TEN)
    made.step(US)
    made.step(2 * US)
    command(made.book, REDUCING)
    command(made.book, ACTIVE)
    assert made.step(3 * US)[0] == ["risk_halt"]
    assert made.book.purse[0].state == HALTED
    resume(made.book)
    assert made.step(4 * US)[0] == ["entry"]  # although the day has lost a tenth
    assert made.step(5 * US)[0] == ["hold"]
    assert made.step(6 * US)[0] == ["hold"]  # 9.4 % below the equity at the resumption
    assert made.step(7 * US)[0] == ["risk_halt"]


def test_a_cause_that_has_gone_takes_back_what_it_asked_for_and_no_more():
    made = desk([UP] * 5)
    degrade(made.book, REDUCING)
    assert made.step(US)[0] == ["risk_halt"]
    command(made.book, HALTED)
    degrade(made.book, ACTIVE)
    assert made.step(2 * US)[0] == ["risk_halt"]
    degrade(made.book, REDUCING)
    resume(made.book)
    assert made.step(3 * US)[0] == ["risk_halt"]
    degrade(made.book, ACTIVE)
    assert made.step(4 * US)[0] == ["entry"]


# -- laws --------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)


def random_play(seed, rules=None):
    arrays = random_market(seed, start_hours=23)
    rules, extra = rules or any_rule(seed + 1), random_charges(seed + 2, arrays)
    venue = random_venue(seed + 3, arrays[0][-1])
    return loop.run(*arrays, 3, rules, 10_000.0, **extra, venue=venue), arrays, rules, venue, extra


def states(found, rules, venue, asked=None):
    """Play again, a moment at a time: its desk, and at each close state, reasons, positions."""
    made, rows = Desk(found.bars, rules, venue), []
    for time in np.unique(found.bars.time):
        if time in (asked or {}):
            command(made.book, asked[time])
        told = made.step(time)
        rows.append((int(made.book.purse[0].state), *told, made.book.lots.position.copy()))
    return made, rows


def unlimited(rules):
    return rules._replace(daily_loss=np.inf, drawdown=np.inf)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_until_a_limit_is_met_it_changes_nothing_and_after_that_nothing_is_entered(seed):
    _, _, rules, venue, _ = random_play(seed)
    rules = rules._replace(resume=0)
    limited, free = (random_play(seed, r)[0] for r in (rules, unlimited(rules)))
    _, rows = states(limited, rules, venue)
    met = next((k for k, row in enumerate(rows) if row[0]), len(rows))
    time = limited.time
    assert {row[0] for row in rows[met:]} <= {rules.on_limit}
    if met == len(rows):
        met -= 1
    before = limited.bars.time < time[met]
    assert (limited.equity[: met + 1] == free.equity[: met + 1])[:-1].all()
    assert (limited.reasons == free.reasons)[before].all()
    assert (limited.position == free.position)[before].all()
    if rows[met][0]:
        assert (limited.trades.entry_time <= time[met]).all()
        assert not np.isin(limited.reasons[limited.bars.time >= time[met]], [1]).any()


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_limits_that_are_never_met_are_none_to_the_bit(seed):
    _, _, rules, _, _ = random_play(seed)
    wide = with_risk(rules, daily_loss=1 - 1e-12, drawdown=1 - 1e-12)
    a, b = random_play(seed, unlimited(rules))[0], random_play(seed, wide)[0]
    if a.equity.min() > 1.0:
        for name in ("reasons", "position", "equity", "flows"):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
        assert all(x.tobytes() == y.tobytes() for x, y in zip(a.trades, b.trades))


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_whoever_halts_the_desk_the_slow_twin_agrees_and_exposure_only_shrinks(seed):
    found, arrays, rules, venue, extra = random_play(seed)
    rng, times = np.random.default_rng(seed + 9), np.unique(arrays[0])
    moments = rng.choice(times, rng.integers(1, 5), replace=False)
    asked = {time: int(rng.integers(3)) for time in moments}
    made, rows = states(found, rules, venue, asked)
    reasons, positions, curve, trades = twin.play(arrays, 3, rules, venue, 10_000.0, extra, asked)
    ended = np.array([why == "end" for why in reasons])  # closed in the books by a backtest alone
    assert (np.concatenate([row[1] for row in rows]) == np.array(reasons))[~ended].all()
    told = np.concatenate([row[2] for row in rows])
    assert told[~ended] == pytest.approx(np.array(positions)[~ended], abs=1e-9)
    assert [row[0] for row in rows] == [row["state"] for row in curve]
    assert [row[3] for row in rows][:-1] == pytest.approx([r["equity"] for r in curve][:-1])
    ends = sum(t["exit_reason"] == "end" for t in trades)
    whole = [t["net"] for t in trades[: len(trades) - ends]]
    assert [row.net for row in made.trades[: len(whole)]] == pytest.approx(whole, abs=1e-7)
    for (was, *_, before), (state, *_, after) in pairwise(rows):
        if was and state:  # asked for or met at both closes: nothing grows, nothing turns
            assert (np.abs(after) <= np.abs(before)).all()
            assert (after * before >= 0).all()
    held = made.book.lots.position * made.book.lots.mark
    assert made.book.purse[0].cash + held.sum() == pytest.approx(rows[-1][3])


def test_the_random_plays_meet_limits_and_go_on_again():
    met = again = 0
    for seed in range(40):
        found, _, rules, venue, _ = random_play(seed)
        seen = [row[0] for row in states(found, rules, venue)[1]]
        met += max(seen) > 0
        again += any(a and not b for a, b in pairwise(seen))
    assert met >= 15
    assert again >= 3


def losing(days, seed):
    """Bars of several days, and a forecast that is wrong more often than not."""
    rng, n = np.random.default_rng(seed), days * DAY
    move = rng.normal(0, 0.0012, n)
    close = 100 * np.exp(np.cumsum(move))
    open_ = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0, 0.0003, n))
    wrong = np.where(rng.random(n) < 0.55, -0.01, 0.01) * np.sign(np.append(move[1:], 0.0))
    forecast = np.where(np.arange(n) % 7, 0.0, wrong)
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    return one_symbol(np.column_stack([open_, high, low, close, forecast]))


def lost(equity, day):
    """Share of its first equity that each day lost."""
    ends = equity[np.flatnonzero(np.diff(day, append=day[-1] + 1))]
    return 1 - ends / np.concatenate([[10_000.0], ends[:-1]])


@pytest.mark.parametrize("seed", range(4))
def test_no_day_loses_more_than_its_limit_but_for_one_bar_and_the_way_out(seed):
    arrays = losing(8, seed)
    costs = with_costs(PLAIN, fee=0.0005, slippage=0.0002)
    rules = with_risk(costs, daily_loss=0.03, resume="next_day")
    day, (open_, close) = (arrays[0] - US) // (DAY * US), (arrays[2], arrays[5])
    free, found = (loop.run(*arrays, 1, chosen, 10_000.0) for chosen in (costs, rules))
    assert (lost(free.equity, day) > 0.04).sum() >= 3
    assert (lost(found.equity, day) > 0.03).sum() >= 3
    equity, held, began = found.equity, abs(found.position), 10_000.0
    for d in range(8):
        rows = np.flatnonzero(day == d)
        met = rows[equity[rows] <= began * 0.97][:1]
        for k in met:  # a turn at its open, the bar itself, and the gap to the next open
            out = min(k + 1, len(day) - 1)
            bar_ = abs(open_[k] - close[k - 1]) * held[k - 1] + abs(close[k] - open_[k]) * held[k]
            way_out = abs(open_[out] - close[k]) * held[k]
            fills = 3 * 0.0008 * max(held[k - 1], held[k]) * close[k]
            assert began - equity[rows[-1]] <= 0.03 * began + bar_ + way_out + fills
            assert len(set(equity[rows[rows > k]])) <= 1
        began = equity[rows[-1]]
