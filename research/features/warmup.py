"""How long a feature remembers where its series began: measured, not declared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from research.errors import UserError
from research.features import aggregates, cross
from research.features.kernels import evaluated
from research.features.sets import FeatureSet

TOLERANCE = 1e-9
_LENGTHS = (12_000, 120_000)
_BEGINNINGS = 16
_MIDDLE = (0.3, 0.5)  # where beginnings lie: enough bars before and after
_RESIDUES = 0.03  # share of rows that may hold rounding residues
_DENSE = 0.25  # share of rows up to its end on which memory differs
_OTHERS = 2  # symbols beside the one that is measured, for a set that looks at others
_APART = 777  # bars between them
_cache: dict[tuple[str, timedelta], int] = {}


def warmup(feature_set: FeatureSet, *, interval: timedelta) -> int:
    """Measure after how many bars no value depends any more on where the series begins.

    The set is evaluated on a fixed canonical series from its first bar, and again from later
    beginnings (at midnight and in a flat stretch, among others). The answer is the largest number
    of bars it took until all columns agreed to 1e-9 of their standard deviation, and stayed so but
    for rounding residues (0/0 in flat stretches) on at most 3 % of the rows.

    Parameters
    ----------
    feature_set : FeatureSet
        From `resolve`.
    interval : timedelta
        Length of one bar: features that look at the calendar remember longer on short bars.

    Returns
    -------
    int
        Bars that must lie before a row since the last gap: a mean over n bars needs n - 1.

    Raises
    ------
    UserError
        If a column has not forgotten its beginning after 30,000 bars; names it.

    Notes
    -----
    Kept in the process by the set's fingerprint and the interval.

    Examples
    --------
    >>> from research.features.sets import resolve
    >>> returns = {g: False for g in ("bop", "cci", "mfi", "rsi", "stochrsi", "stoch", "natr")}
    >>> warmup(resolve("S2", groups=returns), interval=timedelta(minutes=1))
    9
    """
    key = feature_set.fingerprint(), interval
    if key not in _cache:
        _cache[key] = max(by_column(feature_set, interval=interval).values())
    return _cache[key]


def by_column(feature_set: FeatureSet, *, interval: timedelta) -> dict[str, int]:
    """Return the warm-up of each column, in bars; measured anew."""
    found: dict[str, int] = {}
    for rows in _LENGTHS:
        others = _OTHERS if feature_set.cross else 0
        found = _measured(feature_set, canonical(rows, interval=interval, symbols=1 + others), rows)
        # a beginning in the middle leaves half the series to forget it in; ask for twice the need
        endless = [name for name, bars in found.items() if bars > rows // 4]
        if not endless:
            return found
    raise UserError(
        f"feature {endless[0]!r}: still depends on where the series begins after "
        f"{_LENGTHS[-1] // 4:,} bars, so batch and live would differ. "
        "Use a rolling window instead of a running total."
    )


def _measured(feature_set: FeatureSet, bars: pl.DataFrame, rows: int) -> dict[str, int]:
    whole = _values(feature_set, bars, 0)
    bars_needed = dict.fromkeys(whole, 0)
    for begin in _beginnings(bars.head(rows)):
        late = _values(feature_set, bars, begin)
        for name, column in late.items():
            differs = _differ(whole[name][begin:], column, TOLERANCE * _spread(whole[name]))
            bars_needed[name] = max(bars_needed[name], _settled_after(differs))
    return bars_needed


def _settled_after(differs: np.ndarray) -> int:
    """Return the bars after which a late beginning no longer differs, rounding residues aside.

    A z-score in a flat stretch divides one residue by another, on a few scattered rows for ever;
    memory differs on most rows from the beginning up to where it ends.
    """
    rows = np.flatnonzero(differs)
    if not rows.size:
        return 0
    dense = rows[np.arange(1, rows.size + 1) >= _DENSE * (rows + 1)]
    end = int(dense[-1]) + 1 if dense.size else 0
    return end if differs[end:].sum() <= _RESIDUES * differs.size else int(rows[-1]) + 1


def _values(feature_set: FeatureSet, bars: pl.DataFrame, begin: int) -> dict[str, np.ndarray]:
    """Evaluate the first symbol, of bars that all begin at that row of it."""
    bars = aggregates.made_up(bars) if feature_set.beside else bars
    seen = bars.filter(pl.col("open_time") >= bars["open_time"][begin]) if begin else bars
    one = cross.columns(seen, feature_set.cross).filter(pl.col("symbol") == bars["symbol"][0])
    table = evaluated(one, feature_set.exprs)
    return {column.name: column.to_numpy() for column in table}


def _spread(column: np.ndarray) -> float:
    settled = column[int(len(column) * _MIDDLE[0]) :]
    finite = settled[np.isfinite(settled)]
    return float(finite.std()) if finite.size else 0.0


def _differ(whole: np.ndarray, late: np.ndarray, tolerance: float) -> np.ndarray:
    unknown = np.isnan(whole) & np.isnan(late)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        near = np.abs(whole - late) <= tolerance
    return ~(unknown | near | (whole == late))


def _beginnings(bars: pl.DataFrame) -> list[int]:
    """Rows of the third and fourth tenth: evenly spread, and where calendar and price restart."""
    first, last = (int(share * bars.height) for share in _MIDDLE)
    spread = np.linspace(first, last, _BEGINNINGS).astype(int).tolist()
    opened = pl.col("open_time")
    midnight = opened.dt.date() != opened.shift(1).dt.date()
    restarts = (
        pl.col("volume") == 0,
        midnight,
        midnight & (opened.dt.weekday() == 1),
        midnight & (opened.dt.day() == 1),
    )
    middle = bars.with_row_index("row").slice(first, last - first)
    for restart in restarts:
        spread += [r for row in middle.filter(restart)["row"].head(1) for r in (row, row + 1)]
    return spread


def canonical(rows: int, *, interval: timedelta, symbols: int = 1) -> pl.DataFrame:
    """Return the fixed series that warm-up is measured on: no gap, always the same.

    A random walk in steps of a tick with changing volatility, stretches of up to 40 flat bars,
    and of bars without volume.

    Parameters
    ----------
    rows : int
        Bars.
    interval : timedelta
        Length of one.
    symbols : int
        More than one: the others walk as the first does some hundreds of bars on.

    Returns
    -------
    pl.DataFrame, shape (rows * symbols, 12)
        `schema.BARS`, every column known.

    Examples
    --------
    >>> canonical(1_000, interval=timedelta(minutes=1)).equals(
    ...     canonical(2_000, interval=timedelta(minutes=1)).head(1_000))
    True
    """
    if symbols > 1:
        longer = canonical(rows + _APART * (symbols - 1), interval=interval)
        return pl.concat(_walking(longer, k, rows) for k in range(symbols))
    rng = np.random.Generator(np.random.PCG64(20240501))
    draws = rng.standard_normal((rows, 4))  # by row: a longer series begins as a shorter one
    row = np.arange(rows)
    flat = (row % 997 < 40) & (row // 997 % 3 == 1) | (row % 211 < 6)
    swing = 1e-3 * np.exp(np.sin(row / 700) + 0.3 * draws[:, 3])
    walk = np.cumsum(np.where(flat, 0, swing * draws[:, 0]))
    level = 0.5 - np.abs((walk + 0.5) % 2 - 1)  # reflected, so that it stays within half of e
    # a peak and a trough at the beginning, never met again: a record kept is a memory
    level += np.exp(-(((row - 600) / 150) ** 2)) - np.exp(-(((row - 1_500) / 150) ** 2))
    level = level[np.maximum.accumulate(np.where(flat, 0, row))]
    close = np.round(1e4 * np.exp(level), 2)
    open_ = np.append(close[0], close[:-1])
    reach = np.where(flat, 0, swing)
    high = np.round(np.maximum(open_, close) * (1 + reach * np.abs(draws[:, 1])), 2)
    low = np.round(np.minimum(open_, close) * (1 - reach * np.abs(draws[:, 2])), 2)
    quiet = flat & (row % 2 == 0) | (row % 499 < 25) & flat
    volume = np.where(quiet, 0.0, np.round(10 * np.exp(draws[:, 3]), 3))
    return _as_bars(open_, high, low, close, volume, interval)


def _walking(walk: pl.DataFrame, number: int, rows: int) -> pl.DataFrame:
    own = walk.slice(_APART * number, rows).drop("symbol", "time", "open_time")
    symbol = pl.lit("CANONICAL" + f"_{number}" * (number > 0)).alias("symbol")
    return walk.head(rows).select(symbol, "time", "open_time").hstack(own)


def _as_bars(
    open_: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
    close: np.ndarray,
    volume: np.ndarray,
    interval: timedelta,
) -> pl.DataFrame:
    start = datetime(2001, 1, 1, tzinfo=UTC)
    middle = (high + low) / 2
    opened = pl.int_range(pl.len(), eager=False) * (interval // timedelta(microseconds=1))
    return pl.DataFrame(
        {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    ).select(
        pl.lit("CANONICAL").alias("symbol"),
        (pl.lit(start, pl.Datetime("us", "UTC")) + opened.cast(pl.Duration("us")) + interval).alias(
            "time"
        ),
        (pl.lit(start, pl.Datetime("us", "UTC")) + opened.cast(pl.Duration("us"))).alias(
            "open_time"
        ),
        pl.all(),
        pl.Series("quote_volume", volume * middle),
        pl.Series("trades", np.ceil(volume * 3).astype(np.int64)),
        pl.Series("taker_buy_volume", volume * 0.45),
        pl.Series("taker_buy_quote_volume", volume * 0.45 * middle),
    )
