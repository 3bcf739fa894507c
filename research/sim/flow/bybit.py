"""Bybit's words about order books, V5 linear: topics, subscriptions, and answers by REST."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from research.sim.binance_rest import Query
from research.sim.bybit import PATH, REST, STREAM, Invalid, _int, hear
from research.sim.flow.books import Book, Side
from research.sim.flow.played import Depth, Quote, Trade

__all__ = ["PATH", "REST", "STREAM", "answer", "hear"]
DEPTHS = (1, 50, 200, 1000)
Text = Callable[[float], str]


def channel(topic: str) -> tuple[str, str]:
    """Return whose topic it is and what it tells.

    >>> channel("orderbook.50.BTCUSDT"), channel("publicTrade.BTCUSDT")
    (('BTCUSDT', 'orderbook.50'), ('BTCUSDT', 'publicTrade'))
    """
    name, _, symbol = topic.rpartition(".")
    return symbol, name


def known(topic: str, symbols: list[str]) -> bool:
    """Return whether the venue has a topic: books have 1, 50, 200 or 1000 levels."""
    symbol, name = channel(topic)
    books = [f"orderbook.{depth}" for depth in DEPTHS]
    return symbol in symbols and name in ("publicTrade", *books)


def book(
    topic: str,
    kind: str,
    sides: dict[int, Side],
    last: Depth,
    update_id: int,
    price: Text,
    quantity: Text,
) -> dict[str, Any]:
    """Return a book's frame: ``snapshot`` or ``delta``; a quantity of 0 removes a level."""
    symbol, _ = channel(topic)
    sent = last.sent if last.sent is not None else last.due
    made = {
        name: [[price(p), quantity(q) if q else "0"] for p, q in sides[of]]
        for name, of in (("b", 1), ("a", -1))
    }
    data = {"s": symbol, **made, "u": update_id, "seq": last.sequence or last.last_id}
    body = {"topic": topic, "type": kind, "ts": sent // 1000, "data": data}
    return {**body, "cts": (last.time if last.time is not None else sent) // 1000}


def best(topic: str, made: Quote, price: Text, quantity: Text) -> dict[str, Any]:
    """Return the frame of one level a side: always a snapshot."""
    sent = made.sent if made.sent is not None else made.due
    data = {
        "s": made.symbol,
        "b": [[price(made.bid), quantity(made.bid_quantity)]],
        "a": [[price(made.ask), quantity(made.ask_quantity)]],
        "u": made.update_id,
        "seq": made.update_id,
    }
    body = {"topic": topic, "type": "snapshot", "ts": sent // 1000, "data": data}
    return {**body, "cts": (made.time if made.time is not None else sent) // 1000}


def trades(topic: str, made: Trade, price: Text, quantity: Text) -> dict[str, Any]:
    """Return a trade's frame."""
    inner = {
        "T": made.time // 1000,
        "s": made.symbol,
        "S": "Buy" if made.taker_side > 0 else "Sell",
        "v": quantity(made.quantity),
        "p": price(made.price),
        "L": "ZeroPlusTick",
        "i": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{made.symbol}|{made.message}")),
        "BT": False,
        "seq": made.message + 1,
    }
    sent = made.sent if made.sent is not None else made.due
    return {"topic": topic, "type": "snapshot", "ts": sent // 1000, "data": [inner]}


def orderbook(
    held: Book | None, query: Query, now: int, price: Text, quantity: Text
) -> dict[str, Any]:
    """Answer a book as it stands."""
    if held is None:
        raise Invalid(10001, "params error: Symbol Invalid")
    limit = max(1, min(_int(query, "limit", 25), 1000))
    last = held.last
    sides = {
        name: [[price(p), quantity(q)] for p, q in held.side(of, limit)]
        for name, of in (("b", 1), ("a", -1))
    }
    time = (last.time if last.time is not None else last.due) // 1000
    ids = {"ts": now // 1000, "u": last.last_id, "seq": last.sequence or last.last_id}
    return {"s": last.symbol, **sides, **ids, "cts": time}


def instruments(symbols: dict[str, tuple[int, int]], query: Query, start: int) -> dict[str, Any]:
    """Answer the rules of every symbol; other categories list nothing."""
    plain = query.get("category") == "linear" and query.get("status", "Trading") == "Trading"
    wanted = [s for s in symbols if query.get("symbol", s) == s] if plain else []
    rows = [_rules(symbol, *symbols[symbol], start) for symbol in wanted]
    return {"category": query.get("category", ""), "list": rows, "nextPageCursor": ""}


def _rules(symbol: str, price: int, quantity: int, start: int) -> dict[str, Any]:
    tick, step = f"{10.0**-price:.{price}f}", f"{10.0**-quantity:.{quantity}f}"
    most = "1000000000"
    size = {"maxOrderQty": most, "minOrderQty": step, "qtyStep": step}
    more = {"postOnlyMaxOrderQty": most, "maxMktOrderQty": most, "minNotionalValue": "5"}
    return {
        "symbol": symbol,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": symbol.removesuffix("USDT"),
        "quoteCoin": "USDT",
        "launchTime": str(start // 1000),
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(price),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "50.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": tick, "maxPrice": "100000000", "tickSize": tick},
        "lotSizeFilter": {**size, **more},
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": "USDT",
        "copyTrading": "none",
        "upperFundingRate": "0.00375",
        "lowerFundingRate": "-0.00375",
    }


def answer(made: Callable[[], Any], now: int) -> dict[str, Any]:
    """Return an answer in the venue's envelope."""
    try:
        result = made()
    except Invalid as no:
        return {**no.body, "time": now // 1000}
    body = {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}}
    return {**body, "time": now // 1000}
