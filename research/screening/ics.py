"""Rank correlations of many columns at once: the very numbers of `scores.ic`, a hundred times.

Rows are put in the order of time once; a day, a block of the bootstrap and a piece of a day are
then neighbours, and every sum is one pass. Days are drawn, never rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from research.scores import blocks

_DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Scored:
    """What columns are worth against one label, over the rows that know both.

    Attributes
    ----------
    ic, low, high : np.ndarray, shape (n_columns,)
        As `scores.ic` gives them.
    days, rows : int
        UTC days and rows that were scored.
    day : np.ndarray of int64, shape (n_groups,)
        Days since 1970 (the first of a group of thin days).
    day_rows : np.ndarray of int64, shape (n_groups,)
    day_ic, day_low, day_high : np.ndarray, shape (n_groups, n_columns)
        As `scores.ic_by_day` gives them; NaN where a day is too short for an interval.
    """

    ic: np.ndarray
    low: np.ndarray
    high: np.ndarray
    days: int
    rows: int
    day: np.ndarray
    day_rows: np.ndarray
    day_ic: np.ndarray
    day_low: np.ndarray
    day_high: np.ndarray


def score(
    columns: list[np.ndarray],
    y: np.ndarray,
    time: pl.Series,
    known: np.ndarray,
    *,
    horizon: timedelta,
    draws: int,
    seed: int,
) -> Scored:
    """Score every column of a table against `y`.

    Parameters
    ----------
    columns : list of np.ndarray of float64, each of shape (n_rows,)
        Finite where `known`.
    y : np.ndarray of float64, shape (n_rows,)
        Finite where `known`.
    time : pl.Series of Datetime("us", "UTC"), shape (n_rows,)
    known : np.ndarray of bool, shape (n_rows,)
        Which rows count: at least two.
    horizon : timedelta
        Length of the label.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    Scored
    """
    cells = _Cells.of(time, np.flatnonzero(known), horizon)
    target = _Target.of(y[cells.rows], cells)
    # numpy lets go of the interpreter while it sorts
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        sums = list(pool.map(lambda column: target.sums(column[cells.rows], cells), columns))
    product, square, apart = (np.column_stack(part) for part in zip(*sums))
    parts, each = cells.parts(product, square, target.square)
    low, high = _interval(parts, each, cells, draws, seed)
    if cells.blocks >= 3:
        lift = each.mean(axis=0) - apart.mean(axis=0)
        low, high = low - np.maximum(lift, 0), high - np.minimum(lift, 0)
    half = cells.day_half_width(parts, each)
    return Scored(
        ic=each.mean(axis=0),
        low=np.maximum(low, -1.0),
        high=np.minimum(high, 1.0),
        days=cells.days,
        rows=len(cells.rows),
        day=cells.day,
        day_rows=cells.group_rows,
        day_ic=each,
        day_low=np.clip(each - half, -1, 1),
        day_high=np.clip(each + half, -1, 1),
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    """Rows in the order of time, cut where a day, a block or a piece of a day begins."""

    rows: np.ndarray
    starts: np.ndarray  # of cells, among the rows
    block: np.ndarray  # of each cell
    group: np.ndarray  # of each cell
    group_cells: np.ndarray  # first cell of each group
    group_starts: np.ndarray  # first row of each group
    group_rows: np.ndarray
    piece_cells: np.ndarray  # first cell of each piece
    day: np.ndarray
    days: int
    blocks: int

    @classmethod
    def of(cls, time: pl.Series, rows: np.ndarray, horizon: timedelta) -> _Cells:
        micros = time.to_physical().to_numpy()[rows]
        order = np.argsort(micros, kind="stable")
        micros, rows = micros[order], rows[order]
        cut = blocks.cut(time.gather(rows), horizon)
        length = max(2 * horizon, timedelta(hours=1)) // timedelta(microseconds=1)
        new_group = _changes(cut.group)
        new_piece = new_group | _changes(micros // length)
        starts = np.flatnonzero(new_piece | _changes(cut.block))
        group_starts = np.flatnonzero(new_group)
        return cls(
            rows=rows,
            starts=starts,
            block=cut.block[starts],
            group=cut.group[starts],
            group_cells=np.searchsorted(starts, group_starts),
            group_starts=group_starts,
            group_rows=np.diff(group_starts, append=len(rows)),
            piece_cells=np.searchsorted(starts, np.flatnonzero(new_piece)),
            day=(micros[group_starts] - 1) // _DAY,
            days=cut.n_days,
            blocks=cut.count,
        )

    def groups(self) -> Iterator[slice]:
        ends = self.group_starts + self.group_rows
        return (slice(a, b) for a, b in zip(self.group_starts.tolist(), ends.tolist()))

    def by_group(self, cells: np.ndarray) -> np.ndarray:
        """Sum over the cells of each group."""
        return np.add.reduceat(cells, self.group_cells, axis=0)

    def parts(
        self, product: np.ndarray, square: np.ndarray, other: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Each cell's share in its group's correlation, and each group's correlation.

        The share has a second term, the correlation's own sensitivity to the spread of both
        sides, so that sums over cells vary as they should (see `scores.ic`).
        """
        other = other[:, None]
        own_norm, other_norm = self.by_group(square), self.by_group(other)
        norm = np.sqrt(own_norm * other_norm)
        each = _over(self.by_group(product), norm)
        size = self.group_rows[self.group][:, None]
        rows = np.diff(self.starts, append=len(self.rows))[:, None]
        spread = _over(square, own_norm[self.group]) + _over(other, other_norm[self.group])
        spread = rows - size * spread / 2
        return size * _over(product, norm[self.group]) + each[self.group] * spread, each

    def day_half_width(self, parts: np.ndarray, each: np.ndarray) -> np.ndarray:
        """Half of each day's interval, from the residuals of its pieces; NaN below three."""
        first = self.piece_cells
        group = self.group[first]
        count = np.bincount(group)
        rows = np.diff(self.starts[first], append=len(self.rows))[:, None]
        residual = np.add.reduceat(parts, first, axis=0) - rows * each[group]
        squares = np.add.reduceat(residual**2, np.flatnonzero(_changes(group)), axis=0)
        reach = blocks.half_width_factor(count) * np.sqrt(count / np.maximum(count - 1, 1))
        error = np.sqrt(squares) / self.group_rows[:, None]
        return error * np.where(count >= 3, reach, np.nan)[:, None]


