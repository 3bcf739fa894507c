"""S4's limits, each by hand in a backtest and moment by moment as a live desk takes them."""

from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research import tape
from research.errors import UserError
from research.study import read
from research.trading import loop
from research.trading.account import new_book, new_venue
from research.trading.journal import new_journal, part
from research.trading.rules import (
    REASONS,
    probability,
    quantile,
    threshold,
    with_costs,
    with_exits,
    with_limits,
    with_risk,
    with_sizing,
)

from .markets import MINUTE, US, one_symbol, random_market, random_venue
from .strategies import any_rule

PLAIN = threshold(enter=0.001, interval=MINUTE)
UP, FLAT, BLIND = (
    (100.0, 100.0, 100.0, 100.0, f) for f in (0.01, 0.0, np.nan)
)  # three bars that go nowhere
S4 = {
    "sizing.kind": "stop",
    "sizing.risk": "0.5 %",
    "sizing.max_position": "10 %",
    "backtest.stop": "2 %",
    "backtest.max_positions": 3,
    "risk.daily_loss": "5 %",
    "risk.position_timeout": "24 h",
    "risk.close_on_errors": 5,
}


def run(rows, rules, **others):
    return loop.run(*one_symbol(rows), 1, rules, 1_000.0, **others)


def words(found):
    return [REASONS[code] for code in found.reasons]


# -- timeout -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rules",
    [
        PLAIN,
        with_exits(PLAIN, hold=MINUTE),
        with_exits(PLAIN, hold=2 * MINUTE),
        with_exits(probability(enter=0.001, interval=MINUTE), hold=MINUTE),
        with_exits(quantile(10, interval=MINUTE), hold=MINUTE),
        quantile(10, interval=MINUTE),
    ],
)
def test_no_signal_prolongs_a_timeout(rules):
    """Each of these holds on for as long as the signal lasts; three minutes are the most."""
    arrays = one_symbol([UP] * 8)
    arrays[8] = np.full(8, 10)
    found = loop.run(*arrays, 1, with_limits(rules, timeout=3 * MINUTE), 1_000.0)
    assert words(found)[:7] == ["entry", "hold", "hold", "timeout", "entry", "hold", "hold"]
    held = np.diff([found.trades.entry_time, found.trades.exit_time], axis=0).ravel()
    assert held.tolist() == [3 * US, 3 * US]
    assert words(loop.run(*arrays, 1, rules, 1_000.0)) == ["entry", *["hold"] * 6, "end"]


def test_a_timeout_waits_for_no_bar_that_is_missing_and_rests_like_any_exit():
    rules = with_limits(with_exits(PLAIN, cooldown=2 * MINUTE), timeout=2 * MINUTE)
    arrays = one_symbol([UP] * 6)
    arrays[0][2:] += 60 * US  # an hour without bars
    found = loop.run(*arrays, 1, rules, 1_000.0)
    assert words(found) == ["entry", "hold", "timeout", "resting", "entry", "end"]


def test_positions_side_by_side_time_out_each_for_itself():
    rules = with_exits(probability(enter=0.001, interval=MINUTE), hold=9 * MINUTE)
    rules = with_limits(rules, overlap=3, timeout=2 * MINUTE)
    found = run([UP, UP, FLAT, FLAT, FLAT, FLAT], rules)
    assert words(found) == ["entry", "entry", "timeout", "timeout", "no_edge", "no_edge"]
    assert [REASONS[code] for code in found.trades.exit_reason] == ["timeout", "timeout"]


def test_what_the_rule_itself_says_comes_first():
    down = (100.0, 100.0, 100.0, 100.0, -0.01)
    rules = with_limits(PLAIN, timeout=2 * MINUTE, errors=1)
    assert words(run([UP, FLAT, down, FLAT], rules)) == ["entry", "hold", "reversal", "end"]


# -- errors ------------------------------------------------------------------------------------


def test_a_position_is_left_after_so_many_closes_without_a_forecast_in_a_row():
    rules = with_limits(PLAIN, errors=3)
    found = run([UP, BLIND, BLIND, FLAT, BLIND, BLIND, BLIND, BLIND, FLAT], rules)
    assert words(found) == [
        "entry", "stale_data", "stale_data", "hold", "stale_data", "stale_data", "errors",
        "stale_data", "no_edge",
    ]  # fmt: skip
    assert found.position[-3:].tolist() == [10.0, 0.0, 0.0]


def test_a_new_position_begins_to_count_anew():
    rules = with_limits(with_costs(PLAIN, latency=MINUTE), errors=2)
    found = run([BLIND, UP, BLIND, BLIND, FLAT, BLIND, BLIND, BLIND], rules)
    assert words(found)[3:7] == ["stale_data", "hold", "stale_data", "errors"]


def test_of_bins_what_is_not_known_is_the_bin():
    arrays = one_symbol([UP] * 5)
    arrays[8] = np.array([10, 0, 0, 0, 0])
    rules = with_exits(quantile(10, interval=MINUTE), hold=60 * MINUTE)
    found = loop.run(*arrays, 1, with_limits(rules, errors=2), 1_000.0)
    assert words(found)[:4] == ["entry", "stale_data", "errors", "stale_data"]


# -- the closes at which the rule is asked ---------------------------------------------------------


