"""What jobs do: done twice they have done no more than once; in a process that can be killed."""

import json
import os
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from research import models
from research.errors import UserError
from research.live import folders
from research.live.journal import Journal
from research.operations import places, process, reports, retention, works
from research.operations.jobs import Task
from research.study import Study

from ..live.shown import MINUTE, START, beat, begun, folder, moment, row, write

DAY = 86_400_000_000
TRADE = {
    "symbol": "AUSDT",
    "side": 1,
    "entry_time": START + MINUTE,
    "exit_time": START + 2 * MINUTE,
    "entry_price": 100.0,
    "exit_price": 101.0,
    "quantity": 1.0,
    "gross": 1.5,
    "fees": 0.2,
    "slippage": 0.1,
    "funding": 0.0,
    "net": 1.2,
    "entry_reason": "entry",
    "exit_reason": "horizon",
}
DAY_SAYS = "report 2024-01-13_day: 1 trades, 5 bars"
STUDY = {"name": "demo", "jobs": {"live": True}}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A data folder and a report folder of the test's own."""
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ALPHABOOK_REPORTS", str(tmp_path / "reports"))
    (tmp_path / "data" / "live").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch):
    """Reports without their pictures: drawing takes seconds."""
    monkeypatch.setattr(reports.figures, "save", lambda picture, path: None)


@pytest.fixture
def run(place):
    """A run of the study demo that has ended: five closes, one trade, one halt."""
    made = folder(place / "data" / "live", study=STUDY)
    study = {"name": "demo", "data": {"interval": "1 min"}}
    ends = ("stop", {"time": START + 6 * MINUTE, "why": "told to"})
    halted = ("control", {"time": START + 3 * MINUTE, "state": 2, "was": 0, "why": "<b>loss</b>"})
    halted[1]["by"] = "risk"
    closes = [
        moment(n, row("AUSDT", open=1.0), equity=10_000.0 + n, trades=[TRADE] if n == 2 else [])
        for n in (1, 2, 3, 5, 6)
    ]
    write(made, *begun(study=study, mode="paper", feed="simulated"), *closes[:3], halted)
    write(made, *closes[3:], ends)
    beat(made, stopped=True)
    return made


def task(name, run, place, *, due=START + DAY, study=None):
    chosen = study or Study(**STUDY)
    return Task(name, chosen, place, run, due, due, threading.Event())


