"""How one-sided takers are (VPIN), and how far they move the price (Kyle's lambda)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research.errors import UserError
from research.features.order_flow.windows import microseconds
from research.steps import Streaming, compiled, scan, streaming

BUCKETS = 50
"""Volume buckets that a VPIN is the mean of."""


class VpinMemory(NamedTuple):
    """Memory of `vpin`: the bucket being filled, and the one-sidedness of the last full ones."""

    full: int
    bought: float
    sold: float
    ring: np.ndarray


def vpin_memory(buckets: int = BUCKETS) -> VpinMemory:
    """Return the memory of `vpin` before its first trade."""
    return VpinMemory(0, 0.0, 0.0, np.zeros(buckets))


@compiled
def vpin(state: Any, event: Any, rules: Any) -> Any:
    """Mean one-sidedness of takers over the last buckets of equal volume.

    Parameters
    ----------
    state : VpinMemory
        See `vpin_memory`; its ring is as long as buckets are averaged.
    event : (float, int)
        Quantity of a trade and its taker's side, 1 or -1.
    rules : float
        Volume of a bucket; a trade that does not fit is split over as many as it fills.

    Returns
    -------
    state : VpinMemory
    float
        ``mean |bought - sold| / volume``, 0 to 1; NaN until all buckets were filled once.

    Notes
    -----
    By the taker's true side, not by the price's change [2]_. For n trades of one size a bucket and
    sides tossed by a coin it is about ``sqrt(2 / (pi n))``: compare with that, not with 0.

    References
    ----------
    .. [1] Easley, D., Lopez de Prado, M. and O'Hara, M. (2012). Flow Toxicity and Liquidity in a
       High-frequency World. Review of Financial Studies 25(5), 1457-1493.
    .. [2] Andersen, T. G. and Bondarenko, O. (2014). VPIN and the flash crash. Journal of
       Financial Markets 17, 1-46.
    """
    quantity, side = event
    full, bought, sold, ring = state
    left = quantity
    while left > 0.0:
        # what a bucket still takes; at least its rounding, so that it ends
        part = min(left, rules - (bought + sold))
        bought, sold = bought + (part if side > 0 else 0.0), sold + (0.0 if side > 0 else part)
        if part < left or bought + sold >= rules:
            ring[full % len(ring)] = abs(bought - sold) / rules
            full, bought, sold = full + 1, 0.0, 0.0
        left -= part
    value = ring.sum() / len(ring) if full >= len(ring) else np.nan
    return VpinMemory(full, bought, sold, ring), value


def streaming_vpin(volume: float, *, buckets: int = BUCKETS) -> Streaming:
    """VPIN to be fed one trade at a time.

    Parameters
    ----------
    volume : float
        Of a bucket, in units of quantity.
    buckets : int
        How many are averaged.

    Returns
    -------
    Streaming
        ``.update(quantity, taker_side) -> float``; NaN until all buckets were filled once.

    Raises
    ------
    UserError
        If either is not above 0.

    Examples
    --------
    >>> toxic = streaming_vpin(2.0, buckets=2)
    >>> [toxic.update(1.0, side) for side in (1, 1, 1, -1)]
    [nan, nan, nan, 0.5]
    """
    if not (volume > 0 and buckets > 0):
        raise UserError(f"vpin: volume and buckets must be above 0, found {volume} and {buckets}.")
    return streaming(vpin, vpin_memory(buckets), float(volume))


class SlopeMemory(NamedTuple):
    """Memory of `price_impact`: weighted means, and sums about them."""

    now: int
    seen: int
    weight: float
    flow: float
    change: float
    squares: float
    products: float


def slope_memory() -> SlopeMemory:
    """Return the memory of `price_impact` before its first bin."""
    return SlopeMemory(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)


@compiled
def price_impact(state: Any, event: Any, rules: Any) -> Any:
    """Slope of the price's change on the takers' flow of the same bins: Kyle's lambda.

    Parameters
    ----------
    state : SlopeMemory
        See `slope_memory`.
    event : (int, float, float)
        Time in microseconds, flow (bought less sold) and change of the price; NaN is passed over.
    rules : float
        Half-life of a bin's weight by the clock, microseconds; infinite for all bins alike.

    Returns
    -------
    state : SlopeMemory
    float
        Price per quantity; NaN in the first two bins and while the flow does not vary.

    References
    ----------
    Kyle, A. S. (1985). Continuous Auctions and Insider Trading. Econometrica 53(6), 1315-1335.
    """
    time, flow, change = event
    if flow != flow or change != change:
        return state, np.nan
    fade = 2.0 ** (-max(time - state.now, 0) / rules) if state.seen else 0.0
    weight = state.weight * fade + 1.0
    beside, above = flow - state.flow, change - state.change
    mean_flow, mean_change = state.flow + beside / weight, state.change + above / weight
    squares = state.squares * fade + beside * (flow - mean_flow)
    products = state.products * fade + beside * (change - mean_change)
    state = SlopeMemory(time, state.seen + 1, weight, mean_flow, mean_change, squares, products)
    return state, products / squares if state.seen > 2 and squares > 0.0 else np.nan


def kyle_lambda(bins: pl.DataFrame, *, half_life: timedelta | str | None = None) -> pl.DataFrame:
    """Kyle's lambda as it was known at the end of each bin.

    Parameters
    ----------
    bins : pl.DataFrame
        Of `aggregate` with trades.
    half_life : timedelta or str, optional
        Of a bin's weight; left out, all bins so far weigh alike.

    Returns
    -------
    pl.DataFrame
        ``symbol, time, kyle_lambda`` (price per quantity), null where a bin is not known and in
        the first two.
    """
    fade = np.inf if half_life is None else float(microseconds(half_life))
    parts = [_impact(part, fade) for part in bins.partition_by("symbol", maintain_order=True)]
    return pl.concat(parts)


def _impact(bins: pl.DataFrame, fade: float) -> pl.DataFrame:
    numbers = (bins[c].cast(pl.Float64).fill_null(np.nan) for c in ("trade_flow", "mid_change"))
    columns = bins["time"].dt.epoch("us").to_numpy(), *(np.array(n.to_numpy()) for n in numbers)
    _, slope = scan(price_impact, slope_memory(), columns, fade)
    found = pl.Series("kyle_lambda", slope, pl.Float64).fill_nan(None)
    return bins.select("symbol", "time").with_columns(found)
