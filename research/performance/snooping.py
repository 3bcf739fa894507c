"""Is the best of many strategies better than nothing, when all of them were looked at?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from research.errors import UserError
from research.performance import panels


@dataclass(frozen=True, slots=True)
class SPA:
    """Hansen's test of superior predictive ability.

    Attributes
    ----------
    p_value : float
        The consistent one: probability of so good a best strategy where none is above zero.
    error : float
        Its standard error from the number of draws.
    lower, upper : float
        Bounds: `lower` takes every bad strategy out of the contest and rejects too often;
        `upper`, White's reality check, keeps them all and has less power.
    best : str
        The strategy with the highest mean return in units of its standard deviation.
    block : int
        Mean length of the blocks drawn, in periods.
    strategies, draws : int
        How many were looked at, and how often was drawn.
    """

    p_value: float
    error: float
    lower: float
    upper: float
    best: str
    block: int
    strategies: int
    draws: int

    def __str__(self) -> str:
        return (
            f"SPA p {self.p_value:.3f} ± {self.error:.3f} ({self.lower:.3f} to {self.upper:.3f}) "
            f"for {self.best}, the best of {self.strategies}; {self.draws:,} draws of blocks of "
            f"{self.block}"
        )


def spa(returns: Any, *, block: int | None = None, draws: int = 1000, seed: int = 0) -> SPA:
    r"""Test whether the best of several strategies earns more than nothing.

    .. math:: H_0: \max_k E[r_k] \le 0, \qquad T = \max_k \frac{\bar r_k}{\hat\sigma_k}

    Parameters
    ----------
    returns : polars or pandas frame, or np.ndarray of shape (n_periods, n_strategies)
        Net returns per period, or those in excess of a benchmark's; a column ``time`` is left
        out. *All* strategies that were looked at.
    block : int, optional
        Mean length in periods of the stationary bootstrap's blocks; at least a holding period.
        Left out, the mean of those that Politis and White's rule finds for each strategy.
    draws, seed : int
        Of the bootstrap, by the ``arch`` package.

    Returns
    -------
    SPA

    Raises
    ------
    UserError
        If periods are too few, a number is missing, or nothing ever moved.

    Notes
    -----
    Each strategy is first divided by its own standard deviation, so that a loud one does not drown
    the others: the package's ``studentize`` changes only which strategies count as hopeless. One
    that never traded cannot be the best and is left out. Hand in hours or days: the work grows with
    the square of the number of periods, and returns that hang together by 0.5 from one period to
    the next are taken for skill in 8 of 100 cases, not 5.

    References
    ----------
    .. [1] Hansen, P. (2005). A Test for Superior Predictive Ability. Journal of Business &
       Economic Statistics 23(4).
    .. [2] Politis, D. and White, H. (2004). Automatic Block-Length Selection for the Dependent
       Bootstrap. Econometric Reviews 23(1).

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0, 0.01, (250, 5))
    >>> spa(noise, draws=200).p_value > 0.05
    True
    >>> noise[:, 2] += 0.004
    >>> found = spa(noise, draws=200)
    >>> found.best, found.p_value < 0.01
    ('trial 2', True)
    """
    from arch.bootstrap import SPA as Peer

    names, scaled, block = _prepared(returns, block, draws, "spa")
    test = Peer(np.zeros(len(scaled)), -scaled, block_size=block, reps=draws, seed=seed)
    test.compute()
    lower, p, upper = (float(test.pvalues[k]) for k in ("lower", "consistent", "upper"))
    return SPA(
        p_value=p,
        error=math.sqrt(p * (1 - p) / draws),
        lower=lower,
        upper=upper,
        best=names[int(scaled.mean(axis=0).argmax())],
        block=block,
        strategies=len(names),
        draws=draws,
    )


def step_m(
    returns: Any,
    *,
    size: float = 0.05,
    block: int | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> list[str]:
    """Name the strategies that earn more than nothing, all of them together with surety.

    Parameters
    ----------
    returns, block, draws, seed
        As for `spa`.
    size : float
        Greatest probability that any of those named earns nothing, above 0 and below 1.

    Returns
    -------
    list of str
        Names of columns, in their order; ``trial 0`` and so on of an array.

    Raises
    ------
    UserError
        As for `spa`, or if `size` is out of range.

    References
    ----------
    .. [1] Romano, J. and Wolf, M. (2005). Stepwise Multiple Testing as Formalized Data Snooping.
       Econometrica 73(4).

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0, 0.01, (250, 5))
    >>> noise[:, 2] += 0.004
    >>> step_m(noise, draws=200)
    ['trial 2']
    """
    from arch.bootstrap import StepM as Peer

    if not 0 < size < 1:
        raise UserError(f"step_m: size must lie between 0 and 1, found {size}.")
    names, scaled, block = _prepared(returns, block, draws, "step_m")
    nothing = np.zeros(len(scaled))
    test = Peer(nothing, -scaled, size=size, block_size=block, reps=draws, seed=seed)
    test.compute()
    taken = set(test.superior_models)
    return [name for j, name in enumerate(names) if j in taken]


def _prepared(
    returns: Any, block: int | None, draws: int, who: str
) -> tuple[list[str], np.ndarray, int]:
    """Return names and scaled returns of the strategies that move, and the block length."""
    if draws < 100:
        raise UserError(f"{who}: needs 100 or more draws, found {draws}.")
    names, values = panels.panel(returns, who, fewest=1)
    moving = (values != 0).max(axis=0)
    if not moving.any():
        raise UserError(f"{who}: none of the {len(names)} strategies ever traded.")
    names, values = [n for n, moves in zip(names, moving) if moves], values[:, moving]
    length = _block(values) if block is None else block
    if not 1 <= length <= len(values) // 2:
        raise UserError(
            f"{who}: block must be from 1 to half of the {len(values)} periods, found {length}."
        )
    return names, values / values.std(axis=0), length


def _block(values: np.ndarray) -> int:
    from arch.bootstrap import optimal_block_length

    lengths = [optimal_block_length(column)["stationary"].iloc[0] for column in values.T]
    return int(min(max(math.ceil(float(np.mean(lengths))), 1), len(values) // 4))
