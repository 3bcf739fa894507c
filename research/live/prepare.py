"""How a run begins: what is known before the first live bar, the first champion, or the recovery.

Starting is recovering: a run that was killed goes on from its journal, a new one from an empty one.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import polars as pl

from research import models, pipeline, schema, tape, training
from research.errors import UserError
from research.live import journal, parts, replay, state, triggers
from research.live.desk import Desk
from research.live.forecaster import Forecaster, Models, reach
from research.live.journal.files import database
from research.live.moments import Bar
from research.live.rows import at, micros, table
from research.live.trainer import drift_facts
from research.store import atomic, cards
from research.study import Study

DAY = timedelta(days=1)
BREATH = 0.03
"""Seconds now and then in which whoever waits for a socket goes on."""
History = Callable[[int, int], Awaitable[pl.DataFrame]]


@dataclass
class Prepared:
    """All that a runner needs, as it was when it last stopped."""

    study: Study
    folder: Path
    symbols: list[str]
    journal: journal.Journal
    desk: Desk
    forecaster: Forecaster
    bars: pl.DataFrame
    """Of the training window and later, up to the last decided bar."""
    last: int
    """Close of the last bar that was decided, or the start of the run."""
    state: state.State | None
    """None: a new run."""
    champion: str
    trained: str
    """The version that came of the newest training, whose drift is watched."""
    watched: int
    """When that began."""
    trades: list[dict[str, Any]] = field(default_factory=list)
    """The newest, for whoever counts them."""


async def fresh(
    study: Study,
    folder: Path,
    history: History,
    start: int,
    facts: dict[str, Any],
    live: Callable[[list[str]], Desk] | None = None,
) -> Prepared:
    """Gather history, train or find the first champion, and write the run's first events.

    `history` is asked for the bars between two moments, where the store does not have them. `live`
    makes the desk of real orders for the symbols found; absent: paper's.

    Raises
    ------
    UserError
        If there are no bars to learn from, or the first model cannot be trained.
    """
    written = journal.Journal.open(folder)
    bars = await _history(study, history, start)
    symbols = bars["symbol"].unique().sort().to_list()
    champion = first_champion(study, bars, at(start))
    await asyncio.sleep(BREATH)
    past = _past_forecasts(study, bars, at(start))
    atomic.write_parquet(folder / replay.BARS, bars)
    atomic.write_parquet(folder / replay.FORECASTS, past)
    kept = replay.registry(folder)
    shutil.rmtree(kept.folder, ignore_errors=True)  # of a beginning that was killed
    name = kept.add(champion, {"at": start, "why": "first", **drift_facts(study, bars, start)})
    kept.promote(name, at=start, why="first", evidence={})
    begun = {
        "run": folder.name,
        "study": study.model_dump(mode="json"),
        "config": parts.config(study),
        "code": parts.code(),
        "symbols": symbols,
        "capital": study.backtest.capital,
        "funded_from": start,
        "history": cards.fingerprint(bars),
        "resumed": False,
        "time": start,
        **facts,
    }
    paper = partial(_desk, study, start=start, dry_run=facts["dry_run"])
    desk = (live or paper)(symbols)
    begun["desk"] = desk.constants()
    swap: dict[str, Any] = {"model": name, "was": None, "at": start, "why": "first", "time": start}
    written.append(("start", begun), ("swap", {**swap, "evidence": {}}))
    forecaster = Forecaster(study, bars, champion)
    forecaster.remember(past)
    known = None, name, name, start
    return Prepared(study, folder, symbols, written, desk, forecaster, bars, start, *known)


async def recover(folder: Path) -> Prepared:
    """Rebuild a run from its journal.

    Raises
    ------
    UserError
        If the journal is damaged, or its first events were never written: start a new run.
    BlockingIOError
        If another process runs it.
    """
    written = journal.Journal.open(folder)
    events = journal.read(folder)
    if not any(event.kind == "swap" for event in events):
        written.close()
        raise UserError(f"run {folder.name}: was stopped before it began. Start a new one.")
    start = next(event.body for event in events if event.kind == "start")
    study, symbols = Study.model_validate(start["study"]), start["symbols"]
    known = state.fold(events)
    history = replay.history(folder)
    decided = [event.body for event in events if event.kind == "moment"]
    bars = pl.concat([history.bars, _recorded(study, decided)]).sort(schema.KEY)
    champion, kept = str(known.champion), replay.registry(folder)
    _agree(kept, known)
    forecaster = Forecaster(study, bars, kept.read(champion))
    if known.challenger:
        forecaster.challenger = kept.read(known.challenger)
    await asyncio.sleep(BREATH)
    forecaster.remember(history.forecasts)
    for body in decided:
        forecaster.recall(body["time"], [row["forecast"] for row in body["rows"]])
    last = decided[-1]["time"] if decided else start["time"]
    written.append(("start", {**start, "code": parts.code(), "resumed": True, "time": last}))
    models_known = known, champion, *_trained(events)
    trades = [trade for body in decided for trade in body["trades"]][-triggers.TRADES :]
    return Prepared(
        study, folder, symbols, written, known.desk, forecaster, bars, last, *models_known, trades
    )


def _trained(events: list[journal.Event]) -> tuple[str, int]:
    """The version that came of the newest training, and when that was put to use."""
    first = next(event.body for event in events if event.kind == "swap")
    made = [event.body for event in events if event.kind == "candidate"]
    newest = made[-1] if made else first
    return newest["model"], newest["time"]


def _agree(kept: models.Registry, known: state.State) -> None:
    """Take back what the registry was told and a kill kept from the journal: it happens again."""
    if kept.champion != known.champion:
        undo: dict[str, Any] = {"at": known.time, "why": "not in the journal"}
        if kept.history()[-1]["why"] == "rollback":
            kept.promote(str(known.champion), evidence={}, **undo)
        else:
            kept.rollback(**undo)
    if kept.challenger != known.challenger:
        kept.challenge(known.challenger)


def _desk(study: Study, symbols: list[str], *, start: int, dry_run: bool) -> Desk:
    venue = parts.venue(study, symbols, start)
    return Desk(tape.rules(study), venue, symbols, study.backtest.capital, dry_run=dry_run)


def _recorded(study: Study, decided: list[dict[str, Any]]) -> pl.DataFrame:
    seen = itemgetter(*Bar._fields[:11])
    found = [Bar(*seen(row)) for body in decided for row in body["rows"]]
    return table(found, replay.micro(study.data.interval))


async def _history(study: Study, history: History, start: int) -> pl.DataFrame:
    """Bars of the training window and what features look back on: stored ones, then the feed's."""
    since = at(start) - study.validation.train - study.validation.embargo - reach(study) - 2 * DAY
    if study.backtest.rule == "quantile":
        since -= study.evaluation.window + DAY
    stored = _stored(study, since, at(start))
    await asyncio.sleep(BREATH)
    begin = since if stored.is_empty() else _last_close(stored)
    if at(start) - begin < study.data.interval:
        return stored
    newer = await history(micros(begin), start)
    bars = pl.concat([stored, newer]).unique(schema.KEY, keep="first").sort(schema.KEY)
    if bars.is_empty():
        raise UserError(
            f"study {study.name}: the venue has no bars before {at(start):%Y-%m-%d %H:%M} to learn "
            "from. Check data.symbols."
        )
    return bars


