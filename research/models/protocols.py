"""The two shapes behind the contract: what a learner is, and what it makes of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from research.models.contract import Model


class Core(Protocol):
    """The part of a model that its learner knows: numbers in, numbers out, and its text."""

    @property
    def file(self) -> str | None:
        """Name of the native file inside a model's folder; None: it cannot be stored."""
        ...

    @property
    def text(self) -> str:
        """The whole model; reading it gives the same predictions, bit for bit."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it says of a row: `CLASSES`, quantiles as ``q_10``, or none: a mean."""
        ...

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return (n_rows,), or (n_rows, n_outputs); a row's numbers depend on that row alone."""
        ...

    def importance(self) -> np.ndarray:
        """Return one number of at least 0 per column; larger matters more."""
        ...

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """Return what each column adds and, last, the base: (n_rows, outputs or 1, columns + 1)."""
        ...


class Learner(Protocol):
    """What a learner is: a module, or for rules and a user's own models an object like one."""

    @property
    def PARAMS(self) -> dict[str, Any]:
        """Its settings with their defaults."""
        ...

    @property
    def CONTINUES(self) -> bool:
        """Whether rounds can be added to a stored model."""
        ...

    @property
    def CLASSES(self) -> bool:
        """Whether it learns classes: `y` of `fit` is then -1, 0 or 1."""
        ...

    @property
    def FILE(self) -> str | None:
        """Name of a stored model's file; None: its models are not stored."""
        ...

    @property
    def fit(self) -> Callable[..., Model]:
        """``fit(X, y, *, weight, early, seed, params, start_from) -> Model``."""
        ...

    def versions(self) -> dict[str, str]:
        """Versions of the libraries that decide the model's bytes."""
        ...

    def read(self, text: str) -> Core:
        """Give back the core that has this text."""
        ...
