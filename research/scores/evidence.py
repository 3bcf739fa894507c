r"""Evidence that may be looked at at any time: the fortune of one who bets against chance.

A gambler stakes a share of what he has before each outcome :math:`x_t \in [-1, 1]` is known. Where
:math:`E[x_t \mid \text{past}] \le 0` he cannot, in the mean, grow rich, so that his fortune meets
:math:`1/\alpha` at *any* time with a probability of at most :math:`\alpha` (Ville) [1]_.

.. [1] Waudby-Smith, I. and Ramdas, A. (2024). Estimating Means of Bounded Random Variables by
   Betting. JRSS B 86.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError

STAKES = (0.01, 0.03, 0.1, 0.3, 0.9)
"""Shares of the fortune that are staked side by side, from equal parts of it."""
LIMIT = 3.0
"""Outcomes are cut at so many standard deviations."""
_EARLIEST = 10  # outcomes that are seen before the first bet, for a scale


def begin() -> list[float]:
    """Return the logarithms of the gamblers' fortunes before the first bet."""
    return [0.0] * len(STAKES)


def bet(fortunes: Sequence[float], x: float) -> list[float]:
    r"""Pay out one bet: a step, :math:`\ln E \leftarrow \ln E + \ln(1 + \lambda x)` for each stake.

    Parameters
    ----------
    fortunes : sequence of float
        Logarithms, one for each of `STAKES`.
    x : float
        The outcome, cut at -1 and 1 here; its scale must have been known before it.

    Returns
    -------
    list of float
        The fortunes after it.

    Examples
    --------
    >>> round(e_value(bet(begin(), 1.0)), 3), round(e_value(bet(begin(), -1.0)), 3)
    (1.268, 0.732)
    """
    x = min(max(x, -1.0), 1.0)
    return [fortune + math.log1p(stake * x) for fortune, stake in zip(fortunes, STAKES)]


def e_value(fortunes: Sequence[float]) -> float:
    r"""Return the mean fortune, from 1 at the start; its stake moves to who did best so far."""
    return float(np.mean(np.exp(np.minimum(fortunes, 700.0))))


def e_process(returns: Any) -> np.ndarray:
    r"""Follow the evidence that returns are above zero, valid at whatever time one looks.

    Parameters
    ----------
    returns : pl.Series, pandas Series or np.ndarray, shape (n_periods,)
        Net returns, or those in excess of a rival's, in the order in which they came.

    Returns
    -------
    np.ndarray, shape (n_periods,)
        The e-value after each return, 1 at first. Promote when it meets ``1 / alpha``: of those
        with nothing to show, at most `alpha` ever do. One over its highest so far is a p-value.

    Raises
    ------
    UserError
        If a return is not a number.

    Notes
    -----
    A return counts in units of three times the root mean square of those before it, and is cut at
    1 to both sides; the first ten only make a scale. What is tested is the cut return: one who
    wins a little often and loses everything once is not found out here.

    Returns of positions that overlap are not bets one after the other: hand in those of periods,
    or of trades that follow each other.

    Examples
    --------
    >>> dice = np.random.default_rng(0)
    >>> luck, skill = dice.normal(0, 1, 1000), dice.normal(0.15, 1, 1000)
    >>> bool(e_process(luck).max() < 20), bool(e_process(skill).max() >= 20)
    (True, True)
    """
    values = np.asarray(returns.to_numpy() if isinstance(returns, pl.Series) else returns, float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise UserError(
            "e_process: needs one series of returns that are all numbers. Leave out the periods "
            "that are not known."
        )
    before = np.concatenate([[0.0], np.cumsum(values**2)[:-1]])
    scale = LIMIT * np.sqrt(before / np.maximum(np.arange(len(values)), 1))
    ready = (np.arange(len(values)) >= _EARLIEST) & (scale > 0)
    x = np.divide(values, scale, out=np.zeros(len(values)), where=ready).clip(-1, 1)
    fortunes = np.log1p(np.outer(x, STAKES)).cumsum(axis=0)
    return np.asarray(np.exp(np.minimum(fortunes, 700.0)).mean(axis=1))
