"""Bagging: one learner fitted to many draws of the rows, and the mean of what the fits say.

``bagged_lightgbm`` is LightGBM in bags, ``bagged_ridge`` ridge; every learner that learns can be
put in bags. Rows whose labels overlap are near-copies of each other, so an even draw hands every
bag the same few stories. Who calls may say how rows are drawn: the roof draws as many as there are
labels without overlap, each the likelier the less it overlaps those drawn before.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.models import contract
from research.models.protocols import Core, Learner

PREFIX = "bagged_"
FILE = "bags.json"
BAGS = 10

Draw = Callable[[int], np.ndarray]
"""Takes a seed, returns numbers of rows; a row may come several times."""


@dataclass(frozen=True)
class Bags:
    """Fits of one learner, and their own texts in one JSON."""

    text: str
    cores: tuple[Core, ...]
    file: str | None = FILE

    @property
    def outputs(self) -> tuple[str, ...]:
        """Those of the learner in the bags."""
        return self.cores[0].outputs

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over the bags: probabilities still sum to 1, quantiles do not cross."""
        return self._mean(lambda core: core.predict(values))

    def importance(self) -> np.ndarray:
        """Return the mean over the bags."""
        return self._mean(lambda core: core.importance())

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over the bags; of classes, they add up to the mean of the margins."""
        return self._mean(lambda core: core.contributions(values))

    def _mean(self, ask: Callable[[Core], np.ndarray]) -> np.ndarray:
        total = np.array(ask(self.cores[0]), dtype=np.float64)
        for core in self.cores[1:]:  # one after the other: a row has the same bits alone and beside
            total += ask(core)
        return total / len(self.cores)


@dataclass(frozen=True)
class Bagged:
    """A learner in bags, in the shape of a learner."""

    name: str
    """As a study names it: ``bagged_lightgbm``."""
    base: Learner

    @property
    def PARAMS(self) -> dict[str, Any]:
        """Those of the learner, and ``bags``, how many there are."""
        return {**self.base.PARAMS, "bags": BAGS}

    @property
    def CONTINUES(self) -> bool:
        """Never: each bag would have to be drawn again."""
        return False

    @property
    def CLASSES(self) -> bool:
        """As the learner."""
        return self.base.CLASSES

    @property
    def FILE(self) -> str | None:
        """One file for all bags; none where the learner's own models cannot be stored."""
        return FILE if self.base.FILE else None

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
        draw: Draw | None = None,
    ) -> contract.Model:
        r"""Fit the learner to ``bags`` draws of the rows; what they forecast is averaged.

        .. math:: \hat y(x) = \frac{1}{B} \sum_{b=1}^{B} f(x; D_b), \quad
            D_b \sim \text{draw}(\text{seed}_b)

        Parameters
        ----------
        X, y, weight, early, start_from
            As the learner takes them; `early` is the same for all bags.
        seed : int
            Every bag's own seed, of its draw and of its fit, comes from it.
        params : dict
            The learner's, and ``bags``.
        draw : callable, optional
            Takes a seed and returns the numbers of the rows of one bag. Absent: as many rows as
            there are, drawn evenly.

        Returns
        -------
        Model
            Its card has the rows there were and the mean ``best_iteration``.

        Raises
        ------
        UserError
            As the learner does, if `bags` is below 1, or if rounds are to be added.

        References
        ----------
        .. [1] Breiman, L. (1996). Bagging predictors. Machine Learning 24, 123-140.
        .. [2] Lopez de Prado, M. (2018). Advances in Financial Machine Learning, ch. 6. Wiley.

        Examples
        --------
        >>> from research.models import linear
        >>> X = pl.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
        >>> model = Bagged("bagged_ridge", linear).fit(
        ...     X, np.array([0.0, 1.0, 2.0, 3.0]), seed=1, params={"bags": 3},
        ...     draw=lambda seed: np.arange(4))
        >>> model.predict(X).round(2).tolist()  # the same rows in each bag: plain ridge
        [0.0, 1.0, 2.0, 3.0]
        """
        chosen = contract.settings(params, self.PARAMS, self.name)
        if start_from is not None:
            raise UserError(f"{self.name}: bags have no rounds to add. Train it anew.")
        bags = chosen.pop("bags")
        if bags < 1:
            raise UserError(f"{self.name}: bags must be at least 1, found {bags}.")
        values, y = contract.training(X, y, weight, self.name)
        table = pl.DataFrame(values, schema=list(X.columns), orient="row")
        made = []
        for own in _seeds(seed, bags):
            rows = np.sort(draw(own) if draw else _evenly(len(values), own))
            usual = {"early": early, "seed": own, "params": chosen}
            share = None if weight is None else weight[rows]
            made.append(self.base.fit(table[rows], y[rows], weight=share, **usual))
        text = json.dumps({"bags": [model.core.text for model in made]}, indent=1) + "\n"
        columns, params = list(X.columns), {**chosen, "bags": bags}
        rounds = [model.card["best_iteration"] for model in made]
        card = contract.card(
            self.name, columns, params, seed, len(y), _middle(rounds), self.versions()
        )
        return contract.Model(card, Bags(text, tuple(m.core for m in made), self.FILE))

    def versions(self) -> dict[str, str]:
        """Return the learner's: nothing else decides the bytes."""
        return self.base.versions()

    def read(self, text: str) -> Bags:
        """Give back the bags that have this text."""
        return Bags(text, tuple(self.base.read(each) for each in json.loads(text)["bags"]))


def _seeds(seed: int, count: int) -> list[int]:
    """Return a seed for each bag; more bags leave those before them as they are."""
    return [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(count)]


def _evenly(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(rows, size=rows)


def _middle(rounds: list[Any]) -> int | None:
    known = [float(np.mean(each)) for each in rounds if each is not None]
    return round(float(np.mean(known))) if known else None
