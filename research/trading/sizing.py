"""How much: an equal share of equity for every symbol, and never more than equity in all."""

from typing import Any

from research.steps import compiled
from research.trading.account import equity, exposure


@compiled
def share(equity: float, n_symbols: int) -> float:
    """Notional of a new position, in quote currency: equity over the number of symbols."""
    return max(equity, 0.0) / n_symbols


@compiled
def quantity(
    purse: Any, lots: Any, notional: float, reference: float, price: float, fee: float
) -> float:
    """Turn the notional ordered for a flat symbol into a quantity, not below zero.

    The quantity is cut so that right after the fill, its spread, slippage and fee paid, all
    positions at their marks together are worth at most the equity left: no leverage.
    """
    room = max(equity(purse, lots) - exposure(lots), 0.0)
    return min(notional / price, room / (reference + abs(price - reference) + fee * price))
