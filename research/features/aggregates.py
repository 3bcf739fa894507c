"""Features of the set ``order_flow``: aggregates of a recording that stand beside its bars.

Bars of a recording carry the columns of `order_flow.aggregate`; no other bars do. A column is null
where the book, or a stream, was not proven, and so is every feature whose window reaches there.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.features.kernels import bars_at_least, numpy_expr
from research.features.loops import compiled
from research.features.regime import fdi_z

FLOW = (
    "ofi",
    "mid",
    "spread",
    "imbalance",
    "weighted_mid_gap",
    "depth_imbalance",
    "depth_delta",
    "mid_change",
    "trade_imbalance",
    "trade_flow",
    "ofi_5",
    "ofi_10",
    "ofi_20",
    "weighted_ofi",
    "depth_imbalance_5",
    "depth_imbalance_10",
    "depth_imbalance_20",
    "vw_depth_imbalance",
)
"""Columns that bars of a recording have beside their own, all Float64."""


def as_is(column: str) -> pl.Expr:
    """Return an aggregate that is a share or a fraction by itself.

    Parameters
    ----------
    column : str
        One of `FLOW`.

    Examples
    --------
    >>> pl.DataFrame({"imbalance": [0.5, None]}).select(as_is("imbalance")).to_series().to_list()
    [0.5, None]
    """
    return pl.col(column)


def standing(column: str, window: int, bars: int = 1) -> pl.Expr:
    r"""Say how far the flow of the last bars stands from what is usual, in deviations.

    .. math:: z_t = \Big(\sum_{k<b} v_{t-k} - b \bar v\Big) / (s \sqrt b)

    with mean and sample deviation over the `window` bars *before* the b that are summed up.

    Parameters
    ----------
    column : str
        One of `FLOW`.
    window : int
        Bars that are looked back on, at least 2.
    bars : int
        b above: bars summed up.

    Returns
    -------
    pl.Expr of Float64
        0 where the bars before were all the same. Null in the first ``window + bars - 1`` bars,
        and where an aggregate among those looked at is not known.

    Notes
    -----
    The bars that are judged are no part of what they are judged by. Each window is summed afresh.

    Examples
    --------
    >>> bars = pl.DataFrame({"ofi": [1.0, 3.0, 4.0]})
    >>> bars.select(standing("ofi", 2).round(4)).to_series().to_list()
    [None, None, 1.4142]
    """
    bars_at_least(2, standing=window)
    bars_at_least(1, standing=bars)
    heart = partial(_standing, window=window, bars=bars)
    return numpy_expr(heart, column, lookback=window + bars - 1, gaps=True)


def _standing(values: np.ndarray, window: int, bars: int) -> np.ndarray:
    found = np.empty(len(values) - window - bars + 1)
    compiled(_scores)(values, window, bars, found)
    return found


def _scores(values: Any, window: int, bars: int, found: Any) -> None:
    for i in range(len(found)):
        total = 0.0
        for k in range(i, i + window):
            total += values[k]
        mean, squares, away = total / window, 0.0, 0.0
        for k in range(i, i + window):
            squares += (values[k] - mean) ** 2
        for k in range(i + window, i + window + bars):
            away += values[k] - mean
        # a comparison with NaN is false: what is not known stays so
        still = squares == 0.0 and away == away
        found[i] = 0.0 if still else away / np.sqrt(squares / (window - 1) * bars)


def price_gap(column: str = "mid") -> pl.Expr:
    """Return by how much the close, a trade's price, stands above the mid-price, over the mid.

    Examples
    --------
    >>> pl.DataFrame({"close": [101.0], "mid": [100.0]}).select(price_gap()).to_series().to_list()
    [0.01]
    """
    return (pl.col("close") - pl.col(column)) / pl.col(column)


def roughness_z(window: int = 60) -> pl.Expr:
    """Tell by how many standard deviations the last closes are rougher than a random walk.

    Parameters
    ----------
    window : int
        Bars, at least 10.

    Returns
    -------
    pl.Expr of Float64
        As `regime.fdi_z`; 0 where the price did not move at all, which speaks for no regime. Null
        in the first ``window - 1`` bars.

    Examples
    --------
    >>> pl.DataFrame({"close": [2.0] * 10}).select(roughness_z(10)).to_series()[-1]
    0.0
    """
    close = pl.col("close")
    still = close.rolling_max(window) == close.rolling_min(window)
    return pl.when(still).then(0.0).otherwise(fdi_z(window))


def refuse_what_is_not_beside(bars: pl.DataFrame, names: Collection[str]) -> None:
    """Say so where a set reads order flow and the bars have none beside them.

    Raises
    ------
    UserError
        Names a column that is missing, and what has it.
    """
    missing = [name for name in names if name in FLOW and name not in bars.columns]
    if missing:
        raise UserError(
            f"features: {missing[0]!r} is order flow, which only bars of a recording have beside "
            "them. Set data.source to recording (with data.path) or to simulated_flow, and "
            "data.bars to time; or take another set."
        )


def made_up(bars: pl.DataFrame) -> pl.DataFrame:
    """Lay order flow of no meaning beside bars, always the same: to measure features on.

    Parameters
    ----------
    bars : pl.DataFrame
        `schema.BARS`.

    Returns
    -------
    pl.DataFrame
        With the columns of `FLOW`, all known; a longer series begins as a shorter one.
    """
    rng = np.random.Generator(np.random.PCG64(20240808))
    draws = rng.standard_normal((bars.height, len(FLOW)))
    beside = {name: pl.Series(draws[:, i]) for i, name in enumerate(FLOW)}
    positive = {"mid": bars["close"], "spread": beside["spread"].abs()}
    return bars.with_columns(**{**beside, **positive})
