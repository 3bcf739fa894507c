"""What a study's run left behind, gathered once for all guards."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import polars as pl

from research import datasets, models, pipeline
from research.errors import UserError
from research.store import lake
from research.study import Study
from research.tape import Backtest
from research.validation import Folds


class Window(NamedTuple):
    """One fold as the study's words have it, recounted without the pipeline's own folds."""

    train_start: datetime
    train_end: datetime
    test_start: datetime
    test_end: datetime


@dataclass
class Seen:
    """The artefacts of one run, and what they are held against.

    Attributes
    ----------
    study : Study
        Its words are what everything is held against.
    minutes : pl.DataFrame
        What the source held: ``symbol, open_time, open, high, low, close, volume``, one row per
        symbol and minute (of rows told twice the last), sorted.
    length : timedelta
        Length of a row of `minutes`.
    bars, features, labels, forecasts, binned : pl.DataFrame
        Tables of the pipeline's stages; `binned` are the forecasts as the rule trades them.
    folds : Folds
        Of the pipeline.
    fold_models : list of Model
        As stored, the oldest fold first.
    backtest : Backtest
        Trades, equity and reasons.
    refused : str or None
        Why the pipeline itself stopped, if it did: then later artefacts are missing.
    """

    study: Study
    minutes: pl.DataFrame
    length: timedelta
    bars: pl.DataFrame = field(default_factory=pl.DataFrame)
    features: pl.DataFrame = field(default_factory=pl.DataFrame)
    labels: pl.DataFrame = field(default_factory=pl.DataFrame)
    folds: Folds = field(default_factory=Folds)
    forecasts: pl.DataFrame = field(default_factory=pl.DataFrame)
    fold_models: list[models.Model] = field(default_factory=list)
    binned: pl.DataFrame = field(default_factory=pl.DataFrame)
    backtest: Backtest | None = None
    refused: str | None = None

    @property
    def interval(self) -> timedelta:
        """Length of a bar."""
        return self.study.data.interval

    @property
    def columns(self) -> list[str]:
        """Inputs of the model."""
        return [c for c in self.features.columns if c not in ("symbol", "time", "sigma")]

    @cached_property
    def windows(self) -> list[Window]:
        """The folds that the study's words ask for, by a count of our own."""
        return _windows(self.study, *_span(self.minutes, self.interval, self.length))

    @cached_property
    def outcomes(self) -> pl.DataFrame:
        """``symbol, time, y``: the simple return that a bar's label is about, from the bars."""
        return _outcomes(self.bars, self.study)


def look(study: Study, minutes: pl.DataFrame | None = None) -> Seen:
    """Take a study through the pipeline and gather what each stage left.

    Parameters
    ----------
    study : Study
        On bars of a clock (`data.bars` is ``time``).
    minutes : pl.DataFrame, optional
        The source's raw rows, ``symbol, open_time`` and the five values, in any order; of rows
        told twice the last counts. Absent: the stored rows, so what was lost or invented on their
        way into the store is not seen.

    Returns
    -------
    Seen
        Where the pipeline refuses, what was made until then.

    Raises
    ------
    UserError
        If the study trades bars that are not of a clock.
    """
    if study.data.bars != "time":
        raise UserError(
            f"guards: bars of a clock expected, study {study.name} has {study.data.bars!r} bars. "
            "Choose data.bars 'time'."
        )
    seen = _before(study, minutes)
    try:
        _fill(seen)
    except UserError as error:
        seen.refused = str(error)
    return seen


def _before(study: Study, minutes: pl.DataFrame | None) -> Seen:
    place = datasets.acquire(study)
    raw = minutes
    if raw is None:
        raw = lake.load(**place.where(), symbols=datasets.symbols(study))
        chosen = study.data
        inside = pl.col("open_time") >= chosen.start if chosen.start else pl.lit(True)
        before = pl.col("open_time") < chosen.end if chosen.end else pl.lit(True)
        raw = raw.filter(inside, before)
    keys = ["symbol", "open_time"]
    rows = raw.select(*keys, "open", "high", "low", "close", "volume")
    return Seen(study, rows.unique(keys, keep="last").sort(keys), place.interval)


def _fill(seen: Seen) -> None:
    study = seen.study
    seen.bars = pipeline.bars(study)
    seen.features = pipeline.features(study, seen.bars)
    seen.labels = pipeline.labels(study, seen.bars)
    seen.folds = pipeline.folds(study, seen.bars)
    seen.forecasts = pipeline.forecasts(study, seen.features)
    seen.fold_models = pipeline.fold_models(study)
    seen.binned = pipeline.binned(study, seen.forecasts)
    seen.backtest = pipeline.backtest(study, seen.forecasts)


def _span(minutes: pl.DataFrame, interval: timedelta, length: timedelta) -> tuple[Any, Any]:
    """Return the opens of the first and the last bar that has all its minutes."""
    bucket = pl.col("open_time").dt.truncate(interval)
    whole = minutes.group_by("symbol", bucket).len().filter(pl.col("len") >= interval // length)
    return whole["open_time"].min(), whole["open_time"].max()


def _windows(study: Study, first: datetime, last: datetime) -> list[Window]:
    """Walk forward by the words alone, over bars that open from `first` to `last`."""
    chosen, day = study.validation, timedelta(days=1)
    epoch = datetime(1970, 1, 1, tzinfo=first.tzinfo)
    grid = timedelta(minutes=1) if chosen.train % day else day
    begin = epoch + -((epoch - first) // grid) * grid
    found, at = [], begin + chosen.train
    while at < last + study.data.interval:
        start = begin if chosen.scheme == "expanding" else at - chosen.train
        found.append(Window(start, at - chosen.embargo, at, at + chosen.test))
        at += chosen.step or chosen.test
    return found


def _outcomes(bars: pl.DataFrame, study: Study) -> pl.DataFrame:
    keys, shown = ["symbol", "time"], pl.col("time")
    ends = bars.select("symbol", shown - study.labels.horizon, exit="close")
    entry = bars.select("symbol", shown - study.data.interval, entry="open")
    if study.labels.entry == "close":
        entry = bars.select(*keys, entry="close")
    both = bars.select(keys).join(ends, on=keys).join(entry, on=keys)
    return both.select(*keys, y=pl.col("exit") / pl.col("entry") - 1)
