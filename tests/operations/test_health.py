"""Health goes red in each case, in words, in a file and in an alert; and green again."""

import json
import os
import time
from types import SimpleNamespace

import pytest

from research.live import problems
from research.live.journal import Journal
from research.live.status import status
from research.operations import health
from research.operations.jobs import Task
from research.operations.table import Table
from research.study import Study

from ..live.shown import MINUTE, START, beat, begun, folder, moment

NOW = 90_000_000  # after the start, as `beat` says


@pytest.fixture
def place(tmp_path):
    """A run that is running and well."""
    made = folder(tmp_path)
    study = {"name": "demo", "data": {"interval": "1 min"}, "live": {"late": "30 s", "disk": 1.0}}
    with Journal.open(made) as journal:
        journal.append(*begun(study=study, feed="simulated"), moment(1))
        beat(made)
        yield made


def state(place, *, written=0.0, **more):
    """Write down one job as its loop does."""
    job = {"name": "download", "every": "daily at 01:00", "due": START + 3600_000_000}
    job |= {"done": 1, "failed": 0, "in_a_row": 0, "outcome": "done", "said": "x", **more}
    said = {"written": time.time() - written, "now": START, "jobs": [job]}
    (place / problems.JOBS).write_text(json.dumps(said))


def test_a_run_that_is_well_is_green(place):
    state(place)
    found = status(place)
    assert (found.condition, found.well, found.problems) == ("running", True, [])
    assert found.uptime == 1.0 and found.disk > 0 and found.jobs[0]["name"] == "download"
    text = found.text()
    assert "100.00% of closes were acted on" in text
    assert "download daily at 01:00, next 2024-01-13 01:00:00, done 1, failed 0; done: x" in text


def aged(place, seconds):
    """Let market time go on while no bar comes."""
    beat(place, now=START + MINUTE + int(seconds * 1e6))


def silent(place, seconds):
    """Let nothing be written for so many real seconds."""
    for path in place.glob("journal.sqlite*"):
        os.utime(path, (time.time() - seconds,) * 2)


