import math
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.trading.rules import (
    REASONS,
    View,
    calm,
    decide,
    follow,
    probability,
    quantile,
    signal,
    threshold,
    with_costs,
    with_exits,
    with_limits,
    with_sizing,
)

from .strategies import any_rule

MINUTE = timedelta(minutes=1)
US = 60_000_000
FLAT = View(side=0, age=0, rest=0, forecast=0.0, bin=0, state=0)
LONG = FLAT._replace(side=1, age=5 * US)
SHORT = FLAT._replace(side=-1, age=5 * US)


def bins_traded(q, side, form, bins=10):
    rules = quantile(bins, q, side, form, interval=MINUTE)
    signals = [signal(0.0, b, rules) for b in range(1, bins + 1)]
    return [b for b, s in enumerate(signals, 1) if s > 0], [
        b for b, s in enumerate(signals, 1) if s < 0
    ]


@pytest.mark.parametrize(
    ("q", "side", "form", "long", "short"),
    [
        (None, "auto", "threshold", [10], [1]),
        (None, "longshort", "exact", [10], [1]),
        (None, "long", "threshold", [10], []),
        (None, "short", "threshold", [], [1]),
        (9, "long", "threshold", [9, 10], []),
        (9, "long", "exact", [9], []),
        (2, "short", "threshold", [], [1, 2]),
        (2, "short", "exact", [], [2]),
        (9, "longshort", "threshold", [9, 10], [1, 2]),
        (9, "longshort", "exact", [9], [2]),
        (6, "auto", "exact", [6], []),
        (5, "auto", "exact", [], [5]),
        (6, "auto", "threshold", [6, 7, 8, 9, 10], []),
        (5, "auto", "threshold", [], [1, 2, 3, 4, 5]),
        (3, "longshort", "threshold", [3, 4, 5, 6, 7, 8, 9, 10], []),  # overlap: no short leg
        (3, "longshort", "exact", [3], [8]),
        (6, "longshort", "threshold", [6, 7, 8, 9, 10], [1, 2, 3, 4, 5]),
    ],
)
def test_quantile_words_become_bins(q, side, form, long, short):
    assert bins_traded(q, side, form) == (long, short)


def test_the_middle_bin_of_an_odd_number_is_long_alone():
    assert bins_traded(3, "longshort", "exact", bins=5) == ([3], [])
    assert bins_traded(3, "longshort", "threshold", bins=5) == ([3, 4, 5], [])


def test_an_unknown_bin_trades_nothing():
    for form in ("exact", "threshold"):
        assert signal(1.0, 0, quantile(10, None, "long", form, interval=MINUTE)) == 0
        assert signal(1.0, 0, quantile(10, None, "short", form, interval=MINUTE)) == 0


def reason(view, rules):
    code, target = decide(view, rules)
    return REASONS[code], target


ENTER = threshold(enter=0.001, leave=0.0005, interval=MINUTE)


