"""Out-of-sample forecasts: for each fold, fit on its training rows and forecast its test rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.models import contract, learners

Progress = Callable[[int, int, str], None]
LIMIT = 3.0
"""Scaled targets are cut at this many standard deviations of the horizon's return.

Chosen out of sample at 10 minutes on two USD-M symbols of 2023-08 to 11, paired by day against no
limit: rank IC of ridge +0.015 (s.e. 0.003), at 5 +0.009; of LightGBM +0.017 (0.004). Four symbols
of 2025-05 to 06 were looked at too and agree for ridge (+0.011), not for LightGBM (-0.004), so a
result on those months is not quite untouched by this choice. It makes forecasts a few percent
smaller, for the cut moves are missing from their mean.
"""


class Fold(Protocol):
    """What a fold must tell: its four moments, its name, and which rows are whose."""

    @property
    def name(self) -> str:
        """Start of the test window as text."""
        ...

    @property
    def train_start(self) -> datetime:
        """First moment of training."""
        ...

    @property
    def train_end(self) -> datetime:
        """Training rows are known before this."""
        ...

    def train(self, table: pl.DataFrame) -> pl.Series:
        """Rows that may train."""
        ...

    def test(self, table: pl.DataFrame) -> pl.Series:
        """Rows to forecast."""
        ...

    def inner(self, table: pl.DataFrame, share: float) -> tuple[pl.Series, pl.Series]:
        """Training rows cut into fit and early-stopping rows."""
        ...


def out_of_sample(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    folds: Sequence[Fold],
    *,
    learner: str,
    columns: Sequence[str],
    horizon_bars: int,
    target: Literal["scaled", "raw"] = "scaled",
    inner: float = 0.2,
    params: dict[str, Any],
    seed: int,
    threads: int = 1,
    single: bool = False,
    feature_card: dict[str, Any],
    folder: Path | None = None,
    continue_rounds: int = 0,
    retrain: bool = False,
    code: str = "",
    progress: Progress | None = None,
) -> pl.DataFrame:
    r"""Train one model per fold and return its forecasts of rows it could not have learnt from.

    With ``target="scaled"`` a model learns
    :math:`\max(-3, \min(3, y_t / (\sigma_t \sqrt{h})))` and its forecast is multiplied by
    :math:`\sigma_t \sqrt{h}` again.

    Parameters
    ----------
    features : pl.DataFrame, shape (n_rows, ...)
        ``symbol, time, sigma`` and `columns`; rows with a null among them are left out.
    labels : pl.DataFrame
        `schema.LABELS`; rows without a label are forecast but never trained on.
    folds : sequence of Fold
        Such as `validation.walk_forward` returns; test windows do not overlap.
    learner : str
        ``ridge`` or ``lightgbm``.
    columns : sequence of str
        Inputs of the model, in order.
    horizon_bars : int
        Horizon of the labels in bars, h above.
    target : {"scaled", "raw"}
        ``raw`` learns the return itself.
    inner : float
        Newest share of the training window that stops boosting early, purged against the rest.
    params : dict
        Settings of any learner (`models.settings` picks).
    seed, threads : int
        Passed to the learner.
    single : bool
        One model per symbol instead of one for all.
    feature_card : dict
        ``name, version, fingerprint`` of the feature set; goes into each card.
    folder : Path, optional
        Of this learner alone. Models are stored in ``<folder>/<fold>/`` (and ``/<symbol>/``); one
        that was made of the very same inputs is loaded instead of trained, so a killed run
        resumes and ends with the same bytes.
    continue_rounds : int
        Add so many rounds, without early stopping, to each fold's model; kept beside it in
        ``continued_<n>/``. Learners without rounds are trained as ever.
    retrain : bool
        Train even where a stored model would do.
    code : str
        Fingerprint of the code that trains; a model stored under another one is not reused.
    progress : callable, optional
        ``progress(done, total, label)`` after each model; the label names the fold.

    Returns
    -------
    pl.DataFrame
        `schema.FORECASTS`: `forecast` is the expected simple return over the horizon, a fraction;
        `y` and `known_at` are null where the outcome is not known yet. A symbol with no more
        training rows in a fold than there are columns has no forecasts there.

    Raises
    ------
    UserError
        If nothing could be trained, a column is missing, or a stored model is damaged.

    Notes
    -----
    A row trains only if its `known_at` lies before the fold's test start less the embargo.
    Why targets are cut at 3: see `LIMIT`.
    """
    module = learners.learner(learner)
    rows = _Rows.join(features, labels, list(columns), horizon_bars=horizon_bars, target=target)
    chosen = learners.settings(learner, params, threads=threads)
    made_of = {
        "learner": learner,
        "columns": list(columns),
        "params": chosen,
        "seed": seed,
        "features": feature_card,
        "target": target,
        "horizon_bars": horizon_bars,
        "versions": module.versions(),
        "code": code,
    }
    shelf = _Shelf(module, made_of, folder, retrain, continue_rounds if module.CONTINUES else 0)
    share = inner if chosen.get("early_stopping") else None
    symbols: list[str | None] = sorted(rows.key["symbol"].unique()) if single else [None]
    total = len(folds) * len(symbols)
    parts: list[pl.DataFrame] = []
    for done, (fold, symbol) in enumerate((f, s) for f in folds for s in symbols):
        parts += _forecast(rows, shelf, fold, symbol, share)
        if progress is not None:
            label = f"{learner}, fold {fold.name}" + (f", {symbol}" if symbol else "")
            progress(done + 1, total, label)
    if not parts:
        raise UserError(
            f"models: no fold has more known training rows than the {len(columns)} columns and a "
            f"row to forecast. Of {features.height} bars {rows.key.height} have every feature: a "
            "gap starts the warm-up anew. Bring more or less broken data, or shorten "
            "validation.train."
        )
    return schema.check(pl.concat(parts).sort(schema.KEY), schema.FORECASTS, "forecasts")


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows with known features; `key` holds names and outcomes, `X` the model's inputs."""

    key: pl.DataFrame
    X: pl.DataFrame
    scale: np.ndarray
    y: np.ndarray
    learnable: pl.Series

    @classmethod
    def join(
        cls,
        features: pl.DataFrame,
        labels: pl.DataFrame,
        columns: list[str],
        *,
        horizon_bars: int,
        target: str,
    ) -> _Rows:
        if target not in ("scaled", "raw"):
            raise UserError(f"models: target must be 'scaled' or 'raw', found {target!r}.")
        kind = {"symbol": pl.String, "time": schema.TIME, "sigma": pl.Float64}
        schema.check(features, kind | dict.fromkeys(columns, pl.Float64), "features")
        schema.check(labels, schema.LABELS, "labels")
        known = features.drop_nulls(["sigma", *columns])
        key = known.select("symbol", "time", "sigma").join(
            labels.select(*schema.LABELS), on=schema.KEY, how="left", maintain_order="left"
        )
        scale = np.ones(len(key))
        if target == "scaled":
            scale = key["sigma"].to_numpy() * np.sqrt(horizon_bars)
        learnable = key["y"].is_not_null() & pl.Series(scale > 0)
        y = np.divide(key["y"].to_numpy(), scale, out=np.zeros(len(key)), where=scale > 0)
        if target == "scaled":
            y = np.clip(y, -LIMIT, LIMIT)
        return cls(key, known.select(columns), scale, y, learnable)

    def take(self, mask: pl.Series) -> tuple[pl.DataFrame, np.ndarray]:
        return self.X.filter(mask), self.y[mask.to_numpy()]