def files(place):
    return {
        str(path.relative_to(place)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in place.rglob("*")
        if path.is_file()
    }


# -- reports -------------------------------------------------------------------------------------


def test_the_report_of_a_day_says_what_the_journal_says(run, place):
    said = works.report(task("report", run, place))
    folder = place / "reports" / "demo" / "operations" / run.name / "2024-01-13_day"
    assert said == DAY_SAYS
    told = json.loads((folder / "summary.json").read_text())
    assert (told["bars"], told["trades"], told["mode"]) == (5, 1, "paper")
    assert told["equity_before"] == 10_000.0 and told["equity"] == 10_006.0
    assert told["net_return"] == pytest.approx(0.0006) and told["max_drawdown"] == 0.0
    assert told["trades_net"] == 1.2 and told["trades_fees"] == 0.2 and told["incidents"] == 1
    assert told["closes"] == 1440 and told["uptime"] == pytest.approx(5 / 1440)
    page = (folder / "index.html").read_text()
    assert "A day of paper trading" in page and "fills are simulated" in page
    assert "&lt;b&gt;loss" in page and "<b>loss" not in page
    assert {path.stem for path in (folder / "figures").glob("*.svg")} == {
        "equity",
        "latency",
        "reasons",
        "trades",
    }
    assert (folder / "trades.csv").read_text().count("\n") == 2


def test_a_report_is_written_once(run, place, undrawn):
    works.report(task("report", run, place))
    before = files(place / "reports")
    assert "is there already" in works.report(task("report", run, place))
    assert files(place / "reports") == before


def test_a_day_without_a_close_has_no_report(run, place):
    assert "nothing to report" in works.report(task("report", run, place, due=START + 9 * DAY))
    assert not (place / "reports").exists()
    assert "no run of the study yet" in works.report(task("report", None, place))


def test_a_report_that_fails_leaves_nothing_half_made(run, place, monkeypatch, undrawn):
    monkeypatch.setattr(reports, "_page", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        works.report(task("report", run, place))
    assert files(place / "reports") == {}


def test_the_closing_report_is_of_the_sitting_that_ended(run, place, undrawn):
    assert works.close(task("closing", run, place)).startswith("report 2024-01-13_000600_sitting")
    assert "is there already" in works.close(task("closing", run, place))
    found = json.loads(next((place / "reports").rglob("summary.json")).read_text())
    assert (found["span"], found["closes"], found["uptime"]) == ("sitting", 6, 5 / 6)


def test_a_run_that_goes_on_has_no_closing_report(place):
    made = folder(place / "data" / "live", study=STUDY)
    write(made, *begun(), moment(1))
    with pytest.raises(UserError, match="has not ended"):
        works.close(task("closing", made, place))


# -- retention -----------------------------------------------------------------------------------


def old(path, days=31):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    when = time.time() - days * 86_400
    os.utime(path, (when, when))
    return path


def test_maintenance_drops_what_is_old_and_nothing_else(run, place, undrawn):
    gone = [old(run / "logs" / name) for name in ("2024-01-01.log", "trading.log.3")]
    gone += [old(run / "log.jsonl.2"), old(run / "alerts.jsonl.1")]
    kept = [old(run / "logs" / "2024-01-12.log", days=29), run / "journal.sqlite"]
    kept += [old(run / "log.jsonl", days=99), old(place / "data" / "live" / "x" / "logs" / "a.log")]
    for n in range(9):
        version = place / "data" / "champions" / f"c{n}"
        old(version / "card.json")
        os.utime(version, (n, n))
        report = places.reports(run) / f"2024-01-{n:02}_day"
        old(report / "index.html")
        os.utime(report, (n, n))
    said = works.maintain(task("maintenance", run, place, study=Study(**STUDY | {"jobs": FEW})))
    assert said.startswith("dropped 4 logs, 2 models, 5 reports; report 2024-01-07_week")
    assert not any(path.exists() for path in gone) and all(path.exists() for path in kept)
    left = {path.name for path in (place / "data" / "champions").iterdir()}
    assert left == {f"c{n}" for n in range(2, 9)}
    before = files(place)
    again = works.maintain(task("maintenance", run, place, study=Study(**STUDY | {"jobs": FEW})))
    assert again.startswith("dropped 0 logs, 0 models, ") and files(place / "data") == {
        name.removeprefix("data/"): fact
        for name, fact in before.items()
        if name.startswith("data/")
    }


FEW = {"live": True, "reports": 4}


def test_what_a_run_still_writes_is_left(place):
    made = folder(place / "data" / "live", study=STUDY)
    held = folders.hold(made)
    open_now, rotated = old(made / "logs" / "trading.log"), old(made / "logs" / "trading.log.1")
    assert retention.sweep(Study(**STUDY), place) == "dropped 1 logs, 0 models, 0 reports"
    assert open_now.exists() and not rotated.exists()
    held.close()


def trained(seed):
    """Return a small model, another one for each seed."""
    X = pl.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [1.0, -1.0, 2.0, float(seed)]})
    y = np.array([1.0, 2.0, 3.0, 5.0 + seed])
    return models.learner("ridge").fit(X, y, seed=1, params=models.settings("ridge", {}))


@pytest.mark.parametrize("alive", [True, False])
def test_a_model_that_was_in_force_is_never_dropped_nor_any_of_a_run_that_runs(place, alive):
    made = folder(place / "data" / "live", study=STUDY)
    write(made, *begun())
    kept = models.Registry(made / "models")
    ids = [kept.add({"": trained(n)}, {"at": n}) for n in range(7)]
    for at in range(4):
        kept.promote(ids[at], at=at, why="scheduled", evidence={})
    held = folders.hold(made) if alive else None
    few = Study(**STUDY | {"jobs": {"models": 1}})
    dropped = [] if alive else ids[4:6]
    assert f", {len(dropped)} models," in retention.sweep(few, place)
    assert kept.versions() == [name for name in ids if name not in dropped]
    if held is not None:
        held.close()


