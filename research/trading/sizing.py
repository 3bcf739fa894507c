"""How much: the size of a new position, decided at a close, and what there is room for at its fill.

Sizes are worth, in quote currency; a quantity, in base currency, is only ever worth over price.
"""

import math
from typing import Any

from research.steps import compiled
from research.trading.account import equity, exposure
from research.trading.rules.words import (
    EQUAL,
    FRACTION,
    PROBABILITY,
    VOLATILITY,
    Rules,
)

DUST = 1e-9
"""Share of equity below which room is what rounding left over."""


@compiled
def worth(
    side: int, forecast: float, sigma: float, equity: float, n_lots: int, rules: Rules
) -> float:
    """Notional of a new position, in quote currency; see `rules.with_sizing`.

    Parameters
    ----------
    side : int
        1 long, -1 short.
    forecast : float
        Expected simple return over the horizon, or signed probability.
    sigma : float
        Volatility of one bar's simple return, above 0 where the size goes by it.
    equity : float
        In quote currency.
    n_lots : int
        Positions there may be, of all symbols.
    rules : Rules
        What the size goes by.

    Returns
    -------
    float
        At most `max_position` and `leverage` times equity; 0: no bet.

    Examples
    --------
    Half a percent of 10,000 at risk over a horizon whose volatility is one percent:

    >>> from datetime import timedelta
    >>> from research.trading.rules import threshold, with_sizing
    >>> rules = threshold(enter=0.0, interval=timedelta(minutes=1))
    >>> worth(1, 0.01, 0.001, 10_000.0, 1, with_sizing(rules, "volatility", risk=0.005, bars=100))
    5000.0
    """
    most = max(equity, 0.0)
    if rules.sizing == EQUAL:
        notional = most / n_lots
    elif rules.sizing == FRACTION:
        notional = most * rules.size
    else:
        spread = sigma * rules.root
        if rules.sizing == VOLATILITY:
            bet = 1.0
        elif rules.kind == PROBABILITY:
            bet = 2.0 * side * forecast - 1.0
        else:
            bet = side * forecast / spread
        notional = most * rules.size * bet / spread if bet > 0.0 else 0.0
    return min(notional, most * min(rules.max_position, rules.leverage))


@compiled
def quantity(
    purse: Any,
    lots: Any,
    notional: float,
    reference: float,
    price: float,
    step: float,
    rules: Rules,
) -> float:
    """Turn the notional ordered for a flat lot into a quantity, in base currency; 0 for none.

    The quantity is cut so that right after the fill, its spread, slippage, impact and fee paid,
    all positions at their marks together are worth at most `leverage` times the equity left; then
    to a multiple of `step`. Less than the smallest order there is, or than a trace, is none.
    """
    if not price > 0.0:
        return 0.0
    owned = equity(purse, lots)
    room = max(rules.leverage * owned - exposure(lots), 0.0)
    whole = reference + rules.leverage * abs(price - reference) + rules.leverage * rules.fee * price
    size = cut(min(notional / price, room / whole), step)
    return size if size * reference >= max(rules.min_notional, DUST * owned) else 0.0


@compiled
def enough(purse: Any, lots: Any, size: float, reference: float, rules: Rules) -> float:
    """Return a quantity that was cut again, or 0 where it is less than the smallest order."""
    least = max(rules.min_notional, DUST * equity(purse, lots))
    return size if size * reference >= least else 0.0


@compiled
def cut(quantity: float, step: float) -> float:
    """Cut a quantity to a multiple of `step`; a millionth of a step is forgiven.

    >>> cut(0.3, 0.1) == 3 * 0.1, cut(0.25, 0.1), cut(0.25, 0.0)
    (True, 0.2, 0.25)
    """
    return math.floor(quantity / step + 1e-6) * step if step > 0.0 else quantity