@pytest.mark.parametrize(
    ("view", "rules", "found"),
    [
        (FLAT._replace(forecast=0.002), ENTER, ("entry", 1)),
        (FLAT._replace(forecast=-0.002), ENTER, ("entry", -1)),
        (FLAT._replace(forecast=0.001), ENTER, ("no_edge", 0)),
        (FLAT._replace(forecast=math.nan), ENTER, ("stale_data", 0)),
        (FLAT._replace(forecast=0.002, rest=1), ENTER, ("resting", 0)),
        (FLAT._replace(forecast=-0.002), ENTER._replace(short=False), ("no_edge", 0)),
        (FLAT._replace(forecast=0.002), ENTER._replace(long=False), ("no_edge", 0)),
        (FLAT._replace(forecast=0.002, state=3), ENTER, ("risk_halt", 0)),
        (LONG._replace(state=3), ENTER, ("risk_halt", 0)),
        (FLAT._replace(forecast=0.002, state=1), ENTER, ("risk_halt", 0)),
        (FLAT._replace(forecast=0.002, state=2), ENTER, ("risk_halt", 0)),
        (FLAT._replace(forecast=0.002, state=2, rest=1), ENTER, ("resting", 0)),
        (FLAT._replace(state=2), ENTER, ("no_edge", 0)),
        (LONG._replace(state=1), ENTER, ("hold", 1)),
        (LONG._replace(forecast=math.nan, state=1), ENTER, ("stale_data", 1)),
        (LONG._replace(forecast=-0.002, state=1), ENTER, ("reversal", 0)),
        (LONG._replace(state=2), ENTER, ("risk_halt", 0)),
        (LONG._replace(forecast=math.nan, state=2), ENTER, ("risk_halt", 0)),
        (LONG._replace(forecast=-0.002, state=2), ENTER, ("reversal", 0)),
        (LONG._replace(state=2), ENTER._replace(hold=5 * US), ("horizon", 0)),
        (LONG, ENTER, ("hold", 1)),
        (LONG._replace(forecast=-0.0005), ENTER, ("hold", 1)),
        (LONG._replace(forecast=-0.0006), ENTER, ("reversal", 0)),
        (LONG._replace(forecast=-0.002), ENTER, ("reversal", -1)),
        (LONG._replace(forecast=-0.002), ENTER._replace(cooldown=1), ("reversal", 0)),
        (LONG._replace(forecast=-0.002), ENTER._replace(short=False), ("reversal", 0)),
        (SHORT._replace(forecast=0.002), ENTER, ("reversal", 1)),
        (LONG._replace(forecast=math.nan), ENTER, ("stale_data", 1)),
        (LONG, ENTER._replace(hold=5 * US), ("horizon", 0)),
        (LONG, ENTER._replace(hold=5 * US + 1), ("hold", 1)),
        (LONG._replace(forecast=0.002), ENTER._replace(hold=5 * US), ("hold", 1)),
        (LONG._replace(forecast=math.nan), ENTER._replace(hold=5 * US), ("horizon", 0)),
        (LONG._replace(forecast=-0.002), ENTER._replace(hold=5 * US), ("reversal", -1)),
    ],
)
def test_threshold_decisions(view, rules, found):
    assert reason(view, rules) == found


TOP = quantile(10, interval=MINUTE)
HELD = with_exits(TOP, hold=timedelta(minutes=5))


@pytest.mark.parametrize(
    ("view", "rules", "found"),
    [
        (FLAT._replace(bin=10), TOP, ("entry", 1)),
        (FLAT._replace(bin=1), TOP, ("entry", -1)),
        (FLAT._replace(bin=5), TOP, ("no_edge", 0)),
        (FLAT, TOP, ("stale_data", 0)),
        (LONG._replace(bin=10), TOP, ("hold", 1)),
        (LONG._replace(bin=9), TOP, ("no_edge", 0)),
        (LONG, TOP, ("stale_data", 0)),
        (LONG._replace(bin=1), TOP, ("reversal", -1)),
        (LONG._replace(bin=9, age=4 * US), HELD, ("hold", 1)),
        (LONG._replace(age=4 * US), HELD, ("stale_data", 1)),
        (LONG._replace(bin=1, age=4 * US), HELD, ("reversal", -1)),
        (LONG._replace(bin=9), HELD, ("horizon", 0)),
        (LONG, HELD, ("horizon", 0)),
        (LONG._replace(bin=10), HELD, ("hold", 1)),
    ],
)
def test_quantile_decisions(view, rules, found):
    assert reason(view, rules) == found


LIKELY = with_exits(probability(enter=0.6, interval=MINUTE), hold=timedelta(minutes=5))
BESIDE = with_limits(LIKELY, overlap=3)


