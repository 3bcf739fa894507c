"""Series whose memory is known: exact moments, samples, and a measure of memory to test on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from research.errors import UserError
from research.features.fracdiff.full import refuse_gaps
from research.features.fracdiff.window import as_array

_LEAST = 128
_POWER = 0.65
_SWITCH = 0.6


def autocovariance(d: float, lags: int) -> np.ndarray:
    r"""Autocovariance of fractional noise, (1 - L)^d x = e with e of unit variance.

    .. math:: \gamma_0 = \frac{\Gamma(1 - 2d)}{\Gamma(1 - d)^2}, \quad
       \gamma_k = \gamma_{k-1} \frac{k - 1 + d}{k - d}

    Parameters
    ----------
    d : float
        Memory, above -1 and below 0.5.
    lags : int
        How many beyond lag 0.

    Returns
    -------
    np.ndarray, shape (lags + 1,)
        Variance first.

    Raises
    ------
    UserError
        If such noise has no finite variance.

    References
    ----------
    .. [1] Hosking, J. (1981). Fractional Differencing. Biometrika 68(1), 165-176.

    Examples
    --------
    >>> autocovariance(0.4, 0).round(5).tolist()
    [2.0701]
    """
    from math import gamma

    if not -1 < d < 0.5:
        raise UserError(f"arfima: the memory d must lie above -1 and below 0.5, found {d!r}.")
    k = np.arange(1.0, lags + 1)
    ratios = np.cumprod(np.append(1.0, (k - 1 + d) / (k - d)))
    return gamma(1 - 2 * d) / gamma(1 - d) ** 2 * ratios


def sample(covariance: np.ndarray, *, series: int, seed: int) -> np.ndarray:
    """Draw stationary Gaussian series of exactly this autocovariance, by circulant embedding.

    Parameters
    ----------
    covariance : np.ndarray, shape (n,)
        Of lags 0 to n - 1.
    series : int
        How many.
    seed : int
        Of the random numbers.

    Returns
    -------
    np.ndarray, shape (series, n)

    Raises
    ------
    UserError
        If no such series exists, or none that this method can draw.

    References
    ----------
    .. [1] Davies, R. and Harte, D. (1987). Tests for Hurst Effect. Biometrika 74(1), 95-101.

    Examples
    --------
    >>> sample(autocovariance(0.4, 99), series=3, seed=1).shape
    (3, 100)
    """
    from scipy import fft

    rows = len(covariance)
    circle = np.concatenate([covariance, covariance[-2:0:-1]])
    power = fft.rfft(circle).real
    if power.min() < -1e-6 * power.max():
        raise UserError("arfima: these autocovariances are of no series that can be drawn.")
    rng = np.random.Generator(np.random.PCG64(seed))
    waves = fft.rfft(rng.standard_normal((series, len(circle))))
    waves *= np.sqrt(np.maximum(power, 0.0))
    return fft.irfft(waves, len(circle))[:, :rows]


class Memory(NamedTuple):
    """An order of integration and its standard error."""

    order: float
    error: float


def local_whittle(values: Any) -> Memory:
    r"""Estimate the order of integration of a series from its lowest frequencies.

    .. math:: \hat d = \arg\min_d \; \ln \frac{1}{m} \sum_{j=1}^{m} \lambda_j^{2d} I(\lambda_j)
       - \frac{2d}{m} \sum_{j=1}^{m} \ln \lambda_j, \quad m = n^{0.65}

    Parameters
    ----------
    values : array-like of float, shape (n,)
        All finite, at least 128; numpy, polars or pandas.

    Returns
    -------
    Memory
        order: 0 for noise without memory, 1 for a random walk; a series of less than 0.5 is
        stationary. error: its standard error, :math:`1 / (2 \sqrt m)`.

    Raises
    ------
    UserError
        If the series is too short, does not vary, or holds a value that is not finite.

    Notes
    -----
    Estimated on the series itself, which is right for orders from -0.5 to 0.75; where that says
    more than 0.6, on its changes, plus one, which is right from 0.5 to 1.5.

    References
    ----------
    .. [1] Robinson, P. (1995). Gaussian Semiparametric Estimation of Long Range Dependence.
       Annals of Statistics 23(5), 1630-1661.

    Examples
    --------
    >>> noise = sample(autocovariance(0.3, 9_999), series=1, seed=1)[0]
    >>> abs(local_whittle(noise).order - 0.3) < 0.1
    True
    """
    series = as_array(values)
    refuse_gaps(series, "local_whittle")
    if len(series) < _LEAST:
        raise UserError(f"local_whittle: needs {_LEAST} values or more, found {len(series)}.")
    if np.ptp(series) == 0.0:
        raise UserError(f"local_whittle: the series must vary, found {series[0]:g} throughout.")
    order, changes = _whittle(series), np.diff(series)
    # changes that are all one number, of a straight line, have no spectrum
    if order > _SWITCH and np.ptp(changes) > 0.0:
        order = 1.0 + _whittle(changes)
    return Memory(order, 0.5 / _frequencies(len(series)) ** 0.5)


def _frequencies(rows: int) -> int:
    return int(rows**_POWER)


def _whittle(series: np.ndarray) -> float:
    from scipy import fft, optimize

    rows = len(series)
    lowest = slice(1, _frequencies(rows) + 1)
    power = np.abs(fft.rfft(series - series.mean())[lowest]) ** 2
    logs = np.log(2 * np.pi * np.arange(1, len(power) + 1) / rows)

    def loss(d: float) -> float:
        return float(np.log(np.mean(np.exp(2 * d * logs) * power)) - 2 * d * logs.mean())

    return float(optimize.minimize_scalar(loss, bounds=(-0.99, 0.99), method="bounded").x)
