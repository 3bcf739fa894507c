"""Whether a new model may replace the one in force: the evidence, and what chance would show.

A gate looks at the newest rows of the training window, on which the candidate was not fitted. Few
rows whose outcomes overlap say little: `null_sd` tells how far the rank correlation strays when
the forecast knows nothing, and `null_pass` how often such a forecast would have passed.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import polars as pl

from research.errors import UserError, nearest
from research.models.gates.summary import gate_summary
from research.models.rank import ranks
from research.schema import TIME

__all__ = [
    "GATES",
    "Evidence",
    "Null",
    "Slice",
    "check",
    "evidence",
    "gate_summary",
    "null",
    "passes",
    "s1_sharpe",
    "shifted",
]

Name = Literal["none", "s1", "ic"]
MIN_EDGE = 0.0001
"""Expected return below which `s1_sharpe` takes no side: 1 bp."""
YEAR = 252 * 24 * 60
"""Minutes by which S1 annualises; a factor that falls out of its comparison."""

GATES: dict[str, Any] = {
    "fold": pl.String,
    "symbol": pl.String,
    "time": TIME,
    "slice_start": TIME,
    "candidate": pl.String,
    "in_force": pl.String,
    "adopted": pl.Boolean,
    "rows": pl.Int64,
    "ic": pl.Float64,
    "ic_in_force": pl.Float64,
    "rmse": pl.Float64,
    "rmse_in_force": pl.Float64,
    "sharpe": pl.Float64,
    "sharpe_in_force": pl.Float64,
    "null_sd": pl.Float64,
    "null_pass": pl.Float64,
    "stopped": pl.Boolean,
}
"""Columns of a gates table, one row per retraining.

