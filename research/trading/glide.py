"""The desk's quick way through quiet bars, where one position of one symbol is all there is."""

from typing import Any

import numpy as np

from research.steps import compiled
from research.trading.fills import Bar
from research.trading.journal import Bars
from research.trading.risk import DAY, exit_inside, floor, watched
from research.trading.rules.decide import asked, calm, decide, informed
from research.trading.rules.words import ACTIVE, HOLD, NO_EDGE, Rules, View


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

    Quiet is a bar of an active account without order, exit, funding, new day, limit met, ruin,
    renewal, timeout or change of mind: it leaves a mark, an equity and a reason. What it asks is
    asked of the same functions as in any bar, so that the journal is the same to the bit; only the
    book is not taken up and laid down at each, and no decision is asked for where a forecast is
    `calm`.

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
    if side != 0 and rules.hold > 0:
        due = min(due, since + rules.hold)
    if side != 0 and rules.timeout > 0:
        due = min(due, lot.entry_time + rules.timeout)
    counted = side != 0 and rules.errors > 0  # a close without a forecast is not quiet then
    low, high = calm(side, rules)
    if rules.every > 0:  # then no bar has the usual reason
        low, high = np.inf, -np.inf
    usual = NO_EDGE if side == 0 else HOLD
    lowest, peak = 0.0, np.inf
    if watched(rules):
        lowest, peak = floor(purse, purse.peak, rules), purse.peak
        due = min(due, (purse.day + 1) * DAY)  # a day's last bar is not quiet either
    timed, resting = due <= times[n - 1], rest > times[start]
    for k in range(start, n):
        if timed and due <= times[k]:
            break
        if side != 0 and exits:
            bar = Bar(times[k], openings[k], opens[k], highs[k], lows[k], closes[k])
            if exit_inside(lot, bar, rules)[0] >= 0:
                break
        worth = cash + position * closes[k]
        if not worth > lowest:
            break
        reason = usual
        if (resting and rest > times[k]) or not low < forecasts[k] < high:
            if counted and not informed(forecasts[k], bins[k], rules):
                break
            time = times[k]
            now, age, left = asked(time, rules), time - since, rest - time
            view = View(side, age, left, forecasts[k], bins[k], ACTIVE, 0, 0, now)
            reason, target = decide(view, rules)
            if target != side:
                break
        reasons[k], positions[k], equities[k + shift] = reason, position, worth
        if worth > peak:
            peak = worth
            lowest = floor(purse, peak, rules)
    else:
        k = n
    t = k + shift
    if k > start:
        lot.mark, lot.seen, lot.said = closes[k - 1], times[k - 1], -1
        if counted:
            lot.errors = 0
        purse.equity = equities[t - 1]
        if peak < np.inf:
            purse.peak = peak
    return k, t
