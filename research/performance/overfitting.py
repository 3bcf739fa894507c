"""The probability that choosing the best of many backtests was overfitting, and what noise shows.

Combinatorially symmetric cross-validation: every half of the blocks of time takes its turn as the
sample in which the best trial is chosen; the other half says what it was worth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.performance import panels

MOST_BLOCKS = 18


@dataclass(frozen=True, slots=True)
class PBO:
    """What became of the trial that looked best.

    Attributes
    ----------
    probability : float
        Share of splits in which the best trial of one half lay in the lower half of the other.
    low, high : float
        5 and 95 % points of `probability` for the same trials without skill.
    p_value : float
        Share of those as low as `probability` or lower, its own counted.
    slope : float
        Of the Sharpe ratio out of sample over that in sample, of the chosen trials; below 0 the
        better a trial looks, the worse it does. NaN never: 0 where all looked the same.
    slope_low, slope_high : float
        5 and 95 % points of `slope` for the same trials without skill.
    loss : float
        Share of splits in which the chosen trial lost out of sample.
    table : pl.DataFrame
        ``logit, in_sample, out_of_sample`` of each split: the logit of the chosen trial's rank,
        and its Sharpe ratios per period.
    null : np.ndarray, shape (draws,)
        `probability` of each draw of noise.
    trials, periods, blocks : int
        What was judged.
    """

    probability: float
    low: float
    high: float
    p_value: float
    slope: float
    slope_low: float
    slope_high: float
    loss: float
    table: pl.DataFrame
    null: np.ndarray
    trials: int
    periods: int
    blocks: int

    @property
    def logits(self) -> np.ndarray:
        """Logit of the chosen trial's rank out of sample, of each split; overfitted at or below 0.

        Shape (n_splits,).
        """
        return self.table["logit"].to_numpy()

    def __str__(self) -> str:
        return (
            f"PBO {self.probability:.3f} (noise {self.low:.2f} to {self.high:.2f}, p "
            f"{self.p_value:.3f}); loss out of sample {self.loss:.0%}; {self.trials} trials, "
            f"{self.periods:,} periods, {self.table.height:,} splits of {self.blocks} blocks"
        )


def pbo(returns: Any, *, blocks: int = 16, draws: int = 100, seed: int = 0) -> PBO:
    r"""Probability of backtest overfitting, with the band in which trials without skill lie.

    .. math:: PBO = P(\lambda \le 0), \qquad \lambda = \ln \frac{\omega}{1 - \omega}, \qquad
              \omega = \frac{\operatorname{rank\ out\ of\ sample}}{N + 1}

    Parameters
    ----------
    returns : polars or pandas frame, or np.ndarray of shape (n_periods, n_trials)
        Net returns per period, a column for each trial that the best was chosen among; a column
        ``time`` is left out.
    blocks : int
        Even; 2 to 18 blocks of time, of two periods or more. 16 make 12,870 splits.
    draws : int
        Of noise, for the band; at least 20.
    seed : int
        Of the draws.

    Returns
    -------
    PBO

    Raises
    ------
    UserError
        If there are fewer than two trials, periods are too few for the blocks, or a number is
        missing.

    Notes
    -----
    The Sharpe ratio per period (ddof 0) chooses and ranks, ties by their average. Noise is the
    same table with the sign of all trials' returns turned at random, period by period: no mean is
    left, but how trials hang together, and when markets were wild, stays as it was.

    One PBO is a rough number: that of independent trials without skill strays by 0.17 about 0.5,
    so only one outside its band says something. A trial that never moves has a ratio of 0. Of an
    odd number of trials the middle rank counts as overfitted: of three, noise shows 2 in 3.

    References
    ----------
    .. [1] Bailey, D., Borwein, J., López de Prado, M. and Zhu, Q. (2017). The Probability of
       Backtest Overfitting. Journal of Computational Finance 20(4).

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0, 0.01, (400, 8))
    >>> found = pbo(noise, blocks=8, draws=20)
    >>> found.low < found.probability < found.high, len(found.logits)
    (True, 70)
    >>> noise[:, 3] += 0.005
    >>> pbo(noise, blocks=8, draws=20).probability
    0.0
    """
    _, values = panels.panel(returns, "pbo")
    _check(values, blocks, draws)
    first, second, sizes = _sums(values, blocks)
    chosen = _Halves(second, sizes)
    table = chosen.judge(first)
    dice = np.random.default_rng(seed)
    noise = [chosen.judge(_turned(values, blocks, dice)) for _ in range(draws)]
    null = np.array([_share(one) for one in noise])
    probability, slopes = _share(table), [_slope(one) for one in noise]
    low, high = np.quantile(null, [0.05, 0.95])
    slope_low, slope_high = np.quantile(slopes, [0.05, 0.95])
    return PBO(
        probability=probability,
        low=float(low),
        high=float(high),
        p_value=float((1 + (null <= probability).sum()) / (1 + draws)),
        slope=_slope(table),
        slope_low=float(slope_low),
        slope_high=float(slope_high),
        loss=float((table["out_of_sample"] < 0).mean()),  # type: ignore[arg-type]
        table=table,
        null=null,
        trials=values.shape[1],
        periods=len(values),
        blocks=blocks,
    )


def _check(values: np.ndarray, blocks: int, draws: int) -> None:
    if blocks % 2 or not 2 <= blocks <= MOST_BLOCKS:
        raise UserError(f"pbo: blocks must be even, from 2 to {MOST_BLOCKS}, found {blocks}.")
    if len(values) < 2 * blocks:
        raise UserError(
            f"pbo: {blocks} blocks need {2 * blocks} or more periods, found {len(values)}. "
            "Take fewer blocks or a longer span."
        )
    if draws < 20:
        raise UserError(f"pbo: a band needs 20 or more draws, found {draws}.")


def _cuts(periods: int, blocks: int) -> np.ndarray:
    """First row of each block; the first blocks are a row longer, as np.array_split has it."""
    each, more = divmod(periods, blocks)
    sizes = np.full(blocks, each) + (np.arange(blocks) < more)
    return np.concatenate([[0], np.cumsum(sizes)[:-1]])


def _sums(values: np.ndarray, blocks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of returns and of their squares by block and trial, and the periods of each block."""
    cuts = _cuts(len(values), blocks)
    sizes = np.diff([*cuts, len(values)])
    return np.add.reduceat(values, cuts), np.add.reduceat(values**2, cuts), sizes


