"""Shares of the account: past daily returns of each component in, shares out.

A scheme is a plain function of past returns, so it cannot see a later day: what it is handed ends
before the period that it decides. Shares lie in 0..1 and add up to at most 1; the rest is cash.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from research.errors import UserError, nearest

FEWEST_DAYS = 5
"""Days of history below which nothing is told apart: every component has an equal share."""


def equal(past: np.ndarray) -> np.ndarray:
    """Give every component the same share.

    Parameters
    ----------
    past : np.ndarray, shape (n_days, n_components)
        Daily net returns known at the decision.

    Returns
    -------
    np.ndarray, shape (n_components,)

    Examples
    --------
    >>> equal(np.zeros((3, 4))).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    return np.full(past.shape[1], 1 / past.shape[1])


def inverse_volatility(past: np.ndarray) -> np.ndarray:
    """Give shares in inverse proportion to volatility; one that never moved gets none.

    Where none has moved, all are alike. Parameters and returns as of `equal`.

    Examples
    --------
    >>> inverse_volatility(np.array([[0.01, 0.02], [-0.01, -0.02]])).round(3).tolist()
    [0.667, 0.333]
    """
    spread = past.std(axis=0)
    inverse = np.divide(1.0, spread, out=np.zeros(len(spread)), where=spread > 0)
    return inverse / inverse.sum() if inverse.any() else equal(past)


def cost_aware(past: np.ndarray) -> np.ndarray:
    """Give shares as `inverse_volatility`, those that have not earned their costs left as cash.

    What a component earned is net of all that it paid, so one whose edge is smaller than its costs
    trades no more until it has been worth it on paper. Parameters and returns as of `equal`.

    Examples
    --------
    >>> cost_aware(np.array([[0.02, -0.02], [-0.01, 0.01]])).tolist()
    [0.5, 0.0]
    """
    return np.where(past.mean(axis=0) > 0, inverse_volatility(past), 0.0)


def best(past: np.ndarray) -> np.ndarray:
    """Give all to the component with the highest Sharpe ratio so far, the first of equals.

    One that never moved has a ratio of 0: it is better than all that lost. Parameters and returns
    as of `equal`.

    Examples
    --------
    >>> best(np.array([[0.01, 0.03], [0.0, 0.01]])).tolist()
    [0.0, 1.0]
    """
    spread = past.std(axis=0)
    ratio = np.divide(past.mean(axis=0), spread, out=np.zeros(len(spread)), where=spread > 0)
    return np.eye(len(spread))[ratio.argmax()]


WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "equal": equal,
    "inverse_volatility": inverse_volatility,
    "cost_aware": cost_aware,
    "best": best,
}


def scheme(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function called `name`, or say which there are."""
    if name not in WEIGHTS:
        known = list(WEIGHTS)
        raise UserError(
            f"portfolio: no weights {name!r}.{nearest(name, known)} Here: {', '.join(known)}."
        )
    return WEIGHTS[name]


def seen(past: pl.DataFrame, start: datetime, lookback: timedelta) -> np.ndarray:
    """Return the daily returns that a decision at `start` may look at.

    Parameters
    ----------
    past : pl.DataFrame
        ``day`` and one column of net returns per component.
    start : datetime
        A UTC midnight: every earlier day is over.
    lookback : timedelta
        Whole days.

    Returns
    -------
    np.ndarray, shape (n_days, n_components)

    Examples
    --------
    >>> from datetime import date, UTC
    >>> days = [date(2025, 1, d) for d in (1, 2, 3)]
    >>> past = pl.DataFrame({"day": days, "0": [0.1, 0.2, 0.3]})
    >>> seen(past, datetime(2025, 1, 3, tzinfo=UTC), timedelta(days=1)).tolist()
    [[0.2]]
    """
    day = start.date()
    inside = past.filter(pl.col("day").is_between(day - lookback, day, closed="left"))
    return inside.drop("day").to_numpy()


def shares(past: np.ndarray, name: str) -> np.ndarray:
    """Return the shares by the scheme called `name`; equal ones where history is too short.

    Examples
    --------
    >>> shares(np.array([[0.01, 0.03]]), "best").tolist()
    [0.5, 0.5]
    """
    return scheme(name)(past) if len(past) >= FEWEST_DAYS else equal(past)
