"""What a model looks at: gain, SHAP values, and what is lost when a column is shuffled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError, nearest
from research.models import contract


def importance(model: contract.Model) -> pl.DataFrame:
    """Tell how much each column matters to a model.

    Parameters
    ----------
    model : Model
        Of any learner.

    Returns
    -------
    pl.DataFrame, shape (n_columns, 2)
        ``feature, importance``, the largest first; shares that sum to 1 (all 0 for a model that
        uses nothing, or a user's own that does not say). Gain for trees, size of the standardised
        coefficient for linear models.

    Examples
    --------
    >>> from research.models import linear
    >>> X = pl.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 1.0, 1.0, 1.0]})
    >>> model = linear.fit(X, np.array([1.0, 3.0, 5.0, 7.0]), seed=1, params={})
    >>> importance(model).rows()
    [('a', 1.0), ('b', 0.0)]
    """
    weights = model.core.importance()
    total = weights.sum()
    shares = weights / total if total > 0 else weights
    table = pl.DataFrame({"feature": model.card["columns"], "importance": shares})
    return table.sort("importance", descending=True, maintain_order=True)


def importance_across(models: Sequence[contract.Model]) -> pl.DataFrame:
    """Tell how much each column matters over many models, and how that varies.

    Parameters
    ----------
    models : sequence of Model
        Such as one per fold; all of the same columns.

    Returns
    -------
    pl.DataFrame, shape (n_columns, 6)
        ``feature, mean, sd, min, max, folds`` of the shares of `importance`, the largest mean
        first; `sd` is null for one model, `folds` how many there were.

    Raises
    ------
    UserError
        If there is no model, or columns differ.

    Examples
    --------
    >>> from research.models import linear
    >>> X = pl.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
    >>> model = linear.fit(X, np.array([1.0, 3.0, 5.0, 7.0]), seed=1, params={})
    >>> importance_across([model, model]).rows()
    [('a', 1.0, 0.0, 1.0, 1.0, 2)]
    """
    if not models:
        raise UserError("importance_across: needs one model at least, found none.")
    columns = models[0].card["columns"]
    for model in models:
        contract.same_columns(model.card["columns"], columns, f"model {model.id}")
    share = pl.col("importance")
    table = pl.concat([importance(model) for model in models])
    spread = table.group_by("feature", maintain_order=True).agg(
        share.mean().alias("mean"),
        share.std().alias("sd"),
        share.min().alias("min"),
        share.max().alias("max"),
        share.len().cast(pl.Int64).alias("folds"),
    )
    return spread.sort(["mean", "feature"], descending=[True, False])


def shap_values(model: contract.Model, X: Any, *, output: str | None = None) -> pl.DataFrame:
    r"""Share each row's forecast out among the columns (Shapley values).

    Parameters
    ----------
    model : Model
        Trees, linear or a rule.
    X : pl.DataFrame or pd.DataFrame, shape (n_rows, n_columns)
        Exactly the model's columns.
    output : str, optional
        Of a model with several: ``"p_up"`` for the margin of that class, ``"q_90"`` for that
        quantile. Absent: of classes the margin of up less that of down,
        :math:`\ln(p_{up} / p_{down})`; of quantiles the one that is the forecast.

    Returns
    -------
    pl.DataFrame, shape (n_rows, n_columns + 1)
        One column per feature, then ``base``; each row adds up to what is explained. Units of the
        target; of classes, log odds before any calibration.

    Raises
    ------
    UserError
        If columns differ, there is no such output, or the model is a user's own.

    Notes
    -----
    LightGBM's and XGBoost's own TreeSHAP (the base is the mean over training rows as the trees
    saw them; XGBoost adds in single precision). Linear: coefficient times distance from the
    training mean, exact where columns are independent. Quantiles: before crossed rows are sorted.

    References
    ----------
    .. [1] Lundberg, S. et al. (2020). From Local Explanations to Global Understanding with
       Explainable AI for Trees. Nature Machine Intelligence 2.

    Examples
    --------
    >>> from research.models import linear
    >>> X = pl.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
    >>> model = linear.fit(X, np.array([1.0, 3.0, 5.0, 7.0]), seed=1, params={"alpha": 0.0})
    >>> [(round(a, 9), base) for a, base in shap_values(model, X).rows()]
    [(-3.0, 4.0), (-1.0, 4.0), (1.0, 4.0), (3.0, 4.0)]
    """
    columns = model.card["columns"]
    contract.same_columns(list(X.columns), columns, f"model {model.id}")
    parts = model.core.contributions(contract.matrix(X, f"model {model.id}"))
    return pl.DataFrame(_chosen(model, parts, output), schema=[*columns, "base"], orient="row")


def _chosen(model: contract.Model, parts: np.ndarray, output: str | None) -> np.ndarray:
    names = list(model.core.outputs)
    if output is None and tuple(names) == contract.CLASSES:
        return parts[:, 2] - parts[:, 0]
    if output is None:
        return parts[:, names.index(contract.middle(names)) if names else 0]
    if output not in names:
        raise UserError(
            f"shap_values: model {model.id} has no output {output!r}.{nearest(output, names)} "
            f"Outputs: {', '.join(names) or 'none but its forecast'}."
        )
    return parts[:, names.index(output)]


def permutation_importance(
    model: contract.Model,
    X: Any,
    y: np.ndarray,
    *,
    score: Callable[[np.ndarray, np.ndarray], float],
    repeats: int = 5,
    seed: int,
) -> pl.DataFrame:
    """Tell what a model's score loses when one column is shuffled among the rows.

    Parameters
    ----------
    model : Model
        Of any learner, a user's own too.
    X : pl.DataFrame or pd.DataFrame, shape (n_rows, n_columns)
        Rows the model has not learnt from, such as its test fold.
    y : np.ndarray, shape (n_rows,)
        What came true.
    score : callable
        ``score(forecast, y) -> float``, larger is better, such as `rank_ic`.
    repeats : int
        Shuffles per column.
    seed : int
        Of the shuffles.

    Returns
    -------
    pl.DataFrame, shape (n_columns, 3)
        ``feature, loss, sd``: mean loss of score over the shuffles and its standard deviation
        (null for one), the largest first. Below zero: the column did harm on these rows.

    Raises
    ------
    UserError
        If columns differ or a value is not known.

    Notes
    -----
    Columns that say the same stand in for one another: each loses little though both matter.

    References
    ----------
    .. [1] Breiman, L. (2001). Random Forests. Machine Learning 45.
    """
    contract.same_columns(list(X.columns), model.card["columns"], f"model {model.id}")
    values = contract.matrix(X, f"model {model.id}")
    rng = np.random.default_rng(seed)

    def scored(inputs: np.ndarray) -> float:
        frame = pl.DataFrame(inputs, schema=model.card["columns"], orient="row")
        return score(model.predict(frame), y)

    whole = scored(values)
    losses = np.empty((values.shape[1], repeats))
    for column in range(values.shape[1]):
        for repeat in range(repeats):
            shuffled = values.copy()
            shuffled[:, column] = rng.permutation(values[:, column])
            losses[column, repeat] = whole - scored(shuffled)
    table = pl.DataFrame(
        {
            "feature": model.card["columns"],
            "loss": losses.mean(axis=1),
            "sd": losses.std(axis=1, ddof=1) if repeats > 1 else [None] * len(losses),
        },
        schema_overrides={"sd": pl.Float64},
    )
    return table.sort("loss", descending=True, maintain_order=True)
