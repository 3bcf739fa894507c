"""A run, stored or on paper, in one form: the tables that the chain of one bar reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from research import features as feature_room
from research import models, pipeline, schema, stored_runs, tape, training
from research.audit.verify.manifest import read as manifest
from research.errors import UserError, the_one
from research.live import folders, journal, replay
from research.live.record import Run as PaperRun
from research.store import atomic
from research.study import Study

Find = Callable[[str, str], models.Model | None]


class Scene(NamedTuple):
    """One run, laid out to be asked about a bar.

    Attributes
    ----------
    run, kind : str
        Its id, and ``report`` or ``paper``.
    study : Study
        As it was run.
    bars, features : pl.DataFrame
        `schema.BARS`, and a row of features with ``sigma`` per bar.
    forecasts : pl.DataFrame
        ``symbol, time, forecast, told, model`` (`told` is what the rule heard of it), and what the
        run knows more: ``fold, bin, sigma, y``, probabilities.
    reasons, equity, trades : pl.DataFrame
        As `stored_runs.Run` has them.
    model : callable
        Takes a model's id and a symbol; None where the model is not stored any more.
    """

    run: str
    kind: str
    study: Study
    bars: pl.DataFrame
    features: pl.DataFrame
    forecasts: pl.DataFrame
    reasons: pl.DataFrame
    equity: pl.DataFrame
    trades: pl.DataFrame
    model: Find


def find(name: str) -> Scene:
    """Return the newest stored run of a study, a stored run, or a paper run, by name.

    Parameters
    ----------
    name : str
        A study, ``latest``, or the id of a stored run or a paper run; a part that fits one alone
        will do.

    Raises
    ------
    UserError
        If nothing fits.
    """
    if of_study := stored_runs.runs(name):
        return _stored(of_study[0])
    stored, on_paper = [run.id for run in stored_runs.runs()], folders.runs()[::-1]
    if name == "latest" or not stored + on_paper:
        return _stored(stored_runs.run(name))
    chosen = the_one(name, stored + on_paper, what="run")
    return _stored(stored_runs.run(chosen)) if chosen in stored else _paper(folders.find(chosen))


# -- a stored run ---------------------------------------------------------------------------------


def _stored(run: stored_runs.Run) -> Scene:
    study, bars = run.study, run.bars
    made = run.forecasts
    return Scene(
        run=run.id,
        kind="report",
        study=study,
        bars=bars,
        features=pipeline.features(study, bars),
        forecasts=made.with_columns(tape.told(study, made).alias("told")),
        reasons=run.reasons,
        equity=run.equity,
        trades=run.trades,
        model=lambda wanted, symbol: _among(_kept(run), wanted),
    )


def _kept(run: stored_runs.Run) -> Iterator[models.Model]:
    """Yield the models the run was made with that are still in the store."""
    try:
        names = manifest(run.folder)["stored"]
    except UserError:
        return  # what the run was made of is not known
    root, rounds = atomic.data_root(), run.study.model.continue_rounds
    for key in dict.fromkeys(name.split("/")[1] for name in names if "/models/" in name):
        for continued in {rounds, 0}:
            folder = root / "forecasts" / key / "models"
            yield from models.stored(folder, continued=continued, own_folder=training.OWN)


def _among(found: Iterator[models.Model], wanted: str) -> models.Model | None:
    return next((model for model in found if model.id == wanted), None)


# -- a paper run ----------------------------------------------------------------------------------


def _paper(folder: Path) -> Scene:
    run, known = PaperRun(folder), replay.history(folder)
    begun = journal.read(folder, kinds=("start",))
    decided = run.decisions()
    if not begun or decided.is_empty():
        raise UserError(f"why: paper run {folder.name} has decided nothing yet.")
    study = Study.model_validate(begun[0].body["study"])
    live = decided.select(pl.col(name).cast(kind) for name, kind in schema.BARS.items())
    bars = pl.concat([known.bars, live]).unique(schema.KEY, keep="last").sort(schema.KEY)
    chosen, interval = pipeline.feature_set(study), study.data.interval
    said = [name for name in (*schema.KEY, *_SAID) if name in decided.columns]
    before = known.forecasts.select(*schema.KEY, "forecast")
    made = [before, decided.select(said)]
    return Scene(
        run=folder.name,
        kind="paper",
        study=study,
        bars=bars,
        features=feature_room.build(bars, chosen, interval=interval),
        forecasts=pl.concat(made, how="diagonal_relaxed").sort(schema.KEY),
        reasons=decided.select(*schema.KEY, "reason", "position").sort(schema.KEY),
        equity=run.equity(),
        trades=_with_sides(run.trades()),
        model=lambda wanted, symbol: _among(_registered(folder, symbol), wanted),
    )


_SAID = ("forecast", "told", "bin", "sigma", "model", "late")


def _registered(folder: Path, symbol: str) -> Iterator[models.Model]:
    """Yield the symbol's models that were in force in a paper run, each version once."""
    kinds = ("swap", "rollback")
    names = [event.body["model"] for event in journal.read(folder, kinds=kinds)]
    for name in dict.fromkeys(names):
        version = replay.registry(folder).read(name)
        if model := version.get(symbol, version.get(models.ALL)):
            yield model


def _with_sides(trades: pl.DataFrame) -> pl.DataFrame:
    """Name the sides, which the journal has as 1 and -1."""
    if trades.is_empty():
        return trades
    side = pl.when(pl.col("side") > 0).then(pl.lit("long")).otherwise(pl.lit("short"))
    return trades.with_columns(side.alias("side"))
