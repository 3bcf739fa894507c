"""From standardised returns to the rows an exchange would publish: prices, volumes, gaps."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from research.sources.simulated import noise
from research.sources.simulated.noise import Array, Shocks

LISTED_AT = (60_000.0, 3_000.0, 150.0, 0.6, 20.0, 0.08, 8.0, 400.0, 0.3, 90.0)
"""First prices, by symbol; the eleventh symbol begins as the first does."""
_TURNOVER, _ORDER = 250_000.0, 250.0
"""Median quote volume of a minute, and of what one trade moves in it."""
_GAP_EVERY, _GAP_MEAN = 10 * 1440.0, 3.0
_OUTAGE_EVERY, _OUTAGE_MIN, _OUTAGE_MAX = 30 * 1440.0, 5.0, 60.0
"""Minutes between holes of one symbol and outages of the venue, and how long they last."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Open, high, low and close of each bar, arrays of shape (n_bars,)."""

    open: Array
    high: Array
    low: Array
    close: Array


def draw(
    key: tuple[int, int],
    *,
    returns: Array,
    sigma: Array,
    shock: Shocks,
    quiet: NDArray[np.bool_],
) -> dict[str, NDArray]:
    """Draw the published columns of one symbol's bars.

    Parameters
    ----------
    key : (int, int)
        Seed and symbol.
    returns : array, shape (n,)
        Simple return of each bar, from its open to its close; the next bar opens there.
    sigma : array, shape (n,)
        Volatility of each bar, in simple returns.
    shock : Shocks
        Where the returns came from: the variance of each bar's continuous part.
    quiet : array of bool, shape (n,)
        Bars without a trade: all four prices are the previous close, all volumes 0.

    Returns
    -------
    dict of str to array, shape (n,)
        The columns of `schema.BARS` from `open` on.
    """
    bars = _prices(key, returns, sigma**2 * shock.diffusion, quiet)
    return {**asdict(bars), **_volumes(key, bars, sigma, quiet)}


def _prices(
    key: tuple[int, int], returns: Array, variance: Array, quiet: NDArray[np.bool_]
) -> Prices:
    first = LISTED_AT[(key[1] - 1) % len(LISTED_AT)]
    close = first * np.cumprod(1 + returns)
    decimals = 5 - math.floor(math.log10(first))  # a tick of 0.01 to 0.1 bps at the first price
    before = np.concatenate(([first], close[:-1]))
    # the first trade of a bar is seldom at the last one's price: a bounce of a tick, half the time
    bounce = noise.stream(*key, "open").choice([-1.0, 0.0, 0.0, 1.0], len(close)) / 10**decimals
    opened = np.where(quiet, before, before + bounce)
    rise = extreme(noise.stream(*key, "high").random(len(close)), returns, variance)
    fall = extreme(noise.stream(*key, "low").random(len(close)), -returns, variance)
    high = np.where(quiet, opened, np.maximum(before * (1 + rise), opened))
    low = np.where(quiet, opened, np.minimum(before * (1 - fall), opened))
    return Prices(*(np.round(p, decimals) for p in (opened, high, low, close)))


def extreme(uniform: Array, returns: Array, variance: Array) -> Array:
    r"""Highest return inside each bar, given its return: the law of a Brownian bridge.

    .. math:: H = \tfrac12 \left(x + \sqrt{x^2 - 2 s^2 \ln U}\right)

    Parameters
    ----------
    uniform : array, shape (n,)
        U above, from 0 up to but not 1.
    returns, variance : array, shape (n,)
        Return x of each bar and variance s^2 of its continuous part.

    Returns
    -------
    array, shape (n,)
        At least 0 and at least the bar's own return.

    References
    ----------
    .. [1] Beaglehole, D., Dybvig, P., Zhou, G. (1997). Going to Extremes: Correcting Simulation
       Bias in Exotic Option Valuation. Financial Analysts Journal 53(1).

    Examples
    --------
    >>> extreme(np.array([0.0]), np.array([0.002]), np.array([1e-6])).tolist()
    [0.002]
    """
    return (returns + np.sqrt(returns**2 - 2 * variance * np.log(1 - uniform))) / 2


