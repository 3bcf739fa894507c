"""The triple barrier: which of two prices is met first, before the horizon is over."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.labels.classes import with_sigma
from research.labels.forward import Entry, bars_ahead, entry_price, with_runs

_NEEDED = {c: schema.BARS[c] for c in ("symbol", "time", *schema.PRICES)}


def barrier(
    bars: Any,
    *,
    horizon: timedelta,
    interval: timedelta,
    take: float,
    stop: float,
    entry: Entry = "next_open",
    sigma: Any = None,
) -> pl.DataFrame:
    """Follow the price from the entry until it meets a barrier above, one below, or the horizon.

    Parameters
    ----------
    bars : pl.DataFrame or pd.DataFrame, shape (n_bars, ...)
        ``symbol, time, open, high, low, close``, sorted by symbol and time, prices above zero.
    horizon, interval, entry
        As for `forward_return`.
    take, stop : float
        Distances of the upper and the lower barrier from the entry price, above 0: fractions of
        it (0.002 is 20 bps), or with `sigma` multiples of the horizon's volatility.
    sigma : pl.DataFrame or pd.DataFrame, optional
        As for `direction`.

    Returns
    -------
    pl.DataFrame, shape (at most n_bars, 5)
        ``symbol, time, known_at, y, label``. label (Int8): 1 if the upper barrier was met first,
        -1 if the lower one, 0 if neither. y: the simple return from the entry price to the
        barrier met (to the bar's open where it opened beyond), or to the close at the horizon's
        end. `known_at`: the close of the bar that settled it, at most `time` + `horizon`. Never
        null.

    Raises
    ------
    UserError
        If `take` or `stop` is not above 0 or not finite, if the lower barrier would lie at or
        below a price of zero, or as for `forward_return`.
    TableError
        If `bars` or `sigma` are not sorted tables.

    Notes
    -----
    The upper barrier is the profit of a long position. Bars are followed in order of time; the
    path inside a bar is not known, so a bar that touches both barriers counts as the loss of a
    long, as the desk counts it. For a short position that is the kind reading, not the strict one.

    A row whose barrier is met before a gap (or the end of the data) is kept; one that is still
    open there is left out. The last rows before a gap are therefore those that were settled fast.

    Highs and lows of the entry bar count from its open on. Uses prices after t up to `known_at`.

    References
    ----------
    .. [1] Lopez de Prado, M. (2018). Advances in Financial Machine Learning, ch. 3. Wiley.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> minute = timedelta(minutes=1)
    >>> time = [datetime(2024, 5, 1, 0, k, tzinfo=UTC) for k in (1, 2, 3, 4)]
    >>> prices = {"open": [100.0, 100.0, 101.0, 99.0], "high": [100.0, 101.5, 102.5, 99.0],
    ...     "low": [100.0, 100.0, 100.5, 98.0], "close": [100.0, 101.0, 100.5, 98.5]}
    >>> bars = pl.DataFrame({"symbol": "A", "time": time, **prices})
    >>> barrier(bars, horizon=2 * minute, interval=minute, take=0.02, stop=0.02).select(
    ...     "y", "label", minutes=(pl.col("known_at") - pl.col("time")).dt.total_minutes()).rows()
    [(0.02, 1, 2), (-0.02, -1, 2)]
    """
    ahead = bars_ahead(horizon, interval)
    _check(take, stop, in_price=sigma is None)
    table = with_runs(bars, _NEEDED, interval)
    unit = pl.lit(1.0)
    if sigma is not None:
        table = with_sigma(table, sigma, how="left")
        unit = pl.when(pl.col("sigma") > 0).then(pl.col("sigma") * math.sqrt(ahead))
    table = table.with_columns(entry=entry_price(entry), take=take * unit, stop=stop * unit)
    return _table(table, ahead)


def _check(take: float, stop: float, *, in_price: bool) -> None:
    for name, value in (("take", take), ("stop", stop)):
        if not 0 < value < math.inf:
            raise UserError(f"labels: {name} must be a number above 0, found {value}.")
    if in_price and stop >= 1:
        raise UserError(
            f"labels: stop must be a fraction of price below 1, found {stop}: no price falls that "
            "far. Write 2 % as 0.02."
        )


def _table(table: pl.DataFrame, ahead: int) -> pl.DataFrame:
    from research.labels import kernels

    prices = tuple(_floats(table, c) for c in schema.PRICES)
    wanted = tuple(_floats(table, c) for c in ("entry", "take", "stop"))
    last = kernels.last_of_run(table["run"].to_numpy())
    y, label, held = kernels.first_touch(*prices, *wanted, last, ahead)
    known_at = table["time"].gather(np.arange(len(held)) + held)
    rows = table.select("symbol", "time", known_at.alias("known_at"))
    return rows.with_columns(pl.Series("y", y), pl.Series("label", label)).filter(held > 0)


def _floats(table: pl.DataFrame, column: str) -> np.ndarray:
    return np.ascontiguousarray(table[column].cast(pl.Float64).to_numpy())
