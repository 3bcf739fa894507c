"""One account by hand, line by line: two positions side by side, impact, steps, fees, funding."""

import math

import numpy as np
import pytest

from research.trading import loop
from research.trading.account import new_venue
from research.trading.rules import (
    REASONS,
    probability,
    with_costs,
    with_exits,
    with_limits,
    with_sizing,
)

from .markets import MINUTE, US, one_symbol

FEE = 0.001


def test_a_long_and_a_short_side_by_side_by_hand():
    rules = with_exits(probability(enter=0.5, interval=MINUTE), hold=2 * MINUTE)
    rules = with_sizing(with_limits(rules, overlap=2), "fraction", fraction=0.25)
    rules = with_costs(rules, fee=FEE)
    rows = [
        (100, 100, 100, 100, 0.6),
        (100, 102, 100, 102, -0.6),
        (102, 104, 102, 104, 0.0),
        (104, 104, 103, 103, 0.0),
        (103, 103, 103, 103, 0.0),
    ]
    venue = new_venue(
        1,
        lot=np.array([0.5]),
        tick=np.array([0.05]),
        funding=([0, 2], [2 * US, 4 * US - 1], [0.01, 0.02]),
    )
    found = loop.run(*one_symbol(rows), 1, rules, 10_000.0, impact=np.full(5, 1e-4), venue=venue)

    # first open: 2,500 ordered. All of it would cost 100 (1 + 1e-4 sqrt 2500) = 100.50 each: 24.88
    # of them, cut to 24.5. Their 2,450 move the price to 100.495, a tick up 100.50.
    cash = 10_000 - 24.5 * 100.5 * (1 + FEE)
    # second close at 102, funding due there: the long pays 1 % of 24.5 x 102
    first_funding = 0.01 * 24.5 * 102
    cash -= first_funding
    worth = cash + 24.5 * 102
    assert found.equity[1] == pytest.approx(worth, abs=1e-9)
    # second open, sold short: a quarter of that, at 102 (1 - 1e-4 sqrt ...) down to a tick
    ordered = worth / 4
    floor = math.floor(102 * (1 - 1e-4 * math.sqrt(ordered)) / 0.05) * 0.05
    assert floor == pytest.approx(101.45)
    assert math.floor(ordered / floor / 0.5) * 0.5 == 24.5
    cash += 24.5 * 101.45 * (1 - FEE)
    assert found.position[2] == 0.0  # 24.5 long and 24.5 short
    assert found.equity[2] == pytest.approx(cash, abs=1e-9)
    # third open at 104: the long's time is over. 2,548 move it to 103.475, a tick down 103.45
    assert 104 * (1 - 1e-4 * math.sqrt(24.5 * 104)) == pytest.approx(103.475, abs=1e-3)
    cash += 24.5 * 103.45 * (1 - FEE)
    # inside that bar, marked at its open, the short receives 2 %
    second_funding = -0.02 * 24.5 * 104
    cash -= second_funding
    assert found.equity[3] == pytest.approx(cash - 24.5 * 103, abs=1e-9)
    # fourth open at 103: the short's time is over, 103 (1 + 1e-4 sqrt 2523.5) up to 103.55
    cash -= 24.5 * 103.55 * (1 + FEE)
    assert found.equity[-1] == pytest.approx(cash, abs=1e-9)

    t = found.trades
    assert [REASONS[c] for c in found.reasons] == [
        "entry",
        "entry",
        "horizon",
        "horizon",
        "no_edge",
    ]
    assert t.entry_price == pytest.approx([100.5, 101.45])
    assert t.exit_price == pytest.approx([103.45, 103.55])
    assert t.gross == pytest.approx([24.5 * 4, 24.5 * -1])
    assert t.slippage == pytest.approx([24.5 * (0.5 + 0.55), 24.5 * (0.55 + 0.55)])
    assert t.fees == pytest.approx([FEE * 24.5 * (100.5 + 103.45), FEE * 24.5 * (101.45 + 103.55)])
    assert t.funding == pytest.approx([first_funding, second_funding])
    assert t.net.sum() == pytest.approx(cash - 10_000, abs=1e-9)


def test_winning_longs_and_winning_shorts_both_raise_the_account():
    """The source's account fell below its start after a winning long, and after a winning short."""
    rules = with_exits(probability(enter=0.5, interval=MINUTE), hold=MINUTE)
    for sign in (1, -1):
        price = 60_000 * (1 + 0.01 * sign)
        rows = [(60_000,) * 4 + (0.9 * sign,), (60_000, 61_000, 59_000, price, 0.0)]
        found = loop.run(*one_symbol([*rows, (price,) * 4 + (0.0,)]), 1, rules, 10_000.0)
        assert found.equity.tolist() == pytest.approx([10_000.0, 10_100.0, 10_100.0])
        assert found.trades.net.tolist() == pytest.approx([100.0])


def test_a_signal_on_the_second_bar_leaves_the_account_a_number():
    """The source's size there was NaN, and so was its capital from then on."""
    rules = with_sizing(
        with_exits(probability(enter=0.5, interval=MINUTE), hold=MINUTE), "volatility"
    )
    rows = [(100, 100, 100, 100, 0.0)] + [(100, 100, 100, 100, 0.9)] * 4
    sigma = np.array([np.nan, np.nan, 0.01, 0.01, 0.01])
    found = loop.run(*one_symbol(rows), 1, rules, 10_000.0, sigma=sigma)
    assert np.isfinite(found.equity).all()
    assert [REASONS[c] for c in found.reasons][:3] == ["no_edge", "stale_data", "entry"]


def test_a_rebate_is_income_by_hand():
    """Bought at 100, sold at 110 and 120: each fill pays its maker a tenth of a percent."""
    rebate = -0.001
    rules = with_exits(probability(enter=0.5, interval=MINUTE), hold=MINUTE)
    rules = with_costs(with_sizing(rules, "fraction", fraction=0.5), fee=rebate)
    rows = [
        (100, 100, 100, 100, 0.6),
        (100, 105, 100, 105, 0.0),
        (110, 120, 110, 120, 0.0),
    ]
    found = loop.run(*one_symbol(rows), 1, rules, 1000.0)
    # 500 of 1,000 ordered: five at 100, for which 0.50 comes back
    cash = 1000 - 5 * 100 + 0.5
    assert found.equity[1] == pytest.approx(cash + 5 * 105, abs=1e-12)
    # sold at the next open of 110: 550, and 0.55 back
    cash += 5 * 110 + 0.55
    assert found.equity[2] == pytest.approx(cash, abs=1e-12) == 1051.05
    assert found.trades.fees == pytest.approx([-1.05]) and found.trades.gross == pytest.approx([50])
    assert found.trades.net == pytest.approx([51.05])
    assert found.fees.tolist() == pytest.approx([0.0, -0.5, -0.55])
