"""The broker: what the desk wishes becomes orders at a venue, and their fills go to its books.

It works beside the bars, in the runner's event loop, and touches the desk under the runner's lock
alone. A close is durable before any of its orders leave, an order before it is sent, and a fill
before it is booked. At its start, and again and again, it asks whether the venue holds what our
fills say; where it does not, and no fill explains it, nothing is sent until a person has looked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from research.live import journal, names
from research.live.broker import terms
from research.live.broker.balance import Balances
from research.live.broker.books import Books, Said
from research.live.broker.deals import Deals, Levels
from research.live.clock import Clock, WallClock
from research.live.desk import ACTIVE, HALTED, REDUCING, Desk
from research.orders import (
    Account,
    DeadMan,
    Owner,
    Report,
    Sender,
    accept,
    fold,
    reconcile,
)
from research.store import atomic
from research.study import Study
from research.venues.words import Gateway, Refused, Unreachable

REPORT = "reconciliation.txt"
"""In the run's folder: what was found that no fill explains, and what to do."""
EVERY_US = 15 * 60 * 1_000_000
"""Market time between two comparisons with the venue."""
AGAIN_US = 60 * 1_000_000
"""Market time after which a comparison is tried again that was not answered to its end."""
POLL = 1.0
"""Real seconds between two questions to a real venue."""
HELD, DOUBTED = 30.0, 1.0
"""Real seconds for which a simulated market waits for our orders to be dealt with, and for those
of which nobody knows what came."""
FASTEST = 60.0
"""Speed of a simulated market up to which the dead-man timer is armed."""
_TRIES = 5


class Hooks(NamedTuple):
    """What the runner lends."""

    lock: asyncio.Lock
    """Held by whoever touches the desk."""
    write: Callable[[list[Said]], None]
    """Makes events durable, from any thread."""
    ask: Callable[[int, str, str], Awaitable[None]]
    """Sets the desk's state of control, for a reason, in someone's name."""
    say: Callable[..., None]
    """The log."""


