"""The log: JSON lines and plain ones, nothing that acts, nothing secret, no more than so much."""

import io
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.live import log
from research.live import terminal as terminals
from research.live.terminal import Terminal

from .shown import CANARY, MINUTE, START


@pytest.fixture
def terminal():
    return io.StringIO()


@pytest.fixture
def said(tmp_path, terminal):
    made = log.opened(tmp_path, stream=terminal)
    yield made
    made.close()


def written(place):
    return [json.loads(text) for text in (place / log.FILE).read_text().splitlines()]


def test_an_event_is_one_line_of_json_in_utc_and_one_to_read(said, tmp_path, terminal):
    said("trade", symbol="AUSDT", net=-1.25, time=START)
    (event,) = written(tmp_path)
    when = datetime.fromisoformat(event.pop("timestamp"))
    assert when.utcoffset() == timedelta(0)
    assert event == {
        "level": "info",
        "event": "trade",
        "symbol": "AUSDT",
        "net": -1.25,
        "time": START,
    }
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d trade symbol=AUSDT net=-1.25 time=2024-01-13T00:00:00\n",
        terminal.getvalue(),
    )


def test_facts_may_be_named_like_the_log_s_own(said, tmp_path):
    said("note", event="theirs", timestamp=1)
    assert (written(tmp_path)[0]["event"], written(tmp_path)[0]["event_"]) == ("note", "theirs")


@pytest.mark.parametrize("debug", [False, True])
def test_decisions_are_shown_on_request_alone_and_kept_always(tmp_path, terminal, debug):
    said = log.opened(tmp_path, debug=debug, stream=terminal)
    said("decision", level="debug", reason="hold")
    said.close()
    assert ("hold" in terminal.getvalue()) is debug
    assert written(tmp_path)[0]["reason"] == "hold"


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_no_text_makes_a_second_line_or_acts_on_a_terminal(tmp_path_factory, text):
    place, terminal = tmp_path_factory.mktemp("log"), io.StringIO()
    said = log.opened(place, stream=terminal)
    said("note", why=text)
    said.close()
    (shown,) = terminal.getvalue()[:-1].split("\n")
    assert shown.isprintable() and terminal.getvalue().endswith("\n")
    raw = (place / log.FILE).read_bytes()
    assert raw.count(b"\n") == 1 and not re.search(rb"[\x00-\x09\x0b-\x1f\x7f-\xff]", raw[:-1])


def test_a_forged_line_stays_inside_its_own(said, tmp_path, terminal):
    said("rejected", why='x\n12:00:00 control state=active\n{"event":"control"}\x1b[2J\u202e')
    assert [event["event"] for event in written(tmp_path)] == ["rejected"]
    assert terminal.getvalue().count("\n") == 1
    assert "\x1b" not in terminal.getvalue() and "\\u202e" in terminal.getvalue()


def test_the_disk_it_takes_is_bounded(tmp_path, monkeypatch, terminal):
    monkeypatch.setattr(log, "FILE_BYTES", 2_000)
    said = log.opened(tmp_path, stream=terminal)
    for n in range(600):
        said("note", n=n)
    said.close()
    files = sorted(tmp_path.glob("log.jsonl*"))
    assert len(files) == log.FILES == 10
    assert max(file.stat().st_size for file in files) <= 2_000
    assert written(tmp_path)[-1]["n"] == 599


def test_a_line_for_each_hour_of_the_market(said, terminal):
    for n in range(1, 181):
        until = START + 240 * MINUTE
        said.bar(START + n * MINUTE, equity=9_950.5 + n, trades=n % 2, until=until)
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 3
    assert "bars=120 trades=60 equity=10070.5 left=2:00:00 ready_in=0:00:00" in lines[1]


def test_between_two_hours_a_run_says_each_minute_that_it_goes_on(said, terminal, monkeypatch):
    clock = [time.monotonic()]
    monkeypatch.setattr(log.time, "monotonic", lambda: clock[0])
    said.bar(START + MINUTE, equity=1.0, trades=0)
    terminal.truncate(0)
    for n in range(2, 8):  # a bar every 20 s
        clock[0] += 20
        said.bar(START + n * MINUTE, equity=1.0, trades=0)
    lines = terminal.getvalue().replace("\0", "").splitlines()
    assert [line.split()[1] for line in lines] == ["going", "going"]
    assert "bars=7" in lines[1]


