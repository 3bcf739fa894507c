"""Positions side by side, orders on their way, limits: facts that a reader checks in the head."""

from datetime import timedelta

import numpy as np
import pytest

from research.trading import loop
from research.trading.account import new_venue
from research.trading.rules import (
    REASONS,
    follow,
    probability,
    quantile,
    threshold,
    with_costs,
    with_exits,
    with_limits,
    with_sizing,
)

from .markets import MINUTE, US, funded, one_symbol

PLAIN = threshold(enter=0.001, interval=MINUTE)
LIKELY = with_exits(probability(enter=0.5, interval=MINUTE), hold=3 * MINUTE)


def flat(forecasts, price=100.0):
    return one_symbol([(price, price, price, price, f) for f in forecasts])


def words(found):
    return [REASONS[code] for code in found.reasons]


def run(arrays, rules, capital=1_000.0, **others):
    return loop.run(*arrays, 1, rules, capital, **others)


def side_by_side(overlap, **limits):
    """A tenth of equity each."""
    rules = with_limits(LIKELY, overlap=overlap, **limits)
    return with_sizing(rules, "fraction", fraction=0.1)


# -- rules over time -------------------------------------------------------------------------------


def test_a_probability_is_held_for_its_time():
    found = run(flat([0.6, -0.9, -0.9, 0.0, 0.0, 0.0]), LIKELY)
    assert words(found) == ["entry", "hold", "hold", "horizon", "no_edge", "no_edge"]
    turned = run(flat([0.6, 0.0, 0.0, -0.9, 0.0, 0.0, 0.0, 0.0]), LIKELY)
    assert words(turned)[3:7] == ["reversal", "hold", "hold", "horizon"]
    held = run(flat([0.6, 0.0, 0.0, 0.7, 0.0, 0.0, 0.0, 0.0]), LIKELY)
    assert words(held) == ["entry", *["hold"] * 5, "horizon", "no_edge"]
    assert len(held.trades.net) == 1


def test_follow_holds_the_side_of_the_sign():
    arrays = flat([0.1, 0.2, -0.1, -0.1, 0.0, np.nan, 0.3, np.nan, 0.1])
    found = run(arrays, follow(interval=MINUTE))
    assert np.sign(found.position).tolist() == [0, 1, 1, -1, -1, 0, 0, 1, 0]
    assert words(found) == [
        "entry", "hold", "reversal", "hold", "no_edge", "stale_data", "entry", "stale_data", "end",
    ]  # fmt: skip


# -- side by side ----------------------------------------------------------------------------------


