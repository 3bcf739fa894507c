"""The one decision: what is known of a position and its forecast in, a reason and a side out."""

import math

from research.steps import compiled
from research.trading.rules.words import (
    ACTIVE,
    ENTRY,
    ERRORS,
    FOLLOW,
    HALTED,
    HOLD,
    HORIZON,
    NO_EDGE,
    PROBABILITY,
    QUANTILE,
    RESTING,
    REVERSAL,
    RISK_HALT,
    RUINED,
    STALE_DATA,
    THRESHOLD,
    TIMEOUT,
    Rules,
    View,
)


@compiled
def decide(view: View, rules: Rules) -> tuple[int, int]:
    """Decide one position at one close: why, and the side wanted from the next open on.

    The tests run in order of priority; the first reason that holds is the one. An account that is
    not active opens nothing: an entry is refused, a position that would be turned is closed. What
    the rule would hold on to is left all the same where a limit of its own says so.
    """
    if view.state == RUINED:
        return RISK_HALT, 0
    wish = signal(view.forecast, view.bin, rules)
    known = informed(view.forecast, view.bin, rules)
    if view.side != 0:
        reason, target = _stay_or_leave(view, wish, known, rules)
        if target == view.side:  # where its rule would hold on
            limit = RISK_HALT if view.state >= HALTED else _limit(view, rules)
            return (reason, target) if limit < 0 else (limit, 0)
        return reason, target if view.state == ACTIVE else 0
    if view.rest > 0 or not view.asked:
        return RESTING, 0
    if not known:
        return STALE_DATA, 0
    if wish != 0:
        return (ENTRY, wish) if view.state == ACTIVE else (RISK_HALT, 0)
    return NO_EDGE, 0


@compiled
def asked(time: int, rules: Rules) -> bool:
    """Whether the rule is asked at the close at `time`."""
    return rules.every == 0 or time % rules.every == 0


@compiled
def informed(forecast: float, bin: int, rules: Rules) -> bool:
    """Whether a close knows what the rule goes by."""
    return bin > 0 if rules.kind == QUANTILE else not math.isnan(forecast)


@compiled
def _limit(view: View, rules: Rules) -> int:
    """Return why a position must be left that its rule would hold; -1: it need not."""
    if 0 < rules.timeout <= view.held:
        return TIMEOUT
    return ERRORS if 0 < rules.errors <= view.errors else -1


@compiled
def calm(side: int, rules: Rules) -> tuple[float, float]:
    """Return two forecasts strictly between which nothing happens, so that none need `decide`.

    There an active account stays on its side: flat, unless it rests, for `no_edge`; with a position
    whose time is not over for `hold`. Beyond them it may, or may not.
    """
    if rules.kind == QUANTILE:
        return math.inf, -math.inf
    if side == 0:
        low = -rules.enter if rules.short else -math.inf
        return low, rules.enter if rules.long else math.inf
    least = max(-rules.leave, 0.0) if rules.kind == FOLLOW else -rules.leave
    if side > 0:
        return least, math.inf
    return -math.inf, -least


@compiled
def signal(forecast: float, bin: int, rules: Rules) -> int:
    """Say which side the forecast or its bin speaks for: -1, 0 or 1."""
    if rules.kind == THRESHOLD or rules.kind == FOLLOW:  # follow: beyond an `enter` of zero
        if rules.long and forecast > rules.enter:
            return 1
        return -1 if rules.short and forecast < -rules.enter else 0
    if rules.kind == PROBABILITY:
        if rules.long and forecast >= rules.enter:
            return 1
        return -1 if rules.short and forecast <= -rules.enter else 0
    if bin <= 0:
        return 0
    if bin == rules.q_long or (bin > rules.q_long and not rules.exact):
        return 1
    return -1 if bin == rules.q_short or (bin < rules.q_short and not rules.exact) else 0


@compiled
def _stay_or_leave(view: View, wish: int, known: bool, rules: Rules) -> tuple[int, int]:
    over = 0 < rules.hold <= view.age
    if not view.asked:
        return HOLD if known else STALE_DATA, view.side
    if rules.overlap > 1:  # each position for itself: out when its time is over
        if over:
            return HORIZON, 0
    else:
        if _against(view, wish, over, rules):
            return REVERSAL, wish if wish == -view.side and rules.cooldown == 0 else 0
        if over and wish != view.side:
            return HORIZON, 0
        if wish == 0 and _lapses(rules, known):
            return NO_EDGE if known else STALE_DATA, 0
    return HOLD if known else STALE_DATA, view.side


@compiled
def _against(view: View, wish: int, over: bool, rules: Rules) -> bool:
    """Whether the close speaks against the side held; false where the forecast is NaN."""
    if rules.kind == THRESHOLD or rules.kind == FOLLOW:
        return view.side * view.forecast < -rules.leave
    return wish == -view.side and (over or rules.kind == QUANTILE)


@compiled
def _lapses(rules: Rules, known: bool) -> bool:
    """Whether a position ends where nothing speaks for its side any more."""
    if rules.kind == FOLLOW:
        return known
    return rules.kind == QUANTILE and rules.hold == 0
