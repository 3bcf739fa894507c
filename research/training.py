"""How a study trains: what decides its forecasts, where its fold models lie, what weighs its rows.

`pipeline.forecasts` is the way in; this is its workshop.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import polars as pl

from research import batch, charges, models, schema, units, validation
from research import features as feature_room
from research import labels as label_room
from research.batch import Progress
from research.errors import UserError
from research.features import lint
from research.models import meta as second
from research.order_flow import studied as recorded
from research.store import cards, tables
from research.study import ROOT, Study
from research.study.sections import Labels

OWN = ROOT / "studies"
"""Where a user's own features, rules and models lie."""
NOT_STORED = (
    "study {}: models of {!r} are not stored. Give your class to_text() and from_text(text), or "
    "choose another model.name."
)


def feature_set(study: Study) -> feature_room.FeatureSet:
    """Return what the study's learner looks at: its feature set, or the one column of a rule."""
    chosen, name = study.features, study.model.name
    if not models.is_rule(name, folder=OWN):
        return feature_room.resolve(
            chosen.set, groups=chosen.groups, extra=chosen.extra, folder=OWN
        )
    groups = {rule: rule == name for rule in feature_room.SETS["rules"].names}
    own = [name] if ":" in name else []
    return feature_room.resolve("rules", groups=groups, extra=own, folder=OWN)


def check(study: Study) -> None:
    """Refuse a study that names a feature set, a feature or a learner which is not there."""
    feature_set(study)
    chosen = study.model
    for name in filter(None, [chosen.name, *chosen.league, chosen.meta]):
        models.learner(name, folder=OWN)


def has_classes(learner: str) -> bool:
    """Tell whether a learner gives class probabilities."""
    return models.learner(learner, folder=OWN).CLASSES


def labels(
    chosen: Labels,
    bars: pl.DataFrame,
    horizon: timedelta,
    interval: timedelta,
    sigma: pl.DataFrame | None,
) -> pl.DataFrame:
    """Return the labels that a study's words ask for; `sigma` where they are in volatilities."""
    how: dict[str, Any] = {"horizon": horizon, "interval": interval}
    if chosen.kind == "volatility":
        return label_room.volatility(bars, **how)
    how["entry"] = chosen.entry
    if chosen.kind == "return":
        return label_room.forward_return(bars, **how)
    take, stop = chosen.take or chosen.threshold, chosen.stop or chosen.threshold
    if chosen.kind == "barrier":
        return label_room.barrier(bars, take=take, stop=stop, sigma=sigma, **how)
    return label_room.direction(bars, up=take, down=stop, sigma=sigma, **how)


def parts(study: Study, source: pl.DataFrame, table: pl.DataFrame) -> dict[str, Any]:
    """Return all that decides one learner's forecasts: the key they are stored under."""
    recorded.check_market(study)
    words = study.model.model_dump(mode="json")
    learner = words["name"]
    return {
        "bars": cards.fingerprint(source),
        "features": cards.fingerprint(table),
        "labels": study.labels.model_dump(mode="json"),
        "validation": study.validation.model_dump(mode="json"),
        "learner": learner,
        "own": models.own_source(learner, folder=OWN) if ":" in learner else "",
        "params": _params(study),
        "meta": _meta(study),
        "training": {
            key: words[key] for key in ("single", "target", "continue_rounds", "weight", "decay")
        },
        "seed": study.seed,
        "code": cards.code("labels", "validation", "models"),
    }


def _params(study: Study) -> dict[str, Any]:
    """Return what the learner reads of a study's words."""
    words, learner = study.model.model_dump(mode="json"), study.model.name
    return {key: words[key] for key in models.settings(learner, {}, folder=OWN) if key in words}


