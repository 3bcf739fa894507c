"""Logistic regression of three classes: ridge's companion for labels that are classes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from research.errors import UserError
from research.models import contract, probabilities
from research.models.linear import standardised

FILE = "model.json"
PARAMS: dict[str, Any] = {"alpha": 1.0, "calibrate": True}
CONTINUES = False
"""It runs to its optimum; there are no rounds to add."""
CLASSES = True

_NAME = "logistic"
_ABSENT = 30.0
"""How far the log odds of a class without a training row lie below the others': 1e-13."""


@dataclass(frozen=True)
class Logits:
    """Mean and scale of each column, three coefficients each, and intercepts, as JSON."""

    text: str
    file: str = FILE
    outputs: tuple[str, ...] = contract.CLASSES

    @cached_property
    def numbers(self) -> dict[str, Any]:
        """``intercept`` (3), ``mean``, ``scale``, ``coef`` (columns, 3) and ``calibration``."""
        return json.loads(self.text)

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return p_down, p_flat, p_up of each row."""
        calibration = probabilities.Calibration.of(self.numbers["calibration"])
        return probabilities.calibrated(margins(self.numbers, values), calibration)

    def importance(self) -> np.ndarray:
        """Spread of a column's coefficients over the classes: what a standard deviation moves."""
        coef = np.array(self.numbers["coef"])
        return coef.max(axis=1) - coef.min(axis=1)

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """Coefficient times distance from the training mean, for the margin of each class."""
        numbers = self.numbers
        z = (values - np.array(numbers["mean"])) / np.array(numbers["scale"])
        parts = z[:, None, :] * np.array(numbers["coef"]).T
        base = np.broadcast_to(np.array(numbers["intercept"])[:, None], (len(values), 3, 1))
        return np.concatenate([parts, base], axis=2)


read = Logits


def fit(
    X: Any,
    y: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    early: tuple[Any, np.ndarray] | None = None,
    seed: int,
    params: dict[str, Any],
    start_from: contract.Model | None = None,
) -> contract.Model:
    r"""Fit log odds of three classes that are linear in the columns.

    .. math:: \min_{\beta, c} \sum_i -w_i \ln \mathrm{softmax}(c + z_i \beta)_{y_i}
        + \frac{\lambda}{2} |\beta|^2, \quad \lambda = \alpha \cdot 10^{-3} \cdot n

    with :math:`z` the columns less their mean, over their standard deviation, both of the rows
    given and sealed in the model.

    Parameters
    ----------
    X : pl.DataFrame or pd.DataFrame, shape (n_rows, n_columns)
        Every value known.
    y : np.ndarray, shape (n_rows,)
        Class: -1, 0 or 1.
    weight : np.ndarray, shape (n_rows,), optional
        Above zero, scaled here to a mean of 1; default: all alike.
    early : (X, y), optional
        Rows, later than and purged against the others, on which probabilities are calibrated
        where ``calibrate`` says so.
    seed : int
        Noted in the card; nothing is drawn.
    params : dict
        ``alpha`` above 0, the penalty in units of 1e-3 per row; ``calibrate``.
    start_from : ignored
        None: a fit that runs to its optimum has no rounds to add.

    Returns
    -------
    Model
        A constant column gets no coefficient, a class without a training row a probability
        of 1e-13.

    Raises
    ------
    UserError
        If a setting is unknown, a value is not known, `y` holds another value or one class alone,
        or `start_from` is given.

    Notes
    -----
    L-BFGS on whitened columns, to a slope of 1e-9 per row. Sums run in row order in one thread,
    outside BLAS, so the bytes do not depend on the number of threads.

    Examples
    --------
    >>> import polars as pl
    >>> X = pl.DataFrame({"a": np.arange(99.0)})
    >>> model = fit(X, np.repeat([-1.0, 0.0, 1.0], 33), seed=1, params={})
    >>> model.forecast(X[::49])["p_flat"].round(2).tolist()
    [0.0, 0.98, 0.0]
    """
    chosen = contract.settings(params, PARAMS, _NAME)
    if start_from is not None:
        raise UserError(f"{_NAME}: has no rounds to add to a stored model. Train it anew.")
    if not 0 < chosen["alpha"] < np.inf:
        raise UserError(f"{_NAME}: alpha must be above 0, found {chosen['alpha']}.")
    values, y = contract.training(X, y, weight, _NAME)
    known = probabilities.classes(y, _NAME)
    numbers = _solve(values, known, weight, chosen["alpha"] * 1e-3 * len(y))
    late = probabilities.early(early, _NAME)
    learnt = None
    if late and chosen["calibrate"]:
        learnt = probabilities.calibration(margins(numbers, late[0]), late[1]).numbers
    card = contract.card(_NAME, list(X.columns), chosen, seed, len(y), None, versions())
    text = json.dumps({**numbers, "calibration": learnt}, indent=1) + "\n"
    return contract.Model(card, Logits(text))