def test_a_new_position_every_bar_each_left_for_itself():
    """As the source of the rule: one more at each close, out at the first close after its time."""
    found = run(flat([0.6] * 8), side_by_side(3))
    assert words(found) == ["entry"] * 7 + ["end"]
    assert found.position.tolist() == pytest.approx([0, 1, 2, 3, 3, 3, 3, 0])
    t = found.trades
    assert (t.entry_time[:4] // US).tolist() == [1, 2, 3, 4]
    assert ((t.exit_time - t.entry_time)[:4] == 3 * US).all()
    assert {REASONS[c] for c in t.entry_reason} == {"entry"}
    assert [REASONS[c] for c in t.exit_reason] == ["horizon"] * 4 + ["end"] * 3


def test_both_sides_may_be_held_at_once():
    found = run(flat([0.6, -0.6, 0.0, 0.0, 0.0, 0.0]), side_by_side(2))
    assert found.position.tolist() == pytest.approx([0, 1, 0, 0, -1, 0])
    assert words(found) == ["entry", "entry", "hold", "horizon", "horizon", "no_edge"]
    assert found.trades.side.tolist() == [1, -1]
    assert found.exposure.tolist() == pytest.approx([0, 100, 0, 0, 100, 0])


def test_a_symbol_without_an_empty_place_holds():
    found = run(flat([0.6, 0.6, 0.6, 0.0, 0.0, 0.0]), side_by_side(2))
    assert words(found) == ["entry", "entry", "hold", "horizon", "horizon", "no_edge"]


def test_a_stop_hits_one_position_and_not_the_other():
    rows = [(100, 100, 100, 100, 0.6), (100, 100, 96, 96, 0.6), (96, 96, 94, 94, 0.0)]
    rules = with_exits(side_by_side(2), stop=0.05, hold=9 * MINUTE)
    found = run(one_symbol([*rows, (94, 94, 94, 94, 0.0)]), rules)
    assert words(found) == ["entry", "entry", "stop", "end"]
    assert found.trades.entry_price.tolist() == [100.0, 96.0]
    assert found.trades.exit_price.tolist() == pytest.approx([95.0, 94.0])
    assert found.position[2] == pytest.approx(1_000 * 0.996 * 0.1 / 96, rel=1e-3)


def test_a_cooldown_keeps_a_place_from_being_taken_at_once():
    rules = with_exits(side_by_side(2), hold=3 * MINUTE, cooldown=2 * MINUTE)
    found = run(flat([0.6, 0.0, 0.0, 0.6, 0.6, 0.6, 0.6]), rules)
    assert words(found)[:7] == ["entry", "hold", "hold", "horizon", "resting", "entry", "end"]


def test_bins_too_may_be_held_side_by_side():
    arrays = flat([0.0] * 6)
    arrays[8] = np.array([10, 1, 10, 5, 5, 5])
    rules = with_exits(quantile(10, interval=MINUTE), hold=2 * MINUTE)
    found = run(arrays, with_sizing(with_limits(rules, overlap=2), "fraction", fraction=0.1))
    assert words(found) == ["entry", "entry", "entry", "horizon", "horizon", "no_edge"]
    assert np.sign(found.trades.side).tolist() == [1, -1, 1]


def test_no_more_positions_than_allowed_waiting_entries_counted():
    n, forecast = 3, np.tile([0.6, 0.6, 0.6], 4)
    forecast[3:] = 0.0
    forecast[9:] = 0.6
    time, symbol = np.repeat(np.arange(1, 5) * US, n), np.tile(np.arange(n), 4)
    p, one, zero = np.full(12, 100.0), np.ones(12), np.zeros(12)
    rules = with_limits(with_exits(LIKELY, hold=2 * MINUTE), max_positions=2)
    found = loop.run(time, symbol, p, p, p, p, one, forecast, zero, n, rules, 900.0)
    assert words(found)[:3] == ["entry", "entry", "full"]
    assert words(found)[6:9] == ["horizon", "horizon", "no_edge"]
    assert words(found)[9:] == ["entry", "entry", "full"]
    assert (np.count_nonzero(found.position.reshape(4, 3), axis=1) <= 2).all()


def test_a_limit_holds_for_positions_of_one_symbol_too():
    found = run(flat([0.6] * 5), side_by_side(4, max_positions=2))
    assert words(found) == ["entry", "entry", "full", "entry", "end"]  # one leaves, one comes
    assert found.position.tolist() == pytest.approx([0, 1, 2, 2, 0])


# -- on the way ------------------------------------------------------------------------------------


def late(rules, **span):
    return with_costs(rules, latency=timedelta(**span))


RISING = [(100 + 10 * i, 110 + 10 * i, 100 + 10 * i, 110 + 10 * i, 0.0) for i in range(6)]


def test_a_whole_bar_late_fills_one_open_later():
    rows = [(*RISING[0][:4], 0.01), *RISING[1:]]
    found = run(one_symbol(rows), late(PLAIN, minutes=1))
    assert words(found)[:3] == ["entry", "waiting", "hold"]
    assert found.trades.entry_price.tolist() == [120.0]  # the open of the third bar
    assert found.trades.entry_time.tolist() == [2 * US]


def test_a_share_of_a_bar_late_moves_the_price_by_that_share():
    rows = [(*RISING[0][:4], 0.01), *RISING[1:]]
    found = run(one_symbol(rows), late(PLAIN, seconds=15))
    assert words(found)[:2] == ["entry", "hold"]
    assert found.trades.entry_price.tolist() == [112.5]  # a quarter of the way from 110 to 120
    assert found.trades.entry_time.tolist() == [US + US // 4]
    found = run(one_symbol(rows), late(PLAIN, seconds=90))
    assert found.trades.entry_price.tolist() == [125.0]
    assert words(found)[:3] == ["entry", "waiting", "hold"]


def test_no_second_order_while_one_is_on_its_way():
    """The way out waits as the way in did; what the closes between say is not heard."""
    found = run(flat([0.01, -0.01, 0.0, -0.01, 0.01, 0.0, 0.0]), late(PLAIN, minutes=1))
    assert words(found) == ["entry", "waiting", "hold", "reversal", "waiting", "hold", "end"]
    assert np.sign(found.position).tolist() == [0, 0, 1, 1, 1, -1, 0]


def test_after_a_gap_a_late_order_fills_at_the_open():
    arrays = one_symbol([(*RISING[0][:4], 0.01), *RISING[1:]])
    arrays[0][1:] += 10 * US
    found = run(arrays, late(PLAIN, seconds=90))
    assert found.trades.entry_price.tolist() == [110.0]
    assert found.trades.entry_time.tolist() == [11 * US]


def test_a_stop_on_the_way_out_ends_the_order():
    rows = [(100, 100, 100, 100, f) for f in (0.01, 0.0, 0.0, -0.0005)]
    rows += [(100, 100, 80, 80, 0.01), (80, 80, 80, 80, 0.01), (80, 80, 80, 80, 0.0)]
    found = run(one_symbol(rows), late(with_exits(PLAIN, stop=0.1), minutes=1))
    assert words(found) == ["entry", "waiting", "hold", "reversal", "stop", "entry", "waiting"]
    assert len(found.trades.net) == 1


def test_of_the_bar_of_a_late_fill_the_stop_counts_in_full_and_the_take_at_the_close():
    rules = late(with_exits(PLAIN, stop=0.2, take=0.1), seconds=30)
    bar0 = (100, 100, 100, 100, 0.01)
    for bar, why, price in (
        ((100, 130, 100, 100, 0.0), "hold", None),  # the high may have been before the fill
        ((100, 130, 100, 130, 0.0), "take", 126.5),  # entered at 115
        ((100, 110, 70, 110, 0.0), "stop", 84.0),  # entered at 105; the low may have been after
    ):
        found = run(one_symbol([bar0, bar, (100, 100, 100, 100, 0.0)]), rules)
        assert words(found)[1] == why
        if price:
            assert found.trades.exit_price[0] == pytest.approx(price)


def test_funding_between_the_open_and_a_late_fill_is_not_paid():
    arrays = flat([0.01, 0.0, 0.0, 0.0])
    moment = np.array([US + US // 4, US + US // 2, US + 3 * US // 4])
    venue = new_venue(1, funding=([0, 3], moment, [0.5, 0.01, 0.02]))
    found = run(arrays, late(PLAIN, seconds=30), venue=venue)  # filled at the second moment
    assert found.funding.tolist() == [0.0, 20.0, 0.0, 0.0]


def test_an_order_of_an_account_ruined_on_its_way_opens_nothing():
    """Sold at 100 at the fifth open, 250 at its close, 100 a bar later: then an order comes."""
    n, t = 2, 9
    time, symbol = np.repeat(np.arange(1, t + 1) * US, n), np.tile(np.arange(n), t)
    o, c, forecast = np.full((t, n), 100.0), np.full((t, n), 100.0), np.zeros((t, n))
    c[4, 0] = 250.0
    forecast[0, 0], forecast[2, 1] = -0.01, 0.01
    rules = with_sizing(late(PLAIN, minutes=3), "fraction", fraction=0.9)
    o, c, f, one, zero = o.ravel(), c.ravel(), forecast.ravel(), np.ones(n * t), np.zeros(n * t)
    found = loop.run(time, symbol, o, np.maximum(o, c), o, c, one, f, zero, n, rules, 1_000.0)
    assert found.equity[3:7].tolist() == [1_000.0, -350.0, 1_000.0, 1_000.0]
    assert words(found)[1::2][2:7] == ["entry", "waiting", "waiting", "waiting", "risk_halt"]
    assert (found.position[1::2] == 0).all()


def test_bars_of_uneven_length_say_when_they_opened():
    """A volume bar of ten seconds and one of five minutes: funding and times are theirs."""
    arrays = flat([0.01, 0.0, 0.0])
    arrays[0] = np.array([60, 70, 370]) * 1_000_000
    opened = np.array([0, 60, 70]) * 1_000_000
    found = run(arrays, late(PLAIN, seconds=20), opened=opened)
    assert found.trades.entry_time.tolist() == [80 * 1_000_000]
    assert words(found) == ["entry", "waiting", "end"]
    found = run(arrays, PLAIN, opened=opened, venue=funded(0.01, arrays[0][-1]))
    assert found.trades.entry_time.tolist() == [60 * 1_000_000]
