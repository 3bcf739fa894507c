"""LightGBM of quantiles: one ensemble each, in one file; sorted in each row, never crossing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from research.errors import UserError
from research.models import contract
from research.models.boosting import trees

FILE = trees.FILE
PARAMS: dict[str, Any] = {**trees.PARAMS, "quantiles": [0.1, 0.5, 0.9]}
CONTINUES = True
"""Rounds can be added to each ensemble of a stored model."""
CLASSES = False

_NAME = "lightgbm_quantiles"


@dataclass(frozen=True)
class QuantileTrees:
    """Ensembles one after the other, each naming its quantile in the head of its text."""

    text: str
    file: str = FILE

    @cached_property
    def ensembles(self) -> tuple[trees.Ensemble, ...]:
        """One per quantile, the lowest first."""
        return tuple(trees.Ensemble(part) for part in re.split(r"(?m)^(?=tree$)", self.text)[1:])

    @property
    def outputs(self) -> tuple[str, ...]:
        """Name each quantile by percent."""
        return tuple(f"q_{100 * part.said['quantile']:g}" for part in self.ensembles)

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return the quantiles of each row, put in order: ensembles fitted apart may cross.

        Sorting a crossed row brings each quantile nearer to the true one (Chernozhukov,
        Fernandez-Val and Galichon, 2010, Econometrica 78(3)).
        """
        return np.sort(np.column_stack([part.predict(values) for part in self.ensembles]), axis=1)

    def importance(self) -> np.ndarray:
        """Share of each ensemble's gain, summed: their losses differ in size."""
        gains = np.array([part.importance() for part in self.ensembles])
        total = gains.sum(axis=1, keepdims=True)
        return (gains / np.where(total > 0, total, 1)).sum(axis=0)

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """What each column adds to each quantile, before crossed rows are sorted."""
        return np.concatenate([part.contributions(values) for part in self.ensembles], axis=1)


read = QuantileTrees
versions = trees.versions


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
    r"""Fit boosted trees to quantiles of `y`, one ensemble for each of ``quantiles``.

    .. math:: \min_f \sum_i w_i \max(\tau (y_i - f(x_i)), (\tau - 1)(y_i - f(x_i)))

    Parameters
    ----------
    X : pl.DataFrame or pd.DataFrame, shape (n_rows, n_columns)
        Every value known.
    y : np.ndarray, shape (n_rows,)
        Target, in its own unit.
    weight : np.ndarray, shape (n_rows,), optional
        Above zero; default: all alike.
    early : (X, y), optional
        Rows, later than and purged against the others, whose pinball loss (above) stops each
        ensemble after ``early_stopping`` rounds without a new best; it keeps its best round.
    seed : int
        Of the draw of columns and rows per tree.
    params : dict
        Any of `PARAMS`; the others as there.
    start_from : Model, optional
        Add `rounds` to this model's ensembles instead of starting anew.

    Returns
    -------
    Model
        `best_iteration` in the card counts the rounds kept, one number per quantile. Its
        `forecast` is the quantile nearest to one half.

    Raises
    ------
    UserError
        If a setting is unknown, a value is not known, `y` does not vary, ``quantiles`` are doubled
        or not between 0 and 1, or `start_from` is another learner's, of other columns or quantiles.

    Examples
    --------
    >>> import polars as pl
    >>> X = pl.DataFrame({"a": np.repeat([0.0, 1.0], 100)})
    >>> y = np.tile(np.arange(100.0), 2) + 100 * X["a"].to_numpy()
    >>> model = fit(X, y, seed=1, params={"min_data_in_leaf": 10, "rounds": 100})
    >>> {name: values.round().tolist() for name, values in model.forecast(X[:1]).items()}
    {'forecast': [50.0], 'q_10': [10.0], 'q_50': [50.0], 'q_90': [90.0]}
    """
    import lightgbm as lgb

    chosen = contract.settings(params, PARAMS, _NAME)
    wanted = _quantiles(chosen["quantiles"])
    columns = trees.plain(list(X.columns), _NAME)
    values, y = contract.training(X, y, weight, _NAME)
    contract.varied(y, _NAME)
    core = _begun(start_from, columns, wanted)
    data = lgb.Dataset(values, y, weight=weight, feature_name=columns, free_raw_data=False)
    late = early and contract.training(*early, None, f"{_NAME}, early rows")
    texts, best = [], []
    for k, quantile in enumerate(wanted):
        settings = {"objective": "quantile", "alpha": quantile, "metric": "quantile"}
        text, rounds = trees.grow(
            data,
            settings | trees.native(chosen, seed=seed, name=_NAME),
            chosen,
            start_from=core and core.ensembles[k].booster,
            early=late and lgb.Dataset(*late, reference=data),
        )
        texts.append(trees.marked(text, quantile=quantile))
        best.append(rounds)
    card = contract.card(_NAME, columns, chosen, seed, len(y), best, versions())
    return contract.Model(card, QuantileTrees("".join(texts)))


def _quantiles(wanted: list[float]) -> list[float]:
    if not wanted or len(set(wanted)) < len(wanted) or not all(0 < q < 1 for q in wanted):
        raise UserError(
            f"{_NAME}: quantiles must lie between 0 and 1, each once, found {list(wanted)}."
        )
    return sorted(wanted)


def _begun(start_from: contract.Model | None, columns: list[str], wanted: list[float]) -> Any:
    core = trees.begun(start_from, columns, _NAME)
    known = [part.said["quantile"] for part in core.ensembles] if core else wanted
    if known != wanted:
        raise UserError(
            f"{_NAME}: quantiles must be those of the model it adds to, {known}, found {wanted}."
        )
    return core
