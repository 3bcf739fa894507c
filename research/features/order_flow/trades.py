"""Who took from the book: trades as orders, and the imbalance of takers.

An order that takes several resting ones prints once for each. Prints of one side at one instant are
joined, for their number says how the book was cut up and not how many came to trade.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np

from research.features.order_flow.clocks import Stream
from research.features.order_flow.windows import Window, microseconds, window_memory, window_sum
from research.steps import Streaming, compiled, streaming


def orders(trades: Stream) -> Stream:
    """Join neighbouring prints of one time and side into the order that they came from.

    Parameters
    ----------
    trades : Stream
        Values price, quantity and taker side.

    Returns
    -------
    Stream
        One event an order, at its last print; the price is the mean by quantity.
    """
    price, quantity, side = trades.values
    if not len(price):
        return trades
    new = np.concatenate([[True], (np.diff(trades.time) != 0) | (np.diff(side) != 0)])
    first = np.flatnonzero(new)
    last = np.concatenate([first[1:], [len(price)]]) - 1
    taken = np.add.reduceat(quantity, first)
    paid = np.add.reduceat(price * quantity, first)
    # an order at one price keeps that price to the last digit
    low, high = np.minimum.reduceat(price, first), np.maximum.reduceat(price, first)
    mean = np.where(low == high, low, paid / taken)
    found = mean, taken, side[first]
    return Stream(trades.message[last], trades.time[last], trades.received_ns[last], found)


class TakerMemory(NamedTuple):
    """Memory of `taker_flow`."""

    bought: Window
    sold: Window


class TakerFlow(NamedTuple):
    """What `taker_flow` says; NaN until a whole window was watched."""

    imbalance: float
    """Bought less sold over both, -1 to 1; 0 without a trade."""
    flow: float
    """Bought less sold, in units of quantity."""


def taker_memory() -> TakerMemory:
    """Return the memory of `taker_flow` before its first trade."""
    return TakerMemory(window_memory(), window_memory())


@compiled
def taker_flow(state: Any, event: Any, rules: Any) -> Any:
    """Imbalance of takers over the last span of time.

    Parameters
    ----------
    state : TakerMemory
        See `taker_memory`.
    event : (int, float, float)
        Time in microseconds, quantity and the taker's side (above 0 for a buyer). Quantity 0 only
        moves the clock: a trade leaves the window when its time is over, not at the next trade.
    rules : int
        Span, microseconds.

    Returns
    -------
    state : TakerMemory
    TakerFlow
    """
    time, quantity, side = event
    buys = quantity if side > 0 else 0.0
    bought, up = window_sum(state.bought, (time, buys), rules)
    sold, down = window_sum(state.sold, (time, quantity - buys), rules)
    flow, both = up.sum - down.sum, up.sum + down.sum
    return TakerMemory(bought, sold), TakerFlow(0.0 if both == 0.0 else flow / both, flow)


def streaming_taker_flow(window: timedelta | str) -> Streaming:
    """Imbalance of takers, to be fed one trade at a time.

    Parameters
    ----------
    window : timedelta or str
        Span that is summed over, by the clock of the trades.

    Returns
    -------
    Streaming
        ``.update(time_us, quantity, taker_side) -> TakerFlow``; quantity 0 only moves the clock.

    Examples
    --------
    >>> takers = streaming_taker_flow("1 s")
    >>> takers.update(0, 0.0, 1).imbalance
    nan
    >>> [takers.update(t, q, side).imbalance for t, q, side in ((10**6, 3.0, 1), (10**6, 1.0, -1))]
    [1.0, 0.5]
    >>> takers.update(2 * 10**6, 0.0, 1).imbalance
    0.0
    """
    span = microseconds(window)
    return streaming(taker_flow, taker_memory(), span)
