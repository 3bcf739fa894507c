"""Trades that a bar could have been made of: put together again they are exactly that bar."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
CAP = 16
"""Prints of a bar at most, beside its open, high, low and close."""
SHARES = (1e-3, 1e-5, 1e-7, 1e-9, 1e-12)
"""Parts of a side's volume that touch the open, high, low and close, tried in turn."""


class Candle(NamedTuple):
    """One bar as a venue knows it; times in microseconds since 1970 UTC."""

    open_time: int
    close_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote: float
    trades: int
    buy: float
    buy_quote: float
    first: int
    """Id of its first trade; its last is ``first + trades - 1``."""


class Print(NamedTuple):
    """Trades of one taker at one price and time, as Binance gathers them."""

    id: int
    price: float
    quantity: float
    first: int
    last: int
    time: int
    maker: bool
    """Whether the buyer was the maker: the seller took."""


def counts(candles: list[Candle]) -> list[int]:
    """Return how many prints `made` makes of each candle, without making them.

    >>> bar = Candle(0, 60_000_000, 1.0, 1.2, 0.9, 1.1, 5.0, 5.2, 40, 2.0, 2.1, first=1)
    >>> counts([bar]) == [len(made(bar, 1, "a seed"))]
    True
    """
    if not candles:
        return []
    table = np.array([candle[2:11] for candle in candles])
    first, high, low, last, volume, _, trades, buy, _ = table.T
    inner = ((high != first) & (high != last)).astype(int) + ((low != first) & (low != last))
    anchors = np.where(high == low, 1, 2 + inner)
    each = np.clip((trades - anchors) // 2, 1, CAP // 2).astype(int)
    sides = (buy > _least(volume)).astype(int) + (volume - buy > _least(volume))
    return [int(n) for n in np.where(volume > 0, anchors + each * sides, 0)]


def made(candle: Candle, first_id: int, seed: str) -> list[Print]:
    """Return the prints of `candle`, in order of time.

    Parameters
    ----------
    candle : Candle
        Its quote volumes must be possible between its low and its high.
    first_id : int
        Id of the first print.
    seed : str
        Same seed, same prints.

    Returns
    -------
    list of Print
        First price the open, last the close, extremes the high and the low. Quantities sum to
        the volume, those of takers who bought to the taker volume, products with the price to
        the quote volumes, all to 1e-9 of the value; ``last - first + 1`` sums to the trades.
        A bar of fewer trades than it takes to do this has prints of no trade (last = first - 1).
        Empty for a bar without volume.
    """
    if candle.volume <= 0:
        return []
    rng = Random(f"{seed}|{candle.open_time}")
    anchors = _anchors(candle)
    sides = _sides(candle)
    each = min(max((candle.trades - len(anchors)) // 2, 1), CAP // 2)
    touched = {buys: [p for p in anchors if _side(p, candle, sides) == buys] for buys in sides}
    touch: dict[bool, float] = {}
    bulk: list[tuple[float, float, bool]] = []
    for buys, (volume, quote) in sides.items():
        touch[buys], rest, price = _split(candle, volume, quote, touched[buys])
        bulk += [(p, q, buys) for p, q in _spread(rest, price, each, candle, rng)]
    rng.shuffle(bulk)
    ends = [(p, touch[s := _side(p, candle, sides)], s) for p in anchors]
    middle = [*ends[1:-1], *bulk]
    rng.shuffle(middle)
    path = [ends[0], *middle, *ends[1:][-1:]]
    return _stamped(candle, path, first_id, rng)


def _least(volume: Any) -> Any:
    """Return the volume below which a side is rounding dust."""
    return 1e-14 * volume


def _anchors(candle: Candle) -> list[float]:
    """Return the prices that must be touched: open first, close last."""
    ends = (candle.open, candle.close)
    if candle.high == candle.low:
        return [candle.open]
    return [candle.open, *(p for p in (candle.high, candle.low) if p not in ends), candle.close]


def _sides(candle: Candle) -> dict[bool, tuple[float, float]]:
    """Return volume and quote volume of takers who bought (True) and sold, where there are any."""
    both = {
        True: (candle.buy, candle.buy_quote),
        False: (candle.volume - candle.buy, candle.quote - candle.buy_quote),
    }
    return {buys: side for buys, side in both.items() if side[0] > _least(candle.volume)}


def _side(price: float, candle: Candle, sides: dict[bool, tuple[float, float]]) -> bool:
    """Return who touches a price: the side whose mean price has most room to make up for it."""

    def room(buys: bool) -> float:
        mean = sides[buys][1] / sides[buys][0]
        away = price - mean
        if abs(away) <= 1e-9 * price:  # the same but for rounding: nothing to make up for
            return float("inf")
        return (mean - candle.low if away > 0 else candle.high - mean) / abs(away)

    return max(sides, key=room)


def _split(
    candle: Candle, volume: float, quote: float, touched: list[float]
) -> tuple[float, float, float]:
    """Return the quantity of each touch, the quantity left and its mean price."""
    for share in SHARES:
        touch = volume * share
        rest = volume - touch * len(touched)
        price = (quote - touch * sum(touched)) / rest
        if candle.low <= price <= candle.high:
            return touch, rest, price
    return touch, rest, min(max(price, candle.low), candle.high)


def _spread(
    volume: float, price: float, count: int, candle: Candle, rng: Random
) -> list[tuple[float, float]]:
    """Return `count` (price, quantity) of that volume and mean price, in pairs around it."""
    room = min(candle.high - price, price - candle.low)
    weights = [rng.uniform(0.2, 1.0) for _ in range((count + 1) // 2)]
    scale = volume / sum(weights)
    out: list[tuple[float, float]] = []
    for place, weight in enumerate(weights):
        if 2 * place + 1 == count:
            out.append((price, weight * scale))
            continue
        off = rng.random() * room
        high, low = min(price + off, candle.high), max(price - off, candle.low)
        out += [(high, weight * scale / 2), (low, weight * scale / 2)]
    return out


def _stamped(
    candle: Candle, path: list[tuple[float, float, bool]], first_id: int, rng: Random
) -> list[Print]:
    length = (candle.close_time - candle.open_time) // 1000
    trades, made_up = candle.first, []
    each, more = divmod(candle.trades, len(path))
    for place, (price, quantity, buys) in enumerate(path):
        stamp = candle.open_time + int((place + 0.9 * rng.random()) / len(path) * length) * 1000
        last = trades + each + (place < more) - 1
        made_up.append(Print(first_id + place, price, quantity, trades, last, stamp, not buys))
        trades = last + 1
    return made_up
