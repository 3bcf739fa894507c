"""What an order comes to: market orders at a price worsened by half the spread and slippage."""

from typing import Any

from research.steps import compiled
from research.trading.account import Fill, trade
from research.trading.rules import Rules
from research.trading.sizing import quantity


@compiled
def worsened(reference: float, direction: int, rules: Rules) -> float:
    """Price of a market order: `reference` plus cost for a buy (+1), minus cost for a sale (-1)."""
    return reference * (1.0 + direction * (rules.half_spread + rules.slippage))


@compiled
def close(
    purse: Any, lot: Any, row: Any, reference: float, time: int, reason: int, rules: Rules
) -> int:
    """Close what is held at `reference`, write the round trip to `row`, and begin to rest."""
    price = worsened(reference, -1 if lot.position > 0.0 else 1, rules)
    lot.rest = time + rules.cooldown
    return trade(purse, lot, row, Fill(-lot.position, reference, price, time, reason), rules.fee)


@compiled
def at_open(
    purse: Any, lots: Any, lot: Any, row: Any, open_: float, time: int, rules: Rules
) -> int:
    """Fill the order that waits for `lot` at the open; returns 1 if that ended a round trip.

    What is held is closed first, then the side wanted is opened. An order that finds no room (see
    `sizing`) comes to nothing.
    """
    target, reason, done = lot.target, lot.order, 0
    lot.order = -1
    if lot.position != 0.0:
        done = close(purse, lot, row, open_, time, reason, rules)
    if target != 0:
        price = worsened(open_, target, rules)
        size = quantity(purse, lots, lot.notional, open_, price, rules.fee)
        if size > 0.0:
            trade(purse, lot, row, Fill(target * size, open_, price, time, reason), rules.fee)
    return done
