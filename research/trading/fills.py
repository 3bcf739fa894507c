"""What an order comes to: market orders at a price worsened by costs, or by walking the book."""

import math
from typing import Any, NamedTuple

from research.steps import compiled
from research.trading.account import Fill, trade
from research.trading.depth import before_costs, take, through, visible
from research.trading.rules.words import ACTIVE, ENTRY, HORIZON, RISK_HALT, TOO_THIN, Rules
from research.trading.sizing import cut, enough, quantity


class Bar(NamedTuple):
    """One bar of one symbol; times in microseconds since 1970 UTC."""

    time: int
    opened: int
    open: float
    high: float
    low: float
    close: float


class Charge(NamedTuple):
    """What a fill of one symbol pays in one bar, and the steps that it goes by."""

    half_spread: float
    """As a fraction of price."""
    impact: float
    """An order of notional N, in quote currency, moves the price by ``impact * sqrt(N)``."""
    lot: float
    """Quantities are multiples of it; 0: any."""
    tick: float
    """Prices are multiples of it; 0: any."""
    levels: Any = None
    """The book that fills walk, see `depth`; None: they pay what stands above."""
    taken: Any = None
    """What fills in this bar took of its bids and its asks; updated in place."""


@compiled
def worsened(
    reference: float, direction: int, notional: float, charge: Charge, rules: Rules
) -> float:
    """Price of a market order: `reference` plus costs for a buy (+1), minus costs for a sale (-1).

    Half-spread, slippage and impact are fractions of the reference and add up; then the price is
    rounded to a tick, up for a buy and down for a sale. It does not fall below zero.
    """
    cost = charge.half_spread + rules.slippage
    if charge.impact > 0.0:
        cost += charge.impact * math.sqrt(notional)
    price = reference * (1.0 + direction * cost)
    if charge.tick > 0.0:  # a millionth of a tick is forgiven: 0.3 / 0.1 is not quite 3
        ticks = price / charge.tick
        rounded = math.ceil(ticks - 1e-6) if direction > 0 else math.floor(ticks + 1e-6)
        price = rounded * charge.tick
    return max(price, 0.0)


@compiled
def priced(
    levels: Any,
    reference: float,
    direction: int,
    size: float,
    notional: float,
    charge: Charge,
    rules: Rules,
) -> float:
    """Price of a market order of `size` in base currency, by whichever way fills are made.

    `levels` are those of the charge: as an argument of its own, None decides at compile time.
    """
    if levels is None:
        return worsened(reference, direction, notional, charge, rules)
    if levels[0, 0, 1] > 0.0 and levels[1, 0, 1] > 0.0:
        return through(levels, charge.taken, reference, direction, size, charge.impact)
    return worsened(reference, direction, notional, charge, rules)  # closed in the books at the end


@compiled
def close(
    purse: Any,
    lot: Any,
    row: Any,
    reference: float,
    time: int,
    reason: int,
    charge: Charge,
    rules: Rules,
) -> int:
    """Close what is held at `reference`, write the round trip to `row`, and begin to rest."""
    direction, size = -1 if lot.position > 0.0 else 1, abs(lot.position)
    price = priced(charge.levels, reference, direction, size, size * reference, charge, rules)
    take(charge.taken, direction, size)
    lot.rest = time + rules.cooldown
    return trade(purse, lot, row, Fill(-lot.position, reference, price, time, reason), rules.fee)


@compiled
def meet(lot: Any, bar: Bar) -> tuple[int, float]:
    """Return when the order of `lot` is filled inside `bar`, and at what price before costs.

    At the open, where the order was there by then. Otherwise when it arrives, at a price as far
    from the open towards the close as its arrival is from the one to the other.
    """
    if lot.arrival <= bar.opened:
        return bar.opened, bar.open
    passed = (lot.arrival - bar.opened) / (bar.time - bar.opened)
    return lot.arrival, bar.open + (bar.close - bar.open) * passed


@compiled
def fill(
    purse: Any,
    lots: Any,
    lot: Any,
    row: Any,
    reference: float,
    time: int,
    charge: Charge,
    rules: Rules,
) -> int:
    """Fill the order that waits for `lot`; returns 1 if that ended a round trip.

    What is held is closed first, then the side wanted is opened. An order that finds no room (see
    `sizing`), or less than the smallest order there is, opens nothing, and so does any order of an
    account that is ruined, or not active any more: halted while the order was on its way.
    """
    target, reason, done = lot.target, lot.order, 0
    lot.order, reference = -1, before_costs(charge.levels, reference)
    if lot.position != 0.0:
        done = close(purse, lot, row, reference, time, reason, charge, rules)
    elif purse.state != ACTIVE and not purse.ruined:
        lot.said = RISK_HALT
    if target != 0 and purse.state == ACTIVE and not purse.ruined:
        if reason == HORIZON:  # one position's time is over, and another takes its place
            reason = ENTRY
        _open(purse, lots, lot, row, Fill(target, reference, 0.0, time, reason), charge, rules)
    return done


@compiled
def _open(
    purse: Any, lots: Any, lot: Any, row: Any, wanted: Fill, charge: Charge, rules: Rules
) -> None:
    """Open the side that the sign of `wanted.quantity` says.

    The size is cut at the price that the whole order would get; the price then counts the impact
    of what is left of it, at the reference and never of more than was ordered. Of a book no more
    is taken than it shows.
    """
    side, reference, levels = 1 if wanted.quantity > 0 else -1, wanted.reference, charge.levels
    whole = lot.notional
    price = priced(levels, reference, side, whole / reference, whole, charge, rules)
    size = quantity(purse, lots, whole, reference, price, charge.lot, rules)
    most = visible(levels, charge.taken, side)
    if size > most:
        size = enough(purse, lots, cut(most, charge.lot), reference, rules)
        if size == 0.0:
            lot.said = TOO_THIN
    if size > 0.0:
        notional = min(size * reference, whole)
        price = priced(levels, reference, side, size, notional, charge, rules)
        take(charge.taken, side, size)
        made = Fill(side * size, reference, price, wanted.time, wanted.reason)
        trade(purse, lot, row, made, rules.fee)
