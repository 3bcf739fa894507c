"""One run's account at a venue: what the journal says of it, and asking the venue for the rest.

Nothing here sends an order. Whatever a venue tells is written before it is known; what is known
already adds nothing, so that asking again changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from research.orders import events
from research.orders.book import Book, apply
from research.orders.charges import Charges
from research.orders.events import Event
from research.orders.ids import Owner
from research.orders.life import Known, step
from research.venues.words import Fill, Gateway, Refused, Seen, Unreachable

Mode = Literal["active", "reducing", "stopped"]
"""`reducing`: orders that reduce alone. `stopped`: none, but that a position keeps its stop, see
`Sender`; cancelling is always allowed."""
DAY_US = 86_400 * 1_000_000
KEPT_US = {"binance": 3 * DAY_US, "bybit": DAY_US, "kraken": 90 * DAY_US}
"""How long a venue surely knows of an order that was cancelled without a fill."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to ask: in real seconds, and in the venue's microseconds."""

    pauses: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    """Between two questions; the last is repeated."""
    least: float = 30.0
    """Nothing is held to be absent before it has been asked for so long."""
    settle: float = 10.0
    """How long an orderly end waits for what is unknown."""
    window_us: int = 5_000_000
    """Venue time within which a request is accepted: the receive window, or the deadline."""
    overlap_us: int = 60_000_000
    """So far back are fills asked for again, as venues tell of some late."""

    def pause(self, asked: int) -> float:
        """Return the seconds to wait after so many questions."""
        return self.pauses[min(asked, len(self.pauses) - 1)]


