"""Runs killed in every state of their orders: at most one order per intent, positions equal.

An exchange lives in a process of its own. Runs of one journal, forked from this process, follow
one another: each reconciles, says what it holds, then orders and cancels until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import random
import signal
import struct
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine
from decimal import Decimal
from functools import partial
from itertools import product
from pathlib import Path
from typing import IO, Any, NamedTuple

from research import batch
from research.campaigns.orders.stage import Clockwork, Run, broken, exchange, told, truth
from research.live.net import Network
from research.orders import Known, Protector, reconcile
from research.sim.faults import Fault
from research.venues.words import Refused, Side, Unreachable

FAULTS = (
    *(Fault(kind, prob=0.06) for kind in ("accept_then_503", "ack_rst", "cancel_race")),
    Fault("hold_after_accept", prob=0.04, args={"seconds": 1.6}),
    Fault("late_accept", prob=0.04, args={"us": 2_000_000}),
    Fault("partial", prob=0.06, args={"share": 0.4, "then": "expire"}),
)
_KINDS = ("intent", "send", "ack", "done", "unknown", "fill", "cancel", "absent")
POINTS = (
    *product(_KINDS, ("begin", "inserted", "committed", "done")),
    *product(("post",), ("before", "after")),
    *product(("time",), ("0.01", "0.03", "0.06", "0.1", "0.2", "0.4")),
)
"""Where a run is killed: at each step of writing each kind of event, before and after a request is
made, and at random moments."""
_A_VENUE = 100
_BARS = 20_000
_TIMEOUT = 0.8
_TOO_LONG = 300.0


class _Child(NamedTuple):
    """A forked process that speaks in lines of JSON."""

    pid: int
    hears: IO[bytes]
    says: IO[bytes]

    def ask(self, word: bytes = b"\n") -> dict[str, Any]:
        """Say something and return the answer; empty: it has ended."""
        self.hears.write(word)
        self.hears.flush()
        return self.listen()

    def listen(self) -> dict[str, Any]:
        """Return what it says next; empty: it has ended."""
        line = self.says.readline()
        return json.loads(line) if line else {}

    def kill(self) -> int:
        """End it and return how it had ended or now did."""
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.hears.close()
        self.says.close()
        return status


def order_kills(
    count: int,
    workers: int = 1,
    *,
    venues: tuple[str, ...] = ("binance", "bybit", "kraken"),
    seed: int = 1,
) -> dict[str, Any]:
    """Kill `count` runs by SIGKILL, each at another point of its orders' lives.

    After each the next run reconciles, and what it holds and has sent is compared with the
    exchange's own ledger and log.

    Parameters
    ----------
    count : int
        Kills, a third at each venue.
    workers : int
        Not used: the moments of the kills are the point, and they want a quiet machine.
    venues : tuple of str
        Where.
    seed : int
        Of what runs do and of the moments.

    Returns
    -------
    dict
        ``kills``, ``orders`` at the venues, ``states`` in which orders were found after a kill.

    Raises
    ------
    AssertionError
        If an order was doubled, lost or never meant, or a position is not what fills say.
    RuntimeError
        If a run ended by itself.
    """
    import ccxt.async_support

    assert ccxt.async_support.binanceusdm  # loaded before the forks: a start costs milliseconds
    watch = batch.progress(f"orders: {count} kills")
    states: Counter[str] = Counter()
    kills = orders = 0
    for number, venue in enumerate(venues):
        left = count * (number + 1) // len(venues) - count * number // len(venues)
        while left > 0:
            some = min(left, _A_VENUE)
            with tempfile.TemporaryDirectory(prefix="alphabook-") as place:
                numbers = range(kills, kills + some)
                found = _venue(venue, Path(place), numbers, seed, lambda k: watch(k, count, ""))
            orders += found.pop("orders")
            states += Counter(found)
            kills, left = kills + some, left - some
    return {"kills": kills, "orders": orders, "states": dict(sorted(states.items()))}


def _venue(
    venue: str, place: Path, numbers: range, seed: int, watch: Callable[[int], None]
) -> dict[str, int]:
    """Kill runs at one exchange, then let one end in order."""
    clock = mmap.mmap(-1, 8)
    there = _fork(partial(_serve, venue, place, clock, seed))
    found: Counter[str] = Counter()
    try:
        assert there.listen(), "the exchange did not come up"
        (place / "run").mkdir()
        for number in (*numbers, -1):
            child = _fork(partial(_live, venue, place, clock, number, seed))
            said = child.listen()
            if not said and _early(number):
                _killed(child)
                found["killed while reconciling"] += 1
                continue
            wrong = _compared(there.ask(), said)
            assert not wrong, (venue, number, wrong)
            found.update(said["states"])
            if number < 0:
                child.kill()
                break
            _end(child, number)
            watch(number + 1)
        found["orders"] = len(said["meant"])
    finally:
        there.kill()
    return dict(found)


def _early(number: int) -> bool:
    """Tell whether a run is killed at its point even if it only reconciles."""
    return number >= 0 and number % 5 == 4 and POINTS[number % len(POINTS)][0] != "time"


def _end(child: _Child, number: int) -> None:
    """Let a run go on, and see it killed."""
    where, when = POINTS[number % len(POINTS)]
    child.ask()  # it is at work, or has come to its point already
    if where == "time":
        time.sleep(float(when))
    else:
        _ended(child)
    _killed(child)


def _killed(child: _Child) -> None:
    status = child.kill()
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        raise RuntimeError("orders: a run ended by itself")


def _ended(child: _Child) -> None:
    """Return when a run has ended, or after a while if it never comes to its point."""
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.005)


def _compared(truth: dict[str, Any], said: dict[str, Any]) -> list[str]:
    if said.get("failed") or said["halted"]:
        return [said.get("failed") or said["halted"]]
    for one in (truth, said):
        one["held"] = Decimal(one["held"])
    said |= {"booked": Decimal(said["booked"]), "meant": set(said["meant"])}
    return broken(truth, said)


def _fork(work: Callable[[IO[bytes], IO[bytes]], Coroutine[Any, Any, None]]) -> _Child:
    """Fork a process that runs `work` with a pipe to hear by and one to speak by."""
    heard, hears = os.pipe()
    says, said = os.pipe()
    pid = os.fork()
    if pid:
        os.close(heard)
        os.close(said)
        return _Child(pid, os.fdopen(hears, "wb"), os.fdopen(says, "rb"))
    code = 1
    try:
        os.close(hears)
        os.close(says)
        out = os.fdopen(said, "wb")
        try:
            asyncio.run(work(os.fdopen(heard, "rb"), out))
        except Exception:
            _say(out, {"failed": traceback.format_exc()})
            raise
        code = 0
    finally:
        os._exit(code)


def _say(to: IO[bytes], what: dict[str, Any]) -> None:
    to.write(json.dumps(what, default=_plain).encode() + b"\n")
    to.flush()


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)


# -- the exchange ------------------------------------------------------------------------------


async def _serve(
    venue: str, place: Path, clock: mmap.mmap, seed: int, heard: IO[bytes], said: IO[bytes]
) -> None:
    loop = asyncio.get_running_loop()
    async with exchange(venue, _BARS, faults=FAULTS, seed=seed) as at:
        works = Clockwork(at)
        (place / "venue.json").write_text(json.dumps([at.port, str(at.ca)]))
        _tick(clock, at.clock.now())
        loop.add_reader(heard.fileno(), lambda: _answer(at, venue, heard, said))
        _say(said, {"port": at.port})
        while True:
            await asyncio.sleep(0.1)
            await works.minute()
            _tick(clock, at.clock.now())


def _answer(at: Any, venue: str, heard: IO[bytes], said: IO[bytes]) -> None:
    if os.read(heard.fileno(), 1):
        _say(said, truth(at, venue))


def _tick(clock: mmap.mmap, now: int) -> None:
    clock[:8] = struct.pack("q", now)


# -- a run -------------------------------------------------------------------------------------


async def _live(
    venue: str,
    place: Path,
    clock: mmap.mmap,
    number: int,
    seed: int,
    heard: IO[bytes],
    said: IO[bytes],
) -> None:
    port, ca = json.loads((place / "venue.json").read_text())
    since = place / "since"
    if not since.exists():
        since.write_text(str(struct.unpack("q", clock[:8])[0]))
    async with asyncio.timeout(_TOO_LONG), Network(port, Path(ca)) as network:
        now = lambda: int(struct.unpack("q", clock[:8])[0])  # noqa: E731
        run = Run(venue, place / "run", network, now, int(since.read_text()))
        await _again(partial(run.open, _TIMEOUT))
        states = Counter(_state(known) for known in run.book.unsettled())
        if _early(number):
            _doom(run, number)
        report = await _again(partial(reconcile, run.account, [run.symbol]))
        halted = report.text("orders") if report.halted else ""
        _say(said, told(run) | {"halted": halted, "states": states})
        heard.readline()
        _say(said, {"at": "work"})
        _doom(run, number)
        await _work(run, random.Random(f"{seed} {number}"))


async def _again(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Do what only asks until the venue answers."""
    while True:
        try:
            return await work()
        except Unreachable:
            await asyncio.sleep(0.05)