def _forecast(
    rows: _Rows, shelf: _Shelf, fold: Fold, symbol: str | None, share: float | None
) -> Iterator[pl.DataFrame]:
    """Yield the fold's forecasts, or nothing where there is nothing to learn from or forecast."""
    mine = rows.key["symbol"] == symbol if symbol else pl.repeat(True, len(rows.key), eager=True)
    test = fold.test(rows.key) & mine
    fit, early = fold.train(rows.key) & mine & rows.learnable, None
    if share is not None:
        inside, tail = (mask & mine & rows.learnable for mask in fold.inner(rows.key, share))
        if tail.sum() > 1:
            fit, early = inside, rows.take(tail)
    if not test.any() or fit.sum() <= rows.X.width:
        return
    model = shelf.model(fold, symbol, *rows.take(fit), early)
    where = test.to_numpy()
    value = model.predict(rows.X.filter(test), features=model.card["features"]) * rows.scale[where]
    yield rows.key.filter(test).select(
        "symbol",
        "time",
        pl.Series("forecast", value),
        "sigma",
        "y",
        "known_at",
        pl.lit(fold.name).alias("fold"),
        pl.lit(model.id).alias("model"),
    )


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Stored fold models: each is loaded when made of the same, else trained and stored."""

    module: Any
    made_of: dict[str, Any]
    folder: Path | None
    retrain: bool
    continue_rounds: int

    def model(
        self,
        fold: Fold,
        symbol: str | None,
        X: pl.DataFrame,
        y: np.ndarray,
        early: tuple[pl.DataFrame, np.ndarray] | None,
    ) -> contract.Model:
        """Return the fold's model, with rounds added where that is asked for."""
        late = (None, None) if early is None else (early[0].to_numpy(), early[1])
        card = self.made_of | {
            "fold": {
                "name": fold.name,
                "train_start": f"{fold.train_start:%Y-%m-%dT%H:%M:%SZ}",
                "train_end": f"{fold.train_end:%Y-%m-%dT%H:%M:%SZ}",
            },
            "symbol": symbol,
            "rows": len(y),
            "early_rows": 0 if early is None else len(early[1]),
            "data": contract.fingerprint(X.to_numpy(), y, *late),
        }
        shelf = self.folder and self.folder / fold.name.replace(":", "") / quote(symbol or "", "")
        base = self._made(shelf, card, lambda **more: self._fit(X, y, early=early, **more))
        if not self.continue_rounds:
            return base
        grown = card | {"continued": {"from": base.id, "rounds": self.continue_rounds}}
        longer = {**self.made_of["params"], "rounds": self.continue_rounds}
        return self._made(
            shelf and shelf / f"continued_{self.continue_rounds}",
            grown,
            lambda: self._fit(X, y, params=longer, start_from=base),
        )

    def _fit(self, X: pl.DataFrame, y: np.ndarray, **more: Any) -> contract.Model:
        usual = {"params": self.made_of["params"], "seed": self.made_of["seed"]}
        return self.module.fit(X, y, **(usual | more))

    def _made(
        self, shelf: Path | None, card: dict[str, Any], fit: Callable[[], contract.Model]
    ) -> contract.Model:
        if shelf is not None and not self.retrain and (shelf / contract.CARD).exists():
            stored = learners.load(shelf)
            wanted = json.loads(json.dumps(card))  # as a card reads back: tuples are lists
            if {key: stored.card.get(key) for key in wanted} == wanted:
                return stored
        fitted = fit()
        model = contract.Model({**fitted.card, **card}, fitted.core)
        if shelf is not None:
            model.save(shelf)
        return model
