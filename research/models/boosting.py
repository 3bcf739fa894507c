"""LightGBM regression behind the one contract: small trees, one thread, the same bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from research.errors import UserError
from research.models import contract

if TYPE_CHECKING:
    import lightgbm as lgb

FILE = "model.txt"
PARAMS: dict[str, Any] = {
    "rounds": 200,
    "early_stopping": 30,
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 500,
    "feature_fraction": 0.8,
    "threads": 1,
}
CONTINUES = True
"""Rounds can be added to a stored model."""

_NAME = "lightgbm"
_FIXED = {
    "objective": "regression",
    "metric": "None",  # the rank IC below is the only judge
    "verbosity": -1,
    "deterministic": True,
    # each column's histogram is then summed by one thread, in row order: same sums, any threads
    "force_col_wise": True,
}


@dataclass(frozen=True)
class Trees:
    """A boosted ensemble as LightGBM's own text."""

    text: str
    file: str = field(default=FILE, init=False)

    @cached_property
    def booster(self) -> lgb.Booster:
        """The ensemble that LightGBM read from the text."""
        import lightgbm as lgb

        return lgb.Booster(model_str=self.text)

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Sum the leaves that each row falls into; one thread, so that none spins for a core."""
        if not len(values):
            return np.empty(0)
        return np.asarray(self.booster.predict(values, num_threads=1))

    def importance(self) -> np.ndarray:
        """Gain: how much splits on each column lowered the squared error, summed."""
        return np.asarray(self.booster.feature_importance("gain"), dtype=np.float64)


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
        Of the draw of columns per tree.
    params : dict
        Any of `PARAMS`; the others as there.
    start_from : Model, optional
        Add `rounds` to this ensemble instead of starting anew.

    Returns
    -------
    Model
        `best_iteration` in the card counts the trees kept.

    Raises
    ------
    UserError
        If a setting is unknown, a value is not known, or columns differ from `start_from`.

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
    columns = _plain(list(X.columns))
    values, y = contract.training(X, y, weight, _NAME)
    if start_from is not None:
        contract.same_columns(columns, start_from.card["columns"], f"model {start_from.id}")
    data = lgb.Dataset(values, y, weight=weight, feature_name=columns)
    booster = _train(data, early, seed=seed, chosen=chosen, start_from=start_from)
    best = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
    card = {
        "learner": _NAME,
        "columns": columns,
        "params": chosen,
        "seed": seed,
        "rows": len(y),
        "best_iteration": best,
        "versions": versions(),
    }
    return contract.Model(card, Trees(booster.model_to_string(num_iteration=best)))


def versions() -> dict[str, str]:
    """Return the library whose version decides the model's bytes."""
    import lightgbm as lgb

    return {"lightgbm": lgb.__version__}


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank from 0, ties by their mean rank; shape (n,) in and out.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [1.5, 0.0, 1.5]
    """
    order = np.argsort(values)
    ordered = values[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    count = np.diff(np.r_[first, len(values)])
    found = np.empty(len(values))
    found[order] = np.repeat(first + (count - 1) / 2, count)
    return found


def rank_ic(forecast: np.ndarray, y: np.ndarray) -> float:
    """Spearman correlation of forecast and outcome; 0 where one of them is constant.

    >>> rank_ic(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3]))
    1.0
    """
    return _correlation(ranks(forecast), ranks(y))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def _train(
    data: lgb.Dataset,
    early: tuple[Any, np.ndarray] | None,
    *,
    seed: int,
    chosen: dict[str, Any],
    start_from: contract.Model | None,
) -> lgb.Booster:
    import lightgbm as lgb

    tuned = {k: v for k, v in chosen.items() if k not in ("rounds", "early_stopping", "threads")}
    judged: dict[str, Any] = {}
    if early is not None and chosen["early_stopping"]:
        values, y = contract.training(early[0], early[1], None, f"{_NAME}, early rows")
        judge = ranks(y)  # once: the outcome's ranks are the same in every round
        judged = {
            "valid_sets": [lgb.Dataset(values, y, reference=data)],
            "feval": lambda forecast, _: ("ic", _correlation(ranks(forecast), judge), True),
            "callbacks": [lgb.early_stopping(chosen["early_stopping"], verbose=False)],
        }
    return lgb.train(
        {**_FIXED, **tuned, "num_threads": chosen["threads"], "seed": seed},
        data,
        chosen["rounds"],
        init_model=start_from.core.booster if start_from is not None else None,  # type: ignore[attr-defined]
        keep_training_booster=True,  # else it writes and reads its text once more than needed
        **judged,
    )


def _plain(columns: list[str]) -> list[str]:
    for column in columns:
        if not re.fullmatch(r"[\w.+-]+", column, re.ASCII):
            raise UserError(
                f"{_NAME}: column names must be letters, digits and _ . + -, found {column!r}. "
                "Rename the feature."
            )
    return columns
