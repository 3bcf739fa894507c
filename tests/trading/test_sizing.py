import math

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
from research.trading.sizing import cut, worth

from .markets import MINUTE, US, one_symbol, random_charges, random_market
from .strategies import any_rule

SIGN = follow(interval=MINUTE)
PLAIN = threshold(enter=0.0, interval=MINUTE)
LIKELY = with_exits(probability(enter=0.4, interval=MINUTE), hold=10 * MINUTE)


def words(found):
    return [REASONS[code] for code in found.reasons]


@pytest.mark.parametrize(
    ("rules", "side", "forecast", "size"),
    [
        (with_sizing(PLAIN, "equal"), 1, 0.01, 2_500.0),  # four positions there may be
        (with_sizing(PLAIN, "fraction", fraction=0.2), -1, -0.01, 2_000.0),
        # sigma of 16 bars is 0.004 * 4 = 1.6 %: 0.8 % at risk buys half of equity
        (with_sizing(PLAIN, "volatility", risk=0.008, bars=16), 1, 0.01, 5_000.0),
        # stopped at 4 %: 1 % at risk buys a quarter
        (with_sizing(with_exits(PLAIN, stop=0.04), "stop", risk=0.01), 1, 0.01, 2_500.0),
        # a return of 0.0512 % over a sigma of 1.6 %: the whole Kelly bet is 2 x equity
        (with_sizing(PLAIN, "kelly", kelly=0.25, bars=16), 1, 0.000512, 5_000.0),
        (with_sizing(PLAIN, "kelly", kelly=0.25, bars=16), -1, -0.000512, 5_000.0),
        (with_sizing(PLAIN, "kelly", kelly=0.25, bars=16), -1, 0.000512, 0.0),  # against it
        # 51 to 49 for 1.6 %: the whole Kelly bet is 0.02 / 0.016 = 1.25 x equity
        (with_sizing(LIKELY, "kelly", kelly=0.5, bars=16), 1, 0.51, 6_250.0),
        (with_sizing(LIKELY, "kelly", kelly=0.5, bars=16), -1, -0.51, 6_250.0),
        (with_sizing(LIKELY, "kelly", kelly=0.5, bars=16), 1, 0.45, 0.0),  # likelier to lose
        (with_sizing(PLAIN, "fraction", fraction=0.5, max_position=0.1), 1, 0.01, 1_000.0),
        (with_sizing(PLAIN, "fraction", fraction=7.0, leverage=3.0), 1, 0.01, 30_000.0),
    ],
)
def test_sizes_by_hand(rules, side, forecast, size):
    found = worth(side, forecast, 0.004, 10_000.0, 4, rules)
    assert found == pytest.approx(size, rel=1e-12)
    assert worth(side, forecast, 0.004, 0.0, 4, rules) == 0.0


def test_kelly_of_a_return_is_the_best_growth():
    """Of the growth of equity over normal returns, by brute force."""
    mean, sigma = 0.0002, 0.01
    z = np.linspace(-6, 6, 4001)
    weight = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    shares = np.linspace(0.5, 3.5, 601)
    growth = [(weight * np.log1p(f * (mean + sigma * z))).sum() for f in shares]
    best = shares[int(np.argmax(growth))]
    rules = with_sizing(SIGN, "kelly", kelly=1.0, leverage=125.0)
    assert worth(1, mean, sigma, 1.0, 1, rules) == pytest.approx(best, rel=0.01)


def test_kelly_of_a_probability_is_the_best_growth():
    """Of a bet that wins or loses sigma of the horizon, by brute force."""
    p, sigma = 0.53, 0.05
    shares = np.linspace(0.1, 3.0, 2901)
    growth = p * np.log1p(shares * sigma) + (1 - p) * np.log1p(-shares * sigma)
    rules = with_sizing(LIKELY, "kelly", kelly=1.0, leverage=125.0)
    found = worth(1, p, sigma, 1.0, 1, rules)
    assert found == pytest.approx(shares[int(np.argmax(growth))], abs=2e-3)


def test_a_stop_loses_what_was_put_at_risk():
    rules = with_sizing(with_exits(PLAIN, stop=0.02), "stop", risk=0.005)
    rows = [(100, 100, 100, 100, 0.01), (100, 100, 90, 95, 0.01), (95, 95, 95, 95, 0)]
    found = loop.run(*one_symbol(rows), 1, rules, 10_000.0)
    assert words(found)[1] == "stop"
    assert found.trades.net.tolist() == pytest.approx([-50.0])


def test_volatility_sizes_move_equity_alike():
    """Twice the sigma, half the position."""
    rules = with_sizing(PLAIN, "volatility", risk=0.005, bars=4)
    sizes = []
    for sigma in (0.01, 0.02):
        rows = [(100, 100, 100, 100, 0.01), (100, 100, 100, 100, 0.01)]
        found = loop.run(*one_symbol(rows), 1, rules, 10_000.0, sigma=np.full(2, sigma))
        sizes.append(found.trades.quantity.item())
    assert sizes == pytest.approx([25.0, 12.5])


@pytest.mark.parametrize("kind", ["volatility", "kelly"])
@pytest.mark.parametrize("sigma", [math.nan, 0.0])
def test_without_a_sigma_there_is_no_entry(kind, sigma):
    rows = [(100, 100, 100, 100, 0.01)] * 3
    rules = with_sizing(PLAIN, kind)
    found = loop.run(*one_symbol(rows), 1, rules, 1_000.0, sigma=np.full(3, sigma))
    assert words(found) == ["stale_data"] * 3
    assert (loop.run(*one_symbol(rows), 1, rules, 1_000.0).reasons == 8).all()


