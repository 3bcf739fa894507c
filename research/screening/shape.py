"""What feature columns look like: their spread over time, their turnover, which ones repeat."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

QUANTILES = {"q01": 0.01, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q99": 0.99}
SAME = 0.95
_DAILY = timedelta(days=21)  # the longest span shown day by day
_PAIRS = 20_000  # of neighbouring bars per symbol: two digits of an autocorrelation
_ROWS = 50_000  # of the correlation matrix


def described(table: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Count what is known of each column, and how fast it changes.

    Returns
    -------
    pl.DataFrame, shape (n_features, 8)
        feature; rows; missing (share null or NaN); infinite (count); constant; turnover (1 less
        the rank correlation of neighbouring bars, mean over symbols; 0 never moves, 1 forgets all
        in a bar, null where there is nothing to rank); pairs (bars it was measured on); distinct
        (values, about).
    """
    numbers = table.select(names)
    turned = _turnover(table, names)
    rows: list[dict[str, Any]] = []
    for name in names:
        column = numbers[name]
        known = column.filter(column.is_finite().fill_null(False))
        turnover, pairs = turned[name]
        rows.append(
            {
                "feature": name,
                "rows": column.len(),
                "missing": 1 - (column.is_not_nan().sum() or 0) / max(column.len(), 1),
                "infinite": int(column.is_infinite().sum() or 0),
                "constant": known.len() > 0 and known.min() == known.max(),
                "turnover": turnover,
                "pairs": pairs,
                "distinct": known.approx_n_unique(),
            }
        )
    return pl.DataFrame(rows, schema_overrides={"turnover": pl.Float64, "distinct": pl.Int64})


def _turnover(table: pl.DataFrame, names: list[str]) -> dict[str, tuple[float | None, int]]:
    parts = [_neighbours(part, names) for part in table.partition_by("symbol")]
    both = pl.concat(parts)
    known = {n: pl.col(n).is_not_null() & pl.col(f"{n} before").is_not_null() for n in names}
    by_symbol = both.group_by("symbol").agg(
        pl.corr(name, f"{name} before", method="spearman").alias(name) for name in names
    )
    mean = by_symbol.select(pl.col(names).fill_nan(None).mean()).row(0, named=True)
    pairs = both.select(known[name].sum().alias(name) for name in names).row(0, named=True)
    return {n: (None if mean[n] is None else 1 - mean[n], int(pairs[n])) for n in names}


def _neighbours(part: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Pair each row with the bar before it, evenly thinned; across a gap nothing is paired."""
    step = part["time"].diff()
    mine = part.select(pl.col(names).replace([np.nan, np.inf, -np.inf], None))
    both = mine.with_columns(pl.all().shift(1).name.suffix(" before")).with_columns(part["symbol"])
    both = both.filter((step == step.min()).fill_null(False))
    return both.gather_every(max(-(-both.height // _PAIRS), 1))


def over_time(table: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Quantiles of each column by UTC day, or by week where the span is over 21 days.

    Returns
    -------
    pl.DataFrame
        feature; period (Date it begins); q01, q25, q50, q75, q99 of what is known, all symbols
        together; rows known; missing (share null or NaN).
    """
    time = pl.col("time") - pl.duration(
        microseconds=1
    )  # a bar that ends at midnight is yesterday's
    first, last = table.select(time.min().alias("a"), time.max().alias("b")).row(0)
    every = "1d" if last - first <= _DAILY else "1w"
    period = time.dt.truncate(every).dt.date().alias("period")
    parts = table.select(period, pl.col(names)).sort("period", maintain_order=True)
    tables = [_quantiles(part, names) for part in parts.partition_by("period", maintain_order=True)]
    return (
        pl.concat(tables)
        .sort(pl.col("feature").cast(pl.Enum(names)), "period")
        .with_columns(pl.col("feature").cast(pl.String))
    )


def _quantiles(part: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    rows = []
    for name in names:
        values = part[name].to_numpy()
        known = values[np.isfinite(values)]
        at = np.quantile(known, list(QUANTILES.values())).tolist() if len(known) else [None] * 5
        rows.append((name, part["period"][0], *at, len(known), 1 - len(known) / len(values)))
    columns: dict[str, Any] = {"feature": pl.String, "period": pl.Date}
    columns |= dict.fromkeys(QUANTILES, pl.Float64) | {"rows": pl.Int64, "missing": pl.Float64}
    return pl.DataFrame(rows, schema=columns, orient="row")


def redundancy(table: pl.DataFrame, names: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rank correlations of the columns, those that say the same next to each other.

    Parameters
    ----------
    table : pl.DataFrame
    names : list of str
        Columns that vary.

    Returns
    -------
    pl.DataFrame, shape (n_features, n_features + 1)
        feature, and one column for each feature, in the same order.
    pl.DataFrame
        Pairs beyond 0.95 either way, the closest first: feature, twin, correlation, rows.

    Notes
    -----
    Over at most 50,000 evenly spaced rows that know every column, all symbols together. The
    order is that of average linkage on ``1 - |correlation|``.
    """
    finite = pl.all_horizontal(pl.col(names).is_finite()) if names else pl.lit(False)
    known = table.select(names).filter(finite)
    known = known.gather_every(max(-(-known.height // _ROWS), 1))
    varying = [n for n in names if known.height > 2 and known[n].min() != known[n].max()]
    empty = {"feature": pl.String, "twin": pl.String, "correlation": pl.Float64, "rows": pl.Int64}
    if len(varying) < 2:
        return pl.DataFrame({"feature": pl.Series(dtype=pl.String)}), pl.DataFrame(schema=empty)
    matrix = np.corrcoef(known.select(pl.col(varying).rank()).to_numpy(), rowvar=False)
    order = _alike(matrix)
    ordered = [varying[i] for i in order]
    square = pl.DataFrame(matrix[np.ix_(order, order)], schema=ordered, orient="row")
    i, j = np.triu_indices(len(varying), 1)
    close = np.abs(matrix[i, j]) > SAME
    pairs = pl.DataFrame(
        {
            "feature": [varying[k] for k in i[close]],
            "twin": [varying[k] for k in j[close]],
            "correlation": matrix[i, j][close],
            "rows": np.full(int(close.sum()), known.height),
        },
        schema=empty,
    )
    square = square.select(pl.Series("feature", ordered), pl.all())
    return square, pairs.sort(pl.col("correlation").abs(), descending=True, maintain_order=True)


def _alike(matrix: np.ndarray) -> list[int]:
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    apart = np.clip(1 - np.abs(matrix), 0, None)
    np.fill_diagonal(apart, 0)
    tree = hierarchy.linkage(squareform(apart, checks=False), "average")
    return hierarchy.leaves_list(tree).tolist()
