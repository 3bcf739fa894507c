"""The fee that each corner of a forecast could pay: by quantile, horizon, symbol and hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError, nearest
from research.scores import blocks as _blocks
from research.scores.blocks import scored

AXES = ("bin", "horizon", "symbol", "hour")
_CELLS_AT_ONCE = 4096


def fee_surface(
    binned: Any,
    labels_by_horizon: dict[timedelta, Any],
    *,
    bins: int,
    by: Sequence[str] = ("bin", "horizon"),
    draws: int = 1000,
    seed: int = 0,
) -> pl.DataFrame:
    r"""Fee per side at which trading a cell's rows earns nothing, with its interval.

    .. math:: f^* = \frac{1}{2 n} \sum_i s_i y_i, \qquad
       s_i = +1 \text{ for bins above the middle, else } -1

    Parameters
    ----------
    binned : polars or pandas frame
        With `symbol`, `time` and `bin` (Int32, 1 is the lowest forecast). Keep the bins that are
        traded where `bin` is not in `by`: the middle ones thin the edge of the others.
    labels_by_horizon : dict of timedelta to labels table
        Each with `symbol`, `time` and `y`, the simple return over that horizon.
    bins : int
        How many bins there are. Those above the middle are bought, the others sold.
    by : sequence of {"bin", "horizon", "symbol", "hour"}
        Axes of the table; all four give the whole cube. `hour` is the UTC hour from 0 to 23 of
        the row's `time`, when the trade is decided.
    draws, seed : int
        Of the bootstrap of blocks.

    Returns
    -------
    pl.DataFrame
        The columns of `by`, sorted, one row per cell that is met; then `side` ("long", "short",
        or "both"), `n` (rows), `mean_return` (of the trade, before any cost), `break_even_fee`
        (half of it: a fraction of price per side, all that a side may cost; negative where the
        trade loses for nothing), `low`, `high` (95 % of the fee; null for a cell that is met in
        fewer than three blocks).

    Raises
    ------
    UserError
        If `by` names another axis, or leaves out `horizon` where there are several, a bin lies
        beyond `bins`, or fewer than two rows have a bin and a return.

    Notes
    -----
    Blocks are whole UTC days with all symbols together (with few days, pieces of at least twice
    the longest horizon; see `scores.ic`): neighbouring rows whose labels overlap are one
    observation. Cells of one surface share their draws. Every cell has an interval of its own:
    of a hundred cells without an edge some five stand clear of zero, so a best cell picked
    afterwards proves nothing. As honest as the bins are: use causal cut-points.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> times = [datetime(2025, 1, 1, h, tzinfo=UTC) for h in (1, 2, 3, 4)]
    >>> key = {"symbol": ["A"] * 4, "time": times}
    >>> binned = pl.DataFrame(key | {"bin": [1, 2, 1, 2]}, schema_overrides={"bin": pl.Int32})
    >>> y = pl.DataFrame(key | {"y": [-0.002, 0.001, 0.0, 0.003]})
    >>> found = fee_surface(binned, {timedelta(hours=1): y}, bins=2, by=["bin"])
    >>> found.select("bin", "side", "n", "break_even_fee").rows()
    [(1, 'short', 2, 0.0005), (2, 'long', 2, 0.001)]
    """
    _check(by, labels_by_horizon, bins)
    rows = scored(binned, ("bin",), "binned forecasts")
    beyond = rows.filter(~pl.col("bin").is_between(1, bins))["bin"]
    if beyond.len():
        raise UserError(f"fee_surface: bins must lie between 1 and {bins}, found {beyond[0]}.")
    table, sums = _sums(rows, labels_by_horizon, bins, by)
    low, high = ends(sums, draws, seed)
    mean = sums.total.sum(axis=0) / sums.count.sum(axis=0)
    side = _side(bins) if "bin" in by else pl.lit("both")
    return table.select(
        *by,
        side=side,
        n=pl.Series(sums.count.sum(axis=0), dtype=pl.Int64),
        mean_return=pl.Series(mean),
        break_even_fee=pl.Series(mean / 2),
        low=pl.Series((mean + low) / 2),
        high=pl.Series((mean + high) / 2),
    ).with_columns(pl.col("low", "high").fill_nan(None))


def _check(by: Sequence[str], labels_by_horizon: dict[timedelta, Any], bins: int) -> None:
    for axis in by:
        if axis not in AXES:
            hint = nearest(axis, list(AXES))
            raise UserError(f"fee_surface: no axis {axis!r}.{hint} Here: {', '.join(AXES)}.")
    if not by or len(set(by)) < len(by):
        raise UserError(f"fee_surface: by must name each axis once, got {list(by)}.")
    if not labels_by_horizon or ("horizon" not in by and len(labels_by_horizon) > 1):
        raise UserError(
            f"fee_surface: {len(labels_by_horizon)} horizons given; hand in one, or several with "
            "'horizon' in by: returns over different horizons have no common mean."
        )
    if bins < 2:
        raise UserError(f"fee_surface: bins must be at least 2, got {bins}.")


def _side(bins: int) -> pl.Expr:
    return pl.when(pl.col("bin") * 2 > bins + 1).then(pl.lit("long")).otherwise(pl.lit("short"))


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the rows of every block (first axis) and cell (second axis).

    Attributes
    ----------
    total, count : np.ndarray, shape (n_blocks, n_cells)
        Of what the rows earned, and how many they are.
    """

    total: np.ndarray
    count: np.ndarray


