"""Two of the 101 formulaic alphas, on one symbol and without a look at the whole sample.

The paper ranks across stocks at each moment. On one symbol S2 ranks over the full sample, which
knows the future; here a rank is among the last bars.

References
----------
Kakushadze, Z. (2016). 101 Formulaic Alphas. Wilmott 84, 72-81.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl

from research.features.kernels import bars_at_least, numpy_expr
from research.features.loops import window_sums
from research.features.windows import ratio, window_deviations

RANKED_BARS = 240
_PLACES = 5  # bars among which alpha 1 looks for the largest
_DEVIATION = 20


def alpha001(ranked: int = RANKED_BARS) -> pl.Expr:
    r"""Alpha 1, ranked over the last bars.

    .. math:: \operatorname{rank}_n\left(\operatorname{argmax}_{5}(x^2)\right) - 0.5, \quad
              x = s_{20}(r) \text{ where } r < 0 \text{, else } C

    r is the return since the close before, s its sample deviation over 20 bars, and argmax says
    which of the last five bars has the largest value: 0 the oldest, the first of equals.

    Parameters
    ----------
    ranked : int
        n above: bars among which the newest argmax is ranked, at least 2.

    Returns
    -------
    pl.Expr of Float64
        Above -0.5, up to 0.5: the mean rank of equals, over n, less one half. Null in the first
        ``ranked + 23`` bars.

    Notes
    -----
    A price competes with a deviation, as in the paper: in effect it says how many bars ago the
    close last rose to its highest.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [100.0 + k for k in range(27)]})
    >>> bars.select(alpha001(2)).to_series()[-3:].to_list()
    [None, 0.25, 0.25]
    """
    bars_at_least(2, alpha001=ranked)
    lookback = ranked - 1 + _PLACES - 1 + _DEVIATION
    return numpy_expr(partial(_alpha001, ranked), "close", lookback=lookback)


def _alpha001(ranked: int, close: np.ndarray) -> np.ndarray:
    change = close[1:] / close[:-1] - 1.0
    spread = window_deviations(change, _DEVIATION)
    value = np.where(change[_DEVIATION - 1 :] < 0, spread, close[_DEVIATION:])
    place = _argmax(np.square(value))
    below = np.zeros(len(place) - ranked + 1)
    equal = np.zeros_like(below)
    newest = place[ranked - 1 :]
    for candidate in range(_PLACES):
        count = window_sums((place == candidate).astype(np.float64), ranked)
        below += np.where(newest > candidate, count, 0.0)
        equal += np.where(newest == candidate, count, 0.0)
    return (below + (equal + 1.0) / 2.0) / ranked - 0.5


def _argmax(values: np.ndarray) -> np.ndarray:
    rows = len(values) - _PLACES + 1
    best, place = values[:rows].copy(), np.zeros(rows, np.int8)
    for candidate in range(1, _PLACES):
        rival = values[candidate : candidate + rows]
        larger = rival > best
        best[larger] = rival[larger]
        place[larger] = candidate
    return place


def alpha054() -> pl.Expr:
    r"""Alpha 54: where the close lies in the bar, weighed by the bar's own move.

    .. math:: -\frac{(L - C) \, O^5}{(L - H) \, C^5}

    Returns
    -------
    pl.Expr of Float64
        About -1 (close at the high) to 0 (close at the low); 0 where high equals low. Known from
        the first bar.

    Examples
    --------
    >>> bars = pl.DataFrame({"open": [2.0, 2.0], "high": [3.0, 2.0], "low": [1.0, 2.0],
    ...                      "close": [2.0, 2.0]})
    >>> bars.select(alpha054()).to_series().to_list()
    [-0.5, 0.0]
    """
    low, close = pl.col("low"), pl.col("close")
    return ratio((low - close) * (pl.col("open") / close) ** 5, pl.col("high") - low)
