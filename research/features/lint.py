"""What must not train: a clock, a price level in disguise, a constant, a hole, a copy.

A clock or a price level tells a tree *when* it is, and so what happened next: it remembers the
training window by heart and knows nothing of the next one. Nothing in a score says so before the
forecasts are out of sample; this does, from the training rows alone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError

LIMIT = 0.9
ALWAYS = ("nan", "infinite", "unknown")
"""Findings that no name in `allow` excuses: there is nothing to learn from such a column."""
_WORDS = {
    "nan": "holds NaN",
    "infinite": "holds infinity",
    "unknown": "is null in every row",
    "constant": "is constant",
    "clock": "is a clock (rank correlation with time {value:.2f})",
    "level": "is a price level in disguise (rank correlation with the close {value:.2f})",
}
_FINDINGS = {
    "feature": pl.String,
    "finding": pl.String,
    "value": pl.Float64,
    "allowed": pl.Boolean,
    "twin": pl.String,
}
_NOT_FEATURES = {*schema.FEATURES, *schema.LABELS, *schema.FORECASTS, "label"}
_ROWS = 20_000  # per symbol, evenly spaced: two digits of a rank correlation need no more
_FEWEST = 30  # rows of a symbol below which it has no say
_SAME = 1 - 1e-9


def lint(
    table: Any, bars_close: Any = None, *, allow: Collection[str] = (), limit: float = LIMIT
) -> pl.DataFrame:
    """Find the columns of a training window that would mislead a learner.

    Parameters
    ----------
    table : polars or pandas frame
        symbol, time and feature columns (every number but `sigma` and the columns of labels and
        forecasts). Hand in the rows of **one training window**: in an hour every mean is a clock.
    bars_close : polars or pandas frame, optional
        symbol, time and close, as bars have them. Left out, nobody looks for price levels.
    allow : collection of str
        Columns a study keeps knowingly, though they are a clock, a level or constant.
    limit : float
        Absolute rank correlation above which a column is a clock or a level; 0 to 1.

    Returns
    -------
    pl.DataFrame
        One row per finding: feature; finding; value; allowed (whether it stops nobody); twin.
        Findings are ``nan`` and ``infinite`` (value: rows), ``unknown`` (null throughout; value:
        rows), ``constant`` (value: the constant), ``clock`` and ``level`` (value: median over
        symbols of the absolute Spearman correlation with time, with the close), ``duplicate``
        (value: a rank correlation of 1 or -1 with the earlier column `twin`; always allowed:
        a copy costs time, not truth).

    Notes
    -----
    Correlations are taken within each symbol on at most 20,000 evenly spaced rows, over those
    where the column is known; a symbol with fewer than 30 has no say.

    **What the limit of 0.9 tells apart** was measured on one-minute bars: 6 simulated markets of
    3 symbols without an edge, and 7 Binance futures of May and June 2025, symbol by symbol.

    ======================================  ===========  ===========  ===========
    rank correlation with the close          30 d         7 d          1 d
    ======================================  ===========  ===========  ===========
    EMA 20 .. 240, bands, VWAP (5 % point)   0.98 - 1.00  0.92 - 0.99  0.60 - 0.95
    EMA 1440 (5 % point)                     0.86         0.62         0.05
    60-bar return (largest)                  0.14         0.25         0.62
    S2's columns (largest)                   0.50         0.71         0.80
    means and returns of 1440 bars (largest) 0.71         0.88         1.00
    ======================================  ===========  ===========  ===========

    With time, S2's columns reach 0.65, 0.76 and 0.91, means over 1440 bars 0.79, 0.97 and 1.00; a
    level reaches 0.9 in one window of ten or so, so the clock alone would not find it. In short:
    a level that looks back a hundredth of the window is found whenever the price ranges, and a
    sound column is never refused that looks back no further than a thirtieth. One that looks back
    further moves so little that it is a clock or a level *there*: train on a longer window, or
    allow it by name. The hour of the day is a clock in a window of a day.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> start, end = (datetime(2025, 1, d, tzinfo=UTC) for d in (1, 3))
    >>> time = pl.datetime_range(start, end, "1h", closed="right", eager=True).alias("time")
    >>> wave = [float(i * 7 % 11) for i in range(48)]
    >>> table = pl.DataFrame([time]).select(pl.lit("A").alias("symbol"), "time", age=pl.int_range(
    ...     48).cast(pl.Float64), one=pl.lit(1.0), wave=pl.Series(wave))
    >>> lint(table).select("feature", "finding", "value", "allowed").rows()
    [('age', 'clock', 1.0, False), ('one', 'constant', 1.0, False)]
    """
    if not 0 < limit <= 1:
        raise UserError(f"lint: limit must lie above 0 and at most at 1, found {limit!r}.")
    numbers = _numbers(table)
    names = [c for c in numbers.columns if c not in schema.KEY]
    found = [_broken(numbers[name]) for name in names]
    sound = [name for name, broken in zip(names, found) if broken is None]
    rows = [finding for finding in found if finding is not None]
    rows += _memories(numbers.select(*schema.KEY, *sound), bars_close, limit)
    rows += _copies(numbers.select(sound))
    found_rows = [
        row | {"allowed": _harmless(row, allow), "twin": row.get("twin")}
        for row in sorted(rows, key=lambda row: names.index(row["feature"]))
    ]
    return pl.DataFrame(found_rows, schema=_FINDINGS)


def refuse(
    table: Any, bars_close: Any = None, *, allow: Collection[str] = (), limit: float = LIMIT
) -> pl.DataFrame:
    """Stop with one line if a column of a training window must not train.

    Parameters
    ----------
    table, bars_close, allow, limit
        As for `lint`.

    Returns
    -------
    pl.DataFrame
        What `lint` found and let pass.

    Raises
    ------
    UserError
        Names each column that is not allowed and what it is.
    """
    found = lint(table, bars_close, allow=allow, limit=limit)
    stops = found.filter(~pl.col("allowed"))
    if stops.is_empty():
        return found
    said = "; ".join(
        f"{row['feature']!r} {_WORDS[row['finding']].format(**row)}"
        for row in stops.iter_rows(named=True)
    )
    whole = stops["finding"].is_in(ALWAYS).all()
    mend = "Mend or leave out the column." if whole else (
        "Take a stationary twin, switch its group off, train on a longer window, or name it in "
        "features.allow."
    )  # fmt: skip
    raise UserError(f"features: on the training window {said}. {mend}")


def columns(table: pl.DataFrame) -> list[str]:
    """Return the names of the feature columns of `table`, joined with labels or not.

    >>> columns(pl.DataFrame({"symbol": ["A"], "rsi": [50.0], "sigma": [0.1], "y": [0.0]}))
    ['rsi']
    """
    return [
        name
        for name, dtype in table.schema.items()
        if name not in _NOT_FEATURES and (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null))
    ]


def _numbers(table: Any) -> pl.DataFrame:
    if not isinstance(table, pl.DataFrame):  # in pandas NaN is how null is written
        key = {"symbol": pl.String, "time": schema.TIME}
        table = schema.as_table(table, key, "features").fill_nan(None)
    missing = [c for c in schema.KEY if c not in table.columns]
    if missing:
        raise UserError(
            f"lint: column {missing[0]!r} is missing. Columns here: {', '.join(table.columns)}."
        )
    return table.select(*schema.KEY, pl.col(columns(table)).cast(pl.Float64))


def _broken(column: pl.Series) -> dict[str, Any] | None:
    """Say what alone keeps a column from being compared with anything."""

    def finding(word: str, value: float) -> dict[str, Any]:
        return {"feature": column.name, "finding": word, "value": float(value)}

    if column.null_count() == column.len():
        return finding("unknown", column.len())
    if not column.is_finite().all():
        nan, infinite = int(column.is_nan().sum() or 0), int(column.is_infinite().sum() or 0)
        return finding("nan", nan) if nan else finding("infinite", infinite)
    if column.min() == column.max():
        return finding("constant", column.drop_nulls()[0])
    return None


def _memories(numbers: pl.DataFrame, bars_close: Any, limit: float) -> list[dict[str, Any]]:
    """Find the columns that go with time or the close within symbols."""
    names = numbers.columns[len(schema.KEY) :]
    if not names:
        return []
    against = {"clock": pl.col("time").to_physical()}
    if bars_close is not None:
        close = schema.as_table(
            bars_close, {"symbol": pl.String, "time": schema.TIME, "close": pl.Float64}, "bars"
        )
        close = close.select(*schema.KEY, pl.col("close").alias(" close"))
        numbers = numbers.join(close, on=list(schema.KEY), how="left", maintain_order="left")
        against["level"] = pl.col(" close")
    parts = numbers.partition_by("symbol", maintain_order=True)
    thin = pl.concat(part.gather_every(-(-part.height // _ROWS)) for part in parts)
    rows = []
    for word, other in against.items():
        for name, value in zip(names, _medians(thin, names, other)):
            if value > limit:
                rows.append({"feature": name, "finding": word, "value": value})
    return rows


def _medians(thin: pl.DataFrame, names: list[str], other: pl.Expr) -> list[float]:
    """Median over symbols of each column's absolute rank correlation with `other`; 0 if none."""
    by_symbol = thin.group_by("symbol").agg(
        pl.when((pl.col(name).is_not_null() & other.is_not_null()).sum() >= _FEWEST)
        .then(pl.corr(name, other, method="spearman").abs())
        .alias(name)
        for name in names
    )
    median = by_symbol.select(pl.col(names).fill_nan(None).median()).row(0)
    return [value or 0.0 for value in median]


def _copies(numbers: pl.DataFrame) -> list[dict[str, Any]]:
    """Find columns that order the rows as an earlier one does, or the other way round."""
    known = numbers.drop_nulls()
    if known.height < 3 or known.width < 2:
        return []
    ranks = known.gather_every(-(-known.height // _ROWS)).select(pl.all().rank()).to_numpy()
    ranks = ranks - ranks.mean(axis=0)
    size = np.sqrt((ranks * ranks).sum(axis=0))
    ranks /= np.where(size > 0, size, np.inf)
    matrix = np.abs(ranks.T @ ranks)
    rows = []
    for later in range(1, known.width):
        for earlier in np.flatnonzero(matrix[later, :later] >= _SAME):
            twins = numbers.columns[earlier], numbers.columns[later]
            value = known.select(pl.corr(*twins, method="spearman")).item()  # on every row
            if abs(value) >= _SAME:
                rows.append(
                    {"feature": twins[1], "finding": "duplicate", "value": value, "twin": twins[0]}
                )
                break
    return rows


def _harmless(row: dict[str, Any], allow: Collection[str]) -> bool:
    if row["finding"] in ALWAYS:
        return False
    return row["finding"] == "duplicate" or row["feature"] in allow
