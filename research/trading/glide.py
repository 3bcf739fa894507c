"""The desk's quick way through quiet bars, where one position of one symbol is all there is."""

from typing import Any

import numpy as np

from research.steps import compiled
from research.trading.account import NEVER
from research.trading.fills import Bar
from research.trading.journal import Bars
from research.trading.risk import exit_inside
from research.trading.rules.decide import decide
from research.trading.rules.words import Rules, View


@compiled
def glide(
    purse: Any,
    lot: Any,
    bars: Bars,
    rules: Rules,
    reasons: np.ndarray,
    positions: np.ndarray,
    equities: np.ndarray,
    start: int,
    t: int,
) -> tuple[int, int]:
    """Pass the bars from row `start` on in which nothing happens, and stop before one where it may.

    Quiet is a bar without order, exit, funding, ruin, renewal or change of mind: it leaves a mark,
    an equity and a reason. What it asks is asked of the same functions as in any bar, so that the
    journal is the same to the bit; only the book is not taken up and laid down at each.

    Returns
    -------
    tuple of int
        The row and the moment of the first bar that is not quiet.
    """
    times, openings, opens, highs, lows, closes = *bars[:2], *bars[3:7]
    forecasts, bins = bars[8], bars[9]
    position, cash, due = lot.position, purse.cash, lot.due
    since, rest = lot.since, lot.rest
    side = 1 if position > 0.0 else -1 if position < 0.0 else 0
    exits = rules.stop < np.inf or rules.take < np.inf
    exits = exits or rules.liquid_long > 0.0 or rules.liquid_short < np.inf
    k, n, shift = start, len(times), t - start
    hold = rules.hold if side != 0 and rules.hold > 0 else NEVER
    for k in range(start, n):
        time = times[k]
        age = time - since
        if due <= time or age >= hold:
            break
        if side != 0 and exits:
            bar = Bar(time, openings[k], opens[k], highs[k], lows[k], closes[k])
            if exit_inside(lot, bar, rules)[0] >= 0:
                break
        worth = cash + position * closes[k]
        if not worth > 0.0:
            break
        reason, target = decide(View(side, age, rest - time, forecasts[k], bins[k], 0), rules)
        if target != side:
            break
        reasons[k], positions[k], equities[k + shift] = reason, position, worth
    else:
        k = n
    t = k + shift
    if k > start:
        lot.mark, lot.seen, lot.said = closes[k - 1], times[k - 1], -1
        purse.equity = equities[t - 1]
    return k, t
