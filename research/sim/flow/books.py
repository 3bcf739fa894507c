"""A symbol's book as the venue has it, and the views of it that it publishes."""

from __future__ import annotations

from research.sim.flow.played import Depth, Level

Side = list[tuple[float, float]]
"""Pairs of price and quantity, the best first."""


class Book:
    """All levels of a symbol.

    Parameters
    ----------
    first : Depth
        A whole book.
    """

    def __init__(self, first: Depth) -> None:
        self.last = first
        self._bids: dict[float, float] = {}
        self._asks: dict[float, float] = {}
        self._replace(first)

    def take(self, message: Depth, *, anew: bool = False) -> None:
        """Take a message; what the book already knows changes nothing, unless it begins anew."""
        if message.last_id < self.last.last_id and not anew:
            return
        if message.kind == "update":
            self._put(message.levels)
        else:
            self._replace(message)
        self.last = message

    def side(self, of: int, depth: int) -> Side:
        """Return the best levels of the bids (1) or asks (-1)."""
        from heapq import nlargest, nsmallest

        levels = self._bids if of > 0 else self._asks
        best = (nlargest if of > 0 else nsmallest)(depth, levels)
        return [(price, levels[price]) for price in best]

    def _replace(self, message: Depth) -> None:
        self._bids.clear()
        self._asks.clear()
        self._put(message.levels)

    def _put(self, levels: list[Level]) -> None:
        for side, price, quantity in levels:
            book = self._bids if side > 0 else self._asks
            if quantity:
                book[price] = quantity
            else:
                book.pop(price, None)


class View:
    """The best levels of a book under a topic of its own, and what changed in them.

    Parameters
    ----------
    depth : int
        Levels a side.
    """

    def __init__(self, depth: int) -> None:
        self.depth, self.update_id = depth, 0
        self._seen: dict[int, dict[float, float]] = {1: {}, -1: {}}

    def changes(self, book: Book) -> dict[int, Side]:
        """Return each side's changes since the last call; a quantity of 0 left the view."""
        made: dict[int, Side] = {}
        for of in (1, -1):
            now, seen = dict(book.side(of, self.depth)), self._seen[of]
            gone = [(price, 0.0) for price in seen if price not in now]
            made[of] = gone + [(p, q) for p, q in now.items() if seen.get(p) != q]
            self._seen[of] = now
        return made

    def whole(self) -> dict[int, Side]:
        """Return each side as last told."""
        return {of: list(self._seen[of].items()) for of in (1, -1)}
