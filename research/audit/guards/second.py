"""Guard of a second model: it must learn from forecasts of rows that the first had not seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research import charges, models, pipeline, training
from research.audit.guards.lessons import shares
from research.audit.guards.seen import Seen, Window
from research.audit.guards.tables import KEY
from research.errors import UserError
from research.models.contract import fingerprint
from research.models.meta import COLUMNS, side
from research.study import Study


def second_lesson(seen: Seen) -> Iterator[str]:
    """A second model is taught by forecasts of first models that had not seen the rows.

    Every first model is trained anew in a sealed room, forecasts the rows of its own test alone,
    and what a second model should have been shown is put together from that.
    """
    if seen.study.model.meta is None or seen.forecasts.is_empty():
        return
    rows = _rows(seen, _out_of_fold(seen))
    place = training.model_folder(pipeline.forecast_parts(seen.study, seen.bars, seen.features))
    stored = models.stored(place.with_name("meta"), own_folder=training.OWN)
    named = {f"{w.test_start:%Y-%m-%dT%H:%MZ}": w for w in seen.windows}
    for model in stored:
        card, window = model.card, named.get(model.card["fold"]["name"])
        if window is None:
            continue
        fit, early = shares(seen, rows, window, card["params"])
        where = f"second model of fold {card['fold']['name']}"
        if fit.height != card["rows"]:
            yield (
                f"{where}: taught by {card['rows']:,} trades; {fit.height:,} were forecast by a "
                "first model that had not seen them"
            )
        late = (None, None) if early.is_empty() else _numbers(seen, early)
        if fingerprint(*_numbers(seen, fit), *late, None) != card["data"]:
            yield f"{where}: its {card['rows']:,} trades hold other numbers than out-of-fold ones"


def _numbers(seen: Seen, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows.select([*seen.columns, *COLUMNS]).to_numpy(), rows["taught"].to_numpy()


def _out_of_fold(seen: Seen) -> pl.DataFrame:
    """Return forecasts of first models, each of rows behind all that it was trained on."""
    first = seen.windows[0]
    # what looks like a clock is refused on the first whole window, not on each short one
    study = seen.study.with_options({"model.meta": None, "features.allow": seen.columns})
    interval = seen.interval
    half, tenth = (max(study.validation.train // n // interval, 1) * interval for n in (2, 10))
    shorter = study.with_options({"validation.train": half, "validation.test": tenth})
    before = _before(first, half, tenth, study.validation.embargo)
    made = [part for window in before for part in _forecast(seen, shorter, window)]
    early = [part.filter(pl.col("time") < first.test_start) for part in made]
    late = [part for window in seen.windows for part in _forecast(seen, study, window)]
    return pl.concat([*early, *late])


def _before(
    first: Window, train: timedelta, test: timedelta, embargo: timedelta
) -> Iterator[Window]:
    at = first.train_start + train
    while at < first.test_start:
        yield Window(at - train, at - embargo, at, at + test)
        at += test


def _forecast(seen: Seen, study: Study, window: Window) -> list[pl.DataFrame]:
    """Return what a first model says of its test; nothing where it has no rows to learn from."""
    bars = seen.bars.filter(pl.col("time") <= window.train_end)
    inside = pl.col("time").is_between(window.test_start, window.test_end, closed="left")
    try:
        found = pipeline.fresh_models(study, bars, at=window.test_start)
    except UserError:
        return []
    return [models.forecast_table(found, seen.features.filter(inside))]


def _rows(seen: Seen, made: pl.DataFrame) -> pl.DataFrame:
    """Return what a second model may learn: features, what the first said, and whether it paid."""
    said = made.with_columns(side(made)).filter(pl.col("side") != 0).drop("sigma")
    said = said.join(seen.labels.select(*KEY, "known_at", "y"), on=KEY, how="inner")
    paid = pl.col("side") * pl.col("y") - charges.round_trip(seen.study)
    spread: Any = pl.col("sigma") * (seen.study.labels.horizon // seen.interval) ** 0.5
    table = seen.features.drop_nulls().join(said, on=KEY, how="inner")
    table = table.filter(pl.col("sigma") > 0).with_columns(
        primary=pl.col("forecast") / spread, taught=(paid > 0).cast(pl.Int8)
    )
    return table.with_columns(primary_size=pl.col("primary").abs()).sort(KEY)
