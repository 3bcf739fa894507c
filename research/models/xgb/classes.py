"""XGBoost of three classes: boosted log odds, probabilities calibrated on the early rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from research.models import contract, probabilities
from research.models.boosting.trees import begun, plain
from research.models.xgb import trees

FILE = trees.FILE
PARAMS: dict[str, Any] = {**trees.PARAMS, "calibrate": True}
CONTINUES = True
"""Rounds can be added to a stored model; its calibration is then kept."""
CLASSES = True

_NAME = "xgboost_classes"
_ROW = 4 / 9
"""Curvature of the log loss in one row as XGBoost counts it, 2 p (1 - p), at p = 1/3."""


@dataclass(frozen=True)
class XClassTrees:
    """An ensemble of three trees a round, and the calibration among its attributes."""

    text: str
    file: str = FILE
    outputs: tuple[str, ...] = contract.CLASSES

    @cached_property
    def ensemble(self) -> trees.Ensemble:
        """What XGBoost reads."""
        return trees.Ensemble(self.text)

    @cached_property
    def calibration(self) -> probabilities.Calibration | None:
        """Stretch and shift of the log odds, where rows to fit them on were given."""
        return probabilities.Calibration.of(
            json.loads(self.ensemble.booster.attr("calibration") or "null")
        )

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return p_down, p_flat, p_up of each row."""
        return probabilities.calibrated(self.ensemble.margins(values, width=3), self.calibration)

    def importance(self) -> np.ndarray:
        """Gain: how much splits on each column lowered the log loss, summed over classes."""
        return self.ensemble.importance()

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """What each column adds to the raw margin of each class."""
        return self.ensemble.contributions(values, width=3)


read = XClassTrees
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
    """Fit boosted trees to the log odds of three classes (``multi:softprob``).

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
    Settings as in `xgb.fit`, but ``min_data_in_leaf`` times 4/9 is min_child_weight: what so many
    rows weigh while all classes are as likely. Rows that are all but certain weigh less, so later
    leaves hold more of them. A class without a training row gets a probability near 0.

    Examples
    --------
    >>> import polars as pl
    >>> X = pl.DataFrame({"a": np.arange(99.0)})
    >>> y = np.repeat([-1.0, 0.0, 1.0], 33)
    >>> model = fit(X, y, seed=1, params={"min_data_in_leaf": 5})
    >>> {name: values.round(1).tolist() for name, values in model.forecast(X.head(1)).items()}
    {'forecast': [-1.0], 'p_down': [1.0], 'p_flat': [0.0], 'p_up': [0.0]}
    """
    chosen = contract.settings(params, PARAMS, _NAME)
    columns = plain(list(X.columns), _NAME)
    values, y = contract.training(X, y, weight, _NAME)
    known = probabilities.classes(y, _NAME)
    core = begun(start_from, columns, _NAME)
    late = probabilities.early(early, _NAME)
    threads = chosen["threads"]
    settings = {"objective": "multi:softprob", "num_class": 3, "eval_metric": "mlogloss"}
    booster, best = trees.grow(
        trees.data(values, known, columns, weight=weight, threads=threads),
        settings | trees.native(chosen, seed=seed, row=_ROW),
        chosen,
        start_from=core and core.ensemble.booster,
        early=late and trees.data(*late, columns, threads=threads),
    )
    learnt = core.calibration if core else None
    if late and chosen["calibrate"]:
        margins = trees.Ensemble(trees.text(booster)).margins(late[0], width=3)
        learnt = probabilities.calibration(margins, late[1])
    said = {"calibration": json.dumps(learnt.numbers)} if learnt else {}
    card = contract.card(_NAME, columns, chosen, seed, len(y), best, versions())
    return contract.Model(card, XClassTrees(trees.text(booster, **said)))
