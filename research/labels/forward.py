"""What the price did over a fixed horizon: its return, and how much it moved."""

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
        ``symbol, time, open, close``, sorted by symbol and time, prices above zero. Traded bars
        (`bars.volume_bars`) have ``open_time, parts`` too.
    horizon : timedelta
        From the decision at `time` to the last price used; a whole number of bars.
    interval : timedelta
        Length of one bar. Traded bars are of uneven length: `horizon` is ``horizon // interval``
        of them, however long they take.
    entry : {"next_open", "close"}
        ``next_open`` is a price that can be traded after deciding at t; ``close`` is the price
        decided upon, which cannot.

    Returns
    -------
    pl.DataFrame, shape (at most n_bars, 4)
        ``symbol, time, known_at, y``: a fraction (0.0008 is 8 bps), `known_at` = t + `horizon`,
        of traded bars the close of the last one. Never null: rows whose horizon meets a gap or
        the end of the data are left out.

    Raises
    ------
    UserError
        If `horizon` is not a whole number of bars, or `entry` is unknown.
    TableError
        If `bars` are not sorted bars.

    Notes
    -----
    Uses prices after t up to and including `known_at`; nothing of it is known at t.

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
    return _labels(table, pl.col("close").shift(-ahead) / entry_price(entry) - 1, ahead)


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
    return _labels(table, pl.Series("y", y), ahead)


def entry_price(entry: str) -> pl.Expr:
    """Price at which a decision at a bar's close enters; null or another symbol's past the end."""
    if entry not in ("next_open", "close"):
        raise UserError(f"labels: entry must be 'next_open' or 'close', found {entry!r}.")
    return pl.col("open").shift(-1) if entry == "next_open" else pl.col("close")


def bars_ahead(horizon: timedelta, interval: timedelta) -> int:
    """Return how many bars of `interval` make up `horizon`, or say that it is no whole number."""
    if interval <= timedelta(0) or horizon <= timedelta(0) or horizon % interval:
        raise UserError(
            f"labels: horizon must be a whole number of bars of {units.show(interval)}, "
            f"found {units.show(horizon)}."
        )
    return horizon // interval


def with_runs(bars: Any, columns: dict[str, Any], interval: timedelta) -> pl.DataFrame:
    """Check bars and number, as `run`, those of one symbol that follow each other without a gap."""
    table, begins = schema.as_table(bars, columns, "bars"), pl.col("time") - interval
    if "parts" in table.columns:  # traded: of uneven length
        table = schema.as_table(table, columns | {"open_time": schema.TIME}, "bars")
        begins = pl.col("open_time")
    # time against time, not row against row: equal run numbers mean no bar between is absent
    broken = (pl.col("symbol") != pl.col("symbol").shift()) | (begins != pl.col("time").shift())
    return table.with_columns(run=broken.fill_null(True).cum_sum())


def _whole_horizons(
    bars: Any, *, horizon: timedelta, interval: timedelta
) -> tuple[pl.DataFrame, int]:
    """Return the bars with a column `whole`: the next `ahead` bars follow without a gap."""
    ahead, run = bars_ahead(horizon, interval), pl.col("run")
    table = with_runs(bars, _NEEDED, interval)
    return table.with_columns(whole=(run == run.shift(-ahead)).fill_null(False)), ahead


def _labels(table: pl.DataFrame, y: pl.Expr | pl.Series, ahead: int) -> pl.DataFrame:
    labelled = table.with_columns(y.alias("y"), known_at=pl.col("time").shift(-ahead))
    return labelled.filter("whole").select("symbol", "time", "known_at", "y")
