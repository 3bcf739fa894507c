"""Resting orders against the prints of the played market, takers against its book.

A limit fills when a print went *through* it (a print at its price may have met somebody before it
in the queue), at its own price and by no more than the print's quantity, though at least a lot. A
taker walks the book as it stands, less what the account took of the same book before.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from research.sim.orders import checks
from research.sim.orders.quotes import Quote, Strike, floor
from research.sim.orders.words import ZERO, Order, Side, Twist

if TYPE_CHECKING:
    from research.sim.orders.account import Account

PLAIN = Twist()


class Matching:
    """What of an account stands in the market.

    Parameters
    ----------
    account : Account
        Whose; it books what is filled.

    Attributes
    ----------
    standing : dict
        Open orders by symbol and id.
    twists : dict of int to Twist
        What a fault does to an order, by its id.
    """

    def __init__(self, account: Account) -> None:
        self.standing: dict[str, dict[int, Order]] = {}
        self.twists: dict[int, Twist] = {}
        self._account = account
        self._taken: dict[tuple[str, Side], tuple[Quote, Decimal]] = {}

    @property
    def symbols(self) -> list[str]:
        """Symbols with something open, sorted."""
        return sorted(symbol for symbol, book in self.standing.items() if book)

    def add(self, order: Order) -> None:
        """Put an order into the market."""
        self.standing.setdefault(order.symbol, {})[order.id] = order

    def drop(self, order: Order) -> None:
        """Take a done order out."""
        self.standing[order.symbol].pop(order.id, None)
        self.twists.pop(order.id, None)

    def meet(self, strike: Strike) -> None:
        """Trigger what waits for a print, then fill what it went through, best price first."""
        hit = [o for o in self.standing[strike.symbol].values() if _reached(o, strike.price)]
        for order in [o for o in hit if o.waits]:
            self._account.trigger(order)
            self.take(order, Quote(strike.price, strike.time))
        left = strike.quantity
        for order in sorted((o for o in hit if o.price is not None), key=_priority):
            if left > 0 and self.twists.get(order.id, PLAIN).share is None:
                lot = self._account.rules(order.symbol).lot
                part = min(self._most(order), max(floor(left, lot), lot))
                left -= part
                if part > 0:
                    self._account.fill(order, part, order.price or strike.price, maker=True)

    def take(self, order: Order, quote: Quote) -> None:
        """Walk the book as it stands, then let the remainder rest or expire."""
        twist = self.twists.get(order.id, PLAIN)
        most = self._most(order)
        if twist.share is not None:
            lot = self._account.rules(order.symbol).lot
            most = min(most, max(lot, floor(order.quantity * twist.share, lot)))
        left = self._walk(order, most, quote)
        if order.status != "open":
            return
        if twist.share is not None:
            self._leave(order, left, twist)
        elif order.kind != "limit" or order.force == "IOC":
            reduces = order.reduce_only or order.close
            nothing = reduces and self._most(order) <= 0
            why = "reduce-only: nothing to reduce" if nothing else "nothing more to take"
            self._account.end(order, "expired", why)

    def finish(self, order: Order) -> None:
        """Fill what is left of an order, at its own price or the market's."""
        if order.status == "open":
            price = order.price or self._account.price(order.symbol)
            self._account.fill(order, order.rest, price, maker=order.price is not None)

    def _most(self, order: Order) -> Decimal:
        """Return how much of an order may fill: no more than a reduce-only one has to reduce."""
        if not (order.reduce_only or order.close):
            return order.rest
        return min(order.rest, checks.reducible(self._account, order.symbol, order.side, order.leg))

    def _walk(self, order: Order, most: Decimal, quote: Quote) -> Decimal:
        """Take up to `most` from the book; return what of it there was not."""
        key = (order.symbol, order.side)
        since, gone = self._taken.get(key, (quote, ZERO))
        gone = gone if since == quote else ZERO
        passed = ZERO
        rules = self._account.rules(order.symbol)
        for price, quantity in self._account.quotes.at(rules, order.side, quote):
            if most <= 0 or not _within(order, price):
                break
            start, passed = passed, passed + quantity
            part = min(passed - max(start, gone), most)
            if part > 0:
                most -= part
                gone = max(start, gone) + part
                self._account.fill(order, part, price, maker=False)
        self._taken[key] = (quote, gone)
        return most

    def _leave(self, order: Order, left: Decimal, twist: Twist) -> None:
        """Fill the share that the book did not, and do with the remainder what a fault wants."""
        if order.price is not None and left > 0:
            self._account.fill(order, left, order.price, maker=True)
        if twist.then == "rest":
            self._account.later(twist.us, lambda: self.finish(order))
        elif twist.then == "cancel":
            self._account.end(order, "cancelled", "cancelled by the venue")
        else:
            self._account.end(order, "expired", "expired by the venue")


def _within(order: Order, price: Decimal) -> bool:
    limit = order.price
    return limit is None or (price <= limit if order.side == "buy" else price >= limit)


def _reached(order: Order, price: Decimal) -> bool:
    """Return whether a print triggers an order, or went through its limit."""
    if order.trigger is not None:
        rises = (order.side == "buy") == (order.kind == "stop")
        return price >= order.trigger if rises else price <= order.trigger
    if order.price is None:
        return False
    return price < order.price if order.side == "buy" else price > order.price


def _priority(order: Order) -> tuple[Decimal, int]:
    price = order.price or ZERO
    return (-price if order.side == "buy" else price), order.id
