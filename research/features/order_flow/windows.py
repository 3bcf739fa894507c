"""Sums over the last span of time, event by event, exact when events leave the span.

A running sum that adds what enters and subtracts what leaves gathers rounding errors for as long as
it runs. Here each event's *cumulative* sum is kept in two floats (about 32 digits), and a window is
the difference of two of them: a window without events is exactly 0, after a year as on day one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np

from research import units
from research.steps import compiled

WINDOWS = (
    timedelta(milliseconds=100),
    timedelta(seconds=1),
    timedelta(seconds=5),
    timedelta(seconds=30),
)
"""Spans over which flow is summed."""
HALF_LIFE = timedelta(minutes=1)
"""Time after which a value weighs half in the mean and variance that z-scores are taken by."""
_CAPACITY = 256
_LEAST = 30


class Window(NamedTuple):
    """Memory of `window_sum`: a ring of cumulative sums, and where three spans begin in it."""

    seen: int
    total: float
    rest: float
    ring: np.ndarray
    """Of each event its time and the cumulative sum in two floats; shape (capacity, 3)."""
    one: int
    two: int
    three: int


class Sums(NamedTuple):
    """What a window says at an event."""

    sum: float
    """Of the events in ``(t - span, t]``; NaN until a whole span was watched."""
    momentum: float
    """Less the sum one span before; NaN until two spans were watched."""
    acceleration: float
    """Momentum less the momentum one span before; NaN until three spans were watched."""


def window_memory() -> Window:
    """Return the memory of `window_sum` before its first event."""
    # microseconds are whole numbers in a float until the year 2255
    return Window(0, 0.0, 0.0, np.zeros((_CAPACITY, 3)), -1, -1, -1)


@compiled
def window_sum(state: Any, event: Any, rules: Any) -> Any:
    """Sum a value over the last span of time: O(1) an event, without drift.

    Parameters
    ----------
    state : Window
        See `window_memory`.
    event : (int, float)
        Time in microseconds and the value. A time before the last one counts as the last one: a
        stamp that goes back does not turn the clock back. A value of 0 only moves the clock.
    rules : int
        Span, microseconds.

    Returns
    -------
    state : Window
    Sums
        NaN where not yet known.

    References
    ----------
    Dekker, T. J. (1971). A floating-point technique for extending the available precision.
    Numerische Mathematik 18, 224-242.
    """
    time, value = event
    total, rest = added(state.total, state.rest, value)
    ring = state.ring
    if state.seen - max(state.three, 0) >= len(ring):
        ring = _grown(ring, max(state.three, 0), state.seen)
    # a stamp that goes back waits in line behind the later one, and no beginning moves back
    slot = state.seen & (len(ring) - 1)
    ring[slot, 0], ring[slot, 1], ring[slot, 2] = time, total, rest
    one = _begin(ring, state.one, state.seen, time - rules)
    two = _begin(ring, state.two, state.seen, time - 2 * rules)
    three = _begin(ring, state.three, state.seen, time - 3 * rules)
    last = _between(ring, one, state.seen)
    before = _between(ring, two, one)
    change = last - before
    said = Sums(last, change, change - (before - _between(ring, three, two)))
    return Window(state.seen + 1, total, rest, ring, one, two, three), said


@compiled
def added(total: Any, rest: Any, value: Any) -> Any:
    """Add to a sum held in two floats; what rounding takes from the first goes to the second."""
    high = total + value
    part = high - total
    low = rest + ((total - (high - part)) + (value - part))
    total = high + low
    return total, low - (total - high)


@compiled
def _begin(ring: Any, place: Any, newest: Any, moment: Any) -> Any:
    """Move on to the last event at or before `moment`; -1 where there is none yet."""
    last = len(ring) - 1
    while place < newest and ring[(place + 1) & last, 0] <= moment:
        place += 1
    return place


@compiled
def _between(ring: Any, begin: Any, end: Any) -> Any:
    """Sum of the events after one place up to another; NaN where the first is not known."""
    if begin < 0:
        return np.nan
    begin, end = begin & (len(ring) - 1), end & (len(ring) - 1)
    above, below = ring[end, 1], ring[begin, 1]
    high = above - below
    part = high - above
    low = (above - (high - part)) - (below + part)
    return high + (low + (ring[end, 2] - ring[begin, 2]))


@compiled
def _grown(ring: Any, begin: Any, end: Any) -> Any:
    """Return the ring at twice its length, with what is still needed where it now belongs."""
    longer = np.zeros((2 * len(ring), 3))
    for place in range(begin, end):
        old, new = place & (len(ring) - 1), place & (len(longer) - 1)
        for column in range(3):
            longer[new, column] = ring[old, column]
    return longer


class Standing(NamedTuple):
    """Memory of `z_score`: the weighted mean and squares of the values before this one."""

    first: int
    now: int
    seen: int
    weight: float
    mean: float
    squares: float


def standing_memory() -> Standing:
    """Return the memory of `z_score` before its first value."""
    return Standing(0, 0, 0, 0.0, 0.0, 0.0)


@compiled
def z_score(state: Any, event: Any, rules: Any) -> Any:
    """Say how many standard deviations a value lies from the mean of those *before* it.

    Parameters
    ----------
    state : Standing
        See `standing_memory`.
    event : (int, float)
        Time in microseconds and the value; NaN is passed over.
    rules : float
        Half-life of a value's weight by the clock, microseconds.

    Returns
    -------
    state : Standing
    float
        NaN until the values before span one half-life and number 30, and where they do not vary.

    References
    ----------
    West, D. H. D. (1979). Updating mean and variance estimates: an improved method.
    Communications of the ACM 22(9), 532-535.
    """
    time, value = event
    if value != value:
        return state, np.nan
    first, now = (state.first, max(time, state.now)) if state.seen else (time, time)
    fade = 2.0 ** ((state.now - now) / rules) if state.seen and now > state.now else 1.0
    weight, squares = state.weight * fade, state.squares * fade
    z, away = np.nan, value - state.mean
    if state.seen >= _LEAST and now - first >= rules and squares > 0.0:
        z = away / np.sqrt(squares / weight)
    if weight < 1e-100:  # nothing to stand beside is left: begin anew
        return Standing(now, now, 1, 1.0, value, 0.0), z
    mean = state.mean + away / (weight + 1.0)
    squares += away * (value - mean)
    return Standing(first, now, state.seen + 1, weight + 1.0, mean, squares), z


def microseconds(span: timedelta | str) -> int:
    """Return a span such as ``"100 ms"`` in microseconds."""
    return units.duration(span) // timedelta(microseconds=1)


def label(span: timedelta) -> str:
    """Write a span as names of columns have it: ``100ms``, ``1s``."""
    return units.show(span).replace(" ", "")
