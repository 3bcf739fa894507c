"""Klines as a venue hands them out to gap-checked bars; longer bars; runs without a gap.

Nothing is repaired here: a row that cannot be a bar is refused with its name, a row that repeats
or misses the grid is left out and counted, and an absent bar stays absent.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from research.bars.imbalance import imbalance_bars
from research.bars.resampling import resample
from research.bars.volume import after_first_day, typical_size, volume_bars
from research.schema import BARS, EXTRAS, PRICES, TIME, TableError, check
from research.units import show

RAW: dict[str, Any] = {column: dtype for column, dtype in BARS.items() if column != "time"}
COUNTS = ("rows", "missing", "zero_volume", "duplicates", "revised", "off_grid", "unsorted")
__all__ = [
    "after_first_day",
    "clean",
    "coverage",
    "imbalance_bars",
    "recount",
    "resample",
    "segments",
    "slots",
    "typical_size",
    "volume_bars",
]
QUALITY: dict[str, Any] = {"symbol": pl.String, "day": pl.Date} | dict.fromkeys(COUNTS, pl.Int64)

_DAY = 86_400_000_000
_VALUES = [*PRICES, "volume", *EXTRAS]
# fewer rows may be far apart because the market is thin, not because the interval is wrong
_ENOUGH = 100


def clean(
    raw: pl.DataFrame, *, interval: timedelta, name: str, sparse: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sort raw klines into bars, and count per symbol and day what was wrong with them.

    Parameters
    ----------
    raw : pl.DataFrame, shape (n_rows, n_columns)
        `symbol`, `open_time` (``Datetime("us", "UTC")``), open, high, low, close, volume and any
        of quote_volume, trades, taker_buy_volume, taker_buy_quote_volume; in any order, rows
        possibly repeated. A column `file`, where there is one, is named in errors.
    interval : timedelta
        Length of a bar; open times are multiples of it, counted from 1970-01-01 UTC.
    name : str
        How errors call the table.
    sparse : bool
        Whether the source writes no row for a bar without trades, so that a thin market's rows
        may all be further apart than `interval`.

    Returns
    -------
    bars : pl.DataFrame, shape (n_bars, 12)
        `schema.BARS`, one row per (symbol, time), ``time = open_time + interval``. Null only in
        the last four columns, where the source does not say (NaN there counts as not said).
    quality : pl.DataFrame, shape (n_days, 9)
        `QUALITY`: per symbol and UTC day of the open time, the bars kept; bars `missing` between
        the symbol's first and last; bars without volume; rows left out because they repeat the
        row before them of the same time (`duplicates`), or were replaced by a later row with
        other values (`revised`); rows between the grid (`off_grid`); rows that stood behind a
        later one of their symbol (`unsorted`). A day without a bar inside the span has a row.

    Raises
    ------
    TableError
        If a price is null, NaN, infinite or not above zero, a volume is null or negative, high or
        low do not enclose open and close, or the rows plainly have another interval.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> at = pl.Series([datetime(2024, 5, 1, 0, m, tzinfo=UTC) for m in (3, 0, 0)])
    >>> price = {c: [2.0, 1.0, 1.0] for c in ("open", "high", "low", "close")}
    >>> raw = pl.DataFrame({"symbol": "A", "open_time": at, **price, "volume": [0.0, 5.0, 5.0]})
    >>> bars, quality = clean(raw, interval=timedelta(minutes=1), name="bars")
    >>> bars["close"].to_list()
    [1.0, 2.0]
    >>> {word: count for word, count in coverage(quality).items() if count}
    {'rows': 2, 'missing_minutes': 2, 'zero_volume_bars': 1, 'duplicates': 1, 'unsorted': 2}
    """
    rows = _typed(raw, name)
    _check_values(rows, name)
    rows = _marked(rows, interval)
    _check_interval(rows, interval, name, sparse)
    _check_revised(rows, name)
    bars = rows.filter("kept").with_columns(time=pl.col("open_time") + interval).select(list(BARS))
    counted = rows.group_by("symbol", pl.col("open_time").dt.date().alias("day")).agg(
        pl.col("kept").sum().cast(pl.Int64).alias("rows"),
        (pl.col("kept") & (pl.col("volume") == 0)).sum().cast(pl.Int64).alias("zero_volume"),
        *(pl.col(c).sum().cast(pl.Int64) for c in COUNTS[3:]),
    )
    quality = slots(bars, interval).join(counted, on=["symbol", "day"], how="full", coalesce=True)
    quality = quality.with_columns(pl.exclude("symbol", "day").fill_null(0))
    quality = quality.with_columns(missing=pl.col("slots") - pl.col("rows"))
    return check(bars, BARS, name), quality.select(list(QUALITY)).sort("symbol", "day")


