"""Binance's routes that tell of orders and fills."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from research.sim.binance_rest import refuse
from research.sim.orders.binance import forms
from research.sim.orders.binance.forms import asked, found, symbol_of, whole
from research.sim.orders.history import DAY
from research.sim.orders.quotes import FAR
from research.sim.orders.venues import Call, Route
from research.sim.orders.words import Order

WEEK = 7 * DAY
Item = TypeVar("Item")


def one(call: Call) -> Any:
    """Tell of an order, open or done."""
    query = asked(call)
    symbol_of(call.account, query)
    order = found(call.account, query, "orderId", "origClientOrderId")
    if order is None or order.waits or _never(order):
        raise forms.missing()
    return forms.order(order)


def one_algo(call: Call) -> Any:
    """Tell of a conditional order."""
    order = found(call.account, asked(call), "algoId", "clientAlgoId")
    if order is None or order.trigger is None:
        raise forms.missing()
    return forms.algo(order)


def open_orders(call: Call) -> Any:
    """Tell of all that is open, conditional orders excepted."""
    symbol = asked(call).get("symbol")
    return [forms.order(order) for order in call.account.open_orders(symbol) if not order.waits]


def open_algos(call: Call) -> Any:
    """Tell of all conditional orders that wait."""
    symbol = asked(call).get("symbol")
    return [forms.algo(order) for order in call.account.open_orders(symbol) if order.waits]


def all_orders(call: Call) -> Any:
    """Tell of all orders of a symbol still known: from an id, or in a window of at most a week."""
    query = asked(call)
    symbol = symbol_of(call.account, query).symbol
    known = [o for o in call.account.orders(symbol) if not o.waits and not _never(o)]
    first = whole(query, "orderId", 0)
    if first:
        known = [order for order in known if order.work >= first]
    rows = window(query, known, lambda order: order.time, call.account.moment, by_id=first > 0)
    return [forms.order(order) for order in rows]


def all_algos(call: Call) -> Any:
    """Tell of all conditional orders of a symbol still known."""
    query = asked(call)
    symbol = symbol_of(call.account, query).symbol
    known = [order for order in call.account.orders(symbol) if order.trigger is not None]
    rows = window(query, known, lambda order: order.time, call.account.moment)
    return [forms.algo(order) for order in rows]


def trades(call: Call) -> Any:
    """Tell of fills of a symbol: from an id, or in a window of at most a week."""
    query = asked(call)
    symbol = symbol_of(call.account, query).symbol
    known = call.account.fills(symbol)
    if "orderId" in query:
        order = whole(query, "orderId")
        known = [trade for trade in known if trade.order == order]
    by_id = "fromId" in query
    if by_id:
        first = whole(query, "fromId")
        known = [trade for trade in known if trade.id >= first]
    rows = window(query, known, lambda trade: trade.time, call.account.moment, by_id=by_id)
    return [forms.trade(trade) for trade in rows]


def _never(order: Order) -> bool:
    """Return whether a conditional order ended before it became an order."""
    return order.trigger is not None and order.triggered is None


def window(
    query: Mapping[str, str],
    known: Iterable[Item],
    time: Callable[[Item], int],
    now: int,
    *,
    by_id: bool = False,
) -> list[Item]:
    """Return what lies in the window that is asked for, oldest first.

    Without a time, the newest of the last week; from a start, the first ones of the week after it.
    """
    limit = max(1, min(whole(query, "limit", 500), 1000))
    start, end = whole(query, "startTime", -1) * 1000, whole(query, "endTime", -1) * 1000 + 999
    if by_id:
        return list(known)[:limit]
    if start >= 0 and end >= 0 and end - start > WEEK + 999:
        raise refuse(-4165, "Invalid time interval: the time range exceeds 7 days.")
    low = start if start >= 0 else (end if end >= 0 else now) - WEEK
    high = end if end >= 0 else (low + WEEK if start >= 0 else FAR)
    rows = [item for item in known if low <= time(item) <= high]
    return rows[:limit] if start >= 0 else rows[-limit:]


ROUTES = {
    ("GET", "/fapi/v1/order"): Route("read", one),
    ("GET", "/fapi/v1/algoOrder"): Route("read", one_algo),
    ("GET", "/fapi/v1/openOrders"): Route("read", open_orders),
    ("GET", "/fapi/v1/openAlgoOrders"): Route("read", open_algos),
    ("GET", "/fapi/v1/allOrders"): Route("read", all_orders),
    ("GET", "/fapi/v1/allAlgoOrders"): Route("read", all_algos),
    ("GET", "/fapi/v1/userTrades"): Route("read", trades),
}
