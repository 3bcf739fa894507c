"""Two ledgers over one way of trading: the third source's, which prints money, and a true one."""

from __future__ import annotations

import numpy as np

CAPITAL = 10_000.0
QUARTER = 0.25


def _next(position: float, gain: float, side: float) -> float:
    """Return the position after a decision, in quarters."""
    if position == 0:
        return QUARTER * side if np.isfinite(side) else 0.0
    if gain > 0 and abs(position) == 1:
        return 0.0
    return float(position + QUARTER * np.sign(position) * (1 if gain > 0 else -1))


def printed(
    price: np.ndarray, fill: np.ndarray, side: np.ndarray, *, cost: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return equity and position as the source's ledger has them: see `revalued`."""
    position = np.zeros(len(price))
    held, entry = 0.0, np.nan
    for i in range(len(price)):
        gain = held * (price[i] / entry - 1) if held else 0.0
        new = _next(held, gain, side[i])
        entry = fill[i] if not held else entry
        held = position[i] = new
    return revalued(price, position, cost=cost), position


def revalued(price: np.ndarray, position: np.ndarray, *, cost: float = 0.0) -> np.ndarray:
    """Return equity after each change of position, by the source's rule.

    All that is held is worth what it would be had all of it been bought at the first entry.

    Parameters
    ----------
    price, position : np.ndarray, shape (n,)
        What is held after each price, as a share of the capital.
    cost : float
        Per side; the source leaves it out.

    Examples
    --------
    A quarter bought at 100 and three more at 110, where nothing moves any more:

    >>> price = np.array([100.0, 110.0, 110.0, 110.0, 110.0])
    >>> revalued(price, np.array([0.25, 0.25, 0.5, 0.75, 1.0])).tolist()
    [10000.0, 10250.0, 10500.0, 10750.0, 11000.0]
    """
    worth, realised, entry, held = np.zeros(len(price)), CAPITAL, np.nan, 0.0
    for i, new in enumerate(position):
        realised -= abs(new - held) * cost * CAPITAL
        if held and new == 0:
            realised += CAPITAL * held * (price[i] / entry - 1)
        entry = price[i] if not held else entry
        open_ = CAPITAL * new * (price[i] / entry - 1) if new else 0.0
        held, worth[i] = new, realised + open_
    return worth


def kept(
    price: np.ndarray, fill: np.ndarray, side: np.ndarray, *, cost: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return equity and position where each change is paid for at its own price.

    Parameters
    ----------
    price, fill, side : np.ndarray, shape (n,)
        Prices of the decisions and of their fills, and the side that a flat position takes.
    cost : float
        Per side, a fraction of what changes hands.
    """
    worth, position = np.zeros(len(price)), np.zeros(len(price))
    cash, units, held, entry = CAPITAL, 0.0, 0.0, np.nan
    for i in range(len(price)):
        gain = held * (price[i] / entry - 1) if held else 0.0
        new = _next(held, gain, side[i])
        traded = (new - held) * CAPITAL / fill[i] if new else -units
        cash -= traded * fill[i] + abs(traded) * fill[i] * cost
        entry = fill[i] if not held else entry
        units, held = units + traded, new
        worth[i], position[i] = cash + units * price[i], held
    return worth, position