def _typed(raw: pl.DataFrame, name: str) -> pl.DataFrame:
    missing = [c for c in RAW if c not in raw.columns and c not in EXTRAS]
    if missing:
        raise TableError(
            f"{name}: column {missing[0]!r} is missing. Columns here: {', '.join(raw.columns)}."
        )
    if raw.is_empty():
        raise TableError(f"{name}: no rows. Ask for symbols and dates the source holds.")
    if raw.schema["open_time"] != TIME:
        found = raw.schema["open_time"]
        raise TableError(f"{name}: column 'open_time' must be {TIME}, found {found}.")
    floats = [c for c, dtype in raw.schema.items() if c in EXTRAS and dtype.is_float()]
    raw = raw.with_columns(pl.col(floats).fill_nan(None))
    try:
        return raw.with_columns(
            *(pl.col(c).cast(RAW[c]) for c in RAW if c in raw.columns),
            *(pl.lit(None, RAW[c]).alias(c) for c in EXTRAS if c not in raw.columns),
        )
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{name}: {str(error).splitlines()[0]}") from error


def _check_values(rows: pl.DataFrame, name: str) -> None:
    low_body, high_body = pl.min_horizontal("open", "close"), pl.max_horizontal("open", "close")
    rules = [
        ("symbol", pl.col("symbol").is_null(), "a symbol must be there"),
        ("open_time", pl.col("open_time").is_null(), "a time must be there"),
        *((c, ~_finite(c) | (pl.col(c) <= 0), "a price must be above zero") for c in PRICES),
        ("volume", ~_finite("volume") | (pl.col("volume") < 0), "a volume must be zero or above"),
        *((c, (_finite(c) & (pl.col(c) >= 0)).not_(), "must be zero or above") for c in EXTRAS),
        ("high", pl.col("high") < pl.max_horizontal(high_body, "low"), "high must be the highest"),
        ("low", pl.col("low") > low_body, "low must be the lowest"),
    ]
    found = rows.select(pl.any_horizontal(bad.any().fill_null(False) for _, bad, _ in rules)).item()
    if not found:
        return
    for column, bad, law in rules:
        wrong = rows.filter(bad)
        if wrong.height:
            raise TableError(_complaint(wrong, column, law, name))


def _finite(column: str) -> pl.Expr:
    # null is not finite for a price; for the extras `_check_values` lets null through, as it
    # keeps a null condition out of the filter
    known = pl.col(column).cast(pl.Float64).is_finite()
    return known if column in EXTRAS else known.fill_null(False)


def _complaint(wrong: pl.DataFrame, column: str, law: str, name: str) -> str:
    row = wrong.row(0, named=True)
    where = f"{name} ({row['file']})" if row.get("file") else name
    when = f"{row['open_time']:%Y-%m-%d %H:%M:%S}Z" if row["open_time"] else "at an unknown time"
    prices = ", ".join(f"{c} {row[c]}" for c in PRICES) if column in ("high", "low") else ""
    return (
        f"{where}: {row['symbol']} {when}: column {column!r} holds {row[column]}; {law}"
        f"{f' ({prices})' if prices else ''}. {wrong.height} such rows; "
        "mend or remove them at the source, they are never repaired here."
    )


