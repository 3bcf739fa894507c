r"""How many different things were tried: trials that earn alike, counted together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from research.performance import panels
from research.performance.probabilistic import sample


@dataclass(frozen=True, slots=True)
class Trials:
    """So many trials, and what they amount to.

    Attributes
    ----------
    tried : int
        Trials handed in.
    count : float
        Independent ones they amount to; what `dsr` asks for.
    spread : float
        Standard deviation of the Sharpe ratio per period over clusters, at least the error of a
        cluster's own ratio; what `dsr` asks for.
    clusters : int
        Groups of trials that earn alike.
    silhouette : float
        Mean over trials of how much nearer the own group is than the next one: above 0.5 groups
        are plain to see, below 0.25 they hardly are. 0 for one group.
    table : pl.DataFrame
        ``trial, cluster, sharpe``: the Sharpe ratio per period.
    """

    tried: int
    count: float
    spread: float
    clusters: int
    silhouette: float
    table: pl.DataFrame

    def __str__(self) -> str:
        return (
            f"{self.tried} trials amount to {self.count:.1f} independent ones in "
            f"{self.clusters} groups (silhouette {self.silhouette:.2f}); spread of their Sharpe "
            f"ratios {self.spread:.4f} a period"
        )


def effective_trials(returns: Any) -> Trials:
    r"""Group trials by the correlation of their returns, and count what is independent.

    .. math:: d_{ij} = \sqrt{\tfrac12 (1 - \rho_{ij})}, \qquad
              N = \sum_c \bar\rho_c + (1 - \bar\rho_c) M_c

    Parameters
    ----------
    returns : polars or pandas frame, or np.ndarray of shape (n_periods, n_trials)
        Net returns per period out of sample, a column per trial over the same periods; a column
        ``time`` is left out. Those that never traded are all 0, and make one group.

    Returns
    -------
    Trials

    Raises
    ------
    UserError
        If there are fewer than 10 periods, a number is missing, or a column is constant but not 0.

    Notes
    -----
    Groups come from average linkage over :math:`d`, at the number of groups with the highest mean
    silhouette: the same for the same trials, in whatever order. :math:`\bar\rho_c` is the mean
    correlation (at least 0) of the :math:`M_c` trials of a group.

    Counting groups alone [1]_ takes loosely related trials for one. Of the best of 20 trials
    without skill, correlated by 0.5, more than one in four passed a deflated Sharpe ratio of 0.95
    that was told the number of groups; of those told `count` and `spread`, below 1 in 100. With
    the count, the expected maximum is right to a tenth for several groups correlated by 0.5 to 0.9,
    and a sixth too high for one.

    References
    ----------
    .. [1] López de Prado, M. and Lewis, M. (2019). Detection of False Investment Strategies Using
       Unsupervised Learning Methods. Quantitative Finance 19(9).

    Examples
    --------
    >>> dice = np.random.default_rng(0)
    >>> two = np.repeat(dice.normal(size=(500, 2)), 3, axis=1)
    >>> found = effective_trials(0.01 * (two + 0.1 * dice.normal(size=two.shape)))
    >>> found.clusters, round(found.count, 1), found.table["cluster"].to_list()
    (2, 2.0, [1, 1, 1, 2, 2, 2])
    """
    names, values = panels.panel(returns, "effective_trials", fewest=1)
    moving = (values != 0).max(axis=0)
    labels, silhouette, count = np.zeros(len(names), np.int64), 0.0, 0.0
    if moving.any():
        rho = _correlations(values[:, moving])
        labels[moving], silhouette = _grouped(rho)
        count = _count(rho, labels[moving])
    if not moving.all():
        labels[~moving], count = labels[moving].max(initial=-1) + 1, count + 1
    labels = _numbered(labels)
    own, errors = _ratios(values, labels, moving)
    spread = float(own.std(ddof=1)) if len(own) > 1 else 0.0
    table = {"trial": names, "cluster": labels, "sharpe": panels.sharpes(values)}
    return Trials(
        tried=len(names),
        count=count,
        spread=max(spread, errors),
        clusters=int(labels.max()),
        silhouette=silhouette,
        table=pl.DataFrame(table),
    )


def _correlations(values: np.ndarray) -> np.ndarray:
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    return np.clip(z.T @ z / len(z), -1.0, 1.0)


def _grouped(rho: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the labels with the highest mean silhouette, from 0, and that silhouette."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    trials = len(rho)
    labels, best = np.zeros(trials, np.int64), 0.0
    if trials < 3:
        return labels, best
    # rounded, so that copies lie at 0 and equal distances are equal in whatever order
    distance = np.round(np.sqrt((1 - rho) / 2), 6)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average")
    for tried in _cuts(tree, trials):
        quality = float(_silhouettes(distance, tried).mean())
        if quality > best + 1e-9:
            labels, best = tried, quality
    return labels, best


def _cuts(tree: np.ndarray, trials: int) -> list[np.ndarray]:
    """Return the labels at each height of the tree at which two groups join, but for the top."""
    from scipy.cluster.hierarchy import fcluster

    heights = np.unique(tree[:, 2])[:-1]
    found = [fcluster(tree, height, "distance").astype(np.int64) - 1 for height in heights]
    return [labels for labels in found if 1 < labels.max() + 1 < trials]


def _silhouettes(distance: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(b - a) / max(a, b) of each trial: mean distance to its own group, and to the next one."""
    row, size = np.arange(len(labels)), np.bincount(labels)
    # summed side by side: with many trials and groups far cheaper than a product of matrices
    first = np.cumsum(size) - size
    total = np.add.reduceat(distance[:, np.argsort(labels, kind="stable")], first, axis=1)
    own = total[row, labels] / np.maximum(size[labels] - 1, 1)
    total /= size
    total[row, labels] = np.inf
    next_one = total.min(axis=1)
    far = np.maximum(own, next_one)
    real = (size[labels] > 1) & (far > 0)
    return np.asarray(np.where(real, (next_one - own) / np.where(far > 0, far, 1.0), 0.0))


def _count(rho: np.ndarray, labels: np.ndarray) -> float:
    member = np.eye(labels.max() + 1)[labels]
    size = member.sum(axis=0)
    inside = np.einsum("ik,ij,jk->k", member, rho, member) - size
    pairs = size * (size - 1)
    mean = np.divide(inside, pairs, out=np.ones_like(inside), where=pairs > 0).clip(0, 1)
    return float((mean + (1 - mean) * size).sum())


def _numbered(labels: np.ndarray) -> np.ndarray:
    """Number the groups from 1 in the order in which trials first meet them."""
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[which] + 1


def _ratios(values: np.ndarray, labels: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, float]:
    """Sharpe ratio of each group's mean at equal risk, and the mean error of one ratio."""
    ratios, errors = [], []
    for group in range(1, labels.max() + 1):
        own = values[:, (labels == group) & moving]
        pooled = (own / own.std(axis=0)).sum(axis=1) / max(own.shape[1], 1)
        if pooled.std() < 1e-9:  # trials that never moved, or that cancel out
            ratios.append(0.0)
            continue
        seen = sample(pooled)
        ratios.append(seen.sharpe)
        errors.append(seen.error)
    return np.array(ratios), float(np.mean(errors)) if errors else 0.0
