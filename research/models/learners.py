"""The learners by name, and the way back from a stored model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from research.errors import UserError, nearest
from research.models import bagging, boosting, contract, linear, logistic, own, rule, xgb
from research.models.boosting import classes as lightgbm_classes
from research.models.boosting import quantiles as lightgbm_quantiles
from research.models.xgb import classes as xgboost_classes

LEARNERS: dict[str, contract.Learner] = {
    "ridge": linear,
    "lightgbm": boosting,
    "xgboost": xgb,
    "logistic": logistic,
    "lightgbm_classes": lightgbm_classes,
    "xgboost_classes": xgboost_classes,
    "lightgbm_quantiles": lightgbm_quantiles,
    **{name: rule.Rule(name) for name in rule.NAMES},
}


def learner(name: str, *, folder: Path | None = None) -> contract.Learner:
    """Return the learner called `name`.

    Parameters
    ----------
    name : str
        One of `LEARNERS`, or a user's own as ``module:name``; with ``bagged_`` before it, that
        learner in bags.
    folder : Path, optional
        Where a user's own files lie; absent: ``studies/`` of the project.

    Returns
    -------
    Learner
        ``PARAMS, CONTINUES, CLASSES, FILE, fit, versions, read``.

    Raises
    ------
    UserError
        If there is none; the message names the nearest.
    """
    if name.startswith(bagging.PREFIX):
        return _bagged(name, folder)
    if ":" in name:
        return own.find(name, folder=folder)
    if name not in LEARNERS:
        raise UserError(
            f"models: no learner {name!r}.{nearest(name, list(LEARNERS))} "
            f"Here: {', '.join(LEARNERS)}; or your own as module:name."
        )
    return LEARNERS[name]


def _bagged(name: str, folder: Path | None) -> bagging.Bagged:
    base = learner(name.removeprefix(bagging.PREFIX), folder=folder)
    if isinstance(base, (rule.Rule, bagging.Bagged)):
        raise UserError(
            f"models: {name!r}: bags need a learner that learns from rows, and only once; "
            f"{base.name} does not. Name one as in 'bagged_lightgbm'."
        )
    return bagging.Bagged(name, base)


def is_rule(name: str, *, folder: Path | None = None) -> bool:
    """Tell whether the learner `name` is a rule: one column called like it, nothing learnt.

    >>> is_rule("trend"), is_rule("ridge")
    (True, False)
    """
    return isinstance(learner(name, folder=folder), rule.Rule)


def settings(
    name: str, params: dict[str, Any], *, threads: int = 1, folder: Path | None = None
) -> dict[str, Any]:
    """Pick from the settings of a whole study those that the learner `name` reads.

    Parameters
    ----------
    name : str
        A learner.
    params : dict
        May hold settings of other learners; what no learner reads is refused.
    threads : int
        For learners that use more than one.
    folder : Path, optional
        Where a user's own files lie.

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
    known = {key: None for each in LEARNERS.values() for key in each.PARAMS} | {"bags": None}
    contract.settings(params, known, "models")
    defaults = learner(name, folder=folder).PARAMS
    chosen = {key: params.get(key, value) for key, value in defaults.items()}
    return chosen | ({"threads": threads} if "threads" in defaults else {})


def load(place: Path, *, folder: Path | None = None) -> contract.Model:
    """Read the model that `Model.save` wrote to `place`, checked against its card.

    Parameters
    ----------
    place : Path
        The model's folder.
    folder : Path, optional
        Where a user's own files lie.

    Raises
    ------
    UserError
        If there is no model, or a byte of it has changed.
    """
    return contract.read(Path(place), partial(learner, folder=folder))
