"""From frames to arrays and back: labels beside their features, scores as tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research import schema, units
from research.errors import UserError
from research.features import lint
from research.screening import ics

FEWEST = 100
Found = list[tuple[list[str], ics.Scored]]
_VALUES = dict.fromkeys(("ic", "low", "high"), pl.Float64)
_COUNTS = {"days": pl.Int64, "rows": pl.Int64}


def features(frame: Any) -> tuple[pl.DataFrame, list[str]]:
    """Return key and feature columns as floats, and the names of the columns.

    Raises
    ------
    UserError
        If there is no feature column.
    """
    key = {"symbol": pl.String, "time": schema.TIME}
    table = schema.as_table(frame, key, "features")
    names = lint.columns(table)
    if not names:
        raise UserError(
            f"screening: no feature column here, only {', '.join(table.columns)}. "
            "Hand in a table as pipeline.features returns it."
        )
    return table.select(*key, pl.col(names).cast(pl.Float64)), names


def aligned(
    table: pl.DataFrame, labels: dict[timedelta, Any], horizon: timedelta
) -> dict[timedelta, np.ndarray]:
    """Return each horizon's y beside the rows of `table`, NaN where there is none; by horizon.

    A label that was known only after the newest one of `horizon` is left out.
    """
    if horizon not in labels:
        here = ", ".join(units.show(h) for h in sorted(labels)) or "none"
        raise UserError(
            f"screening: no labels over {units.show(horizon)}, the horizon asked for. Here: {here}."
        )
    joined = {ahead: _beside(table, labels[ahead]) for ahead in sorted(labels)}
    newest = joined[horizon]["known_at"].max()
    late = pl.col("known_at") > newest
    return {
        ahead: both.select(pl.when(~late).then("y").cast(pl.Float64)).to_series().to_numpy()
        for ahead, both in joined.items()
    }


def _beside(table: pl.DataFrame, labels: Any) -> pl.DataFrame:
    known = schema.as_table(labels, schema.LABELS, "labels").select(list(schema.LABELS))
    known = known.filter(pl.col("y").is_finite())
    key = list(schema.KEY)
    return table.select(key).join(known, on=key, how="left", maintain_order="left")


@dataclass(frozen=True)
class Scorer:
    """Feature columns as arrays, gathered by the rows they are known on.

    Attributes
    ----------
    table : pl.DataFrame
    names : list of str
    draws, seed : int
        Of the bootstrap.
    """

    table: pl.DataFrame
    names: list[str]
    draws: int
    seed: int
    patterns: list[tuple[np.ndarray, list[str]]] = field(init=False)

    def __post_init__(self) -> None:
        columns = {name: self.table[name].to_numpy() for name in self.names}
        object.__setattr__(self, "patterns", ics.patterns(columns))

    def scored(self, y: np.ndarray, horizon: timedelta) -> Found:
        """Score every column that shares two rows with `y`."""
        found = self._scored(y, horizon, np.ones(len(y), bool))
        most = max((scored.rows for _, scored in found), default=0)
        if most < FEWEST:
            raise UserError(
                f"screening: {most} of {self.table.height} rows have a feature and a label over "
                f"{units.show(horizon)}, {FEWEST} are needed. Bring more or less broken data: a "
                "gap starts the warm-up of features anew."
            )
        return found

    def _scored(self, y: np.ndarray, horizon: timedelta, here: np.ndarray) -> Found:
        found = []
        for known, names in self.patterns:
            rows = known & here & np.isfinite(y)
            if rows.sum() < 2:
                continue
            columns = [self.table[name].to_numpy() for name in names]
            how: dict[str, Any] = {"horizon": horizon, "draws": self.draws, "seed": self.seed}
            found.append((names, ics.score(columns, y, self.table["time"], rows, **how)))
        return found

    def by_symbol(self, y: np.ndarray, horizon: timedelta) -> pl.DataFrame:
        """Score every column on each symbol alone."""
        tables = []
        for symbol in self.table["symbol"].unique(maintain_order=True):
            here = (self.table["symbol"] == symbol).to_numpy()
            scores = self._columns(self._scored(y, horizon, here))
            tables.append(
                scores.select(
                    "feature", pl.lit(symbol).alias("symbol"), pl.all().exclude("feature")
                )
            )
        return self._in_order(pl.concat(tables), "symbol")

    def ic(self, scored: dict[timedelta, Found]) -> pl.DataFrame:
        """Lay out scores by feature and horizon; a feature without a score has null."""
        tables = [
            self._columns(found).select(
                "feature", pl.lit(ahead, pl.Duration("us")).alias("horizon"), *_VALUES, *_COUNTS
            )
            for ahead, found in scored.items()
        ]
        return self._in_order(pl.concat(tables), "horizon")

    def by_day(self, found: Found) -> pl.DataFrame:
        """Lay out the days of each feature."""
        tables = [
            pl.DataFrame(
                {
                    "feature": [name] * len(s.day),
                    "day": pl.Series(s.day).cast(pl.Int32).cast(pl.Date),
                    "ic": s.day_ic[:, k],
                    "low": pl.Series(s.day_low[:, k], nan_to_null=True),
                    "high": pl.Series(s.day_high[:, k], nan_to_null=True),
                    "rows": s.day_rows,
                }
            )
            for names, s in found
            for k, name in enumerate(names)
        ]
        return self._in_order(pl.concat(tables), "day")

    def _columns(self, found: Found) -> pl.DataFrame:
        rows = {
            name: (name, s.ic[k], s.low[k], s.high[k], s.days, s.rows)
            for names, s in found
            for k, name in enumerate(names)
        }
        none = (None, None, None, 0, 0)
        columns = {"feature": pl.String} | _VALUES | _COUNTS
        every = [rows.get(name, (name, *none)) for name in self.names]
        return pl.DataFrame(every, schema=columns, orient="row")

    def _in_order(self, table: pl.DataFrame, then: str) -> pl.DataFrame:
        return table.sort(
            pl.col("feature").replace_strict(self.names, range(len(self.names))), then
        )


def by_month(by_day: pl.DataFrame) -> pl.DataFrame:
    """Mean of the daily ICs of each calendar month: feature, month, ic, days, rows."""
    month = pl.col("day").dt.truncate("1mo").alias("month")
    return by_day.group_by("feature", month, maintain_order=True).agg(
        pl.col("ic").mean(),
        pl.len().cast(pl.Int64).alias("days"),
        pl.col("rows").sum(),
    )


def stability(ic: pl.DataFrame, **by: pl.DataFrame) -> pl.DataFrame:
    """Say how alike a feature's parts are: for each of `by`, count, mean, sd and share alike.

    Parameters
    ----------
    ic : pl.DataFrame
        feature and ic, the whole.
    **by : pl.DataFrame
        Under the name of the part (``month``): feature and ic of each.
    """
    table = ic.select("feature", "ic")
    for part, rows in by.items():
        whole = rows.drop_nulls("ic").join(ic.select("feature", whole="ic"), on="feature")
        alike = (pl.col("ic").sign() == pl.col("whole").sign()) & (pl.col("whole") != 0)
        each = whole.group_by("feature").agg(
            pl.len().cast(pl.Int64).alias(f"{part}s"),
            pl.col("ic").mean().alias(f"{part}_mean"),
            pl.col("ic").std().alias(f"{part}_sd"),
            alike.mean().alias(f"{part}_same"),
        )
        table = table.join(each, on="feature", how="left", maintain_order="left")
        table = table.with_columns(pl.col(f"{part}s").fill_null(0))
    return table
