"""From what the desk wishes to what leaves for the venue: exits first, entries within a band.

One symbol is dealt with at a time by one task: while it is, the desk says `waiting`. A position is
left by a market order that can only reduce; the new side is entered by an order that fills at once,
no worse than a band around the price of now, or not at all. What it did not get is given up, and
the next close decides anew. Stops and takes rest at the venue from the moment that something is
held to the moment before it is left; but at a spot venue a take cannot rest beside a stop, as each
would need the coins. There a position is left once a close is at its take or beyond.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple

from research.live.broker.books import PROTECTING, Books
from research.live.desk import Desk, Wish
from research.orders import Account, Intent, Known, Protector, Sender, cid, within
from research.venues.words import Market, Order, Refused, Side, Unreachable

BAND = Decimal("0.005")
"""An entry fills no further from the price of now, as a fraction of it."""
TRIES = 3
"""Orders with which one decision tries to leave a position before the next close decides anew."""


class Levels(NamedTuple):
    """Where a position is left by the venue, as fractions of its entry price; None: nowhere."""

    stop: Decimal | None
    take: Decimal | None


class Deals:
    """Deals with the desk's wishes, symbol by symbol.

    Parameters
    ----------
    desk : Desk
        Read here, never changed.
    sender : Sender
        Through which orders leave.
    books : Books
        Where fills go.
    names : mapping of str to str
        The venue's name of each of the desk's symbols.
    levels : Levels
        Of each position.
    """

    def __init__(
        self,
        desk: Desk,
        sender: Sender,
        books: Books,
        names: Mapping[str, str],
        levels: Levels,
    ) -> None:
        self._desk, self._sender, self._books = desk, sender, books
        self._account: Account = sender.account
        self._names, self._levels = dict(names), levels
        self._protector = Protector(sender)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._tended: dict[str, int] = {}
        self._changed: set[str] = set()
        self._vain: dict[str, tuple[Decimal, Decimal]] = {}
        """The position, as quantity and entry price, for which a symbol's take was refused."""

    # -- who is dealt with ----------------------------------------------------------------------

    def begin(self) -> list[asyncio.Task[None]]:
        """Begin to deal with what is wished or amiss and nobody deals with; return who is at work.

        What is amiss is tried to be put right once for each close.
        """
        for wish in self._desk.wishes():
            self._start(wish.symbol, self._deal)
        for symbol in self._desk.symbols:
            new = self._tended.get(symbol) != self._desk.time
            if symbol in self._changed or (new and (self._due(symbol) or self._lacks(symbol))):
                self._tended[symbol] = self._desk.time
                self._changed.discard(symbol)
                self._start(symbol, self._tend)
        return self.working

    def review(self) -> None:
        """See to what rests for each symbol at the next `begin`: positions may be others now."""
        self._changed.update(self._desk.symbols)

    def _start(self, symbol: str, work: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        known = self._tasks.get(symbol)
        if known is None or known.done():
            self._tasks[symbol] = asyncio.create_task(work(symbol), name=f"deal {symbol}")

    @property
    def working(self) -> list[asyncio.Task[None]]:
        """Tasks that are not done."""
        return [task for task in self._tasks.values() if not task.done()]

    def check(self) -> None:
        """Raise what a task failed with."""
        for symbol, task in [*self._tasks.items()]:
            if task.done():
                del self._tasks[symbol]
                task.result()

    async def end(self, seconds: float) -> None:
        """Wait for what is at work, then let go of it: the journal says where it stood."""
        working = self.working
        if working:
            await asyncio.wait(working, timeout=seconds)
        for task in self.working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)

    # -- one symbol -----------------------------------------------------------------------------

    def _wish(self, symbol: str) -> Wish | None:
        return next((wish for wish in self._desk.wishes() if wish.symbol == symbol), None)

    async def _deal(self, symbol: str) -> None:
        why = ""
        try:
            for _ in range(TRIES):
                wish = self._wish(symbol)
                if wish is None or self._account.ending:
                    break
                why = await self._do(wish)
                if self._over(wish):
                    break
            if self._wish(symbol) is not None and not self._account.ending:
                await self._books.settle(symbol, why)
        except Refused as no:  # the account takes no orders now; it says why itself
            await self._books.settle(symbol, no.words)
        except Unreachable as silence:
            await self._books.settle(symbol, str(silence))
        await self.protect(symbol)  # however it ended, what is held is not left bare

    def _over(self, done: Wish) -> bool:
        """Tell whether a wish has been dealt with, and no other has come meanwhile."""
        now = self._wish(done.symbol)
        if now is None or (now.reason, now.target) != (done.reason, done.target):
            return now is None
        return bool(done.target) or not self._desk.positions[done.symbol]

    async def _do(self, wish: Wish) -> str:
        """Leave what is held, then enter what is wanted; return what came of it."""
        name = self._names[wish.symbol]
        if self._account.book.held(name) and wish.position:
            why = await self.leave(wish.symbol, wish.reason)
            if self._account.book.held(name):
                return why
        still = self._wish(wish.symbol)
        if still is None or not still.target or self._desk.positions[wish.symbol]:
            return "done"
        return await self._enter(still)

    async def leave(self, symbol: str, reason: str) -> str:
        """Close what is held of a symbol by one order that can only reduce."""
        name = self._names[symbol]
        self._able()
        price = await self._worth(symbol)
        self._able()
        await self._bare(symbol, price)
        held = self._account.book.held(name)
        if not held:
            return "done"
        side: Side = "sell" if held > 0 else "buy"
        leg = reason if reason in PROTECTING else "exit"
        own = self._unused(name, leg)
        order = Order(own, name, side, "market", abs(held), reduce_only=True)
        return await self._send(order, leg, reason, price)

    async def _enter(self, wish: Wish) -> str:
        name, buys = self._names[wish.symbol], wish.target > 0
        ticker = await self._account.gateway.ticker(name)
        price, middle = ticker.ask if buys else ticker.bid, (ticker.bid + ticker.ask) / 2
        size = self._desk.size(wish.symbol, wish.notional, float(middle), float(price))
        worst = price * (1 + BAND) if buys else price
        size = min(size, await self._affordable(name, buys=buys, price=worst))
        still = self._wish(wish.symbol)  # nothing is awaited from here to the sending
        if still is None or still.target != wish.target:
            return "taken back"
        if not size > 0.0:
            return "too_small"
        own, side = self._unused(name, "entry"), "buy" if buys else "sell"
        order = within(own, name, side, Decimal(repr(size)), price=price, band=BAND)  # type: ignore[arg-type]
        return await self._send(order, "entry", wish.reason, middle)

    async def _affordable(self, name: str, *, buys: bool, price: Decimal) -> float:
        """Return what the account has the money for, or the margin, if `price` is what is paid."""
        gateway = self._account.gateway
        market = gateway.market(name)
        if market.spot and not buys:
            return math.inf
        held, rate = await gateway.balance(), (await gateway.fees(name)).taker
        free = held[market.quote].free if market.quote in held else Decimal(0)
        times = 1 if market.spot else (await gateway.settings(name)).leverage or 1
        return float(free * times / (price * (1 + times * rate)))

    async def _send(self, order: Order, leg: str, reason: str, price: Decimal) -> str:
        self._books.reasons[order.cid] = reason
        known = await self._sender.send(Intent(order, leg, self._desk.time, price))
        await self._books.collect()
        return _came_of(known)

    def _unused(self, name: str, leg: str) -> str:
        """Return an id that was never used: another attempt is another order."""
        attempt, account = 0, self._account
        while (found := cid(account.owner, name, self._desk.time, leg, attempt)) in (
            account.book.orders
        ):
            attempt += 1
        return found

    async def _worth(self, symbol: str) -> Decimal:
        """Return what a unit is worth: by the venue, or else by the last bar."""
        try:
            ticker = await self._account.gateway.ticker(self._names[symbol])
        except (Unreachable, Refused):
            return Decimal(repr(self._desk.mark(symbol)))
        return (ticker.bid + ticker.ask) / 2

    # -- what rests -----------------------------------------------------------------------------

    async def protect(self, symbol: str) -> None:
        """See to it that what is held of a symbol has its stop and its take at the venue.

        What has no stop that it should have is left: at once, for that reason.
        """
        name, (stop, take) = self._names[symbol], self._wanted(symbol)
        if (stop, take) == (None, None):
            return
        price, moment = await self._worth(symbol), self._desk.time
        with suppress(Refused, Unreachable):  # the account says itself why it takes no orders
            for known in await self._protector.protect(
                name, stop=stop, take=take, moment=moment, price=price
            ):
                if known.answer == "refused" and self._account.book.held(name):
                    await self._bared(symbol, known)

    def _wanted(self, symbol: str) -> tuple[Decimal | None, Decimal | None]:
        """Return where stop and take should rest for what is held.

        A take that was refused for this very position is asked for no more.
        """
        book, name = self._account.book, self._names[symbol]
        held, entry = book.held(name), book.holding(name).entry
        if not held or entry is None:
            return None, None
        stop, take = self.triggers(held, entry, self._account.gateway.market(name))
        return stop, None if self._vain.get(symbol) == (held, entry) else take

    def triggers(
        self, held: Decimal, entry: Decimal, market: Market
    ) -> tuple[Decimal | None, Decimal | None]:
        """Return the prices at which stop and take rest.

        At a spot venue the stop alone, where there is one: two orders would each need the coins.
        """
        side = 1 if held > 0 else -1
        stop = None if self._levels.stop is None else entry * (1 - side * self._levels.stop)
        take = None if self._levels.take is None else entry * (1 + side * self._levels.take)
        return stop, None if market.spot and stop is not None else take

    def _due(self, symbol: str) -> bool:
        """Tell whether the last close is at a take that cannot rest, or beyond."""
        name, (stop, take) = self._names[symbol], self._levels
        entry = self._account.book.holding(name).entry
        if stop is None or take is None or entry is None or self._account.mode == "stopped":
            return False
        beyond = Decimal(repr(self._desk.mark(symbol))) >= entry * (1 + take)
        return self._account.gateway.market(name).spot and beyond  # where nobody is short

    def _lacks(self, symbol: str) -> bool:
        """Tell whether something is held and an order that should rest for it does not."""
        book, name = self._account.book, self._names[symbol]
        return any(
            trigger is not None and not book.protection(name, kind)
            for kind, trigger in zip(PROTECTING, self._wanted(symbol))
        )

    async def _tend(self, symbol: str) -> None:
        with suppress(Refused, Unreachable):
            if self._due(symbol):
                await self.leave(symbol, "take")
        await self.protect(symbol)

    async def _bared(self, symbol: str, known: Known) -> None:
        kind, held = known.order.kind, self._account.book.holding(self._names[symbol])
        if kind == "stop" or known.reason == "would_trigger":
            await self.leave(symbol, kind)
        elif held.entry is not None:
            self._vain[symbol] = held.quantity, held.entry

    def _able(self) -> None:
        """Refuse while no exit could be sent: a stop is not taken back for one that cannot be."""
        if self._account.mode == "stopped":
            raise Refused("not_trading", self._account.why)

    async def _bare(self, symbol: str, price: Decimal) -> None:
        """Take back what rests for a symbol: what is left needs no stop."""
        if self._levels == (None, None):
            return
        name, moment = self._names[symbol], self._desk.time
        await self._protector.protect(name, stop=None, take=None, moment=moment, price=price)
        await self._books.collect()


def _came_of(known: Known) -> str:
    """Say in a word or two what came of an order."""
    if known.answer in ("refused", "absent"):
        return f"{known.answer}: {known.reason}" if known.reason else known.answer
    return "filled" if known.filled >= known.size else f"{known.status or known.answer}"
