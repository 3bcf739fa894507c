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

from research import charges, datasets, models, schema, tape, training, validation
from research import features as feature_room
from research import study as studies
from research.batch import Progress
from research.errors import UserError
from research.evaluation import Evaluation, evaluate
from research.screening import Screening, screen_features
from research.store import cards, ledger, tables
from research.study import Study
from research.tape import Backtest, binned, cuts


def read(name: str | Path, options: dict[str, Any] | None = None) -> Study:
    """Read a study as `research.study.read` does; what it names to learn with must be there."""
    chosen = studies.read(name, options)
    training.check(chosen)
    return chosen


# -- bars ------------------------------------------------------------------------------------------


def bars(study: Study, *, progress: Progress | None = None) -> pl.DataFrame:
    """Return the study's bars.

    Returns
    -------
    pl.DataFrame
        As `schema.BARS`: sorted by symbol and time, gaps left as they are.
    """
    table = datasets.load(study, progress=progress)
    if table.is_empty():
        raise UserError(
            f"study {study.name}: no bars of {datasets.dataset(study).lineage} in the span and of "
            f"the symbols asked for. Fetch them with ./run download {study.name}, or change "
            "data.start and data.end."
        )
    return table


# -- features, labels, folds -----------------------------------------------------------------------


def feature_set(study: Study) -> feature_room.FeatureSet:
    """Return what the study's learner looks at: its feature set, or the one column of a rule."""
    return training.feature_set(study)


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


def screening(
    study: Study, features: pl.DataFrame | None = None, *, progress: Progress | None = None
) -> Screening:
    """Study every feature alone, on the first training window: no day is judged on twice."""
    source = bars(study)
    table = _features(study, source, features, progress)
    first, chosen = folds(study, source)[0], study.labels.horizon
    known = table.join(labels(study, source), on=schema.KEY, how="left", maintain_order="left")
    return screen_features(
        table.filter(first.train(known)),
        {h: labels(study, source, horizon=h) for h in _horizons(study)},
        bars=source,
        horizon=chosen,
        seed=study.seed,
        progress=progress,
    )


def labels(
    study: Study, bars: pl.DataFrame | None = None, *, horizon: timedelta | None = None
) -> pl.DataFrame:
    """Return what is to be forecast, of every bar whose outcome is known and without a gap.

    Returns
    -------
    pl.DataFrame
        As `schema.LABELS`; with `label` (-1, 0, 1) where the study forecasts classes.
    """
    chosen, source = study.labels, _bars(study, bars)
    over, wide = horizon or chosen.horizon, chosen.unit == "sigma" and chosen.classes
    sigma = features(study, source).select(*schema.KEY, "sigma") if wide else None
    return training.labels(chosen, source, over, study.data.interval, sigma)


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
    return _trained(study, features, progress)["table"]


def gates(study: Study) -> pl.DataFrame:
    """Return what was decided at each retraining, with the evidence; no rows without a gate."""
    return _trained(study, None, None)["gates"]


def _trained(study: Study, given: Any, progress: Progress | None) -> tables.Tables:
    source = bars(study)
    table = _features(study, source, given, progress)
    decided = forecast_parts(study, source, table)

    def build(_: Path) -> tables.Tables:
        datasets.begin_trial(study, source, "training")
        known, cut = labels(study, source), folds(study, source)
        return training.forecast(study, source, table, known, cut, decided, progress)

    return tables.keep("forecasts", decided, build)


def _features(study: Study, source: pl.DataFrame, given: Any, watch: Any) -> pl.DataFrame:
    if given is None:
        return features(study, source, progress=watch)
    return schema.as_table(given, schema.FEATURES, "features")


def forecast_parts(study: Study, source: pl.DataFrame, table: pl.DataFrame) -> dict[str, Any]:
    """Return all that decides one learner's forecasts: the key they are stored under."""
    return training.parts(study, source, table)


def fold_models(study: Study) -> list[models.Model]:
    """Return the model of every fold, the oldest first; none of a learner that cannot be stored."""
    source = bars(study)
    table = features(study, source)
    forecasts(study, table)
    return training.stored(study, forecast_parts(study, source, table))


def newest_model(study: Study) -> models.Model:
    """Return the model of the last fold: the one that has seen the most recent days."""
    stored = fold_models(study)
    if not stored:
        raise UserError(training.NOT_STORED.format(study.name, study.model.name))
    return stored[-1]


def fresh_models(study: Study, bars: Any, *, at: datetime) -> dict[str, models.Model]:
    """Train on `bars` what a fold whose test starts at `at` would: by symbol, or one as ``""``."""
    return training.fresh(study, _bars(study, bars), at)


# -- judgement -------------------------------------------------------------------------------------


def evaluation(
    study: Study, forecasts: pl.DataFrame | None = None, *, progress: Progress | None = None
) -> Evaluation:
    """Score the study's forecasts, and count the trial."""
    source, chosen = bars(study), study.evaluation
    begun = datasets.begin_trial(study, source, "evaluation")
    made = _forecasts(study, forecasts)
    found = evaluate(
        made,
        {h: labels(study, source, horizon=h) for h in _horizons(study)},
        horizon=study.labels.horizon,
        interval=study.data.interval,
        scope=chosen.scope,
        **cuts(study),
        cost=charges.round_trip(study),
        draws=chosen.draws,
        seed=study.seed,
        progress=progress,
    )
    begun.done(cards.fingerprint(made), **found.evidence)
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
    if study.labels.kind == "volatility":
        raise UserError(
            f"study {study.name}: a forecast of volatility has no side to trade. Evaluate it, or "
            "choose labels.kind 'return', 'direction' or 'barrier'."
        )
    source, capital = bars(study), study.backtest.capital
    begun = None if name else datasets.begin_trial(study, source, "backtest")
    made = _forecasts(study, forecasts)
    laid, rule = tape.lay(study, source, binned(study, made)), tape.rules(study)
    if name == "buy_and_hold":
        laid, rule = laid.always(1.0), tape.hold_forever(study)

    def build(_: Path) -> tables.Tables:
        return tape.tables(laid, laid.play(rule, capital=capital))

    seen, made_of = {"ledger": ledger.head()}, tape.parts(laid, rule, capital)
    stored = tables.keep("backtest", made_of, build, beside=seen)
    tested = tape.judge(laid, rule, capital=capital, stored=stored)
    if begun:
        begun.done(cards.fingerprint(made), **tape.evidence(tested, capital))
    return tested
