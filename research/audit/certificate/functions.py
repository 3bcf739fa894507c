"""A user's own function under proof: whatever frame of numbers it makes of bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from research import schema
from research.audit.certificate.views import View
from research.errors import UserError
from research.features import source


class OfFunction:
    """A function of bars that gives a frame or a series, polars or pandas."""

    def __init__(self, function: Callable[[Any], Any], bars: Any, table: pl.DataFrame) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        self.reads: set[str] | None = None
        self.sees_others: bool | None = None
        self.reach: int | None = None
        self.can_leave = False
        self._function = function
        self._ways = _ways(bars)
        self._way, first = self._working(table)
        self.names = _own(first, table, self.name)

    def whole(self, bars: pl.DataFrame) -> np.ndarray:
        """Call the function on all bars."""
        return self._laid(bars).to_numpy()

    def part(self, piece: View, which: Sequence[int], rows: np.ndarray) -> np.ndarray:
        """Call the function on a piece of the bars."""
        return self._laid(piece.frame()).to_numpy()[np.ix_(rows, np.array(which))]

    def fingerprint(self) -> str:
        """Return the hash of the function's source."""
        return source.digest(self.name, source.of_function(self._function))

    def _working(self, table: pl.DataFrame) -> tuple[Callable[[pl.DataFrame], Any], pl.DataFrame]:
        """Find out whether it takes polars or pandas; bars are handed over as they came, first."""
        errors = []
        for way in self._ways:
            try:
                given = self._function(way(table))
            except UserError:
                raise
            except Exception as error:  # a user's function may raise anything
                errors.append(error)
            else:
                return way, _numbers(given, table, self.name, strict=True)
        raise self._raised(errors[0]) from errors[0]

    def _laid(self, bars: pl.DataFrame) -> pl.DataFrame:
        try:
            given = self._function(self._way(bars))
        except UserError:
            raise
        except Exception as error:  # as above
            raise self._raised(error, f" on {bars.height} of the bars") from error
        found = _numbers(given, bars, self.name)
        lacking = [pl.lit(None, pl.Float64).alias(n) for n in self.names if n not in found.columns]
        return found.with_columns(lacking).select(self.names)

    def _raised(self, error: Exception, where: str = "") -> UserError:
        return UserError(f"certify: {self.name} raised {type(error).__name__}{where}: {error}")


def _ways(given: Any) -> list[Callable[[pl.DataFrame], Any]]:
    """Return how bars may be handed to a function, the likeliest first."""
    if isinstance(given, (pl.DataFrame, pl.LazyFrame)):
        return [_as_is, schema.to_pandas]
    index = [name for name in given.index.names if name is not None]
    columns = [*index, *given.columns]

    def as_given(bars: pl.DataFrame) -> Any:
        frame = bars.to_pandas()[[c for c in columns if c in bars.columns]]
        return frame.set_index(index) if index else frame

    return [as_given, schema.to_pandas, _as_is]


def _as_is(bars: pl.DataFrame) -> pl.DataFrame:
    return bars


def _numbers(given: Any, bars: pl.DataFrame, name: str, *, strict: bool = False) -> pl.DataFrame:
    """Lay what a function gave beside its bars: by key where it has one, else row by row."""
    table = _polars(given, name)
    keys = [c for c in schema.KEY if c in table.columns]
    kinds = {c: d for c, d in table.schema.items() if c not in keys}
    own = [c for c, d in kinds.items() if d.is_numeric() or d in (pl.Boolean, pl.Null)]
    numbers = table.select(*keys, pl.col(own).cast(pl.Float64).fill_nan(None))
    if keys == list(schema.KEY) or (keys == ["time"] and bars["symbol"].n_unique() == 1):
        numbers = numbers.with_columns(pl.col("time").dt.cast_time_unit("us"))
        if strict:
            _refuse_strays(numbers, bars, keys, name)
        key = bars.select(schema.KEY)
        return key.join(numbers, on=keys, how="left", maintain_order="left").select(own)
    if table.height != bars.height:
        raise UserError(
            f"certify: {name} must give one row per bar, or columns symbol and time; gave "
            f"{table.height} rows for {bars.height} bars."
        )
    return numbers.select(own)


def _own(found: pl.DataFrame, bars: pl.DataFrame, name: str) -> list[str]:
    """Return the columns that are not the bars' own, handed through."""
    own = [c for c in found.columns if c not in bars.columns or _other(found[c], bars[c])]
    if not own:
        raise UserError(
            f"certify: {name} must give at least one column of numbers beside those of the bars, "
            f"gave {', '.join(found.columns) or 'none'}."
        )
    return own


def _other(one: pl.Series, bar: pl.Series) -> bool:
    return not bar.dtype.is_numeric() or not one.equals(bar.cast(pl.Float64), check_names=False)


def _polars(given: Any, name: str) -> pl.DataFrame:
    if isinstance(given, pl.LazyFrame):
        return given.collect()
    if isinstance(given, pl.Series):
        return given.alias(given.name or name).to_frame()
    if isinstance(given, pl.DataFrame):
        return given
    import pandas as pd

    if isinstance(given, pd.Series):
        given = given.rename(given.name or name).to_frame()
    if not isinstance(given, pd.DataFrame):
        raise UserError(
            f"certify: {name} must give a frame or a series, gave {type(given).__name__}."
        )
    given = given.reset_index() if any(given.index.names) else given
    given.columns = [str(c) for c in given.columns]
    return pl.from_pandas(given, nan_to_null=True)


def _refuse_strays(numbers: pl.DataFrame, bars: pl.DataFrame, keys: list[str], name: str) -> None:
    if numbers.select(keys).is_duplicated().any():
        raise UserError(f"certify: {name} must give a row once, gave some (symbol, time) twice.")
    stray = numbers.join(bars, on=keys, how="anti")
    if not stray.is_empty():
        raise UserError(
            f"certify: {name} gives a row at {stray['time'][0]}, at which no bar closes: a row is "
            "known at the close of its bar. Join your table to the bars' times, backward."
        )
