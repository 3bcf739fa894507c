"""Ridge regression behind the one contract: closed form, standardised columns, the same bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from research.errors import UserError
from research.models import contract

FILE = "model.json"
PARAMS: dict[str, Any] = {"alpha": 1.0}
CONTINUES = False
"""A closed form has no rounds to add."""
CLASSES = False

_NAME = "ridge"


@dataclass(frozen=True)
class Weights:
    """Mean and coefficient of each column, and the intercept, as JSON with every digit."""

    text: str
    file: str = FILE
    outputs: tuple[str, ...] = ()

    @cached_property
    def numbers(self) -> dict[str, Any]:
        """``intercept``, and ``mean``, ``scale`` and ``coef`` with one number per column."""
        return json.loads(self.text)

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Add column after column: a BLAS product would give a row other bits in a batch."""
        numbers = self.numbers
        found = np.full(len(values), numbers["intercept"])
        columns = zip(values.T, numbers["mean"], numbers["scale"], numbers["coef"])
        for column, mean, scale, coef in columns:
            found += (column - mean) * (coef / scale)
        return found

    def importance(self) -> np.ndarray:
        """Size of each coefficient: what one standard deviation of the column moves."""
        return np.abs(np.array(self.numbers["coef"]))

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """Coefficient times distance from the training mean: exact, the base is the mean of y."""
        numbers = self.numbers
        slopes = np.array(numbers["coef"]) / np.array(numbers["scale"])
        base = np.full((len(values), 1), numbers["intercept"])
        parts = (values - np.array(numbers["mean"])) * slopes
        return np.concatenate([parts, base], axis=1)[:, None, :]


read = Weights


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
    r"""Fit a linear forecast with a penalty on large coefficients.

    .. math:: \min_\beta \sum_i w_i (y_i - \bar y - z_i \beta)^2 + \lambda |\beta|^2,
        \quad \lambda = \alpha \cdot 10^{-3} \cdot n

    with :math:`z` the columns less their mean, over their standard deviation, both of the rows
    given and sealed in the model.

    Parameters
    ----------
    X : pl.DataFrame or pd.DataFrame, shape (n_rows, n_columns)
        Every value known.
    y : np.ndarray, shape (n_rows,)
        Target, in its own unit.
    weight : np.ndarray, shape (n_rows,), optional
        Above zero, scaled here to a mean of 1; default: all alike.
    early : ignored
        There is nothing to stop.
    seed : int
        Noted in the card; nothing is drawn.
    params : dict
        ``alpha`` of at least 0, the penalty in units of 1e-3 per row; default 1.
    start_from : None
        A closed form has no rounds to add.

    Returns
    -------
    Model
        A constant column gets the coefficient 0.

    Raises
    ------
    UserError
        If a setting is unknown or negative, a value is not known, or columns repeat one another
        and `alpha` is 0.

    Notes
    -----
    Sums run in row order in one thread, outside BLAS, so the bytes do not depend on the number
    of threads.

    References
    ----------
    .. [1] Hoerl, A. E. and Kennard, R. W. (1970). Ridge Regression: Biased Estimation for
       Nonorthogonal Problems. Technometrics 12(1), 55-67.

    Examples
    --------
    >>> import polars as pl
    >>> X = pl.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
    >>> model = fit(X, np.array([1.0, 3.0, 5.0, 7.0]), seed=1, params={"alpha": 0.0})
    >>> model.predict(X).round(9).tolist()
    [1.0, 3.0, 5.0, 7.0]
    """
    chosen = contract.settings(params, PARAMS, _NAME)
    if start_from is not None:
        raise UserError(f"{_NAME}: has no rounds to add to a stored model. Train it anew.")
    if not 0 <= chosen["alpha"] < np.inf:
        raise UserError(f"{_NAME}: alpha must be at least 0, found {chosen['alpha']}.")
    values, y = contract.training(X, y, weight, _NAME)
    contract.varied(y, _NAME)
    card = contract.card(_NAME, list(X.columns), chosen, seed, len(y), None, versions())
    return contract.Model(card, Weights(_solve(values, y, weight, chosen["alpha"])))


def versions() -> dict[str, str]:
    """Return the library whose version decides the model's bytes."""
    return {"numpy": np.__version__}


def standardised(
    values: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return columns less their mean over their standard deviation, the means and the scales.

    Parameters
    ----------
    values : np.ndarray, shape (n_rows, n_columns)
        All finite.
    weight : np.ndarray, shape (n_rows,)
        With a mean of 1.

    Returns
    -------
    tuple of np.ndarray, shapes (n_columns, n_rows), (n_columns,), (n_columns,)
        A constant column is all zero and has the scale infinity.
    """
    columns = np.ascontiguousarray(values.T)
    mean = (columns * weight).mean(axis=1)
    columns = columns - mean[:, None]
    scale = np.sqrt((columns**2 * weight).mean(axis=1))
    # what rounding leaves of a constant column is not a spread
    scale = np.where(scale > 1e-12 * np.abs(mean), scale, np.inf)
    columns /= scale[:, None]
    return columns, mean, scale


def _solve(values: np.ndarray, y: np.ndarray, weight: np.ndarray | None, alpha: float) -> str:
    weight = np.ones(len(y)) if weight is None else weight / weight.mean()
    columns, mean, scale = standardised(values, weight)
    intercept = (y * weight).mean()
    # einsum with one pass over the rows calls no BLAS, whose sums depend on its threads
    square = np.einsum("ji,ki->jk", columns * weight, columns)
    cross = np.einsum("ji,i->j", columns * weight, y - intercept)
    penalty = alpha * 1e-3 * len(y)
    coef = _coefficients(square + penalty * np.eye(len(mean)), cross, np.isfinite(scale))
    numbers = {"mean": mean, "scale": np.where(np.isfinite(scale), scale, 1.0), "coef": coef}
    plain = {name: array.tolist() for name, array in numbers.items()}
    return json.dumps({"intercept": float(intercept), **plain}, indent=1) + "\n"


def _coefficients(square: np.ndarray, cross: np.ndarray, moving: np.ndarray) -> np.ndarray:
    coef = np.zeros(len(cross))
    kept = square[np.ix_(moving, moving)]
    if not moving.any():
        return coef
    if np.linalg.cond(kept) > 1e14:
        raise UserError(
            f"{_NAME}: some columns repeat one another, so alpha must be above 0 to choose."
        )
    coef[moving] = np.linalg.solve(kept, cross[moving])
    return coef
