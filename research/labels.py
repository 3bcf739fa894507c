"""What happened after each bar, and when that became known: the answers a model learns from.

Every label row carries `known_at`; a row exists only where its answer is known and its whole
horizon is free of gaps, so nothing is filled and nothing reaches across a hole in the data.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import numpy as np
import polars as pl

from research import schema, units
from research.errors import UserError

Entry = Literal["next_open", "close"]
_NEEDED = {c: schema.BARS[c] for c in ("symbol", "time", "open", "close")}


def forward_return(
    bars: Any, *, horizon: timedelta, interval: timedelta, entry: Entry = "next_open"
) -> pl.DataFrame:
    r"""Simple return from entering after each bar until `horizon` later.

    .. math:: y_t = C_{t+h} / O_t - 1 \quad\text{or}\quad y_t = C_{t+h} / C_t - 1

    with :math:`C_s` the close at time s and :math:`O_t` the open of the bar that opens at t.

    Parameters
    ----------
    bars : pl.DataFrame or pd.DataFrame, shape (n_bars, ...)
        ``symbol, time, open, close``, sorted by symbol and time, prices above zero.
    horizon : timedelta
        From the decision at `time` to the last price used; a whole number of bars.
    interval : timedelta
        Length of one bar.
    entry : {"next_open", "close"}
        ``next_open`` is a price that can be traded after deciding at t; ``close`` is the price
        decided upon, which cannot.

    Returns
    -------
    pl.DataFrame, shape (at most n_bars, 4)
        ``symbol, time, known_at, y``: a fraction (0.0008 is 8 bps), `known_at` = t + `horizon`.
        Never null: rows whose horizon meets a gap or the end of the data are left out.

    Raises
    ------
    UserError
        If `horizon` is not a whole number of bars, or `entry` is unknown.
    TableError
        If `bars` are not sorted bars.

    Notes
    -----
    Uses prices after t up to and including t + `horizon`; nothing of it is known at t.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> minute = timedelta(minutes=1)
    >>> time = [datetime(2024, 5, 1, 0, k, tzinfo=UTC) for k in (1, 2, 3, 5)]
    >>> prices = {"open": [99.0, 100.0, 102.0, 103.0], "close": [100.0, 101.0, 103.0, 104.0]}
    >>> bars = pl.DataFrame({"symbol": "A", "time": time, **prices})
    >>> found = forward_return(bars, horizon=minute, interval=minute)  # 00:04 is missing
    >>> found["y"].round(4).to_list()
    [0.01, 0.0098]
    """
    table, ahead = _whole_horizons(bars, horizon=horizon, interval=interval)
    if entry not in ("next_open", "close"):
        raise UserError(f"labels: entry must be 'next_open' or 'close', found {entry!r}.")
    price = pl.col("open").shift(-1) if entry == "next_open" else pl.col("close")
    return _labels(table, pl.col("close").shift(-ahead) / price - 1, horizon)


def direction(
    bars: Any,
    *,
    horizon: timedelta,
    interval: timedelta,
    threshold: float,
    entry: Entry = "next_open",
) -> pl.DataFrame:
    """Up, flat or down: the sign of the forward return where it exceeds a threshold.

    Parameters
    ----------
    bars, horizon, interval, entry
        As for `forward_return`.
    threshold : float
        Fraction of price (0.0008 is 8 bps), at least 0; a move of exactly this much is flat.

    Returns
    -------
    pl.DataFrame, shape (at most n_bars, 4)
        ``symbol, time, known_at, y`` with y of Float64: 1, 0 or -1. Never null.

    Raises
    ------
    UserError
        If `threshold` is negative or not a number, or as for `forward_return`.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> minute = timedelta(minutes=1)
    >>> time = [datetime(2024, 5, 1, 0, k, tzinfo=UTC) for k in (1, 2, 3, 4)]
    >>> close = [100.0, 101.0, 101.0, 100.0]
    >>> bars = pl.DataFrame({"symbol": "A", "time": time, "open": close, "close": close})
    >>> found = direction(bars, horizon=minute, interval=minute, threshold=0.001, entry="close")
    >>> found["y"].to_list()
    [1.0, 0.0, -1.0]
    """
    if not threshold >= 0:
        raise UserError(f"labels: threshold must be a fraction of at least 0, found {threshold}.")
    labels = forward_return(bars, horizon=horizon, interval=interval, entry=entry)
    beyond = pl.col("y").abs() > threshold
    return labels.with_columns(pl.when(beyond).then(pl.col("y").sign()).otherwise(0.0).alias("y"))


def volatility(bars: Any, *, horizon: timedelta, interval: timedelta) -> pl.DataFrame:
    r"""Realised volatility of the close over the horizon after each bar.

    .. math:: y_t = \sqrt{\sum_{i=1}^{h} (C_{t+i} / C_{t+i-1} - 1)^2}

    Parameters
    ----------
    bars, horizon, interval
        As for `forward_return`.

    Returns
    -------
    pl.DataFrame, shape (at most n_bars, 4)
        ``symbol, time, known_at, y``: standard deviation of the return over the whole horizon,
        a fraction, not annualised, no mean removed. Never null.

    Raises
    ------
    UserError
        As for `forward_return`.

    Notes
    -----
    Each window is summed anew (a running sum would carry rounding from bar to bar, and its bits
    would depend on where the history starts): time grows with ``n_bars * h``.

    References
    ----------
    .. [1] Andersen, T. G. and Bollerslev, T. (1998). Answering the Skeptics: Yes, Standard
       Volatility Models Do Provide Accurate Forecasts. International Economic Review 39(4).

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> minute = timedelta(minutes=1)
    >>> time = [datetime(2024, 5, 1, 0, k, tzinfo=UTC) for k in (1, 2, 3)]
    >>> close = [100.0, 103.0, 98.88]
    >>> bars = pl.DataFrame({"symbol": "A", "time": time, "open": close, "close": close})
    >>> volatility(bars, horizon=2 * minute, interval=minute)["y"].round(6).to_list()
    [0.05]
    """
    table, ahead = _whole_horizons(bars, horizon=horizon, interval=interval)
    close = table["close"].to_numpy()
    y = np.zeros(len(close))
    if ahead < len(close):
        squares = (close[1:] / close[:-1] - 1) ** 2
        y[:-ahead] = np.sqrt(np.lib.stride_tricks.sliding_window_view(squares, ahead).sum(axis=1))
    return _labels(table, pl.Series("y", y), horizon)


def _whole_horizons(
    bars: Any, *, horizon: timedelta, interval: timedelta
) -> tuple[pl.DataFrame, int]:
    """Return the bars with a column `whole`: the next `ahead` bars follow without a gap."""
    if interval <= timedelta(0) or horizon <= timedelta(0) or horizon % interval:
        raise UserError(
            f"labels: horizon must be a whole number of bars of {units.show(interval)}, "
            f"found {units.show(horizon)}."
        )
    table = schema.as_table(bars, _NEEDED, "bars")
    ahead = horizon // interval
    # time against time, not row against row: equal run numbers mean no bar between is absent
    broken = (pl.col("symbol") != pl.col("symbol").shift()) | (pl.col("time").diff() != interval)
    run = broken.fill_null(True).cum_sum()
    return table.with_columns((run == run.shift(-ahead)).fill_null(False).alias("whole")), ahead


def _labels(table: pl.DataFrame, y: pl.Expr | pl.Series, horizon: timedelta) -> pl.DataFrame:
    known_at = (pl.col("time") + horizon).alias("known_at")
    return table.with_columns(y.alias("y")).filter("whole").select("symbol", "time", known_at, "y")