def _marked(rows: pl.DataFrame, interval: timedelta) -> pl.DataFrame:
    """Sort by symbol and time, later row of the file last, and say of each row what it is."""
    step = interval // timedelta(microseconds=1)
    rows = rows.with_columns(
        unsorted=pl.col("open_time") < pl.col("open_time").cum_max().over("symbol"),
        off_grid=pl.col("open_time").to_physical() % step != 0,
    ).sort("symbol", "open_time", maintain_order=True)
    same_key = pl.col("symbol").eq(_before("symbol")) & pl.col("open_time").eq(_before("open_time"))
    same_values = pl.all_horizontal(pl.col(c).eq_missing(pl.col(c).shift(1)) for c in _VALUES)
    on_grid = ~pl.col("off_grid")
    repeats = (same_key & on_grid).fill_null(False)
    return rows.with_columns(
        duplicates=repeats & same_values,
        revised=repeats & ~same_values,
        kept=on_grid & ~repeats.shift(-1, fill_value=False),
    )


def _before(column: str) -> pl.Expr:
    return pl.col(column).shift(1)


def _check_revised(rows: pl.DataFrame, name: str) -> None:
    """Many second rows with other values are two markets under one name, not corrections."""
    found = rows.group_by("symbol").agg(pl.len(), pl.col("revised").sum()).sort("symbol")
    mixed = found.filter((pl.col("revised") * 20 > pl.col("len")) & (pl.col("revised") > _ENOUGH))
    if mixed.height:
        symbol, n, revised = mixed.row(0)
        raise TableError(
            f"{name}: {revised} of {n} rows of {symbol} give another value for a time already "
            "told: two markets or coins under one name. Read them apart, or name the symbol column."
        )


def _check_interval(rows: pl.DataFrame, interval: timedelta, name: str, sparse: bool) -> None:
    """Bars of another length must not pass as bars of this one."""
    off = int(rows["off_grid"].sum())
    if 2 * off > rows.height:
        first = rows.filter("off_grid").row(0, named=True)
        raise TableError(
            f"{name}: {off} of {rows.height} rows do not open on a multiple of {show(interval)}, "
            f"first {first['symbol']} {first['open_time']:%Y-%m-%d %H:%M:%S}Z. "
            "Say the interval the bars have."
        )
    if sparse:
        return
    kept = rows.filter("kept")
    gaps = (
        kept["open_time"]
        .diff()
        .filter((kept["symbol"] == kept["symbol"].shift(1)).fill_null(False))
    )
    shortest = gaps.min()
    if kept.height >= _ENOUGH and isinstance(shortest, timedelta) and shortest > interval:
        raise TableError(
            f"{name}: bars are at least {show(shortest)} apart in {kept.height} rows, "
            f"asked for {show(interval)}. Say the interval the bars have."
        )


def recount(quality: pl.DataFrame, bars: pl.DataFrame, interval: timedelta) -> pl.DataFrame:
    """Count rows, missing and empty bars anew over `bars`, a part of what `quality` is about.

    Parameters
    ----------
    quality : pl.DataFrame
        As `clean` returns it; what was wrong with the raw rows is known by the day alone.
    bars : pl.DataFrame
        `schema.BARS`, of the days in `quality`, which may be cut inside a day.
    interval : timedelta
        Length of a bar.

    Returns
    -------
    pl.DataFrame
        `QUALITY`; days without a slot are left out.
    """
    day = pl.col("open_time").dt.date().alias("day")
    counted = bars.group_by("symbol", day).agg(
        pl.len().cast(pl.Int64).alias("rows"),
        (pl.col("volume") == 0).sum().cast(pl.Int64).alias("zero_volume"),
    )
    keys = ["symbol", "day"]
    raw = quality.select(*keys, *COUNTS[3:])
    table = slots(bars, interval).join(counted, on=keys, how="left").join(raw, on=keys, how="left")
    table = table.with_columns(pl.exclude(keys).fill_null(0))
    table = table.with_columns(missing=pl.col("slots") - pl.col("rows"))
    return table.select(list(QUALITY)).sort(keys)


