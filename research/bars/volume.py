"""Volume and dollar bars: a bar closes when so much was traded, not when so much time passed."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import numpy as np
import polars as pl

from research.bars.gathering import starts, traded
from research.errors import UserError, nearest
from research.schema import BARS, check
from research.steps import compiled, scan
from research.units import show

Kind = Literal["volume", "dollar"]
_MICROSECOND = timedelta(microseconds=1)


@compiled
def full(state: float, event: tuple, rules: float) -> tuple:
    """Tell whether a base bar fills the bar that is being made: a step.

    Parameters
    ----------
    state : float
        Amount gathered since the last bar.
    event : (float, float, bool)
        Amount of this base bar, the size of a bar, whether the gathering starts anew here.
    rules : float
        None needed: 0.0.

    Returns
    -------
    float
        Amount gathered after this base bar; 0 when it closed the bar: a surplus is not carried on.
    bool
        Whether it closed the bar.

    Examples
    --------
    >>> from research.steps import streaming
    >>> live = streaming(full, 0.0, 0.0)
    >>> [bool(live.update(amount, 10.0, False)) for amount in (6.0, 6.0, 6.0)]
    [False, True, False]
    """
    amount, size, anew = event
    total = amount if anew else state + amount
    closed = total >= size
    return (0.0 if closed else total), closed


def volume_bars(
    bars: pl.DataFrame,
    size: float | dict[str, float],
    *,
    kind: Kind = "volume",
    sparse: bool = False,
) -> pl.DataFrame:
    """Gather base bars until so much was traded.

    Parameters
    ----------
    bars : pl.DataFrame, shape (n_base, n_columns)
        `schema.BARS`, sorted by (symbol, time): klines, or trades in the same columns (each a bar
        without length, ``time = open_time``; then say ``sparse=True``).
    size : float or dict of str to float
        Amount that closes a bar, of every symbol or by symbol: base currency for ``"volume"``,
        quote currency for ``"dollar"``.
    kind : str
        ``"volume"`` adds up `volume`; ``"dollar"`` adds up `quote_volume`, or where a source does
        not tell it (Polygon) ``volume * close`` of the base bar.
    sparse : bool
        Whether a base bar is absent because nothing was traded (Polygon, trades): then only a
        UTC day without a row of any symbol is a gap. Otherwise every absent base bar is one.

    Returns
    -------
    pl.DataFrame, shape (n_bars, 13)
        `schema.BARS` of uneven length, and `parts`, the base bars in each: the column by which
        features and labels know them. `open_time` is that of the first base bar (with `sparse`,
        the close of the bar before), `time` that of the last, the one in which the amount since
        the bar before reached `size`. The surplus of that base bar belongs to its bar and is not
        carried on. No bar spans a gap: what was gathered before one is dropped and gathering
        starts anew behind it, so a bar opens as the one before it closes, or there is a gap. The
        unfinished last bar is not there.

    Raises
    ------
    UserError
        If a size is not above zero, or a symbol has none.
    TableError
        If `bars` are not `schema.BARS`.

    Notes
    -----
    The bar labelled t knows base bars up to and including t, and more of them behind it change
    nothing in it. Where bars begin depends on the first base bar: two histories that start apart
    give the same bars from the first base bar that closes a bar in both; with minutes of eleven
    coin months and bars of 15 minutes that took an hour or a few, and never more than 16 hours.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> at = pl.Series([datetime(2024, 5, 1, 0, m, tzinfo=UTC) for m in range(6)])
    >>> price = {c: [float(m + 1) for m in range(6)] for c in ("open", "high", "low", "close")}
    >>> raw = pl.DataFrame({"symbol": "A", "open_time": at, **price, "volume": 4.0})
    >>> from research.bars import clean
    >>> minutes, _ = clean(raw, interval=timedelta(minutes=1), name="bars")
    >>> made = volume_bars(minutes, 6.0)
    >>> made.select(pl.col("time").dt.minute(), "open", "close", "volume").rows()
    [(2, 1.0, 2.0, 8.0), (4, 3.0, 4.0, 8.0), (6, 5.0, 6.0, 8.0)]
    """
    bars = check(bars, BARS, "bars").select(list(BARS))
    if bars.is_empty():
        return bars.with_columns(parts=pl.lit(0, pl.Int64))
    runs = bars["symbol"].rle().struct.unnest()
    sizes = np.repeat(_sizes(runs["value"], size), runs["len"])
    anew = starts(bars, sparse=sparse)
    _, closed = scan(full, 0.0, (_amount(bars, kind), sizes, anew), 0.0)
    return traded(bars, anew, closed, sparse=sparse)


def typical_size(
    bars: pl.DataFrame, interval: timedelta, *, kind: Kind = "volume"
) -> dict[str, float]:
    """Estimate, from its first UTC day alone, the size that makes a symbol's bars so long.

    Parameters
    ----------
    bars : pl.DataFrame, shape (n_base, n_columns)
        `schema.BARS`.
    interval : timedelta
        How long a bar shall last on average, were every day like the first.
    kind : str
        As for `volume_bars`.

    Returns
    -------
    dict of str to float
        By symbol: what was traded on the first day, per `interval` of the time from its first
        bar to midnight.

    Raises
    ------
    UserError
        If less than `interval` of a first day is there, or nothing was traded on it.

    Notes
    -----
    The size is known when the first day ends and not before, so bars of that day must not be made
    with it: pass `after_first_day` of the bars to `volume_bars`.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> at = pl.Series([datetime(2024, 5, d, 23, tzinfo=UTC) for d in (1, 2)])
    >>> price = {c: [2.0, 2.0] for c in ("open", "high", "low", "close")}
    >>> raw = pl.DataFrame({"symbol": "A", "open_time": at, **price, "volume": [60.0, 9.0]})
    >>> from research.bars import clean
    >>> hours, _ = clean(raw, interval=timedelta(hours=1), name="bars")
    >>> typical_size(hours, timedelta(minutes=15)), after_first_day(hours)["volume"].to_list()
    ({'A': 15.0}, [9.0])
    """
    bars = check(bars, BARS, "bars")
    found = (
        bars.select("symbol", "open_time", amount=_amount(bars, kind))
        .filter(_is_first_day())
        .group_by("symbol", maintain_order=True)
        .agg(pl.col("open_time").min(), pl.col("amount").sum())
    )
    rest = (pl.col("open_time").dt.truncate("1d") + timedelta(days=1)) - pl.col("open_time")
    per_bar = pl.col("amount") / (rest.dt.total_microseconds() / (interval / _MICROSECOND))
    for symbol, left, size in found.select("symbol", rest, per_bar).iter_rows():
        if left < interval or size <= 0:
            why = f"only {show(left)} of it are there" if left < interval else "nothing was traded"
            raise UserError(
                f"volume bars: the first day of {symbol} does not tell its size: {why}. "
                "Name data.bar_size, or start with a whole day."
            )
    return dict(found.select("symbol", per_bar).iter_rows())


def after_first_day(bars: pl.DataFrame) -> pl.DataFrame:
    """Return the bars that open after the first UTC day of their symbol.

    Parameters
    ----------
    bars : pl.DataFrame, shape (n_bars, n_columns)
        With columns `symbol` and `open_time`, sorted by them.

    Returns
    -------
    pl.DataFrame
        The same without each symbol's first day; see `typical_size`.
    """
    return bars.filter(~_is_first_day())


def _is_first_day() -> pl.Expr:
    day = pl.col("open_time").dt.date()
    return day == day.min().over("symbol")


def _amount(bars: pl.DataFrame, kind: Kind) -> np.ndarray:
    if kind == "volume":
        return bars["volume"].to_numpy()
    if kind != "dollar":
        raise UserError(f"volume bars: kind must be 'volume' or 'dollar', found {kind!r}.")
    told = pl.coalesce("quote_volume", pl.col("volume") * pl.col("close"))
    return bars.select(told).to_series().to_numpy()


def _sizes(symbols: pl.Series, size: float | dict[str, float]) -> list[float]:
    sizes = size if isinstance(size, dict) else dict.fromkeys(symbols, size)
    for symbol in symbols:
        if symbol not in sizes:
            raise UserError(
                f"volume bars: no size for {symbol}.{nearest(symbol, list(sizes))} "
                f"Sizes: {', '.join(sorted(sizes)) or 'none'}. Name one in data.bar_size."
            )
        if not 0 < sizes[symbol] < np.inf:
            raise UserError(
                f"volume bars: the size of {symbol} must be above zero, found {sizes[symbol]}."
            )
    return [float(sizes[symbol]) for symbol in symbols]