def _stored(study: Study, since: datetime, until: datetime) -> pl.DataFrame:
    try:
        known = pipeline.bars(study)
    except UserError:  # nothing stored yet: the feed has it all
        return pl.DataFrame(schema=schema.BARS)
    return known.filter(pl.col("open_time") >= since, pl.col("time") <= until)


def _last_close(bars: pl.DataFrame) -> datetime:
    """Close up to which every symbol is known."""
    found: datetime = bars.group_by("symbol").agg(pl.col("time").max())["time"].min()  # type: ignore[assignment]
    return found


def first_champion(study: Study, bars: pl.DataFrame, when: datetime) -> Models:
    """Return the model a backtest's fold starting at `when` would have; kept, so found again."""
    made_of = {
        **parts.registry_key(study),
        "at": str(when),
        "bars": cards.fingerprint(bars.filter(pl.col("time") <= when)),
        "code": cards.code("features", "labels", "models", "training.py"),
    }
    kept = models.Registry(atomic.data_root() / "champions" / cards.digest(made_of), training.OWN)
    if not kept.versions():
        kept.add(pipeline.fresh_models(study, bars, at=when), {"at": micros(when)})
    return kept.read(kept.versions()[-1])


def _past_forecasts(study: Study, bars: pl.DataFrame, when: datetime) -> pl.DataFrame:
    """Out-of-sample forecasts of the days before `when`, where cut-points are drawn from them."""
    empty = pl.DataFrame(schema={"symbol": pl.String, "time": schema.TIME, "forecast": pl.Float64})
    if study.backtest.rule != "quantile":
        return empty
    since = when - study.evaluation.window
    earlier = first_champion(study, bars, since)
    near = pl.col("open_time") >= since - reach(study) - DAY
    rows = pipeline.features(study, bars.filter(near, pl.col("time") <= when))
    made = models.forecast_table(earlier, rows.filter(pl.col("time") > since))
    return made.select(empty.columns)


def begun(folder: Path) -> bool:
    """Tell whether a run has its first events; one that has not begins anew."""
    return database(folder).exists() and bool(journal.read(folder, last=1))


def first(folder: Path) -> dict[str, Any]:
    """Return what a run's first event says."""
    return journal.read(folder, kinds=("start",))[0].body


def dry(folder: Path) -> bool:
    """Tell whether a run was begun as a dry one."""
    return bool(first(folder)["dry_run"])


def last_decided(folder: Path) -> int:
    """Return the close of the last bar that a run decided, or when it began."""
    newest = journal.read(folder, kinds=("moment", "start"), last=1)
    if not newest:
        raise UserError(f"run {folder.name}: was stopped before it began. Start a new one.")
    return int(newest[0].body["time"])
