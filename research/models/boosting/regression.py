"""LightGBM regression behind the one contract: small trees, one thread, the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from research.models import contract
from research.models.boosting import trees
from research.models.rank import correlation, ranks

FILE = trees.FILE
PARAMS = trees.PARAMS
CONTINUES = True
"""Rounds can be added to a stored model."""
CLASSES = False

_NAME = "lightgbm"


@dataclass(frozen=True)
class Trees(trees.Ensemble):
    """An ensemble whose leaves are means of the target."""

    file: str = FILE
    outputs: tuple[str, ...] = ()


read = Trees
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
    Same data, settings, seed and library version give the same text. One thread is the default:
    on a shared machine OpenMP threads spin for a core that a neighbour holds.

    Examples
    --------
    >>> import polars as pl
    >>> X = pl.DataFrame({"a": np.arange(100.0)})
    >>> model = fit(X, np.sign(X["a"].to_numpy() - 50), seed=1, params={"min_data_in_leaf": 10})
    >>> model.predict(X.head(1)).round(2).tolist(), model.card["best_iteration"]
    ([-1.0], 200)
    """
    import lightgbm as lgb

    chosen = contract.settings(params, PARAMS, _NAME)
    columns = trees.plain(list(X.columns), _NAME)
    values, y = contract.training(X, y, weight, _NAME)
    contract.varied(y, _NAME)
    core = trees.begun(start_from, columns, _NAME)
    # the rank IC of `judged` is the only judge
    settings = {"objective": "regression", "metric": "None"}
    data = lgb.Dataset(values, y, weight=weight, feature_name=columns)
    text, best = trees.grow(
        data,
        settings | trees.native(chosen, seed=seed, name=_NAME),
        chosen,
        start_from=core and core.booster,
        **_judged(data, early),
    )
    card = contract.card(_NAME, columns, chosen, seed, len(y), best, versions())
    return contract.Model(card, Trees(text))


def _judged(data: Any, early: tuple[Any, np.ndarray] | None) -> dict[str, Any]:
    import lightgbm as lgb

    if early is None:
        return {}
    values, y = contract.training(early[0], early[1], None, f"{_NAME}, early rows")
    known = ranks(y)  # once: the outcome's ranks are the same in every round
    return {
        "early": lgb.Dataset(values, y, reference=data),
        "judge": lambda forecast, _: ("ic", correlation(ranks(forecast), known), True),
    }