def test_without_an_end_no_time_is_left(said, terminal):
    for n in range(1, 61):
        said.bar(START + n * MINUTE, equity=1.0, trades=0)
    assert "left" not in terminal.getvalue() and "bars=60" in terminal.getvalue()


def test_a_disk_that_refuses_does_not_stop_the_run(tmp_path, terminal):
    said = log.opened(tmp_path / "not there", stream=terminal)
    said("note", why="x")
    assert said.lost == 2 and "why=x" in terminal.getvalue()  # of log.jsonl and of trading.log
    said.close()


def test_what_is_not_finite_is_valid_json(said, tmp_path):
    said("note", value=float("nan"), more=[float("inf")])
    assert (written(tmp_path)[0]["value"], written(tmp_path)[0]["more"]) == (None, [None])


# -- logs/ ------------------------------------------------------------------------------------


def test_trading_log_has_what_the_terminal_has_with_its_day(said, tmp_path, terminal):
    said("control", state="halted", why="x\n2026-11-21 12:00:00 forged \x1b[31m")
    said("decision", level="debug", reason="hold")
    (line,) = (tmp_path / log.LOGS / log.TRADING).read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d control state=halted .*", line)
    assert line.isprintable() and line[11:] == terminal.getvalue().rstrip("\n")


def test_trades_and_orders_stand_in_the_file_of_their_utc_day(said, tmp_path):
    day = 86_400_000_000
    said("trade", symbol="A", entry_time=START, exit_time=START + day - 1)
    said("fill", level="debug", symbol="A", time=START + day)
    said("trade", symbol="B", entry_time=START, exit_time=START + MINUTE)
    said("hour", time=START)
    kept = {
        path.name: [json.loads(text)["event"] for text in path.read_text().splitlines()]
        for path in (tmp_path / log.LOGS).glob("2*.log")
    }
    assert kept == {"2024-01-13.log": ["trade", "trade"], "2024-01-14.log": ["fill"]}


def test_no_secret_is_in_any_log(tmp_path, terminal):
    said = log.opened(tmp_path, secrets=[CANARY], stream=terminal)
    said("fill", time=START, why=f"see {CANARY}")
    said.close()
    found = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(found) == 3 and CANARY not in "".join(found)


# -- secrets ----------------------------------------------------------------------------------

NAMES = ("BINANCE_API_KEY", "MY_SECRET", "GITHUB_TOKEN", "db_password", "ALERT_WEBHOOK")


@pytest.mark.parametrize("name", NAMES)
def test_values_of_the_environment_are_masked_wherever_they_stand(monkeypatch, name):
    monkeypatch.setenv(name, f"{CANARY}/+ \"x'")
    said = {
        "plain": f"a{CANARY}/+ \"x'b",
        f"named {CANARY}/+ \"x'": 1,
        "list": [{"deep": (f"see {CANARY}%2F%2B%20%22x%27",)}],
        "json": json.dumps({"k": f"{CANARY}/+ \"x'"}),
    }
    masked = json.dumps(log.redacted(said))
    assert CANARY not in masked and masked.count(log.MASK) == 4


def test_short_values_and_other_variables_stay(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "up")
    monkeypatch.setenv("COLOUR", "turquoise")
    assert log.redacted("it went up, turquoise") == "it went up, turquoise"


SIGNED = [
    f"https://fapi.binance.com/fapi/v1/order?symbol=A&timestamp=1&signature={CANARY}",
    f"GET /fapi/v1/x?listenKey={CANARY}&y=1",
    f"wss://fstream.binance.com/private/{'aB3' * 22}",
    f'{{"listenKey": "{CANARY}"}}',
    f"{{'api_key': '{CANARY}', 'x': 1}}",
    f"Authorization: Bearer {CANARY}",
    f"https://user:{CANARY}@example.net/x",
    f"token={CANARY}",
]


@pytest.mark.parametrize("text", SIGNED)
def test_what_is_signed_is_masked_though_nobody_named_it(text):
    masked = log.redacted(text)
    assert CANARY not in masked and "aB3aB3" not in masked
    assert log.MASK in masked and len(masked) > len(log.MASK)


