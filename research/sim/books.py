"""Order books that could have stood around a price: the same ones for the same seed and moment."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

LEVELS = 20
HALF_SPREAD = 0.5e-4
"""Of the best levels, as a fraction of price."""
STEP = 1e-4
"""Mean distance between two levels, likewise."""


class Levels(NamedTuple):
    """Pairs of price and quantity, the best first."""

    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


def made(price: float, volume: float, seed: str) -> Levels:
    """Return a book around `price` that shows about `volume` on each side.

    Parameters
    ----------
    price : float
        Midway between the best levels.
    volume : float
        In base currency; all levels of a side together show from a fifth of it to nearly twice it.
    seed : str
        Same seed, same book.

    Examples
    --------
    >>> book = made(100.0, 40.0, "a seed")
    >>> len(book.bids), book.bids[0][0], book.asks[0][0]
    (20, 99.995, 100.005)
    >>> book == made(100.0, 40.0, "a seed")
    True
    """
    rng = Random(seed)
    return Levels(*(_side(price, up, volume, rng) for up in (-1, 1)))


def _side(price: float, up: int, volume: float, rng: Random) -> list[tuple[float, float]]:
    away, side = HALF_SPREAD, []
    for _ in range(LEVELS):
        quantity = volume / LEVELS * rng.uniform(0.2, 1.8)
        side.append((round(price * (1 + up * away), 8), round(quantity, 8)))
        away += STEP * rng.uniform(0.5, 1.5)
    return side
