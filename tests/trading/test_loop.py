import hashlib
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.trading import loop
from research.trading.account import TRADE, new_book
from research.trading.journal import Trades, new_journal, part
from research.trading.rules import REASONS, quantile, threshold, with_costs, with_exits

from . import twin
from .markets import (
    MINUTE,
    US,
    funded,
    one_symbol,
    random_charges,
    random_market,
    random_venue,
)
from .strategies import any_rule, plain

ROOT = Path(__file__).resolve().parents[2]
PLAIN = threshold(enter=0.001, interval=MINUTE)
FLOWS = ("fees", "slippage", "funding", "traded")


def run(rows, rules=PLAIN, capital=1_000.0, **others):
    return loop.run(*one_symbol(rows), 1, rules, capital, **others)


def words(result):
    return [REASONS[code] for code in result.reasons]


def laid(seed):
    """A random market, through 08:00 or midnight, and what a fill in each of its bars pays."""
    arrays = random_market(seed, start_hours=7 if seed % 2 else 23)
    return arrays, random_charges(seed + 2, arrays)


# -- facts with numbers that a reader checks in the head ---------------------------------------


def test_an_order_fills_at_the_next_open_and_both_sides_pay():
    rules = with_costs(PLAIN, fee=0.01)
    found = run(
        [
            (99, 100, 99, 100, 0.01),
            (100, 110, 100, 110, 0.01),
            (110, 110, 110, 110, -0.0005),
            (120, 120, 120, 120, 0.0),
        ],
        rules,
        capital=1_010.0,
    )
    assert words(found) == ["entry", "hold", "reversal", "no_edge"]
    assert found.position.tolist() == [0.0, 10.0, 10.0, 0.0]  # 1010 pays 10 x 100 and 1 %
    assert found.equity.tolist() == [1_010.0, 1_100.0, 1_100.0, 1_188.0]
    assert found.fees.tolist() == [0.0, 10.0, 0.0, 12.0]
    assert found.traded.tolist() == [0.0, 1_000.0, 0.0, 1_200.0]
    assert found.exposure.tolist() == [0.0, 1_100.0, 1_100.0, 0.0]
    assert [column.item() for column in found.trades] == [
        0, 1, 1 * US, 3 * US, 100.0, 120.0, 10.0, 200.0, 22.0, 0.0, 0.0, 178.0, 1, 3,
    ]  # fmt: skip


def test_without_costs_cash_turns_into_price():
    found = run([(100, 100, 100, 100, 0.01), (100, 150, 100, 150, 0.0), (150, 150, 150, 150, 0)])
    assert found.equity.tolist() == [1_000.0, 1_500.0, 1_500.0]
    assert words(found)[-1] == "end"
    assert found.trades.net.tolist() == [500.0]


def test_spread_and_slippage_are_paid_at_both_fills():
    rules, bars = with_costs(PLAIN, slippage=0.01), [(100, 100, 100, 100, f) for f in (0.01, 0.0)]
    found = run(bars, rules, capital=1_020.0, half_spread=np.full(2, 0.01))
    assert found.position.tolist() == [0.0, 0.0]
    assert found.trades.quantity.tolist() == [10.0]
    assert (found.trades.entry_price.item(), found.trades.exit_price.item()) == (102.0, 98.0)
    assert (found.trades.gross.item(), found.trades.slippage.item()) == (0.0, 40.0)
    assert found.equity[-1] == 980.0


def test_a_short_gains_from_a_fall_and_turns_at_one_open():
    found = run(
        [
            (100, 100, 100, 100, -0.01),
            (100, 100, 80, 80, 0.01),
            (80, 80, 80, 80, 0.0),
            (90, 90, 90, 90, 0.0),
        ]
    )
    assert words(found) == ["entry", "reversal", "hold", "end"]
    assert found.equity.tolist() == [1_000.0, 1_200.0, 1_200.0, 1_350.0]
    assert found.trades.side.tolist() == [-1, 1]
    assert found.trades.entry_time.tolist() == [1 * US, 2 * US]
    assert [REASONS[c] for c in found.trades.entry_reason] == ["entry", "reversal"]


STOPS = with_exits(PLAIN, stop=0.1, take=0.2)
BAR0 = (100, 100, 100, 100, 0.01)