CASES = {
    "by market time": (lambda p: aged(p, 151), "the last bar is 151 s old of market time"),
    "by real time": (lambda p: silent(p, 200), "the last bar is 200 s old by this machine's clock"),
    "job failed": (
        lambda p: state(p, in_a_row=2, failed=2, outcome="failed", said="no net"),
        "job download has failed, 2 times in a row: no net",
    ),
    "job not run": (
        lambda p: state(p, due=START - 3600_000_000, written=300.0),
        "job download was due at 2024-01-12 23:00 and did not begin",
    ),
    "runner silent": (lambda p: beat(p, age=30), "no heartbeat for 30 s"),
    "halted": (lambda p: (p / "KILL").write_text("x"), "trading is halted"),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_goes_red(place, case):
    harm, said = CASES[case]
    os.utime(place / "journal.lock", (1, 1))
    harm(place)
    found = status(place)
    assert not found.well and any(problem.startswith(said) for problem in found.problems)


def test_it_goes_red_when_the_disk_is_low(place, monkeypatch):
    full = SimpleNamespace(free=0.4e9)
    monkeypatch.setattr(problems.shutil, "disk_usage", lambda path: full)
    assert status(place).problems == ["the disk has 0.40 GB left, 1 GB are needed"]


@pytest.mark.parametrize("harm", [lambda p: aged(p, 149), lambda p: silent(p, 100), lambda p: 0])
def test_what_may_still_come_is_no_alarm(place, harm):
    harm(place)
    assert status(place).well


def test_of_a_real_market_the_world_s_clock_counts(tmp_path):
    made, now = folder(tmp_path), int(time.time() * 1e6)
    for age, well in ((100, True), (151, False)):
        closed = now - age * 1_000_000
        first = ("start", {"study": {"name": "demo"}, "feed": "binance", "time": closed - MINUTE})
        bar = moment(1)[1] | {"time": closed}
        run = made if well else folder(tmp_path, "2026-11-21_0701_demo_abcd")
        with Journal.open(run) as journal:
            journal.append(first, ("moment", bar))
            beat(run, now=now)
            assert status(run).well is well


def test_jobs_of_a_run_that_is_over_need_not_begin(tmp_path):
    made = folder(tmp_path)
    with Journal.open(made) as journal:
        journal.append(*begun(), moment(1), ("stop", {"time": START, "why": "told to"}))
    (made / "journal.lock").unlink()
    state(made, due=START - 3600_000_000, written=300.0)
    beat(made, stopped=True)
    assert status(made).well


# -- the file and the alert ----------------------------------------------------------------------


class Told:
    def __init__(self):
        self.alerts = []

    def raise_(self, kind, text, **facts):
        self.alerts.append((kind, text))


def asked(run, place):
    return Task("health", Study(name="demo"), place, run, START, START, None)


def test_the_file_says_it_and_an_alert_is_raised_when_it_changes(place):
    told = Told()
    watch = health.Watch(told)
    assert watch.job(asked(place, place)) == "well" and told.alerts == []
    said = json.loads((place / health.FILE).read_text())
    assert said["well"] is True and said["problems"] == [] and said["uptime"] == 1.0
    assert abs(said["written"] - time.time()) < 60 and said["now"] == START
    for age in (200, 300, 400):  # the same problem, its numbers apart
        aged(place, age)
        assert "not well: the last bar is" in watch.job(asked(place, place))
    assert not json.loads((place / health.FILE).read_text())["well"] and len(told.alerts) == 1
    (place / "KILL").write_text("x")
    watch.job(asked(place, place))
    assert len(told.alerts) == 2 and "halted" in told.alerts[1][1]
    (place / "KILL").unlink()
    beat(place)
    watch.job(asked(place, place))
    assert told.alerts[2] == ("health", "well again")


def test_without_a_run_it_is_not_well(tmp_path):
    watch = health.Watch(Told())
    assert watch.job(asked(None, tmp_path)) == "not well: there is no run yet"
    assert json.loads((tmp_path / health.FILE).read_text())["run"] is None


def test_jobs_that_stand_beside_no_run_count_too(place, tmp_path):
    told = Told()
    state(tmp_path, in_a_row=1, failed=1, outcome="failed", said="no net")
    said = health.Watch(told).job(asked(place, tmp_path))
    assert said == "not well: job download has failed, 1 times in a row: no net"
    assert told.alerts == []  # the job itself says so, after as many failures as the study says


def test_no_secret_is_in_the_file(place, tmp_path):
    said = "status 400 of https://x/?signature=9f3a8"
    state(tmp_path, in_a_row=1, failed=1, outcome="failed", said=said)
    health.Watch().job(asked(place, tmp_path))
    written = (tmp_path / health.FILE).read_text()
    assert "status 400" in written and "9f3a8" not in written


def test_a_look_does_not_read_the_journal_again(place, monkeypatch):
    watch = health.Watch()
    assert watch.look(place).bars == 1
    seen = []
    real = health.journal.read
    monkeypatch.setattr(
        "research.live.story.journal.read", lambda *a, **k: seen.append(k) or real(*a, **k)
    )
    watch.look(place)
    assert seen == [{"after": 3}]


def test_the_table_is_what_the_state_counts(tmp_path):
    table = Table(tmp_path)
    for due, outcome in ((1, "failed"), (1, "done"), (2, "failed"), (2, "failed"), (3, "stopped")):
        table.end(table.begin("x", due, 0), outcome, "")
        time.sleep(0.001)
    assert table.failures("x") == 2 and table.behind("x") == 1 and table.behind("y") is None
    assert table.count() == {"x": {"done": 1, "failed": 3, "stopped": 1}}
    assert [row.attempt for row in reversed(table.newest("x", count=9))] == [1, 2, 1, 2, 1]
    assert table.forget("x", int(time.time() * 1e6)) == 4 and len(table.newest("x", count=9)) == 1
