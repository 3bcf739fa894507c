"""Bybit V5 linear: REST market data and the public stream."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import orjson

from research.sim.binance_rest import FAR, Query, Route, price
from research.sim.lines import Line
from research.sim.market import MINUTE, Market
from research.sim.orders.quotes import Quotes
from research.sim.orders.rules import usual
from research.sim.orders.words import Rules, Side
from research.sim.prints import Candle, Print
from research.sim.wire import Frame, number

REST, STREAM = "api.bybit.com", "stream.bybit.com"
PATH = "/v5/public/linear"
SIDES_OF_TAKERS: tuple[Side, Side] = ("buy", "sell")
"""Who takes asks, and who takes bids."""
INTERVALS = {
    **{str(n): n for n in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)},
    "D": 1440,
}


class Invalid(Exception):
    """An error that the venue answers with HTTP 200: code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.headers: dict[str, str] = {}
        self.body = {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}}


def _symbol(market: Market, query: Query) -> str:
    if query.get("category", "linear") != "linear" or query.get("symbol") not in market.symbols:
        raise Invalid(10001, "params error: Symbol Invalid")
    return query["symbol"]


def _int(query: Query, name: str, default: int) -> int:
    try:
        return int(query.get(name, default))
    except ValueError:
        raise Invalid(10001, f"params error: {name} Invalid") from None