def test_between_the_closes_that_decide_nothing_but_limits_and_levels_work():
    """Bars close at minutes 1 to 9; the rule is asked at 3, 6 and 9."""
    down = (100.0, 100.0, 100.0, 100.0, -0.01)
    rows = [UP, UP, UP, down, down, UP, FLAT, down, down]
    rules = with_limits(with_exits(PLAIN, hold=MINUTE), every=3 * MINUTE)
    assert words(run(rows, rules)) == [
        "resting", "resting", "entry", "hold", "hold", "hold", "hold", "hold", "end",
    ]  # fmt: skip
    stopped = with_exits(PLAIN, stop=0.05)
    rows[4] = (100.0, 100.0, 90.0, 95.0, -0.01)
    found = run(rows, with_limits(stopped, every=3 * MINUTE))
    assert words(found)[3:6] == ["hold", "stop", "entry"]
    timed = with_limits(PLAIN, every=3 * MINUTE, timeout=MINUTE)
    assert words(run(rows, timed))[2:6] == ["entry", "timeout", "resting", "entry"]


@pytest.mark.parametrize("every", [timedelta(seconds=90), timedelta(minutes=7)])
def test_a_rhythm_that_does_not_fit_is_named(every):
    with pytest.raises(UserError, match="every: must be a multiple of the bar"):
        with_limits(PLAIN, every=every)
    with pytest.raises(UserError, match="errors: must be 1 or more, found 0"):
        with_limits(PLAIN, errors=0)
    with pytest.raises(UserError, match="timeout: must be above zero"):
        with_limits(PLAIN, timeout=timedelta(0))


# -- S4's, as its study says them ------------------------------------------------------------------


def test_the_keys_of_a_study_are_the_desks_numbers():
    rules = tape.rules(read("demo", S4))
    assert (rules.max_position, rules.max_positions, rules.daily_loss) == (0.1, 3, 0.05)
    assert rules.size == pytest.approx(0.005 / 0.02)
    assert (rules.timeout, rules.errors, rules.every) == (24 * 60 * US, 5, 0)
    assert tape.rules(read("demo", {"backtest.every": "1 h"})).every == 60 * US
    with pytest.raises(UserError, match=r"needs data\.bars 'time', found 'volume'"):
        tape.rules(read("demo", {"backtest.every": "1 h", "data.bars": "volume"}))


def test_the_limits_of_one_day_hold_all_at_once():
    """Four symbols rise together: three are bought, at a tenth each; one falls to its stop."""
    n, t = 4, 6
    time, symbol = np.repeat(np.arange(1, t + 1) * US, n), np.tile(np.arange(n), t)
    price = np.full((t, n), 100.0)
    price[2:, 0] = 97.0
    forecast = np.where(np.arange(t)[:, None] < 1, 0.01, 0.0) * np.ones((t, n))
    opened = np.vstack([price[:1], price[:-1]])
    high, low = np.maximum(opened, price), np.minimum(opened, price)
    rows = [a.ravel() for a in (opened, high, low, price, np.ones((t, n)), forecast)]
    rules = with_limits(with_exits(PLAIN, stop=0.02), max_positions=3)
    rules = with_risk(with_sizing(rules, "stop", risk=0.005, max_position=0.1), daily_loss=0.05)
    found = loop.run(time, symbol, *rows, np.zeros(n * t), n, rules, 10_000.0)
    assert words(found)[:4] == ["entry", "entry", "entry", "full"]
    assert words(found)[8] == "stop"
    assert found.exposure.max() == pytest.approx(3_000.0)
    stopped = found.trades.net[found.trades.exit_reason == REASONS.index("stop")]
    assert stopped.tolist() == pytest.approx([-20.0])  # a tenth of capital times 2 %: below 0.5 %


def test_the_net_position_is_scaled_in_and_out():
    """Three positions side by side are added one by one, and reduced one by one."""
    rules = with_exits(probability(enter=0.001, interval=MINUTE), hold=3 * MINUTE)
    rules = with_sizing(with_limits(rules, overlap=3), "fraction", fraction=0.1)
    found = run([UP, UP, UP, FLAT, FLAT, FLAT, FLAT], rules)
    assert found.position == pytest.approx([0, 1, 2, 3, 2, 1, 0], abs=1e-6)


# -- live ----------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_moment_by_moment_limits_are_those_of_a_backtest(seed):
    """The scan that is fed by hand leaves the reasons, and equity, of the one that is fed all."""
    arrays, rules = random_market(seed), any_rule(seed)
    rules = rules._replace(timeout=5 * US, errors=2, every=2 * US)
    venue = random_venue(seed, arrays[0][-1])
    whole = loop.run(*arrays, 3, rules, 10_000.0, venue=venue)
    book = new_book(3, 10_000.0, rules.overlap)
    reasons, last = [], 0.0
    starts = [0, *(np.flatnonzero(np.diff(arrays[0])) + 1), len(arrays[0])]
    for a, b in pairwise(starts):
        rows = part(whole.bars, slice(a, b))
        written = new_journal(b - a, 1, len(book.lots))
        loop.scan(book, rows, rules, venue, written, 0, 0)
        reasons += written.reason.tolist()
        last = float(written.equity[0])
    told = whole.reasons.tolist()
    assert all(a == b or b == REASONS.index("end") for a, b in zip(reasons, told))
    if REASONS.index("end") not in told:
        assert last == whole.equity[-1]


def test_a_study_without_the_new_keys_has_none_of_their_limits():
    plain = tape.rules(read("demo"))
    assert (plain.timeout, plain.errors, plain.every) == (0, 0, 0)
    found = loop.run(*random_market(1), 3, plain, 10_000.0, venue=new_venue(3))
    assert not {"timeout", "errors"} & set(words(found))
