"""How a run is doing: read from what it left, in every state that it can be in."""

import json
import math
import os

import pytest

from research.live import folders, shadow, story
from research.live.journal import Event, Journal
from research.live.status import status
from research.live.story import Story
from research.study import read

from .shown import MINUTE, START, beat, begun, folder, moment, row, write


@pytest.fixture
def place(tmp_path):
    return folder(tmp_path)


def test_a_run_that_ended_in_order_is_well(place):
    rows = (row("AUSDT", position=0.0), row("BUSDT", position=-2.0, reason="entry"))
    write(place, *begun(), moment(1, *rows), moment(2, *rows, equity=10_100.0, trades=[{}]))
    write(place, ("stop", {"time": START + 2 * MINUTE, "why": "end of the time asked for"}))
    beat(place, stopped=True)
    found = status(place)
    assert (found.condition, found.well, found.problems) == ("ended", True, [])
    assert (found.bars, found.decisions, found.trades, found.equity) == (2, 4, 1, 10_100.0)
    assert found.change == pytest.approx(0.01) and found.model == "ridge-1"
    assert found.positions == {"AUSDT": 0.0, "BUSDT": -2.0}
    assert not found.running and found.since == pytest.approx(folders_seen(place), abs=1)
    text = found.text()
    assert "not running since 20" in text and "+1.000%" in text and "BUSDT -2" in text
    assert "AUSDT" not in text.split("holds")[1].split("\n")[0]
    took = found.latency["measured"] / 1e6
    assert found.latency["assumed"] == 0
    assert f"95% of decisions took {took:.3g} s at most, fills assume 0 s" in text


def folders_seen(place):
    return (place / "heartbeat.json").stat().st_mtime


def test_a_run_that_trades_is_running_and_its_last_bar_has_an_age(place):
    write(place, *begun())
    with Journal.open(place) as journal:
        journal.append(moment(1))
        beat(place)
        found = status(place)
        assert (found.condition, found.well, found.pid) == ("running", True, os.getpid())
        assert found.age == 30.0  # the heartbeat's now is 90 s after the start, the bar 60 s
        assert found.since is None and found.feed[0]["state"] == "live"
        assert "running (process" in found.text()


def test_a_process_that_has_not_shown_itself_yet_is_starting(place):
    beat(place, age=3600)  # of the sitting before
    with Journal.open(place):
        assert status(place).condition == "starting" and status(place).well


def test_a_silent_process_is_stale(place):
    with Journal.open(place) as journal:
        journal.append(*begun(), moment(1))
        beat(place, age=30)
        os.utime(place / "journal.lock", (1, 1))
        found = status(place)
    assert (found.condition, found.well) == ("stale", False)
    assert found.problems == ["no heartbeat for 30 s"]


def test_a_run_that_was_killed_is_down(place):
    write(place, *begun(), moment(1))
    found = status(place)
    assert (found.condition, found.well) == ("down", False)
    assert "it ended without a word" in found.problems[0]


def test_a_run_that_ended_by_an_error_is_not_well(place):
    write(place, *begun(), ("stop", {"why": "error: JournalError disk full"}))
    found = status(place)
    assert (found.condition, found.well) == ("failed", False)
    assert "disk full" in found.problems[0] and found.alarms[-1]["kind"] == "stopped"


def test_a_run_that_never_began(place):
    found = status(place)
    assert (found.condition, found.bars, found.why) == ("down", 0, "it never began")
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("how", ["file", "journal"])
def test_a_halted_run_is_not_well(place, how):
    control = {"time": START, "state": 2, "was": 0, "why": "drawdown", "by": "risk"}
    halt = ("control", control)
    write(place, *begun(), moment(1), *([halt] if how == "journal" else []), ("stop", {"why": "x"}))
    if how == "file":
        folders.kill(place)
    found = status(place)
    assert (found.state, found.well) == ("halted", False)
    assert ("drawdown" if how == "journal" else "file KILL") in found.problems[0]


def test_a_resumed_run_is_well_again(place):
    control = {"time": START, "was": 0, "by": "command", "why": "told to"}
    events = [("control", {**control, "state": state}) for state in (2, 0)]
    write(place, *begun(), *events, ("stop", {"why": "x"}))
    assert status(place).well and status(place).state == "active"


def test_a_process_that_outlives_its_sitting_runs_nothing(place):
    with Journal.open(place) as journal:
        journal.append(*begun(), ("stop", {"why": "x"}))
    beat(place, stopped=True)
    assert folders.runner(place) == os.getpid()
    assert (status(place).condition, status(place).pid) == ("ended", None)


