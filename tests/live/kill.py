"""Kills: a small runner over a recorded market, ended by SIGKILL again and again.

``python -m tests.live.kill 1000 7`` from the project's root runs a campaign and prints what came
of it. Runners are forked from one warm process, so a kill costs milliseconds.
"""

import json
import os
import random
import signal
import struct
import sys
import time
from contextlib import suppress
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from research.live import folders
from research.live.desk import ACTIVE, HALTED, Desk
from research.live.journal import Journal, decisions, read, verify
from research.live.state import fold

from .markets import CAPITAL, SYMBOLS, body, market, moments, start

EVERY = 7
"""Moments between two snapshots."""
STEPS = ("begin", "inserted", "committed", "done")
LABELS = ("start", "moment", "snapshot", "control")
POINTS = (*product(LABELS, STEPS), ("open", "opened"), ("command", "written"), ("end", "closing"))
"""Every step of the journal, at each kind of writing, and those around it."""


class World:
    """One market, its rules, and a halt and a resume that come as commands."""

    def __init__(self, seed, n_times=60):
        arrays, given, self.rules = market(seed, n_times)
        self.venue = given["venue"]
        self.told = moments(arrays, given, self.rules.interval)
        draw = random.Random(seed)
        halt, resume = sorted(draw.sample(range(5, len(self.told)), 2))
        self.commands = [("kill", self.told[halt][0]), ("resume", self.told[resume][0])]

    def desk(self):
        return Desk(self.rules, self.venue, SYMBOLS, CAPITAL)

    def folder(self, place, name):
        found = place / name
        (found / "commands").mkdir(parents=True)
        for said, when in self.commands:
            folders.send(found, said, at=when)
        return found


def sit(world, folder, *, at=lambda label, step: None, ack=lambda time: None):
    """Recover what the folder holds and go on to the end of the market."""
    journal = Journal.open(folder)
    label = "open"
    journal.at = lambda step: at(label, step)
    at(label, "opened")
    events = read(folder)
    if not events:
        label, desk = "start", world.desk()
        journal.append(start(desk))
        last, done = 0, set()
    else:
        state = fold(events)
        desk, last, done = state.desk, state.time, state.commands
    for number, (when, rows) in enumerate(world.told):
        if when <= last:
            continue
        label = "control"
        obey(journal, desk, when, done, at)
        step = desk.step(when, rows)
        written, label = [("moment", body(when, rows, step))], "moment"
        if number % EVERY == 0:
            label = "snapshot"
            written.append(("snapshot", {"time": when, **desk.snapshot()}))
        journal.append(*written)
        ack(when)
    at("end", "closing")
    journal.close()


def obey(journal, desk, when, done, at):
    for command in folders.commands(journal.folder):
        if command.body["at"] > when:
            continue
        if command.id not in done:
            was, state = desk.control, HALTED if command.name == "kill" else ACTIVE
            desk.control = state
            told = {"state": state, "was": was, "why": "told to", "by": "command"}
            journal.append(("control", {"time": when, "command": command.id, **told}))
            at("command", "written")
        folders.finish(command)


def killed_sitting(world, folder, plan):
    """Let a child sit until the plan's kill; return whether it was killed, and its last word."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            code = _child(world, folder, plan, writer)
        os._exit(code)
    os.close(writer)
    if not isinstance(plan, tuple):
        time.sleep(plan)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    last = struct.unpack("q", said[len(said) // 8 * 8 - 8 :][:8])[0] if len(said) >= 8 else 0
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise AssertionError(f"the runner itself failed in {folder} under {plan}")
    return os.WIFSIGNALED(status), last


def _child(world, folder, plan, writer):
    def at(label, step):
        if (label, step) == plan:
            os.kill(os.getpid(), signal.SIGKILL)

    sit(world, folder, at=at, ack=lambda when: os.write(writer, struct.pack("q", when)))
    return 0


def campaign(kills, seed, place):
    """Kill so many runners, the first at every enumerated step, the others at random moments.

    After each market's end its journal must be whole and say, byte for byte, what an undisturbed
    run says; after each kill it must hold all that had been acknowledged.
    """
    draw, begun = random.Random(seed), time.perf_counter()
    plans = list(POINTS)
    draw.shuffle(plans)
    made = {"kills": 0, "points": 0, "markets": 0, "moments": 0}
    while made["kills"] < kills or plans:
        world = World(draw.randrange(10**6))
        calm, folder = (world.folder(place, f"{n}{made['markets']}") for n in ("calm", "wild"))
        sit(world, calm)
        _disturb(world, folder, draw, plans, kills, made)
        _compare(calm, folder)
        made["markets"] += 1
        made["moments"] += len(world.told)
    return {**made, "kills_per_second": round(made["kills"] / (time.perf_counter() - begun), 1)}


def _disturb(world, folder, draw, plans, kills, made):
    """Kill sittings over one market until it is at its end."""
    killed, tried, acked = True, set(), 0
    while killed:
        open_plans = [plan for plan in plans if plan not in tried]
        plan = open_plans[0] if open_plans else draw.uniform(0.0, 0.06)
        if not open_plans and made["kills"] >= kills:
            return sit(world, folder)
        killed, last = killed_sitting(world, folder, plan)
        acked = max(acked, last)
        if isinstance(plan, tuple):
            tried.add(plan)
            if killed:
                plans.remove(plan)
                made["points"] += 1
            else:
                return None
        made["kills"] += killed
        durable = read(folder, kinds=("moment",), last=1)
        if acked > (durable[0].time if durable else 0):
            raise AssertionError(f"{folder}: moment {acked} was acknowledged and is lost")
    return None


def _compare(calm, wild):
    """Assert that a disturbed journal says what an undisturbed one says, no more and no less."""
    verify(wild)
    if decisions(calm) != decisions(wild):
        raise AssertionError(f"{wild} did not decide as {calm}")
    ends = [fold(read(folder)).desk.snapshot() for folder in (calm, wild)]
    fills = [_fills(folder) for folder in (calm, wild)]
    controls = [_controls(folder) for folder in (calm, wild)]
    if ends[0] != ends[1] or fills[0] != fills[1] or controls[0] != controls[1]:
        raise AssertionError(f"{wild} did not come out where {calm} did")
    if folders.commands(wild):
        raise AssertionError(f"{wild}: a command is left over")


def _fills(folder):
    return [trade for e in read(folder, kinds=("moment",)) for trade in e.body["trades"]]


def _controls(folder):
    return [(e.time, e.body["state"]) for e in read(folder, kinds=("control",))]


if __name__ == "__main__":
    memory = Path("/dev/shm")  # SIGKILL loses nothing that was handed to the system
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as temporary:
        found = campaign(int(sys.argv[1]), int(sys.argv[2]), Path(temporary))
    sys.stdout.write(json.dumps(found) + "\n")
