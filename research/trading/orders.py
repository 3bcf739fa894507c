"""What is sent at a close: the decision about each position of a symbol, and the orders it leaves.

One symbol and close, one reason. Where a symbol has several positions side by side, it is the
first of these that holds: `entry`, if one is ordered; the reason of the first position that is
left, inside the bar or by an order; `waiting`, if an order is on its way; `full`, `too_small` or
`risk_halt`, if an entry was refused; `hold` (or `stale_data`, where the forecast is not known), if
one is held; else why there is no entry.
"""

from typing import Any, NamedTuple

from research.steps import compiled
from research.trading.rules.decide import asked, decide, informed
from research.trading.rules.words import (
    ENTRY,
    FULL,
    HOLD,
    HORIZON,
    NO_EDGE,
    RISK_HALT,
    STALE_DATA,
    TOO_SMALL,
    VOLATILITY,
    WAITING,
    Rules,
    View,
)
from research.trading.sizing import DUST, cut, worth


class Close(NamedTuple):
    """What is known of a symbol at a close."""

    time: int
    forecast: float
    bin: int
    equity: float
    state: int
    """Of the account, see `View`."""


class Scale(NamedTuple):
    """What turns a wish into a size, beside the forecast."""

    sigma: float
    price: float
    lot: float
    """Step of the symbol's quantities."""


@compiled
def choose(lot: Any, close: Close, rules: Rules) -> tuple[int, int, int]:
    """Decide about one position: the side held, the reason, and the side wanted.

    One that waits for its order, or was left inside the bar, is not decided about; it is of those
    decided about that closes without a forecast are counted.
    """
    side = 1 if lot.position > 0.0 else -1 if lot.position < 0.0 else 0
    if lot.said >= 0:
        return side, lot.said, side
    age, rest = close.time - lot.since, lot.rest - close.time
    lot.errors = 0 if informed(close.forecast, close.bin, rules) else lot.errors + 1
    held, now = close.time - lot.entry_time, asked(close.time, rules)
    view = View(side, age, rest, close.forecast, close.bin, close.state, held, lot.errors, now)
    reason, target = decide(view, rules)
    if reason == HOLD and now and 0 < rules.hold <= age:
        lot.since = close.time
    return side, reason, target


@compiled
def order(
    lots: Any, lot: Any, reason: int, target: int, close: Close, scale: Scale, rules: Rules
) -> int:
    """Leave an order for `lot` and return its reason, or that for which it is refused.

    Where a position was to be turned and the new side is refused, it is closed all the same.
    """
    notional = 0.0
    if target != 0:
        notional, refused = ask(lots, lot, target, close, scale, rules)
        if refused >= 0 and lot.position == 0.0:
            return refused
        target = target if refused < 0 else 0
    lot.order, lot.target, lot.notional = reason, target, notional
    lot.arrival = close.time + rules.latency
    return reason


@compiled
def ask(
    lots: Any, lot: Any, side: int, close: Close, scale: Scale, rules: Rules
) -> tuple[float, int]:
    """Say what a new position in the place of `lot` shall be worth, or why there shall be none.

    Returns
    -------
    tuple of float and int
        Notional in quote currency, and -1; or 0 and the reason: `stale_data` (the size goes by
        sigma, which is not known), `no_edge` (Kelly bets nothing), `full` (`max_positions` are held
        or ordered, or what is held and not being left takes up all the leverage), `too_small`.
    """
    if rules.sizing >= VOLATILITY and not scale.sigma > 0.0:
        return 0.0, STALE_DATA
    notional = worth(side, close.forecast, scale.sigma, close.equity, len(lots), rules)
    if not notional > 0.0:
        return 0.0, NO_EDGE
    staying, count = 0.0, 0 if lot.position == 0.0 else -1  # it makes room for itself
    for i in range(len(lots)):
        other = lots[i]
        if other.position != 0.0 or (other.order >= 0 and other.target != 0):
            count += 1
        if other.order < 0:
            staying += abs(other.position) * other.mark
    if lot.position != 0.0 and lot.order < 0:
        staying -= abs(lot.position) * lot.mark
    least = max(rules.min_notional, DUST * close.equity)
    if 0 < rules.max_positions <= count or rules.leverage * close.equity - staying < least:
        return 0.0, FULL
    if cut(notional / scale.price, scale.lot) * scale.price < least:
        return 0.0, TOO_SMALL
    return notional, -1


@compiled
def side_by_side(lots: Any, first: int, close: Close, scale: Scale, rules: Rules) -> int:
    """Decide about all positions of a symbol, those from `first` on: each exit, then one entry.

    The entry takes the place of a position whose time is over at this very close, else an empty
    one. With a cooldown it waits until nothing rests, and nothing is being left.
    """
    left, waits, held, leaves, rest, place, empty = -1, False, -1, False, -1, -1, -1
    for i in range(first, first + rules.overlap):
        lot = lots[i]
        rest = max(rest, lot.rest - close.time)
        if lot.said == WAITING:
            waits = True
        elif lot.said >= 0:
            left = lot.said if left < 0 else left
        elif lot.position == 0.0:
            empty = i if empty < 0 else empty
        else:
            side, reason, target = choose(lot, close, rules)
            if target == side:
                held = reason if held < 0 else held
            else:
                order(lots, lot, reason, 0, close, scale, rules)
                left, leaves = reason if left < 0 else left, True
                place = i if place < 0 and reason == HORIZON else place
    place = place if place >= 0 else empty
    now = asked(close.time, rules)
    view = View(0, 0, rest, close.forecast, close.bin, close.state, 0, 0, now)
    reason, target = decide(view, rules)
    free = place >= 0 and not (leaves and rules.cooldown > 0)
    if target != 0 and free:
        lot = lots[place]
        notional, refused = ask(lots, lot, target, close, scale, rules)
        if refused < 0:
            lot.order = ENTRY if lot.order < 0 else lot.order
            lot.target, lot.notional = target, notional
            lot.arrival = close.time + rules.latency
            return ENTRY
        reason = refused
    if left >= 0:
        return left
    if waits:
        return WAITING
    if held < 0 or reason in (FULL, TOO_SMALL) or (reason == RISK_HALT and free):
        return reason
    return held
