"""Jobs in a process of their own, and the command that begins them."""

import json

import pytest
import typer
from typer.testing import CliRunner

from research.cli import operations
from research.errors import UserError
from research.live import problems
from research.operations import alone
from research.operations.table import Table
from research.study import Study

from ..live.shown import begun, folder, write


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def command():
    app = typer.Typer()
    app.command()(operations.jobs)
    return lambda *words: CliRunner().invoke(app, words)


def test_one_job_is_done_at_once_and_counted(place, command):
    done = command("demo", "--once", "download")
    assert (done.exit_code, done.stdout) == (
        0,
        "download done: nothing to fetch: the market is played\n",
    )
    (row,) = Table(place / "operations" / "demo").newest("download")
    assert (row.outcome, row.attempt) == ("done", 1)
    log = (place / "operations" / "demo" / "logs" / "trading.log").read_text()
    assert "job time=" in log and "name=download outcome=done" in log


def test_a_job_that_fails_leaves_with_one(place, command):
    done = command("quantiles", "--once", "download", "--json")
    said = json.loads(done.stdout)
    assert done.exit_code == 1 and said["outcome"] == "failed" and "./run download" in said["said"]


def test_the_list_shows_each_job_and_begins_none(place, command):
    said = command("demo", "--list", "-o", "jobs.report=off").stdout
    assert [line.split()[0] for line in said.splitlines()] == [
        "download",
        "retrain",
        "maintenance",
        "health",
    ]
    assert "daily at 01:00, next 20" in said and "done 0, failed 0; not yet done" in said
    found = json.loads(command("demo", "--list", "--json").stdout)
    assert {job["failed"] for job in found["jobs"]} == {0}


def test_the_list_shows_what_a_run_did_itself(place, command):
    run = folder(place / "live")
    write(run, *begun())
    did = {"name": "health", "every": "every 5 min", "due": 0, "done": 36, "failed": 1}
    did |= {"outcome": "done", "said": "well", "in_a_row": 0}
    (run / problems.JOBS).write_text(json.dumps({"jobs": [did]}))
    said = command("demo", "--list").stdout.splitlines()
    assert said[-2] == f"done by run {run.name} itself:"
    assert "done 36, failed 1; done: well" in said[-1]


def test_an_unknown_job_is_named(place):
    with pytest.raises(UserError, match=r"job 'helth': there is none. Did you mean 'health'"):
        alone.run(Study(name="demo"), once="helth")


def test_two_do_not_do_the_jobs_of_one_study(place):
    from research.store import atomic

    with atomic.only_one("jobs-demo"), pytest.raises(BlockingIOError, match="jobs-demo"):
        alone.run(Study(name="demo"), once="health")


def test_the_help_teaches(command):
    said = command("--help").stdout
    assert all(word in said for word in ("jobs.timeout", "01:00", "watchdog", "--once", "--list"))
