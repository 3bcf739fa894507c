"""What a venue remembers of an account, and for how long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from research.sim.orders.words import Income, Order, Trade

DAY = 86_400_000_000
Item = TypeVar("Item")


class Retention(NamedTuple):
    """How long things can be asked for, microseconds; None: for good."""

    unfilled: int | None = 3 * DAY
    """Orders cancelled or expired without a fill, from when they were placed."""
    orders: int | None = 90 * DAY
    trades: int | None = 90 * DAY


class History:
    """Orders, trades and income of an account.

    Parameters
    ----------
    retention : Retention
        How long they can be asked for.
    first : int
        First id of an order.

    Attributes
    ----------
    income : list of Income
        Oldest first.
    accepted, reused : int
        Orders ever taken, and how many of them had an id that a client had used before.
    """

    def __init__(self, retention: Retention, first: int) -> None:
        self.retention = retention
        self.income: list[Income] = []
        self.accepted = self.reused = 0
        self._id, self._income = first - 1, 0
        self._by_id: dict[int, Order] = {}
        self._by_cid: dict[str, list[Order]] = {}
        self._orders: dict[str, list[Order]] = {}
        self._trades: dict[str, list[Trade]] = {}
        self._last: dict[str, int] = {}

    def next_id(self) -> int:
        """Return the next id of an order."""
        self._id += 1
        return self._id

    def next_trade(self, symbol: str) -> int:
        """Return the next id of a trade: they begin anew in every symbol."""
        self._last[symbol] = self._last.get(symbol, 0) + 1
        return self._last[symbol]

    def next_income(self) -> int:
        """Return the next id of an income."""
        self._income += 1
        return self._income

    def keep(self, order: Order) -> None:
        """Remember a new order."""
        same = self._by_cid.setdefault(order.cid, [])
        self.accepted += 1
        self.reused += bool(same)
        same.append(order)
        self._by_id[order.id] = order
        self._orders.setdefault(order.symbol, []).append(order)

    def works(self, order: Order) -> None:
        """Let a triggered order be found by the id under which it trades too."""
        self._by_id[order.work] = order

    def book(self, trade: Trade, times: int = 1) -> None:
        """Remember a new trade, told so many times."""
        self._trades.setdefault(trade.symbol, []).extend([trade] * times)

    def find(self, *, id: int | None, cid: str | None, now: int) -> Order | None:
        """Return an order by either id, the newest of a client's id; None: not known any more."""
        found = self._by_id.get(id) if id is not None else None
        if cid is not None:
            found = next(reversed(self._by_cid.get(cid, [])), None)
        return found if found is not None and self._known(found, now) else None

    def orders(self, now: int, symbol: str | None = None) -> list[Order]:
        """Return all orders (of a symbol) still known, oldest first."""
        found = [order for order in _of(self._orders, symbol) if self._known(order, now)]
        return found if symbol is not None else sorted(found, key=lambda order: order.id)

    def trades(self, now: int, symbol: str | None = None) -> list[Trade]:
        """Return all trades (of a symbol) still known, oldest first."""
        keep = self.retention.trades
        since = 0 if keep is None else now - keep
        found = [trade for trade in _of(self._trades, symbol) if trade.time >= since]
        return found if symbol is not None else sorted(found, key=lambda trade: trade.time)

    def forget(self, before: int) -> int:
        """Forget done orders and trades older than `before`; return how many."""
        old = [o for o in _of(self._orders, None) if o.status != "open" and o.updated < before]
        gone = {order.id for order in old}
        for order in old:
            self._by_id.pop(order.id, None)
            self._by_id.pop(order.work, None)
            self._by_cid[order.cid].remove(order)
        made = sum(map(len, self._trades.values()))
        for symbol in self._orders:
            self._orders[symbol] = [o for o in self._orders[symbol] if o.id not in gone]
        for symbol, trades in self._trades.items():
            self._trades[symbol] = [t for t in trades if t.time >= before]
        return len(old) + made - sum(map(len, self._trades.values()))

    def _known(self, order: Order, now: int) -> bool:
        if order.status == "open":
            return True
        unfilled, orders, _ = self.retention
        if orders is not None and now - order.time > orders:
            return False
        return bool(order.filled) or unfilled is None or now - order.time <= unfilled


def _of(lists: dict[str, list[Item]], symbol: str | None) -> Iterable[Item]:
    if symbol is not None:
        return lists.get(symbol, [])
    return (item for items in lists.values() for item in items)