def versions() -> dict[str, str]:
    """Return the libraries whose versions decide the model's bytes."""
    import scipy

    return {"numpy": np.__version__, "scipy": scipy.__version__}


def margins(numbers: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """Add column after column: a BLAS product would give a row other bits in a batch."""
    found = np.tile(np.array(numbers["intercept"]), (len(values), 1))
    columns = zip(values.T, numbers["mean"], numbers["scale"], numbers["coef"])
    for column, mean, scale, coef in columns:
        found += ((column - mean) / scale)[:, None] * np.array(coef)
    return found


def _solve(
    values: np.ndarray, known: np.ndarray, weight: np.ndarray | None, penalty: float
) -> dict[str, Any]:
    weight = np.ones(len(known)) if weight is None else weight / weight.mean()
    columns, mean, scale = standardised(values, weight)
    present = np.unique(known)
    came = (known[:, None] == present).astype(np.float64)
    # in columns that are nearly uncorrelated, curvature is alike in all directions
    square = np.einsum("ji,ki->jk", columns * weight, columns) + penalty * np.eye(len(columns))
    whiten = np.linalg.inv(np.linalg.cholesky(square / len(known)))
    inputs = np.einsum("jk,ki->ji", whiten, columns)
    found = _descend(inputs, came, weight, whiten, penalty / len(known))
    coef = np.zeros((len(columns), 3))
    coef[:, present] = np.einsum("kj,kc->jc", whiten, found[:-1])
    intercept = np.full(3, found[-1].min() - _ABSENT)
    intercept[present] = found[-1]
    scale = np.where(np.isfinite(scale), scale, 1.0)
    numbers = {"intercept": intercept, "mean": mean, "scale": scale, "coef": coef}
    return {name: array.tolist() for name, array in numbers.items()}


def _descend(
    inputs: np.ndarray, came: np.ndarray, weight: np.ndarray, whiten: np.ndarray, penalty: float
) -> np.ndarray:
    """Return coefficients of whitened columns and, last, intercepts; (n_columns + 1, classes)."""
    from scipy.optimize import minimize

    shape = (len(inputs) + 1, came.shape[1])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        at = flat.reshape(shape)
        z = np.einsum("ji,jc->ic", inputs, at[:-1]) + at[-1]
        z -= z.max(axis=1, keepdims=True)
        total = np.log(np.exp(z).sum(axis=1))
        miss = (np.exp(z - total[:, None]) - came) * weight[:, None] / len(came)
        coef = np.einsum("kj,kc->jc", whiten, at[:-1])
        value = ((total - (z * came).sum(axis=1)) * weight).mean() + penalty * (coef**2).sum() / 2
        slope = np.einsum("ji,ic->jc", inputs, miss) + penalty * np.einsum(
            "kj,jc->kc", whiten, coef
        )
        return float(value), np.vstack([slope, miss.sum(axis=0)]).ravel()

    start = np.zeros(shape)
    start[-1] = np.log((came * weight[:, None]).mean(axis=0))
    options = {"maxiter": 1000, "maxcor": 20, "ftol": 0.0, "gtol": 1e-9}
    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(shape)
