"""Orders and trades as Kraken writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from research.sim.kraken import Pair, pair
from research.sim.orders.words import Order, Trade

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ID = re.compile(r"[OT]([0-9A-Z]{5})-([0-9A-Z]{5})-([0-9A-Z]{6})")
_STATUS = {
    "open": "open",
    "filled": "closed",
    "cancelled": "canceled",
    "expired": "canceled",
    "rejected": "canceled",
}
BY_CLIENT = "User requested"
TYPES = {"market": "market", "limit": "limit", "stop": "stop-loss", "take": "take-profit"}
TRADES_A_SYMBOL = 10**9
"""Ids of trades begin anew in every symbol: theirs are told apart by so much."""


def text_id(letter: str, number: int) -> str:
    """Return a number as an id of an order (letter O) or of a trade (T).

    >>> text_id("O", 1_000_000)
    'O00000-00000-00LFLS'
    """
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    digits = digits.zfill(16)
    return f"{letter}{digits[:5]}-{digits[5:10]}-{digits[10:]}"


def number_of(text: str) -> int | None:
    """Return the number of an id; None: it is none.

    >>> number_of(text_id("T", 12345)), number_of("x")
    (12345, None)
    """
    found = _ID.fullmatch(text)
    return int("".join(found.groups()), 36) if found else None


def trade_id(symbols: list[str], trade: Trade) -> str:
    """Return the id of a trade."""
    return text_id("T", (symbols.index(trade.symbol) + 1) * TRADES_A_SYMBOL + trade.id)


def plain(value: Decimal | None) -> str:
    """Write an amount; ``0`` for none.

    >>> plain(Decimal("1E-7")), plain(None)
    ('0.0000001', '0')
    """
    return "0" if value is None else format(value, "f")


def described(order: Order) -> str:
    """Say what an order asks for, as Kraken says it.

    >>> what = ("buy", "limit", Decimal(1), Decimal(9), "GTC", None, False, False, "BOTH")
    >>> described(Order(1, "a", "BTCUSD", *what, 0, 0))
    'buy 1 XBTUSD @ limit 9'
    """
    kind = TYPES[order.kind].replace("-", " ")
    price = order.trigger if order.trigger is not None else order.price
    at = kind if price is None else f"{kind} {plain(price)}"
    return f"{order.side} {plain(order.quantity)} {pair(order.symbol).altname} @ {at}"


def order_row(order: Order, trades: Iterable[Trade], symbols: list[str]) -> dict[str, Any]:
    """Return an order; its trades are those of `trades` that are its own."""
    own = [trade for trade in trades if trade.order == order.work]
    fee = sum((trade.fee for trade in own), Decimal(0))
    unique = dict.fromkeys(trade_id(symbols, trade) for trade in own)
    return {
        "refid": None,
        "userref": order.more.get("userref"),
        "cl_ord_id": order.more.get("cl_ord_id"),
        "status": _STATUS[order.status],
        "reason": _reason(order),
        "opentm": order.time / 1e6,
        **({} if order.status == "open" else {"closetm": order.updated / 1e6}),
        "starttm": 0,
        "expiretm": 0,
        "descr": _about(order, pair(order.symbol)),
        "vol": plain(order.quantity),
        "vol_exec": plain(order.filled),
        "cost": plain(order.paid),
        "fee": plain(fee),
        "price": plain(order.average.quantize(Decimal("1e-8"))),
        "stopprice": plain(order.trigger),
        "limitprice": "0",
        "misc": "",
        "oflags": order.more.get("oflags", "fciq"),
        "trades": list(unique),
    }


def _reason(order: Order) -> str | None:
    if order.status in ("open", "filled"):
        return None
    by_client = order.status == "cancelled" and "client" in order.reason
    return BY_CLIENT if by_client else order.reason


def _about(order: Order, one: Pair) -> dict[str, Any]:
    price = order.trigger if order.trigger is not None else order.price
    return {
        "pair": one.altname,
        "type": order.side,
        "ordertype": TYPES[order.kind],
        "price": plain(price),
        "price2": "0",
        "leverage": "none",
        "order": described(order),
        "close": "",
    }


def trade_row(trade: Trade, kind: str) -> dict[str, Any]:
    """Return a trade of an order of a kind."""
    return {
        "ordertxid": text_id("O", trade.order),
        "postxid": text_id("T", trade.order),
        "pair": pair(trade.symbol).key,
        "time": trade.time / 1e6,
        "type": trade.side,
        "ordertype": kind,
        "price": plain(trade.price),
        "cost": plain(trade.quantity * trade.price),
        "fee": plain(trade.fee),
        "vol": plain(trade.quantity),
        "margin": "0",
        "leverage": "0",
        "misc": "",
        "trade_id": trade.id,
        "maker": trade.maker,
    }