@pytest.mark.parametrize("name", ["apiKey", "X-MBX-APIKEY", "listenKey", "secret", "webhook"])
def test_a_field_that_is_named_so_is_masked(name):
    assert log.redacted({name: CANARY, "monkey": "banana"}) == {name: log.MASK, "monkey": "banana"}


CRASH = """
import sys, threading
from pathlib import Path
from research.live import log
said = log.opened(Path(sys.argv[1]), secrets=[sys.argv[2]])
def work():
    raise RuntimeError(f"in a thread, with {sys.argv[2]}\\x1b[2J")
thread = threading.Thread(target=work)
thread.start()
thread.join()
raise ValueError(f"asked https://x/?signature={sys.argv[3]} with {sys.argv[2]}")
"""


def test_errors_that_nobody_catches_are_told_without_secrets(tmp_path):
    words = [sys.executable, "-c", CRASH, str(tmp_path), CANARY, "9f3a9f3a"]
    done = subprocess.run(words, capture_output=True, text=True)
    told = done.stderr + (tmp_path / log.FILE).read_text()
    assert done.returncode == 1
    assert CANARY not in told and "9f3a" not in told and "\x1b" not in told
    assert told.count(log.MASK) >= 4 and "ValueError: asked https://x/" in done.stderr
    assert [event["kind"] for event in written(tmp_path)] == ["RuntimeError", "ValueError"]


def test_closing_gives_the_hooks_back(tmp_path):
    before = sys.excepthook
    said = log.opened(tmp_path)
    assert sys.excepthook != before
    said.close()
    assert sys.excepthook == before


STUCK = """
import sys, time
from pathlib import Path
from research.live import log
said = log.opened(Path(sys.argv[1]))
for number in range(5000):
    said("line", number=number, text="x" * 100)
print(said.lost, flush=True)
said.close()
"""


def test_a_terminal_that_nobody_reads_holds_up_nothing(tmp_path):
    words = [sys.executable, "-c", STUCK, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        lost = int(process.stdout.readline())
        assert process.wait(60) == 0
        shown = process.stderr.read().decode().splitlines()
    assert 2000 < lost < 5000 - len(shown)
    assert [row["number"] for row in written(tmp_path)] == list(range(5000))
    assert all(f"number={n} " in line for n, line in enumerate(shown[:-1]))


def test_a_terminal_that_is_read_again_says_what_it_left_out(tmp_path):
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as stream:
        shows = Terminal(stream)
        count = next(n for n in itertools.count() if shows.say(f"{n:0999d}") or shows.lost)
        while int(reader.readline()) < count - 1:
            pass
        shows.say("after")
        assert reader.readline() == b"(1 lines left out)\n"
        assert reader.readline() == b"after\n"
        shows.say("again")
        assert reader.readline() == b"again\n"
        shows.close()
        assert shows.lost == 1


def test_a_line_that_nobody_is_there_for_is_counted():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        shows = Terminal(stream)
        shows.say("one")
        shows.say("two")
        shows.close()
        assert shows.lost == 2


@pytest.fixture
def held_up(monkeypatch):
    """A terminal whose writer stands in the middle of a line, what was written, and its release."""
    written, writing, going = [], threading.Event(), threading.Event()

    def slow(descriptor, said):
        written.append(said)
        writing.set()
        return going.wait(60)

    monkeypatch.setattr(terminals, "_written", slow)
    reading, end = os.pipe()
    with os.fdopen(reading), os.fdopen(end, "w") as stream:
        shows = Terminal(stream)
        shows.say("one")
        assert writing.wait(60)
        yield shows, written, going


def test_a_line_left_out_while_another_is_being_written_is_counted(held_up, monkeypatch):
    monkeypatch.setattr(terminals, "MOST", 1)
    shows, _, going = held_up
    shows.say("two")
    going.set()
    shows.close()
    assert shows.lost == 1


def test_after_the_end_nobody_writes_beside_a_writer_that_is_held_up(held_up, monkeypatch):
    """The end gives up waiting for it."""
    shows, written, going = held_up
    writer = shows._writer
    monkeypatch.setattr(shows, "flush", lambda: None)
    shows.close()
    shows.say("late")
    going.set()
    writer.join(60)
    assert (written, shows.lost) == ([b"one\n"], 1)
