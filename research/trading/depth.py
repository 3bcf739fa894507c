"""Fills that walk the book: the shown levels from the best on, each as far as it goes.

A book is an array of shape (2, depth, 2): bids, then asks; each the best level first, a level its
price and quantity; a quantity of 0 is no level. Where books are not walked, `None` stands in their
place, and what asks for one is compiled away.
"""

import math
from typing import Any

import numpy as np

from research.steps import compiled

DEPTH = 20
"""Levels of a side that are looked at."""


@compiled
def walk(side: np.ndarray, taken: float, quantity: float) -> tuple[float, float, float]:
    r"""Walk one side of a book.

    .. math:: \bar p = p_1 + \frac{\sum_i q_i (p_i - p_1)}{\sum_i q_i}

    over the levels from the best one :math:`p_1` on, each taken whole but the last: the
    volume-weighted price, written so that it is never better than the best one in floating point
    either, and equal to it where one level is enough.

    Parameters
    ----------
    side : np.ndarray, shape (depth, 2)
        Price and quantity, the best first.
    taken : float
        What other fills at the same time took from the front of it, in base currency.
    quantity : float
        To be filled, in base currency, above 0.

    Returns
    -------
    price : float
        Volume-weighted, of what is shown of `quantity`; NaN where nothing is.
    left : float
        What is not shown of it.
    last : float
        The last price that is shown, whether or not it was needed; NaN where none is.

    Examples
    --------
    >>> asks = np.array([[100.0, 1.0], [101.0, 2.0], [0.0, 0.0]])
    >>> walk(asks, 0.0, 0.5), walk(asks, 0.0, 2.0), walk(asks, 1.0, 3.0)
    ((100.0, 0.0, 101.0), (100.5, 0.0, 101.0), (101.0, 1.0, 101.0))
    """
    best = last = math.nan
    gone, left, more = taken, quantity, 0.0
    for i in range(len(side)):
        price, here = side[i, 0], side[i, 1]
        if here <= 0.0:
            break
        last = price
        if gone >= here:
            gone -= here
            continue
        if best != best:
            best = price
        part = min(left, here - gone)
        gone = 0.0
        more += part * (price - best)
        left -= part
    filled = quantity - left
    return (best + more / filled if filled > 0.0 else best), left, last


@compiled
def through(
    levels: np.ndarray,
    taken: np.ndarray,
    reference: float,
    direction: int,
    quantity: float,
    impact: float,
) -> float:
    """Price of a market order that walks the book: a buy (+1) its asks, a sale (-1) its bids.

    What is not shown of `quantity`, worth N at the last level, is priced there, worsened by
    ``impact * sqrt(N)``. Where `reference` is not the book's middle, as for a stop inside the bar,
    the price is as far from it, as a fraction, as the walk's is from the middle. It is the mean of
    prices, so it is on no tick; it does not fall below zero.
    """
    s = 1 if direction > 0 else 0
    price, left, last = walk(levels[s], taken[s], quantity)
    if left > 0.0:
        beyond = last * (1.0 + direction * impact * math.sqrt(left * last))
        price = beyond if left >= quantity else price + (beyond - price) * (left / quantity)
    return max(price * (reference / middle(levels)), 0.0)


@compiled
def middle(levels: np.ndarray) -> float:
    """Price midway between the best bid and the best ask."""
    return 0.5 * (levels[0, 0, 0] + levels[1, 0, 0])


@compiled
def before_costs(levels: Any, price: float) -> float:
    """Price of an order before costs: `price`, or the middle of the book that it walks."""
    if levels is None:
        return price
    return middle(levels)


@compiled
def visible(levels: Any, taken: Any, direction: int) -> float:
    """Quantity that an order of this direction finds; without a limit where no book is walked."""
    if levels is None:
        return math.inf
    s = 1 if direction > 0 else 0
    total = 0.0
    for i in range(levels.shape[1]):
        total += levels[s, i, 1]
    return max(total - taken[s], 0.0)


@compiled
def take(taken: Any, direction: int, quantity: float) -> None:
    """Remember what a fill took: others at the same time find the book without it."""
    if taken is not None:
        taken[1 if direction > 0 else 0] += quantity


@compiled
def fills(volume: float, levels: Any, k: int) -> bool:
    """Whether a bar fills anything: it has volume and, where books are walked, both their sides."""
    if levels is None:
        return volume > 0.0
    return volume > 0.0 and levels[k, 0, 0, 1] > 0.0 and levels[k, 1, 0, 1] > 0.0


@compiled
def row_of(rows: Any, k: int) -> Any:
    """Return row `k` of an array, or None of none."""
    if rows is None:
        return None
    return rows[k]


@compiled
def untouched(levels: Any, n_symbols: int) -> Any:
    """Return what has been taken of each symbol's bids and asks: nothing; None of no books."""
    if levels is None:
        return None
    return np.zeros((n_symbols, 2))
