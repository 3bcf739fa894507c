"""Leaks of labels, folds and training: outcomes that reach a model before they came."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research.audit.mutations.switch import mutation

LABELS = "research.labels.forward:_labels"
TRAIN = "research.models.oos.rows:Timeline._within"
CUT = "research.models.oos.rows:Timeline.cut"
FOLDS = "research.validation:walk_forward"


@mutation(
    "shifted_label", "the outcome is that of the bar before, so it began before it was due", LABELS
)
def _shifted(real: Any) -> Any:
    def labels(table: pl.DataFrame, y: Any, ahead: int) -> pl.DataFrame:
        return real(table, y.shift(1).fill_null(0.0), ahead)

    return labels


@mutation(
    "known_too_soon",
    "an outcome is said to be known when its bar closes, so nothing is purged",
    LABELS,
)
def _too_soon(real: Any) -> Any:
    def labels(table: pl.DataFrame, y: Any, ahead: int) -> pl.DataFrame:
        return real(table, y, ahead).with_columns(known_at="time")

    return labels


@mutation(
    "label_over_gap",
    "an outcome counts rows, not time, and so reaches over an outage to a price hours later",
    "research.labels.forward:with_runs",
)
def _over_gap(real: Any) -> Any:
    def with_runs(bars: Any, columns: Any, interval: timedelta) -> pl.DataFrame:
        return real(bars, columns, interval).with_columns(run=pl.col("symbol").rle_id())

    return with_runs


@mutation(
    "embargo_ignored", "the test begins where training ends, whatever embargo was asked for", FOLDS
)
def _no_embargo(real: Any) -> Any:
    def walk_forward(*span: Any, embargo: timedelta = timedelta(0), **more: Any) -> Any:
        return real(*span, embargo=timedelta(0), **more)

    return walk_forward


@mutation("dropped_fold", "a test window that looked odd is left out of the result", FOLDS)
def _dropped(real: Any) -> Any:
    def walk_forward(*span: Any, **more: Any) -> Any:
        folds = real(*span, **more)
        return type(folds)(fold for k, fold in enumerate(folds) if k != 1)

    return walk_forward


@mutation(
    "no_purge", "rows train whose outcome reaches into the test: labels overlap the split", TRAIN
)
def _no_purge(real: Any) -> Any:
    def within(self: Any, start: int, end: int) -> np.ndarray:
        return self.taught[slice(*np.searchsorted(self.begun, (start, end)))]

    return within


@mutation(
    "row_sliced_folds",
    "the split counts rows of a table sorted by coin, so training spans all time of the first ones",
    TRAIN,
)
def _row_sliced(real: Any) -> Any:
    def within(self: Any, start: int, end: int) -> np.ndarray:
        rows, begun = np.sort(self.taught), self.time[0]
        first, last = (np.clip((m - begun) / (self.time[-1] - begun), 0, 1) for m in (start, end))
        return rows[int(first * len(rows)) : int(last * len(rows))]

    return within


@mutation(
    "trained_on_everything", "one model is trained on the whole sample and then tested on it", TRAIN
)
def _everything(real: Any) -> Any:
    def within(self: Any, start: int, end: int) -> np.ndarray:
        return self.taught

    return within


@mutation(
    "duplicates_across_split",
    "rare rows were copied before the split, so every tenth row of the test is trained on too",
    CUT,
)
def _duplicates(real: Any) -> Any:
    def cut(self: Any, *asked: Any, **more: Any) -> Any:
        found = real(self, *asked, **more)
        copies = found.test[np.isin(found.test, self.taught)][::10]
        return found._replace(fit=np.sort(np.concatenate([found.fit, copies])))

    return cut


def _late_rows(real: Any) -> Any:
    """Let the rows that stop or calibrate a fit be those of the test."""

    def cut(self: Any, *asked: Any, **more: Any) -> Any:
        found = real(self, *asked, **more)
        known = found.test[np.isin(found.test, self.taught)]
        return found._replace(early=known) if len(found.early) and len(known) > 1 else found

    return cut


mutation(
    "early_stop_on_test",
    "boosting stops where the error on the test fold is least",
    CUT,
    model__name="lightgbm",
    model__early_stopping=5,
)(_late_rows)

mutation(
    "calibrated_on_test",
    "class probabilities are calibrated on the rows of the test fold",
    CUT,
    model__name="logistic",
    labels__kind="direction",
    labels__threshold="10 bps",
    backtest__rule="probability",
    backtest__enter_probability=0.4,
)(_late_rows)


@mutation(
    "unpurged_inner",
    "rows that stop boosting overlap those it is fitted on: it stops too late and looks too sure",
    CUT,
    model__name="lightgbm",
    model__early_stopping=5,
)
def _unpurged(real: Any) -> Any:
    def cut(self: Any, fold: Any, *, share: float, **more: Any) -> Any:
        found = real(self, fold, share=share, **more)
        if not len(found.early):
            return found
        last = int(found.slice_start.timestamp()) * 1_000_000
        first = int(fold.train_start.timestamp()) * 1_000_000
        inside = slice(*np.searchsorted(self.begun, (first, last)))
        return found._replace(fit=np.sort(self.taught[inside]))

    return cut


@mutation(
    "tuned_on_test",
    "a setting is chosen for each fold by what it earns in that fold's test",
    "research.models.oos.workshop:Workshop.model",
)
def _tuned(real: Any) -> Any:
    def model(self: Any, fold: Any, symbol: Any, cut: Any) -> Any:
        known = cut.test[self.rows.learnable[cut.test]]
        if "alpha" not in self.made_of["params"] or len(known) < 2:
            return real(self, fold, symbol, cut)
        plain, shelf, found = self.made_of, self.base, []
        for alpha in (1e-2, 30.0, 1e3, 1e5):
            self.made_of = {**plain, "params": {**plain["params"], "alpha": alpha}}
            self.base = None
            made = real(self, fold, symbol, cut)
            said = made.predict(self.rows.inputs(known))
            found.append((np.corrcoef(said, self.rows.target[known])[0, 1], alpha))
        self.base = shelf
        self.made_of = {**plain, "params": {**plain["params"], "alpha": max(found)[1]}}
        best = real(self, fold, symbol, cut)
        self.made_of = plain
        return best

    return model


@mutation(
    "recalibrated_on_test",
    "forecasts are stretched, and turned round, by a regression on the outcomes of their own fold",
    "research.models.oos.walk:_Found.add",
)
def _recalibrated(real: Any) -> Any:
    def add(self: Any, fold: Any, rows: np.ndarray, model: str, said: Any) -> None:
        known, y = self.of.learnable[rows], self.of.target[rows]
        told = said["forecast"]
        slope = np.cov(told[known], y[known])[0, 1] / told[known].var() if known.sum() > 2 else 1.0
        real(self, fold, rows, model, {**said, "forecast": told * slope})

    return add


@mutation(
    "meta_in_sample",
    "the second model learns from forecasts of rows that the first one was trained on",
    "research.models.meta:two_stage",
    model__meta="logistic",
    backtest__rule="probability",
    backtest__enter_probability=0.4,
)
def _in_sample(real: Any) -> Any:
    def two_stage(features: Any, labels: Any, folds: Any, **more: Any) -> Any:
        first = folds[0]
        span = {"test_start": first.train_start, "test_end": first.train_end}
        return real(features, labels, folds, **{**more, "before": [replace(first, **span)]})

    return two_stage