@pytest.mark.parametrize(
    ("bar", "why", "price"),
    [
        ((100, 100, 90, 95, 0), "stop", 90),  # touched
        ((100, 125, 85, 100, 0), "stop", 90),  # both touched: stopped first
        ((100, 125, 95, 100, 0), "take", 120),
    ],
)
def test_exits_inside_the_bar_of_the_entry(bar, why, price):
    found = run([BAR0, bar, (100, 100, 100, 100, 0)], STOPS)
    assert words(found) == ["entry", why, "no_edge"]
    assert found.trades.exit_price.tolist() == [price]
    assert found.trades.exit_time.tolist() == [2 * US]
    assert found.position.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("forecast", "bar", "why", "price"),
    [
        (0.01, (80, 85, 75, 80, 0), "stop", 80),  # opens beyond the stop: at the open
        (0.01, (130, 135, 125, 130, 0), "take", 120),  # opens beyond the take: no better
        (-0.01, (120, 125, 115, 120, 0), "stop", 120),
        (-0.01, (100, 112, 75, 100, 0), "stop", 110),
        (-0.01, (70, 75, 65, 70, 0), "take", 80),
    ],
)
def test_exits_after_a_gap_and_of_shorts(forecast, bar, why, price):
    still = (100, 100, 100, 100, 0.0)
    found = run([(100, 100, 100, 100, forecast), still, bar, still], STOPS)
    assert words(found)[2] == why
    assert found.trades.exit_price.item() == pytest.approx(price)


def test_stop_and_take_pay_spread_and_slippage():
    rules, half = with_costs(STOPS, slippage=0.01), np.full(2, 0.01)
    found = run([BAR0, (100, 100, 90, 95, 0)], rules, capital=1_020.0, half_spread=half)
    assert found.trades.exit_price.item() == pytest.approx(102 * 0.9 * 0.98)
    found = run([BAR0, (100, 130, 100, 95, 0)], rules, capital=1_020.0, half_spread=half)
    assert found.trades.exit_price.item() == pytest.approx(102 * 1.2 * 0.98)


def test_a_bar_without_volume_fills_nothing_and_the_order_waits():
    arrays = one_symbol([BAR0, (50, 50, 50, 50, 0.0), (110, 110, 110, 110, 0.0), (1, 1, 1, 1, 0)])
    arrays[6][[1, 3]] = 0.0
    found = loop.run(*arrays, 1, with_exits(PLAIN, stop=0.5), 1_100.0)
    assert words(found) == ["entry", "waiting", "hold", "end"]  # no stop where nothing trades
    assert found.trades.entry_price.tolist() == [110.0]
    assert found.position.tolist() == [0.0, 0.0, 10.0, 0.0]


def test_cooldown_counts_from_the_exit():
    up = (100, 100, 100, 100, 0.01)
    rules = with_exits(PLAIN, stop=0.1, cooldown=3 * MINUTE)
    found = run([up, (100, 100, 90, 90, 0.01), up, up, up, up], rules)
    assert words(found)[:5] == ["entry", "stop", "resting", "resting", "entry"]
    down = (100, 100, 100, 100, -0.01)
    found = run([up, down, up, up, up, up], rules)  # out at the third open, back at the sixth
    assert words(found)[:5] == ["entry", "reversal", "resting", "resting", "entry"]


def test_hold_ends_a_position_or_renews_it():
    up, flat = (100, 100, 100, 100, 0.01), (100, 100, 100, 100, 0.0)
    rules = with_exits(PLAIN, hold=2 * MINUTE)
    assert words(run([up, flat, flat, flat, flat], rules)) == [
        "entry", "hold", "horizon", "no_edge", "no_edge",
    ]  # fmt: skip
    renewed = run([up, flat, up, flat, flat, flat], rules)
    assert words(renewed) == ["entry", "hold", "hold", "hold", "horizon", "no_edge"]
    assert len(renewed.trades.net) == 1  # held on, no round trip
    assert renewed.trades.exit_time.item() - renewed.trades.entry_time.item() == 4 * US


def test_one_bar_quantile_positions_are_the_sources_own():
    """Bins 10, 5, 1, 10 for one bar each, hold of one bar: the side held is the bin's."""
    arrays = one_symbol([(100, 100, 100, 100, 0.0)] * 6)
    arrays[8] = np.array([10, 5, 1, 1, 10, 5])
    found = loop.run(*arrays, 1, with_exits(quantile(10, interval=MINUTE), hold=MINUTE), 1_000.0)
    assert np.sign(found.position).tolist() == [0, 1, 0, -1, -1, 0]
    assert words(found) == ["entry", "horizon", "entry", "hold", "reversal", "end"]


