"""Order-flow imbalance of the best quotes, event by event, and its sum over the last seconds.

A quote is ``(time, bid, bid quantity, ask, ask quantity)``; a side that shows nothing has price 0.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np

from research.features.order_flow.windows import (
    HALF_LIFE,
    Standing,
    Window,
    microseconds,
    standing_memory,
    window_memory,
    window_sum,
    z_score,
)
from research.steps import Streaming, compiled, streaming


class Quote(NamedTuple):
    """Memory of `event_ofi`: the quote before; `seen` is 0 before the first one."""

    seen: int
    bid: float
    bid_quantity: float
    ask: float
    ask_quantity: float


def quote_memory() -> Quote:
    """Return the memory of `event_ofi` before its first quote."""
    return Quote(0, 0.0, 0.0, 0.0, 0.0)


@compiled
def flow(price: Any, quantity: Any, price_before: Any, quantity_before: Any) -> Any:
    """What came to the buyers' best price, less what left it; the sellers' with prices negated."""
    if price > price_before:
        return quantity
    if price < price_before:
        return -quantity_before
    return quantity - quantity_before


@compiled
def event_ofi(state: Any, event: Any, rules: Any) -> Any:
    r"""Order-flow imbalance of one change of the best quotes.

    .. math:: e_n = 1_{P^b_n \ge P^b_{n-1}} q^b_n - 1_{P^b_n \le P^b_{n-1}} q^b_{n-1}
              - 1_{P^a_n \le P^a_{n-1}} q^a_n + 1_{P^a_n \ge P^a_{n-1}} q^a_{n-1}

    Parameters
    ----------
    state : Quote
        See `quote_memory`.
    event : (int, float, float, float, float)
        Time, bid, bid quantity, ask, ask quantity; every change of the best quotes is one.
    rules : int
        Not used: 0.

    Returns
    -------
    state : Quote
    float
        In units of quantity: above 0 where buyers came or sellers left. 0 at the first quote,
        which has none before it.

    References
    ----------
    Cont, R., Kukanov, A. and Stoikov, S. (2014). The Price Impact of Order Book Events. Journal of
    Financial Econometrics 12(1), 47-88.
    """
    _, bid, bid_quantity, ask, ask_quantity = event
    # no ask is a price above all others, as no bid (0) is below all others
    ask = ask if ask > 0.0 else np.inf
    now = Quote(1, bid, bid_quantity, ask, ask_quantity)
    if state.seen == 0:
        return now, 0.0
    bought = flow(bid, bid_quantity, state.bid, state.bid_quantity)
    return now, bought - flow(-ask, ask_quantity, -state.ask, state.ask_quantity)


class OfiMemory(NamedTuple):
    """Memory of `windowed_ofi`."""

    quote: Quote
    window: Window
    standing: Standing


class OfiRules(NamedTuple):
    """Rules of `windowed_ofi`, both in microseconds."""

    window: int
    half_life: float


class Ofi(NamedTuple):
    """What `windowed_ofi` says at a quote, in units of quantity but for `z`."""

    event: float
    """Of this change of the best quotes alone."""
    ofi: float
    """Of the window ``(t - window, t]``; NaN until a whole window was watched."""
    z: float
    """`ofi` in standard deviations from the mean of those before it."""
    momentum: float
    """`ofi` less the one a window before."""
    acceleration: float
    """`momentum` less the one a window before."""


def ofi_memory() -> OfiMemory:
    """Return the memory of `windowed_ofi` before its first quote."""
    return OfiMemory(quote_memory(), window_memory(), standing_memory())


@compiled
def windowed_ofi(state: Any, event: Any, rules: Any) -> Any:
    """Order-flow imbalance of the last span of time, its z-score, momentum and acceleration.

    Parameters
    ----------
    state : OfiMemory
        See `ofi_memory`.
    event : (int, float, float, float, float)
        Time in microseconds, bid, bid quantity, ask, ask quantity.
    rules : OfiRules

    Returns
    -------
    state : OfiMemory
    Ofi
        NaN where not yet known: see `Ofi`, `windows.Sums` and `windows.z_score`.
    """
    quote, change = event_ofi(state.quote, event, 0)
    window, sums = window_sum(state.window, (event[0], change), rules.window)
    standing, z = z_score(state.standing, (event[0], sums.sum), rules.half_life)
    value = Ofi(change, sums.sum, z, sums.momentum, sums.acceleration)
    return OfiMemory(quote, window, standing), value


def streaming_ofi(window: timedelta | str, *, half_life: timedelta | str = HALF_LIFE) -> Streaming:
    """Order-flow imbalance to be fed one quote at a time, as in a live feed.

    Parameters
    ----------
    window : timedelta or str
        Span that is summed over, by the clock of the quotes: ``"100 ms"``, say.
    half_life : timedelta or str
        Of a value's weight in the mean and variance that `z` is taken by.

    Returns
    -------
    Streaming
        ``.update(time_us, bid, bid_quantity, ask, ask_quantity) -> Ofi``; NaN where not yet known.
        After a gap in the feed, make a new one: what happened in the gap is not known.

    Raises
    ------
    UserError
        If a span is not above 0.

    Examples
    --------
    >>> ofi = streaming_ofi("1 s")
    >>> ofi.update(0, 100.0, 9.0, 100.2, 5.0).event
    0.0
    >>> ofi.update(600_000, 100.1, 1.0, 100.2, 5.0).event  # a better bid, if a small one
    1.0
    >>> ofi.update(1_000_000, 100.1, 1.0, 100.2, 3.0).ofi  # and two were taken from the ask
    3.0
    """
    return streaming(windowed_ofi, ofi_memory(), ofi_rules(window, half_life))


def ofi_rules(window: timedelta | str, half_life: timedelta | str) -> OfiRules:
    """Return the rules of `windowed_ofi`."""
    span = microseconds(window)
    return OfiRules(span, float(microseconds(half_life)))