def _volumes(
    key: tuple[int, int], bars: Prices, sigma: Array, quiet: NDArray[np.bool_]
) -> dict[str, NDArray]:
    swing = (bars.high - bars.low) / bars.open / sigma
    turnover = _TURNOVER * np.exp(_log_volume(key, sigma, swing))
    first = LISTED_AT[(key[1] - 1) % len(LISTED_AT)]
    lots = 1000.0 if first >= 1 else 1.0  # in one unit of the coin
    volume = np.where(quiet, 0.0, np.maximum(np.round(turnover / first * lots), 1) / lots)
    bought = np.round(volume * _buyers(key, bars, sigma) * lots) / lots
    paid = (bars.open + bars.high + bars.low + bars.close) / 4
    luck = np.exp(0.3 * noise.stream(*key, "trades").standard_normal(len(volume)))
    trades = np.maximum(np.round((turnover / _ORDER) ** 0.9 * luck), 1)
    return {
        "volume": volume,
        "quote_volume": volume * paid,
        "trades": np.where(quiet, 0, trades).astype(np.int64),
        "taker_buy_volume": bought,
        "taker_buy_quote_volume": bought * paid,
    }


def _log_volume(key: tuple[int, int], sigma: Array, swing: Array) -> Array:
    """Log of volume over its median: it follows volatility, the bar's range, and itself."""
    slow, fast, now = (
        noise.stream(*key, name).standard_normal(len(sigma))
        for name in ("volume_slow", "volume_fast", "volume")
    )
    lasting = noise.autoregression(slow, 0.5 ** (1 / 900))
    passing = noise.autoregression(fast, 0.5 ** (1 / 4))
    heat = 0.9 * np.log(sigma / noise.SIGMA) + 0.75 * np.log(swing + 0.1)
    return heat + 0.45 * lasting + 0.5 * passing + 0.5 * now


def _buyers(key: tuple[int, int], bars: Prices, sigma: Array) -> Array:
    """Share of volume that takers bought, between 0 and 1: more of it in rising bars."""
    move = np.clip((bars.close / bars.open - 1) / sigma, -5, 5)
    luck = noise.stream(*key, "taker").standard_normal(len(sigma))
    return 1 / (1 + np.exp(-0.35 * move - 0.5 * luck))


def absent(seed: int, symbol: int, bars: int, minutes: int) -> NDArray[np.bool_]:
    """Mark the bars that a symbol's holes and the venue's outages keep from being published.

    Parameters
    ----------
    seed, symbol : int
        Keys of the random streams.
    bars, minutes : int
        How many bars, and how long each is.

    Returns
    -------
    array of bool, shape (bars,)
        A hole of one symbol every ten days or so, of a few minutes; an outage of all symbols
        every thirty, of 5 to 60 minutes.
    """
    gone = np.zeros(bars, dtype=bool)
    for start, luck in _starts(seed, symbol, bars, minutes / _GAP_EVERY):
        length = 1 - _GAP_MEAN * math.log(1 - luck)
        gone[start : start + math.ceil(length / minutes)] = True
    for start, luck in _starts(seed, noise.MARKET, bars, minutes / _OUTAGE_EVERY):
        length = _OUTAGE_MIN + luck * (_OUTAGE_MAX - _OUTAGE_MIN)
        gone[start : start + math.ceil(length / minutes)] = True
    return gone


def _starts(seed: int, symbol: int, bars: int, chance: float) -> list[tuple[int, float]]:
    begun = np.flatnonzero(noise.stream(seed, symbol, "missing").random(bars) < chance)
    luck = noise.stream(seed, symbol, "missing_length").random(len(begun))
    return list(zip(begun.tolist(), luck.tolist()))
