"""Pieces of a history whose numbers may be changed, and what is asked of a thing under proof."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl

from research.audit.certificate import bend
from research.audit.certificate.bend import Columns


class View(NamedTuple):
    """A piece of the history, some of its numbers changed."""

    bars: pl.DataFrame
    columns: Columns
    """The numbers as they are now, NaN for null; what is not here is as in `bars`."""
    starts: np.ndarray
    """First rows of the stretches between gaps."""

    def frame(self) -> pl.DataFrame:
        """Return the piece as a table."""
        return bend.frame(self.bars, self.columns)

    def stretches(self) -> Iterator[tuple[int, int]]:
        """Yield where each stretch begins and ends."""
        return zip(self.starts.tolist(), [*self.starts[1:].tolist(), self.bars.height])


def view(bars: pl.DataFrame, reads: Collection[str] | None = None) -> View:
    """Return bars as they are."""
    return View(bars, bend.numbers(bars, reads), np.flatnonzero(begins(bars)))


def begins(bars: pl.DataFrame) -> np.ndarray:
    """Tell of each bar whether it is the first of its symbol or follows a gap.

    >>> from datetime import timedelta
    >>> from research.features.warmup import canonical
    >>> bars = canonical(6, interval=timedelta(minutes=1))
    >>> begins(bars.filter(pl.int_range(pl.len()) != 2)).tolist()
    [True, False, True, False, False]
    """
    opened, closed = (bars[c].to_physical().to_numpy() for c in ("open_time", "time"))
    found = (bars["symbol"] != bars["symbol"].shift(1)).fill_null(True).to_numpy().copy()
    found[1:] |= opened[1:] != closed[:-1]
    return found


class Subject(Protocol):
    """Columns of numbers, one row per bar."""

    name: str
    names: list[str]
    reads: set[str] | None
    """Number columns of the bars that it reads; None: nobody can tell."""
    sees_others: bool | None
    """Whether a row may depend on other symbols; None: that is to be found out."""
    reach: int | None
    """Bars before a row from which `whole` gives the very value; None: all there are."""
    can_leave: bool
    """Whether other processes may evaluate it: a user's function may hold what cannot go there."""

    def whole(self, bars: pl.DataFrame) -> np.ndarray:
        """Return the table that research uses, shape (n_rows, n_columns); NaN is not known."""

    def part(self, piece: View, which: Sequence[int], rows: np.ndarray) -> np.ndarray:
        """Return some rows of columns made of a piece of the history, by the shortest way."""

    def fingerprint(self) -> str:
        """Return what its values depend on, in hex."""