@pytest.mark.parametrize(
    ("view", "rules", "found"),
    [
        (FLAT._replace(forecast=0.6), LIKELY, ("entry", 1)),  # as likely as asked for is enough
        (FLAT._replace(forecast=-0.6), LIKELY, ("entry", -1)),
        (FLAT._replace(forecast=0.59), LIKELY, ("no_edge", 0)),
        (FLAT._replace(forecast=math.nan), LIKELY, ("stale_data", 0)),
        (FLAT._replace(forecast=-0.6), LIKELY._replace(short=False), ("no_edge", 0)),
        (LONG._replace(forecast=-0.9, age=5 * US - 1), LIKELY, ("hold", 1)),  # its time first
        (LONG._replace(forecast=-0.9), LIKELY, ("reversal", -1)),
        (LONG._replace(forecast=-0.9), LIKELY._replace(cooldown=1), ("reversal", 0)),
        (LONG._replace(forecast=0.9), LIKELY, ("hold", 1)),
        (LONG._replace(forecast=0.1), LIKELY, ("horizon", 0)),
        (LONG._replace(forecast=math.nan), LIKELY, ("horizon", 0)),
        (LONG._replace(forecast=math.nan, age=1), LIKELY, ("stale_data", 1)),
        (LONG._replace(forecast=0.9), BESIDE, ("horizon", 0)),  # side by side: no renewal
        (LONG._replace(forecast=-0.9, age=1), BESIDE, ("hold", 1)),
        (LONG._replace(bin=1), with_limits(HELD, overlap=2), ("horizon", 0)),
        (LONG._replace(bin=1, age=1), with_limits(HELD, overlap=2), ("hold", 1)),
    ],
)
def test_probability_decisions(view, rules, found):
    assert reason(view, rules) == found


SIGN = follow(interval=MINUTE)


@pytest.mark.parametrize(
    ("view", "rules", "found"),
    [
        (FLAT._replace(forecast=1e-9), SIGN, ("entry", 1)),
        (FLAT._replace(forecast=-1e-9), SIGN, ("entry", -1)),
        (FLAT._replace(forecast=-0.0), SIGN, ("no_edge", 0)),
        (FLAT._replace(forecast=-1.0), SIGN._replace(short=False), ("no_edge", 0)),
        (LONG._replace(forecast=1e-9), SIGN, ("hold", 1)),
        (LONG._replace(forecast=0.0), SIGN, ("no_edge", 0)),
        (LONG._replace(forecast=-1e-9), SIGN, ("reversal", -1)),
        (LONG._replace(forecast=-1e-9), SIGN._replace(cooldown=1), ("reversal", 0)),
        (LONG._replace(forecast=-1e-9), SIGN._replace(short=False), ("reversal", 0)),
        (LONG._replace(forecast=math.nan), SIGN, ("stale_data", 1)),
        (SHORT._replace(forecast=0.0), SIGN, ("no_edge", 0)),
    ],
)
def test_follow_decisions(view, rules, found):
    assert reason(view, rules) == found


