"""Retraining over a restart: a drift alarm comes at the same bar, with the same evidence."""

import errno
import subprocess
from collections import deque
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from research import datasets, pipeline, read_study
from research.live import replay, triggers
from research.live.forecaster import Forecaster
from research.live.journal import Event
from research.live.prepare import Prepared, _trained
from research.live.retraining import Retraining
from research.live.rows import at, micros, moments, table
from research.live.state import State
from research.live.trainer import drift_facts
from research.store import atomic

LIMIT = 2.0
"""Of the index: met by a window that is full, and not the first full one."""
SMALL = {
    "simulated.days": 6,
    "simulated.symbols": 2,
    "model.name": "ridge",
    "validation.train": "3 d",
    "validation.test": "2 d",
    "retrain.every": "20 d",
    "retrain.drift": "psi",
    "retrain.psi": LIMIT,
}
HOURS, HOUR = 9, timedelta(hours=1)
STEP = SimpleNamespace(trades=[])


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """A study, its bars, when it goes live, its first champion and what that is watched by."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHABOOK_DATA", str(tmp_path_factory.mktemp("data")))
        study = read_study("demo", SMALL)
        bars = datasets.load(study)
        start = bars["open_time"].min() + timedelta(days=4)
        known = bars.filter(pl.col("time") <= start)
        champion = pipeline.fresh_models(study, known, at=start)
        facts = drift_facts(study, known, micros(start))
        later = moments(
            bars.filter(pl.col("time").is_between(start, start + HOURS * HOUR, "right"))
        )
        yield study, bars, start, champion, facts, later


def begun(folder, market):
    """Return a run's first version in its registry, as a fresh start leaves it."""
    _, _, start, champion, facts, _ = market
    kept = replay.registry(folder)
    name = kept.add(champion, {"at": micros(start), **facts})
    kept.promote(name, at=micros(start), why="first", evidence={})
    return name


def prepared(folder, name, market, decided):
    """Return what a start, or with moments that were decided a recovery, hands to a runner."""
    study, bars, start, champion, _, _ = market
    last = decided[-1].time if decided else micros(start)
    known = bars.filter(pl.col("time") <= at(last))
    state = None
    if decided:
        bodies = ({"time": m.time, "rows": list(m.bars), "trades": []} for m in decided)
        state = State(None, {"time": micros(start)}, last, newest=deque(bodies, maxlen=1_500))
    symbols = known["symbol"].unique().sort().to_list()
    forecaster = Forecaster(study, known, champion)
    told = study, folder, symbols, None, None, forecaster, known, last, state, name
    return Prepared(*told, trained=name, watched=micros(start))


def lived(ready, later):
    """Take a run through moments up to its first training; return how many came, and its event."""
    retraining = Retraining(ready)
    for number, moment in enumerate(later, start=1):
        assert not retraining.before(moment.time, ready.forecaster)
        rows = ready.forecaster.score(moment)
        events = retraining.after(moment, rows, ready.forecaster, STEP)
        if events:
            return number, events
    return len(later), []


@pytest.fixture(scope="module")
def undisturbed(market, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return lived(prepared(folder, begun(folder, market), market, []), market[-1])


def test_the_watch_raises_an_alarm(undisturbed, market):
    number, events = undisturbed
    assert number > triggers.WINDOW + 1
    assert [kind for kind, _ in events] == ["retrain"]
    assert events[0][1]["trigger"] == "drift" and events[0][1]["evidence"]["psi"] > LIMIT


@pytest.mark.parametrize("before", [1, -120, -1], ids=["at once", "half way", "a bar before"])
def test_a_restart_neither_delays_nor_changes_an_alarm(undisturbed, market, tmp_path, before):
    number, events = undisturbed
    cut, later = before % number, market[-1]
    name = begun(tmp_path, market)
    again = prepared(tmp_path, name, market, later[:cut])
    count, found = lived(again, later[cut:])
    assert (cut + count, found) == (number, events)


def test_rows_of_a_watch_that_is_over_are_not_refilled(market, tmp_path):
    """A training put to use since begins a new window, which a restart must not fill with old."""
    name, later = begun(tmp_path, market), market[-1]
    ready = prepared(tmp_path, name, market, later[:300])
    ready.watched = later[290].time
    retraining = Retraining(ready)
    assert len(retraining._watch._kept) == 10


OFTEN = {"retrain.every": "1 h", "retrain.drift": "none"}


def announced(folder, market):
    """Return a run in which a training has just been announced, and the moments after that."""
    study, *others = market
    often = study.with_options(OFTEN), *others
    ready, later = prepared(folder, begun(folder, often), often, []), others[-1]
    retraining = Retraining(ready)
    for number, moment in enumerate(later, start=1):
        if events := retraining.after(moment, [], ready.forecaster, STEP):
            assert [kind for kind, _ in events] == ["retrain"]
            return retraining, ready.forecaster, later[number:]
    raise AssertionError("no training was due")


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def full_of_polars(table, *_, **__):
    table.lazy().sink_parquet("/dev/full")


def faulty(*_, **__):
    raise RuntimeError("a fault of our own")


FULL = {
    "a fault": (Retraining, "_gather", faulty),
    "no process": (subprocess, "Popen", full),
    "no room": (atomic, "sync", full),
    "no room, says polars": (pl.DataFrame, "write_parquet", full_of_polars),
}


@pytest.mark.parametrize("where", FULL)
def test_a_training_that_cannot_be_begun_has_failed_and_the_next_one_is_asked_for(
    where, market, tmp_path, monkeypatch
):
    if "polars" in where and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    retraining, forecaster, later = announced(tmp_path, market)
    with monkeypatch.context() as patch:
        patch.setattr(*FULL[where])
        retraining.begin()
        retraining._begin.join()
    said = [event for m in later[:5] for event in retraining.before(m.time, forecaster)]
    assert [kind for kind, _ in said] == ["train_failed"]
    assert "could not be begun: " in said[0][1]["why"] and "\n" not in said[0][1]["why"]
    asked = [e for m in later for e in retraining.after(m, [], forecaster, STEP)]
    assert [kind for kind, _ in asked] == ["retrain"]
    retraining.begin()
    retraining._begin.join()
    assert retraining._trainer.busy
    retraining.close()


def test_bars_that_come_while_a_training_is_begun_are_kept(market, tmp_path, monkeypatch):
    retraining, _, later = announced(tmp_path, market)
    monkeypatch.setattr(retraining._trainer, "start", lambda job: True)
    kept = retraining._bars  # as a thread holds it that is about to append
    retraining.begin()
    retraining._begin.join()
    coming = table(list(later[0].bars), 60_000_000)
    kept.append(coming)
    assert retraining._bars[-1] is coming and len(retraining._bars) == 2


def test_what_is_watched_is_the_newest_training_that_came_to_something():
    said = ("swap", "m1"), ("candidate", "m2"), ("rejected_model", "m2"), ("candidate", "m3")
    events = [Event(k, kind, k, {"model": m, "time": k}) for k, (kind, m) in enumerate(said)]
    assert [_trained(events[:k]) for k in (1, 3, 4)] == [("m1", 0), ("m2", 1), ("m3", 3)]
