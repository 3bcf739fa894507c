"""One symbol's book at full depth, in arrays: two sides sorted by price, the best at the end.

Most updates are near the best price, so few levels move when one is put in. Prices are kept with
the sign of their side (bids as they are, asks negated), so that one loop serves both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from research.steps import compiled

LEVELS = 16_384
"""Levels of a side that are kept. Where more come, the one farthest from the best is let go."""
LIMITS = (100, 500, 1000, 5000)
"""Levels of a side that a venue sends at most: a snapshot of one of these lengths is cut off."""


class Ladder(NamedTuple):
    """A book; arrays are updated in place."""

    price: np.ndarray
    """Shape (2, LEVELS): bids, negated asks; ascending, the best last."""
    quantity: np.ndarray
    """Shape (2, LEVELS)."""
    filled: np.ndarray
    """Levels of each side, shape (2,)."""
    edge: np.ndarray
    """Signed price of each side beyond which the snapshot did not say; -inf where it said all."""


def ladder() -> Ladder:
    """Return an empty book."""
    return Ladder(
        np.zeros((2, LEVELS)),
        np.zeros((2, LEVELS)),
        np.zeros(2, np.int64),
        np.full(2, -np.inf),
    )


@compiled
def clear(book: Ladder) -> None:
    """Take out all levels."""
    book.filled[:] = 0
    book.edge[:] = -np.inf


@compiled
def mark_edges(book: Ladder) -> None:
    """Remember how far a snapshot that was just written reaches."""
    for side in range(2):
        count = book.filled[side]
        cut = False
        for limit in LIMITS:
            cut |= count == limit
        book.edge[side] = book.price[side, 0] if cut else -np.inf


@compiled
def put(book: Ladder, sign: int, price: float, quantity: float) -> None:
    """Set the quantity of one price; 0 takes it out, and is normal where there is none.

    Examples
    --------
    >>> book = ladder()
    >>> for price, quantity in ((100.0, 1.0), (101.0, 2.0), (99.0, 3.0), (101.0, 0.0), (7.0, 0.0)):
    ...     put(book, 1, price, quantity)
    >>> top(book, np.zeros((2, 2, 2)))[0].tolist()
    [[100.0, 1.0], [99.0, 3.0]]
    """
    side = 0 if sign > 0 else 1
    key, count = price * sign, book.filled[side]
    prices, quantities = book.price[side], book.quantity[side]
    place = _place(prices, count, key)
    if place < count and prices[place] == key:
        if quantity > 0:
            quantities[place] = quantity
        else:
            _take_out(prices, quantities, place, count)
            book.filled[side] = count - 1
    elif quantity > 0:
        if count < LEVELS:
            _put_in(prices, quantities, place, count)
            book.filled[side] = count + 1
        else:
            book.edge[side] = max(book.edge[side], prices[0])
            if place == 0:
                return
            _take_out(prices, quantities, 0, place)
            place -= 1
        prices[place], quantities[place] = key, quantity


@compiled
def _place(prices: Any, count: int, key: float) -> int:
    """First place from which prices are not below `key`; looked for from the best downward."""
    stride, high = 1, count
    low = count - 1
    while low >= 0 and prices[low] >= key:
        high = low
        low -= stride
        stride *= 2
    low = max(low + 1, 0)
    while low < high:
        middle = (low + high) // 2
        if prices[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _put_in(prices: Any, quantities: Any, place: int, count: int) -> None:
    for i in range(count, place, -1):
        prices[i], quantities[i] = prices[i - 1], quantities[i - 1]


@compiled
def _take_out(prices: Any, quantities: Any, place: int, count: int) -> None:
    for i in range(place, count - 1):
        prices[i], quantities[i] = prices[i + 1], quantities[i + 1]


@compiled
def top(book: Ladder, out: np.ndarray) -> np.ndarray:
    """Write the best levels into `out`, shape (2, depth, 2); zeros where there are fewer."""
    depth = out.shape[1]
    for side in range(2):
        count, sign = book.filled[side], 1.0 - 2.0 * side
        for i in range(depth):
            if i < count:
                out[side, i, 0] = sign * book.price[side, count - 1 - i]
                out[side, i, 1] = book.quantity[side, count - 1 - i]
            else:
                out[side, i, 0] = 0.0
                out[side, i, 1] = 0.0
    return out


@compiled
def crossed(book: Ladder) -> bool:
    """Say whether somebody bids as much as somebody asks."""
    bids, asks = book.filled[0], book.filled[1]
    if bids == 0 or asks == 0:
        return False
    return book.price[0, bids - 1] >= -book.price[1, asks - 1]


@compiled
def beyond(book: Ladder, depth: int) -> bool:
    """Say whether one of the best `depth` levels may be missing: they pass the snapshot's end."""
    for side in range(2):
        count = book.filled[side]
        if book.edge[side] > -np.inf and (
            count < depth or book.price[side, count - depth] < book.edge[side]
        ):
            return True
    return False
