r"""Probabilities of three classes: from margins, checked classes, calibration, log loss.

Classes are -1, 0, 1 (down, flat, up) outside and 0, 1, 2 inside; columns are in the order of
`schema.CLASSES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from research import schema
from research.errors import UserError
from research.models import contract

_WORDS = {value: name.removeprefix("p_") for name, value in schema.CLASSES.items()}
_LEAST = 0.05
"""Least stretch of the margins: one of 0 or less would make all rows alike or turn them round."""


class Calibration(NamedTuple):
    """Stretch of all margins (one over the temperature) and shift of each class's."""

    stretch: float
    down: float
    flat: float
    up: float

    @classmethod
    def of(cls, numbers: Sequence[float] | None) -> Calibration | None:
        """Read what `numbers` gave."""
        return None if numbers is None else cls(*numbers)

    @property
    def numbers(self) -> list[float]:
        """All four, for a model's text."""
        return [float(value) for value in self]


def classes(y: np.ndarray, name: str) -> np.ndarray:
    """Return classes -1, 0, 1 as 0, 1, 2 for a fit.

    Raises
    ------
    UserError
        If another value is among them, or all rows are of one class.
    """
    strange = ~np.isin(y, tuple(_WORDS))
    if strange.any():
        raise UserError(
            f"{name}: y must be the class -1, 0 or 1, found {y[strange][0]:g}. "
            "Labels of kind direction or barrier have it."
        )
    if (y == y[0]).all():
        only = int(y[0])
        missing = " and ".join(word for value, word in _WORDS.items() if value != only)
        raise UserError(
            f"{name}: training rows must be of two classes at least, found {_WORDS[only]} in all "
            f"{len(y):,} and no {missing}. Move labels.threshold or lengthen validation.train."
        )
    return (y + 1).astype(np.int64)


def early(rows: tuple[Any, np.ndarray] | None, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the values and the classes (0, 1, 2) of early rows; they may be of one class."""
    if rows is None:
        return None
    values, y = contract.training(*rows, None, f"{name}, early rows")
    if not np.isin(y, tuple(_WORDS)).all():
        raise UserError(f"{name}, early rows: y must be the class -1, 0 or 1.")
    return values, (y + 1).astype(np.int64)


def softmax(margins: np.ndarray) -> np.ndarray:
    """Turn margins into probabilities, row by row; shape (n_rows, 3) in and out.

    >>> softmax(np.log([[1.0, 2.0, 5.0]])).round(3).tolist()
    [[0.125, 0.25, 0.625]]
    """
    odds = np.exp(margins - margins.max(axis=1, keepdims=True))
    # three columns added by name: the sums of one row are the same alone and in a batch
    return odds / (odds[:, 0] + odds[:, 1] + odds[:, 2])[:, None]


def log_loss(margins: np.ndarray, known: np.ndarray) -> float:
    """Mean of minus the log probability of the class that came true (0, 1, 2).

    >>> round(log_loss(np.log([[1.0, 1.0, 2.0]]), np.array([2])), 4)
    0.6931
    """
    top = margins.max(axis=1)
    total = np.log(np.exp(margins - top[:, None]).sum(axis=1)) + top
    return float((total - margins[np.arange(len(known)), known]).mean())


def calibrated(margins: np.ndarray, learnt: Calibration | None) -> np.ndarray:
    """Return the probabilities of margins, stretched and shifted where a calibration is given."""
    if learnt is not None:
        margins = learnt.stretch * margins + np.array([learnt.down, learnt.flat, learnt.up])
    return softmax(margins)


def calibration(margins: np.ndarray, known: np.ndarray) -> Calibration:
    r"""Fit a temperature and a shift of each class to rows the model was not fitted on.

    .. math:: \min_{a, b} \sum_i -\ln \mathrm{softmax}(a z_i + b)_{k_i}
        + \tfrac12 (a - 1)^2 + \tfrac12 |b|^2, \quad a \ge 0.05

    Parameters
    ----------
    margins : np.ndarray, shape (n_rows, 3)
        Log odds of the model, z above, before any softmax.
    known : np.ndarray of int, shape (n_rows,)
        Which class came true: 0, 1, 2.

    Returns
    -------
    Calibration
        ``a`` and the three ``b``. The log loss of these rows is never larger than without it.

    Notes
    -----
    Convex, so Newton's method finds the one optimum. The two squares weigh as one row or so: they
    choose among the shifts that differ by a constant, keep a class that did not occur from
    probability zero, and, being zero at a = 1 and b = 0, can only be paid for by a smaller loss.

    References
    ----------
    .. [1] Guo, C., Pleiss, G., Sun, Y. and Weinberger, K. (2017). On Calibration of Modern Neural
       Networks. ICML.
    """
    start = np.array([1.0, 0.0, 0.0, 0.0])
    found = _newton(margins, known, start, free=np.ones(4, dtype=bool))
    if found[0] < _LEAST:
        # convex: the optimum over a >= _LEAST lies on that edge
        found = _newton(margins, known, np.array([_LEAST, 0, 0, 0]), free=np.arange(4) > 0)
    worse = log_loss(found[0] * margins + found[1:], known) > log_loss(margins, known)
    return Calibration(*(start if worse else found).tolist())


def _newton(
    margins: np.ndarray, known: np.ndarray, at: np.ndarray, *, free: np.ndarray
) -> np.ndarray:
    came = np.eye(3)[known]
    loss = _penalised(margins, known, at)
    for _ in range(100):
        slope, curve = _slopes(margins, came, at)
        step = np.zeros(4)
        step[free] = np.linalg.solve(curve[np.ix_(free, free)], slope[free])
        size = 1.0
        while (after := _penalised(margins, known, at - size * step)) > loss and size > 1e-9:
            size /= 2
        if loss - after <= 1e-12 * abs(loss):
            break
        at, loss = at - size * step, after
    return at


def _penalised(margins: np.ndarray, known: np.ndarray, at: np.ndarray) -> float:
    fit = len(known) * log_loss(at[0] * margins + at[1:], known)
    return fit + ((at - (1, 0, 0, 0)) ** 2).sum() / 2


def _slopes(margins: np.ndarray, came: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivatives of the penalised loss by a, b_down, b_flat, b_up."""
    p = softmax(at[0] * margins + at[1:])
    # how each margin moves with each of the four numbers: (n_rows, 3 classes, 4)
    moves = np.concatenate(
        [margins[:, :, None], np.broadcast_to(np.eye(3), (len(p), 3, 3))], axis=2
    )
    mean = np.einsum("nk,nkj->nj", p, moves)
    slope = np.einsum("nk,nkj->j", p - came, moves) + at - (1, 0, 0, 0)
    spread = moves - mean[:, None, :]
    curve = np.einsum("nk,nki,nkj->ij", p, spread, spread) + np.eye(4)
    return slope, curve
