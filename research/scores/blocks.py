"""Blocks of time for honest intervals, and the rows that are scored.

A block holds every symbol, so what moves the whole market at once counts once. Blocks are whole
UTC days when there are enough of them, else pieces of at least twice the horizon: two labels
that overlap then fall into the same block, or into neighbours that share only their edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research import schema, units
from research.errors import UserError

MIN_BLOCKS = 3
MIN_DAYS = 15
MIN_ROWS = 30
SHORT_BLOCKS = 60
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Blocks:
    """Which ranking group and which block each row belongs to.

    Attributes
    ----------
    group : np.ndarray of int64, shape (n_rows,)
        Consecutive number of the UTC day (or run of days) in which the row is ranked.
    block : np.ndarray of int64, shape (n_rows,)
        Consecutive number of the block that is drawn as a whole.
    n_days : int
        UTC days that hold rows.
    text : str
        What the blocks are, for people: ``31 whole UTC days``.
    """

    group: np.ndarray
    block: np.ndarray
    n_days: int
    text: str

    @property
    def count(self) -> int:
        """Number of blocks."""
        return int(self.block.max()) + 1

    def told(self, draws: int) -> str:
        """Tell how an interval was drawn from them, or why there is none."""
        if self.count < MIN_BLOCKS:
            return f"too short for an interval: {self.text}"
        return f"{draws:,} draws of {self.text}, all symbols together"


def scored(frame: Any, columns: tuple[str, ...], name: str) -> pl.DataFrame:
    """Return the rows of `frame` in which every one of `columns` is known, keys included.

    Raises
    ------
    TableError
        If a column is missing or holds NaN.
    UserError
        If fewer than two rows are left to score.
    """
    wanted = {
        "symbol": pl.String,
        "time": schema.TIME,
        **{c: pl.Int32 if c == "bin" else pl.Float64 for c in columns},
    }
    table = schema.as_table(frame, wanted, name).select(*wanted)
    rows = table.drop_nulls()
    if rows.height < 2:
        raise UserError(
            f"{name}: at least 2 rows with known {' and '.join(columns)} are needed, found "
            f"{rows.height} of {table.height}. Wait until labels are known, or take a longer span."
        )
    return rows


def utc_day() -> pl.Expr:
    """Day of a bar's open time, from `time` alone: a bar that ends at midnight is yesterday's."""
    return (pl.col("time") - pl.duration(microseconds=1)).dt.date()


def cut(time: pl.Series, horizon: timedelta) -> Blocks:
    """Number the days and blocks of rows at `time`.

    Parameters
    ----------
    time : pl.Series of Datetime("us", "UTC"), shape (n_rows,)
        When each row became known; any order.
    horizon : timedelta
        Length of a label; a block is at least twice as long.

    Returns
    -------
    Blocks
        Days with fewer than 30 rows are ranked together with the days that follow (the last
        ones with the group before). 15 or more groups: blocks of whole groups. Fewer: pieces of
        a sixtieth of the span, and at least twice the horizon.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> start, end = (datetime(2025, 1, d, tzinfo=UTC) for d in (1, 3))
    >>> times = pl.datetime_range(start, end, "5m", closed="right", eager=True)
    >>> cut(times, timedelta(minutes=10)).text
    '60 blocks of 48 min, as fewer than 15 UTC days hold 30 rows'
    """
    horizon = units.duration(horizon)
    micros = time.to_physical().to_numpy()
    day = (micros - 1) // _DAY_US
    days, of_day = np.unique(day, return_inverse=True)
    groups = _merge_thin_days(np.bincount(of_day))
    group = groups[of_day]
    if groups[-1] + 1 >= MIN_DAYS:
        return _whole_days(group, int(groups[-1]) + 1, len(days), horizon)
    return _pieces(micros, group, len(days), horizon)


def _merge_thin_days(rows: np.ndarray) -> np.ndarray:
    """Give each day its group: a group closes once it holds `MIN_ROWS` rows."""
    groups, current, held = np.empty(len(rows), np.int64), 0, 0
    for i, n in enumerate(rows):
        groups[i] = current
        held += int(n)
        if held >= MIN_ROWS:
            current, held = current + 1, 0
    if held and current:  # a thin rest joins the group before it
        groups[groups == current] = current - 1
    return groups


def _whole_days(group: np.ndarray, n_groups: int, n_days: int, horizon: timedelta) -> Blocks:
    length = max(1, math.ceil(2 * horizon / timedelta(days=1)))
    block = group // length
    count = int(block.max()) + 1
    days, whole = "UTC days", "whole "
    if n_groups < n_days:
        days, whole = f"groups of UTC days with at least {MIN_ROWS} rows", ""
    text = f"{_counted(count)} of {length} {days}" if length > 1 else f"{count} {whole}{days}"
    return Blocks(group, block, n_days, text)


def _pieces(micros: np.ndarray, group: np.ndarray, n_days: int, horizon: timedelta) -> Blocks:
    start, span = micros.min(), micros.max() - micros.min() + 1
    minutes = math.ceil(span / SHORT_BLOCKS / 60e6)
    length = max(2 * horizon, timedelta(minutes=minutes))
    _, block = np.unique(
        (micros - start) // (length // timedelta(microseconds=1)), return_inverse=True
    )
    text = (
        f"{_counted(int(block.max()) + 1)} of {units.show(length)}, "
        f"as fewer than {MIN_DAYS} UTC days hold {MIN_ROWS} rows"
    )
    return Blocks(group, block, n_days, text)


def _counted(blocks: int) -> str:
    return f"{blocks} block{'' if blocks == 1 else 's'}"


def drawn_ends(
    sums: np.ndarray, weights: np.ndarray, value: float, draws: int, seed: int
) -> np.ndarray:
    """Draw blocks again and again, and return how far a mean over them strays from its value.

    Parameters
    ----------
    sums, weights : np.ndarray, shape (n_blocks,)
        Of each block; the mean is the one over the other. At least 2 blocks.
    value : float
        The mean over all blocks.
    draws, seed : int
        How many draws, and of which dice: the same seed draws the same blocks.

    Returns
    -------
    np.ndarray, shape (2,)
        2.5 and 97.5 % points of the drawn mean less `value`, widened for few blocks by Student's
        factor and by ``sqrt(n / (n - 1))``.

    Examples
    --------
    >>> low, high = drawn_ends(np.array([1.0, 2.0, 3.0]), np.ones(3), 2.0, 1_000, 0)
    >>> bool(low < 0 < high)
    True
    """
    count = len(sums)
    taken = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    drawn = (taken @ sums) / (taken @ weights)
    ends = np.quantile(drawn - value, [0.025, 0.975])
    stretch = float(half_width_factor(count)) / 1.959964
    return ends * stretch * np.sqrt(count / (count - 1))


def half_width_factor(blocks: np.ndarray | int) -> np.ndarray:
    """How many standard errors a 95 % interval reaches to each side, for few blocks (Student)."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.maximum(np.asarray(blocks) - 1, 1), 0.975))
