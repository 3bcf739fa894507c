"""Returns as arrays: one series, or a column for each trial; what is wrong is said in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError

FEWEST = 10
"""Returns below which no statistic of theirs is worth a digit."""


def series(returns: Any, who: str) -> np.ndarray:
    """Return the returns of one strategy as floats, shape (n_periods,).

    Raises
    ------
    UserError
        If there are fewer than 10, one is not a finite number, or all are the same.
    """
    values = np.asarray(_plain(returns), dtype=float)
    if values.ndim != 1:
        raise UserError(
            f"{who}: needs the returns of one strategy, found an array of shape {values.shape}. "
            "Hand in one column."
        )
    _check(values[:, None], ["the returns"], who)
    if values.min() == values.max():
        raise UserError(f"{who}: the returns are all {values[0]:g}: nothing moved, so no ratio.")
    return values


def panel(returns: Any, who: str, *, fewest: int = 2) -> tuple[list[str], np.ndarray]:
    """Return names and returns of trials, shape (n_periods, n_trials).

    Parameters
    ----------
    returns : polars or pandas frame, or np.ndarray of shape (n_periods, n_trials)
        One column per trial; a column ``time`` is left out. A trial that never traded is all 0.
    who : str
        How errors call the caller.
    fewest : int
        Trials that must be there.

    Raises
    ------
    UserError
        If there are too few trials or periods, a number is missing or not finite, a column is
        constant but not 0, or an array has more columns than rows.
    """
    names, values = _columns(returns, who)
    if values.shape[1] < fewest:
        raise UserError(
            f"{who}: needs {fewest} or more trials side by side, found {values.shape[1]}. "
            "One trial alone is judged by psr."
        )
    _check(values, names, who)
    flat = (values == values[0]).all(axis=0) & (values[0] != 0)
    if flat.any():
        j = int(np.argmax(flat))
        raise UserError(
            f"{who}: every return of {names[j]} is {values[0, j]:g}: nothing moved, so no ratio. "
            "Leave it out."
        )
    return names, values


def sharpes(values: np.ndarray) -> np.ndarray:
    """Mean over standard deviation (ddof 1) of each column; 0 for one that is all 0."""
    spread = values.std(axis=0, ddof=1)
    return np.divide(values.mean(axis=0), spread, out=np.zeros(values.shape[1]), where=spread > 0)


def _plain(returns: Any) -> Any:
    if isinstance(returns, pl.Series):
        return returns.cast(pl.Float64).to_numpy()  # a null becomes NaN, and is named below
    return returns


def _columns(returns: Any, who: str) -> tuple[list[str], np.ndarray]:
    if isinstance(returns, pl.LazyFrame):
        returns = returns.collect()
    if isinstance(returns, pl.DataFrame):
        table = returns.drop("time", strict=False).cast(pl.Float64)
        return table.columns, table.to_numpy()
    if hasattr(returns, "columns"):
        frame = returns.drop(columns="time", errors="ignore")
        return [str(c) for c in frame.columns], frame.to_numpy(dtype=float)
    values = np.asarray(returns, dtype=float)
    if values.ndim != 2 or values.shape[1] > values.shape[0]:
        raise UserError(
            f"{who}: needs one row per period and one column per trial, found an array of shape "
            f"{values.shape}. Turn it round; where trials do outnumber periods, hand in a frame."
        )
    return [f"trial {j}" for j in range(values.shape[1])], values


def _check(values: np.ndarray, names: list[str], who: str) -> None:
    if len(values) < FEWEST:
        raise UserError(
            f"{who}: needs {FEWEST} or more returns, found {len(values)}. Take a longer span."
        )
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise UserError(
            f"{who}: row {row} of {names[column]} is not a number. Keep the periods that all "
            "know; 0 where a strategy held nothing."
        )