def sized(kind="equal", rules=ENTER, **numbers):
    return with_sizing(rules, kind, **numbers)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: threshold(enter=-0.1, interval=MINUTE), "enter must be 0 or above, found -0.1"),
        (lambda: threshold(enter=math.nan, interval=MINUTE), "enter must be 0 or above"),
        (lambda: threshold(enter=0.1, leave=-0.2, interval=MINUTE), "leave must be at least"),
        (lambda: threshold(enter=0.1, side="lnog", interval=MINUTE), "Did you mean 'long'"),
        (lambda: threshold(enter=0.1, interval=timedelta(0)), "interval: must be above zero"),
        (lambda: quantile(10, 11, interval=MINUTE), "a bin from 1 to 10, found 11"),
        (lambda: quantile(10, 0, interval=MINUTE), "a bin from 1 to 10, found 0"),
        (lambda: quantile(1, interval=MINUTE), "from 1 to 1"),
        (lambda: quantile(10, 3, "both", interval=MINUTE), "side 'both': expected one of"),
        (lambda: quantile(10, 3, form="exakt", interval=MINUTE), "Did you mean 'exact'"),
        (lambda: with_exits(ENTER, stop=0.0), "stop: must be above 0, found 0.0"),
        (lambda: with_exits(ENTER, take=-0.1), "take: must be above 0"),
        (lambda: with_exits(ENTER, cooldown=-MINUTE), "cooldown: must be at least zero"),
        (lambda: with_exits(ENTER, hold=timedelta(0)), "hold: must be above zero"),
        (lambda: with_costs(ENTER, fee=math.inf), "fee: must be a fraction of price"),
        (lambda: with_costs(ENTER, fee=math.nan), "fee: must be a fraction of price"),
        (lambda: with_costs(ENTER, slippage=-0.1), "slippage: must be a fraction"),
        (lambda: with_costs(ENTER, latency=-MINUTE), "latency: must be at least zero"),
        (lambda: with_costs(ENTER, min_notional=-1.0), "min_notional: must be 0 or above"),
        (lambda: probability(enter=0.0, interval=MINUTE), "enter must be above 0 and at most 1"),
        (lambda: probability(enter=1.1, interval=MINUTE), "above 0 and at most 1, found 1.1"),
        (lambda: follow(side="both", interval=MINUTE), "side 'both': expected one of"),
        (lambda: with_limits(ENTER, overlap=2), "'quantile' or 'probability' with a hold"),
        (lambda: with_limits(SIGN, overlap=2), "with any other rule overlap must be 1"),
        (lambda: with_limits(TOP, overlap=2), "overlap 2: positions side by side need"),
        (lambda: with_limits(HELD, overlap=0), "overlap: must be 1 or more, found 0"),
        (lambda: with_limits(HELD, max_positions=0), "max_positions: must be 1 or more"),
        (lambda: sized("all"), "sizing 'all': expected one of equal, fraction, volatility, stop"),
        (lambda: sized("stop"), "there is no stop to size by. Set backtest.stop"),
        (lambda: sized(leverage=0.0), "leverage: must be above 0, found 0.0"),
        (lambda: sized(max_position=-1.0), "max_position: must be above 0"),
        (lambda: sized("volatility", risk=0.0), "risk: must be above 0"),
        (lambda: sized(bars=0), "the horizon must be one bar or more, found 0"),
        (lambda: sized(leverage=10.0, maintenance=0.1), "below 1 / leverage .0.1., found 0.1"),
    ],
)
def test_a_wrong_word_or_number_is_one_clear_line(make, message):
    with pytest.raises(UserError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    side=st.sampled_from([-1, 0, 1]),
    shares=st.lists(st.floats(0, 1, exclude_min=True, exclude_max=True), min_size=5, max_size=5),
)
def test_between_the_calm_forecasts_nothing_is_decided(seed, side, shares):
    rules = any_rule(seed)
    if side and not (rules.long if side > 0 else rules.short):
        return
    low, high = calm(side, rules)
    bottom, top = max(low, -1.0), min(high, 1.0)
    told = (("no_edge", "hold")[side != 0], side)
    for share in shares:
        forecast = bottom + share * (top - bottom)
        if low < forecast < high:
            assert reason(View(side, rules.hold - 1, 0, forecast, 3, 0), rules) == told


def test_forecasts_are_calm_up_to_the_threshold():
    assert calm(0, ENTER) == (-0.001, 0.001)
    assert calm(0, ENTER._replace(short=False)) == (-math.inf, 0.001)
    assert calm(1, ENTER) == (-0.0005, math.inf)
    assert calm(-1, ENTER) == (-math.inf, 0.0005)
    assert calm(-1, follow(interval=MINUTE)) == (-math.inf, 0.0)
    low, high = calm(0, quantile(10, interval=MINUTE))
    assert low > high
