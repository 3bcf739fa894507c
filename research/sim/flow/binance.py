"""Binance's words about order books, USD-M and spot: frames, and answers by REST."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from research.sim.binance_rest import FAR, HOUR, Query, _int, _limit, refuse
from research.sim.binance_rest import weight as um_weight
from research.sim.binance_ws import HOST as UM_STREAM
from research.sim.binance_ws import takes
from research.sim.flow.books import Book, Side
from research.sim.flow.played import Depth, Quote, Trade
from research.sim.lines import Line

SPOT_STREAM = "stream.binance.com"
UM, SPOT = "fapi.binance.com", "api.binance.com"
STREAMS = {"um": UM_STREAM, "spot": SPOT_STREAM}
PARTIALS = ("depth5", "depth10", "depth20")
Text = Callable[[float], str]
"""How a symbol's numbers are written."""


def channel(stream: str) -> tuple[str, str]:
    """Return whose stream it is and what it tells.

    >>> channel("btcusdt@depth@100ms"), channel("btcusdt@depth5@100ms")
    (('BTCUSDT', 'depth'), ('BTCUSDT', 'depth5'))
    """
    symbol, _, rest = stream.partition("@")
    return symbol.upper(), rest.partition("@")[0]


def served(line: Line, stream: str, market: str) -> bool:
    """Return whether a connection gets a stream's frames; a retired address gets none."""
    if market == "um":
        return takes(line, stream)
    return line.host == SPOT_STREAM and stream in line.streams


def rows(side: Side, price: Text, quantity: Text) -> list[list[str]]:
    """Return levels as a venue writes them."""
    return [[price(p), quantity(q)] for p, q in side]


def _sides(made: Depth, price: Text, quantity: Text) -> dict[str, Any]:
    return {
        name: [[price(p), quantity(q)] for side, p, q in made.levels if side == of]
        for name, of in (("b", 1), ("a", -1))
    }


