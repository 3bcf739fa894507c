"""Differences over all that came before, not over a window; and back again."""

from __future__ import annotations

from typing import Any

import numpy as np

from research.errors import UserError
from research.features.fracdiff.weights import full_weights
from research.features.fracdiff.window import as_array


def full(values: Any, d: float) -> np.ndarray:
    r"""Fractional difference of order d over the whole past.

    .. math:: y_t = (1 - L)^d x_t = \sum_{k=0}^{t} w_k \, x_{t-k}

    with x zero before its first value.

    Parameters
    ----------
    values : array-like of float, shape (n,)
        In order of time; numpy, polars or pandas. All finite.
    d : float
        Order, between -2 and 2; one below zero sums instead, so ``full(full(x, d), -d)`` is x.

    Returns
    -------
    np.ndarray, shape (n,)
        Known from the first value.

    Raises
    ------
    UserError
        If a value is not finite, or `d` out of range.

    Notes
    -----
    One fast Fourier transform of the whole [1]_: 45,000 values take milliseconds where the sum
    takes seconds. The first values are differences from few others, so they are of another
    spread than the later ones: a study of a long series, not a feature (`ffd_exact`).

    References
    ----------
    .. [1] Jensen, A. and Nielsen, M. (2014). A Fast Fractional Difference Algorithm. Journal of
       Time Series Analysis 35(5), 428-436.

    Examples
    --------
    >>> full([1.0, 3.0, 3.5], 1.0).round(12).tolist()
    [1.0, 2.0, 0.5]
    >>> full(full([1.0, 3.0, 3.5], 0.4), -0.4).round(12).tolist()
    [1.0, 3.0, 3.5]
    """
    from scipy import fft

    if not -2 <= d <= 2:
        raise UserError(f"fracdiff: the order d must lie between -2 and 2, found {d!r}.")
    series = as_array(values)
    refuse_gaps(series, "full")
    block = fft.next_fast_len(max(2 * len(series) - 1, 1), real=True)
    waves = fft.rfft(series, block) * fft.rfft(full_weights(d, len(series)), block)
    return fft.irfft(waves, block)[: len(series)]


def refuse_gaps(series: np.ndarray, who: str) -> None:
    """Refuse a series with a value that is not finite."""
    unknown = ~np.isfinite(series)
    if unknown.any():
        first = int(unknown.argmax())
        raise UserError(
            f"{who}: every value must be known, found {series[first]} at row {first} "
            f"({int(unknown.sum())} such). Cut the series at its gaps."
        )