def slots(bars: pl.DataFrame, interval: timedelta) -> pl.DataFrame:
    """Count, per symbol and UTC day, the bars a market without a gap would have had.

    Parameters
    ----------
    bars : pl.DataFrame, shape (n_bars, n_columns)
        With columns `symbol` and `open_time`; open times on the grid of `interval`.
    interval : timedelta
        Length of a bar.

    Returns
    -------
    pl.DataFrame, shape (n_days, 3)
        `symbol`, `day`, `slots`: every day from the symbol's first bar to its last, with the open
        times between those two that fall on it. Days on which no bar can open are left out.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> at = pl.Series([datetime(2024, 5, d, 22, tzinfo=UTC) for d in (1, 2)])
    >>> bars = pl.DataFrame({"symbol": "A", "open_time": at})
    >>> slots(bars, timedelta(hours=1))["slots"].to_list()
    [2, 23]
    """
    step = interval // timedelta(microseconds=1)
    opened = pl.col("open_time")
    spans = bars.group_by("symbol").agg(opened.min().alias("first"), opened.max().alias("last"))
    days = spans.with_columns(
        day=pl.date_ranges(pl.col("first").dt.date(), pl.col("last").dt.date())
    ).explode("day")
    midnight = pl.col("day").cast(pl.Datetime("us")).to_physical()
    low = pl.max_horizontal(pl.col("first").to_physical(), midnight)
    high = pl.min_horizontal(pl.col("last").to_physical(), midnight + (_DAY - 1))
    count = high // step - (low + (step - 1)) // step + 1
    return days.select("symbol", "day", slots=count).filter(pl.col("slots") > 0)


def segments(bars: pl.DataFrame) -> pl.Series:
    """Number the runs of bars without a gap, from 0 in each symbol.

    Parameters
    ----------
    bars : pl.DataFrame, shape (n_bars, n_columns)
        With columns `symbol`, `open_time` and `time`, sorted by symbol and time; on a clock or
        traded: a row follows the one before it when it opened as that one closed.

    Returns
    -------
    pl.Series of Int64, shape (n_bars,)
        Named `segment`. A gap starts the next number, a symbol starts at 0 again.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> at = pl.Series([datetime(2024, 5, 1, 0, m, tzinfo=UTC) for m in (1, 2, 5, 1)])
    >>> bars = pl.DataFrame({"symbol": ["A", "A", "A", "B"], "time": at})
    >>> segments(bars.with_columns(open_time=pl.col("time") - timedelta(minutes=1))).to_list()
    [0, 0, 1, 0]
    """
    starts = (bars["symbol"] != bars["symbol"].shift(1)).fill_null(True)
    gaps = (bars["open_time"] != bars["time"].shift(1)).fill_null(True) & ~starts
    run = gaps.cum_sum().cast(pl.Int64)
    # what had been counted when the symbol began; runs only grow, so the last start stands
    began = pl.select(pl.when(starts).then(run).forward_fill()).to_series()
    return (run - began).alias("segment")


def coverage(quality: pl.DataFrame) -> dict[str, int]:
    """Sum a quality table into the counts every report carries.

    Parameters
    ----------
    quality : pl.DataFrame, shape (n_days, n_columns)
        As `clean` returns it.

    Returns
    -------
    dict of str to int
        rows, missing_minutes (bars absent inside each symbol's own span; minutes for one-minute
        bars; of a sparse source also those in which nothing was traded), zero_volume_bars,
        duplicates, revised, off_grid, unsorted.

    Examples
    --------
    >>> coverage(pl.DataFrame(schema=QUALITY))["missing_minutes"]
    0
    """
    words = {"missing": "missing_minutes", "zero_volume": "zero_volume_bars"}
    return {words.get(c, c): int(quality[c].sum()) for c in COUNTS}
