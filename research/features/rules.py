"""Rules of thumb as baselines: the side a chartist would take at the close of each bar.

What a learner finds must beat what stands in every textbook. Each rule is a function of the last
bars alone and holds no position of its own: how long a side is held, and what it costs, is the
desk's business. The fourth source (S4, ``sb/``) runs such rules on hourly bars with latches (a
position is kept until a stop is met); here the same words are read afresh at every bar, so that
batch and live cannot differ. A rule that reads an exponential mean is null until that mean has
forgotten where its series began (to 1e-9): a side of -1, 0 or 1 hides a small difference until the
day it turns into an opposite order.

Windows are the textbooks' where a rule looks at hours (Bollinger's 2 deviations, Wilder's 14 bars
at 30 and 70, Appel's 12, 26, 9), and an hour or more of one-minute bars where the classic 50 and
200 bars would trade noise that no fee leaves anything of.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from research.errors import UserError
from research.features.kernels import bars_at_least, talib_expr
from research.features.momentum import rsi
from research.features.returns import sigma

# means' lengths until 1e-9 of the beginning is left: Wilder's keeps 1 - 1/n a bar, an EMA
# 1 - 2/(n + 1); an EMA of an EMA takes the two after each other
_WILDER, _EXPONENTIAL = 21, 11


def trend(fast: int = 60, slow: int = 240, *, band: float = 0.5) -> pl.Expr:
    r"""Fast over slow moving average, beyond a dead band: follow.

    .. math:: z_t = \frac{\bar C^{f}_t / \bar C^{s}_t - 1}{\sigma_t \sqrt{s / 3} \, (1 - f / s)}

    Parameters
    ----------
    fast, slow : int
        f and s above: bars of the two simple means, at least 2, `slow` the longer. sigma is the
        trailing volatility of one bar over `slow` returns.
    band : float
        Half width of the dead band, in standard deviations of z; not below zero.

    Returns
    -------
    pl.Expr of Float64
        1 where z is above `band`, -1 where it is below ``-band``, else 0; 0 where the price has
        not moved in `slow` bars. Null in the first `slow` bars.

    Notes
    -----
    On a random walk z has mean 0 and variance 1 whatever the windows: the weight of the change i
    bars ago in the difference of the two means is ``i (1/f - 1/s)`` up to bar f and ``1 - i/s``
    beyond, and their squares sum to ``s / 3 (1 - f/s)^2``. A band of 0.5 is in the market six
    bars of ten.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [100.0, 101.0, 102.0, 103.0, 104.0, 100.0, 96.0, 92.0]})
    >>> bars.select(trend(2, 4)).to_series().to_list()
    [None, None, None, None, 1.0, 0.0, -1.0, -1.0]
    """
    bars_at_least(2, trend=min(fast, slow))
    if fast >= slow:
        raise UserError(
            f"trend: the fast mean must be over fewer bars than the slow one, found {fast} and "
            f"{slow}. Swap them."
        )
    _not_negative("trend", band=band)
    close = pl.col("close")
    apart = close.rolling_mean(fast) / close.rolling_mean(slow) - 1
    return _side(apart, band * (slow / 3) ** 0.5 * (1 - fast / slow), slow)


def mean_reversion(
    window: int = 60, strength: int = 14, *, width: float = 2.0, extreme: float = 30.0
) -> pl.Expr:
    r"""Outside the Bollinger band while the RSI is extreme: bet on the way back.

    Parameters
    ----------
    window : int
        Bars of the band's mean and standard deviation (of the population), at least 2.
    strength : int
        Bars of Wilder's RSI, at least 2.
    width : float
        Standard deviations from the mean to the band; not below zero.
    extreme : float
        RSI at or below which a fall is overdone, and ``100 - extreme`` a rise; 0 to 50.

    Returns
    -------
    pl.Expr of Float64
        1 where the close is below the lower band and the RSI low, -1 where it is above the upper
        band and the RSI high, else 0; 0 where the price has not moved in `window` bars. Null in
        the first ``max(window - 1, 21 * strength)`` bars.

    References
    ----------
    Bollinger, J. (2001). Bollinger on Bollinger Bands.
    Wilder, J. W. (1978). New Concepts in Technical Trading Systems.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [100.0] * 42 + [99.0, 97.0, 99.0]})
    >>> bars.select(mean_reversion(3, 2, width=1.0)).to_series().tail(4).to_list()
    [None, 1.0, 1.0, 0.0]
    """
    bars_at_least(2, mean_reversion=min(window, strength))
    _not_negative("mean_reversion", width=width)
    if not 0 <= extreme <= 50:
        raise UserError(f"mean_reversion: extreme must lie between 0 and 50, found {extreme!r}.")
    close, level = pl.col("close"), rsi(strength)
    middle = close.rolling_mean(window)
    reach = width * close.rolling_std(window, ddof=0)
    # in a flat stretch mean and deviation are rounding residues, and the RSI stands still
    moved = close.rolling_max(window) > close.rolling_min(window)
    up = moved & (close < middle - reach) & (level <= extreme)
    down = moved & (close > middle + reach) & (level >= 100 - extreme)
    known = middle.is_not_null() & close.shift(_WILDER * strength).is_not_null()
    return _sides(up, down, known)


def momentum(
    lookback: int = 60, fast: int = 12, slow: int = 26, signal: int = 9, *, threshold: float = 1.0
) -> pl.Expr:
    r"""A large move over the last bars that is still gathering pace: follow.

    .. math:: z_t = \frac{C_t / C_{t-n} - 1}{\sigma_t \sqrt n}

    Parameters
    ----------
    lookback : int
        n above, and the returns in sigma: at least 2.
    fast, slow, signal : int
        Bars of the MACD's exponential means and of its signal line, at least 2.
    threshold : float
        z beyond which a move counts; not below zero.

    Returns
    -------
    pl.Expr of Float64
        1 where z is above `threshold` and the MACD histogram above zero, -1 where both are below,
        else 0; 0 where the price has not moved in `lookback` bars. Null in the first
        ``max(lookback, 11 * (slow + signal))`` bars.

    References
    ----------
    Appel, G. (2005). Technical Analysis: Power Tools for Active Investors (MACD).

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [100.0, 101.0] * 28 + [104.0, 108.0, 104.0]})
    >>> bars.select(momentum(2, 2, 3, 2)).to_series().tail(5).to_list()
    [None, 0.0, 1.0, 1.0, 0.0]
    """
    bars_at_least(2, momentum=min(lookback, fast, slow, signal))
    _not_negative("momentum", threshold=threshold)
    moved = pl.col("close") / pl.col("close").shift(lookback) - 1
    pace = talib_expr(
        "MACD", "close", output=2, fastperiod=fast, slowperiod=slow, signalperiod=signal
    )
    side = _side(moved, threshold * lookback**0.5, lookback)
    known = side.is_not_null() & pl.col("close").shift(_EXPONENTIAL * (slow + signal)).is_not_null()
    return _sides((side > 0) & (pace > 0), (side < 0) & (pace < 0), known)


def breakout(window: int = 240) -> pl.Expr:
    """Close beyond every high or low of the bars before: follow.

    Parameters
    ----------
    window : int
        Bars before this one (Donchian's channel), at least 2.

    Returns
    -------
    pl.Expr of Float64
        1 where the close is above the highest high of the `window` bars before, -1 where it is
        below their lowest low, else 0. Null in the first `window` bars.

    Examples
    --------
    >>> bars = pl.DataFrame({"high": [3.0, 4.0, 4.0, 9.0, 6.0], "low": [1.0, 2.0, 2.0, 4.0, 1.0],
    ...                      "close": [2.0, 3.0, 4.0, 5.0, 1.0]})
    >>> bars.select(breakout(2)).to_series().to_list()
    [None, None, 0.0, 1.0, -1.0]
    """
    bars_at_least(2, breakout=window)
    highest = pl.col("high").shift(1).rolling_max(window)
    lowest = pl.col("low").shift(1).rolling_min(window)
    up, down = pl.col("close") > highest, pl.col("close") < lowest
    return _sides(up, down, highest.is_not_null())


COLUMNS: dict[str, tuple[Callable[..., pl.Expr], tuple[int, ...]]] = {
    "trend": (trend, (60, 240)),
    "mean_reversion": (mean_reversion, (60, 14)),
    "momentum": (momentum, (60, 12, 26, 9)),
    "breakout": (breakout, (240,)),
}
"""Each rule's column: how its expression is made, and the bars it counts."""


def _side(move: pl.Expr, reach: float, bars: int) -> pl.Expr:
    """Sign of `move` where it is beyond `reach` volatilities of one bar over `bars` returns."""
    limit = sigma(bars) * reach
    # sigma is null where nothing moved, which is known and means no side
    known = move.is_not_null() & pl.col("close").shift(bars).is_not_null()
    return _sides(move > limit, move < -limit, known)


def _sides(up: pl.Expr, down: pl.Expr, known: pl.Expr) -> pl.Expr:
    side = pl.when(up).then(1.0).when(down).then(-1.0).otherwise(0.0)
    return pl.when(known).then(side)


def _not_negative(rule: str, **values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise UserError(f"{rule}: {name} must not be below zero, found {value!r}.")
