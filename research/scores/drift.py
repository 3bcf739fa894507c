r"""Drift: how far the newest features lie from those a model was trained on, and what is far.

The population stability index compares shares in bins. Its customary limit of 0.25 knows nothing
of how slowly a feature wanders: a few hours of a volatility exceed it every day. A limit by budget
is set from the study's own past, to a stated number of false alarms.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import polars as pl

from research import units
from research.errors import UserError

Kind = Literal["quantile", "width"]
LIMIT = 0.25
"""Index beyond which S1 trains anew."""
_FLOOR = 1e-4
_TAIL = 0.2  # of the block maxima: what a tail is drawn through
_FEWEST = 10


def psi(
    reference: np.ndarray, current: np.ndarray, *, bins: int = 10, kind: Kind = "quantile"
) -> float:
    r"""Return the population stability index of one feature.

    .. math:: \sum_k (c_k - r_k) \ln (c_k / r_k)

    Parameters
    ----------
    reference, current : np.ndarray, shape (n_rows,), (m_rows,)
        Known values; at least one each.
    bins : int
        At least 2.
    kind : {"quantile", "width"}
        ``quantile``: bins of equal share of `reference`; the index does not depend on `current`'s
        extremes. ``width``: S1's, of equal width between the least and the largest value of both.

    Returns
    -------
    float
        0 where shares agree; never negative.

    Notes
    -----
    Counts of an empty bin: ``quantile`` adds half a row to each bin of both; ``width`` takes a
    share of 1e-4, as S1 does. By chance alone, of rows without memory, the index is about
    ``(bins - 1) (1 / n + 1 / m)``; of rows that remember, far more.

    Examples
    --------
    >>> values = np.arange(1000.0)
    >>> psi(values, values[::2]) < 0.001 < 0.25 < psi(values, values + 300)
    True
    """
    if bins < 2:
        raise UserError(f"drift: bins must be at least 2, found {bins}.")
    if not len(reference) or not len(current):
        raise UserError(
            f"drift: needs values on both sides, found {len(reference)} and {len(current)}."
        )
    if kind == "quantile":
        made = reference_of(reference[:, None], ["value"], bins=bins)
        return float(made.psi(made.counts(current[:, None]))[0])
    both = np.concatenate([reference, current])
    low, high = both.min(), both.max()
    if low == high:
        return 0.0
    shares = [np.histogram(x, bins, (low, high))[0] / len(x) for x in (reference, current)]
    r, c = (np.where(share > 0, share, _FLOOR) for share in shares)
    return float(((c - r) * np.log(c / r)).sum())


@dataclass(frozen=True, slots=True)
class Reference:
    """What the features of a training window were like: cut-points, and rows between them.

    Attributes
    ----------
    columns : list of str
        The features.
    cuts : np.ndarray, shape (n_features, bins - 1)
        Ascending; a value belongs to the bin above the cuts that lie below it.
    rows : np.ndarray, shape (n_features, bins)
        How many rows of the window lay in each bin; a bin between equal cuts has none.
    """

    columns: list[str]
    cuts: np.ndarray
    rows: np.ndarray

    def bins(self, values: np.ndarray) -> np.ndarray:
        """Return the bin of each value: (n_rows, n_features) to int64 of that shape."""
        found = [np.searchsorted(cut, values[:, j]) for j, cut in enumerate(self.cuts)]
        return np.stack(found, axis=1)

    def counts(self, values: np.ndarray) -> np.ndarray:
        """Return how many of the values lie in each bin, (n_features, bins)."""
        found = np.zeros(self.rows.shape)
        for j, column in enumerate(self.bins(values).T):
            found[j] = np.bincount(column, minlength=self.rows.shape[1])
        return found

    def psi(self, counts: np.ndarray) -> np.ndarray:
        """Return the index of each feature for `counts` rows, (..., n_features, bins)."""
        real = np.ones(self.rows.shape, dtype=bool)
        real[:, 1:-1] = np.diff(self.cuts) > 0  # a bin between equal cuts can hold nothing
        size = real.sum(axis=1)
        r = (self.rows + 0.5) / (self.rows.sum(axis=1) + 0.5 * size)[:, None]
        total = counts.sum(axis=-1) + 0.5 * size
        c = (counts + 0.5) / total[..., None]
        return np.asarray(np.where(real, (c - r) * np.log(c / r), 0.0).sum(axis=-1))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, for the facts of a stored model."""
        return {"columns": self.columns, "cuts": self.cuts.tolist(), "rows": self.rows.tolist()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Reference:
        """Read what `to_dict` wrote."""
        return cls(plain["columns"], np.array(plain["cuts"]), np.array(plain["rows"]))


def reference(features: pl.DataFrame, columns: Sequence[str], *, bins: int = 10) -> Reference:
    """Describe the features of a training window.

    Parameters
    ----------
    features : pl.DataFrame
        Rows of the window, all symbols; those with a null among `columns` are left out.
    columns : sequence of str
        What to watch.
    bins : int
        Bins of equal share.

    Returns
    -------
    Reference

    Raises
    ------
    UserError
        If no row is known.
    """
    known = features.select(columns).drop_nulls().to_numpy()
    if not len(known):
        raise UserError("drift: no row of the training window has every feature.")
    return reference_of(known, list(columns), bins=bins)


def reference_of(values: np.ndarray, columns: list[str], *, bins: int) -> Reference:
    """As `reference`, of known values, (n_rows, n_features)."""
    shares = np.arange(1, bins) / bins
    cuts = np.quantile(values, shares, axis=0, method="inverted_cdf").T
    blank = Reference(columns, np.ascontiguousarray(cuts), np.zeros((len(columns), bins)))
    return Reference(columns, blank.cuts, blank.counts(values))


class Watch:
    """The newest bars against a reference, bar by bar.

    Parameters
    ----------
    reference : Reference
        Of the model that was trained last.
    window : int
        Bars that are compared; until so many came there is no index.
    """

    def __init__(self, reference: Reference, window: int) -> None:
        self.reference, self.window = reference, window
        self._kept: deque[np.ndarray] = deque()
        self._counts = np.zeros(reference.rows.shape, dtype=np.int64)
        self._row = np.arange(len(reference.columns))

    def push(self, rows: pl.DataFrame) -> None:
        """Take in the rows of one bar, one per symbol; a symbol that is not known is passed over.

        A bar that nobody knows anything of counts as one all the same.
        """
        known = rows.select(self.reference.columns).drop_nulls().to_numpy()
        self._kept.append(self.reference.bins(known))
        self._add(self._kept[-1], 1)
        if len(self._kept) > self.window:
            self._add(self._kept.popleft(), -1)

    def _add(self, bins: np.ndarray, sign: int) -> None:
        for row in bins:
            self._counts[self._row, row] += sign

    def psi(self) -> dict[str, float] | None:
        """Return the index by feature; None before the window is full, or with nothing known."""
        if len(self._kept) < self.window or not self._counts.any():
            return None
        found = self.reference.psi(self._counts)
        return dict(zip(self.reference.columns, found.tolist()))


class Threshold(NamedTuple):
    """What a drift must exceed to be an alarm.

    Attributes
    ----------
    limits : dict of str to float
        By feature.
    blocks : int
        Windows of the past that they were set on.
    extrapolated : bool
        Whether the budget allows fewer alarms than so short a past can show: the tail was drawn on.
    """

    limits: dict[str, float]
    blocks: int
    extrapolated: bool


def drift_threshold(
    features: pl.DataFrame,
    columns: Sequence[str],
    *,
    window: timedelta,
    per: timedelta,
    train: timedelta,
    every: timedelta,
    bins: int = 10,
) -> Threshold:
    r"""Set the limit of each feature from the past, so that one false alarm comes in `per`.

    Parameters
    ----------
    features : pl.DataFrame
        ``symbol, time`` and `columns`: the past, as long as there is; sorted or not.
    columns : sequence of str
        What is watched.
    window : timedelta
        Newest time that is compared with the training window.
    per : timedelta
        Time in which one false alarm is accepted, all features together.
    train, every : timedelta
        Length of a training window, and from one training to the next.
    bins : int
        As in `reference`.

    Returns
    -------
    Threshold

    Raises
    ------
    UserError
        If the past is shorter than eight windows.

    Notes
    -----
    The past is walked through as a run would live it: a reference of `train`, then one `window`
    after another, each looked at at 16 moments, until `every` is over; then the next reference.
    (`train` is cut to half the past where that is shorter.) A feature's index is divided by its
    mean over that walk, so that slow features and fast ones are held to the same standard; the
    largest of all features, its maximum over a block of one window, is what an alarm exceeds. The
    limit is the quantile of those maxima at ``1 - window / per``, found by Weissman's estimator:
    the upper fifth of the maxima is taken for a Pareto tail with Hill's index. One standard error
    of that estimate is added, so that the budget is rather kept than met.

    Of a past in which something truly changed, the limits are wider than they need be.

    References
    ----------
    .. [1] Weissman, I. (1978). Estimation of Parameters and Large Quantiles Based on the k Largest
       Observations. JASA 73.
    """
    known = features.select("time", *columns).drop_nulls().sort("time")
    walked = [
        block
        for part, then in _walk(known, window=window, train=train, every=every)
        for block in _blocks(reference(part, columns, bins=bins), then, window)
    ]
    if len(walked) < 8:
        raise UserError(
            f"drift: the past holds {len(walked)} windows of {units.show(window)} after a training "
            "window, at least 8 are needed. Bring more history, or set retrain.drift = 'psi'."
        )
    indices = np.stack(walked)  # block, moment, feature
    usual = np.maximum(indices.mean(axis=(0, 1)), 1e-12)
    maxima = (indices / usual).max(axis=(1, 2))
    chance = window / per
    limit = _tail_quantile(maxima, chance)
    limits = dict(zip(columns, (limit * usual).tolist()))
    return Threshold(limits, len(maxima), extrapolated=chance * (len(maxima) + 1) < 1)


def _walk(
    known: pl.DataFrame, *, window: timedelta, train: timedelta, every: timedelta
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield each training window and the time until the next."""
    if known.is_empty():
        return
    first, last = cast("Any", known["time"][0]), cast("Any", known["time"][-1])
    train, every = min(train, (last - first) / 2), max(every, window)
    at = first + train
    while at + window <= last + timedelta(microseconds=1):
        time = pl.col("time")
        yield (
            known.filter(time.is_between(at - train, at, closed="left")),
            known.filter(time.is_between(at, at + every, closed="left")),
        )
        at += every


def _blocks(made: Reference, then: pl.DataFrame, window: timedelta) -> Iterator[np.ndarray]:
    """Yield the index of each feature at 16 moments of every whole window, (16, n_features)."""
    time = then["time"].to_physical().to_numpy()
    if not len(time):
        return
    sums = np.zeros((len(time) + 1, *made.rows.shape), dtype=np.int32)
    one = np.eye(made.rows.shape[1], dtype=np.int32)
    np.cumsum(one[made.bins(then.select(made.columns).to_numpy())], axis=0, out=sums[1:])
    step = window // timedelta(microseconds=1)
    ends = np.arange(time[0] + step, time[-1] + 2, step / 16)
    found = made.psi(sums[np.searchsorted(time, ends)] - sums[np.searchsorted(time, ends - step)])
    for start in range(0, len(found) - 15, 16):
        yield found[start : start + 16]


def _tail_quantile(maxima: np.ndarray, chance: float) -> float:
    """Return what a maximum exceeds with the probability `chance`, by Weissman."""
    ordered, n = np.sort(maxima)[::-1], len(maxima)
    k = min(max(math.ceil(_TAIL * n), _FEWEST), n - 1)
    if chance >= k / n:
        return float(np.quantile(maxima, 1 - min(chance, 1.0)))
    index, far = float(np.log(ordered[:k] / ordered[k]).mean()), math.log(k / (n * chance))
    return float(ordered[k] * math.exp(index * far * (1 + 1 / math.sqrt(k))))
