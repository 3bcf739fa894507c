"""Simple returns of the last bars, and the volatility that scales targets."""

from __future__ import annotations

import polars as pl

from research.features.kernels import bars_at_least

SIGMA_BARS = 120
_DAY = 86_400_000_000  # in microseconds, the unit of `open_time`


def ret(bars: int) -> pl.Expr:
    r"""Return from the open `bars` bars ago to this close.

    .. math:: r_t = C_t / O_{t-k+1} - 1

    Parameters
    ----------
    bars : int
        k above, at least 1: how many bars the return spans, this one included.

    Returns
    -------
    pl.Expr of Float64
        A fraction (0.001 is 10 bps). Null in the first ``bars - 1`` bars.

    Raises
    ------
    UserError
        If `bars` is below 1.

    Notes
    -----
    Knows the close of t and one earlier open. The columns are called ``ret_1 .. ret_10`` because
    they count bars; on one-minute bars they are S2's ``ret1min .. ret10min``.

    Examples
    --------
    >>> bars = pl.DataFrame({"open": [100.0, 101.0], "close": [101.0, 103.0]})
    >>> bars.select(ret(2).round(4)).to_series().to_list()
    [None, 0.03]
    """
    bars_at_least(1, ret=bars)
    return pl.col("close") / pl.col("open").shift(bars - 1) - 1


def ret_in_day(bars: int) -> pl.Expr:
    """Return as `ret`, but null where it would reach into the UTC day before.

    Parameters
    ----------
    bars : int
        How many bars the return spans, this one included; at least 1.

    Returns
    -------
    pl.Expr of Float64
        A fraction. Null in the first ``bars - 1`` bars of each UTC day (of `open_time`).

    Notes
    -----
    S2 shifts within (symbol, UTC date), as if crypto closed at midnight: the first nine bars of
    a day have no full row. Kept for comparison with S2; `ret` is continuous.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> late, early = datetime(2024, 5, 1, 23, 59, tzinfo=UTC), datetime(2024, 5, 2, tzinfo=UTC)
    >>> bars = pl.DataFrame({"open_time": [late, early], "open": [1.0, 2.0], "close": [2.0, 3.0]})
    >>> bars.select(ret_in_day(2)).to_series().to_list()
    [None, None]
    """
    clock = pl.col("open_time").to_physical()
    since_midnight = clock % _DAY
    return pl.when(clock - clock.shift(bars - 1) <= since_midnight).then(ret(bars))


def sigma(bars: int = SIGMA_BARS) -> pl.Expr:
    r"""Trailing volatility of one bar: root mean square of close-to-close simple returns.

    .. math:: \sigma_t = \sqrt{\tfrac{1}{n} \sum_{i=0}^{n-1} (C_{t-i} / C_{t-i-1} - 1)^2}

    Parameters
    ----------
    bars : int
        n above: returns averaged, at least 2.

    Returns
    -------
    pl.Expr of Float64
        A fraction per bar, not annualised. Null in the first `bars` bars, and where the price
        has not moved at all in `bars` bars: a target cannot be scaled by zero.

    Notes
    -----
    Knows closes up to and including t. The mean is taken as zero, which at one-minute bars it is
    to four digits.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [100.0, 101.0, 99.99, 99.99, 99.99]})
    >>> bars.select(sigma(2).round(6)).to_series().to_list()
    [None, None, 0.01, 0.007071, None]
    """
    bars_at_least(2, sigma=bars)
    change = pl.col("close") / pl.col("close").shift(1) - 1
    moved = change.abs().rolling_max(bars) > 0
    # the running sum may leave a residue of 1e-18 behind a large move: never below zero
    return pl.when(moved).then((change**2).rolling_mean(bars).clip(lower_bound=0).sqrt())
