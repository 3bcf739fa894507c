"""The learners by name, and the way back from a stored model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl

from research.errors import UserError, nearest
from research.models import boosting, contract, linear

LEARNERS: dict[str, ModuleType] = {"ridge": linear, "lightgbm": boosting}
FITTERS = {name: module.fit for name, module in LEARNERS.items()}
"""``fit(X, y, *, weight, early, seed, params, start_from) -> Model`` of each learner."""

_CORES: dict[str, tuple[str, Callable[[str], contract.Core]]] = {
    "ridge": (linear.FILE, linear.Weights),
    "lightgbm": (boosting.FILE, boosting.Trees),
}


def learner(name: str) -> ModuleType:
    """Return the module of the learner called `name`, or a UserError that names the nearest."""
    if name not in LEARNERS:
        raise UserError(
            f"models: no learner {name!r}.{nearest(name, list(LEARNERS))} "
            f"Here: {', '.join(LEARNERS)}."
        )
    return LEARNERS[name]


def settings(name: str, params: dict[str, Any], *, threads: int = 1) -> dict[str, Any]:
    """Pick from the settings of a whole study those that the learner `name` reads.

    Parameters
    ----------
    name : str
        A learner.
    params : dict
        May hold settings of other learners; what no learner reads is refused.
    threads : int
        For learners that use more than one.

    Returns
    -------
    dict
        Every setting of the learner, defaults included.

    Raises
    ------
    UserError
        If a setting is unknown to all learners.

    Examples
    --------
    >>> settings("ridge", {"alpha": 2.0, "rounds": 50})
    {'alpha': 2.0}
    """
    known = {key: None for module in LEARNERS.values() for key in module.PARAMS}
    contract.settings(params, known, "models")
    defaults = learner(name).PARAMS
    chosen = {key: params.get(key, value) for key, value in defaults.items()}
    return chosen | ({"threads": threads} if "threads" in defaults else {})


def load(folder: Path) -> contract.Model:
    """Read the model that `Model.save` wrote to `folder`, checked against its card.

    Raises
    ------
    UserError
        If there is no model, or a byte of it has changed.
    """
    return contract.read(Path(folder), _CORES)


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
        uses nothing). Gain for trees, size of the standardised coefficient for ridge.

    Examples
    --------
    >>> import numpy as np
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
