"""Rules as learners: one column that is a side already, nothing learnt, nothing to store.

The column (a chartist's rule from the feature room, or a user's own) is the forecast itself:
from -1 to 1, in units of the target's volatility.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from research.errors import UserError
from research.models import contract

FILE = "model.json"
NAMES = ("trend", "mean_reversion", "momentum", "breakout")
"""The rules that stand in the feature room."""


@dataclass(frozen=True)
class Side:
    """One column, handed through."""

    text: str
    file: str = FILE
    outputs: tuple[str, ...] = ()

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return the column."""
        return values[:, 0].copy()

    def importance(self) -> np.ndarray:
        """All of it is one column's."""
        return np.ones(1)

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """The column is all there is; the base is nothing."""
        return np.stack([values[:, 0], np.zeros(len(values))], axis=1)[:, None, :]


@dataclass(frozen=True)
class Rule:
    """A rule in the shape of a learner."""

    name: str
    """As a study names it: ``trend``, or ``my_rules:mine``."""
    source: str = ""
    """Fingerprint of the file a user's own rule stands in."""
    PARAMS: ClassVar[dict[str, Any]] = {}
    CONTINUES: ClassVar[bool] = False
    CLASSES: ClassVar[bool] = False
    FILE: ClassVar[str] = FILE

    @property
    def column(self) -> str:
        """What its one column is called."""
        return self.name.rpartition(":")[2]

    def fit(
        self,
        X: Any,
        y: np.ndarray,
        *,
        weight: np.ndarray | None = None,
        early: tuple[Any, np.ndarray] | None = None,
        seed: int,
        params: dict[str, Any],
        start_from: contract.Model | None = None,
    ) -> contract.Model:
        """Return the rule as a model; `y`, weights and early rows are looked at by nobody.

        Raises
        ------
        UserError
            If `X` is not the rule's one column, a setting is given or rounds are to be added.

        Examples
        --------
        >>> import polars as pl
        >>> X = pl.DataFrame({"trend": [1.0, 0.0, -1.0]})
        >>> Rule("trend").fit(X, np.array([0.1, 0.2, 0.3]), seed=1, params={}).predict(X).tolist()
        [1.0, 0.0, -1.0]
        """
        contract.settings(params, {}, self.name)
        if start_from is not None:
            raise UserError(f"{self.name}: a rule has no rounds to add.")
        if list(X.columns) != [self.column]:
            raise UserError(
                f"{self.name}: a rule looks at its one column {self.column!r}, "
                f"found {', '.join(X.columns)}."
            )
        _, y = contract.training(X, y, weight, self.name)
        card = contract.card(self.name, [self.column], {}, seed, len(y), None, self.versions())
        return contract.Model(card, Side(f'{{"rule": "{self.name}"}}\n'))

    def versions(self) -> dict[str, str]:
        """Return the fingerprint of a user's file; a rule of ours changes with its features."""
        return {"source": self.source} if self.source else {}

    def read(self, text: str) -> Side:
        """Give back the rule."""
        return Side(text)
