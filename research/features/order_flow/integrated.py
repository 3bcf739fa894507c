"""One number from the order flow of many levels: their first principal component."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.features.order_flow import clocks
from research.features.order_flow.bins import sums, table
from research.features.order_flow.clocks import Stream, streams_of
from research.features.order_flow.levels import book_memory, multi_level_ofi
from research.features.order_flow.windows import microseconds
from research.steps import scan


def multi_level(
    books: Mapping[str, Any],
    *,
    every: timedelta | str,
    levels: int = 10,
    clock: str = clocks.EXCHANGE,
    offset: timedelta = timedelta(0),
) -> pl.DataFrame:
    """Sum up the order flow of each level in bins, over the mean depth of a level.

    Parameters
    ----------
    books, every, offset
        As in `aggregate`.
    levels : int
        How many, the best first.
    clock : {'exchange', 'received'}
        By what time a book falls in a bin.

    Returns
    -------
    pl.DataFrame, keyed (symbol, time)
        ``book_coverage, books, level_0, level_1, ...``: flow of level m over the mean quantity of a
        level in that bin (both sides, all `levels`), so that 1 is a level's worth; null where the
        book is not proven all through the bin, and in a bin without a book.

    Raises
    ------
    UserError
        If the books have fewer levels.
    """
    length = microseconds(every)
    shown = streams_of(books, clock=clock, offset=offset)
    parts = [_one(symbol, stream, length, levels) for symbol, stream in shown.items()]
    if not parts:
        raise UserError("multi_level: there is no book. Hand it books that have a state.")
    return pl.concat(parts)


def _one(symbol: str, books: Stream, length: int, levels: int) -> pl.DataFrame:
    shown = books.values[0]
    if shown.shape[2] < levels:
        raise UserError(
            f"multi_level: {symbol} has {shown.shape[2]} levels, {levels} are asked for. "
            "Build deeper books, or ask for fewer."
        )
    shown = np.ascontiguousarray(shown[:, :, :levels])
    _, flow = scan(multi_level_ofi, book_memory(levels), (books.time, shown), 0)
    unknown = clocks.unproven_books(books.time, books.values[1])
    bins = clocks.bins(int(books.time[0]), int(books.time[-1]), unknown, length=length)
    seen = bins.count_of(books)
    depth = sums(books.time, shown[..., 1].mean(axis=(1, 2)), bins) / np.where(seen, seen, np.nan)
    columns = {f"level_{m}": sums(books.time, flow[:, m], bins) / depth for m in range(levels)}
    return table(symbol, bins, {"book_coverage": bins.coverage, "books": seen}, columns)


def fit_integrated(mlofi: pl.DataFrame | np.ndarray) -> np.ndarray:
    """Learn how much each level counts: the first principal component of their flows.

    Parameters
    ----------
    mlofi : pl.DataFrame or np.ndarray, shape (n_bins, levels)
        Of `multi_level`, *of training bins only*; rows with a null are left out.

    Returns
    -------
    np.ndarray, shape (levels,)
        Weights whose sizes add up to 1, with a sum above 0.

    Raises
    ------
    UserError
        If fewer than three bins are known, or the flows do not vary.

    References
    ----------
    Cont, R., Cucuringu, M. and Zhang, C. (2023). Cross-impact of order flow imbalance in equity
    markets. Quantitative Finance 23(10), 1373-1393. arXiv:2112.13213.

    Examples
    --------
    >>> fit_integrated(np.array([[1.0, 3.0], [-2.0, -6.0], [0.5, 1.5]])).round(3).tolist()
    [0.25, 0.75]
    """
    flows = _flows(mlofi)
    flows = flows[np.isfinite(flows).all(axis=1)]
    if len(flows) < 3 or not np.ptp(flows, axis=0).any():
        raise UserError(
            f"fit_integrated: needs three bins or more whose flows vary, found {len(flows)}."
        )
    first = np.linalg.svd(flows - flows.mean(axis=0), full_matrices=False)[2][0]
    return np.asarray(first / np.abs(first).sum() * (1 if first.sum() >= 0 else -1))


def integrated(mlofi: pl.DataFrame | np.ndarray, weights: np.ndarray) -> pl.Series:
    """Return the integrated order-flow imbalance: each bin's flows by their weights.

    Parameters
    ----------
    mlofi : pl.DataFrame or np.ndarray, shape (n_bins, levels)
        Of `multi_level`.
    weights : np.ndarray, shape (levels,)
        Of `fit_integrated` on earlier bins.

    Returns
    -------
    pl.Series ``integrated_ofi``, of length n_bins
        In mean quantities of a level; null where a level is.
    """
    flows = _flows(mlofi)
    if flows.shape[1] != len(weights):
        raise UserError(
            f"integrated: {flows.shape[1]} levels and {len(weights)} weights do not go together."
        )
    return pl.Series("integrated_ofi", flows @ weights).fill_nan(None)


def _flows(mlofi: pl.DataFrame | np.ndarray) -> np.ndarray:
    if isinstance(mlofi, np.ndarray):
        return mlofi
    columns = [c for c in mlofi.columns if c.startswith("level_")]
    return mlofi.select(pl.col(columns).fill_null(np.nan)).to_numpy()
