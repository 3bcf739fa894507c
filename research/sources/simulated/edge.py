r"""The planted edge: short-term reversal of known strength, and the score it must get.

Let z be a bar's return over its volatility. The signal is a fading sum of past ones and the next
return leans on it:

.. math:: a_t = \lambda a_{t-1} - c z_t, \qquad
    z_{t+1} = \rho a_t + \sqrt{1 - \rho^2} \epsilon_{t+1}

With :math:`c^2 = (1 - \phi^2) / (1 - \rho^2)` and :math:`\lambda = \phi + \rho c` both a and z have
unit variance and a is exactly AR(1) with decay :math:`\phi`, the half life asked for. The sum is
what Wilder's RSI(14) sees when the half life is ten bars, so public bars reveal the edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from research.errors import UserError
from research.sources.simulated import noise
from research.sources.simulated.noise import Array, Volatility

QUIET = 3e-4
"""Share of bars without a trade: nothing moves in them, and the edge waits."""
_DAYS, _DRAWS, _SEED = 200, 128, 0x1C
_POOLED = 8  # beyond, another symbol no longer widens the volatilities met in a day
_FORGOTTEN = 1e-6


@dataclass(frozen=True, slots=True)
class Edge:
    """A planted edge, all lengths in bars.

    Attributes
    ----------
    rho : float
        Correlation of the signal with the next bar's return over its volatility; 0 is no edge.
    decay : float
        Correlation of the signal with itself a bar later.
    """

    rho: float
    decay: float

    @property
    def gain(self) -> float:
        """What a bar's standardised return takes off the signal."""
        return float(np.sqrt((1 - self.decay**2) / (1 - self.rho**2)))

    @property
    def memory(self) -> float:
        """Factor by which the sum of past returns fades from bar to bar."""
        return self.decay + self.rho * self.gain

    def play(self, shocks: Array, quiet: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Turn shocks into standardised returns and the signal known at each bar's close.

        Parameters
        ----------
        shocks : array, shape (n,)
            Independent, of unit variance.
        quiet : array of bool, shape (n,)
            Bars without a trade: their return is 0 and the signal stays what it was.

        Returns
        -------
        returns, signal : arrays, shape (n,)
            ``signal[t]`` is known at the close of bar t and leans on the next bar with a trade.
            Nothing has happened before the first bar: the signal sets out from 0.
        """
        from scipy.signal import lfilter

        surprise = np.sqrt(1 - self.rho**2) * shocks[~quiet]
        # the recursion in past returns, solved for the shocks
        after = np.concatenate(([0.0], lfilter([-self.gain], [1.0, -self.decay], surprise)))
        returns = np.zeros(len(shocks))
        returns[~quiet] = self.rho * after[:-1] + surprise
        return returns, after[np.cumsum(~quiet)]

    def weights(self, horizon: int) -> Array:
        """Share of the signal expected in each of the next bars' standardised returns.

        Shape (at most `horizon`,): cut where nothing is left of it. Quiet bars are allowed
        for: the signal does not fade in them and none of it is paid out.
        """
        step = QUIET + (1 - QUIET) * self.decay
        kept = step ** np.arange(horizon)
        return self.rho * (1 - QUIET) * kept[kept > _FORGOTTEN]

    def forecast(self, signal: Array, volatility: Volatility, horizon: int) -> Array:
        """Return over the next `horizon` bars as expected at each close, shape of `signal`.

        To first order in the returns: what compounding adds is 0.1 % of the forecast's spread at
        ten minutes, 1 % at an hour.
        """
        at = np.arange(len(signal))
        slope = np.zeros(len(signal))
        for ahead, weight in enumerate(self.weights(horizon), start=1):
            slope += weight * volatility.expected(ahead, at)
        return slope * signal + 0.0  # no edge is 0, never -0


def theoretical_ic(edge: Edge, *, symbols: int, horizon: int, minutes: int) -> float:
    r"""Score that the oracle forecast gets on average: per UTC day, the Spearman correlation.

    Within a day of pooled symbols let a row's volatility over the horizon be s, the slope of its
    return on the signal m and that of the oracle's forecast c. To first order in the edge

    .. math:: IC = 12\, E_i\left[ m_i\, E_j \frac{1}{\sqrt{2\pi(s_i^2+s_j^2)}}\;
        c_i E_k \frac{1}{\sqrt{2\pi(c_i^2+c_k^2)}} \right]

    with i, j, k in the same day. Shocks are normal given their own random variance, which goes
    into s; what small samples do to a correlation inside a day comes on top.

    Parameters
    ----------
    edge : Edge
        What is planted.
    symbols : int
        How many are pooled.
    horizon : int
        Bars over which the return is taken.
    minutes : int
        Length of a bar.

    Returns
    -------
    float
        0 for no edge.

    Notes
    -----
    Ranking inside a day takes the day's own level and spread out of forecast and return. Since a
    reversal forecast is a sum of past returns, this alone lifts its score, by about 0.009 with
    the usual settings: the small-sample bias of an autocorrelation [1]_. It is part of the score
    of any such forecast, planted or found, hence of this.

    References
    ----------
    .. [1] Kendall, M. G. (1954). Note on Bias in the Estimation of Autocorrelation. Biometrika 41.
    """
    if edge.rho == 0:
        return 0.0
    ranked = _ranked(edge.decay, min(symbols, _POOLED), horizon, minutes)
    return ranked * _in_days(edge, symbols, horizon, 1440 // minutes)


def plant(ic: float, *, symbols: int, horizon: int, half_life: float, minutes: int) -> Edge:
    """Find the edge whose theoretical score is `ic`.

    Parameters
    ----------
    ic : float
        The score wanted; 0 is no edge.
    symbols, horizon, minutes : int
        As for `theoretical_ic`.
    half_life : float
        Bars after which half of the signal is left.

    Returns
    -------
    Edge

    Raises
    ------
    UserError
        If no edge has this score: it is below what ranking inside a day gives away for nothing,
        or above what the horizon can hold.

    Examples
    --------
    >>> edge = plant(0.06, symbols=5, horizon=10, half_life=10, minutes=1)
    >>> 0.02 < edge.rho < 0.03
    True
    >>> round(theoretical_ic(edge, symbols=5, horizon=10, minutes=1), 6)
    0.06
    """
    from scipy.optimize import brentq

    decay = 0.5 ** (1 / half_life)
    if ic == 0:
        return Edge(0.0, decay)

    def miss(rho: float) -> float:
        edge = Edge(rho, decay)
        return theoretical_ic(edge, symbols=symbols, horizon=horizon, minutes=minutes) - ic

    low, high = 1e-6, 0.98 * ((1 - decay) / 2) ** 0.5  # beyond, past returns no longer fade
    if miss(low) > 0 or miss(high) < 0:
        raise UserError(
            f"simulated market: ic must be 0 or lie between {miss(low) + ic:.4f} and "
            f"{miss(high) + ic:.2f} for this horizon and half life, found {ic}."
        )
    return Edge(brentq(miss, low, high, xtol=1e-14), decay)


@lru_cache(maxsize=64)
def _ranked(decay: float, symbols: int, horizon: int, minutes: int) -> float:
    """Score per unit of correlation that signal and standardised return have over the horizon.

    Depends on volatility alone; 3 / pi = 0.955 where that is constant and noise is normal.
    """
    rng = noise.stream(_SEED, noise.MARKET, "quiet")
    size = (_DAYS, -(-_DRAWS // symbols))
    drawn = [_rows(rng, size, p, decay, horizon) for p in _paths(symbols, horizon, minutes)]
    c, m, s2 = (np.concatenate(parts, axis=1) for parts in zip(*drawn))
    unit = Edge(1.0, decay).weights(horizon).sum() / np.sqrt(horizon)
    return float(12 * (m * _density(s2) * c * _density(c**2)).mean() / unit)


def _paths(symbols: int, horizon: int, minutes: int) -> list[Volatility]:
    bars = _DAYS * (1440 // minutes) + horizon + 1
    shared, *own = (noise.states(_SEED, n, bars, minutes) for n in range(symbols + 1))
    season = noise.seasonality(minutes)
    return [noise.volatility(each, shared, season, minutes) for each in own]


def _rows(
    rng: np.random.Generator, size: tuple[int, int], path: Volatility, decay: float, horizon: int
) -> tuple[Array, Array, Array]:
    """Slopes of forecast and return on the signal, and the return's variance, at random times."""
    day, sigma = len(path.season), path.realised()
    at = rng.integers(0, day, size) + day * np.arange(_DAYS)[:, None]
    c, m, s2 = np.zeros((3, *size))
    weights = Edge(1.0, decay).weights(horizon)
    for ahead in range(1, horizon + 1):
        realised = sigma[at + ahead]
        s2 += realised**2 * noise.variances(rng, size)
        if ahead <= len(weights):
            c += weights[ahead - 1] * path.expected(ahead, at)
            m += weights[ahead - 1] * realised
    return c, m, s2


def _density(variances: Array) -> Array:
    """Mean height of the others' normal density, itself smeared by one's own spread."""
    both = variances[:, :, None] + variances[:, None, :]
    height = 1 / np.sqrt(2 * np.pi * both)
    count = variances.shape[1]
    itself = 1 / np.sqrt(4 * np.pi * variances)
    return (height.sum(axis=2) - itself) / (count - 1)


def _sum_variance(edge: Edge, horizon: int) -> float:
    """Variance of the sum of `horizon` standardised returns; reversal keeps it below `horizon`."""
    lags = np.arange(1, horizon)
    return float(horizon + 2 * ((horizon - lags) * _returns_on_returns(edge, lags)).sum())


def _returns_on_returns(edge: Edge, lags: NDArray[np.int64]) -> Array:
    return edge.rho * edge.decay ** (lags - 1) * _signal_on_return(edge)


def _signal_on_return(edge: Edge) -> float:
    """Covariance of the signal with the return that ended at the same close."""
    return edge.memory * edge.rho - edge.gain


def _in_days(edge: Edge, symbols: int, horizon: int, day: int) -> float:
    r"""Correlation of signal and return to be expected inside a day of `day` bars.

    With sample moments N (covariance), A and Y (variances), about their means and to second order

    .. math:: E\frac{N}{\sqrt{AY}} = \frac{EN}{\sqrt{EA\,EY}} \left(1 + \tfrac38 (VA + VY)
        + \tfrac14 C(A,Y)\right) - \tfrac12 \left(C(N,A) + C(N,Y)\right)
    """
    lags = np.arange(1 - day, day)
    signal = edge.decay ** np.abs(lags)
    returns = np.maximum(horizon - np.abs(lags), 0) / horizon
    both = _signal_on_sums(edge, lags, horizon)
    taper = (1 - np.abs(lags) / day) / day
    # symbols that correlate by r share their means with r, their squares with r^2
    mean, square = (
        (1 + (symbols - 1) * noise.CORRELATION**power) / symbols * taper for power in (1, 2)
    )
    covariance = both[day - 1] - mean @ both
    left = (1 - mean @ signal) * (1 - mean @ returns)
    wobble = square @ (0.75 * (signal**2 + returns**2) + 0.5 * both**2)
    return float(covariance / np.sqrt(left) * (1 + wobble) - square @ ((signal + returns) * both))


def _signal_on_sums(edge: Edge, lags: NDArray[np.int64], horizon: int) -> Array:
    """Correlation of the signal with the sum of returns that begins `lags` bars later."""
    ahead = np.arange(lags[0] + 1, lags[-1] + horizon + 1)  # bars of which those sums are made
    past = _signal_on_return(edge) * edge.decay ** np.maximum(-ahead, 0)
    each = np.where(ahead > 0, edge.rho * edge.decay ** np.maximum(ahead - 1, 0), past)
    return np.convolve(each, np.ones(horizon), "valid") / np.sqrt(_sum_variance(edge, horizon))
