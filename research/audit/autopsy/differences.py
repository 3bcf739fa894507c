"""Fractional differences, the right way round and the third source's way."""

from __future__ import annotations

import numpy as np

THRESHOLD = 1e-5
"""The source's: weights smaller than this are left out."""
ORDERS = np.round(np.arange(0.1, 1.01, 0.1), 1)
CRITICAL = -2.86
"""Of Dickey and Fuller's test with a constant, at 5 %, in long samples."""
FEWEST = 240


def weights(order: float) -> np.ndarray:
    r"""Return the weights of a fractional difference, the newest first.

    .. math:: w_0 = 1, \quad w_k = -w_{k-1} (d - k + 1) / k

    until they are smaller than the source's threshold (fixed-width window, Lopez de Prado 2018,
    chapter 5).

    Parameters
    ----------
    order : float
        d above.

    Examples
    --------
    >>> len(weights(0.4)), weights(0.4)[:3].round(3).tolist()
    (1458, [1.0, -0.4, -0.12])
    """
    k = np.arange(1, 10_000)
    every = np.concatenate([[1.0], np.cumprod((k - 1 - order) / k)])
    small = np.flatnonzero(np.abs(every) < THRESHOLD)
    return every[: small[0]] if len(small) else every


def differenced(price: np.ndarray, order: float, *, backwards: bool = False) -> np.ndarray:
    """Return the fractional difference of a series, NaN before its window is full.

    Parameters
    ----------
    price : np.ndarray, shape (n,)
        Usually of logarithms.
    order : float
        Of the difference.
    backwards : bool
        With the kernel the wrong way round, as the source's batch has it: the newest weight, 1,
        meets the oldest price.

    Examples
    --------
    >>> step = np.repeat([0.0, 1.0], 5)
    >>> differenced(step, 1.0)[4:7].tolist()
    [0.0, 1.0, 0.0]
    """
    kernel = weights(order)
    turned = kernel[::-1] if backwards else kernel
    made = np.full(len(price), np.nan)
    if len(price) >= len(kernel):
        made[len(kernel) - 1 :] = np.convolve(price, turned, mode="valid")
    return made


def searched(price: np.ndarray, *, backwards: bool) -> float:
    """Return the least order at which the test of Dickey and Fuller finds no unit root."""
    for order in ORDERS:
        made = differenced(price, float(order), backwards=backwards)
        made = made[np.isfinite(made)]
        if len(made) > FEWEST and _dickey_fuller(made) < CRITICAL:
            return float(order)
    return 1.0


def _dickey_fuller(series: np.ndarray) -> float:
    """Return the t value of the level in a regression of the change on it."""
    before, change = series[:-1] - series[:-1].mean(), np.diff(series)
    slope = before @ change / (before @ before)
    left = change - change.mean() - slope * before
    return float(slope / np.sqrt(left @ left / (len(left) - 2) / (before @ before)))
