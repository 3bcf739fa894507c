"""Equity over time: periods, drawdown, rolling ratios, and the alpha factor of a signal."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import polars as pl

from research import units
from research.errors import UserError

YEAR = timedelta(days=365)
HOUR = timedelta(hours=1)


def bar(time: pl.Series) -> timedelta:
    """Return the usual distance of two rows; an hour where there is but one."""
    return time.diff().median() if len(time) > 1 else HOUR  # type: ignore[return-value]


def step_of(time: pl.Series) -> timedelta:
    """Return the length of a period: an hour, or a bar where bars are longer."""
    return max(HOUR, bar(time))


def span_of(time: pl.Series) -> timedelta:
    """Return how long rows last, the first bar included."""
    return time[-1] - time[0] + bar(time)


def periods_of(equity: pl.DataFrame, capital: float | None) -> pl.DataFrame:
    """Return ``time, equity, return`` at the end of each period, gaps filled with no return.

    `capital` is the equity before the first period; where None, its return is null.
    """
    step = step_of(equity["time"])
    # the period (a, b] is named b: a row at 01:00 was known at 01:00 and ends the hour
    last = (pl.col("time") - pl.duration(microseconds=1)).dt.truncate(step) + step
    ends = equity.group_by(last.alias("time"), maintain_order=True).agg(pl.col("equity").last())
    ends = ends.upsample("time", every=step).with_columns(pl.col("equity").forward_fill())
    before = pl.col("equity").shift(1, fill_value=capital)
    grown = pl.when(before > 0).then(pl.col("equity") / before - 1)  # a ruined account has none
    return ends.with_columns(grown.alias("return"))


def drawdown(equity: pl.DataFrame, *, capital: float | None = None) -> pl.DataFrame:
    """Say at each time how far equity lies below its highest so far.

    Parameters
    ----------
    equity : pl.DataFrame
        ``time, equity``.
    capital : float, optional
        Equity before the first row; a loss in that row counts then.

    Returns
    -------
    pl.DataFrame
        ``time, drawdown``: 0 at a peak, -0.25 a quarter below it.

    Examples
    --------
    >>> curve = pl.DataFrame({"time": [1, 2, 3], "equity": [100.0, 75.0, 110.0]})
    >>> drawdown(curve)["drawdown"].to_list()
    [0.0, -0.25, 0.0]
    """
    peak = pl.max_horizontal(pl.col("equity").cum_max(), pl.lit(capital, pl.Float64))
    return equity.select("time", (pl.col("equity") / peak - 1).alias("drawdown"))


def rolling(equity: pl.DataFrame, window: timedelta) -> pl.DataFrame:
    """Follow Sharpe ratio, drawdown and hit rate over a trailing window.

    Parameters
    ----------
    equity : pl.DataFrame
        ``time, equity``.
    window : timedelta
        At least two periods (hours, or bars where they are longer).

    Returns
    -------
    pl.DataFrame
        ``time, sharpe, drawdown, hit_rate`` per period. `drawdown`: equity against its highest in
        the window; `hit_rate`: share of gains among periods that gained or lost. Null until the
        window is full, and where a ratio is not known.

    Raises
    ------
    UserError
        If `window` is shorter than two periods.
    """
    step = step_of(equity["time"])
    n = window // step
    if n < 2:
        raise UserError(
            f"rolling: window must hold two periods of {units.show(step)} or more, "
            f"found {units.show(window)}."
        )
    r, value = pl.col("return"), pl.col("equity")
    spread = r.rolling_std(n)
    flat = r.rolling_max(n) == r.rolling_min(n)  # where a running variance is only rounding
    gains = (r > 0).cast(pl.Float64).rolling_sum(n)
    moves = (r != 0).cast(pl.Float64).rolling_sum(n)
    return periods_of(equity, None).select(
        "time",
        pl.when(~flat).then(r.rolling_mean(n) / spread * math.sqrt(YEAR / step)).alias("sharpe"),
        (value / value.rolling_max(n) - 1).alias("drawdown"),
        pl.when(moves > 0).then(gains / moves).alias("hit_rate"),
    )


def alpha_factor(
    signal: pl.DataFrame, *, window: timedelta = timedelta(days=1), minimum: int = 60
) -> pl.DataFrame:
    r"""Standardise a signal by its own trailing mean and deviation, and average it over symbols.

    .. math:: a_t = 0.01 \cdot \frac{1}{n} \sum_i \frac{s_{i,t} - \bar s_{i,t}}{\sigma_{i,t}}

    Parameters
    ----------
    signal : pl.DataFrame
        ``symbol, time, signal``, sorted; the side held, or the forecast itself.
    window : timedelta
        Rows in ``(t - window, t]`` make mean and deviation (ddof 0).
    minimum : int
        Rows that must lie in it.

    Returns
    -------
    pl.DataFrame
        ``time, alpha``; a symbol counts 0 where its window is too short or its signal constant.

    Notes
    -----
    Kept for comparison with its source. For a sparse signal of -1, 0 and 1 it is mechanical: one
    entry a day of minutes reads ``0.01 * sqrt(1440)``, whatever it earned.
    """
    s = pl.col("signal")
    over: dict[str, Any] = {"by": "time", "window_size": window, "min_samples": minimum}
    flat = s.rolling_max_by(**over) == s.rolling_min_by(**over)
    z = (s - s.rolling_mean_by(**over)) / s.rolling_std_by(**over, ddof=0)
    known = pl.when(~flat & z.is_finite()).then(0.01 * z).otherwise(0.0)
    parts = signal.partition_by("symbol", maintain_order=True)
    tables = [part.select("time", known.alias("alpha")) for part in parts]
    return pl.concat(tables).group_by("time").agg(pl.col("alpha").mean()).sort("time")