`time`: when the decision took effect, the start of the fold's test. `slice_start`: where the judged
rows begin. `symbol`: null when one model serves all. `in_force`: the model after the decision.
`rows`: judged rows. `stopped`: the same rows also stopped the candidate's boosting. Evidence is
null where there were no rows to judge, that of the model in force also for the first model.
"""


class Slice(NamedTuple):
    """The rows a gate judges on: outcomes, and where they stand on the grid of symbols and times.

    Attributes
    ----------
    y : np.ndarray, shape (n_rows,)
        Simple returns, known at the decision.
    symbol, step : np.ndarray of int, shape (n_rows,)
        Row and column of each on the grid; `step` counts the distinct times.
    """

    y: np.ndarray
    symbol: np.ndarray
    step: np.ndarray

    def grid(self, values: np.ndarray) -> np.ndarray:
        """Lay numbers out by symbol and time, 0 where there is no row."""
        found = np.zeros((self.symbol.max() + 1, self.step.max() + 1))
        found[self.symbol, self.step] = values
        return found


class Evidence(NamedTuple):
    """What one forecast shows on a slice; each a number, or an array by shift.

    Attributes
    ----------
    ic : float
        Rank correlation of forecast and outcome.
    rmse : float
        Root of the mean squared error, a fraction.
    sharpe : float
        See `s1_sharpe`.
    """

    ic: Any
    rmse: Any
    sharpe: Any


class Null(NamedTuple):
    """What a forecast that knows nothing shows: spread of its IC, share of shifts that pass."""

    sd: float | None
    passed: float | None


def check(gate: str) -> str:
    """Return the name of a gate, or a UserError that names the nearest."""
    names = list(get_args(Name))
    if gate not in names:
        raise UserError(
            f"models: no gate {gate!r}.{nearest(gate, names)} Here: {', '.join(names)}."
        )
    return gate


def s1_sharpe(forecast: np.ndarray, y: np.ndarray) -> float:
    r"""Return the Sharpe ratio by which S1 compares models: a number for its gate alone.

    .. math:: \sqrt{252 \cdot 24 \cdot 60} \; \bar r / s_r, \quad
       r = \operatorname{sign}(f)\, y \text{ where } |f| > 1\,\mathrm{bp} \text{ and } r \ne 0

    Parameters
    ----------
    forecast, y : np.ndarray, shape (n_rows,)
        Expected and realised simple return over the horizon, fractions.

    Returns
    -------
    float
        0 with fewer than two returns, or where they do not vary.

    Notes
    -----
    Not comparable with any other Sharpe ratio: returns of h bars overlap and are taken for
    one-minute returns, rows without a side are dropped, the year has 252 days and nothing is
    charged. S1 compared forecasts in percent with a threshold in fractions; here both are
    fractions.

    Examples
    --------
    >>> f, y = np.array([0.001, -0.001, 0.00005]), np.array([0.003, -0.001, 0.002])
    >>> round(s1_sharpe(f, y) / YEAR**0.5, 6)  # (0.002 mean) / (0.001 deviation)
    2.0
    """
    return float(_sharpe(*_sides(forecast, y)))


def evidence(forecast: np.ndarray, y: np.ndarray) -> Evidence:
    """Return what a forecast shows on rows it was not fitted on.

    Parameters
    ----------
    forecast, y : np.ndarray, shape (n_rows,)
        Expected and realised simple return, fractions; at least one row.

    Returns
    -------
    Evidence
        IC is 0 where one of the two is constant.

    """
    rank, judge = _centred(forecast), _centred(y)
    scale = math.sqrt((rank @ rank) * (judge @ judge))
    ic = float(rank @ judge) / scale if scale > 0 else 0.0
    rmse = float(np.sqrt(np.mean((forecast - y) ** 2)))
    return Evidence(ic, rmse, s1_sharpe(forecast, y))


def passes(gate: Name, candidate: Evidence, in_force: Evidence) -> Any:
    """Tell whether the candidate replaces the model in force.

    Parameters
    ----------
    gate : {"s1", "ic"}
        ``s1``: RMSE below 0.98 of the other's, or Sharpe above 1.05 of it. ``ic``: IC above 0.
    candidate, in_force : Evidence
        Of the same rows.

    Returns
    -------
    bool, or np.ndarray of bool where the candidate's evidence is by shift
        As S1's rule stands, a Sharpe a little *worse* passes where the one in force is negative.

    Notes
    -----
    The model in force was usually fitted on part of the rows that are judged, for windows
    overlap; that flatters it. A gate can so go without adopting for long: `gate_summary` says so.

    Examples
    --------
    >>> old = Evidence(ic=0.1, rmse=0.0010, sharpe=2.0)
    >>> passes("s1", Evidence(ic=-0.1, rmse=0.00097, sharpe=0.0), old)
    True
    >>> passes("ic", Evidence(ic=-0.1, rmse=0.00097, sharpe=0.0), old)
    False
    """
    if gate == "ic":
        return candidate.ic > 0
    return (candidate.rmse < 0.98 * in_force.rmse) | (candidate.sharpe > 1.05 * in_force.sharpe)


def null(
    gate: Name, forecast: np.ndarray, judged: Slice, in_force: Evidence | None, *, horizon: int
) -> Null:
    """Slide the forecast around the slice: what the gate sees of one that knows nothing.

    Parameters
    ----------
    gate : {"s1", "ic"}
        Whose rule is asked at each shift.
    forecast : np.ndarray, shape (n_rows,)
        The candidate's.
    judged : Slice
        The rows.
    in_force : Evidence or None
        Of the model that the candidate must beat, unshifted.
    horizon : int
        Least shift in bars; outcomes nearer than that overlap.

    Returns
    -------
    Null
        Standard deviation of the IC over all circular shifts by at least `horizon`, and the share
        of them that the gate would let pass; null on a slice shorter than two horizons, the share
        also where ``s1`` has nothing to compare with.

    Notes
    -----
    Shifting all symbols by the same time keeps how forecasts and outcomes hang together in time
    and across symbols, so the spread is that of correlated data: about 0.13 on 576 minutes with
    slow forecasts of ten-minute returns, where 576 rows of their own would give 0.04.
    """
    shown = shifted(forecast, judged)
    far = slice(horizon, len(shown.ic) - horizon + 1)
    some = Evidence(*(np.asarray(values)[far] for values in shown))
    if not len(some.ic):
        return Null(None, None)
    if in_force is None and gate == "s1":
        return Null(float(some.ic.std()), None)
    passed = passes(gate, some, in_force if in_force is not None else some)
    return Null(float(some.ic.std()), float(np.mean(passed)))


def shifted(forecast: np.ndarray, judged: Slice) -> Evidence:
    """Return the evidence at every circular shift of the forecast in time, by FFT.

    Parameters
    ----------
    forecast : np.ndarray, shape (n_rows,)
        At the rows of `judged`.
    judged : Slice
        The rows.

    Returns
    -------
    Evidence
        Of arrays of shape (n_times,); entry k has each forecast moved k times later, the last ones
        to the front. Where a symbol misses times, only the pairs that meet count, with the ranks
        they have among all rows.

    Examples
    --------
    >>> f, y = np.array([1.0, 2.0, 4.0]), np.array([4.0, 1.0, 2.0])
    >>> rows = Slice(y, np.zeros(3, dtype=int), np.arange(3))
    >>> shifted(f, rows).rmse.round(6).tolist()  # one later, the forecast is the outcome
    [2.160247, 0.0, 2.160247]
    """
    y, one = judged.y, np.ones(len(judged.y))
    met = np.rint(_slide(judged, one, one))
    errors = _slide(judged, forecast**2, one) + _slide(judged, one, y**2)
    errors = errors - 2 * _slide(judged, forecast, y)
    rmse = np.sqrt(np.maximum(errors, 0) / np.maximum(met, 1))
    return Evidence(_shifted_ic(judged, forecast, met), rmse, _shifted_sharpe(judged, forecast))


def _centred(values: np.ndarray) -> np.ndarray:
    return ranks(values) - (len(values) - 1) / 2


def _sides(forecast: np.ndarray, y: np.ndarray) -> tuple[Any, Any, int]:
    """Sum, sum of squares and number of the returns of the side that a forecast takes."""
    taken = np.where(np.abs(forecast) > MIN_EDGE, np.sign(forecast) * y, 0.0)
    return taken.sum(), taken @ taken, int(np.count_nonzero(taken))


def _sharpe(total: Any, squares: Any, count: Any) -> Any:
    """Sharpe ratio of returns from their sums; numbers or arrays, 0 where it has no meaning."""
    n = np.maximum(count, 1)
    mean, second = total / n, squares / n
    variance = second - mean**2
    varies = (count > 1) & (variance > 1e-12 * second)
    deviation = np.sqrt(np.where(varies, variance, 1.0))
    return np.where(varies, math.sqrt(YEAR) * mean / deviation, 0.0)


def _shifted_ic(judged: Slice, forecast: np.ndarray, met: np.ndarray) -> np.ndarray:
    one, rank, judge = np.ones(len(forecast)), _centred(forecast), _centred(judged.y)
    a, b = _slide(judged, rank, one), _slide(judged, one, judge)
    over = met * _slide(judged, rank, judge) - a * b
    left = met * _slide(judged, rank**2, one) - a**2
    right = met * _slide(judged, one, judge**2) - b**2
    known = np.minimum(left, right) > 1e-9 * len(rank)
    return np.where(known, over / np.sqrt(np.where(known, left * right, 1.0)), 0.0)


def _shifted_sharpe(judged: Slice, forecast: np.ndarray) -> np.ndarray:
    side = np.where(np.abs(forecast) > MIN_EDGE, np.sign(forecast), 0.0)
    count = np.rint(_slide(judged, np.abs(side), judged.y != 0))
    total = _slide(judged, side, judged.y)
    return np.asarray(_sharpe(total, _slide(judged, np.abs(side), judged.y**2), count))


def _slide(judged: Slice, moved: np.ndarray, still: np.ndarray) -> np.ndarray:
    """Sum ``moved[t - k] * still[t]`` over rows, for every circular shift k; shape (n_times,)."""
    there, here = judged.grid(moved), judged.grid(still)
    both = np.conj(np.fft.rfft(there)) * np.fft.rfft(here)
    return np.asarray(np.fft.irfft(both.sum(axis=0), n=there.shape[1]))
