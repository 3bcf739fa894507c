"""What moves simulated prices whether or not an edge is planted: volatility and shocks.

Every series has a counter-based stream of its own, keyed by seed, symbol and name, and is drawn in
time order: a market of more days, or more symbols, begins with the very same noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

MARKET = 0
"""Number of what all symbols share; the symbols themselves count from 1."""
_STREAMS = (
    *("vol_fast", "vol_medium", "vol_slow", "shock", "tail", "jump", "jump_size"),
    *("quiet", "missing", "missing_length", "high", "low"),
    *("volume_fast", "volume_slow", "volume", "taker", "trades", "open"),
)

SIGMA = 6e-4
"""Root mean square of a minute's return: 43 % a year, as large coins had in 2024-25."""
HALF_LIVES = np.array([4.2, 123.0, 3193.0])
"""Minutes in which each part of log volatility forgets half of what it was."""
SPREADS = np.array([0.16, 0.40, 0.42])
"""Standard deviations of those parts."""
SHARED = np.array([0.3, 0.5, 0.7])
"""Share of the variance of each part that all symbols have in common."""
CORRELATION = 0.5
"""Between the shocks of two symbols in the same bar."""
TAIL = 4.8
"""Degrees of freedom of the Student shocks, the market's and each symbol's own."""
JUMP_SHARE, JUMP_SIZE = 1 / 360, 4.0
"""One bar in 360 holds a jump, of this standard deviation in units of the bar's own."""
HOURS = np.array(
    [
        *(1.04, 0.82, 0.74, 0.81, 0.79, 0.74, 0.74, 0.77, 0.89, 0.85, 0.91, 0.92),
        *(0.99, 1.07, 1.32, 1.33, 1.22, 1.12, 1.16, 1.22, 1.32, 1.13, 1.11, 0.98),
    ]
)
"""Mean absolute return by UTC hour over the day's mean (BTC perpetual, January 2022)."""
QUARTER = 1.22
"""The same for the minute that opens a quarter of an hour, over other minutes."""


def stream(seed: int, symbol: int, name: str) -> np.random.Generator:
    """Return the random stream of one series, at its beginning.

    Parameters
    ----------
    seed : int
        Of the market, 0 or more.
    symbol : int
        1 for the first symbol, `MARKET` for what all share.
    name : str
        Which series.

    Returns
    -------
    np.random.Generator
        The same numbers for the same three keys, however many are drawn.

    Examples
    --------
    >>> short, long = (stream(1, 2, "shock").standard_normal(n) for n in (3, 5))
    >>> bool((short == long[:3]).all())
    True
    """
    key = np.random.SeedSequence(seed, spawn_key=(symbol, _STREAMS.index(name)))
    return np.random.Generator(np.random.Philox(key))