@dataclass(frozen=True, slots=True)
class _Target:
    """Ranks of the label within groups: about their mean, and signed about the sample's median."""

    centred: np.ndarray
    signed: np.ndarray
    square: np.ndarray  # sum of squares of `centred` in each cell
    signed_square: np.ndarray  # sum of squares of `signed` in each group

    @classmethod
    def of(cls, y: np.ndarray, cells: _Cells) -> _Target:
        centred, signed = _centred(y, cells), _signed(y, cells)
        return cls(
            centred,
            signed,
            np.add.reduceat(centred * centred, cells.starts),
            np.add.reduceat(signed * signed, cells.group_starts),
        )

    def sums(self, column: np.ndarray, cells: _Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Products and squares by cell, and the correlation of signed ranks by group."""
        centred, signed = _centred(column, cells), _signed(column, cells)
        product = np.add.reduceat(centred * self.centred, cells.starts)
        square = np.add.reduceat(centred * centred, cells.starts)
        both = np.add.reduceat(signed * self.signed, cells.group_starts)
        own = np.add.reduceat(signed * signed, cells.group_starts)
        return product, square, _over(both, np.sqrt(own * self.signed_square))


def _centred(values: np.ndarray, cells: _Cells) -> np.ndarray:
    ranks = _ranks(values, cells)
    ranks -= np.repeat((cells.group_rows + 1) / 2, cells.group_rows)
    return ranks


def _signed(values: np.ndarray, cells: _Cells) -> np.ndarray:
    # polars' median, as `scores.ic` takes it: numpy rounds the mean of the middle two otherwise,
    # and those two then tie or do not
    away = values - pl.Series(values).median()
    sign = np.sign(away)
    return _ranks(np.abs(away, out=away), cells) * sign


def _ranks(values: np.ndarray, cells: _Cells) -> np.ndarray:
    """Rank finite values within each group from 1 on, ties by their average rank."""
    order = np.empty(len(values), np.int64)
    for here in cells.groups():
        np.add(np.argsort(values[here]), here.start, out=order[here])
    climbing = values[order]
    new = np.empty(len(values), bool)
    np.not_equal(climbing[1:], climbing[:-1], out=new[1:])
    new[cells.group_starts] = True
    first = np.flatnonzero(new)
    length = np.diff(first, append=len(values))
    start = np.repeat(cells.group_starts, cells.group_rows)
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(first + (length + 1) / 2, length) - start
    return ranks


def _interval(
    parts: np.ndarray, each: np.ndarray, cells: _Cells, draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap of blocks for all columns with the same draws; -1 to 1 below three blocks."""
    count, value = cells.blocks, each.mean(axis=0)
    if count < 3:
        return np.full_like(value, -1.0), np.full_like(value, 1.0)
    weight = 1 / cells.group_rows[cells.group]
    rows = np.diff(cells.starts, append=len(cells.rows))
    # blocks are neighbours in time, but a thin day's block may hold cells of two groups
    sums = _by(cells.block, parts * weight[:, None], count)
    weights = np.bincount(cells.block, rows * weight)
    taken = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    drawn = (taken @ sums) / (taken @ weights)[:, None]
    low, high = np.quantile(drawn - value, [0.025, 0.975], axis=0)
    stretch = float(blocks.half_width_factor(count)) / 1.959964 * np.sqrt(count / (count - 1))
    return value + low * stretch, value + high * stretch


def _by(block: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, block, values)
    return sums


def _changes(values: np.ndarray) -> np.ndarray:
    return np.append(True, values[1:] != values[:-1])


def _over(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide; 0 where there is no spread: no order, no information."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def patterns(columns: dict[str, np.ndarray]) -> list[tuple[np.ndarray, list[str]]]:
    """Gather columns that are known on the same rows: each such set is laid out once.

    >>> a, b = np.array([1.0, np.nan]), np.array([2.0, np.nan])
    >>> [names for _, names in patterns({"a": a, "b": b, "c": np.ones(2)})]
    [['a', 'b'], ['c']]
    """
    found: dict[bytes, tuple[np.ndarray, list[str]]] = {}
    for name, column in columns.items():
        known = np.isfinite(column)
        found.setdefault(np.packbits(known).tobytes(), (known, []))[1].append(name)
    return list(found.values())
