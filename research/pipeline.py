"""The way through, once: raw bars to a backtest, one short function per stage.

A notebook cell, the command line, a sweep and a campaign call these same functions. Each returns
its stage's table and may be handed the previous one; left out, that one is made, or taken from the
store when nothing that decides it has changed. No formula lives here.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import polars as pl

from research import bars as bar_room
from research import datasets, models, schema, signals, tape, validation
from research import features as feature_room
from research import labels as label_room
from research.batch import Progress
from research.errors import UserError
from research.evaluation import Evaluation, evaluate
from research.store import cards, lake, tables
from research.study import ROOT, Study
from research.tape import Backtest

# -- bars ------------------------------------------------------------------------------------------


def bars(study: Study, *, progress: Progress | None = None) -> pl.DataFrame:
    """Return the study's bars.

    Returns
    -------
    pl.DataFrame
        As `schema.BARS`: sorted by symbol and time, gaps left as they are.
    """
    place, data = datasets.acquire(study, progress=progress), study.data
    table = lake.load(**place.where(), symbols=data.symbols, start=data.start, end=data.end)
    if table.is_empty():
        raise UserError(
            f"study {study.name}: no bars of {place.lineage} in the span and of the symbols asked "
            f"for. Fetch them with ./run download {study.name}, or change data.start and data.end."
        )
    return table if place.interval == data.interval else bar_room.resample(table, data.interval)


# -- features, labels, folds -----------------------------------------------------------------------


def feature_set(study: Study) -> feature_room.FeatureSet:
    """Return the study's feature set with its groups and the user's own columns."""
    chosen = study.features
    return feature_room.resolve(
        chosen.set, groups=chosen.groups, extra=chosen.extra, folder=ROOT / "studies"
    )


def features(
    study: Study, bars: pl.DataFrame | None = None, *, progress: Progress | None = None
) -> pl.DataFrame:
    """Return one row of features per bar, and `sigma`, the volatility of one bar.

    Returns
    -------
    pl.DataFrame
        ``symbol, time``, the set's columns, ``sigma``. Null before the set's measured warm-up.
    """
    source = _bars(study, bars)

    def build(_: Path) -> tables.Tables:
        chosen, interval = feature_set(study), study.data.interval
        return {"table": feature_room.build(source, chosen, interval=interval, progress=progress)}

    return tables.keep("features", feature_parts(study, source), build)["table"]


def feature_parts(study: Study, source: pl.DataFrame) -> dict[str, Any]:
    """Return all that decides the feature table: the key it is stored under."""
    return {
        "bars": cards.fingerprint(source),
        "set": feature_set(study).fingerprint(),
        "interval": str(study.data.interval),
        "code": cards.code("features", without=("features/study.py",)),
    }


def labels(
    study: Study, bars: pl.DataFrame | None = None, *, horizon: timedelta | None = None
) -> pl.DataFrame:
    """Return the forward return of every bar whose whole horizon is known and without a gap."""
    return label_room.forward_return(
        _bars(study, bars),
        horizon=horizon or study.labels.horizon,
        interval=study.data.interval,
        entry=study.labels.entry,
    )


def folds(study: Study, bars: pl.DataFrame | None = None) -> validation.Folds:
    """Cut the study's span into walk-forward folds, by time, the same for all symbols."""
    times, chosen = _bars(study, bars)["open_time"], study.validation
    start, end = cast("datetime", times.min()), cast("datetime", times.max())
    return validation.walk_forward(
        start,
        end + study.data.interval,
        train=chosen.train,
        test=chosen.test,
        step=chosen.step,
        embargo=chosen.embargo,
        scheme=chosen.scheme,
    )


def _bars(study: Study, given: Any) -> pl.DataFrame:
    return bars(study) if given is None else schema.as_table(given, schema.BARS, "bars")


# -- forecasts -------------------------------------------------------------------------------------