def seasonality(minutes: int) -> Array:
    """Volatility of each bar of a UTC day over that of the root mean square bar.

    Parameters
    ----------
    minutes : int
        Length of a bar; divides 1440.

    Returns
    -------
    array, shape (1440 // minutes,)
        Its mean square is 1.

    Examples
    --------
    >>> day = seasonality(1)
    >>> day.shape, round(float((day**2).mean()), 9), round(float(day[15] / day[14]), 2)
    ((1440,), 1.0, 1.22)
    """
    minute = np.arange(1440)
    each = HOURS[minute // 60] * np.where(minute % 15 == 0, QUARTER, 1.0)
    variance = (each**2).reshape(-1, minutes).mean(axis=1)
    return np.sqrt(variance / variance.mean())


def autoregression(draws: Array, decay: float) -> Array:
    """Turn white noise into an AR(1) series of unit variance, stationary from its first value.

    Parameters
    ----------
    draws : array, shape (n,)
        Independent, of unit variance.
    decay : float
        Correlation of one value with the next, below 1.

    Returns
    -------
    array, shape (n,)

    Examples
    --------
    >>> autoregression(np.array([1.0, 0.0, 0.0]), 0.5).tolist()
    [1.0, 0.5, 0.25]
    """
    from scipy.signal import lfilter

    gain = np.sqrt(1 - decay**2)
    scaled = np.concatenate(([draws[0]], gain * draws[1:]))
    return lfilter([1.0], [1.0, -decay], scaled)


def states(seed: int, symbol: int, bars: int, minutes: int) -> Array:
    """Draw the three parts of log volatility, each of unit variance.

    Parameters
    ----------
    seed, symbol : int
        Keys of the streams.
    bars, minutes : int
        How many bars, and how long each is.

    Returns
    -------
    array, shape (3, bars)
    """
    names = ("vol_fast", "vol_medium", "vol_slow")
    decays = 0.5 ** (minutes / HALF_LIVES)
    draws = (stream(seed, symbol, name).standard_normal(bars) for name in names)
    return np.array([autoregression(d, decay) for d, decay in zip(draws, decays)])


@dataclass(frozen=True, slots=True)
class Volatility:
    """The volatility of one symbol's bars, and what can be expected of it.

    Attributes
    ----------
    logs : array, shape (3, n_bars + 1)
        Parts of log volatility. Column t rules bar t and is known when bar t opens.
    season : array, shape (bars in a day,)
        From `seasonality`, turned so that it begins with bar 0.
    minutes : int
        Length of a bar.
    """

    logs: Array
    season: Array
    minutes: int

    def realised(self) -> Array:
        """Standard deviation of every bar's simple return, shape (n_bars + 1,)."""
        return self._level(np.arange(self.logs.shape[1])) * np.exp(self.logs.sum(axis=0))

    def expected(self, ahead: int, at: NDArray[np.int64]) -> Array:
        r"""Volatility of bar ``at + ahead`` as expected at the close of bar `at`.

        .. math:: E[\sigma_{t+k} | t] = \sigma S_{t+k} \exp \sum_j \left( p_j v_{j,t+1}
            + \tfrac12 (1 - p_j^2) s_j^2 - s_j^2 \right), \quad p_j = \phi_j^{k-1}

        Parameters
        ----------
        ahead : int
            k above, at least 1; the next bar's volatility is known.
        at : array of int
            Bars, t above.

        Returns
        -------
        array, the shape of `at`
        """
        kept = 0.5 ** (self.minutes * (ahead - 1) / HALF_LIVES)
        spread = ((1 - kept**2) * SPREADS**2).sum() / 2
        return self._level(at + ahead) * np.exp(
            np.tensordot(kept, self.logs[:, at + 1], axes=1) + spread
        )

    def _level(self, bars: NDArray[np.int64]) -> Array:
        # the mean of a squared lognormal is exp(2 s^2): the mean square stays SIGMA^2
        level = SIGMA * np.sqrt(self.minutes) * np.exp(-(SPREADS**2).sum())
        return level * self.season[bars % len(self.season)]


def volatility(own: Array, shared: Array, season: Array, minutes: int) -> Volatility:
    """Mix a symbol's own states with those all symbols share."""
    mixed = np.sqrt(1 - SHARED)[:, None] * own + np.sqrt(SHARED)[:, None] * shared
    return Volatility(SPREADS[:, None] * mixed, season, minutes)


@dataclass(frozen=True, slots=True)
class Shocks:
    """Unit-variance surprises of a series of bars.

    Attributes
    ----------
    value : array, shape (n_bars,)
        Student noise, now and then with a jump.
    diffusion : array, shape (n_bars,)
        Variance of each bar's continuous part: what drives its range, jumps left out.
    """

    value: Array
    diffusion: Array


def shocks(seed: int, symbol: int, bars: int) -> Shocks:
    """Draw one series of shocks: a scale mixture of normals (Student) plus rare jumps."""
    normal, size = (
        stream(seed, symbol, name).standard_normal(bars) for name in ("shock", "jump_size")
    )
    variance = (TAIL - 2) / stream(seed, symbol, "tail").chisquare(TAIL, bars)
    jumped = stream(seed, symbol, "jump").random(bars) < JUMP_SHARE
    unit = 1 + JUMP_SHARE * JUMP_SIZE**2
    value = (np.sqrt(variance) * normal + JUMP_SIZE * jumped * size) / np.sqrt(unit)
    return Shocks(value, variance / unit)


def together(own: Shocks, shared: Shocks) -> Shocks:
    """Mix a symbol's own shocks with the market's, so that two symbols correlate as stated."""
    rest = 1 - CORRELATION
    return Shocks(
        np.sqrt(rest) * own.value + np.sqrt(CORRELATION) * shared.value,
        rest * own.diffusion + CORRELATION * shared.diffusion,
    )


def variances(rng: np.random.Generator, size: tuple[int, ...]) -> Array:
    """Draw the variance of a symbol's shocks, given which they are normal; 1 on average.

    Parameters
    ----------
    rng : np.random.Generator
        Moved on by the draw.
    size : tuple of int
        Shape.

    Returns
    -------
    array, shape `size`

    Examples
    --------
    >>> drawn = variances(stream(0, 1, "tail"), (100_000,))
    >>> round(float(drawn.mean()), 1)
    1.0
    """
    total = np.zeros(size)
    for share in (CORRELATION, 1 - CORRELATION):
        student = (TAIL - 2) / rng.chisquare(TAIL, size)
        total += share * (student + JUMP_SIZE**2 * (rng.random(size) < JUMP_SHARE))
    return total / (1 + JUMP_SHARE * JUMP_SIZE**2)