def test_a_position_whose_turn_has_no_size_is_closed():
    rows = [(100, 100, 100, 100, f) for f in (0.01, -0.01, -0.01, 0.0)]
    sigma = np.array([0.01, math.nan, 0.01, 0.01])
    rules = with_sizing(PLAIN, "volatility")
    found = loop.run(*one_symbol(rows), 1, rules, 1_000.0, sigma=sigma)
    assert words(found) == ["entry", "reversal", "entry", "end"]


def test_a_bet_that_kelly_refuses_has_no_edge():
    rows = [(100, 100, 100, 100, 0.45)] * 3
    rules = with_sizing(LIKELY, "kelly")
    found = loop.run(*one_symbol(rows), 1, rules, 1_000.0, sigma=np.full(3, 0.01))
    assert words(found) == ["no_edge"] * 3


@pytest.mark.parametrize("price", [60_000.0, 150_000.0])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_a_share_of_equity_is_never_a_quantity(price, share):
    """With 10,000 and shares of 1.0 and 0.1 the source bought 1 and 0.1 BTC, or nothing at all."""
    rules = with_sizing(PLAIN, "volatility", risk=0.005, bars=10, max_position=share)
    rows = [(price, price, price, price, 0.01)] * 3
    found = loop.run(*one_symbol(rows), 1, rules, 10_000.0, sigma=np.full(3, 0.0003))
    assert found.trades.quantity.item() * price == pytest.approx(share * 10_000)


def test_the_unit_of_a_price_does_not_matter():
    """Prices 1,024 times as high, quantities as much lower: the same money, to the bit."""
    for seed in range(20):
        arrays, rules = random_market(seed), any_rule(seed + 1)
        extra = random_charges(seed, arrays)
        dear = [column * 1024 if 2 <= i <= 5 else column for i, column in enumerate(arrays)]
        a, b = (loop.run(*each, 3, rules, 10_000.0, **extra) for each in (arrays, dear))
        assert (a.reasons == b.reasons).all()
        assert (a.equity == b.equity).all()
        assert (a.position == b.position * 1024).all()


def test_positions_side_by_side_share_equity():
    rules = with_sizing(with_limits(LIKELY, overlap=4), "equal")
    found = loop.run(*one_symbol([(100, 100, 100, 100, 0.5)] * 6), 1, rules, 1_000.0)
    assert found.position.tolist() == [0.0, 2.5, 5.0, 7.5, 10.0, 0.0]


def test_leverage_is_a_limit_to_all_positions_together():
    """Three wish 0.8 of equity each, 1.5 is allowed: the second is cut, the third gets none."""
    n, t = 3, 4
    time, symbol = np.repeat(np.arange(1, t + 1) * US, n), np.tile(np.arange(n), t)
    p, one, zero = np.full(n * t, 100.0), np.ones(n * t), np.zeros(n * t)
    rules = with_sizing(PLAIN, "fraction", fraction=0.8, leverage=1.5)
    found = loop.run(time, symbol, p, p, p, p, one, one, zero, n, rules, 1_000.0)
    assert found.position[3:6].tolist() == pytest.approx([8.0, 7.0, 0.0])
    assert words(found)[:6] == ["entry"] * 3 + ["hold", "hold", "full"]


def test_too_small_an_order_is_not_sent_but_what_is_held_can_be_closed():
    rules = with_costs(with_sizing(PLAIN, "fraction", fraction=0.1), min_notional=100.0)
    rows = [(100, 100, 100, 100, 0.01), (100, 100, 100, 100, 0.0), (50, 50, 50, 50, -0.01)]
    found = loop.run(*one_symbol([*rows, (50, 50, 50, 50, 0)]), 1, rules, 1_000.0)
    assert words(found) == ["entry", "hold", "reversal", "no_edge"]  # 50 are left by bar 4
    assert found.trades.exit_price.tolist() == [50.0]  # and closed; the short was too small
    found = loop.run(*one_symbol(rows), 1, rules, 999.0)
    assert words(found) == ["too_small", "no_edge", "too_small"]


def test_quantities_are_cut_to_lots():
    rows, venue = [(30, 30, 30, 30, 0.01)] * 2, new_venue(1, lot=np.array([0.5]))
    found = loop.run(*one_symbol(rows), 1, PLAIN, 100.0, venue=venue)
    assert found.trades.quantity.tolist() == [3.0]  # 100 / 30 = 3.33
    found = loop.run(*one_symbol(rows), 1, PLAIN, 14.0, venue=venue)
    assert words(found) == ["too_small", "too_small"]
    assert cut(0.7, 0.1) == pytest.approx(0.7)  # 0.7 / 0.1 is 6.999999999999999


def test_bins_are_sized_by_the_forecast_too():
    arrays = one_symbol([(100, 100, 100, 100, f) for f in (0.0001, 0.0001)])
    arrays[8] = np.array([10, 10])
    rules = with_sizing(quantile(10, interval=MINUTE), "kelly", kelly=0.5)
    found = loop.run(*arrays, 1, rules, 1_000.0, sigma=np.full(2, 0.01))
    assert found.trades.quantity.item() * 100 == pytest.approx(500.0)