def forecasts(
    study: Study,
    features: pl.DataFrame | None = None,
    *,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Train walk-forward and return the out-of-sample forecasts of the study's learner.

    Parameters
    ----------
    study : Study
        Its `validation` and `model` decide folds and learner.
    features : pl.DataFrame, optional
        A table like that of `features`; your own columns are welcome.
    progress : callable, optional
        Takes (done, total, label) after each fold.

    Returns
    -------
    pl.DataFrame
        As `schema.FORECASTS`; every row was forecast by a model that had not seen it.
    """
    source = bars(study)
    table = _features(study, source, features, progress)
    parts = forecast_parts(study, source, table)

    def build(_: Path) -> tables.Tables:
        made = models.out_of_sample(
            table,
            labels(study, source),
            folds(study, source),
            learner=study.model.name,
            columns=[c for c in table.columns if c not in schema.FEATURES],
            horizon_bars=study.labels.horizon // study.data.interval,
            target=study.model.target,
            inner=study.validation.inner,
            params=parts["params"],
            seed=study.seed,
            threads=study.threads,
            single=study.model.single,
            feature_card=_feature_card(study, table),
            folder=_model_folder(parts),
            continue_rounds=study.model.continue_rounds,
            progress=progress,
        )
        return {"table": made}

    return tables.keep("forecasts", parts, build)["table"]


def _features(study: Study, source: pl.DataFrame, given: Any, watch: Any) -> pl.DataFrame:
    if given is None:
        return features(study, source, progress=watch)
    return schema.as_table(given, schema.FEATURES, "features")


def forecast_parts(study: Study, source: pl.DataFrame, table: pl.DataFrame) -> dict[str, Any]:
    """Return all that decides one learner's forecasts: the key they are stored under."""
    chosen = study.model.model_dump(mode="json")
    learner = chosen["name"]
    return {
        "bars": cards.fingerprint(source),
        "features": cards.fingerprint(table),
        "labels": study.labels.model_dump(mode="json"),
        "validation": study.validation.model_dump(mode="json"),
        "learner": learner,
        "params": {key: chosen[key] for key in models.settings(learner, {}) if key in chosen},
        "training": {key: chosen[key] for key in ("single", "target", "continue_rounds")},
        "seed": study.seed,
        "code": cards.code("labels", "validation", "models"),
    }


def _feature_card(study: Study, table: pl.DataFrame) -> dict[str, Any]:
    chosen = feature_set(study)
    if [c for c in table.columns if c not in schema.FEATURES] != chosen.names:
        return {"name": "own", "version": "0", "fingerprint": cards.fingerprint(table)}
    warmup = feature_room.warmup(chosen, interval=study.data.interval)
    known = {"name": chosen.name, "version": chosen.version, "warmup_bars": warmup}
    return {**known, "fingerprint": chosen.fingerprint()}


def newest_model(study: Study) -> models.Model:
    """Return the model of the last fold: the one that has seen the most recent days."""
    source = bars(study)
    table = features(study, source)
    forecasts(study, table)
    place = _model_folder(forecast_parts(study, source, table))
    stored = [card.parent for card in sorted(place.rglob("card.json"))]
    grown = [p for p in stored if p.name == f"continued_{study.model.continue_rounds}"]
    plain = [p for p in stored if not p.name.startswith("continued_")]
    return models.load((grown or plain)[-1])


def _model_folder(parts: dict[str, Any]) -> Path:
    """Continued models lie beside those they continue."""
    base = {**parts, "training": {**parts["training"], "continue_rounds": 0}}
    return tables.folder("forecasts", base) / "models"


# -- judgement -------------------------------------------------------------------------------------


def evaluation(
    study: Study, forecasts: pl.DataFrame | None = None, *, progress: Progress | None = None
) -> Evaluation:
    """Score the study's forecasts, and count the trial."""
    source, made, chosen = bars(study), _forecasts(study, forecasts), study.evaluation
    found = evaluate(
        made,
        {h: labels(study, source, horizon=h) for h in _horizons(study)},
        horizon=study.labels.horizon,
        interval=study.data.interval,
        bins=chosen.bins,
        scope=chosen.scope,
        window=chosen.window,
        cost=tape.round_trip(study),
        draws=chosen.draws,
        seed=study.seed,
        progress=progress,
    )
    datasets.count_trial(study, made, found.score.ic)
    return found


def _forecasts(study: Study, given: Any) -> pl.DataFrame:
    if given is None:
        return forecasts(study)
    return schema.as_table(given, schema.FORECASTS, "forecasts")


def _horizons(study: Study) -> list[timedelta]:
    whole = {h for h in study.evaluation.horizons if not h % study.data.interval}
    return sorted(whole | {study.labels.horizon})


def backtest(
    study: Study, forecasts: pl.DataFrame | None = None, *, name: str | None = None
) -> Backtest:
    """Trade the study's forecasts over the bars they were made for, with costs.

    Parameters
    ----------
    study : Study
        Its `backtest` and `costs` make the rule.
    forecasts : pl.DataFrame, optional
        As `schema.FORECASTS`; of another learner, say.
    name : str, optional
        ``"buy_and_hold"`` holds every symbol throughout instead.
    """
    source, made = bars(study), binned(study, _forecasts(study, forecasts))
    laid, rule, capital = tape.lay(source, made), tape.rules(study), study.backtest.capital
    if name == "buy_and_hold":
        laid, rule = laid.always(1.0), tape.hold_forever(study)

    def build(_: Path) -> tables.Tables:
        return tape.tables(laid, laid.play(rule, capital=capital))

    stored = tables.keep("backtest", tape.parts(laid, rule, capital), build)
    return tape.judge(laid, rule, capital=capital, stored=stored)


def binned(study: Study, made: pl.DataFrame) -> pl.DataFrame:
    """Return the forecasts as the rule trades them: with bins, if it trades bins."""
    chosen = study.evaluation
    if study.backtest.rule == "threshold":
        return made
    if chosen.scope not in signals.CAUSAL:
        raise UserError(
            f"study {study.name}: evaluation.scope {chosen.scope!r} ranks with forecasts that came "
            "later, so it cannot be traded. Use 'trailing' or 'fold'."
        )
    return signals.assign(made, bins=chosen.bins, scope=chosen.scope, window=chosen.window)
