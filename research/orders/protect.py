"""Stops and takes that rest at the venue: with the position, and never two of a kind."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from decimal import Decimal
from typing import Literal

from research.orders.events import Intent
from research.orders.ids import cid
from research.orders.life import Known
from research.orders.sender import Sender
from research.venues.words import Order, Refused

Kind = Literal["stop", "take"]


class Protector:
    """Keeps the conditional orders of a run's positions.

    Parameters
    ----------
    sender : Sender
        Through which they leave.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender, self._account = sender, sender.account
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def protect(
        self,
        symbol: str,
        *,
        stop: Decimal | None,
        take: Decimal | None,
        moment: int,
        price: Decimal,
    ) -> list[Known]:
        """Make the resting orders of a symbol those that its position needs now.

        One that is right already is left alone. One that is not is cancelled and seen to be over
        before another is sent, so the position is bare for a moment rather than protected twice.
        Where nothing is held, none is left.

        Parameters
        ----------
        symbol : str
            The venue's own name.
        stop, take : Decimal, optional
            Prices at which the position is closed; None: no such order.
        moment : int
            Of the decision, microseconds since 1970 UTC.
        price : Decimal
            What a unit is worth now.

        Returns
        -------
        list of Known
            The orders that were sent now, whatever came of them; a `refused` one leaves the
            position bare, and what to do is the caller's decision.
        """
        sent = []
        async with self._one_at_a_time[symbol]:  # no symbol waits for another's venue
            for kind, trigger in (("stop", stop), ("take", take)):
                found = await self._keep(symbol, kind, trigger, moment, price)  # type: ignore[arg-type]
                if found is not None:
                    sent.append(found)
        return sent

    async def _keep(
        self, symbol: str, kind: Kind, trigger: Decimal | None, moment: int, price: Decimal
    ) -> Known | None:
        resting = self._account.book.protection(symbol, kind)
        wanted = self._wanted(symbol, kind, trigger, moment, price)
        if len(resting) == 1 and _same(resting[0], wanted):
            return None
        for known in resting:
            await self._sender.cancel(known.order.cid)
        wanted = self._wanted(symbol, kind, trigger, moment, price)  # one may have been filled
        if wanted is None or self._account.book.protection(symbol, kind):
            return None
        return await self._sender.send(Intent(wanted, kind, moment, price))

    def _wanted(
        self, symbol: str, kind: Kind, trigger: Decimal | None, moment: int, price: Decimal
    ) -> Order | None:
        held = self._account.book.held(symbol)
        if not held or trigger is None:
            return None
        side: Literal["buy", "sell"] = "sell" if held > 0 else "buy"
        name = self._unused(symbol, kind, moment)
        order = Order(name, symbol, side, kind, abs(held), None, trigger, reduce_only=True)
        try:
            return self._account.gateway.fit(order, price)
        except Refused:
            return order  # sent on, it is refused for the same reason, in writing

    def _unused(self, symbol: str, kind: Kind, moment: int) -> str:
        attempt, orders = 0, self._account.book.orders
        while (found := cid(self._account.owner, symbol, moment, kind, attempt)) in orders:
            attempt += 1
        return found


def _same(resting: Known, wanted: Order | None) -> bool:
    if wanted is None:
        return False
    order = resting.order
    return (order.side, order.trigger, resting.left) == (
        wanted.side,
        wanted.trigger,
        wanted.quantity,
    )
