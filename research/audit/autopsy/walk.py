"""Markets in which nothing can be known: what the sources' methods are tried on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError

START = datetime(2025, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
INSIDE = 10
"""Prices drawn within a minute: the first is its open, the last its close."""


def gaussian(minutes: int, *, seed: int, sigma: float = 7e-4) -> pl.DataFrame:
    """Return minutes of a Gaussian random walk without drift.

    Parameters
    ----------
    minutes : int
        How many.
    seed : int
        Of the draws.
    sigma : float
        Standard deviation of a minute's log return. 7 basis points leave about two thirds of all
        ten-minute moves within 20, as the fourth source's labels have it.

    Returns
    -------
    pl.DataFrame
        Raw rows of one symbol, as any source gives them.

    Examples
    --------
    >>> made = gaussian(1440, seed=1)
    >>> made.height, bool((made["high"] >= made["low"]).all())
    (1440, True)
    """
    dice = np.random.default_rng(seed)
    moves = dice.normal(0.0, sigma / np.sqrt(INSIDE), (minutes, INSIDE))
    path = 100.0 * np.exp(np.cumsum(moves.ravel())).reshape(minutes, INSIDE)
    opened = np.concatenate([[100.0], path[:-1, -1]])
    volume = np.exp(dice.normal(3.0, 0.5, minutes))
    bought = volume * dice.uniform(0.3, 0.7, minutes)
    close = path[:, -1]
    return pl.DataFrame(
        {
            "symbol": "WALKUSDT",
            "open_time": pl.datetime_range(
                START, START + (minutes - 1) * MINUTE, "1m", time_zone="UTC", eager=True
            ).cast(schema.TIME),
            "open": opened,
            "high": np.maximum(path.max(axis=1), opened),
            "low": np.minimum(path.min(axis=1), opened),
            "close": close,
            "volume": volume,
            "quote_volume": volume * close,
            "trades": (volume * 3).astype(np.int64) + 1,
            "taker_buy_volume": bought,
            "taker_buy_quote_volume": bought * close,
        }
    )


def clustered(days: int, *, seed: int) -> pl.DataFrame:
    """Return days of the simulated market with nothing planted: its volatility clusters.

    Parameters
    ----------
    days, seed : int
        Length, and what is drawn.

    Returns
    -------
    pl.DataFrame
        Raw rows of one symbol.

    Examples
    --------
    >>> clustered(1, seed=1)["symbol"].unique().to_list()
    ['SIM01USDT']
    """
    from research.sources import simulated

    ten = timedelta(minutes=10)
    return simulated.market(
        symbols=1, days=days, ic=0.0, horizon=ten, half_life=ten, seed=seed
    ).bars


def one(bars: Any) -> pl.DataFrame:
    """Return the bars that were handed in as raw rows of one symbol.

    Raises
    ------
    UserError
        If there are several symbols: the sources each looked at one.
    TableError
        If they are not bars.
    """
    table = schema.as_table(bars, schema.BARS, "bars").drop("time")
    names = table["symbol"].unique().sort().to_list()
    if len(names) != 1:
        raise UserError(
            f"autopsy: bars must be of one symbol, found {len(names)} ({', '.join(names[:5])}). "
            "Filter them."
        )
    return table
