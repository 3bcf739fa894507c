"""One symbol's market in ticks, lots and milliseconds: draws of its own stream, then the loops."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from research.errors import UserError
from research.sources.simulated.flow.plan import FLOW_LOTS, STEP_MS, Array, Plan

Ints = NDArray[np.int64]

START_TICKS = 100_000
DEPTH = 50
"""Levels a side."""
SIZE, SIZE_SPREAD = 270, 0.94
"""Median lots on a level, and the standard deviation of their logarithm."""
LEAN = 0.85
"""Logarithm by which a bid is larger, and an ask smaller, where the price is half a tick above the
mid: the book leans to where the price is (Stoikov 2018, Quantitative Finance 18(12), 1959-1966)."""
BEST_SPREAD = math.sqrt(SIZE_SPREAD**2 - LEAN**2 / 3)
"""What is left of `SIZE_SPREAD` at the best levels: the part that tells of nothing."""
ORDER, ORDER_SPREAD = 8, 1.6
"""The same of what a taker wants."""
ORDER_SHARE = 0.8
"""Steps in which a taker comes."""
PRINTS = 3
"""Most prints of one order."""
NEEDED = 45.0
"""Events a second that moves, orders and flow need by themselves, rounded up."""
REFRESHED, REMOVED = 6.0, 0.1
"""Changes behind the best levels a step, and the share of them that remove a level."""
POOL = 1 << 16
_STREAMS = ("flow", "price", "sizes", "orders", "fills", "pool", "levels", "moments", "latency")


class Drawn(NamedTuple):
    """What happened to one symbol, in order; step -1 is before the first."""

    events: Ints
    """Shape (n_events, 7), as `kernels.play` has them."""
    event_ms: Ints
    """Milliseconds after the start, shape (n_events,)."""
    levels: Ints
    """Shape (n_changes, 4), as `kernels.deepen` has them."""
    prints: Ints
    """Shape (n_prints, 3): row of the event, ticks, signed lots."""
    flow: Ints
    """Sum of ``e_n`` of each step, lots."""
    state: Array
    """The state `g` at the end of each step."""


def stream(seed: int, symbol: int, name: str) -> np.random.Generator:
    """Return the random stream of one series of one symbol, at its beginning.

    >>> float(stream(1, 2, "flow").random()) == float(stream(1, 2, "flow").random())
    True
    """
    key = np.random.SeedSequence(seed, spawn_key=(symbol, 1000 + _STREAMS.index(name)))
    return np.random.Generator(np.random.Philox(key))


def draw(plan: Plan, *, seed: int, symbol: int, steps: int, events_per_second: float) -> Drawn:
    """Play one symbol.

    Parameters
    ----------
    plan : Plan
        Constants of the market.
    seed, symbol : int
        Of the streams; symbols count from 1.
    steps : int
        Length of 100 ms each.
    events_per_second : float
        Best-level events, at least `NEEDED`.

    Returns
    -------
    Drawn
    """
    from research.sources.simulated.flow import kernels

    parts, new = _flow(plan, seed, symbol, steps)
    flow = np.rint(FLOW_LOTS * parts[1:].sum(axis=1)).astype(np.int64)
    state = parts[:, -1] / max(np.sqrt(plan.shares[-1]), 1e-12)
    noise = plan.noise * stream(seed, symbol, "price").standard_normal(steps)
    path = START_TICKS + np.cumsum(plan.answer * new + noise + plan.drift * state[:-1])
    bid = np.floor(path).astype(np.int64)
    if bid.min() < 2 * DEPTH:
        raise UserError("simulated flow: the price fell to nothing; lower sigma_bps or minutes.")
    lean = np.exp(LEAN * (2 * (np.r_[START_TICKS + 0.5, path] % 1) - 1))
    drawn = _lots(stream(seed, symbol, "sizes"), (2, steps), SIZE, BEST_SPREAD)
    sizes = np.maximum(np.rint(drawn * [lean[1:], 1 / lean[1:]]), 1).astype(np.int64)
    fills = stream(seed, symbol, "fills").poisson((events_per_second - NEEDED) / 10, steps)
    pool = _lots(stream(seed, symbol, "pool"), (POOL,), SIZE, BEST_SPREAD)
    moves = np.diff(bid, prepend=START_TICKS)
    orders = _orders(plan, parts[1:], seed, symbol)
    events = kernels.play(START_TICKS, moves, flow, *sizes, orders, fills, pool, lean)
    levels = kernels.deepen(events, steps, DEPTH, *_changes(seed, symbol, steps))
    prints = _prints(events, stream(seed, symbol, "moments"))
    return Drawn(events, _moments(events, steps, seed, symbol), levels, prints, flow, state[1:])


def _flow(plan: Plan, seed: int, symbol: int, steps: int) -> tuple[Array, Array]:
    """Parts of flow, shape (steps + 1, 4) from before the first step, and what is new in each."""
    from scipy.signal import lfilter

    shocks = stream(seed, symbol, "flow").standard_normal((steps + 1, len(plan.shares)))
    fresh = np.sqrt(plan.shares * (1 - plan.memories**2)) * shocks
    first = np.sqrt(plan.shares) * shocks[0]
    parts = np.empty_like(fresh)
    for p, memory in enumerate(plan.memories):
        parts[:, p] = lfilter([1.0], [1.0, -memory], np.r_[first[p], fresh[1:, p]])
    return parts, fresh[1:].sum(axis=1)


def _lots(rng: np.random.Generator, shape: tuple[int, ...], median: int, spread: float) -> Ints:
    """Lognormal sizes, at least one lot."""
    drawn = median * np.exp(spread * rng.standard_normal(shape))
    return np.maximum(np.rint(drawn), 1).astype(np.int64)


def _orders(plan: Plan, parts: Array, seed: int, symbol: int) -> Ints:
    """Lots that a taker wants in each step: signs with the memory of `plan.SIGNS`, 0 for none."""
    from research.sources.simulated.flow.plan import SIGNS

    unit = parts[:, :-1] / np.sqrt(plan.shares[:-1])
    sign = np.where(unit @ np.sqrt([share for share, _ in SIGNS]) > 0, 1, -1)
    rng = stream(seed, symbol, "orders")
    comes = rng.random(len(parts)) < ORDER_SHARE
    return sign * comes * _lots(rng, (len(parts),), ORDER, ORDER_SPREAD)


def _changes(seed: int, symbol: int, steps: int) -> tuple[Ints, Ints]:
    """How many levels change in each step, and a pool of distances and lots."""
    rng = stream(seed, symbol, "levels")
    lots = _lots(rng, (POOL,), SIZE, SIZE_SPREAD) * (rng.random(POOL) >= REMOVED)
    away = np.minimum(rng.geometric(0.12, POOL), DEPTH - 1)
    return rng.poisson(REFRESHED, steps), np.stack([away, lots], axis=1)


def _moments(events: Ints, steps: int, seed: int, symbol: int) -> Ints:
    """Milliseconds after the start: changes one by one, what settles a step all at once."""
    from research.sources.simulated.flow.kernels import BURST, STEP

    rng = stream(seed, symbol, "moments")
    settled = rng.integers(STEP_MS // 5, STEP_MS, steps, endpoint=True)
    within = rng.random(len(events))
    step = events[:, STEP]
    until = settled[np.maximum(step, 0)]
    early = 1 + np.floor(within * until).astype(np.int64)
    in_step = np.where(events[:, BURST] == 1, until, np.minimum(early, until))
    moment = np.where(step < 0, 0, STEP_MS * step + in_step)
    return np.sort(moment)  # steps and bursts stay where they are: only changes find their order


def _prints(events: Ints, rng: np.random.Generator) -> Ints:
    """Trades of each order: one to three prints at the price that the taker met."""
    from research.sources.simulated.flow.kernels import ASK, BID, ORDER

    rows = np.flatnonzero(events[:, ORDER])
    lots = events[rows, ORDER]
    before = events[rows - 1]
    ticks = np.where(lots > 0, before[:, ASK], before[:, BID])
    parts = np.minimum(rng.integers(1, PRINTS, len(rows), endpoint=True), np.abs(lots))
    row = np.repeat(np.arange(len(rows)), parts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(parts) - parts, parts)
    size, extra = np.divmod(np.abs(lots), parts)
    each = np.sign(lots)[row] * (size[row] + (place < extra[row]))
    return np.stack([rows[row], ticks[row], each], axis=1)
