"""LightGBM's ensembles: its own text, what is the same for every objective, and adding rounds."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from research.errors import UserError
from research.models import contract
from research.models.boosting.single import FEW, Single

if TYPE_CHECKING:
    import lightgbm as lgb

FILE = "model.txt"
PARAMS: dict[str, Any] = {
    "rounds": 200,
    "early_stopping": 30,
    "boosting": "gbdt",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "max_depth": 0,
    "min_data_in_leaf": 500,
    "subsample": 1.0,
    "feature_fraction": 0.8,
    "threads": 1,
}
_FIXED = {
    "verbosity": -1,
    "deterministic": True,
    # each column's histogram is then summed by one thread, in row order: same sums, any threads
    "force_col_wise": True,
}


@dataclass(frozen=True)
class Ensemble:
    """One LightGBM model as its own text."""

    text: str

    @cached_property
    def booster(self) -> lgb.Booster:
        """The ensemble that LightGBM read from the text."""
        import lightgbm as lgb

        return lgb.Booster(model_str=self.text)

    @property
    def said(self) -> dict[str, Any]:
        """What `marked` wrote into the text."""
        head = self.text[: self.text.index("version=")]
        lines = (line.partition("=") for line in head.splitlines()[1:])
        return {key: json.loads(value) for key, _, value in lines}

    def predict(self, values: np.ndarray, *, width: int = 1, raw: bool = False) -> np.ndarray:
        """Sum the leaves that each row falls into; one thread, so that none spins for a core.

        Returns (n_rows,), or (n_rows, width) for more than one number per row.
        """
        if not len(values):
            return np.empty((0, width) if width > 1 else 0)
        if len(values) <= FEW:
            found = self._single(width, raw).predict(values)
            return found if width > 1 else found[:, 0]
        return np.asarray(self.booster.predict(values, num_threads=1, raw_score=raw))

    def _single(self, width: int, raw: bool) -> Single:
        known = self._singles.get((width, raw))
        if known is None:
            known = self._singles[width, raw] = Single(self.booster, width, raw)
        return known

    @cached_property
    def _singles(self) -> dict[tuple[int, bool], Single]:
        return {}

    def importance(self) -> np.ndarray:
        """Gain: how much splits on each column lowered the loss, summed."""
        return np.asarray(self.booster.feature_importance("gain"), dtype=np.float64)

    def contributions(self, values: np.ndarray, *, width: int = 1) -> np.ndarray:
        """LightGBM's own TreeSHAP, of the raw score; (n_rows, width, n_columns + 1)."""
        columns = self.booster.num_feature() + 1
        if not len(values):
            return np.empty((0, width, columns))
        found = self.booster.predict(values, num_threads=1, pred_contrib=True)
        return np.asarray(found).reshape(len(values), width, columns)


def marked(text: str, **said: Any) -> str:
    """Write our own numbers into a model's text: lines of its head that LightGBM passes over."""
    lines = "".join(f"{key}={json.dumps(value)}\n" for key, value in said.items())
    return text.replace("tree\n", f"tree\n{lines}", 1)


def native(chosen: dict[str, Any], *, seed: int, name: str) -> dict[str, Any]:
    """Say a study's settings in LightGBM's words.

    Drawn by gradient, rows depend on which thread looks at them: goss trains in one thread.

    Raises
    ------
    UserError
        If rows are to be drawn both by gradient (goss) and by chance.
    """
    if chosen["boosting"] == "goss" and chosen["subsample"] < 1:
        raise UserError(
            f"{name}: boosting 'goss' draws rows by itself, so subsample must be 1, "
            f"found {chosen['subsample']}."
        )
    goss = chosen["boosting"] == "goss"
    return {
        **_FIXED,
        "data_sample_strategy": "goss" if goss else "bagging",
        "learning_rate": chosen["learning_rate"],
        "num_leaves": chosen["num_leaves"],
        "max_depth": chosen["max_depth"] or -1,
        "min_data_in_leaf": chosen["min_data_in_leaf"],
        "bagging_fraction": chosen["subsample"],
        "bagging_freq": int(chosen["subsample"] < 1),
        "feature_fraction": chosen["feature_fraction"],
        "num_threads": 1 if goss else chosen["threads"],
        "seed": seed,
    }


def plain(columns: list[str], name: str) -> list[str]:
    """Refuse a column name that a text of trees cannot hold."""
    for column in columns:
        if not re.fullmatch(r"[\w.+-]+", column, re.ASCII):
            raise UserError(
                f"{name}: column names must be letters, digits and _ . + -, found {column!r}. "
                "Rename the feature."
            )
    return columns


def grow(
    data: lgb.Dataset,
    settings: dict[str, Any],
    chosen: dict[str, Any],
    *,
    start_from: lgb.Booster | None,
    early: lgb.Dataset | None = None,
    judge: Any = None,
) -> tuple[str, int]:
    """Train; return the text of the trees kept and how many rounds that are.

    With `early` rows, and where ``early_stopping`` is above 0, the metric of `settings` (or
    `judge`, a function of LightGBM's kind) stops the boosting and the best round is kept.
    """
    import lightgbm as lgb

    judged: dict[str, Any] = {}
    if early is not None and chosen["early_stopping"]:
        stop = lgb.early_stopping(chosen["early_stopping"], verbose=False)
        judged = {"valid_sets": [early], "feval": judge, "callbacks": [stop]}
    booster = lgb.train(
        settings,
        data,
        chosen["rounds"],
        init_model=start_from,
        keep_training_booster=True,  # else it writes and reads its text once more than needed
        **judged,
    )
    best = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
    return booster.model_to_string(num_iteration=best), best


def begun(start_from: contract.Model | None, columns: list[str], learner: str) -> Any:
    """Return the core whose rounds are added to, or None; refuse another learner's or columns.

    Raises
    ------
    UserError
        If the model is not one of `learner`, or learnt other columns.
    """
    if start_from is None:
        return None
    found = start_from.card["learner"]
    if found != learner:
        raise UserError(
            f"{learner}: can add rounds to a {learner} model only, found {start_from.id}. "
            "Train it anew."
        )
    contract.same_columns(columns, start_from.card["columns"], f"model {start_from.id}")
    return start_from.core


def versions() -> dict[str, str]:
    """Return the library whose version decides the model's bytes."""
    import lightgbm as lgb

    return {"lightgbm": lgb.__version__}
