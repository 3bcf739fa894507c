"""Random rules for the desk's laws: the plain ones it began with, and any that can be made."""

import numpy as np

from research.trading.rules import (
    follow,
    probability,
    quantile,
    threshold,
    with_costs,
    with_exits,
    with_limits,
    with_risk,
    with_sizing,
)

from .markets import MINUTE, US

SIDES = ("auto", "long", "short", "longshort")


def plain(seed):
    """A rule of thresholds or bins with any of the exits, one position of a symbol, equal sizes."""
    rng = np.random.default_rng(seed)
    side = SIDES[rng.integers(4)]
    if rng.random() < 0.5:
        enter = float(rng.choice([0.0, 0.004, 0.01]))
        leave = float(rng.choice([-enter, 0.0, 0.005]))
        made = threshold(enter=enter, leave=leave, side=side, interval=MINUTE)
    else:
        q = None if rng.random() < 0.4 else int(rng.integers(1, 11))
        made = quantile(10, q, side, ("threshold", "exact")[rng.integers(2)], interval=MINUTE)
    made = with_exits(
        made,
        hold=None if rng.random() < 0.4 else int(rng.integers(1, 8)) * MINUTE,
        stop=None if rng.random() < 0.4 else float(rng.choice([0.004, 0.02])),
        take=None if rng.random() < 0.4 else float(rng.choice([0.004, 0.03])),
        cooldown=int(rng.choice([0, 0, 1, 4])) * MINUTE,
    )
    if rng.random() < 0.2:
        return made
    return with_costs(made, fee=0.0007, slippage=0.0003)


def any_rule(seed):
    """Any kind, exits, sizes, limits and costs."""
    rng = np.random.default_rng(seed)
    side, kind = SIDES[rng.integers(4)], rng.integers(4)
    if kind < 2:
        made = plain(seed)
    elif kind == 2:
        made = probability(enter=float(rng.choice([0.002, 0.01])), side=side, interval=MINUTE)
        made = with_exits(
            made,
            hold=int(rng.integers(1, 8)) * MINUTE,
            stop=None if rng.random() < 0.5 else 0.01,
            take=None if rng.random() < 0.5 else 0.02,
            cooldown=int(rng.choice([0, 0, 2])) * MINUTE,
        )
    else:
        made = with_exits(
            follow(side=side, interval=MINUTE), cooldown=int(rng.choice([0, 2])) * MINUTE
        )
    return bounded(seed, terms(rng, made))


def terms(rng, made):
    timed = made.kind in (1, 2) and made.hold
    overlap = int(rng.choice([1, 2, 5])) if timed else 1
    most = None if rng.random() < 0.5 else int(rng.integers(1, 6))
    sizes = ["equal", "fraction", "volatility", "kelly"] + ["stop"] * (made.stop < 1)
    made = with_limits(made, overlap=overlap, max_positions=most)
    made = with_sizing(
        made,
        str(rng.choice(sizes)),
        fraction=float(rng.choice([0.05, 0.4, 2.0])),
        risk=0.005,
        kelly=float(rng.choice([0.05, 0.5])),
        bars=int(rng.integers(1, 20)),
        max_position=None if rng.random() < 0.5 else float(rng.choice([0.1, 0.5])),
        leverage=float(rng.choice([0.5, 1.0, 3.0, 20.0])),
        maintenance=None if rng.random() < 0.3 else 0.004,
    )
    made = limited(rng, made)
    return with_costs(
        made,
        fee=0.0007,
        slippage=float(rng.choice([0.0, 0.0003])),
        latency=int(rng.choice([0, 0, 20_000_000, US, 2 * US + 45_000_000])) * MINUTE / US,
        min_notional=float(rng.choice([0.0, 5.0, 900.0])),
    )


def bounded(seed, made):
    """Any limits of each position, or none: drawn apart, so that all else is as it was without."""
    rng = np.random.default_rng([seed, 24])
    return with_limits(
        made,
        overlap=made.overlap,
        max_positions=made.max_positions or None,
        every=None if rng.random() < 0.7 else (2, 3, 10)[rng.integers(3)] * MINUTE,
        timeout=None if rng.random() < 0.5 else int(rng.integers(1, 12)) * MINUTE,
        errors=None if rng.random() < 0.5 else int(rng.integers(1, 4)),
    )


def limited(rng, made):
    """Any limits of the account, or none."""
    return with_risk(
        made,
        daily_loss=(None, 0.003, 0.02, 0.2)[rng.integers(4)],
        drawdown=(None, 0.005, 0.03, 0.3)[rng.integers(4)],
        on_limit=("reduce", "halt")[rng.integers(2)],
        resume=("manual", "next_day")[rng.integers(2)],
    )