def depth(made: Depth, market: str, price: Text, quantity: Text) -> dict[str, Any]:
    """Return what changed in a book."""
    sent = made.sent if made.sent is not None else made.due
    body = {"e": "depthUpdate", "E": sent // 1000}
    ids = {"U": made.first_id, "u": made.last_id}
    if market == "um":
        body["T"] = (made.time if made.time is not None else sent) // 1000
        ids["pu"] = made.previous_id
    return {**body, "s": made.symbol, **ids, **_sides(made, price, quantity)}


def partial(
    book: Book, made: Depth, levels: int, market: str, price: Text, quantity: Text
) -> dict[str, Any]:
    """Return the best levels of a book."""
    sides = [rows(book.side(of, levels), price, quantity) for of in (1, -1)]
    if market == "spot":
        return {"lastUpdateId": made.last_id, "bids": sides[0], "asks": sides[1]}
    return {**depth(made, market, price, quantity), "b": sides[0], "a": sides[1]}


def quote(made: Quote, market: str, price: Text, quantity: Text) -> dict[str, Any]:
    """Return best levels; spot says neither when nor of what kind."""
    body = {
        "u": made.update_id,
        "s": made.symbol,
        "b": price(made.bid),
        "B": quantity(made.bid_quantity),
        "a": price(made.ask),
        "A": quantity(made.ask_quantity),
    }
    if market == "spot":
        return body
    sent = made.sent if made.sent is not None else made.due
    time = made.time if made.time is not None else sent
    return {"e": "bookTicker", **body, "T": time // 1000, "E": sent // 1000}


def trade(made: Trade, market: str, price: Text, quantity: Text) -> dict[str, Any]:
    """Return a print."""
    body = {
        "e": "trade",
        "E": (made.sent if made.sent is not None else made.due) // 1000,
        "T": made.time // 1000,
        "s": made.symbol,
        "t": made.trade_id,
        "p": price(made.price),
        "q": quantity(made.quantity),
        "m": made.taker_side < 0,
    }
    return {**body, "M": True} if market == "spot" else {**body, "X": "MARKET"}


def agg_trade(made: Trade, market: str, price: Text, quantity: Text) -> dict[str, Any]:
    """Return what one taker did at one price, once its last print is known."""
    sent = (made.sent if made.sent is not None else made.due) // 1000
    body = {"e": "aggTrade", "E": sent, "s": made.symbol}
    return {**body, **_aggregate(made, market, price, quantity)}


def _aggregate(made: Trade, market: str, price: Text, quantity: Text) -> dict[str, Any]:
    total = quantity(made.total)
    body = {"a": made.aggregate, "p": price(made.price), "q": total}
    body |= {"f": made.first, "l": made.trade_id, "T": made.time // 1000}
    more = {"M": True} if market == "spot" else {"nq": total}
    return {**body, "m": made.taker_side < 0, **more}


def snapshot(
    book: Book, limit: int, market: str, now: int, price: Text, quantity: Text
) -> dict[str, Any]:
    """Answer a book as it stands."""
    body: dict[str, Any] = {"lastUpdateId": book.last.last_id}
    if market == "um":
        time = book.last.time if book.last.time is not None else book.last.due
        body |= {"E": now // 1000, "T": time // 1000}
    bids, asks = (rows(book.side(of, limit), price, quantity) for of in (1, -1))
    return {**body, "bids": bids, "asks": asks}


def weight(path: str, query: Query) -> int:
    """Return what a request costs.

    >>> weight("/api/v3/depth", {"limit": "1000"}), weight("/fapi/v1/depth", {"limit": "1000"})
    (50, 20)
    """
    if path == "/api/v3/depth":
        limit = _limit(query, 100, 5000)
        return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250
    if path == "/api/v3/exchangeInfo":
        return 20
    return um_weight(path, query)


def limit_of(query: Query, market: str) -> int:
    """Return how many levels a request asks for; refuse what is no such number."""
    limit = _int(query, "limit", 500 if market == "um" else 100)
    if market == "um" and limit not in (5, 10, 20, 50, 100, 500, 1000):
        raise refuse(-4021, f"Depth limit {limit} is invalid.")
    return max(1, min(limit, 5000))


def agg_trades(
    made: list[Trade], query: Query, now: int, market: str, price: Text, quantity: Text
) -> list[dict[str, Any]]:
    """Answer aggregated trades: from an id, or in a window of at most an hour."""
    limit = _limit(query, 500, 1000)
    if "fromId" in query:
        first = _int(query, "fromId", 1)
        found = [t for t in made if t.aggregate >= first][:limit]
    else:
        start, end = _int(query, "startTime", -1) * 1000, _int(query, "endTime", -1) * 1000 + 999
        if start >= 0 and end >= 0 and end - start > HOUR:
            raise refuse(-4166, "Search window is restricted to recent 1 hour.")
        until = end if end >= 0 else start + HOUR if start >= 0 else FAR
        inside = [t for t in made if max(start, 0) <= t.time <= until]
        found = inside[:limit] if start >= 0 else inside[-limit:]
    return [_aggregate(t, market, price, quantity) for t in found]


def exchange_info(
    symbols: Mapping[str, tuple[int, int]], market: str, now: int, start: int
) -> dict[str, Any]:
    """Answer the rules of every symbol; a mapping of symbols to their decimals."""
    limits = [("REQUEST_WEIGHT", 2400 if market == "um" else 6000), ("ORDERS", 1200)]
    body: dict[str, Any] = {
        "timezone": "UTC",
        "serverTime": now // 1000,
        "rateLimits": [
            {"rateLimitType": kind, "interval": "MINUTE", "intervalNum": 1, "limit": most}
            for kind, most in limits
        ],
        "exchangeFilters": [],
    }
    rules = _um_rules if market == "um" else _spot_rules
    if market == "um":
        asset = {"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}
        body |= {"futuresType": "U_MARGINED", "assets": [asset]}
    body["symbols"] = [rules(name, *digits, start) for name, digits in symbols.items()]
    return body


def _filters(price: int, quantity: int) -> list[dict[str, Any]]:
    tick, step = f"{10.0**-price:.{price}f}", f"{10.0**-quantity:.{quantity}f}"
    size = {"minQty": step, "maxQty": "1000000000", "stepSize": step}
    prices = {"minPrice": tick, "maxPrice": "100000000", "tickSize": tick}
    return [
        {"filterType": "PRICE_FILTER", **prices},
        {"filterType": "LOT_SIZE", **size},
        {"filterType": "MARKET_LOT_SIZE", **size},
    ]


def _um_rules(symbol: str, price: int, quantity: int, start: int) -> dict[str, Any]:
    band = {"multiplierUp": "1.1500", "multiplierDown": "0.8500", "multiplierDecimal": "4"}
    return {
        "symbol": symbol,
        "pair": symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": start // 1000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": symbol.removesuffix("USDT"),
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": price,
        "quantityPrecision": quantity,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "settlePlan": 0,
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "filters": [
            *_filters(price, quantity),
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {"filterType": "PERCENT_PRICE", **band},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


def _spot_rules(symbol: str, price: int, quantity: int, start: int) -> dict[str, Any]:
    least = {"minNotional": "5.00000000", "applyMinToMarket": True, "avgPriceMins": 5}
    digits = ("baseAssetPrecision", "quotePrecision", "quoteAssetPrecision")
    return {
        "symbol": symbol,
        "status": "TRADING",
        "baseAsset": symbol.removesuffix("USDT"),
        "quoteAsset": "USDT",
        **dict.fromkeys((*digits, "baseCommissionPrecision", "quoteCommissionPrecision"), 8),
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            *_filters(price, quantity),
            {"filterType": "NOTIONAL", **least, "maxNotional": "9000000.00000000"},
        ],
        "permissions": ["SPOT"],
    }