# -- the others ----------------------------------------------------------------------------------


def test_of_a_played_market_nothing_is_fetched(place):
    said = works.download(task("download", None, place, study=Study(name="demo")))
    assert said == "nothing to fetch: the market is played"


def test_what_cannot_be_fetched_says_what_to_do(place):
    with pytest.raises(UserError, match="say what to download"):
        works.download(task("download", None, place, study=Study(name="x", data=BINANCE)))


BINANCE = {"source": "binance"}


def test_the_model_of_the_next_run_is_trained_once(place):
    small = {"simulated": {"days": 4, "symbols": 1}, "model": {"name": "ridge"}}
    chosen = Study(name="demo", validation={"train": "2 d", "test": "1 d"}, **small)
    first = works.train(task("retrain", None, place, study=chosen, due=4 * 10**15))
    before = files(place / "data" / "champions")
    assert first.startswith("a model as of 20") and before
    assert works.train(task("retrain", None, place, study=chosen, due=4 * 10**15)) == first
    assert files(place / "data" / "champions") == before
    last = datetime.fromisoformat(first.removeprefix("a model as of ").removesuffix(" is kept"))
    earlier = last.replace(tzinfo=UTC) - timedelta(hours=6)
    due = int(earlier.timestamp()) * 1_000_000
    said = works.train(task("retrain", None, place, study=chosen, due=due))
    assert said == f"a model as of {earlier:%Y-%m-%d %H:%M} is kept", "it knows nothing of later"


HALF_PAST = START + 30 * MINUTE
"""The first moment at which a run from midnight on trains: by the day, at 00:30."""


def asked(at=HALF_PAST, trigger="scheduled"):
    return "retrain", {"time": at, "at": at, "trigger": trigger}


def came(at=HALF_PAST, model="m-2"):
    return "candidate", {"time": at + MINUTE, "model": model, "at": at}


FAILED = ("train_failed", {"time": HALF_PAST + MINUTE, "at": HALF_PAST, "why": "no bars"})
CHALLENGED = ("challenger", {"time": HALF_PAST - MINUTE, "model": "m-1"})
EXPIRED = ("expired", {"time": HALF_PAST - MINUTE, "model": "m-1", "why": "expire"})


def training(place, *events, due=HALF_PAST, decided=31, **more):
    """Return the job of a run that has decided so many minutes, and did `events` with models."""
    every = {"retrain": {"every": "1 d", **more}}
    made = folder(place / "data" / "live", study=STUDY)
    write(made, *begun(), *events, moment(decided))
    return task("retrain", made, place, due=due, study=Study(**STUDY, **every))


@pytest.mark.parametrize(
    ("events", "due", "told"),
    [
        ([], START + 29 * MINUTE, "no training is due yet"),
        ([asked(), came()], HALF_PAST, "trained at 2024-01-13 00:30: m-2"),
        ([asked(HALF_PAST + MINUTE), came()], HALF_PAST, "trained at 2024-01-13 00:31: m-2"),
        ([asked(), FAILED, asked(), came()], HALF_PAST, "m-2"),
        ([CHALLENGED], HALF_PAST, "while a challenger is being tried"),
    ],
)
def test_a_run_s_own_training_is_looked_after(place, events, due, told):
    assert told in works.look_after(training(place, *events, due=due))


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([asked(), FAILED], "the newest training failed: no bars"),
        ([], "was due at 2024-01-13 00:30 never began"),
        ([asked(START, "drift"), came(START)], "was due at 2024-01-13 00:30 never began"),
        ([CHALLENGED, EXPIRED], "was due at 2024-01-13 00:30 never began"),
    ],
)
def test_a_training_that_failed_or_never_began_is_a_failure(place, events, why):
    with pytest.raises(UserError, match=why):
        works.look_after(training(place, *events))


