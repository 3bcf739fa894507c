"""Sending orders so that none can double.

What is meant is durable before it is sent, and that it is sent is durable before it leaves. It
leaves once. Where nobody knows what came of it the venue is asked by our id until it tells of the
order, or until it has been asked long enough, knows none, and its own clock is past the moment to
which it could still have accepted it. Nothing is ever sent a second time: another attempt is
another decision with another id.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal

from research.orders import events
from research.orders.account import Account
from research.orders.events import Intent
from research.orders.life import Known
from research.venues.words import Order, Refused, Side, Unknown, Unreachable

REFUSED_IN_A_ROW = 3


def within(
    cid: str, symbol: str, side: Side, quantity: Decimal, *, price: Decimal, band: Decimal
) -> Order:
    """Return an order that fills at once at no worse than `price` and a band, or not at all.

    It is how positions are entered: it cannot rest, and what it can lose by slipping is bounded.

    Parameters
    ----------
    cid, symbol, side, quantity
        Of the order.
    price : Decimal
        What a unit is worth now.
    band : Decimal
        A fraction of `price`.

    Examples
    --------
    >>> within("c", "BTCUSDT", "sell", Decimal(1), price=Decimal(100), band=Decimal("0.01")).price
    Decimal('99.00')
    """
    worst = price * (1 + band if side == "buy" else 1 - band)
    return Order(cid, symbol, side, "ioc", quantity, worst)


class Sender:
    """The one way in which orders leave.

    Parameters
    ----------
    account : Account
        Whose orders they are.
    """

    def __init__(self, account: Account) -> None:
        self.account, self.book = account, account.book

    async def send(self, meant: Intent) -> Known:
        """Send an order, once, and return what is known of it when the venue has answered.

        It returns when the order is accepted, refused or proven absent; an order that fills at
        once or never (`market`, `ioc`) when it is over and its fills are booked. While `settle`
        ends the sitting it may return earlier. An id that is in the book is not sent again.

        Raises
        ------
        Refused
            With reason ``not_trading``, if the account's mode forbids it; nothing is written then.
            A stop or a take that we have taken back ourselves may be laid again in any mode.
        """
        cid, account = meant.order.cid, self.account
        if cid in self.book.orders:
            return self.book.orders[cid]
        self._allow(meant.order)
        try:
            order = account.gateway.fit(meant.order, meant.price)
        except Refused as no:
            refusal = events.refused(cid, no.reason, no.words, account.now())
            account.note(events.intent(meant, account.now()), refusal)
            return account.known(cid)
        account.note(events.intent(meant._replace(order=order), account.now()))
        account.note(events.send(cid, account.now()))
        await self._post(order)
        if account.known(cid).unknown:
            await account.resolve(cid)
        if order.kind in ("market", "ioc"):
            await account.complete(cid)
        return account.known(cid)

    def _allow(self, order: Order) -> None:
        account = self.account
        if (account.ending or account.mode == "stopped") and not self._restores(order):
            ends = "the run is ending" if account.ending else "the account is being looked at"
            raise Refused("not_trading", account.why or ends)
        if account.mode == "reducing" and not order.reduce_only:
            raise Refused("not_trading", account.why)

    def _restores(self, order: Order) -> bool:
        """Tell whether an order takes the place of one that we took back, such as before an exit
        that then could not be sent: what is still held must not stay bare."""
        last = self.book.newest(order.symbol, order.kind)
        conditional = order.trigger is not None and order.reduce_only
        return conditional and last is not None and last.cancelling and last.over

    async def _post(self, order: Order) -> None:
        """Send, and note the answer; this is the only place where an order leaves."""
        account = self.account
        try:
            found = await account.gateway.send(order)
        except Refused as no:
            account.note(events.refused(order.cid, no.reason, no.words, account.now()))
            self._refused(no.reason)
        except Unknown as doubt:
            account.doubt(order.cid, str(doubt))
        else:
            account.told(order.cid, found)
            account.refusals = 0

    def _refused(self, reason: str) -> None:
        account = self.account
        account.refusals += 1
        if account.refusals >= REFUSED_IN_A_ROW and account.mode == "active":
            account.mode = "reducing"
            account.why = f"{account.refusals} orders in a row were refused, the last: {reason}"

    async def cancel(self, cid: str) -> Known:
        """End an order and return what is known of it when it is over.

        What was filled before the cancellation arrived is booked. A venue that knows no such open
        order is asked what became of it.
        """
        account, asked = self.account, 0
        if account.known(cid).unknown:
            await account.resolve(cid)
        while account.known(cid).live and not account.known(cid).unknown:
            there = await self._cancel_once(cid)
            if not account.known(cid).live or account.ending or there is False:
                break
            await asyncio.sleep(account.patience.pause(asked))
            asked += 1
        return await account.complete(cid)

    async def _cancel_once(self, cid: str) -> bool | None:
        """Cancel and take what the venue tells; None: it did not answer."""
        account = self.account
        if not account.known(cid).cancelling:
            account.note(events.cancel(cid, account.now()))
        try:
            found = await account.gateway.cancel(account.known(cid).order.symbol, cid)
        except (Unknown, Refused):
            found = None
        if found is None:
            return await account.look(cid)
        account.told(cid, found)
        return True

    async def cancel_all(self, *, keeping_stops: bool = False) -> None:
        """End every order of ours that may be at the venue.

        Parameters
        ----------
        keeping_stops : bool
            Leave alone what can only reduce what is held: it goes with the position.
        """
        for known in self.book.unsettled():
            kept = known.order.reduce_only and self.book.held(known.order.symbol)
            if known.live and not (keeping_stops and kept):
                await self.cancel(known.order.cid)

    async def settle(self) -> list[Known]:
        """Send nothing more, wait for what is unknown, and return what still is.

        It takes no longer than `Patience.settle`; what is left is found at the next start.
        """
        account = self.account
        account.ending = True
        doubtful = [known.order.cid for known in self.book.unsettled() if known.unknown]
        with suppress(TimeoutError, Unreachable, Refused):
            async with asyncio.timeout(account.patience.settle):
                await asyncio.gather(*(account.resolve(cid) for cid in doubtful))
                await account.watch()
        return [known for known in self.book.unsettled() if known.unknown]