def _turned(values: np.ndarray, blocks: int, dice: np.random.Generator) -> np.ndarray:
    """Sums by block after every period's returns were turned round, or not, all trials at once."""
    signs = dice.integers(2, size=len(values)) * 2.0 - 1
    return np.add.reduceat(values * signs[:, None], _cuts(len(values), blocks))


class _Halves:
    """All halves of the blocks; squares are what they are whatever the signs, and kept."""

    def __init__(self, second: np.ndarray, sizes: np.ndarray) -> None:
        blocks = len(sizes)
        picks = np.array(list(combinations(range(blocks), blocks // 2)))
        self.taken = np.zeros((len(picks), blocks))
        np.put_along_axis(self.taken, picks, 1.0, axis=1)
        self.count = (self.taken @ sizes)[:, None]
        self.square = self.taken @ second / self.count

    def judge(self, first: np.ndarray) -> pl.DataFrame:
        """Choose the best of each half, and see what it is in the other one."""
        mean = self.taken @ first / self.count
        variance = self.square - mean**2
        real = variance > 1e-12 * self.square  # else nothing moved but rounding
        ratio = np.where(real, mean / np.sqrt(np.where(real, variance, 1.0)), 0.0)
        best = ratio.argmax(axis=1)[:, None]
        # halves come in order, so the other half of the i-th is the i-th from the end
        other = ratio[::-1]
        worth = np.take_along_axis(other, best, axis=1)
        rank = (other < worth).sum(axis=1) + ((other == worth).sum(axis=1) + 1) / 2
        share = rank / (first.shape[1] + 1)
        shown = np.take_along_axis(ratio, best, axis=1)
        return pl.DataFrame(
            {
                "logit": np.log(share / (1 - share)),
                "in_sample": shown[:, 0],
                "out_of_sample": worth[:, 0],
            }
        )


def _share(table: pl.DataFrame) -> float:
    return float((table["logit"] <= 0).mean())  # type: ignore[arg-type]


def _slope(table: pl.DataFrame) -> float:
    x, y = (table[c].to_numpy() - table[c].mean() for c in ("in_sample", "out_of_sample"))
    spread = float(x @ x)
    return float(x @ y) / spread if math.isfinite(spread) and spread > 0 else 0.0