def test_symbols_share_the_cash():
    n = 3
    time = np.repeat(np.array([1, 2, 3]) * US, n)
    price = np.array([100, 50, 10, 100, 50, 10, 200, 50, 10], float)
    forecast = np.array([0.01, 0.01, 0.0] + [0.0] * 6)
    symbol, one, zero = np.tile(np.arange(n), 3), np.ones(9), np.zeros(9)
    found = loop.run(time, symbol, price, price, price, price, one, forecast, zero, n, PLAIN, 900.0)
    assert found.position.tolist() == [0, 0, 0, 3, 6, 0, 0, 0, 0]  # 300 each
    assert found.equity.tolist() == [900.0, 900.0, 1_200.0]
    assert words(found)[-3:] == ["end", "end", "no_edge"]


def test_funding_is_paid_by_who_holds_at_the_moment():
    arrays = one_symbol([BAR0] + [(100, 100, 100, 100, 0.0)] * 4, start=8 * 60 - 3)
    found = loop.run(*arrays, 1, PLAIN, 1_000.0, venue=funded(0.01, arrays[0][-1]))
    assert found.funding.tolist() == [0.0, 0.0, 10.0, 0.0, 0.0]  # 08:00 is the third close
    assert found.equity.tolist() == [1_000.0, 1_000.0, 990.0, 990.0, 990.0]
    assert found.trades.funding.tolist() == [10.0]


def test_funding_falls_on_what_was_held_through_a_gap():
    arrays = one_symbol([BAR0, (100, 100, 100, 100, -0.0005), (100, 100, 100, 100, 0.0)])
    arrays[0][2] += 24 * 60 * US
    found = loop.run(*arrays, 1, PLAIN, 1_000.0, venue=funded(0.01, arrays[0][-1]))
    assert found.funding.tolist() == [0.0, 0.0, 30.0]  # and the order to leave fills after it


def test_an_account_without_equity_stops():
    rows = [(100, 100, 100, 100, -0.01), (100, 250, 100, 250, -0.01), (250, 250, 250, 250, -0.01)]
    found = run([*rows, (250, 250, 250, 250, -0.01)])
    assert words(found) == ["entry", "risk_halt", "risk_halt", "risk_halt"]
    assert found.equity.tolist() == [1_000.0, -500.0, -500.0, -500.0]
    assert found.position.tolist() == [0.0, -10.0, 0.0, 0.0]


def test_a_ruined_account_stays_so():
    """The short is left at 130 after a close at 250: 700 are there again, and nothing trades."""
    rows = [(100, 100, 100, 100, -0.01), (100, 250, 100, 250, -0.01), (130, 130, 130, 130, -0.01)]
    found = run([*rows, (130, 130, 130, 130, -0.01)])
    assert found.equity.tolist() == [1_000.0, -500.0, 700.0, 700.0]
    assert words(found) == ["entry", "risk_halt", "risk_halt", "risk_halt"]


def test_no_bars_no_trades():
    found = loop.run(*(np.empty(0),) * 9, 1, PLAIN, 1_000.0)
    assert len(found.equity) == len(found.trades.net) == len(found.reasons) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.__setitem__(1, np.array([0, 5])), "from 0 to 0, found 5 in row 1"),
        (lambda a: a.__setitem__(0, np.array([2, 1])), "row 1 is not"),
        (lambda a: a.__setitem__(0, np.array([1, 1])), "row 1 is not"),
        (lambda a: a.__setitem__(5, np.ones(3)), "one length"),
    ],
)
def test_bad_rows_are_one_clear_line(change, message):
    arrays = one_symbol([BAR0, BAR0])
    change(arrays)
    with pytest.raises(UserError, match=message):
        loop.run(*arrays, 1, PLAIN, 1_000.0)
    with pytest.raises(UserError, match="capital must be above 0"):
        loop.run(*one_symbol([BAR0]), 1, PLAIN, 0.0)


# -- laws --------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)


def play(seed, rules=any_rule):
    """A random strategy on a random market with random charges at a random venue."""
    (arrays, extra), chosen = laid(seed), rules(seed + 1)
    venue = random_venue(seed + 3, arrays[0][-1])
    found = loop.run(*arrays, 3, chosen, 10_000.0, **extra, venue=venue)
    return found, arrays, chosen, venue, extra


