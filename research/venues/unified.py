"""What all three venues' gateways do alike."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from research.venues.fitting import text
from research.venues.words import LIMITED, Order, Unknown, Unreachable

T = TypeVar("T")


def unified(order: Order, name: str) -> tuple[Any, ...]:
    """Return `order` as the arguments of ccxt's ``create_order``, which knows today's route.

    Parameters
    ----------
    order : Order
        As it shall be sent.
    name : str
        ccxt's name of its symbol.

    Examples
    --------
    >>> from decimal import Decimal
    >>> stop = Order("a", "BTCUSDT", "sell", "stop", Decimal(1), trigger=Decimal(90))
    >>> unified(stop, "BTC/USDT:USDT")[1:5]
    ('market', 'sell', '1', None)
    """
    params: dict[str, Any] = {"clientOrderId": order.cid}
    if order.reduce_only:
        params["reduceOnly"] = True
    if order.kind == "ioc":
        params["timeInForce"] = "IOC"
    if order.kind == "post_only":
        params["postOnly"] = True
    if order.trigger is not None:
        params["stopLossPrice" if order.kind == "stop" else "takeProfitPrice"] = text(order.trigger)
    kind = "limit" if order.kind in LIMITED else "market"
    price = None if order.price is None else text(order.price)
    return name, kind, order.side, text(order.quantity), price, params


async def surely(question: Awaitable[T]) -> T:
    """Ask within a change: without an answer nobody knows how far it came."""
    try:
        return await question
    except Unreachable as error:
        raise Unknown(str(error)) from None
