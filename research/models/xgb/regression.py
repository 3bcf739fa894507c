"""XGBoost regression behind the one contract: trees that grow by level, one thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from research.models import contract
from research.models.boosting.trees import begun, plain
from research.models.rank import correlation, ranks
from research.models.xgb import trees

FILE = trees.FILE
PARAMS = trees.PARAMS
CONTINUES = True
"""Rounds can be added to a stored model."""
CLASSES = False

_NAME = "xgboost"


@dataclass(frozen=True)
class XTrees(trees.Ensemble):
    """An ensemble whose leaves are means of the target."""

    file: str = FILE
    outputs: tuple[str, ...] = ()

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return the expected target of each row."""
        return self.margins(values)


read = XTrees
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
    """Fit boosted trees to the mean of `y`.

    Parameters
    ----------
    X : pl.DataFrame or pd.DataFrame, shape (n_rows, n_columns)
        Every value known.
    y : np.ndarray, shape (n_rows,)
        Target, in its own unit.
    weight : np.ndarray, shape (n_rows,), optional
        Above zero; default: all alike.
    early : (X, y), optional
        Rows, later than and purged against the others, whose rank IC stops the boosting after
        ``early_stopping`` rounds without a new best; the best round's model is returned.
    seed : int
        Of the draw of columns and rows per tree.
    params : dict
        Any of `PARAMS`; the others as there.
    start_from : Model, optional
        Add `rounds` to this ensemble instead of starting anew.

    Returns
    -------
    Model
        `best_iteration` in the card counts the rounds kept.

    Raises
    ------
    UserError
        If a setting is unknown, a value is not known, `y` does not vary, or `start_from`
        is another learner's or of other columns.

    Notes
    -----
    A study's words become XGBoost's: ``learning_rate`` eta, ``feature_fraction``
    colsample_bytree, ``min_data_in_leaf`` min_child_weight (a row of weight 1 has curvature 1),
    ``max_depth`` 0 a depth of 4; ``num_leaves`` and ``boosting`` have no counterpart here.
    Same data, settings, seed and library version give the same text. Leaves are summed in
    single precision: forecasts have seven digits.

    Examples
    --------
    >>> import polars as pl
    >>> X = pl.DataFrame({"a": np.arange(100.0)})
    >>> model = fit(X, np.sign(X["a"].to_numpy() - 50), seed=1, params={"min_data_in_leaf": 10})
    >>> model.predict(X.head(1)).round(2).tolist(), model.card["best_iteration"]
    ([-1.0], 200)
    """
    chosen = contract.settings(params, PARAMS, _NAME)
    columns = plain(list(X.columns), _NAME)
    values, y = contract.training(X, y, weight, _NAME)
    contract.varied(y, _NAME)
    core = begun(start_from, columns, _NAME)
    booster, best = trees.grow(
        trees.data(values, y, columns, weight=weight, threads=chosen["threads"]),
        {"objective": "reg:squarederror"} | trees.native(chosen, seed=seed, row=1.0),
        chosen,
        start_from=core and core.booster,
        **_judged(early, columns, chosen["threads"]),
    )
    card = contract.card(_NAME, columns, chosen, seed, len(y), best, versions())
    return contract.Model(card, XTrees(trees.text(booster)))


def _judged(
    early: tuple[Any, np.ndarray] | None, columns: list[str], threads: int
) -> dict[str, Any]:
    if early is None:
        return {}
    values, y = contract.training(early[0], early[1], None, f"{_NAME}, early rows")
    known = ranks(y)  # once: the outcome's ranks are the same in every round
    return {
        "early": trees.data(values, y, columns, threads=threads),
        "custom_metric": lambda forecast, _: ("ic", correlation(ranks(forecast), known)),
        "maximize": True,
    }
