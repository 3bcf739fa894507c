"""Rank correlation of forecast and outcome: what stops boosting, and what models are judged by."""

from __future__ import annotations

import numpy as np


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank from 0, ties by their mean rank; shape (n,) in and out.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [1.5, 0.0, 1.5]
    """
    order = np.argsort(values)
    ordered = values[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    count = np.diff(np.r_[first, len(values)])
    found = np.empty(len(values))
    found[order] = np.repeat(first + (count - 1) / 2, count)
    return found


def rank_ic(forecast: np.ndarray, y: np.ndarray) -> float:
    """Spearman correlation of forecast and outcome; 0 where one of them is constant.

    >>> rank_ic(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3]))
    1.0
    """
    return correlation(ranks(forecast), ranks(y))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation; 0 where one of the two is constant.

    >>> correlation(np.array([1.0, 2.0]), np.array([5.0, 5.0]))
    0.0
    """
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0