def _state(known: Known) -> str:
    if known.cancelling:
        return "cancelling"
    if not known.sent:
        return "meant"
    if known.unknown:
        return "sent" if known.answer == "" else "unknown"
    return "open" if not known.over else "fills not booked"


def _doom(run: Run, number: int) -> None:
    """Have the process end at its point."""
    where, when = POINTS[number % len(POINTS)]
    write, send = run.account._write, run.gateway.send

    def written(*events: tuple[str, dict[str, Any]]) -> Any:
        hit = any(kind == where for kind, _ in events)
        run.journal.at = lambda step: _die() if hit and step == when else None
        return write(*events)

    async def sent(order: Any) -> Any:
        if when == "before":
            asyncio.get_running_loop().call_later(0.002, _die)
        found = await send(order)
        _die()
        return found

    run.account._write = written
    if where == "post":
        run.gateway.send = sent


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def _work(run: Run, draws: random.Random) -> None:
    """Order and cancel, whatever comes of it."""
    protector = Protector(run.sender)
    while True:
        held = run.book.held(run.symbol)
        side: Side = "buy" if draws.random() < 0.5 - float(held) / 8 else "sell"
        if run.venue == "kraken" and held < 1:
            side = "buy"  # at a spot venue nobody sells what is not there
        quantity = Decimal(draws.choice(["1", "0.5", "2"]) if held >= 2 else "1")
        part = "1.1" if side == "buy" else "0.9"
        try:
            choice = draws.random()
            if choice < 0.4:
                await run.sender.send(run.meant(side, quantity, "ioc", part))
            elif choice < 0.5:
                await run.sender.send(run.meant(side, quantity, "market"))
            elif choice < 0.7:
                await run.sender.send(run.meant("buy", Decimal(1), "limit", "0.9"))
            elif choice < 0.85:
                await _cancel(run, draws)
            elif choice < 0.95 and run.venue != "kraken":
                moment, price = 10**6 + len(run.book.orders), Decimal(100)
                stop = Decimal(draws.choice([80, 85]) if held > 0 else draws.choice([115, 120]))
                await protector.protect(
                    run.symbol, stop=stop, take=None, moment=moment, price=price
                )
            else:
                await run.account.watch()
        except (Refused, Unreachable):
            run.account.mode = "active"
        await asyncio.sleep(0)


async def _cancel(run: Run, draws: random.Random) -> None:
    live = [known.order.cid for known in run.book.unsettled() if known.live]
    if live:
        await run.sender.cancel(draws.choice(live))
    elif run.book.unsettled():
        await run.account.watch()
