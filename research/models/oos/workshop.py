"""Where the models of a walk come from: loaded when made of the same, else trained and stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.models import bagging, contract, gates, learners
from research.models.oos import shelves
from research.models.oos.rows import Cut, Fold, Rows


def check(gate: str, inner: float) -> None:
    """Refuse a gate that there is not, and a share of the training window that is none."""
    gates.check(gate)
    if not 0 < inner < 1:
        raise UserError(f"models: inner must be a share between 0 and 1, found {inner}.")


def opened(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    learner: str,
    columns: list[str],
    horizon_bars: int,
    target: str,
    params: dict[str, Any],
    seed: int,
    threads: int,
    feature_card: dict[str, Any],
    weigh: Callable[[pl.DataFrame], np.ndarray] | None,
    draw: Callable[[pl.DataFrame, int], np.ndarray] | None,
    own_folder: Path | None,
) -> Workshop:
    """Lay out the rows, and what each card will say; arguments as of `out_of_sample`."""
    module = learners.learner(learner, folder=own_folder)
    rows = Rows.join(
        features,
        labels,
        columns,
        horizon_bars=horizon_bars,
        target="scaled" if learners.is_rule(learner, folder=own_folder) else target,
        classes=module.CLASSES,
    )
    made_of = {
        "learner": learner,
        "columns": columns,
        "params": learners.settings(learner, params, threads=threads, folder=own_folder),
        "seed": seed,
        "features": feature_card,
        "target": target,
        "horizon_bars": horizon_bars,
        "versions": module.versions(),
    }
    return Workshop(rows, module, made_of, weigh, draw)


@dataclass(slots=True)
class Workshop:
    """Where models come from: each is loaded when made of the same, else trained and stored."""

    rows: Rows
    module: contract.Learner
    made_of: dict[str, Any]
    weigh: Callable[[pl.DataFrame], np.ndarray] | None
    draw: Callable[[pl.DataFrame, int], np.ndarray] | None = None
    continue_rounds: int = 0
    base: shelves.Shelf | None = None
    grown: shelves.Shelf | None = None

    @property
    def stops(self) -> bool:
        """Whether the learner looks at rows that it is not fitted on."""
        params = self.made_of["params"]
        return bool(params.get("early_stopping") or params.get("calibrate"))

    def symbols(self, *, single: bool) -> list[str | None]:
        """Return whose models there are: each symbol's, or one of all."""
        return sorted(self.rows.key["symbol"].unique()) if single else [None]

    def enough(self, cut: Cut) -> bool:
        """Tell whether there are more rows to fit on than columns."""
        return len(cut.fit) > self.rows.X.width

    def continues(self, rounds: int) -> int:
        """Take note of the rounds to be added, where the learner can."""
        self.continue_rounds = rounds if self.module.CONTINUES else 0
        return self.continue_rounds

    def furnish(
        self,
        folder: Path | None,
        continue_rounds: int,
        *,
        models: int,
        only: range | None,
        own: Path | None,
    ) -> None:
        """Put up shelves, if models are to be stored and can be."""
        self.continues(continue_rounds)
        if folder is None or self.module.FILE is None:
            return
        self.base = shelves.shelf(folder, own, models=models, only=only)
        self.grown = shelves.shelf(
            folder, own, models=models, only=only, continued=self.continue_rounds
        )

    def close(self) -> None:
        """Bring all models to the disk."""
        for shelf in (self.base, self.grown):
            if shelf is not None:
                shelf.close()

    def model(self, fold: Fold, symbol: str | None, cut: Cut) -> contract.Model:
        """Return the fold's model, with rounds added where that is asked for."""
        X, y = self.rows.lesson(cut.fit)
        early = self.rows.lesson(cut.early) if len(cut.early) else None
        weight = self._weight(cut.fit)
        card = self._card(fold, symbol, cut) | {"data": _fingerprint(X, y, early, weight)}

        def fit(**more: Any) -> contract.Model:
            usual = {"params": self.made_of["params"], "seed": self.made_of["seed"]}
            return self.module.fit(X, y, weight=weight, **(usual | more | self._drawn(cut.fit)))

        base = _made(self.base, fold, symbol, card, lambda: fit(early=early))
        if not self.continue_rounds:
            return base
        card |= {"continued": {"from": base.id, "rounds": self.continue_rounds}}
        longer = {**self.made_of["params"], "rounds": self.continue_rounds}
        return _made(self.grown, fold, symbol, card, lambda: fit(params=longer, start_from=base))

    def _card(self, fold: Fold, symbol: str | None, cut: Cut) -> dict[str, Any]:
        card = self.made_of | {
            "fold": {
                "name": fold.name,
                "train_start": f"{fold.train_start:%Y-%m-%dT%H:%M:%SZ}",
                "train_end": f"{fold.train_end:%Y-%m-%dT%H:%M:%SZ}",
            },
            "symbol": symbol,
            "rows": len(cut.fit),
            "early_rows": len(cut.early),
        }
        return card | ({"payoff": self.rows.payoff(cut.fit)} if self.module.CLASSES else {})

    def _drawn(self, rows: np.ndarray) -> dict[str, Any]:
        """Tell a learner in bags how rows are drawn; others draw none."""
        draw = self.draw
        if draw is None or not isinstance(self.module, bagging.Bagged):
            return {}
        past = self.rows.past(rows)
        return {"draw": lambda seed: draw(past, seed)}

    def _weight(self, rows: np.ndarray) -> np.ndarray | None:
        if self.weigh is None:
            return None
        weight = np.asarray(self.weigh(self.rows.past(rows)), dtype=np.float64)
        if weight.shape != rows.shape or not (np.isfinite(weight) & (weight > 0)).all():
            raise UserError(
                "models: weigh must give one finite number above zero for each of the "
                f"{len(rows)} training rows, found shape {weight.shape} and least {weight.min()}."
            )
        return weight


def _made(
    shelf: shelves.Shelf | None,
    fold: Fold,
    symbol: str | None,
    card: dict[str, Any],
    fit: Callable[[], contract.Model],
) -> contract.Model:
    known = shelf.find(fold, symbol, card) if shelf is not None else None
    if known is not None:
        return known
    fitted = fit()
    model = contract.Model({**fitted.card, **card}, fitted.core)
    if shelf is not None:
        shelf.keep(fold, symbol, model)
    return model


def _fingerprint(
    X: pl.DataFrame,
    y: np.ndarray,
    early: tuple[pl.DataFrame, np.ndarray] | None,
    weight: np.ndarray | None,
) -> str:
    """Return the fingerprint of all numbers that a fit looks at."""
    late = (None, None) if early is None else (contract.plain(early[0]), early[1])
    return contract.fingerprint(contract.plain(X), y, *late, weight)
