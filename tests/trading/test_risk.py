import numpy as np
import pytest

from research.trading import loop
from research.trading.rules import REASONS, threshold, with_exits, with_sizing

from .markets import MINUTE, one_symbol

PLAIN = threshold(enter=0.001, interval=MINUTE)


def lever(leverage, rules=PLAIN, maintenance=0.004, **size):
    return with_sizing(rules, leverage=leverage, maintenance=maintenance, **size)


def play(rules, forecast, bar, capital=1_000.0):
    rows = [(100, 100, 100, 100, forecast), bar, (bar[3],) * 4 + (0.0,)]
    return loop.run(*one_symbol(rows), 1, rules, capital)


def why(found, k=1):
    return REASONS[found.reasons[k]]


def test_the_price_by_hand():
    """10 x long at 100, maintenance 0.4 %: margin 10 and loss 9.6386 leave 0.3614 = 0.4 % x 90.36.

    (100 - 10) / 0.996 = 90.3614; short: (100 + 10) / 1.004 = 109.5618.
    """
    rules = lever(10.0)
    assert 100 * rules.liquid_long == pytest.approx(90.361446, abs=1e-6)
    assert 100 * rules.liquid_short == pytest.approx(109.561753, abs=1e-6)
    found = play(rules, 0.01, (100, 100, 90.3, 95, 0))
    assert why(found) == "liquidation"
    assert found.trades.exit_price.item() == pytest.approx(90.361446, abs=1e-6)
    assert why(play(rules, 0.01, (100, 100, 90.4, 95, 0))) == "hold"
    assert why(play(rules, -0.01, (100, 109.5, 100, 95, 0))) == "hold"
    assert why(play(rules, -0.01, (100, 109.6, 100, 95, 0))) == "liquidation"


@pytest.mark.parametrize("leverage", [1.0, 2.0, 5.0, 50.0])
@pytest.mark.parametrize("maintenance", [0.0, 0.004, 0.01])
@pytest.mark.parametrize("side", [1, -1])
def test_at_that_price_the_margin_left_is_the_maintenance_margin(leverage, maintenance, side):
    rules, entry = lever(leverage, maintenance=maintenance), 37.0
    price = entry * (rules.liquid_long if side > 0 else rules.liquid_short)
    left = entry / leverage + side * (price - entry)
    assert left == pytest.approx(maintenance * price, abs=1e-12)


def test_who_is_never_liquidated():
    """A long at leverage 1, and anyone on a spot market."""
    crash = (100, 100, 0.01, 50, 0)
    assert why(play(lever(1.0), 0.01, crash)) == "hold"
    assert why(play(lever(0.5), 0.01, crash)) == "hold"
    assert why(play(with_sizing(PLAIN, leverage=10.0), 0.01, crash)) == "hold"
    assert why(play(PLAIN, -0.01, (100, 150, 100, 150, 0))) == "hold"
    doubled = play(lever(1.0), -0.01, (100, 250, 100, 150, 0))  # a short at leverage 1 can be
    assert doubled.trades.exit_price.item() == pytest.approx(200 / 1.004)


def test_liquidation_comes_before_stop_and_take_and_after_a_gap_at_the_open():
    rules = lever(10.0, with_exits(PLAIN, stop=0.05, take=0.05))
    assert why(play(rules, 0.01, (100, 120, 94, 95, 0))) == "stop"
    assert why(play(rules, 0.01, (100, 120, 90, 95, 0))) == "liquidation"
    gap = [(100, 100, 100, 100, f) for f in (0.01, 0.0)] + [(80, 85, 75, 80, 0.0)] * 2
    found = loop.run(*one_symbol(gap), 1, rules, 1_000.0)
    assert why(found, 2) == "liquidation"
    assert found.trades.exit_price.item() == 80.0


def test_a_levered_loss_is_taken_from_the_account():
    """Three times equity, 90.36 against 100: a loss of 28.9 % of equity."""
    rules = with_sizing(PLAIN, "fraction", fraction=3.0, leverage=10.0, maintenance=0.004)
    found = play(rules, 0.01, (100, 100, 85, 88, 0))
    assert found.trades.quantity.item() == pytest.approx(30.0)
    assert found.equity[-1] == pytest.approx(1_000 - 30 * (100 - 90.361446), abs=1e-4)


def test_a_bar_without_volume_liquidates_nothing():
    arrays = one_symbol([(100, 100, 100, 100, 0.01)] + [(100, 100, 100, 100, 0.0)] * 3)
    arrays[4][2] = 50.0
    arrays[6][2] = 0.0
    found = loop.run(*arrays, 1, lever(10.0), 1_000.0)
    assert not np.isin(found.reasons, [REASONS.index("liquidation")]).any()
