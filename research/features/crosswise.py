"""Hearts over a table of times by symbols: what the others did, and where one stands among them.

NaN is a symbol that does not count at that time; a symbol's own value counts only where said.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from research.features.loops import compiled


def mean_of_others(wide: np.ndarray) -> np.ndarray:
    """Return for each symbol the mean of the others.

    Parameters
    ----------
    wide : np.ndarray, shape (n_times, n_symbols)

    Returns
    -------
    np.ndarray, shape (n_times, n_symbols)
        NaN where no other counts; it does not matter whether the symbol itself does.

    Examples
    --------
    >>> mean_of_others(np.array([[1.0, 2.0, 4.0], [1.0, np.nan, np.nan]])).tolist()
    [[3.0, 2.5, 1.5], [nan, 1.0, 1.0]]
    """
    return _each(_means, wide)


def _means(wide: Any, found: Any) -> None:
    # summed afresh for each: the total less its own would keep a residue of it
    for t in range(wide.shape[0]):
        for i in range(wide.shape[1]):
            total, others = 0.0, 0
            for j in range(wide.shape[1]):
                if j != i and not np.isnan(wide[t, j]):
                    total += wide[t, j]
                    others += 1
            found[t, i] = total / others if others else np.nan


def place_among_others(wide: np.ndarray) -> np.ndarray:
    """Return for each symbol the share of the others that is below it, equals counting half.

    Parameters
    ----------
    wide : np.ndarray, shape (n_times, n_symbols)

    Returns
    -------
    np.ndarray, shape (n_times, n_symbols)
        0 to 1; NaN where the symbol or every other does not count.

    Examples
    --------
    >>> place_among_others(np.array([[1.0, 2.0, 2.0], [1.0, np.nan, np.nan]])).tolist()
    [[0.0, 0.75, 0.75], [nan, nan, nan]]
    """
    return _each(_places, wide)


def _places(wide: Any, found: Any) -> None:
    for t in range(wide.shape[0]):
        for i in range(wide.shape[1]):
            below, others = 0.0, 0
            for j in range(wide.shape[1]):
                if j != i and not np.isnan(wide[t, j]):
                    others += 1
                    if wide[t, j] < wide[t, i]:
                        below += 1.0
                    elif wide[t, j] == wide[t, i]:
                        below += 0.5
            known = others > 0 and not np.isnan(wide[t, i])
            found[t, i] = below / others if known else np.nan


def spread_of_all(wide: np.ndarray) -> np.ndarray:
    """Return the sample deviation (ddof 1) over all symbols, the same for each.

    Parameters
    ----------
    wide : np.ndarray, shape (n_times, n_symbols)

    Returns
    -------
    np.ndarray, shape (n_times, n_symbols)
        0 where all are equal; NaN where fewer than two count.

    Examples
    --------
    >>> spread_of_all(np.array([[1.0, 3.0], [1.0, np.nan]])).round(4).tolist()
    [[1.4142, 1.4142], [nan, nan]]
    """
    return _each(_spreads, wide)


def _spreads(wide: Any, found: Any) -> None:
    for t in range(wide.shape[0]):
        total, squares, first, known = 0.0, 0.0, 0.0, 0
        for j in range(wide.shape[1]):
            if not np.isnan(wide[t, j]):
                if not known:
                    first = wide[t, j]
                known += 1
                away = wide[t, j] - first  # equal ones have a spread of exactly zero
                total += away
                squares += away * away
        spread = np.nan
        if known > 1:
            spread = np.sqrt(max(squares - total * total / known, 0.0) / (known - 1))
        for j in range(wide.shape[1]):
            found[t, j] = spread


def _each(heart: Any, wide: np.ndarray) -> np.ndarray:
    found = np.empty(wide.shape)
    compiled(heart)(wide, found)
    return found