@pytest.mark.parametrize("what", ["changed", "cut"])
def test_a_damaged_journal_is_told(place, what):
    write(place, *begun(), *(moment(n) for n in range(1, 40)))
    path = place / "journal.sqlite"
    whole = path.read_bytes()
    at = whole.rindex(b'"equity":10000.0')
    bent = whole[:at] + whole[at:].replace(b"10000", b"10001", 1)
    path.write_bytes(bent if what == "changed" else whole[: len(whole) // 2])
    found = status(place)
    assert (found.condition, found.well) == ("damaged", False)
    assert "./run repair" in found.problems[0]
    assert "problem" in found.text()


def test_text_has_no_line_that_the_run_did_not_earn(place):
    hostile = "x\n     state  active\x1b[2J"
    start, swap = begun()
    swap[1]["model"] = hostile
    write(place, start, swap, moment(1, row(hostile, reason=hostile)))
    beat(place, feed=[{"name": hostile, "state": hostile}])
    text = status(place).text()
    assert text.count("\n     state  active") == 1 and "\x1b" not in text


def test_json_has_everything(place):
    write(place, *begun(), moment(1), ("stop", {"why": "x"}))
    said = json.loads(json.dumps(status(place).to_dict(), allow_nan=False))
    assert {"well", "condition", "equity", "change", "running", "feed", "alarms"} <= said.keys()


# -- the story ------------------------------------------------------------------------------------


def events(*told):
    return [Event(n, kind, body.get("time", 0), body) for n, (kind, body) in enumerate(told, 1)]


def test_in_pieces_or_at_once_it_is_the_same_story():
    told = events(*begun(), *(moment(n, equity=1e4 + n) for n in range(1, 90)))
    whole, pieces = Story(), Story()
    whole.take(told)
    for n in range(0, len(told), 7):
        assert pieces.take(told[n : n + 7])
    assert not pieces.take([])
    assert whole == pieces and whole.bars == 89 and len(whole.decisions) == story.NEWEST


def test_a_long_curve_stays_short_and_ends_where_it_is(monkeypatch):
    monkeypatch.setattr(story, "POINTS", 50)
    known = Story()
    for n in range(1, 1000):
        known.take([Event(n, *_timed(moment(n, equity=float(n))))])
        assert len(known.path) <= 51 and known.equity[-1] == (START + n * MINUTE, float(n))
    times = [when for when, _ in known.equity]
    assert times == sorted(set(times)) and times[0] == START + MINUTE


def _timed(told):
    return told[0], told[1]["time"], told[1]


def test_the_challenger_s_evidence_is_that_of_the_contest():
    """The oracle is the contest itself, fed by hand."""
    study = read("demo", {"retrain.alpha": 0.05, "labels.horizon": "2 min"})
    start, swap = begun(study=study.model_dump(mode="json"))
    put_up = ("challenger", {"time": START, "model": "ridge-2"})
    moments = [
        moment(n, row(close=100 + math.sin(n), forecast=-0.001, challenger=math.cos(n) / 500))
        for n in range(1, 60)
    ]
    known = Story()
    known.take(events(start, swap, put_up, *moments))
    rules = shadow.Rules.of(study)
    contest = shadow.Contest(rules, shadow.Contest.begin("ridge-1", "ridge-2", START))
    expected = []
    for _, body in moments:
        (r,) = body["rows"]
        look = shadow.Look(r["open"], r["close"], r["sigma"], r["forecast"], r["challenger"])
        contest.observe(body["time"], {"AUSDT": look})
        expected.append((body["time"], contest.e_value))
    assert known.evidence == expected and expected[-1][1] != 1.0
    assert known.contest == contest.evidence(moments[-1][1]["time"])
    assert (known.challenger, known.contest["needed"]) == ("ridge-2", 20)
    known.take([Event(99, "expired", 0, {"model": "ridge-2", "why": "expire"})])
    assert known.challenger is None and known.contest is None


def test_drift_and_alarms_are_kept():
    seen = {"feature": "rsi", "psi": 0.4, "limit": 0.25}
    known = Story()
    known.take(
        events(*begun(), ("retrain", {"time": 7, "at": 7, "trigger": "drift", "evidence": seen}))
    )
    assert known.drift == {**seen, "time": 7}
    assert [alarm.kind for alarm in known.alarms] == ["drift"]
