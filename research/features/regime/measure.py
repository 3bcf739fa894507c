"""Fractal dimension of every window of a series, and the regime that it speaks for."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from research.features.fracdiff.window import as_array
from research.features.kernels import numpy_expr
from research.features.regime.null import BEYOND, REVERTING, TRENDING, WALK, null
from research.features.regime.stepping import Method, machine, method
from research.steps import Streaming, scan, streaming

REGIMES = pl.Enum([TRENDING, WALK, REVERTING])


def dimension(
    values: Any, formula: str = "madogram", *, window: int = 30, lags: int | None = None
) -> np.ndarray:
    """Fractal dimension of the last values at each place of a series.

    Parameters
    ----------
    values : array-like of float, shape (n,)
        In order of time, such as prices; numpy, polars or pandas.
    formula : str
        ``"madogram"``, ``"trading"``, ``"seed"``, ``"higuchi"``, ``"sevcik"``, ``"katz"`` or
        ``"frama"``; see `regime.formulas`.
    window : int
        Values looked at, at least 10 and twice the lags; even for ``"frama"``.
    lags : int, optional
        Of the madogram (5 if left out) and of Higuchi (8); others have none.

    Returns
    -------
    np.ndarray, shape (n,)
        About 1.5 for a random walk, less for a trend, more for what returns; see `null` for what
        each formula really says of a walk. NaN in the first ``window - 1`` places, in as many
        after a value that is not finite, and where a window says nothing: it has no move, or
        (madogram, Higuchi) equal values at every k-th place.

    Raises
    ------
    UserError
        If the formula is unknown, or the window too short for it.

    Notes
    -----
    Knows values up to t. The compiled scan of the step behind `stream`: bit-equal to it, and to
    itself wherever the series begins.

    Examples
    --------
    >>> dimension(np.arange(11.0), window=10)[-3:].round(6).tolist()
    [nan, 1.0, 1.0]
    """
    step, state, rules = machine(method(formula, window, lags))
    return scan(step, state, (as_array(values),), rules)[1]


def stream(formula: str = "madogram", *, window: int = 30, lags: int | None = None) -> Streaming:
    """Return a fractal dimension to be fed one value at a time.

    Parameters
    ----------
    formula, window, lags
        As for `dimension`.

    Returns
    -------
    Streaming
        ``.update(price)`` returns the dimension, NaN until the window is full;
        ``null(formula, window=window).regime(...)`` names the regime.

    Examples
    --------
    >>> fdi = stream(window=30)
    >>> round([fdi.update(float(price)) for price in range(30)][-1], 6)
    1.0
    >>> null(window=30).regime(fdi.value)
    'trending'
    """
    return streaming(*machine(method(formula, window, lags)))


def regime(
    values: Any,
    formula: str = "madogram",
    *,
    window: int = 30,
    lags: int | None = None,
    steps: Any = None,
) -> pl.DataFrame:
    """Call the regime at each place of a series: trending, mean reverting, or neither.

    Parameters
    ----------
    values, formula, window, lags
        As for `dimension`.
    steps : array-like of float, optional
        Changes of such values at an earlier time, that the random walks are made of; as for
        `null`. Absent: Gaussian walks, which long windows of real prices differ from.

    Returns
    -------
    pl.DataFrame, shape (n, 3)
        fdi, the dimension; z, its distance from that of a random walk, in standard deviations of
        the formula on walks of this window; regime, ``"trending"`` at z below -2,
        ``"mean reverting"`` above 2, else ``"random walk"``. Null where the dimension is NaN.

    Notes
    -----
    "Below 1.5 is a trend" calls about half of all random walks trends, with the trading formula
    more: in windows of 30 the madogram of a walk scatters by 0.15. Beyond two standard deviations
    a walk is called something else in about one window of twenty, and neighbouring windows share
    most of their values.

    Real steps are not Gaussian: of 1,000-bar windows of a bitcoin perpetual's log closes (January
    2022, one-minute bars) 26 % are called trending against Gaussian walks, and 3 % against walks
    of the market's own earlier steps.

    Examples
    --------
    >>> regime(np.arange(31.0))["regime"].to_list()[-3:]
    [None, 'trending', 'trending']
    """
    found = dimension(values, formula, window=window, lags=lags)
    walk = null(formula, window=window, lags=lags, steps=steps)
    z = pl.col("z")
    call = (
        pl.when(z < -BEYOND)
        .then(pl.lit(TRENDING))
        .when(z > BEYOND)
        .then(pl.lit(REVERTING))
        .when(z.is_not_null())
        .then(pl.lit(WALK))
    )
    table = pl.DataFrame({"fdi": found, "z": walk.z(found)}).fill_nan(None)
    return table.with_columns(call.cast(REGIMES).alias("regime"))


def fdi(window: int = 30, formula: str = "madogram", lags: int | None = None) -> pl.Expr:
    """Fractal dimension of the last log closes.

    Parameters
    ----------
    window, formula, lags
        As for `dimension`.

    Returns
    -------
    pl.Expr of Float64
        About 1.5 for a random walk, less for a trend. Null in the first ``window - 1`` bars, and
        where the window says nothing (a price that did not move).

    Notes
    -----
    Knows ``close`` up to t. Its bits depend on the window's closes alone.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [2.0**k for k in range(10)]})
    >>> bars.select(fdi(10).round(6)).to_series()[-1]
    1.0
    """
    return _column(method(formula, window, lags), z=False)


def fdi_z(window: int = 30, formula: str = "madogram", lags: int | None = None) -> pl.Expr:
    """Tell by how many standard deviations the last log closes are rougher than a random walk.

    Parameters
    ----------
    window, formula, lags
        As for `dimension`.

    Returns
    -------
    pl.Expr of Float64
        `fdi` less its mean on random walks of this window, over its standard deviation there:
        below -2 is a trend, above 2 mean reversion. Null as `fdi` is.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [2.0**k for k in range(30)]})
    >>> bars.select(fdi_z(30)).to_series()[-1] < -2
    True
    """
    return _column(method(formula, window, lags), z=True)


def _column(of: Method, *, z: bool) -> pl.Expr:
    heart = partial(_dimensions, of=of, z=z)
    return numpy_expr(heart, "close", lookback=of.window - 1, gaps=True)


def _dimensions(close: np.ndarray, of: Method, z: bool) -> np.ndarray:
    found = dimension(np.log(close), of.formula, window=of.window, lags=of.lags)[of.window - 1 :]
    return null(of.formula, window=of.window, lags=of.lags).z(found) if z else found
