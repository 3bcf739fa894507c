"""Paper trading from a notebook: started, watched, left alone, stopped, and read as tables."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import nbformat
import polars as pl
import pytest
from nbclient import NotebookClient

from research import live, schema
from research.errors import UserError
from research.live import cell, folders
from research.live import notebook as room
from research.live.story import Story

from .shown import MINUTE, SMALL, START, beat, begun, folder, moment, row, write

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path):
    made = folder(tmp_path)
    trade = {"symbol": "AUSDT", "entry_time": START, "exit_time": START + MINUTE, "net": 2.5}
    told = (moment(n, row(), row("BUSDT"), equity=1e4 + n, trades=[trade]) for n in range(1, 6))
    stop = {"time": START, "why": "x", "bars": 5, "trades": 5}
    write(made, *begun(), *told, ("note", {"kind": "gap", "time": START, "more": [1]}))
    write(made, ("stop", stop))
    beat(made, stopped=True)
    return made


def at(n):
    return datetime(2024, 1, 13, tzinfo=UTC) + n * timedelta(minutes=1)


# -- names ----------------------------------------------------------------------------------------


def test_an_unknown_name_is_none():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        live.nonsense  # noqa: B018


def test_the_face_is_light():
    code = "import sys; from research import live; heavy = {'polars', 'matplotlib', 'lightgbm'}; "
    code += "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# -- tables ---------------------------------------------------------------------------------------


def test_a_run_s_tables(place):
    run = live.Run(place)
    decided = run.decisions()
    assert decided.columns[:4] == ["time", "symbol", "reason", "position"]
    assert decided.height == 10 and decided["time"][0] == at(1)
    assert decided.schema["time"] == schema.TIME
    assert run.equity()["equity"].to_list() == [1e4 + n for n in range(1, 6)]
    assert run.trades()["exit_time"].to_list() == [at(1)] * 5
    assert run.latency()["features"].to_list() == [900] * 5
    assert run.events("note").select("kind", "more").row(0) == ("gap", "[1]")
    assert run.events()["kind"].to_list()[-1] == "stop" and run.events().height == 9
    assert run.summary() == {"why": "x", "bars": 5, "trades": 5}
    assert "<pre>" in run._repr_html_() and repr(run).startswith("Run('2026-11-21_0700_demo_abcd'")


def test_a_run_without_a_bar_has_tables_too(tmp_path):
    run = live.Run(folder(tmp_path))
    assert run.decisions().columns == ["time", "symbol", "reason", "position"]
    assert run.equity().schema == {"time": schema.TIME, "equity": pl.Float64, "control": pl.Int64}
    for table in (run.trades(), run.latency(), run.events("swap"), run.evidence(), run.events()):
        assert table.is_empty() and "time" in [name[-4:] for name in table.columns]


def test_html_of_a_run_is_escaped(tmp_path):
    made, evil = folder(tmp_path), "<img src=x onerror=alert(1)>"
    write(made, *begun(), moment(1, row(evil, reason=evil)), ("stop", {"why": evil}))
    beat(made, feed=[{"name": evil, "state": evil, "messages": 1}])
    story = Story()
    story.follow(made)
    shown = cell.words(live.Run(made).status(), story) + live.Run(made)._repr_html_()
    assert "<img" not in shown and shown.count("&lt;img") >= 5
    assert cell.picture(story).startswith(b"\x89PNG")


def test_an_unknown_run_is_told(data):
    with pytest.raises(UserError):
        live.open("nothing like it")
    assert live.runs() == folders.runs()


# -- a run of its own -----------------------------------------------------------------------------


def test_the_line_in_which_a_runner_said_why(tmp_path):
    said = tmp_path / room.SAID
    assert room.last_words(tmp_path) == "it said nothing"
    said.write_text("12:00:00 start\nerror: study demo: no bars\nbye\n\n")
    assert room.last_words(tmp_path) == "error: study demo: no bars"
    said.write_text("Traceback\n  x\nValueError: y\n")
    assert room.last_words(tmp_path) == "ValueError: y"


def test_real_orders_start_nothing(data):
    known = live.runs()
    with pytest.raises(UserError, match="paper"):
        live.start("demo", SMALL | {"live.mode": "live"})
    with pytest.raises(UserError, match="simulated"):
        live.start("demo", {"simulate.days": 3})
    assert live.runs() == known


@pytest.mark.slow
def test_a_child_that_dies_before_its_first_bar_says_why(data):
    run = live.start("demo", SMALL | {"simulated.days": 3})
    with pytest.raises(UserError, match=r"before its first bar: error: study demo: a model"):
        live.watch(run)
    assert not run.running


@pytest.fixture
def heeding_ctrl_c():
    """What a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_interrupting_the_cell_never_stops_trading(data, heeding_ctrl_c):
    begun_at = time.monotonic()
    run = live.start("demo", SMALL, speed=600)
    assert time.monotonic() - begun_at < 5 and run.running
    try:
        while not run.equity().height:
            assert run.running, room.last_words(run.folder)
            time.sleep(0.1)
        assert os.getsid(folders.runner(run.folder)) != os.getsid(0)
        live.watch(run, until_done=False)  # a library that is being imported may swallow ctrl-C
        threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        assert live.watch(run) is run
        seen = run.equity().height
        time.sleep(1.0)
        assert run.running and run.equity().height > seen
    finally:
        live.stop(run)
    assert not run.running and run.events()["kind"][-1] == "stop"
    assert live.stop(run) is run
    found = live.parity(run)
    assert found.unexplained == 0 and found.decisions == run.decisions().height


CELLS = [
    f"from research import live\nrun = live.start('demo', {SMALL!r}, span='40m', speed=400)",
    "live.watch(run)",
    "live.parity(run).unexplained, run.equity().height, live.open() is not run",
]


@pytest.mark.slow
def test_a_notebook_draws_until_the_run_has_ended(data, tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    book = nbformat.v4.new_notebook(cells=cells)
    updates = []

    class Client(NotebookClient):
        def process_message(self, message, *given):
            if message["msg_type"] == "update_display_data":
                updates.append(time.monotonic())
            return super().process_message(message, *given)

    resources = {"metadata": {"path": str(ROOT)}}
    Client(book, kernel_name="python3", timeout=120, resources=resources).execute()
    shown = [output.get("data", {}) for output in book.cells[1].outputs]
    assert sum("image/png" in data for data in shown) == 1, "one picture, drawn over"
    html = "".join(data.get("text/html", "") for data in shown)
    assert "not running since" in html and re.search("no_edge|hold|entry", html)
    assert book.cells[2].outputs[0]["data"]["text/plain"] == "(0, 40, True)"
    pictures = updates[::2]
    gaps = [after - before for before, after in pairwise(pictures)]
    assert len(pictures) >= 3 and min(gaps[:-1]) > 0.8, gaps
