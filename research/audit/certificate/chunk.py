"""Bars beside the table made of them, and pieces of both in which later bars can be changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import polars as pl

from research.audit.certificate import bend
from research.audit.certificate.views import View, view

AHEAD = 4
"""Bars after t that are changed together."""


class Bars:
    """Bars of all symbols by moment, and the table under proof, one row per bar."""

    def __init__(self, bars: pl.DataFrame, table: np.ndarray) -> None:
        self.bars, self.table = bars, table
        times = bars["time"].to_physical().to_numpy()
        moments, at = np.unique(times, return_inverse=True)
        self.moments, self.at = len(moments), at.astype(np.int64)
        new = (bars["symbol"] != bars["symbol"].shift(1)).fill_null(True).to_numpy()
        self.starts = np.flatnonzero(new)
        self.ends = np.append(self.starts[1:], bars.height)
        self.next = np.full(bars.height, -1)
        self.next[:-1] = np.where(new[1:], -1, np.diff(self.at))
        self.spread = np.array([_spread(table[:, i]) for i in range(table.shape[1])])

    def of(self, symbol: int) -> np.ndarray:
        """Return the moments of a symbol's bars."""
        return self.at[self.starts[symbol] : self.ends[symbol]]

    def rows(self, first: int, last: int, only: int | None = None) -> np.ndarray:
        """Return the rows of moments [first, last), symbol by symbol, or of `only` that one."""
        parts, one = [], slice(None) if only is None else slice(only, only + 1)
        for start, end in zip(self.starts[one], self.ends[one]):
            begin, stop = np.searchsorted(self.at[start:end], (first, last))
            parts.append(np.arange(start + begin, start + stop))
        return np.concatenate(parts)


def _spread(column: np.ndarray) -> float:
    known = column[np.isfinite(column)]
    return float(known.std()) if known.size else 0.0


class Chunk:
    """Moments [first, last) of the bars, with some before them and `AHEAD` after.

    Parameters
    ----------
    bars : Bars
    first, last : int
        Moments whose rows are compared.
    before : int
        Moments of history in front of them.
    seed : int
        Of the changes.
    reads : set of str, optional
        Number columns that matter; None: all.
    only : int, optional
        The one symbol whose bars it holds; None: all.
    """

    def __init__(
        self,
        bars: Bars,
        first: int,
        last: int,
        before: int,
        seed: int,
        reads: set[str] | None,
        only: int | None = None,
    ) -> None:
        self.first, self.last, self._seed = first, last, seed
        self.index = bars.rows(max(first - before, 0), last + AHEAD, only)
        self.at = bars.at[self.index]
        steps = bars.next[self.index]
        inside = (self.at >= first) & (self.at < last)
        self.fit = inside & (steps >= 1) & (steps <= AHEAD)
        """Rows to compare: the next bar of their own symbol is among those changed."""
        self._clean = view(bars.bars[self.index].rechunk(), reads)
        self._changed: dict[str, bend.Columns] = {}
        self._lent: bend.Columns = {}

    def phases(self, stride: int) -> list[np.ndarray]:
        """Return the rows of each moment of a stride."""
        phase = self.at % stride
        order = np.argsort(phase, kind="stable")
        return np.split(order, np.searchsorted(phase[order], np.arange(1, stride)))

    def compared(self, rows: np.ndarray) -> np.ndarray:
        """Return those rows that are to be compared."""
        return rows[self.fit[rows]]

    def view(self, kind: str | None = None, later: np.ndarray | None = None) -> View:
        """Return the bars, those rows of `later` changed."""
        if kind is None:
            return self._clean
        changed, columns = self._bent(kind), {}
        for name, values in self._clean.columns.items():
            columns[name] = values.copy()
            columns[name][later] = changed[name][later]
        return self._clean._replace(columns=columns)

    @contextmanager
    def lent(self, kind: str, later: np.ndarray) -> Iterator[View]:
        """Lend a copy of the bars, those rows of `later` changed meanwhile."""
        clean, changed = self._clean.columns, self._bent(kind)
        self._lent = self._lent or {name: values.copy() for name, values in clean.items()}
        for name, values in self._lent.items():
            values[later] = changed[name][later]
        yield self._clean._replace(columns=self._lent)
        for name, values in self._lent.items():
            values[later] = clean[name][later]

    def _bent(self, kind: str) -> bend.Columns:
        if kind not in self._changed:
            self._changed[kind] = bend.bent(self._clean.columns, kind, (self._seed, self.first))
        return self._changed[kind]


def differ(one: np.ndarray, other: np.ndarray, slack: np.ndarray) -> np.ndarray:
    """Tell where values are not equal; with a slack by column, where they are further apart.

    >>> one, other = np.array([[1.0, np.nan, 2.0]]), np.array([[1.0, np.nan, 2.5]])
    >>> differ(one, other, np.zeros(3)).tolist(), differ(one, other, np.ones(3)).tolist()
    ([[False, False, True]], [[False, False, False]])
    """
    wrong = one != other
    wrong &= ~(np.isnan(one) & np.isnan(other))
    if slack.any() and wrong.any():
        with np.errstate(invalid="ignore"):
            wrong &= ~(np.abs(one - other) <= slack)
    return wrong
