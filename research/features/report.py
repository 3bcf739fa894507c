"""Is a feature table fit for a model? Gaps, constants, twins and infinities, by column."""

from __future__ import annotations

import numpy as np
import polars as pl

from research import schema

_QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
_CORRELATED_ROWS = 200_000


def report(table: pl.DataFrame) -> pl.DataFrame:
    """Describe each feature column of a table.

    Parameters
    ----------
    table : pl.DataFrame, shape (n_rows, n_columns)
        symbol, time and numeric columns, as `build` returns.

    Returns
    -------
    pl.DataFrame, shape (n_features, 13)
        feature; missing (share of rows that are null or NaN); infinite (count); constant; mean,
        std and quantiles q01 .. q99 of the finite values; twin (the column of highest absolute
        correlation) and correlation with it, over the rows where every column is finite, thinned
        evenly to about 200,000. Null where there is nothing to say.

    Examples
    --------
    >>> up = [1.0, 2.0, 3.0, None]
    >>> table = pl.DataFrame({"a": up, "b": [-1.0, -2.0, -3.0, -4.0], "c": [1.0] * 4})
    >>> report(table).select("feature", "missing", "constant", "twin", "correlation").rows()
    [('a', 0.25, False, 'b', -1.0), ('b', 0.0, False, 'a', -1.0), ('c', 0.0, True, None, None)]
    """
    numeric = [c for c, dtype in table.schema.items() if dtype.is_numeric() and c not in schema.KEY]
    numbers = table.select(pl.col(numeric).cast(pl.Float64))
    rows = [_described(numbers[name]) for name in numeric]
    twins = _twins(numbers)
    return pl.DataFrame([row | twin for row, twin in zip(rows, twins)], infer_schema_length=None)


def _described(column: pl.Series) -> dict[str, object]:
    finite = column.filter(column.is_finite().fill_null(False))
    quantiles = {f"q{q * 100:02.0f}": finite.quantile(q, "linear") for q in _QUANTILES}
    unknown = column.null_count() + int(column.is_nan().sum() or 0)
    return {
        "feature": column.name,
        "missing": unknown / max(column.len(), 1),
        "infinite": int(column.is_infinite().sum() or 0),
        "constant": finite.len() > 0 and finite.min() == finite.max(),
        "mean": finite.mean(),
        "std": finite.std(),
        **quantiles,
    }


def _twins(numbers: pl.DataFrame) -> list[dict[str, object]]:
    full = numbers.filter(pl.all_horizontal(pl.all().is_finite().fill_null(False)))
    values = full.gather_every(max(full.height // _CORRELATED_ROWS, 1)).to_numpy()
    nothing: dict[str, object] = {"twin": None, "correlation": None}
    if len(values) < 3 or values.shape[1] < 2:
        return [dict(nothing) for _ in numbers.columns]
    with np.errstate(invalid="ignore", divide="ignore"):  # constant columns correlate with nothing
        matrix = np.corrcoef(values, rowvar=False)
    np.fill_diagonal(matrix, np.nan)
    twins = []
    for row in matrix:
        best = int(np.nanargmax(np.abs(row))) if np.isfinite(row).any() else None
        twins.append(
            dict(nothing)
            if best is None
            else {"twin": numbers.columns[best], "correlation": round(float(row[best]), 6)}
        )
    return twins