class Broker:
    """Trades one run's account.

    Parameters
    ----------
    study : Study
        Its stops and takes are those of `backtest`.
    folder : Path
        The run's, whose name stands in every order's id.
    gateway : Gateway
        Open.
    desk : Desk
        A live one.
    clock : Clock
        The feed's, by which the gateway signs.
    speed : float
        Of a simulated market, its seconds in a real one; 1 of a real one.
    since : int
        When the run was begun, microseconds since 1970 UTC.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        gateway: Gateway,
        desk: Desk,
        clock: Clock,
        *,
        speed: float,
        since: int,
    ) -> None:
        self._study, self._folder, self._desk, self._clock = study, folder, desk, clock
        self._gateway, self._speed, self._since = gateway, speed, since
        self._names = names.of(study, desk.symbols)
        self._next = 0  # comparison
        self._guard: asyncio.Task[None] | None = None
        self._loop: asyncio.Task[None] | None = None
        self._awake = asyncio.Event()
        self._urgent = False
        self.begun = False
        """Whether the account is known."""
        self.report: Report | None = None
        """Of the last comparison that halted."""

    # -- a sitting's beginning ------------------------------------------------------------------

    async def begin(self, hooks: Hooks) -> None:
        """Find out how the account stands, book what is explained, and halt on anything else.

        Raises
        ------
        UserError
            If the venue refuses or does not answer.
        """
        self._hooks = hooks
        self._make(hooks)
        await self._first_look()
        await self._books.collect()
        if self._desk.ordered != ACTIVE:
            self.urgent(stopping=True)
        await self._heed()
        if self._desk.control != HALTED:
            for wish in self._desk.wishes():  # of a sitting that ended meanwhile: decided anew
                await self._books.settle(wish.symbol, "the run began again")
            for symbol in self._desk.symbols:
                await self._deals.protect(symbol)
        self._deals.begin()  # what is held by a halted desk is left now
        self._dead = DeadMan(self._gateway, lambda: True, pace=max(self._speed, 1.0))
        await self._switch()
        self._loop = asyncio.create_task(self._beside(), name="broker")
        if self._urgent:
            self.wake()

    def _make(self, hooks: Hooks) -> None:
        events = journal.read(self._folder)
        owner = Owner(self._study.name, str(self._study.live.account), self._folder.name)
        self._account = Account(
            self._gateway,
            self._noted,
            fold(events),
            owner,
            now=self._clock.now,
            since=self._since,
            patience=terms.patience(self._speed, real=isinstance(self._clock, WallClock)),
        )
        sender = Sender(self._account)
        how = self._desk, self._account, self._names, hooks.lock, hooks.write
        self._books = Books(*how)
        self._books.recall(e for e in events if e.kind in ("booked", "received", "intent"))
        rests = Levels(
            *(_fraction(x) for x in (self._study.backtest.stop, self._study.backtest.take))
        )
        self._deals = Deals(self._desk, sender, self._books, self._names, rests)
        self._sender, self._protected = sender, rests != (None, None)
        self._balances = Balances(self._gateway, self._account, self._names, events)
        self.begun = True

    def _noted(self, *said: Said) -> None:
        for event in said:
            self._books.hear(*event)
        self._hooks.write([*said])

    async def _first_look(self) -> None:
        for k in range(_TRIES):
            try:
                return await self._compare()
            except (Unreachable, Refused) as trouble:
                why: Exception = trouble
                await asyncio.sleep(self._account.patience.pause(k))
        raise terms.silent(self._gateway, why)

    # -- around a close -------------------------------------------------------------------------

    async def before(self) -> None:
        """Book what is known before a close is decided; a real venue is asked all the time."""
        self.check()
        if not isinstance(self._clock, WallClock):
            await self._look()

    async def after(self) -> None:
        """Send what a close has wished for; a simulated market waits for it, a real one does not.

        An order of which nobody knows what came is not waited for.
        """
        if self._urgent:  # a guard has spoken while the close was decided
            self.wake()
        self._deals.begin()
        if not isinstance(self._clock, WallClock):
            begun = time.monotonic()
            while self._deals.working and time.monotonic() - begun < self._bearable():
                await asyncio.wait(self._deals.working, timeout=0.1)
        await self._heed()

    def _bearable(self) -> float:
        """Return how long market time may stand still for orders."""
        doubtful = any(k.answer == "unknown" for k in self._account.book.unsettled())
        return DOUBTED if doubtful else HELD

    def urgent(self, *, stopping: bool) -> None:
        """Let no order leave that could open anything, from this very moment on.

        May be called from any thread; `wake`, or the end of the close in hand, does the rest.
        Without `stopping` the desk is set active now: the account is, too, where `resume` found
        nothing against it.
        """
        if self.begun and not stopping and not self._account.why:
            self._account.resume()
        if self.begun and stopping and not self._account.why:  # also while `resume` compares
            stopped = self._account.mode == "stopped"
            self._account.mode = "stopped" if stopped else "reducing"
            self._account.why = "the desk is not active"
        self._urgent = self._urgent or stopping

    def wake(self) -> None:
        """Act on what the desk now wishes, not at the next look."""
        self._awake.set()
        if self._loop is not None:  # an exit waits for no question that is under way
            self._deals.begin()

    async def resume(self, *, accepting: bool) -> str:
        """Return what speaks against trading again after a halt; empty: nothing does.

        The account stays as it is until the desk is set active, see `urgent`.

        Parameters
        ----------
        accepting : bool
            Take the venue's word for what no fill explains.
        """
        account, was = self._account, self._account.why
        account.why = ""  # what is found from here on is what speaks against it
        try:
            await self._compare()
            if self.report is not None and accepting:
                accept(account, self.report)
                account.mode = "stopped"  # until it has been compared
                await self._compare()
            await self._books.collect()
        except (Unreachable, Refused) as trouble:
            account.why = account.why or was
            return f"the venue does not say how the account stands: {trouble}"
        if not account.why:
            self._deals.review()
        return account.why

    # -- beside the bars ------------------------------------------------------------------------

    async def _beside(self) -> None:
        """Ask the venue again and again, and act at once where somebody has halted."""
        real = isinstance(self._clock, WallClock)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL if real else None):
                    await self._awake.wait()
            self._awake.clear()
            if self._urgent:
                self._urgent = False
                await self._cleared()
            if real:
                await self._look()
                self._deals.begin()
            await self._heed()

    async def _look(self) -> None:
        """Ask for what is open, book it, and compare where it is time to."""
        try:
            await self._account.watch()
            if self._clock.now() >= self._next and not self._deals.working:
                await self._compare()
        except Unreachable as silence:
            self._hooks.say("venue_silent", why=str(silence))
        except Refused as no:
            self._hooks.say("venue_refuses", why=str(no))
        await self._books.collect()

    async def _compare(self) -> None:
        """Compare positions, orders and money with the venue's."""
        self._next = self._clock.now() + AGAIN_US
        found = await reconcile(self._account, list(self._names.values()))
        self._next = self._clock.now() + EVERY_US
        self.report = found if found.halted else None
        if found.halted:
            atomic.write_text(self._folder / REPORT, found.text(self._folder.name) + "\n")
        else:
            (self._folder / REPORT).unlink(missing_ok=True)
        said = await self._balances.compare()
        if said:
            self._hooks.write(said)

    async def _heed(self) -> None:
        """Halt or reduce the desk where the account is stopped or may only reduce."""
        account, state = self._account, self._desk.control
        wanted = {"stopped": HALTED, "reducing": REDUCING}.get(account.mode, 0)
        if wanted > state:
            await self._hooks.ask(wanted, account.why, "broker")
            if self.report is not None:
                self._hooks.say("mismatch", report=self.report.text(self._folder.name))

    async def _cleared(self) -> None:
        """Leave all that is to be left, take back what else is open, and see that it is so.

        Exits have begun by then, see `wake`. What rests for a position is taken back by whoever
        leaves it; where a position stays, its stop stays with it.
        """
        try:
            for _ in range(_TRIES):
                await self._sender.cancel_all(keeping_stops=True)
                await self._books.collect()  # what was under way may be filled, and is left then
                working = self._deals.begin()
                if not working:
                    break
                await asyncio.wait(working)
            await self._verify()
        except (Unreachable, Refused) as trouble:
            self._hooks.say("venue_silent", why=str(trouble))
            self._urgent = True  # tried again at the next look

    async def _verify(self) -> None:
        """Say whether the venue holds nothing any more, once the desk is halted."""
        if self._desk.control != HALTED:
            return
        held = await self._gateway.positions()
        left = {n: str(held[n].quantity) for n in self._names.values() if n in held}
        left = {name: held_ for name, held_ in left.items() if Decimal(held_)}
        note = {"kind": "flat" if not left else "not_flat", "left": left}
        self._hooks.write([("note", {**note, "time": self._clock.now()})])
        self._hooks.say(note["kind"], left=left)

    async def _switch(self) -> None:
        """Arm the venue's dead-man timer, unless stops shall outlive us: it cancels those, too.

        Where market time jumps from bar to bar nobody could renew it in time.
        """
        if self._protected:
            await self._dead.end()
        elif self._speed <= FASTEST:
            self._guard = asyncio.create_task(self._dead.run(), name="dead man")

    # -- what it says, and its end --------------------------------------------------------------

    def check(self) -> None:
        """Raise what something beside the bars has failed with."""
        self._deals.check()
        for task in (self._loop, self._guard):
            if task is not None and task.done() and not task.cancelled():
                task.result()

    def facts(self) -> dict[str, Any]:
        """Return what the heartbeat tells of the account."""
        known = self._account.book.unsettled() if self.begun else []
        return {
            "account": self._gateway.account,
            "orders": {
                "open": sum(k.live and not k.unknown for k in known),
                "unknown": sum(k.unknown for k in known),
                "mode": self._account.mode if self.begun else "",
                "why": self._account.why if self.begun else "",
            },
        }

    async def close(self) -> None:
        """End in order: nothing new, what is unknown settled within seconds, stops left to rest."""
        if not self.begun:
            return await self._gateway.close()
        begun = time.monotonic()
        tasks = [task for task in (self._loop, self._guard) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sender.settle()
        left = self._account.patience.settle - (time.monotonic() - begun)
        await self._deals.end(max(left, 0.5))
        with suppress(Unreachable, Refused):
            await self._account.watch()
        await self._books.collect()
        if self._guard is not None:
            await self._dead.end()
        await self._gateway.close()


def _fraction(said: float | None) -> Decimal | None:
    return None if said is None else Decimal(repr(said))


__all__ = ["Broker", "Hooks"]