def forecast(
    study: Study,
    bars: pl.DataFrame,
    table: pl.DataFrame,
    labels: pl.DataFrame,
    folds: Any,
    decided: dict[str, Any],
    progress: Progress | None,
) -> tables.Tables:
    """Train every fold and forecast its test rows; also the decisions of the gate, if any."""
    if not models.is_rule(study.model.name, folder=OWN):
        _long_enough(study)
        _lint(study, bars, table, folds)
    how, meta = _how(study, table) | {"folder": model_folder(decided)}, study.model.meta
    _ahead(study, table, labels, folds, how)
    made = models.out_of_sample(table, labels, folds, **how, progress=progress)
    table = made.forecasts if meta is None else _second(study, table, labels, folds, made, how)
    return {"table": table, "gates": made.gates}


def crosswise(
    study: Study,
    bars: pl.DataFrame,
    table: pl.DataFrame,
    labels: pl.DataFrame,
    splits: validation.Splits,
    folder: Path,
    progress: Progress | None,
) -> list[pl.DataFrame]:
    """Train every split and return what each forecasts of its tests, in the order of the splits.

    These models have seen what came after the rows they forecast. No gate chooses among them, for
    none is older than another.
    """
    if study.model.meta is not None:
        raise UserError(
            f"study {study.name}: a second model (model.meta) is taught walking forward alone. "
            "Take it out to judge the learner on many paths."
        )
    if not models.is_rule(study.model.name, folder=OWN):
        _lint(study, bars, table, splits[:1])
    how = _how(study, table) | {"gate": "none", "folder": folder / "models"}
    with TemporaryDirectory(prefix="alphabook-") as name:
        place = Path(name)
        table.write_parquet(place / "features.parquet")
        labels.write_parquet(place / "labels.parquet")
        items = [(place, split, how) for split in splits]
        return list(batch.each(_apart, items, workers=study.workers, watch=progress))


def _apart(item: tuple[Path, validation.Split, dict[str, Any]]) -> pl.DataFrame:
    place, split, how = item
    table, labels = (pl.read_parquet(place / f"{n}.parquet") for n in ("features", "labels"))
    return models.out_of_sample(table, labels, [split], **how).forecasts


def _meta(study: Study) -> dict[str, Any] | None:
    """Return all that decides a second model: the learner, its settings, and what a trade costs."""
    name, words = study.model.meta, study.model.model_dump(mode="json")
    if name is None:
        return None
    if study.backtest.rule != "probability":
        raise UserError(
            f"study {study.name}: model.meta says how likely a trade pays, which only the rule "
            f"'probability' trades; found backtest.rule {study.backtest.rule!r}."
        )
    chosen = models.settings(name, {}, folder=OWN)
    return {
        "learner": name,
        "own": models.own_source(name, folder=OWN) if ":" in name else "",
        "params": {key: words[key] for key in chosen if key in words},
        "cost": charges.round_trip(study),
    }


