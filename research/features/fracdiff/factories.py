"""Fractional differences as columns of a feature set."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl

from research.features.fracdiff.weights import THRESHOLD, weights
from research.features.fracdiff.window import ffd_exact
from research.features.kernels import numpy_expr


def fracdiff_price(d: float = 0.4, threshold: float = THRESHOLD) -> pl.Expr:
    r"""Fractional difference of the log close, of balanced weights.

    .. math:: y_t = \sum_{k=0}^{L-1} w_k \ln C_{t-k}, \quad \sum_k w_k = 0

    Parameters
    ----------
    d, threshold : float
        As for `fracdiff.weights`; d above 0.

    Returns
    -------
    pl.Expr of Float64
        Log return (0.001 is 10 bps). Null in the first ``L - 1`` bars: 281 at d = 0.4 and 1e-4.

    Notes
    -----
    Knows ``close`` up to t. The weights sum to zero, so the column is the same for a price of
    another unit, and stationary for a random walk: it is a weighted sum of the last L - 1
    returns. The compiled scan of `fracdiff.step`, not a Fourier transform, whose last bits would
    depend on later bars: batch and live are bit-equal.

    References
    ----------
    .. [1] Lopez de Prado, M. (2018). Advances in Financial Machine Learning, ch. 5. Wiley.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [100.0, 101.0, 100.0]})
    >>> bars.select(fracdiff_price(1.0).round(5)).to_series().to_list()
    [None, 0.00995, -0.00995]
    """
    return _difference("close", d, threshold)


def fracdiff_volume(d: float = 0.5, threshold: float = THRESHOLD) -> pl.Expr:
    """Fractional difference of ``ln(1 + volume)``, of balanced weights.

    Parameters
    ----------
    d, threshold : float
        As for `fracdiff.weights`; d above 0.

    Returns
    -------
    pl.Expr of Float64
        In logarithms; null in the first ``L - 1`` bars: 199 at d = 0.5 and 1e-4.

    Notes
    -----
    Knows ``volume`` up to t. A bar without trades counts as 0. Of volume in a coin of which a
    bar trades much less than one, the logarithm is nearly the volume itself.

    Examples
    --------
    >>> bars = pl.DataFrame({"volume": [0.0, 1.0]})
    >>> bars.select(fracdiff_volume(1.0).round(4)).to_series().to_list()
    [None, 0.6931]
    """
    return _difference("volume", d, threshold)


def _difference(column: str, d: float, threshold: float) -> pl.Expr:
    lookback = len(weights(d, threshold)) - 1
    heart = partial(_differenced, column=column, d=d, threshold=threshold, lookback=lookback)
    return numpy_expr(heart, column, lookback=lookback)


def _differenced(
    values: np.ndarray, column: str, d: float, threshold: float, lookback: int
) -> np.ndarray:
    logs = np.log(values) if column == "close" else np.log1p(values)
    return ffd_exact(logs, d, threshold=threshold, balanced=True)[lookback:]