def klines(market: Market, query: Query, now: int) -> Any:
    """Answer klines: newest first, the first one unclosed."""
    symbol = _symbol(market, query)
    interval = INTERVALS.get(query.get("interval", ""), 0) * MINUTE
    if not interval or interval % market.interval:
        raise Invalid(10001, "Invalid period!")
    limit = max(1, min(_int(query, "limit", 200), 1000))
    start, end = _int(query, "start", 0) * 1000, _int(query, "end", FAR // 1000) * 1000
    first = limit if "start" in query and "end" not in query else -limit
    seen = market.candles(symbol, interval, start, end, now=now, first=first)
    rows = [[str(c.open_time // 1000), *map(number, c[2:8])] for c, _ in reversed(seen)]
    return {"category": "linear", "symbol": symbol, "list": rows}


def server_time(market: Market, query: Query, now: int) -> Any:
    """Answer the clock."""
    return {"timeSecond": str(now // 1_000_000), "timeNano": str(now * 1000)}


def instruments(market: Market, query: Query, now: int) -> Any:
    """Answer the rules of every symbol; other categories list nothing."""
    kind = query.get("category", "")
    plain = kind == "linear" and query.get("status", "Trading") == "Trading"
    wanted = [s for s in market.symbols if query.get("symbol", s) == s] if plain else []
    rows = [_rules(market, symbol) for symbol in wanted]
    return {"category": kind, "list": rows, "nextPageCursor": ""}


def rules_of(market: Market, symbol: str) -> Rules:
    """Return what is asked of orders in a symbol."""
    return usual(symbol, market.series(symbol).candles[0].open)


def _rules(market: Market, symbol: str) -> dict[str, Any]:
    rules = rules_of(market, symbol)
    tick, lot = str(rules.tick), str(rules.lot)
    return {
        "symbol": symbol,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": rules.base,
        "quoteCoin": rules.quote,
        "launchTime": str(market.series(symbol).opens[0] // 1000),
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(max(0, -int(rules.tick.as_tuple().exponent))),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "50.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": tick, "maxPrice": "100000000", "tickSize": tick},
        "lotSizeFilter": {
            "maxOrderQty": str(rules.most),
            "minOrderQty": str(rules.least),
            "qtyStep": lot,
            "postOnlyMaxOrderQty": str(rules.most),
            "maxMktOrderQty": str(rules.most_market),
            "minNotionalValue": str(rules.least_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": rules.quote,
        "copyTrading": "none",
        "upperFundingRate": "0.00375",
        "lowerFundingRate": "-0.00375",
    }


def tickers(market: Market, query: Query, now: int) -> Any:
    """Answer the last price and the day of one symbol or of all."""
    wanted = [_symbol(market, query)] if "symbol" in query else market.symbols
    rows = [_ticker(market, symbol, now) for symbol in wanted]
    return {"category": "linear", "list": rows}


def _ticker(market: Market, symbol: str, now: int) -> dict[str, Any]:
    day = market.candles(symbol, market.interval, now - 1440 * MINUTE, now, now=now)
    candles = [seen.candle for seen in day] or market.series(symbol).candles[:1]
    last, first = price(market, symbol, now), candles[0].open
    text = number(last)
    book = order_book(market, {"symbol": symbol, "limit": "1"}, now)
    (bid, bids), (ask, asks) = book["b"][0], book["a"][0]
    return {
        "symbol": symbol,
        "lastPrice": text,
        "indexPrice": text,
        "markPrice": text,
        "prevPrice24h": number(first),
        "price24hPcnt": number(round(last / first - 1, 6)),
        "highPrice24h": number(max(c.high for c in candles)),
        "lowPrice24h": number(min(c.low for c in candles)),
        "prevPrice1h": number(candles[-60:][0].open),
        "openInterest": "0",
        "openInterestValue": "0",
        "turnover24h": number(sum(c.quote for c in candles)),
        "volume24h": number(sum(c.volume for c in candles)),
        "fundingRate": "0.0001",
        "nextFundingTime": str((now // (480 * MINUTE) + 1) * 480 * MINUTE // 1000),
        "predictedDeliveryPrice": "",
        "basisRate": "",
        "deliveryFeeRate": "",
        "deliveryTime": "0",
        "ask1Size": asks,
        "bid1Price": bid,
        "ask1Price": ask,
        "bid1Size": bids,
        "basis": "",
    }


def order_book(market: Market, query: Query, now: int) -> Any:
    """Answer the book that takers meet."""
    symbol = _symbol(market, query)
    limit = max(1, min(_int(query, "limit", 25), 1000))
    quotes = Quotes(market)
    asks, bids = (
        quotes.levels(rules_of(market, symbol), side, now)[:limit] for side in SIDES_OF_TAKERS
    )
    stamp = now // 1000
    return {
        "s": symbol,
        "b": [[str(p), str(q)] for p, q in bids],
        "a": [[str(p), str(q)] for p, q in asks],
        "ts": stamp,
        "u": stamp,
        "seq": stamp,
        "cts": stamp,
    }


def recent_trades(market: Market, query: Query, now: int) -> Any:
    """Answer the newest trades, newest first."""
    symbol = _symbol(market, query)
    limit = max(1, min(_int(query, "limit", 500), 1000))
    made = market.trades(symbol, now - 60 * MINUTE, now, now=now, most=FAR)[-limit:]
    rows = [
        {
            "execId": trade_id(symbol, p),
            "symbol": symbol,
            "price": number(p.price),
            "size": number(p.quantity),
            "side": "Sell" if p.maker else "Buy",
            "time": str(p.time // 1000),
            "isBlockTrade": False,
        }
        for p in reversed(made)
    ]
    return {"category": "linear", "list": rows}


def trade_id(symbol: str, made: Print) -> str:
    """Return the id of a trade: unique, and no sequence."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{symbol}|{made.id}"))


ROUTES: dict[str, Route] = {
    "/v5/market/time": server_time,
    "/v5/market/kline": klines,
    "/v5/market/instruments-info": instruments,
    "/v5/market/tickers": tickers,
    "/v5/market/orderbook": order_book,
    "/v5/market/recent-trade": recent_trades,
}


def answer(made: Route, market: Market, query: Query, now: int) -> dict[str, Any]:
    """Return an answer in the venue's envelope."""
    try:
        result = made(market, query, now)
    except Invalid as no:
        return {**no.body, "time": now // 1000}
    return {
        "retCode": 0,
        "retMsg": "OK",
        "result": result,
        "retExtInfo": {},
        "time": now // 1000,
    }


def hear(line: Line, text: str, known: Callable[[str], bool]) -> list[str]:
    """Answer a message of the client; return the topics it has just subscribed.

    `known` tells which topics there are.
    """
    try:
        asked = orjson.loads(text)
        op, args = asked["op"], asked.get("args", [])
        said = {"conn_id": line.name, "req_id": asked.get("req_id", ""), "op": op}
        wrong = [topic for topic in args if not known(topic)]
    except (ValueError, KeyError, TypeError, AttributeError):
        line.say({"success": False, "ret_msg": "error:request", "conn_id": line.name, "op": ""})
        return []
    if op == "ping":
        line.say({"success": True, "ret_msg": "pong", **said})
        return []
    if op not in ("subscribe", "unsubscribe") or wrong:
        topic = f",topic:{wrong[0]}" if wrong else ""
        line.say({"success": False, "ret_msg": f"error:handler not found{topic}", **said})
        return []
    new = [t for t in args if op == "subscribe" and t not in line.streams]
    for topic in args:
        if op == "subscribe":
            line.streams[topic] = None
        else:
            line.streams.pop(topic, None)
    line.say({"success": True, "ret_msg": "", **said})
    return new


def known(topic: str, symbols: list[str]) -> bool:
    """Return whether there is such a topic."""
    name, _, rest = topic.partition(".")
    if name == "kline":
        interval, _, rest = rest.partition(".")
        return interval in INTERVALS and rest in symbols
    return name == "publicTrade" and rest in symbols


def takes(line: Line, stream: str) -> bool:
    """Return whether a connection gets a topic's frames."""
    return line.host == STREAM and line.path == PATH and stream in line.streams


def wrap(body: dict[str, Any]) -> Any:
    """Return a body as it is: every connection has the same form."""
    return body


def kline(candle: Candle, symbol: str, interval: str, *, time: int, bar: int, final: bool) -> Frame:
    """Return a kline frame."""
    topic, stamp = f"kline.{interval}.{symbol}", time // 1000
    inner = {
        "start": candle.open_time // 1000,
        "end": candle.close_time // 1000 - 1,
        "interval": interval,
        "open": number(candle.open),
        "close": number(candle.close),
        "high": number(candle.high),
        "low": number(candle.low),
        "volume": number(candle.volume),
        "turnover": number(candle.quote),
        "confirm": final,
        "timestamp": stamp,
    }
    body = {"topic": topic, "data": [inner], "ts": stamp, "type": "snapshot"}
    return Frame(STREAM, topic, symbol, "kline", body, time, bar, final)


def trade(made: Print, symbol: str, bar: int) -> Frame:
    """Return a trade frame."""
    topic, stamp = f"publicTrade.{symbol}", made.time // 1000
    inner = {
        "T": stamp,
        "s": symbol,
        "S": "Sell" if made.maker else "Buy",
        "v": number(made.quantity),
        "p": number(made.price),
        "L": "ZeroPlusTick",
        "i": trade_id(symbol, made),
        "BT": False,
    }
    body = {"topic": topic, "type": "snapshot", "ts": stamp, "data": [inner]}
    return Frame(STREAM, topic, symbol, "trade", body, made.time, bar, True)
