"""One file per learner, one contract: ``fit(X, y, ...) -> Model``, ``model.predict(X)``."""

from research.models.contract import Model
from research.models.explain import (
    importance,
    importance_across,
    permutation_importance,
    shap_values,
)
from research.models.gates import gate_summary
from research.models.learners import LEARNERS, is_rule, learner, load, settings
from research.models.oos import (
    ALL,
    Made,
    Said,
    forecast_rows,
    forecast_table,
    fresh,
    newest,
    out_of_sample,
    shares,
    standing,
    stored,
)
from research.models.own import source as own_source
from research.models.rank import rank_ic
from research.models.registry import Registry

__all__ = [
    "ALL",
    "LEARNERS",
    "Made",
    "Model",
    "Registry",
    "Said",
    "forecast_rows",
    "forecast_table",
    "fresh",
    "gate_summary",
    "importance",
    "importance_across",
    "is_rule",
    "learner",
    "load",
    "newest",
    "out_of_sample",
    "own_source",
    "permutation_importance",
    "rank_ic",
    "settings",
    "shap_values",
    "shares",
    "standing",
    "stored",
]
