"""A run's state is its journal, folded; a killed run goes on as if it had not been killed."""

import copy
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.live.desk import ACTIVE, HALTED, REDUCING, Desk
from research.live.journal import Event, Journal, read
from research.live.state import fold, scored

from .kill import EVERY, POINTS, World, sit
from .markets import CAPITAL, SYMBOLS, body, market, moments, start

ROOT = Path(__file__).resolve().parent.parent.parent


def numbered(events):
    """Return events as they come back from a file."""
    texts = [json.loads(json.dumps(body_)) for _, body_ in events]
    return [
        Event(k + 1, kind, said.get("time", 0), said)
        for k, ((kind, _), said) in enumerate(zip(events, texts))
    ]


def recorded(seed, every=None):
    """Let a desk trade a market, halted and resumed at random; return it and its events."""
    arrays, given_, rules = market(seed, 80)
    draw, desk = random.Random(seed), Desk(rules, given_["venue"], SYMBOLS, CAPITAL)
    events = [start(desk)]
    for number, (when, rows) in enumerate(moments(arrays, given_, rules.interval)):
        if draw.random() < 0.08:
            state = draw.choice([ACTIVE, REDUCING, HALTED])
            told = {"time": when, "state": state, "was": desk.control, "why": "", "by": "command"}
            events.append(("control", told))
            desk.control = state
        before = desk.control
        step = desk.step(when, rows)
        events.append(("moment", body(when, rows, step, control=before)))
        if desk.control != before:
            limit = {"time": when, "state": desk.control, "was": before, "why": "", "by": "risk"}
            events.append(("control", limit))
        if every and number % every == 0:
            events.append(("snapshot", {"time": when, **desk.snapshot()}))
    return desk, numbered(events)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, 1, 7, 200]))
def test_the_state_is_the_fold_of_the_events(seed, every):
    desk, events = recorded(seed, every)
    state = fold(events)
    assert state.desk.snapshot() == desk.snapshot()
    assert (state.control, state.time, state.seq) == (desk.control, desk.time, len(events))
    assert state.counts["moment"] == 80 or state.counts["moment"] > 60
    bare = [event for event in events if event.kind != "snapshot"]
    assert fold(bare).desk.snapshot() == desk.snapshot()  # snapshots say nothing new


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 70))
def test_any_beginning_of_a_journal_is_a_state_to_go_on_from(seed, cut):
    _, events = recorded(seed, 10)
    state = fold(events[:cut])
    assert state.seq == cut
    for event in events[cut:]:
        if event.kind == "control" and event.body["by"] != "risk":
            state.desk.control = event.body["state"]
        if event.kind == "moment":
            step = state.desk.step(event.time, [scored(row) for row in event.body["rows"]])
            assert step.equity == event.body["equity"]
            assert list(step.reasons) == [row["reason"] for row in event.body["rows"]]


def test_a_desk_made_from_the_study_may_be_handed_in():
    desk, events = recorded(3)
    given_ = Desk(desk.rules, desk.venue, SYMBOLS, CAPITAL)
    assert fold(events, given_).desk is given_
    assert given_.snapshot() == desk.snapshot()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda b: b["rows"][0].update(reason="horizon"), "reasons"),
        (lambda b: b["rows"][0].update(position=b["rows"][0]["position"] + 1e-9), "positions"),
        (lambda b: b.update(equity=b["equity"] * (1 + 1e-15)), "equity"),
        (lambda b: b["trades"].append({"net": 1.0}), "trades"),
        (lambda b: b["flows"].update(fees=0.5), "flows"),
        (lambda b: b["rows"][0].update(close=b["rows"][0]["close"] * 1.01), "equity"),
    ],
)
def test_a_difference_is_an_error_that_names_the_moment(change, name):
    _, events = recorded(11)
    held = [e for e in events if e.kind == "moment" and e.body["rows"][0]["position"]]
    event = held[3]
    altered = copy.deepcopy(event.body)
    change(altered)
    events[event.seq - 1] = event._replace(body=altered)
    with pytest.raises(UserError, match=f"at {event.time} us .event {event.seq}. {name} were"):
        fold(events)


def test_what_lies_before_a_snapshot_is_not_done_again():
    desk, events = recorded(11, every=60)
    first = next(event for event in events if event.kind == "moment")
    events[first.seq - 1] = first._replace(body={**first.body, "equity": -1.0})
    assert fold(events).desk.snapshot() == desk.snapshot()
    with pytest.raises(UserError, match="equity"):
        fold([event for event in events if event.kind != "snapshot"])


def test_a_journal_without_its_start_is_no_run():
    _, events = recorded(3)
    for bad in ([], events[1:]):
        with pytest.raises(UserError, match="must begin with its start"):
            fold(bad)


