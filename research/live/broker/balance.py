"""Does the account hold the money that our fills, fees and funding come to?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from research.live.journal import Event
from research.orders import Account
from research.venues.words import Gateway, Unreachable

LEAST = Decimal("0.01")
"""Differences below this, in quote currency, are not told."""
ZERO = Decimal(0)


class Balances:
    """Compares the venue's balance of the quote currency with our own count of it.

    The desk's equity goes by booked fills and fees alone; what differs is told, never booked: it is
    a fee in another coin, a transfer, or a mistake that a person must look for.

    Parameters
    ----------
    gateway : Gateway
        Of the account.
    account : Account
        What our fills come to.
    names : mapping of str to str
        The venue's name of each symbol.
    events : iterable of Event
        The run's journal so far.
    """

    def __init__(
        self,
        gateway: Gateway,
        account: Account,
        names: Mapping[str, str],
        events: Iterable[Event],
    ) -> None:
        self._gateway, self._account, self._names = gateway, account, names
        notes = [e.body for e in events if e.kind == "note"]
        found = [b for b in notes if b.get("kind") in ("balance", "balance_differs")]
        self._start: dict[str, Any] | None = next(iter(found), None)
        self._told = Decimal(found[-1].get("difference", "0")) if found else ZERO

    async def compare(self) -> list[tuple[str, dict[str, Any]]]:
        """Return an event where the difference is another than was told last; else nothing."""
        market = self._gateway.market(next(iter(self._names.values())))
        try:
            held = await self._gateway.balance()
        except Unreachable:
            return []
        total = held[market.quote].total if market.quote in held else ZERO
        grown, now = self._grown(spot=market.spot), self._account.now()
        if self._start is None:
            said = {"coin": market.quote, "total": str(total - grown), "time": now}
            self._start = {"kind": "balance", **said}
            return [("note", self._start)]
        expected = Decimal(self._start["total"]) + grown
        difference = total - expected
        if abs(difference - self._told) < LEAST:
            return []
        self._told = difference
        amounts = {"total": total, "expected": expected, "difference": difference}
        body = {"kind": "balance_differs", "coin": market.quote, "time": now}
        return [("note", {**body, **{name: str(amount) for name, amount in amounts.items()}})]

    def _grown(self, *, spot: bool) -> Decimal:
        """Return by how much the quote currency has grown by all that we know of."""
        grown = ZERO
        for name in self._names.values():
            held = self._account.book.holding(name)
            grown += held.realised - held.fees + held.estimated + held.income
            grown -= held.cost if spot else ZERO
        return grown