def _sums(
    rows: pl.DataFrame, labels_by_horizon: dict[timedelta, Any], bins: int, by: Sequence[str]
) -> tuple[pl.DataFrame, Sums]:
    """Sum each block's trades by cell; the table names the cells that are met."""
    horizons = sorted(labels_by_horizon)
    cut = _blocks.cut(rows["time"], max(horizons))
    values = _values(rows, horizons, bins)
    known = _coded(rows, values["symbol"], bins).with_columns(block=pl.Series(cut.block))
    sizes = tuple(len(values[axis]) for axis in by)
    parts = []
    for number, horizon in enumerate(horizons):
        labels = scored(labels_by_horizon[horizon], ("y",), "labels")
        # in the rows' own order: sums in another order would differ in their last bit
        both = known.join(labels, on=["symbol", "time"], maintain_order="left")
        both = both.with_columns(at_horizon=pl.lit(number))
        codes = tuple(both[f"at_{axis}"].to_numpy().astype(np.int64) for axis in by)
        cell = np.ravel_multi_index(codes, sizes)
        parts.append((both["block"].to_numpy(), cell, (both["y"] * both["sign"]).to_numpy()))
    block, cell, earned = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(earned) < 2:
        raise UserError(
            "fee_surface: no row has both a bin and a return. Hand in labels of the forecasts' "
            "own symbols and times."
        )
    met = np.flatnonzero(np.bincount(cell))
    places = np.unravel_index(met, sizes)
    table = {axis: values[axis].gather(at) for axis, at in zip(by, places, strict=True)}
    return pl.DataFrame(table), _by_block(block, np.searchsorted(met, cell), earned, cut.count)


def _values(rows: pl.DataFrame, horizons: list[timedelta], bins: int) -> dict[str, pl.Series]:
    """The values of every axis, in order."""
    return {
        "bin": pl.Series(range(1, bins + 1), dtype=pl.Int32),
        "horizon": pl.Series(horizons, dtype=pl.Duration("us")),
        "symbol": rows["symbol"].unique().sort(),
        "hour": pl.Series(range(24), dtype=pl.Int32),
    }


def _coded(rows: pl.DataFrame, symbols: pl.Series, bins: int) -> pl.DataFrame:
    """Add each row's place on every axis but the horizon's, and the sign of its trade."""
    code = pl.col("symbol").replace_strict(symbols, range(len(symbols)), return_dtype=pl.Int64)
    return rows.select(
        "symbol",
        "time",
        sign=pl.when(pl.col("bin") * 2 > bins + 1).then(1.0).otherwise(-1.0),
        at_bin=pl.col("bin") - 1,
        at_symbol=code,
        at_hour=pl.col("time").dt.hour(),
    )


def _by_block(block: np.ndarray, cell: np.ndarray, earned: np.ndarray, blocks: int) -> Sums:
    cells = int(cell.max()) + 1
    where, size = block * cells + cell, blocks * cells
    total, count = np.bincount(where, earned, size), np.bincount(where, minlength=size)
    return Sums(total.reshape(blocks, cells), count.reshape(blocks, cells))


def ends(sums: Sums, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the 2.5 and 97.5 % points of each cell's drawn mean about its own mean.

    The mean is a ratio and is linearised, so that a draw that misses a cell's few blocks does not
    divide by nothing; the reach is that of Student for the blocks that the cell is met in.

    Parameters
    ----------
    sums : Sums
        Of every block and cell; all cells share their draws.
    draws, seed : int
        Of the bootstrap of blocks.

    Returns
    -------
    tuple of np.ndarray, each of shape (n_cells,)
        NaN for a cell that is met in fewer than three blocks.

    Raises
    ------
    UserError
        If `draws` is below 100.
    """
    if draws < 100:
        raise UserError(f"bootstrap: draws must be at least 100, got {draws}.")
    blocks, cells = sums.total.shape
    taken = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=draws)
    rows = sums.count.sum(axis=0)
    away = (sums.total - sums.count * (sums.total.sum(axis=0) / rows)) / rows
    ends = np.empty((2, cells))
    for start in range(0, cells, _CELLS_AT_ONCE):  # a whole cube's draws would fill the memory
        part = slice(start, start + _CELLS_AT_ONCE)
        ends[:, part] = np.quantile(taken @ away[:, part], [0.025, 0.975], axis=0)
    met = (sums.count > 0).sum(axis=0)
    stretch = _blocks.half_width_factor(met) / 1.959964 * np.sqrt(met / np.maximum(met - 1, 1))
    low, high = np.where(met >= 3, ends * stretch, np.nan)
    return low, high