def agree(found, played):
    """Hold a scan against the slow twin: every reason, position, moment and trade."""
    reasons, positions, curve, trades = played
    assert words(found) == reasons
    assert found.position == pytest.approx(positions, rel=1e-9, abs=1e-9)
    for name in ("time", "equity", *FLOWS):
        expected = [row[name] for row in curve]
        assert getattr(found, name) == pytest.approx(expected, rel=1e-9, abs=1e-7), name
    assert len(found.trades.net) == len(trades)
    for name, column in found.trades._asdict().items():
        expected = [t[name] for t in trades]
        if name.endswith("reason"):
            assert [REASONS[c] for c in column] == expected
        else:
            assert column == pytest.approx(expected, rel=1e-9, abs=1e-7), name


@settings(max_examples=150, deadline=None)
@given(seeds)
def test_the_slow_twin_agrees(seed):
    found, arrays, rules, venue, extra = play(seed)
    agree(found, twin.play(arrays, 3, rules, venue, 10_000.0, extra))


def test_the_random_markets_reach_every_reason():
    seen = {w for seed in range(60) for w in words(play(seed)[0])}
    assert seen == set(REASONS) - {"too_thin"}  # without books nothing is: see test_depth


@settings(max_examples=100, deadline=None)
@given(seeds)
def test_the_books_close(seed):
    found, *_, rules, venue, _ = play(seed)
    t = found.trades
    assert found.equity[-1] - 10_000 == pytest.approx(t.net.sum(), abs=1e-7)
    assert t.gross - t.fees - t.slippage - t.funding == pytest.approx(t.net, abs=1e-9)
    for name in ("fees", "slippage", "funding"):
        total = getattr(found, name).sum()
        assert total == pytest.approx(getattr(t, name).sum(), abs=1e-7), name
    sides = rules.fee * (t.quantity * (t.entry_price + t.exit_price))
    assert t.fees == pytest.approx(sides, abs=1e-8)
    assert (found.reasons >= 0).all()
    for number, step in enumerate(venue.lot):
        if step:
            lots = t.quantity[t.symbol == number] / step
            assert lots == pytest.approx(np.round(lots), abs=1e-6)


def advance(book, bars, rules, venue, rows):
    """Hand the desk one moment; returns its journal and the number of trades."""
    moment = part(bars, rows)
    journal = new_journal(len(moment.time), 1, len(book.lots))
    _, _, count, _ = loop.scan(book, moment, rules, venue, journal, 0, 0)
    return journal, count


def known_by(venue, time):
    """What a live desk can know of a venue: the rates of moments that have come."""
    pairs = list(zip(venue.first[:-1], venue.first[1:]))
    rows = [np.arange(a, b)[venue.moment[a:b] <= time] for a, b in pairs]
    first = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    rows = np.concatenate(rows)
    return venue._replace(first=first, moment=venue.moment[rows], rate=venue.rate[rows])


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_one_moment_at_a_time_is_the_backtest(seed):
    """Cash and marks make equity at every step, and nothing but the book is remembered."""
    found, _, rules, venue, _ = play(seed)
    bars, trades, k, whole = found.bars, 0, 0, True
    book = new_book(3, 10_000.0, rules.overlap)
    for time in np.unique(bars.time)[:-1]:
        rows = np.flatnonzero(bars.time == time)
        journal, count = advance(book, bars, rules, known_by(venue, time), rows)
        # until a symbol's bars end: what it held is closed there in the books
        kept = found.reasons[rows] != REASONS.index("end")
        assert (journal.reason == found.reasons[rows])[kept].all()
        assert (journal.position == found.position[rows])[kept].all()
        assert journal.equity[0] == found.equity[k]
        assert (journal.trades.net[:count] == found.trades.net[trades : trades + count]).all()
        marked = (book.lots.position * book.lots.mark).sum()
        assert journal.equity[0] == pytest.approx(book.purse[0].cash + marked)
        whole = whole and kept.all()
        if whole:
            net = book.lots.position.reshape(3, -1).sum(axis=1)
            held = abs(net * book.lots.mark[:: rules.overlap]).sum()
            assert found.exposure[k] == pytest.approx(held, abs=1e-9)
        open_ = np.count_nonzero(book.lots.position)
        assert open_ <= (rules.max_positions or open_)
        trades, k = trades + count, k + 1
        # a restart: all that the desk knows is in its two arrays
        book = type(book)(book.purse.copy(), book.lots.copy())


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_nothing_later_changes_anything_earlier(seed):
    straight, arrays, rules, venue, extra = play(seed)
    moment = np.unique(arrays[0])[90]
    later = arrays[0] > moment
    bent = [a.copy() for a in arrays]
    for column in bent[2:6]:
        column[later] *= 1.3
    bent[7][later] *= -1
    bent[8][later] = 11 - bent[8][later]
    bent[6][later] = 1 - bent[6][later]
    other = {name: np.where(later, 2 * column, column) for name, column in extra.items()}
    bent_venue = venue._replace(rate=np.where(venue.moment > moment, -1, 1) * venue.rate)
    crooked = loop.run(*bent, 3, rules, 10_000.0, **other, venue=bent_venue)
    cut = {name: column[~later] for name, column in extra.items()}
    short = loop.run(*(a[~later] for a in arrays), 3, rules, 10_000.0, **cut, venue=venue)
    before = straight.time <= moment
    assert (straight.equity[before] == crooked.equity[before]).all()
    assert (straight.reasons[~later] == crooked.reasons[~later]).all()
    assert (straight.position[~later] == crooked.position[~later]).all()
    assert (straight.equity[before][:-1] == short.equity[:-1]).all()


