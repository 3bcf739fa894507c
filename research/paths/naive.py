"""What cross-validation that forgets time would claim: the leak in numbers, beside the purged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from research import datasets, models, pipeline, schema, scores, training
from research.batch import Progress
from research.paths.made import splits
from research.study import Study

LIMIT = 3.0
WAYS = ("shuffled rows", "blocks", "purged blocks")
"""Rows dealt out at random; neighbours kept together; and training purged and embargoed too."""
_COLUMNS: dict[str, Any] = {"name": pl.String, **dict.fromkeys(("ic", "low", "high"), pl.Float64)}

Masks = tuple[np.ndarray, np.ndarray]


def naive(study: Study, *, k: int = 5, progress: Progress | None = None) -> pl.DataFrame:
    """Score one learner by k-fold three ways on the same rows: shuffled, in blocks, and purged.

    Parameters
    ----------
    study : Study
        Its data, features, labels and learner; on a market without an edge every IC above zero
        is the leak itself.
    k : int
        Folds.
    progress : callable, optional
        Takes (done, total, label) after each fit.

    Returns
    -------
    pl.DataFrame
        ``name, ic, low, high``: the mean daily rank IC with its 95 % interval, one row for each of
        `WAYS`. The interval knows of days drawn anew, not of a leak: it is narrow around a lie.

    Notes
    -----
    Neighbouring rows of a horizon of h bars share all but one of its returns, so a shuffled fold
    trains on the answers of its tests. Every way fits to all of its training rows: nothing stops
    early.
    """
    rows, found, done = _rows(study), [], 0
    for way in WAYS:
        forecast = np.full(rows.height, np.nan)
        for train, test in _folds(study, rows, way, k):
            forecast[test] = _fitted(study, rows.filter(train)).predict(_inputs(rows.filter(test)))
            done += 1
            if progress is not None:
                progress(done, len(WAYS) * k, way)
        score = _score(study, rows, forecast)
        found.append((way, score.ic, score.low, score.high))
    return pl.DataFrame(found, schema=_COLUMNS, orient="row")


def _rows(study: Study) -> pl.DataFrame:
    """Return every row whose features and answer are known, with its scaled target."""
    bars = pipeline.bars(study)
    datasets.begin_trial(study, bars, "naive")
    table, known = pipeline.features(study, bars), pipeline.labels(study, bars)
    bars_ahead = study.labels.horizon // study.data.interval
    scale = pl.col("sigma") * bars_ahead**0.5
    rows = table.drop_nulls().filter(pl.col("sigma") > 0)
    rows = rows.join(known, on=schema.KEY, how="inner").sort(schema.KEY)
    return rows.with_columns((pl.col("y") / scale).clip(-LIMIT, LIMIT).alias("target"))


def _inputs(rows: pl.DataFrame) -> pl.DataFrame:
    own = {*schema.FEATURES, *schema.LABELS, "target", "label"}
    return rows.select(name for name in rows.columns if name not in own)


def _fitted(study: Study, rows: pl.DataFrame) -> models.Model:
    learner = models.learner(study.model.name, folder=training.OWN)
    params = models.settings(study.model.name, {}, threads=study.threads, folder=training.OWN)
    words = study.model.model_dump(mode="json") | {"early_stopping": 0, "calibrate": False}
    params |= {key: words[key] for key in params if key in words}
    taught = rows["label" if learner.CLASSES else "target"].to_numpy()
    return learner.fit(_inputs(rows), taught, weight=None, seed=study.seed, params=params)


def _folds(study: Study, rows: pl.DataFrame, way: str, k: int) -> Iterator[Masks]:
    """Yield the rows to train on and to test."""
    if way == "shuffled rows":
        dealt = np.random.default_rng(study.seed).permutation(rows.height) % k
        yield from ((dealt != fold, dealt == fold) for fold in range(k))
        return
    for split in splits(study, pipeline.bars(study), groups=k, test_groups=1):
        test = split.test(rows)
        train = split.train(rows) if way == "purged blocks" else ~test
        yield train.to_numpy(), test.to_numpy()


def _score(study: Study, rows: pl.DataFrame, forecast: np.ndarray) -> scores.Score:
    chosen = study.evaluation
    table = rows.select(*schema.KEY, "y", pl.Series("forecast", forecast).fill_nan(None))
    return scores.ic(table, horizon=study.labels.horizon, draws=chosen.draws, seed=study.seed)