class Account:
    """What one run knows of its account, and how it learns more.

    Parameters
    ----------
    gateway : Gateway
        Open.
    write : callable
        Makes events durable before it returns, such as `Journal.append`.
    book : Book
        What the journal comes to so far.
    owner : Owner
        In whose name orders are sent.
    now : callable
        Our clock, microseconds since 1970 UTC: the one by which the gateway signs.
    since : int
        When the run was begun; others' fills from before are none of its business.
    patience : Patience
        How long to ask.
    seconds : callable
        The clock of patience.

    Attributes
    ----------
    mode : str
        What may be sent, see `Mode` and `resume`.
    why : str
        What led to it, for a person; empty: nothing speaks against trading.
    refusals : int
        Orders in a row that were refused.
    ending : bool
        The sitting is ending: whoever asks gives up soon.
    """

    def __init__(
        self,
        gateway: Gateway,
        write: Callable[..., Any],
        book: Book,
        owner: Owner,
        *,
        now: Callable[[], int],
        since: int,
        patience: Patience | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gateway, self.book, self.owner = gateway, book, owner
        self.patience = patience or Patience()
        self.now, self.since, self.seconds = now, since, seconds
        self.mode: Mode = "active"
        self.why, self.ending, self.refusals = "", False, 0
        self._write, self._charges = write, Charges(gateway)

    def note(self, *said: Event) -> None:
        """Make events durable, and only then take them into the book."""
        self._write(*said)
        for kind, body in said:
            apply(self.book, kind, body)

    def stop(self, why: str) -> None:
        """Allow no more orders; the first cause is kept."""
        if self.mode != "stopped" or not self.why:
            self.mode, self.why = "stopped", why

    def resume(self) -> None:
        """Allow all orders again: somebody has looked, and what was refused counts no more."""
        self.mode, self.why, self.refusals = "active", "", 0

    def known(self, cid: str) -> Known:
        """Return what is known of an order."""
        return self.book.orders[cid]

    # -- what the venue tells -------------------------------------------------------------------

    def told(self, cid: str, found: Seen) -> None:
        """Take what the venue tells of one of our orders; no event where it is nothing new.

        An order that was held to be absent or refused and is there after all, or that is not for
        what was sent, stops the account.
        """
        known = self.known(cid)
        kind, body = events.seen(known.order, found, self.now())
        if step(known, kind, body) == known:
            return
        self.note((kind, body))
        if known.answer in ("absent", "refused"):
            self.stop(f"order {cid} was held to be {known.answer} and is at the venue")
        if {"side", "symbol"} & set(body.get("changed", ())):
            self.stop(f"order {cid} is not what was sent: {body['changed']}")

    def doubt(self, cid: str, words: str) -> None:
        """Note that nobody knows what came of an order that was sent before now."""
        now = self.now()
        self.note(events.unknown(cid, words, now + self.patience.window_us, now))

    async def refresh(self, symbol: str) -> list[Fill]:
        """Book the fills of a symbol that are not booked yet, and return them.

        A fill that names no order we know waits while there is an order of which nobody knows
        what came; and what rests is asked for first, as a stop may go on under another id once it
        is triggered, and so is what was held to be absent. After that it is foreign: it is booked
        to the account, not to us, and stops the account if it changes what is held.

        Raises
        ------
        Unreachable
            If the venue does not answer.
        """
        fresh, told = [], await self.gateway.fills(symbol, self._from(symbol))
        if any(map(self._strange, told)):
            await self._resting(symbol)
        for found in told:
            if self._waits(found):
                continue
            charge = await self._charges.of(found)
            if self._waits(found):  # another has booked it meanwhile
                continue
            self._book(events.fill(found, *self._whose(found, charge)))
            fresh.append(found)
        if self.book.foreign.get(symbol):
            self.stop(f"{symbol}: others traded in this account")
        return fresh

    def _strange(self, found: Fill) -> bool:
        return not (found.cid or self._waits(found) or self.book.owner_of(found))

    async def _resting(self, symbol: str) -> None:
        """Learn under which ids a symbol's conditional orders are known by now, absent ones too."""
        for known in [one for one in self.book.orders.values() if one.order.symbol == symbol]:
            waits = known.order.trigger is not None and known.live
            if waits or (known.sent and known.answer == "absent"):
                found = await self.gateway.find(symbol, known.order.cid)
                if found is not None:
                    self.told(known.order.cid, found)

    def _whose(self, found: Fill, charge: events.Charge) -> tuple[str, events.Charge, str, int]:
        return self.book.owner_of(found), charge, self.gateway.name, self.now()

    def _book(self, event: Event) -> None:
        before = self.book.orders.get(event[1]["cid"])
        self.note(event)
        if before is not None and before.answer in ("absent", "refused"):
            self.stop(f"order {before.order.cid} was held to be {before.answer} and was filled")

    def _from(self, symbol: str) -> int:
        newest = self.book.last.get(symbol, self.since)
        waiting = [k.time for k in self.book.unsettled() if k.order.symbol == symbol and k.sent]
        return min([newest, *waiting]) - self.patience.overlap_us

    def _waits(self, found: Fill) -> bool:
        """Tell whether a fill is not to be booked: it is, it is too old, or it may yet be ours."""
        if (found.symbol, found.trade) in self.book.fills:
            return True
        if self.book.owner_of(found):
            return False
        symbol = found.symbol
        doubtful = any(k.unknown for k in self.book.unsettled() if k.order.symbol == symbol)
        return found.time < self.since or (doubtful and not found.cid)

    async def incomes(self) -> None:
        """Book funding and the like that is not booked yet, once by its id.

        Raises
        ------
        Unreachable
            If the venue does not answer.
        """
        since = max(self.book.income_last - self.patience.overlap_us, self.since)
        for found in await self.gateway.income(since):
            if found.id not in self.book.incomes and found.time >= self.since:
                self.note(events.income(found, self.now()))

    # -- asking ---------------------------------------------------------------------------------

    async def resolve(self, cid: str) -> Known:
        """Ask for an order until it is known what came of it.

        It stays unknown only if the sitting ends meanwhile, or if it was sent so long ago that
        the venue may have forgotten it.
        """
        began, asked = self.seconds(), 0
        while self.known(cid).unknown and not self.forgotten(cid):
            waited = self.seconds() - began >= self.patience.least
            if await self._ask(cid, may_be_absent=waited) or self._gives_up(began):
                break
            await asyncio.sleep(self.patience.pause(asked))
            asked += 1
        return self.known(cid)

    def forgotten(self, cid: str) -> bool:
        """Tell whether the venue's not knowing an order would prove nothing any more."""
        return self.now() - self.known(cid).time > KEPT_US[self.gateway.name]

    def _gives_up(self, began: float) -> bool:
        return self.ending and self.seconds() - began > self.patience.settle

    async def _ask(self, cid: str, *, may_be_absent: bool) -> bool:
        """Ask once; tell whether it is known now."""
        symbol = self.known(cid).order.symbol
        try:
            venue_time = await self.gateway.clock()  # after the question it would prove less
            found = await self.gateway.find(symbol, cid)
            if found is not None:
                self.told(cid, found)
                return True
            await self.refresh(symbol)
        except (Unreachable, Refused):
            return False
        known = self.known(cid)
        if known.unknown and may_be_absent and venue_time > known.proof > 0:
            self.note(events.absent(cid, "the venue knows none", venue_time, self.now()))
        return not self.known(cid).unknown

    async def complete(self, cid: str) -> Known:
        """Ask for an order that is ending until it is over and its fills are booked.

        An order that was acknowledged and that the venue then knows nothing of stops the account.
        """
        began, asked, lost_since = self.seconds(), 0, None
        while not self.known(cid).settled and not self.known(cid).unknown:
            there = await self.look(cid)
            if self.known(cid).settled or self._gives_up(began):
                break
            lost_since = (lost_since or self.seconds()) if there is False else None
            if lost_since and self.seconds() - lost_since >= self.patience.least:
                self.stop(f"order {cid} was acknowledged and is not at the venue")
                break
            await asyncio.sleep(self.patience.pause(asked))
            asked += 1
        return self.known(cid)

    async def look(self, cid: str) -> bool | None:
        """Ask for an order and its fills once.

        Returns
        -------
        bool or None
            Whether the venue knows it; None: it did not answer.
        """
        known = self.known(cid)
        try:
            found = await self.gateway.find(known.order.symbol, cid)
            if found is not None:
                self.told(cid, found)
            await self.refresh(known.order.symbol)
        except (Unreachable, Refused):
            return None
        return found is not None

    async def watch(self) -> None:
        """Ask once for everything that is not settled; to be called again and again.

        Raises
        ------
        Unreachable
            If the venue does not answer.
        """
        waiting = [known for known in self.book.unsettled() if known.sent]
        for symbol in sorted({known.order.symbol for known in waiting}):
            await self.refresh(symbol)
        for known in waiting:
            cid = known.order.cid
            if known.unknown or self.known(cid).over:
                continue
            found = await self.gateway.find(known.order.symbol, cid)
            if found is not None:
                self.told(cid, found)
            if not self.known(cid).settled and self.known(cid).told > self.known(cid).filled:
                await self.refresh(known.order.symbol)
