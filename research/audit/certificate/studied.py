"""A study's certificate: its features, what its labels know, and what its folds may learn."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from research import features as room
from research import models, pipeline, schema, tape, training
from research.audit.certificate import bend
from research.audit.certificate.certify import certify
from research.audit.certificate.cuts import Guard, guard
from research.audit.certificate.paper import summary
from research.audit.certificate.stride import Watch
from research.errors import UserError
from research.features.returns import SIGMA_BARS, sigma
from research.store import cards, tables
from research.study import Study

CUTS = 20
_KINDS = ("raised", "removed", "lowered")


def run(
    study: Study, *, sets: Iterable[str] | None = None, progress: Watch | None = None
) -> dict[str, Any]:
    """Certify a study: features at every bar, labels, folds, and what is fitted in them.

    Parameters
    ----------
    study : Study
        Whose bars, labels, folds and models are looked at.
    sets : iterable of str, optional
        Registered feature sets to certify on its bars; absent: what its learner looks at.
    progress : callable, optional
        Takes (done, total, label).

    Returns
    -------
    dict
        Of plain values: features, bars, checked, mismatches, verdict (``causal``, ``looks
        ahead``, ``broken`` or ``not shown``), ok, first (the smallest counter-example or null),
        certificates (by set), guards (labels, folds, training, cut-points: ok, compared, note),
        skipped (sets that these bars cannot feed, and why), seconds.
    """
    bars, step = pipeline.bars(study), study.data.interval
    chosen = [pipeline.feature_set(study)] if sets is None else [room.resolve(n) for n in sets]
    found, skipped = {}, {}
    for one in [*chosen, _scale()]:
        try:
            made = certify(one, bars, interval=step, seed=study.seed, progress=progress)
        except UserError as error:
            if sets is None:
                raise
            skipped[one.name] = str(error)
            continue
        found[one.name] = made.found()
    return _together(study, bars, found, guards(study, bars), skipped)


def kept(study: Study, *, progress: Watch | None = None) -> dict[str, Any]:
    """Return a study's certificate as `run` makes it, from the store where nothing has changed.

    What is shown of features is kept by features and bars, what is shown of labels, folds and
    models by all that decides the forecasts. How long it took is left out.

    Examples
    --------
    >>> from research import study
    >>> small = {"simulated.symbols": 1, "simulated.days": 3}
    >>> short = {"validation.train": "1 d", "validation.test": "1 d", "model.name": "ridge"}
    >>> kept(study.read("demo", {**small, **short}))["verdict"]
    'causal'
    """
    bars, step = pipeline.bars(study), study.data.interval
    decided = pipeline.feature_parts(study, bars)
    code = {"certificate": cards.code("audit/certificate"), "seed": study.seed}
    found = {}
    for one in (pipeline.feature_set(study), _scale()):

        def proven(one: room.FeatureSet = one) -> dict[str, Any]:
            made = certify(one, bars, interval=step, seed=study.seed, progress=progress).found()
            return {key: value for key, value in made.items() if key != "seconds"}

        found[one.name] = _once({**decided, "set": one.fingerprint(), **code}, proven)
    trained = pipeline.forecast_parts(study, bars, pipeline.features(study, bars))
    rule = {"evaluation": study.evaluation.model_dump(mode="json"), "rule": study.backtest.rule}
    held = _once({"forecasts": trained, **rule, **code}, lambda: guards(study, bars))
    return _together(study, bars, found, held, {})


def _once(parts: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return JSON values that are stored by what they were made of."""

    def build(_: Path) -> tables.Tables:
        return {"certificate": pl.DataFrame({"json": [json.dumps(work(), allow_nan=False)]})}

    stored: dict[str, Any] = json.loads(
        tables.keep("certificates", parts, build)["certificate"]["json"][0]
    )
    return stored


def guards(study: Study, bars: pl.DataFrame) -> dict[str, Guard]:
    """Return what was found of labels, folds, training and cut-points, by name."""
    return {
        "labels": labels_guard(study, bars),
        "folds": folds_guard(study, bars),
        "training": training_guard(study, bars),
        "cut-points": cuts_guard(study, bars),
    }


def short(found: dict[str, Any]) -> dict[str, Any]:
    """Return what the numbers of a run say of its certificate."""
    return {k: found[k] for k in ("verdict", "features", "bars", "checked", "mismatches")}