def digest(rules, seeds=range(6), n_times=80):
    """Everything that comes out of a few runs, as one number."""
    total = hashlib.sha256()
    for seed in seeds:
        arrays = random_market(seed, n_times=n_times)
        extra, venue = random_charges(seed, arrays), random_venue(seed, arrays[0][-1])
        found = loop.run(*arrays, 3, rules(seed), 10_000.0, **extra, venue=venue)
        columns = (found.reasons, found.position, found.equity, *found.trades)
        for column in columns:
            total.update(np.ascontiguousarray(column).tobytes())
    return total.hexdigest()


def test_plain_python_is_the_compiled_desk_bit_for_bit():
    code = (
        "from tests.trading.test_loop import digest, any_rule, plain;"
        "print(digest(plain), digest(any_rule, range(12)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [digest(plain), digest(any_rule, range(12))]


FIRST_DESK = "42432c1d297115a661b5270015e8b35e2ac668ec506f0dfb04dcb45a803ebc5f"


def test_one_position_of_a_symbol_trades_as_it_always_did():
    """The stored number is of the desk's first version, which knew nothing of all the rest."""
    total = hashlib.sha256()
    for seed in range(30):
        arrays = [np.round(column, 3) for column in random_market(seed)]
        rules, last = plain(seed + 1), arrays[0][-1]
        half = np.full(len(arrays[0]), 0.0002 if rules.fee else 0.0)
        venue = funded(0.001 if rules.fee else 0.0, last, 3)
        found = loop.run(*arrays, 3, rules, 10_000.0, half_spread=half, venue=venue)
        for column in (found.reasons, found.position, found.equity, *found.trades):
            total.update(np.ascontiguousarray(column).tobytes())
    assert total.hexdigest() == FIRST_DESK


def test_trades_beyond_one_chunk_are_kept(monkeypatch):
    arrays, rules = random_market(5, n_times=400), with_exits(PLAIN, hold=MINUTE)
    whole = loop.run(*arrays, 3, rules, 10_000.0)
    monkeypatch.setattr("research.trading.journal.CHUNK", 7)
    pieces = loop.run(*arrays, 3, rules, 10_000.0)
    assert len(whole.trades.net) > 50
    for a, b in zip(whole.trades, pieces.trades):
        assert (a == b).all()
    assert (whole.equity == pieces.equity).all()


def test_the_order_of_fields_is_one():
    assert TRADE.names == Trades._fields


def test_bars_of_a_day_pay_funding_thrice():
    rules = threshold(enter=0.001, interval=timedelta(days=1))
    arrays = one_symbol([BAR0, (100, 100, 100, 100, 0.0), (100, 100, 100, 100, 0.0)])
    arrays[0] = np.arange(1, 4) * 24 * 60 * US
    found = loop.run(*arrays, 1, rules, 1_000.0, venue=funded(0.01, arrays[0][-1]))
    assert found.funding.tolist() == [0.0, 30.0, 30.0]