def _second(
    study: Study,
    table: pl.DataFrame,
    labels: pl.DataFrame,
    folds: Any,
    made: models.Made,
    how: dict[str, Any],
) -> pl.DataFrame:
    """Let a second model judge the trades; before the first fold it learns from halves of it."""
    chosen, first, meta = study.validation, folds[0], _meta(study) or {}
    half, tenth = (
        max(chosen.train // parts // study.data.interval, 1) * study.data.interval
        for parts in (2, 10)
    )
    before = validation.walk_forward(
        first.train_start, first.test_start, train=half, test=tenth, embargo=chosen.embargo
    )
    told = {key: meta[key] for key in ("learner", "params", "cost")}
    return second.two_stage(table, labels, folds, before=before, primary=made, how=how, **told)


def fresh(study: Study, bars: pl.DataFrame, at: datetime) -> dict[str, models.Model]:
    """Train the fold whose test starts at `at`; a rule is a model as it stands."""
    chosen, interval = feature_set(study), study.data.interval
    if models.is_rule(study.model.name, folder=OWN):
        how = _how(study, pl.DataFrame(schema=[*schema.FEATURES, *chosen.names]))
        names = ("learner", "columns", "horizon_bars", "target", "seed", "feature_card")
        rule = models.standing(**{name: how[name] for name in names}, own_folder=OWN)
        return {models.ALL: rule}
    if study.model.meta is not None:
        raise UserError(
            f"study {study.name}: a second model (model.meta) is known to the backtest alone. "
            "Take it out to train a model by itself."
        )
    _long_enough(study)
    fold = _fold(study, bars, at)
    window = bars.filter(
        pl.col("open_time").is_between(_reach(study, fold), fold.train_end, closed="left")
    )
    table = feature_room.build(window, chosen, interval=interval)
    _lint(study, window, table, [fold])
    sigma = table.select(*schema.KEY, "sigma")
    wide = study.labels.unit == "sigma" and study.labels.classes
    known = labels(study.labels, window, study.labels.horizon, interval, sigma if wide else None)
    return models.fresh(table, known, fold, **_how(study, table))


def _fold(study: Study, bars: pl.DataFrame, at: datetime) -> validation.Fold:
    """Return the fold of the study's walk whose test starts at `at`, whatever the walk's steps."""
    chosen = study.validation
    if bars.is_empty() or at.tzinfo is None:
        raise UserError(
            f"study {study.name}: a training needs bars and a moment with a time zone, found "
            f"{bars.height} bars and {at}."
        )
    begun, start = cast("datetime", bars["open_time"].min()), at - chosen.train
    if chosen.scheme == "expanding":
        end, test = at + chosen.test, chosen.test
        start = validation.walk_forward(begun, end, train=chosen.train, test=test)[0].train_start
    if begun > start:
        raise UserError(
            f"study {study.name}: a model for {at:%Y-%m-%d %H:%M}Z learns from bars since "
            f"{start:%Y-%m-%d %H:%M}Z, the first here is of {begun:%Y-%m-%d %H:%M}Z. Bring older "
            "bars, or shorten validation.train."
        )
    return validation.Fold(start, at - chosen.embargo, at, at + chosen.test)


def _reach(study: Study, fold: validation.Fold) -> datetime:
    """Return where the bars begin that decide the features of a training window."""
    interval = study.data.interval
    first = (fold.train_start - interval).replace(hour=0, minute=0, second=0, microsecond=0)
    return first - feature_room.lookback(feature_set(study), interval=interval)


def _how(study: Study, table: pl.DataFrame) -> dict[str, Any]:
    """Return how a fold is trained."""
    return {
        "learner": study.model.name,
        "columns": [c for c in table.columns if c not in schema.FEATURES],
        "horizon_bars": study.labels.horizon // study.data.interval,
        "target": study.model.target,
        "inner": study.validation.inner,
        "params": _params(study),
        "seed": study.seed,
        "threads": study.threads,
        "single": study.model.single,
        "feature_card": feature_card(study, table),
        "continue_rounds": study.model.continue_rounds,
        "weigh": weigher(study),
        "draw": drawer(study),
        "gate": study.validation.gate,
        "own_folder": OWN,
    }


def _ahead(
    study: Study, table: pl.DataFrame, labels: pl.DataFrame, folds: Any, how: dict[str, Any]
) -> None:
    """Let several processes train and store the models that the walk then finds."""
    learner = models.learner(study.model.name, folder=OWN)
    if study.workers == 1 or learner.FILE is None or models.is_rule(study.model.name, folder=OWN):
        return
    each = table["symbol"].n_unique() if study.model.single else 1
    shares = models.shares(len(folds) * each)
    with TemporaryDirectory(prefix="alphabook-") as name:
        place = Path(name)
        table.write_parquet(place / "features.parquet")
        labels.write_parquet(place / "labels.parquet")
        items = [(place, tuple(folds), how, share) for share in shares]
        watch = batch.progress(f"{study.model.name} on {study.workers} processes")
        list(batch.each(_train, items, workers=study.workers, watch=watch))


def _train(item: tuple[Path, Any, dict[str, Any], range]) -> None:
    place, folds, how, share = item
    table, labels = (pl.read_parquet(place / f"{n}.parquet") for n in ("features", "labels"))
    models.out_of_sample(table, labels, folds, **how, only=share)


def _long_enough(study: Study) -> None:
    """Refuse windows in which the features would hardly have begun."""
    needed = feature_room.warmup(feature_set(study), interval=study.data.interval)
    if study.validation.train <= needed * study.data.interval:
        raise UserError(
            f"study {study.name}: validation.train is {units.show(study.validation.train)}, but "
            f"the features need {needed} bars ({units.show(needed * study.data.interval)}) to "
            "warm up. Lengthen it, or choose features with less memory."
        )


def _lint(study: Study, bars: pl.DataFrame, table: pl.DataFrame, folds: Any) -> None:
    """Refuse clocks, price levels and constants on the first training window that has rows."""
    for fold in folds:
        inside = pl.col("time").is_between(fold.train_start, fold.train_end, closed="left")
        seen = table.filter(inside)
        if seen.drop_nulls().height:
            lint.refuse(seen, bars, allow=study.features.allow)
            return


def weigher(study: Study) -> Callable[[pl.DataFrame], np.ndarray] | None:
    """Return how the rows of a training window are weighed, or None where all count alike."""
    kind, decay, interval = study.model.weight, study.model.decay, study.data.interval
    if kind == "none" and decay is None:
        return None

    def weigh(rows: pl.DataFrame) -> np.ndarray:
        weight = np.ones(rows.height)
        if kind != "none":
            weight *= label_room.uniqueness(rows, interval=interval)
        if kind == "return":  # a move of nothing still counts a little: weights lie above zero
            size = rows["y"].abs().to_numpy()
            weight *= np.maximum(size, 1e-3 * size.mean() if size.any() else 1.0)
        if decay is not None:
            newest = cast("datetime", rows["time"].max())
            weight *= label_room.age_decay(rows, half_life=decay, at=newest)
        return weight / weight.mean()

    return weigh


def drawer(study: Study) -> Callable[[pl.DataFrame, int], np.ndarray]:
    """Return how the rows of a bag are drawn.

    As many as there would be labels without overlap, each the likelier the less it overlaps those
    drawn before. As many as there are rows would cover every moment however they are drawn: the
    bags' mean uniqueness is then that of all rows, and the draw changes nothing.
    """
    interval = study.data.interval

    def draw(rows: pl.DataFrame, seed: int) -> np.ndarray:
        news = label_room.uniqueness(rows, interval=interval).sum()
        draws = max(round(float(news)), 1)
        return label_room.sequential_bootstrap(rows, interval=interval, seed=seed, draws=draws)

    return draw


def feature_card(study: Study, table: pl.DataFrame) -> dict[str, Any]:
    """Return what a model's card says of the features it learnt from."""
    chosen = feature_set(study)
    if [c for c in table.columns if c not in schema.FEATURES] != chosen.names:
        return {"name": "own", "version": "0", "fingerprint": cards.fingerprint(table)}
    warmup = feature_room.warmup(chosen, interval=study.data.interval)
    known = {"name": chosen.name, "version": chosen.version, "warmup_bars": warmup}
    return {**known, "fingerprint": chosen.fingerprint()}


def model_folder(decided: dict[str, Any]) -> Path:
    """Continued models lie beside those they continue."""
    base = {**decided, "training": {**decided["training"], "continue_rounds": 0}}
    return tables.folder("forecasts", base) / "models"


def stored(study: Study, decided: dict[str, Any]) -> list[models.Model]:
    """Return the stored models of all folds, as continued last, the oldest first."""
    place, rounds = model_folder(decided), study.model.continue_rounds
    grown = list(models.stored(place, continued=rounds, own_folder=OWN)) if rounds else []
    return grown or list(models.stored(place, own_folder=OWN))