def weighed(verdict: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return a verdict as its certificate lets it stand: what may see the future is no edge.

    >>> weighed({"word": "deployable", "because": "it pays"}, {"verdict": "looks ahead"})["word"]
    'undecided'
    >>> weighed({"word": "nothing", "because": "it loses"}, {"verdict": "looks ahead"})["because"]
    'it loses'
    """
    if found["verdict"] == "causal" or verdict["word"] != "deployable":
        return verdict
    why = f"its certificate says {found['verdict']}, and a number that may know the future is none"
    return {**verdict, "word": "undecided", "because": why}


def text(found: dict[str, Any]) -> str:
    """Return what a terminal shows of `run`'s result."""
    head = (
        f"{found['study']}: {found['verdict']}. {found['features']} features, {found['bars']:,} "
        f"bars, {found['checked']:,} checks, {found['mismatches']:,} mismatches, "
        f"{found['seconds']:.1f} s"
    )
    return "\n  ".join([head, *lines(found)])


def lines(found: dict[str, Any]) -> list[str]:
    """Return what a page lists of `run`'s result."""
    said = [line for one in found["certificates"].values() for line in summary(one)]
    said += [f"{name}: {guard['note']}" for name, guard in found["guards"].items()]
    return said + [f"{name}: left out. {why}" for name, why in found["skipped"].items()]


def _scale() -> room.FeatureSet:
    """The volatility that scales targets stands beside every set and is certified with it."""
    expr = sigma(SIGMA_BARS)
    made = room.Feature(expr, "sigma", f"sigma({SIGMA_BARS})")
    return room.FeatureSet("sigma", "1", {"volatility": made})


def _together(
    study: Study,
    bars: pl.DataFrame,
    found: dict[str, dict[str, Any]],
    guards: dict[str, Guard],
    skipped: dict[str, str],
) -> dict[str, Any]:
    every = list(found.values())
    verdicts = {one["verdict"] for one in every}
    broken = any(guard["ok"] is False for guard in guards.values())
    order = ("looks ahead", "broken", "not shown")
    worst = next((v for v in order if v in verdicts or (v == "broken" and broken)), "causal")
    firsts = [one["first"] for one in every if one["first"]]
    return {
        "command": "audit causality",
        "study": study.name,
        "verdict": worst,
        "ok": worst == "causal",
        "bars": bars.height,
        **{k: sum(one[k] for one in every) for k in ("features", "checked", "mismatches")},
        "comparisons": sum(one["comparisons"] for one in every),
        "first": min(firsts, key=lambda one: (one["ahead"], one["reach"]), default=None),
        "guards": guards,
        "fingerprints": {
            "bars": cards.fingerprint(bars),
            "sets": {name: one["fingerprints"]["features"] for name, one in found.items()},
            "code": cards.digest(cards.code("features", "labels", "validation", "models")),
        },
        "skipped": skipped,
        "seconds": round(sum(one.get("seconds", 0.0) for one in every), 3),
        "certificates": found,
    }


def labels_guard(study: Study, bars: pl.DataFrame) -> Guard:
    """Check that an answer knows nothing after its `known_at`, and is known after its row.

    At 20 moments all later bars are changed or taken away; every label known by then must be as
    it was.
    """
    step, horizon = study.data.interval, study.labels.horizon
    wide = study.labels.unit == "sigma" and study.labels.classes
    scale = None
    if wide:
        scale = room.build(bars, _scale(), interval=step).select(*schema.KEY, "sigma")
    made = training.labels(study.labels, bars, horizon, step, scale)
    early = made["known_at"] <= made["time"]
    if early.any():
        return guard(False, made.height, f"an answer known at its row: {schema.at(made, early)}")
    compared = 0
    for k, cut in enumerate(_moments(bars, CUTS)):
        later = (bars["time"] > cut).to_numpy()
        changed = bend.after(bars, later, _KINDS[k % len(_KINDS)], (study.seed, k))
        anew = training.labels(study.labels, changed, horizon, step, scale)
        before, after = (table.filter(pl.col("known_at") <= cut) for table in (made, anew))
        compared += before.height
        if not before.equals(after):
            return guard(False, compared, f"answers known by {cut} move with later bars")
    return guard(True, compared, f"{compared:,} answers stay when bars after their known_at change")


def _moments(bars: pl.DataFrame, number: int) -> list[datetime]:
    times = bars["time"].unique().sort()
    places = np.unique(np.linspace(times.len() // 10, times.len() - 2, number).astype(int))
    return [times[int(place)] for place in places]


def folds_guard(study: Study, bars: pl.DataFrame) -> Guard:
    """Check every fold: no training row's interval meets its test or the embargo before it."""
    known = pipeline.labels(study, bars).select(*schema.KEY, "known_at")
    embargo, share = study.validation.embargo, study.validation.inner
    folds = pipeline.folds(study, bars)
    compared = 0
    for fold in folds:
        learnt = known.filter(fold.train(known))
        compared += learnt.height
        wrong = intersecting(learnt, fold.spans, embargo)
        fit, early = (known.filter(part) for part in fold.inner(known, share))
        tail = early["time"].min()
        if isinstance(tail, datetime):
            wrong = pl.concat([wrong, fit.filter(pl.col("known_at") >= tail - embargo)])
        if not wrong.is_empty():
            where = schema.at(wrong, pl.repeat(True, wrong.height, eager=True))
            return guard(False, compared, f"fold {fold.name} learns from {where}, known too late")
    note = f"{compared:,} training rows of {len(folds)} folds: none meets a test or an embargo"
    return guard(True, compared, note)


def intersecting(
    rows: pl.DataFrame, tests: Iterable[tuple[datetime, datetime]], embargo: timedelta
) -> pl.DataFrame:
    """Return the rows whose interval, from `time` to `known_at`, meets a test or its embargo.

    Examples
    --------
    >>> at = [datetime(2025, 1, day) for day in (1, 2, 3)]
    >>> rows = pl.DataFrame({"time": at[:2], "known_at": at[1:]})
    >>> intersecting(rows, [(at[2], at[2] + timedelta(days=1))], timedelta(0)).height
    1
    """
    meets = pl.lit(False)
    for start, end in tests:
        meets |= (pl.col("known_at") >= start - embargo) & (pl.col("time") < end)
    return rows.filter(meets)


def training_guard(study: Study, bars: pl.DataFrame) -> Guard:
    """Train one fold twice, its test and all that came later changed: the same models, to the byte.

    What is fitted in a fold (scales, cuts of targets, early stops, calibration) is in its model.
    """
    if models.is_rule(study.model.name, folder=training.OWN):
        return guard(None, 0, "a rule learns nothing")
    plain = study.with_options({"model.meta": None, "workers": 1})
    table, known = pipeline.features(plain, bars), pipeline.labels(plain, bars)
    fold = pipeline.folds(plain, bars)[0]
    late = pl.col("time") >= fold.test_start
    numbers = [c for c in table.columns if c not in schema.KEY]
    bent = table.with_columns(
        pl.when(late).then(pl.col(c) * 3 + 1).otherwise(c).alias(c) for c in numbers
    )
    unknown = pl.col("known_at") >= fold.train_end
    answers = [c for c in ("y", "label") if c in known.columns]
    other = known.with_columns(
        pl.when(unknown).then(-pl.col(c)).otherwise(c).alias(c) for c in answers
    )
    first, again = (_fitted(plain, bars, *given, fold) for given in ((table, known), (bent, other)))
    if first != again:
        return guard(
            False, len(first), f"fold {fold.name}: its models move with rows they may not see"
        )
    note = (
        f"fold {fold.name}: {len(first)} files of models stay, byte for byte, when its test changes"
    )
    return guard(True, len(first), note)


def _fitted(
    study: Study, bars: pl.DataFrame, table: pl.DataFrame, known: pl.DataFrame, fold: Any
) -> dict[str, bytes]:
    """Return what one fold's training leaves: names and bytes of its models."""
    decided = {"sealed": uuid.uuid4().hex, "training": {}}  # a place of its own
    place = training.model_folder(decided)
    try:
        made = training.forecast(study, bars, table, known, [fold], decided, None)["table"]
        files = {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}
    finally:
        shutil.rmtree(place.parent, ignore_errors=True)
    return files | dict.fromkeys(made["model"].unique().sort().to_list(), b"")


def cuts_guard(study: Study, bars: pl.DataFrame) -> Guard:
    """Bin forecasts drawn at random, change the later ones, and see whether a bin before moves."""
    if study.backtest.rule != "quantile":
        return guard(None, 0, "the rule draws no cut-points")
    rng = np.random.default_rng(study.seed)
    folds = pipeline.folds(study, bars)
    key = bars.select(schema.KEY)
    parts = [key.filter(fold.test(key)).with_columns(fold=pl.lit(fold.name)) for fold in folds]
    drawn = pl.concat(parts).sort(schema.KEY)
    drawn = drawn.with_columns(forecast=pl.Series(rng.standard_normal(drawn.height)))
    binned, compared = tape.binned(study, drawn), 0
    for cut in _moments(drawn, CUTS):
        late = pl.col("time") > cut
        moved = drawn.with_columns(
            forecast=pl.when(late).then(5 - pl.col("forecast")).otherwise("forecast")
        )
        after = tape.binned(study, moved)
        kept = binned["time"] <= cut
        compared += int(kept.sum())
        if not binned.filter(kept)["bin"].equals(after.filter(kept)["bin"], null_equal=True):
            return guard(False, compared, f"bins up to {cut} move with later forecasts")
    return guard(True, compared, f"{compared:,} bins stay when later forecasts change")
