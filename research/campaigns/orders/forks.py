"""A server of runs to be killed: forked from one warm process, so that a kill is cheap.

``python -m research.campaigns.orders.forks JOB`` (the job is JSON) works in the store that the
environment names and says, in JSON, what came of it. It imports all that runs need and does nothing
with it: polars begins its threads with its first work, and a child forked after that would wait for
threads that it does not have.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from research.campaigns.orders import victims
from research.campaigns.orders.points import POINTS, Point
from research.campaigns.orders.stage import broken
from research.campaigns.orders.victims import Scene
from research.store import atomic

HANG = 300
"""Real seconds after which a process that says nothing is taken to hang."""
REACH = 3.0
"""Real seconds in which a run comes to its point, or else is killed where it is."""


class Child(NamedTuple):
    """A forked process that hears letters and speaks in lines of JSON."""

    pid: int
    hears: IO[bytes]
    says: IO[bytes]

    def ask(self, letter: bytes) -> dict[str, Any]:
        """Say a letter and return the answer; empty: it has ended."""
        try:
            self.hears.write(letter)
        except BrokenPipeError:
            return {}
        return self.listen()

    def listen(self) -> dict[str, Any]:
        """Return what it says next; empty: it has ended.

        Raises
        ------
        RuntimeError
            If it failed.
        TimeoutError
            If it hangs.
        """
        signal.alarm(HANG)
        line = self.says.readline()
        signal.alarm(0)
        said: dict[str, Any] = json.loads(line) if line else {}
        if "failed" in said:
            raise RuntimeError(said["failed"])
        return said

    def end(self, seconds: float = 0.0) -> bool:
        """Kill it if it has not ended in so many seconds; return whether it had, by a kill.

        Raises
        ------
        RuntimeError
            If it has ended in any other way.
        """
        there = os.pidfd_open(self.pid)
        itself = bool(select.select([there], [], [], seconds)[0])
        os.close(there)
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        with self.hears, self.says:
            if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
                raise RuntimeError(f"a run ended by itself: {self.says.read().decode()}")
        return itself


def _hangs(number: int, frame: Any) -> NoReturn:
    raise TimeoutError(f"a process said nothing for {HANG} s")


def fork(work: Callable[[IO[bytes], IO[bytes]], Coroutine[Any, Any, None]]) -> Child:
    """Fork a process that runs `work` with a pipe to hear by and one to speak by."""
    heard, hears = os.pipe()
    says, said = os.pipe()
    pid = os.fork()
    if pid:
        os.close(heard)
        os.close(said)
        return Child(pid, os.fdopen(hears, "wb", 0), os.fdopen(says, "rb"))
    os.close(hears)
    os.close(says)
    _work(work, os.fdopen(heard, "rb", 0), os.fdopen(said, "wb"))


def _work(work: Any, heard: IO[bytes], said: IO[bytes]) -> NoReturn:
    code = 1
    try:
        asyncio.run(work(heard, said))
        code = 0
    except Exception:
        victims.say(said, {"failed": traceback.format_exc()})
    finally:
        os._exit(code)


class Server:
    """One exchange, and the runs that are killed at it.

    Parameters
    ----------
    venue : str
        Where.
    folder : Path
        Empty; the runs' journal is kept there.
    seed : int
        Of faults and of what runs do.
    """

    def __init__(self, venue: str, folder: Path, seed: int) -> None:
        clock = mmap.mmap(-1, 8)
        self._seed, self._there = seed, fork(partial(victims.serve, venue, clock, seed))
        began = self._there.listen()
        place = began["port"], Path(began["ca"]), began["since"]
        self._scene = Scene(venue, folder, *place, clock)
        self._orders: dict[str, Any] = {}
        self.states: Counter[str] = Counter()
        self.points: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def kill(self, number: int) -> None:
        """Let a run begin, and kill it at its point or where it has come to by then.

        Raises
        ------
        AssertionError
            If a law is broken.
        """
        point = POINTS[number % len(POINTS)]
        child = self._begun(number, point)
        if self._agreed(child):
            child.hears.write(b"w")
            time.sleep(float(point.when) if point.what == "time" else 0.0)
        else:
            self.states["reconciling"] += 1
        met = child.end(0.0 if point.what == "time" else REACH)
        self.points[point.what if met else "time"] += 1
        self.counts["kills"] += 1
        self._orders = self._there.ask(b"?")["orders"]

    def finish(self) -> dict[str, Any]:
        """Let one more run begin, which nobody kills, and return what there was to count."""
        child = self._begun(-1, Point("", ""))
        assert self._agreed(child), "a run ended that nobody killed"
        child.end()
        counts = {"states": dict(self.states), "points": dict(self.points)}
        return {**self.counts, "orders": len(self._orders), **counts}

    def close(self) -> None:
        """End the exchange."""
        self._there.end()

    def _begun(self, number: int, point: Point) -> Child:
        """Fork a run, and count in which states the kill before it has left its orders."""
        how = self._scene, number, point, self._orders, self._seed
        child = fork(partial(victims.live, *how))
        began = child.listen()
        self.states.update(began["states"])
        self.counts["with_position"] += bool(Decimal(began["held"]))
        return child

    def _agreed(self, child: Child) -> bool:
        """Compare what a run holds, once it has reconciled, with what the exchange says.

        The exchange's time stands still meanwhile. False: the run was killed before.
        """
        said = child.listen()
        if not said:
            return False
        assert not said["halted"], said["halted"]
        truth, said = self._there.ask(b"h"), child.ask(b"c")
        self._there.ask(b"g")
        if said:
            told = _amounts(said, "held", "booked") | {"meant": set(said["meant"])}
            found = broken(_amounts(truth, "held"), told)
            assert not found, found
            self.counts["sent"] += said["sent"]
        return bool(said)


def _amounts(said: dict[str, Any], *names: str) -> dict[str, Any]:
    return said | {name: Decimal(said[name]) for name in names}


def serve(job: dict[str, Any]) -> dict[str, Any]:
    """Kill ``job["kills"]`` runs of one journal at one venue.

    Parameters
    ----------
    job : dict
        ``venue, first, kills, seed``; ``first`` is the number of the first run.

    Returns
    -------
    dict
        ``kills, orders, with_position, sent``, and the counters ``states`` and ``points``.

    Raises
    ------
    AssertionError
        If a law is broken.
    """
    folder = atomic.data_root() / "run"
    folder.mkdir(parents=True)
    server, number = Server(job["venue"], folder, job["seed"] + job["first"]), -1
    try:
        for number in range(job["first"], job["first"] + job["kills"]):
            server.kill(number)
        return server.finish()
    except AssertionError as wrong:
        raise AssertionError(job["venue"], number, *wrong.args) from wrong
    finally:
        server.close()


def main() -> None:
    """Do the job of the command line, and say in JSON what came of it."""
    import ccxt.async_support

    assert ccxt.async_support.binanceusdm  # loaded before the forks: a start costs milliseconds
    signal.signal(signal.SIGALRM, _hangs)
    found, wrong = {}, ""
    try:
        found = serve(json.loads(sys.argv[1]))
    except AssertionError as law:
        wrong = repr(law)
    sys.stdout.write(json.dumps({"found": found, "wrong": wrong}) + "\n")


if __name__ == "__main__":
    main()
