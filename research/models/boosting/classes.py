"""LightGBM of three classes: boosted log odds, probabilities calibrated on the early rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from research.models import contract, probabilities
from research.models.boosting import trees

FILE = trees.FILE
PARAMS: dict[str, Any] = {**trees.PARAMS, "calibrate": True}
CONTINUES = True
"""Rounds can be added to a stored model; its calibration is then kept."""
CLASSES = True

_NAME = "lightgbm_classes"


@dataclass(frozen=True)
class ClassTrees:
    """An ensemble of three trees a round, and the calibration in the head of its text."""

    text: str
    file: str = FILE
    outputs: tuple[str, ...] = contract.CLASSES

    @cached_property
    def ensemble(self) -> trees.Ensemble:
        """What LightGBM reads."""
        return trees.Ensemble(self.text)

    @cached_property
    def calibration(self) -> probabilities.Calibration | None:
        """Stretch and shift of the log odds, where rows to fit them on were given."""
        return probabilities.Calibration.of(self.ensemble.said.get("calibration"))

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return p_down, p_flat, p_up of each row."""
        return probabilities.calibrated(
            self.ensemble.predict(values, width=3, raw=True), self.calibration
        )

    def importance(self) -> np.ndarray:
        """Gain: how much splits on each column lowered the log loss, summed over classes."""
        return self.ensemble.importance()

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """What each column adds to the raw margin of each class."""
        return self.ensemble.contributions(values, width=3)


read = ClassTrees
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
    """Fit boosted trees to the log odds of three classes.

    Parameters
    ----------
    X : pl.DataFrame or pd.DataFrame, shape (n_rows, n_columns)
        Every value known.
    y : np.ndarray, shape (n_rows,)
        Class: -1, 0 or 1.
    weight : np.ndarray, shape (n_rows,), optional
        Above zero; default: all alike.
    early : (X, y), optional
        Rows, later than and purged against the others, whose log loss stops the boosting after
        ``early_stopping`` rounds without a new best; the best round's model is
        returned, its probabilities calibrated on these rows where ``calibrate`` says so.
    seed : int
        Of the draw of columns and rows per tree.
    params : dict
        Any of `PARAMS`; the others as there.
    start_from : Model, optional
        Add `rounds` to this ensemble, whose calibration stays instead of starting anew.

    Returns
    -------
    Model
        `best_iteration` in the card counts the rounds kept, of three trees each.

    Raises
    ------
    UserError
        If a setting is unknown, a value is not known, `y` holds another value or one class alone,
        or `start_from` is another learner's or of other columns.

    Notes
    -----
    A class without a training row gets a probability near 0 (below 1e-6).

    Examples
    --------
    >>> import polars as pl
    >>> X = pl.DataFrame({"a": np.arange(99.0)})
    >>> y = np.repeat([-1.0, 0.0, 1.0], 33)
    >>> model = fit(X, y, seed=1, params={"min_data_in_leaf": 10})
    >>> {name: values.round(1).tolist() for name, values in model.forecast(X.head(1)).items()}
    {'forecast': [-1.0], 'p_down': [1.0], 'p_flat': [0.0], 'p_up': [0.0]}
    """
    import lightgbm as lgb

    chosen = contract.settings(params, PARAMS, _NAME)
    columns = trees.plain(list(X.columns), _NAME)
    values, y = contract.training(X, y, weight, _NAME)
    known = probabilities.classes(y, _NAME)
    core = trees.begun(start_from, columns, _NAME)
    settings = {"objective": "multiclass", "num_class": 3, "metric": "multi_logloss"}
    data = lgb.Dataset(values, known, weight=weight, feature_name=columns)
    late = probabilities.early(early, _NAME)
    text, best = trees.grow(
        data,
        settings | trees.native(chosen, seed=seed, name=_NAME),
        chosen,
        start_from=core and core.ensemble.booster,
        early=late and lgb.Dataset(*late, reference=data),
    )
    learnt = core.calibration if core else None
    if late and chosen["calibrate"]:
        raw = trees.Ensemble(text).predict(late[0], width=3, raw=True)
        learnt = probabilities.calibration(raw, late[1])
    if learnt is not None:
        text = trees.marked(text, calibration=learnt.numbers)
    card = contract.card(_NAME, columns, chosen, seed, len(y), best, versions())
    return contract.Model(card, ClassTrees(text))
