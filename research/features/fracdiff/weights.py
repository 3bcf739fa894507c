"""Weights of a fractional difference: how much of each earlier value it takes away."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError

THRESHOLD = 1e-4
"""A weight below this in size ends a fixed window: 282 values at d = 0.4."""
_SMALLEST = 1e-7
_FIRST_GUESS = 512


def weights(d: float, threshold: float = THRESHOLD, *, balanced: bool = False) -> np.ndarray:
    r"""Weights of a difference of order d over a fixed window, newest value first.

    .. math:: w_0 = 1, \quad w_k = -w_{k-1} \frac{d - k + 1}{k}

    Parameters
    ----------
    d : float
        Order, 0 to 2: 0 leaves a series as it is, 1 takes plain differences.
    threshold : float
        The window ends before the first weight of less than this in size; 1e-7 up to below 1.
    balanced : bool
        Whether the oldest weight is set so that all sum to zero. The difference then does not
        depend on the level of the series: that of a log price not on the unit of the price.

    Returns
    -------
    np.ndarray, shape (window,)
        At d = 0.4: 55 weights for a threshold of 1e-3, 282 for 1e-4, 1458 for 1e-5. Read-only.

    Raises
    ------
    UserError
        If `d` or `threshold` is outside its range.

    Notes
    -----
    Of the infinitely many weights, whose sum is 0 for d > 0, a window keeps the first ones: their
    sum S is above zero, so S times the level is left in the difference (S = 0.036 at d = 0.4 and
    1e-5). Subtract a level known before (`ffd` takes ``level=``), or balance the weights.

    References
    ----------
    .. [1] Hosking, J. (1981). Fractional Differencing. Biometrika 68(1), 165-176.
    .. [2] Lopez de Prado, M. (2018). Advances in Financial Machine Learning, ch. 5. Wiley.

    Examples
    --------
    >>> weights(0.4, 0.04).round(4).tolist()
    [1.0, -0.4, -0.12, -0.064, -0.0416]
    >>> weights(1.0).tolist(), weights(0.0).tolist()
    ([1.0, -1.0], [1.0])
    """
    _check(d, threshold)
    return _weights(float(d), float(threshold), balanced)


def full_weights(d: float, size: int) -> np.ndarray:
    """Return the first `size` weights of a difference of order d, of any sign, newest first.

    >>> full_weights(-1.0, 3).tolist()
    [1.0, 1.0, 1.0]
    """
    k = np.arange(1.0, size)
    return np.cumprod(np.append(1.0, (k - 1.0 - d) / k))[:size]


def weight_table(orders: Sequence[float], threshold: float = THRESHOLD) -> pl.DataFrame:
    """Return the weights of several orders in long form, for a picture.

    Parameters
    ----------
    orders : sequence of float
        Each as for `weights`.
    threshold : float
        As for `weights`.

    Returns
    -------
    pl.DataFrame, shape (n_weights, 3)
        d, lag (values back, 0 the newest) and weight.

    Examples
    --------
    >>> weight_table([1.0]).rows()
    [(1.0, 0, 1.0), (1.0, 1, -1.0)]
    """
    tables = [
        pl.DataFrame({"weight": found}).select(
            pl.lit(float(d)).alias("d"), pl.int_range(pl.len()).alias("lag"), "weight"
        )
        for d in orders
        for found in [weights(d, threshold)]
    ]
    return pl.concat(tables)


@cache
def _weights(d: float, threshold: float, balanced: bool) -> np.ndarray:
    size = _FIRST_GUESS
    while not (small := np.abs(found := full_weights(d, size)) < threshold).any():
        size *= 4
    kept = found[: int(small.argmax())].copy()
    if balanced and len(kept) > 1:
        kept[-1] -= kept.sum()
    kept.flags.writeable = False
    return kept


def _check(d: Any, threshold: Any) -> None:
    if not 0 <= d <= 2:
        raise UserError(f"fracdiff: the order d must lie between 0 and 2, found {d!r}.")
    if not _SMALLEST <= threshold < 1:
        raise UserError(
            f"fracdiff: the threshold of weights must be at least {_SMALLEST:g} and below 1, "
            f"found {threshold!r}."
        )
