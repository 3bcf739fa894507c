"""What a server of `forks` forks: runs that order and cancel until they are killed, one exchange.

Each is a coroutine with a pipe to hear letters by and one to speak by, in lines of JSON.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import random
import signal
import struct
from collections.abc import Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from research.campaigns.orders.points import Point, state_of
from research.campaigns.orders.stage import Clockwork, Run, exchange, told, truth
from research.live.net import Network
from research.orders import Protector, reconcile
from research.sim.faults import Fault
from research.venues.words import Refused, Side, Unreachable

FAULTS = (
    *(Fault(kind, prob=0.06) for kind in ("accept_then_503", "ack_rst", "cancel_race")),
    Fault("hold_after_accept", prob=0.04, args={"seconds": 1.6}),
    Fault("late_accept", prob=0.04, args={"us": 2_000_000}),
    Fault("partial", prob=0.06, args={"share": 0.4, "then": "expire"}),
    Fault("partial", prob=0.06, args={"share": 0.4, "then": "rest", "us": 300_000_000}),
)
_BARS = 20_000
_A_MINUTE = 0.1
_NONE = b"-"
_TIMEOUT = 0.8
_TOO_LONG = 240.0
_RESTING = 6
"""Orders at a venue from which on a run only cancels."""
_EARLY = 0.2
"""Part of all runs that may be killed while they reconcile already."""


class Scene(NamedTuple):
    """What a run needs to know; all of it was said by the exchange and is there after a fork."""

    venue: str
    folder: Path
    port: int
    ca: Path
    since: int
    clock: mmap.mmap
    """The exchange's, microseconds since 1970 UTC."""

    def now(self) -> int:
        """Return the exchange's time."""
        return int(struct.unpack("q", self.clock[:8])[0])


def say(to: IO[bytes], what: Mapping[str, Any]) -> None:
    """Say something in a line."""
    to.write(json.dumps(what, default=_plain).encode() + b"\n")
    to.flush()


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)


# -- the exchange ------------------------------------------------------------------------------


async def serve(venue: str, clock: mmap.mmap, seed: int, heard: IO[bytes], said: IO[bytes]) -> None:
    """Be an exchange until whoever forked it is gone.

    It answers each letter with what it knows; ``h`` lets its time stand still, ``g`` go on.
    """
    letters, going = _letters(heard), True
    async with exchange(venue, _BARS, faults=FAULTS, seed=seed) as at:
        works = Clockwork(at)
        _tick(clock, at.clock.now())
        say(said, {"port": at.port, "ca": at.ca, "since": at.clock.now()})
        while letter := await _letter(letters):
            if letter == b"h":  # with a minute's budget: time that stands still brings no other
                await works.minute()
                _tick(clock, at.clock.now())
            if letter in b"hg":
                going = letter == b"g"
                at.clock.hold("server", not going)
            if letter != _NONE:
                orders = _orders(at, venue)  # catches up with the market first
                say(said, truth(at, venue) | {"orders": orders})
            elif going:
                await works.minute()
                _tick(clock, at.clock.now())


def _letters(heard: IO[bytes]) -> asyncio.Queue[bytes]:
    """Return the letters that come, to be taken between two minutes; the last is empty."""
    loop, letters = asyncio.get_running_loop(), asyncio.Queue[bytes]()

    def hear() -> None:
        letter = os.read(heard.fileno(), 1)
        letters.put_nowait(letter)
        if not letter:
            loop.remove_reader(heard.fileno())

    loop.add_reader(heard.fileno(), hear)
    return letters


async def _letter(letters: asyncio.Queue[bytes]) -> bytes:
    """Return the next letter, or `_NONE` if a minute goes by before."""
    try:
        return await asyncio.wait_for(letters.get(), _A_MINUTE)
    except TimeoutError:
        return _NONE


def _orders(at: Any, venue: str) -> dict[str, tuple[str, str, str]]:
    """Return of each order what `state_of` asks for."""
    return {
        order.cid: (order.status, str(order.filled), "" if order.triggered is None else "triggered")
        for order in at.accounts[venue].orders()
    }


def _tick(clock: mmap.mmap, now: int) -> None:
    clock[:8] = struct.pack("q", now)


# -- a run -------------------------------------------------------------------------------------