def test_funding_learnt_on_the_way_is_learnt_again():
    arrays, given_, rules = market(5, 60)
    desk = Desk(rules, given_["venue"], SYMBOLS, CAPITAL)
    last = int(given_["venue"].moment.max(initial=0))
    events, told = [start(desk)], moments(arrays, given_, rules.interval)
    rates = [("BTC", when + 1, 0.01) for when, _ in told[::5] if when > last]
    for number, (when, rows) in enumerate(told):
        due = [rate for rate in rates if when < rate[1] <= when + rules.interval]
        step = desk.step(when, rows)
        events.append(("moment", body(when, rows, step)))
        if due:
            desk.extend(due)
            events.append(("funding", {"time": when, "rows": due}))
        if number == 30:
            events.append(("snapshot", {"time": when, **desk.snapshot()}))
    assert len(rates) > 2
    events = numbered(events)
    assert fold(events).desk.snapshot() == desk.snapshot()
    bare = [event for event in events if event.kind != "snapshot"]
    assert fold(bare).desk.snapshot() == desk.snapshot()


# -- models, their clock, commands --------------------------------------------------------------


def after(*events):
    desk = recorded(3)[0]
    return fold(numbered([start(desk), *events]))


FIRST = ("swap", {"time": 1, "model": "a", "was": None, "at": 1, "why": "first"})
DUE = (
    "retrain",
    {"time": 2, "at": 2, "trigger": "scheduled", "effective": 5, "clock": {"slot": 1}},
)


def test_the_first_model_is_the_champion():
    state = after(FIRST)
    assert (state.champion, state.challenger, state.previous) == ("a", None, None)
    assert state.clock is None and state.pending is None


def test_a_training_is_pending_until_something_comes_of_it():
    state = after(FIRST, DUE)
    assert state.clock == {"slot": 1} and state.pending["effective"] == 5
    late = after(FIRST, DUE, ("model_late", {"at": 5, "effective": 6}))
    assert late.pending["effective"] == 6
    made = after(FIRST, DUE, ("candidate", {"model": "b"}))
    assert made.pending is None and made.candidate["model"] == "b"
    failed = after(FIRST, DUE, ("train_failed", {"at": 3, "why": "memory"}))
    assert failed.pending is None and failed.clock == {"slot": 1}


@pytest.mark.parametrize(
    ("end", "champion"),
    [
        (("swap", {"model": "b", "was": "a", "at": 9, "why": "evidence"}), "b"),
        (("expired", {"model": "b"}), "a"),
        (("rejected_model", {"model": "b", "why": "no edge"}), "a"),
    ],
)
def test_a_challenger_ends_as_champion_or_leaves(end, champion):
    begun = (FIRST, DUE, ("candidate", {"model": "b"}), ("challenger", {"time": 6, "model": "b"}))
    assert after(*begun).challenger == "b" and after(*begun).candidate is None
    state = after(*begun, end)
    assert (state.champion, state.challenger, state.candidate) == (champion, None, None)


def test_a_rollback_brings_the_one_before_back():
    swap = ("swap", {"model": "b", "was": "a", "at": 9, "why": "always"})
    assert after(FIRST, swap).previous == "a"
    state = after(FIRST, swap, ("rollback", {"model": "a", "was": "b"}))
    assert (state.champion, state.previous) == ("a", "b")


def test_a_command_is_remembered_and_a_stop_is_one_only_at_the_end():
    told = {"state": 2, "was": 0, "why": "", "by": "command", "command": "c1"}
    state = after(("control", told), ("stop", {"why": "told to"}))
    assert state.commands == {"c1"} and state.stopped and state.control == HALTED
    assert not after(("stop", {}), ("start", {"resumed": True})).stopped
    assert not after(("stop", {}), ("start", {"resumed": True})).start["resumed"]


# -- kills --------------------------------------------------------------------------------------


def test_twenty_kills_at_every_step_and_at_random_lose_and_double_nothing():
    """In its own process: runners are forked from it, and must find no threads there."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.live.kill", "20", "1"], cwd=ROOT, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["kills"] >= 20 and found["points"] == len(POINTS)


class Stopped(Exception):
    pass


def test_a_sitting_takes_up_where_the_last_one_stopped(tmp_path):
    world = World(4)
    folder, calm = world.folder(tmp_path, "wild"), world.folder(tmp_path, "calm")
    sit(world, calm)
    stop_at = world.told[EVERY * 3 + 2][0]

    def ack(when):
        if when == stop_at:
            raise Stopped

    with pytest.raises(Stopped):
        sit(world, folder, ack=ack)
    assert read(folder, last=1)[0].time == stop_at
    sit(world, folder)
    said = [[(e.kind, e.body) for e in read(f)] for f in (calm, folder)]
    without_ids = [[(k, {**b, "command": ""}) for k, b in told] for told in said]
    assert without_ids[0] == without_ids[1]


def test_a_recovery_of_ten_thousand_events_is_quick(tmp_path):
    """The time limit is generous: what is meant is that nothing grows with the square."""
    import time

    desk, events = recorded(3, every=40)
    moment = [event for event in events if event.kind == "moment"][-1]
    with Journal.open(tmp_path) as journal:
        journal.append(*((event.kind, event.body) for event in events))
        journal.append(*(("note", {"kind": "gap", **moment.body}) for _ in range(10_000)))
    begun = time.perf_counter()
    with Journal.open(tmp_path):
        assert fold(read(tmp_path)).desk.snapshot() == desk.snapshot()
    assert time.perf_counter() - begun < 20