def test_a_day_on_which_none_is_due_looks_at_the_newest_one(place):
    """By the week, from 00:30 of the first day on."""
    week = START + 7 * DAY + 30 * MINUTE - DAY  # counted from the last 00:30 before the start
    done = [asked(week), came(week)]
    said = training(place, *done, due=week + 2 * DAY, decided=9 * 1440, every="7 d")
    assert "trained at 2024-01-19 00:30" in works.look_after(said)


@pytest.mark.parametrize(("lead", "told"), [(58, "14 00:30: m-3"), (59, "13 00:30: m-2")])
def test_a_training_longer_than_the_job_may_take_is_looked_after_a_day_later(place, lead, told):
    """Of an hour for the job: the bar that asks for it and `lead` more are awaited, or are not."""
    done = [asked(), came(), asked(HALF_PAST + DAY), came(HALF_PAST + DAY, "m-3")]
    upto = done if lead == 58 else done[:2]
    due = training(place, *upto, due=HALF_PAST + DAY, decided=1440 + 31, lead=lead)
    assert told in works.look_after(due)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([asked()], [came()]),  # it is trained still
        ([], [asked(), came()]),  # the bar at which it begins has not come
    ],
)
def test_a_training_that_goes_on_is_waited_for(place, before, after):
    due, said = training(place, *before, decided=31 if before else 29), []
    looks = due._replace(stopping=Looks(due.stopping))
    waiting = threading.Thread(target=lambda: said.append(works.look_after(looks)))
    waiting.start()
    assert looks.stopping.twice.wait(60) and not said
    with Journal.open(due.run) as journal:
        journal.append(*after, moment(32))
    waiting.join(60)
    assert "m-2" in said[0]


class Looks:
    """The event that tells a job to end, and says when it was looked at twice."""

    def __init__(self, stopping):
        self._stopping, self._count, self.twice = stopping, 0, threading.Event()

    def wait(self, seconds):
        self._count += 1
        if self._count > 1:
            self.twice.set()
        return self._stopping.wait(seconds)


def test_a_job_that_waits_for_a_training_ends_when_it_is_told_to(place):
    due = training(place, asked())
    due.stopping.set()
    with pytest.raises(UserError, match="has not ended"):
        works.look_after(due)


# -- in a process of its own ---------------------------------------------------------------------


def test_a_job_in_a_process_comes_back_as_a_line(place):
    asked = task("download", None, place, study=Study(name="demo"))
    assert process.apart(asked) == "nothing to fetch: the market is played"
    with pytest.raises(UserError, match="say what to download"):
        process.apart(task("download", None, place, study=Study(name="x", data=BINANCE)))


def fake(monkeypatch, code):
    """Let the process run `code` instead of a job."""
    real = process.subprocess.Popen

    def popen(words, **how):
        return real([sys.executable, "-c", code, *words[3:]], **how)

    monkeypatch.setattr(process.subprocess, "Popen", popen)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL, as the system does when memory"),
        ("import os; os.kill(os.getpid(), 11)", "ended by SIGSEGV"),
        ("print('the last words'); raise SystemExit(3)", "code 3 and no result: the last words"),
    ],
)
def test_a_process_that_dies_has_failed_in_a_line(place, monkeypatch, code, told):
    fake(monkeypatch, code)
    with pytest.raises(UserError, match=told):
        process.apart(task("report", None, place))


def test_a_process_that_is_told_to_end_is_killed_with_its_children(place, monkeypatch):
    mark = place / "pid"
    code = (
        "import subprocess, sys, pathlib, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(mark)!r}).write_text(str(child.pid))\n"
        "time.sleep(60)"
    )
    fake(monkeypatch, code)
    asked = task("report", None, place)

    def stop():
        while not mark.exists() or not mark.read_text():
            time.sleep(0.01)
        asked.stopping.set()

    threading.Thread(target=stop).start()
    with pytest.raises(UserError, match="was told to end"):
        process.apart(asked)
    until = time.monotonic() + 60
    while alive(int(mark.read_text())) and time.monotonic() < until:
        time.sleep(0.01)
    assert not alive(int(mark.read_text()))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