async def live(
    scene: Scene,
    number: int,
    point: Point,
    there: Mapping[str, Sequence[str]],
    seed: int,
    heard: IO[bytes],
    said: IO[bytes],
) -> None:
    """Go on from the journal: reconcile, say what is held, then order and cancel until killed.

    First it says in which states the kill before it found its orders, then that it has reconciled.
    Told ``c`` it looks once more and says what it holds; told ``w`` it works; else it ends.

    Parameters
    ----------
    scene : Scene
        The exchange, and the journal's folder.
    number : int
        Of the run.
    point : Point
        Where it is killed.
    there : mapping
        What the exchange knew of each order when the run before was killed.
    seed : int
        Of what it does.
    heard, said : file
        The pipes.
    """
    draws, server = random.Random(f"{seed} {number}"), os.getppid()
    async with asyncio.timeout(_TOO_LONG), Network(scene.port, scene.ca) as network:
        run = Run(scene.venue, scene.folder, network, scene.now, scene.since)
        await _again(partial(run.open, _TIMEOUT))
        found = [state_of(known, there.get(known.order.cid)) for known in run.book.unsettled()]
        meant = len(run.book.orders)
        say(said, {"states": sorted(set(found)), "held": run.book.held(run.symbol)})
        early = point.early or draws.random() < _EARLY
        if early:
            doom(run, point, draws)
        report = await _again(partial(reconcile, run.account, [run.symbol]))
        say(said, {"halted": report.text("orders") if report.halted else ""})
        if heard.read(1) != b"c":
            return
        await _again(run.account.watch)
        say(said, told(run) | {"sent": len(run.book.orders) - meant})
        if heard.read(1) != b"w":
            return
        if not early:
            doom(run, point, draws)
        while os.getppid() == server:
            await _step(run, draws)


async def _again(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Do what only asks until the venue answers."""
    while True:
        try:
            return await work()
        except Unreachable:
            await asyncio.sleep(0.05)


def doom(run: Run, point: Point, draws: random.Random) -> None:
    """Have the process end at its point; at a random moment it is killed from outside."""
    write = run.account._write

    def written(*events: tuple[str, dict[str, Any]]) -> Any:
        hit = any(kind == point.what for kind, _ in events)
        run.journal.at = lambda step: _die() if hit and step == point.when else None
        return write(*events)

    run.account._write = written
    name = {"post": "send", "drop": "cancel"}.get(point.what)
    if name is not None:
        setattr(run.gateway, name, _doomed(getattr(run.gateway, name), point.when, draws))


def _doomed(request: Callable[..., Any], when: str, draws: random.Random) -> Callable[..., Any]:
    """Return a request that is the last: it is on its way, or was answered, when the run ends."""

    async def last(*given: Any) -> Any:
        if when == "before":
            asyncio.get_running_loop().call_later(draws.uniform(0.0, 0.01), _die)
        found = await request(*given)
        _die()
        return found

    return last


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def _step(run: Run, draws: random.Random) -> None:
    """Order, cancel, protect or look, whatever comes of it.

    Raises
    ------
    AssertionError
        If the account was stopped: all that happens here is explained.
    """
    try:
        await _chosen(run, draws)
    except (Refused, Unreachable):
        assert run.account.mode != "stopped", run.account.why
        run.account.mode = "active"
    await asyncio.sleep(0)


async def _chosen(run: Run, draws: random.Random) -> None:
    held, choice = run.book.held(run.symbol), draws.random()
    live = [known.order.cid for known in run.book.unsettled() if known.live]
    if choice < 0.2 or len(live) >= _RESTING:
        await _cancel(run, live, draws)
    elif choice < 0.5:
        part = draws.choice(["0.9", "0.993", "0.997"])
        await run.sender.send(run.meant("buy", Decimal(1), "limit", part))
    elif choice < 0.7:
        await _protect(run, held, draws)
    else:
        await _trade(run, held, draws)


async def _trade(run: Run, held: Decimal, draws: random.Random) -> None:
    """Buy or sell at once, back towards nothing as a rule."""
    side: Side = "buy" if draws.random() < 0.5 - float(held) / 8 else "sell"
    if run.venue == "kraken" and held < 1:
        side = "buy"  # at a spot venue nobody sells what is not there
    quantity = Decimal(draws.choice(["1", "0.5", "2"]) if held >= 2 else "1")
    part = "1.1" if side == "buy" else "0.9"
    kind = draws.choice(["ioc", "ioc", "market"])
    await run.sender.send(run.meant(side, quantity, kind, part))


async def _protect(run: Run, held: Decimal, draws: random.Random) -> None:
    """Lay stop and take, near the market or far from it."""
    if run.venue == "kraken" and held <= 0:
        return await run.account.watch()
    up, down = Decimal(draws.choice(["100.7", "115"])), Decimal(draws.choice(["99.3", "85"]))
    stop, take = (down, up) if held > 0 else (up, down)
    alone = run.venue == "kraken" or draws.random() < 0.5  # two would each need the coins
    await Protector(run.sender).protect(
        run.symbol,
        stop=stop,
        take=None if alone else take,
        moment=10**6 + len(run.book.orders),
        price=Decimal(100),
    )


async def _cancel(run: Run, live: list[str], draws: random.Random) -> None:
    if live:
        await run.sender.cancel(draws.choice(live))
    else:
        await run.account.watch()
