"""How far an equity curve's numbers could have been others: whole UTC days, drawn again."""

from __future__ import annotations

import numpy as np
import polars as pl

from research.performance.curve import YEAR, periods_of, step_of

FEWEST_DAYS = 10


def intervals(
    equity: pl.DataFrame, *, capital: float, draws: int = 1000, seed: int = 0
) -> dict[str, float | None]:
    """Return 95 % intervals of net return and Sharpe ratio.

    Parameters
    ----------
    equity : pl.DataFrame
        ``time, equity``.
    capital : float
        Equity at the start.
    draws, seed : int
        Of the bootstrap: days are drawn with replacement, as many as there were.

    Returns
    -------
    dict
        ``net_low, net_high, sharpe_low, sharpe_high``; None for fewer than 10 days, and for the
        Sharpe ratio where nothing moved.

    Notes
    -----
    Days are taken to be exchangeable: a regime that lasts for weeks makes the truth wider.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> times = pl.datetime_range(datetime(2024, 5, 1), datetime(2024, 5, 3), "1h",
    ...                           time_zone="UTC", eager=True)
    >>> intervals(pl.DataFrame({"time": times, "equity": 100.0}), capital=100.0)["net_low"] is None
    True
    """
    periods = periods_of(equity, capital).drop_nulls("return")
    day = (pl.col("time") - pl.duration(microseconds=1)).dt.date()
    r = pl.col("return")
    days = periods.group_by(day, maintain_order=True).agg(
        n=pl.len(), first=r.sum(), second=(r**2).sum(), growth=(1 + r).product()
    )
    if days.height < FEWEST_DAYS:
        return dict.fromkeys(("net_low", "net_high", "sharpe_low", "sharpe_high"))
    drawn = np.random.default_rng(seed).integers(days.height, size=(draws, days.height))
    n, first, second, growth = (days[c].to_numpy()[drawn] for c in days.columns[1:])
    mean = first.sum(axis=1) / n.sum(axis=1)
    variance = second.sum(axis=1) / n.sum(axis=1) - mean**2
    year = np.sqrt(YEAR / step_of(equity["time"]))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = mean / np.sqrt(variance) * year
    return {**_ends("net", growth.prod(axis=1) - 1), **_ends("sharpe", ratio)}


def _ends(name: str, values: np.ndarray) -> dict[str, float | None]:
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, [0.025, 0.975]) if len(finite) else (None, None)
    return {f"{name}_low": low, f"{name}_high": high}
