"""XGBoost's ensembles: its own JSON, what is the same for every objective, and adding rounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xgboost as xgb

FILE = "model.json"
PARAMS: dict[str, Any] = {
    "rounds": 200,
    "early_stopping": 30,
    "learning_rate": 0.05,
    "max_depth": 0,
    "min_data_in_leaf": 500,
    "subsample": 1.0,
    "feature_fraction": 0.8,
    "threads": 1,
}
DEPTH = 4
"""Of trees where a study leaves ``max_depth`` at 0: they grow by level, not by leaf."""


@dataclass(frozen=True)
class Ensemble:
    """One XGBoost model as its own JSON."""

    text: str

    @cached_property
    def booster(self) -> xgb.Booster:
        """The ensemble that XGBoost read from the text."""
        import xgboost as xgb

        booster = xgb.Booster({"nthread": 1})
        booster.load_model(bytearray(self.text.encode()))
        return booster

    def margins(self, values: np.ndarray, *, width: int = 1) -> np.ndarray:
        """Sum the leaves that each row falls into, in one thread and in single precision.

        Returns (n_rows,), or (n_rows, width) for more than one number per row.
        """
        if not len(values):
            return np.empty((0, width) if width > 1 else 0)
        found = self.booster.inplace_predict(values, predict_type="margin")
        return np.asarray(found, dtype=np.float64)

    def importance(self) -> np.ndarray:
        """Gain: how much splits on each column lowered the loss, summed."""
        gains = self.booster.get_score(importance_type="total_gain")
        return np.array([gains.get(name, 0.0) for name in self.booster.feature_names or []])

    def contributions(self, values: np.ndarray, *, width: int = 1) -> np.ndarray:
        """XGBoost's own TreeSHAP, of the margin; (n_rows, width, n_columns + 1)."""
        import xgboost as xgb

        columns = self.booster.num_features() + 1
        if not len(values):
            return np.empty((0, width, columns))
        data = xgb.DMatrix(values, feature_names=self.booster.feature_names, nthread=1)
        found = self.booster.predict(data, pred_contribs=True)
        return np.asarray(found, dtype=np.float64).reshape(len(values), width, columns)


def native(chosen: dict[str, Any], *, seed: int, row: float) -> dict[str, Any]:
    """Say a study's settings in XGBoost's words.

    `row` is the curvature of the loss in one row of weight 1: ``min_child_weight`` is a sum of
    those, ``min_data_in_leaf`` a count of rows.
    """
    return {
        "verbosity": 0,
        "tree_method": "hist",
        "disable_default_eval_metric": 1,
        "eta": chosen["learning_rate"],
        "max_depth": chosen["max_depth"] or DEPTH,
        "min_child_weight": chosen["min_data_in_leaf"] * row,
        "subsample": chosen["subsample"],
        "colsample_bytree": chosen["feature_fraction"],
        "nthread": chosen["threads"],
        "seed": seed,
    }


def data(
    values: np.ndarray,
    y: np.ndarray,
    columns: list[str],
    *,
    weight: np.ndarray | None = None,
    threads: int,
) -> xgb.DMatrix:
    """Hand rows over; weights have a mean of 1, so that a leaf's least weight means rows."""
    import xgboost as xgb

    mean_one = None if weight is None else weight / weight.mean()
    return xgb.DMatrix(values, y, weight=mean_one, feature_names=columns, nthread=threads)


def grow(
    rows: xgb.DMatrix,
    settings: dict[str, Any],
    chosen: dict[str, Any],
    *,
    start_from: xgb.Booster | None,
    early: xgb.DMatrix | None = None,
    **judged: Any,
) -> tuple[xgb.Booster, int]:
    """Train; return the trees kept and how many rounds that are.

    With `early` rows, and where ``early_stopping`` is above 0, the metric of `settings` (or
    ``custom_metric=``) stops the boosting and only the rounds up to the best are kept.
    """
    import xgboost as xgb

    stops: dict[str, Any] = {}
    if early is not None and chosen["early_stopping"]:
        stops = {"evals": [(early, "early")], "early_stopping_rounds": chosen["early_stopping"]}
        stops |= judged
    booster = xgb.train(
        settings, rows, chosen["rounds"], xgb_model=start_from, verbose_eval=False, **stops
    )
    kept = booster.best_iteration + 1 if stops else booster.num_boosted_rounds()
    return booster[:kept], kept


def text(booster: xgb.Booster, **said: str) -> str:
    """Write the model as JSON, our own numbers among its attributes."""
    booster.set_attr(**said)
    return bytes(booster.save_raw("json")).decode()


def versions() -> dict[str, str]:
    """Return the library whose version decides the model's bytes."""
    import xgboost as xgb

    return {"xgboost": xgb.__version__}
