"""Guards of training: which rows a model learnt from, and whether it needed any other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from research import pipeline, training
from research.audit.guards.seen import Seen, Window
from research.errors import UserError
from research.models.contract import fingerprint
from research.models.oos.rows import LIMIT


def _plain(seen: Seen) -> bool:
    """Whether the run has fold models that can be recounted: no gate, no second model, no rule."""
    chosen = seen.study.model
    alone = chosen.meta is None and not chosen.continue_rounds
    return bool(seen.fold_models) and alone and seen.study.validation.gate == "none"


def lesson(seen: Seen) -> Iterator[str]:
    """A model's fingerprint is that of the rows its fold may see, and of no other.

    Recount each model's training and early rows, and the numbers it was shown, from the tables.

    A row may train whose features and outcome are known, and whose horizon ends before the fold's
    training does. The fingerprint in the model's card covers every number that the fit was handed.
    """
    if not _plain(seen) or not seen.study.model.name:
        return
    rows = _rows(seen)
    for model in seen.fold_models:
        card = model.card
        window = _window(seen, card["fold"]["name"])
        if window is None:
            yield f"model {model.id}: its fold {card['fold']['name']} is none of the study's words"
            continue
        mine = rows if card["symbol"] is None else rows.filter(pl.col("symbol") == card["symbol"])
        fit, early = shares(seen, mine, window, card["params"])
        where = f"model of fold {card['fold']['name']}"
        for word, due, said in (
            ("trained on", fit.height, card["rows"]),
            ("stopped early on", early.height, card["early_rows"]),
        ):
            if due != said:
                yield f"{where}: {word} {said:,} rows, its fold may see {due:,}"
        if _fingerprint(seen, fit, early) != card["data"]:
            yield f"{where}: its {card['rows']:,} rows hold other numbers than the fold may see"


def _window(seen: Seen, name: str) -> Window | None:
    named = {f"{w.test_start:%Y-%m-%dT%H:%MZ}": w for w in seen.windows}
    return named.get(name)


def _rows(seen: Seen) -> pl.DataFrame:
    """Return rows with known features, their outcome, and what of it a model is taught."""
    study, horizon = seen.study, seen.study.labels.horizon
    known = seen.features.drop_nulls().join(seen.labels, on=["symbol", "time"], how="inner")
    sigma = pl.col("sigma") * float(np.sqrt(horizon // seen.interval))
    target = pl.col("y")
    if study.model.target == "scaled":
        known = known.filter(pl.col("sigma") > 0)
        target = (pl.col("y") / sigma).clip(-LIMIT, LIMIT)
    if training.has_classes(study.model.name):
        target = pl.col("label").cast(pl.Int8)
    return known.with_columns(taught=target).sort("symbol", "time")


def shares(
    seen: Seen, rows: pl.DataFrame, window: Window, params: dict[str, Any]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows to fit on and, where a learner stops early or calibrates, the newest.

    Parameters
    ----------
    seen : Seen
        Its study says how long the newest share is.
    rows : pl.DataFrame
        With ``time`` and ``known_at``.
    window : Window
        The fold.
    params : dict
        The learner's settings.
    """
    start, end = window.train_start, window.train_end
    if not (params.get("early_stopping") or params.get("calibrate")):
        return _between(rows, start, end), rows.clear()
    tail = end - (end - start) * seen.study.validation.inner
    fit = _between(rows, start, tail - (window.test_start - end))
    early = _between(rows, tail, end)
    return (fit, early) if early.height > 1 else (_between(rows, start, end), rows.clear())


def _between(rows: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    return rows.filter(pl.col("time") >= start, pl.col("known_at") < end)


def _fingerprint(seen: Seen, fit: pl.DataFrame, early: pl.DataFrame) -> str:
    weigh = training.weigher(seen.study)
    told = ["symbol", "time", "known_at", "y", *(["label"] if "label" in fit.columns else [])]
    weight = None if weigh is None else np.asarray(weigh(fit.select(told)), dtype=np.float64)
    late = (None, None) if early.is_empty() else _numbers(seen, early)
    return fingerprint(*_numbers(seen, fit), *late, weight)


def _numbers(seen: Seen, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows.select(seen.columns).to_numpy(), rows["taught"].to_numpy()


def sealed_room(seen: Seen) -> Iterator[str]:
    """Trained with nothing at hand but the bars before its fold, a model is equal.

    Train the first and the last fold anew where later bars do not exist; ask for the same bytes.

    Whatever the pipeline let slip into a fit (a scaler, rows to stop on, a setting chosen by its
    result, a label from beyond the end) is not there to be used again.
    """
    if not _plain(seen):
        return
    # what looks like a clock is refused on the run's first window alone
    study = seen.study.with_options({"features.allow": seen.columns})
    said = seen.forecasts.group_by("fold").agg(pl.col("model").unique())
    for window in (seen.windows[0], seen.windows[-1]):
        name = f"{window.test_start:%Y-%m-%dT%H:%MZ}"
        used = said.filter(pl.col("fold") == name)
        if used.is_empty():
            continue
        before = seen.bars.filter(pl.col("time") <= window.train_end)
        try:
            found = pipeline.fresh_models(study, before, at=window.test_start)
        except UserError as error:
            yield f"fold {name}: cannot be trained from the bars before it alone: {error}"
            continue
        anew = {model.id for model in found.values()}
        stray = sorted(set(used["model"].item().to_list()) - anew)
        if stray:
            yield (
                f"fold {name}: forecast by {stray[0]}; trained on the bars before "
                f"{window.train_end:%Y-%m-%d %H:%M}Z alone it is {min(anew)}"
            )
