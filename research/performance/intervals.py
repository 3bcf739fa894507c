"""How far an equity curve's numbers could have been others: whole UTC days, drawn again."""

from __future__ import annotations

import numpy as np
import polars as pl

from research.performance.curve import YEAR, periods_of, span_of, step_of

FEWEST_DAYS = 10
NAMES = ("net", "annual", "volatility", "sharpe", "sortino")


def intervals(
    equity: pl.DataFrame, *, capital: float, draws: int = 1000, seed: int = 0
) -> dict[str, float | None]:
    """Return 95 % intervals of net return, return and volatility a year, Sharpe and Sortino ratio.

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
        ``net_low, net_high``, and likewise ``annual, volatility, sharpe, sortino``, as `summary`
        defines them. None for fewer than 10 days; for a ratio where nothing moved; and for an end
        that is not finite, as where one draw in forty has no loss to divide by.

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
    r, lost = pl.col("return"), pl.col("return").clip(upper_bound=0)
    days = periods.group_by(day, maintain_order=True).agg(
        n=pl.len(), sum=r.sum(), square=(r**2).sum(), below=(lost**2).sum(), g=(1 + r).product()
    )
    if days.height < FEWEST_DAYS:
        return {f"{name}_{end}": None for name in NAMES for end in ("low", "high")}
    drawn = np.random.default_rng(seed).integers(days.height, size=(draws, days.height))
    *sums, growth = (days[c].to_numpy()[drawn] for c in days.columns[1:])
    n, first, second, below = (part.sum(axis=1) for part in sums)
    mean, grown = first / n, growth.prod(axis=1)
    year = np.sqrt(YEAR / step_of(equity["time"]))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        deviation, downside = np.sqrt(second / n - mean**2), np.sqrt(below / n)
        annual = np.maximum(grown, 0) ** (YEAR / span_of(equity["time"])) - 1
        ratios = (mean / deviation * year, mean / downside * year)
        values = (grown - 1, annual, deviation * year, *ratios)
    return dict(end for pair in zip(NAMES, values, strict=True) for end in _ends(*pair))


def _ends(name: str, values: np.ndarray) -> list[tuple[str, float | None]]:
    known = values[~np.isnan(values)]  # 0 / 0: a draw in which nothing moved
    with np.errstate(invalid="ignore"):  # between two that are infinite
        ends = np.quantile(known, [0.025, 0.975]) if len(known) else np.full(2, np.nan)
    low, high = (float(end) if np.isfinite(end) else None for end in ends)
    return [(f"{name}_low", low), (f"{name}_high", high)]
