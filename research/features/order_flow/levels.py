"""Order flow and depth of many levels of a book.

A book is an array of shape (2, depth, 2): bids, then asks, the best first; price and quantity, 0
for none. Level m is the m-th best price, whatever price that is.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from research.features.order_flow.events import flow
from research.steps import Streaming, compiled, streaming

TAU = 5.0
"""Levels after which a level's weight is down to 1/e in `weighted_ofi`."""
FADE = math.exp(-1 / TAU)
"""Weight of a level over that of the one before it."""
FLOWS = ("ofi_5", "ofi_10", "ofi_20", "weighted_ofi")
STOCKS = ("depth_imbalance_5", "depth_imbalance_10", "depth_imbalance_20", "vw_depth_imbalance")
"""What of `BookFlow` is summed over time, and what is looked up at its end."""
_PULL = 100.0


class BookMemory(NamedTuple):
    """Memory of the steps over books: the levels before, and whether there were any."""

    seen: int
    levels: np.ndarray


def book_memory(depth: int) -> BookMemory:
    """Return the memory of a step over books of `depth` levels before its first book."""
    return BookMemory(0, np.zeros((2, depth, 2)))


@compiled
def level_flow(levels: Any, before: Any, level: Any) -> Any:
    """Order-flow imbalance of one level between two books."""
    bid, ask = levels[0, level, 0], levels[1, level, 0]
    bid_before, ask_before = before[0, level, 0], before[1, level, 0]
    ask = ask if ask > 0.0 else np.inf
    ask_before = ask_before if ask_before > 0.0 else np.inf
    bought = flow(bid, levels[0, level, 1], bid_before, before[0, level, 1])
    return bought - flow(-ask, levels[1, level, 1], -ask_before, before[1, level, 1])


@compiled
def multi_level_ofi(state: Any, event: Any, rules: Any) -> Any:
    """Order-flow imbalance of each level of a book: the event formula with the m-th best prices.

    Parameters
    ----------
    state : BookMemory
        See `book_memory`.
    event : (int, np.ndarray of shape (2, depth, 2))
        Time and the book.
    rules : int
        Not used: 0.

    Returns
    -------
    state : BookMemory
    np.ndarray, shape (depth,)
        In units of quantity, the best level first; 0 at the first book.

    References
    ----------
    Xu, K., Gould, M. D. and Howison, S. D. (2018). Multi-Level Order-Flow Imbalance in a Limit
    Order Book. Market Microstructure and Liquidity 4(3-4). arXiv:1907.06230.
    """
    levels = event[1]
    found = np.zeros(levels.shape[1])
    for level in range(len(found)):
        if state.seen:
            found[level] = level_flow(levels, state.levels, level)
        _keep(levels, state.levels, level)
    return BookMemory(1, state.levels), found


class BookFlow(NamedTuple):
    """What `book_flow` says of a book, in units of quantity."""

    ofi: float
    """Order-flow imbalance of the best level."""
    ofi_5: float
    """Of the best 5 levels together; as those below, NaN in books with fewer."""
    ofi_10: float
    ofi_20: float
    weighted_ofi: float
    """Of all levels, level m with weight exp(-m / tau)."""
    depth_imbalance: float
    """Bid quantity less ask quantity at the best level: a stock, not a flow."""
    depth_imbalance_5: float
    depth_imbalance_10: float
    depth_imbalance_20: float
    vw_depth_imbalance: float
    """Of all levels, a price weighing ``1 / (1 + 100 |price - mid| / mid)``; NaN without a mid."""
    depth_delta: float
    """Change of `depth_imbalance`: 0 at the first book."""


@compiled
def book_flow(state: Any, event: Any, rules: Any) -> Any:
    """Order flow and standing depth of a book's best 1, 5, 10 and 20 levels.

    Parameters
    ----------
    state : BookMemory
        See `book_memory`.
    event : (int, np.ndarray of shape (2, depth, 2))
        Time and the book.
    rules : float
        Weight of a level over that of the one before it, such as `FADE`.

    Returns
    -------
    state : BookMemory
    BookFlow

    Notes
    -----
    `depth_imbalance` and `depth_delta` are kept beside the flow because they are what some call
    order-flow imbalance. The first is a stock. The second is its change, equal to the event formula
    only where both best prices stay; summed over a window it telescopes to the stock now less the
    stock then, whatever happened between. A small better bid reads as selling in it.
    """
    levels, before, weight = event[1], state.levels, 1.0
    depth = levels.shape[1]
    whole = levels[0, 0, 0] > 0.0 and levels[1, 0, 0] > 0.0
    middle = (levels[0, 0, 0] + levels[1, 0, 0]) / 2.0 if whole else np.nan
    flow_5 = flow_10 = flow_20 = stock_5 = stock_10 = stock_20 = np.nan
    first = level_flow(levels, before, 0) if state.seen else 0.0
    stock = levels[0, 0, 1] - levels[1, 0, 1]
    delta = stock - (before[0, 0, 1] - before[1, 0, 1]) if state.seen else 0.0
    total = weighted = standing = near = 0.0
    for level in range(depth):
        came = level_flow(levels, before, level) if state.seen else 0.0
        bid, ask = levels[0, level, 1], levels[1, level, 1]
        total += came
        weighted += came * weight
        weight *= rules
        standing += bid - ask
        near += bid * _nearness(levels[0, level, 0], middle)
        near -= ask * _nearness(levels[1, level, 0], middle)
        _keep(levels, before, level)
        if level == 4:
            flow_5, stock_5 = total, standing
        elif level == 9:
            flow_10, stock_10 = total, standing
        elif level == 19:
            flow_20, stock_20 = total, standing
    said = BookFlow(
        first, flow_5, flow_10, flow_20, weighted,
        stock, stock_5, stock_10, stock_20, near, delta,
    )  # fmt: skip
    return BookMemory(1, before), said


@compiled
def _keep(levels: Any, before: Any, level: Any) -> None:
    # one by one: numba takes seconds to compile a copy of whole arrays
    for side in range(2):
        before[side, level, 0] = levels[side, level, 0]
        before[side, level, 1] = levels[side, level, 1]


@compiled
def _nearness(price: Any, middle: Any) -> Any:
    return 1.0 / (1.0 + _PULL * abs(price - middle) / middle) if price > 0.0 else 0.0


def streaming_book_flow(depth: int = 20, *, tau: float = TAU) -> Streaming:
    """Order flow and standing depth of a book's levels, to be fed one book at a time.

    Parameters
    ----------
    depth : int
        Levels of a side.
    tau : float
        Levels after which a level's weight is down to 1/e in `weighted_ofi`.

    Returns
    -------
    Streaming
        ``.update(time_us, levels) -> BookFlow`` with `levels` of shape (2, depth, 2).

    Examples
    --------
    >>> flow = streaming_book_flow(1)
    >>> book = np.array([[[100.0, 9.0]], [[100.2, 5.0]]])
    >>> flow.update(0, book).depth_imbalance  # what stands there is no flow
    4.0
    >>> book[0, 0] = 100.1, 1.0  # a better bid, of less than stood at the last one
    >>> flow.update(1, book).ofi, flow.value.depth_delta
    (1.0, -8.0)
    """
    return streaming(book_flow, book_memory(depth), math.exp(-1 / tau))
