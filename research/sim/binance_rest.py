"""REST of Binance USD-M futures: market data, weights and bans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from research.sim.binance_ws import INTERVALS
from research.sim.market import MINUTE, Market
from research.sim.orders.quotes import Quotes
from research.sim.orders.rules import usual
from research.sim.orders.words import Rules
from research.sim.prints import Candle
from research.sim.wire import number

HOST = "fapi.binance.com"
HOUR = 60 * MINUTE
FUNDING = 8 * HOUR
FAR = 1 << 60
BAN = 120
"""Seconds of a ban for those who go on after 429."""
PATIENCE = 20
"""Requests after the first 429 of a minute before the ban."""

Query = Mapping[str, str]
Route = Callable[[Market, Query, int], Any]


class Refused(Exception):
    """An answer that is an error: HTTP status, body, headers."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body, self.headers = status, body, dict(headers or {})


class Weights:
    """Weight used in a minute of the venue's clock (or of real time, where that stands still).

    Parameters
    ----------
    limit : int
        Weight a minute.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._minute, self._since, self._refused = 0, monotonic(), 0
        self._banned = 0.0

    def spend(self, weight: int, now: int, speed: float) -> None:
        """Count a request; raise `Refused` with 429, or 418 for one who goes on regardless."""
        real = monotonic()
        if real < self._banned:
            raise self._no(418, self._banned - real)
        if now // MINUTE != self._minute or real - self._since >= 60:
            self._minute, self._since, self.used, self._refused = now // MINUTE, real, 0, 0
        self.used += weight
        if self.used <= self.limit:
            return
        self._refused += 1
        if self._refused > PATIENCE:
            self._banned = real + BAN
            raise self._no(418, BAN)
        flowing = (MINUTE - now % MINUTE) / 1e6 / speed if speed else 60.0
        raise self._no(429, min(flowing, 60 - (real - self._since)))

    def headers(self) -> dict[str, str]:
        """Return what every answer says of the weight."""
        return {"X-MBX-USED-WEIGHT-1M": str(self.used)}

    def _no(self, status: int, seconds: float) -> Refused:
        body = {"code": -1003, "msg": f"Too many requests; current limit is {self.limit}."}
        return Refused(status, body, {"Retry-After": str(max(1, round(seconds + 0.5)))})


def refuse(code: int, message: str, status: int = 400) -> Refused:
    """Return an error of the venue's own."""
    return Refused(status, {"code": code, "msg": message})


def weight(path: str, query: Query) -> int:
    """Return what a request costs.

    >>> weight("/fapi/v1/klines", {"limit": "1500"}), weight("/fapi/v1/time", {})
    (10, 1)
    """
    if path == "/fapi/v1/klines":
        limit = _limit(query, 500, 1500)
        return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10
    if path == "/fapi/v1/depth":
        limit = _limit(query, 500, 1000)
        return 2 if limit <= 50 else 5 if limit == 100 else 10 if limit == 500 else 20
    return 20 if path == "/fapi/v1/aggTrades" else 1


def _limit(query: Query, default: int, most: int) -> int:
    return max(1, min(_int(query, "limit", default), most))


def _int(query: Query, name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise refuse(-1102, f"Illegal characters found in parameter '{name}'.") from None


def _symbol(market: Market, query: Query) -> str:
    if "symbol" not in query:
        raise refuse(-1102, "Mandatory parameter 'symbol' was not sent.")
    if query["symbol"] not in market.symbols:
        raise refuse(-1121, "Invalid symbol.")
    return query["symbol"]


def row(candle: Candle) -> list[Any]:
    """Return a candle as the twelve columns of a kline."""
    return [
        candle.open_time // 1000,
        *map(number, candle[2:7]),
        candle.close_time // 1000 - 1,
        number(candle.quote),
        candle.trades,
        number(candle.buy),
        number(candle.buy_quote),
        "0",
    ]


def klines(market: Market, query: Query, now: int) -> Any:
    """Answer klines: oldest first, the last one unclosed."""
    symbol = _symbol(market, query)
    minutes = INTERVALS.get(query.get("interval", ""), 0) * MINUTE
    if not minutes or minutes % market.interval:
        raise refuse(-1120, "Invalid interval.")
    limit = _limit(query, 500, 1500)
    start, end = _int(query, "startTime", -1) * 1000, _int(query, "endTime", FAR // 1000) * 1000
    first = limit if start >= 0 else -limit
    seen = market.candles(symbol, minutes, max(start, 0), end, now=now, first=first)
    return [row(s.candle) for s in seen]


def agg_trades(market: Market, query: Query, now: int) -> Any:
    """Answer aggregated trades: from an id, or in a window of at most an hour."""
    symbol, limit = _symbol(market, query), _limit(query, 500, 1000)
    if "fromId" in query:
        first = _int(query, "fromId", 1)
        start = market.time_of(symbol, first)
        made = market.trades(symbol, start, FAR, now=now, most=limit)
        return [_agg(p) for p in made if p.id >= first]
    start, end = _int(query, "startTime", -1) * 1000, _int(query, "endTime", -1) * 1000 + 999
    if start >= 0 and end >= 0 and end - start > HOUR:
        raise refuse(-4166, "Search window is restricted to recent 1 hour.")
    if start >= 0:
        end = end if end >= 0 else start + HOUR
        return [_agg(p) for p in market.trades(symbol, start, end, now=now, most=limit)]
    end = end if end >= 0 else now
    return [_agg(p) for p in market.trades(symbol, end - HOUR, end, now=now, most=FAR)[-limit:]]


def _agg(p: Any) -> dict[str, Any]:
    quantity = number(p.quantity)
    return {
        "a": p.id,
        "p": number(p.price),
        "q": quantity,
        "nq": quantity,
        "f": p.first,
        "l": p.last,
        "T": p.time // 1000,
        "m": p.maker,
    }


def price(market: Market, symbol: str, now: int) -> float:
    """Return the last price."""
    seen = market.candles(symbol, market.interval, 0, now, now=now, first=-1)
    return seen[-1].candle.close if seen else market.series(symbol).candles[0].open


def premium_index(market: Market, query: Query, now: int) -> Any:
    """Answer mark price and funding, of one symbol or of all."""
    if "symbol" not in query:
        return [premium_index(market, {"symbol": symbol}, now) for symbol in market.symbols]
    symbol = _symbol(market, query)
    text = number(price(market, symbol, now))
    return {
        "symbol": symbol,
        "markPrice": text,
        "indexPrice": text,
        "estimatedSettlePrice": text,
        "lastFundingRate": "0.00010000",
        "interestRate": "0.00010000",
        "nextFundingTime": (now // FUNDING + 1) * FUNDING // 1000,
        "time": now // 1000,
    }


def funding_rate(market: Market, query: Query, now: int) -> Any:
    """Answer funding rates, oldest first: one basis point every eight hours."""
    symbol, limit = _symbol(market, query), _limit(query, 100, 1000)
    opens = market.series(symbol).opens
    start = max(_int(query, "startTime", 0) * 1000, opens[0])
    end = min(_int(query, "endTime", FAR // 1000) * 1000, now)
    times = range(start + -start % FUNDING, end + 1, FUNDING)
    times = times[:limit] if "startTime" in query else times[-limit:]
    return [
        {
            "symbol": symbol,
            "fundingTime": time // 1000,
            "fundingRate": "0.00010000",
            "markPrice": number(price(market, symbol, time)),
        }
        for time in times
    ]


def rules_of(market: Market, symbol: str) -> Rules:
    """Return what is asked of orders in a symbol."""
    return usual(symbol, market.series(symbol).candles[0].open)


def depth(market: Market, query: Query, now: int) -> Any:
    """Answer the book that takers meet, 20 levels of it at most."""
    symbol, limit = _symbol(market, query), _limit(query, 500, 1000)
    rules, quotes, stamp = rules_of(market, symbol), Quotes(market), now // 1000
    taken = {"bids": quotes.levels(rules, "sell", now), "asks": quotes.levels(rules, "buy", now)}
    sides = {name: [[f"{p:f}", f"{q:f}"] for p, q in side[:limit]] for name, side in taken.items()}
    return {"lastUpdateId": stamp, "E": stamp, "T": stamp, **sides}


def book_ticker(market: Market, query: Query, now: int) -> Any:
    """Answer the best levels, of one symbol or of all."""
    if "symbol" not in query:
        return [book_ticker(market, {"symbol": symbol}, now) for symbol in market.symbols]
    book = depth(market, {**query, "limit": "5"}, now)
    (bid, bids), (ask, asks) = book["bids"][0], book["asks"][0]
    return {
        "symbol": query["symbol"],
        "bidPrice": bid,
        "bidQty": bids,
        "askPrice": ask,
        "askQty": asks,
        "time": book["T"],
        "lastUpdateId": book["lastUpdateId"],
    }


def day_ticker(market: Market, query: Query, now: int) -> Any:
    """Answer the last price and the day before, of one symbol or of all."""
    if "symbol" not in query:
        return [day_ticker(market, {"symbol": symbol}, now) for symbol in market.symbols]
    symbol = _symbol(market, query)
    seen = market.candles(symbol, market.interval, now - 24 * HOUR, now, now=now)
    day = [one.candle for one in seen] or market.series(symbol).candles[:1]
    last, first, volume = day[-1].close, day[0].open, sum(c.volume for c in day)
    quote = sum(c.quote for c in day)
    return {
        "symbol": symbol,
        "priceChange": number(round(last - first, 8)),
        "priceChangePercent": number(round(100 * (last / first - 1), 3)),
        "weightedAvgPrice": number(round(quote / volume if volume else last, 8)),
        "lastPrice": number(last),
        "lastQty": "0",
        "openPrice": number(first),
        "highPrice": number(max(c.high for c in day)),
        "lowPrice": number(min(c.low for c in day)),
        "volume": number(volume),
        "quoteVolume": number(quote),
        "openTime": day[0].open_time // 1000,
        "closeTime": now // 1000,
        "firstId": day[0].first,
        "lastId": day[-1].first + day[-1].trades - 1,
        "count": sum(c.trades for c in day),
    }


def exchange_info(market: Market, query: Query, now: int) -> Any:
    """Answer the rules of every symbol."""
    limits = [("REQUEST_WEIGHT", "MINUTE", 1, 2400), ("ORDERS", "MINUTE", 1, 1200)]
    return {
        "timezone": "UTC",
        "serverTime": now // 1000,
        "futuresType": "U_MARGINED",
        "rateLimits": [
            {"rateLimitType": kind, "interval": interval, "intervalNum": n, "limit": limit}
            for kind, interval, n, limit in limits
        ],
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [_rules(market, symbol) for symbol in market.symbols],
    }


def _rules(market: Market, symbol: str) -> dict[str, Any]:
    rules = rules_of(market, symbol)
    tick, lot, least = f"{rules.tick:f}", f"{rules.lot:f}", f"{rules.least:f}"
    size = {"minQty": least, "stepSize": lot}
    prices = {"minPrice": tick, "maxPrice": "100000000", "tickSize": tick}
    band = {"multiplierUp": f"{rules.band[1]:f}", "multiplierDown": f"{rules.band[0]:f}"}
    return {
        "symbol": symbol,
        "pair": symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": market.series(symbol).opens[0] // 1000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": rules.base,
        "quoteAsset": rules.quote,
        "marginAsset": rules.quote,
        "pricePrecision": _digits(tick),
        "quantityPrecision": _digits(lot),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "filters": [
            {"filterType": "PRICE_FILTER", **prices},
            {"filterType": "LOT_SIZE", "maxQty": f"{rules.most:f}", **size},
            {"filterType": "MARKET_LOT_SIZE", "maxQty": f"{rules.most_market:f}", **size},
            {"filterType": "MAX_NUM_ORDERS", "limit": rules.most_open},
            {"filterType": "MIN_NOTIONAL", "notional": f"{rules.least_notional:f}"},
            {"filterType": "PERCENT_PRICE", **band, "multiplierDecimal": "4"},
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP_MARKET", "TAKE_PROFIT_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


def _digits(step: str) -> int:
    """Return how many digits numbers are written with: one more than their step has."""
    return len(step.partition(".")[2]) + 1


ROUTES: dict[str, Route] = {
    "/fapi/v1/ping": lambda market, query, now: {},
    "/fapi/v1/time": lambda market, query, now: {"serverTime": now // 1000},
    "/fapi/v1/exchangeInfo": exchange_info,
    "/fapi/v1/klines": klines,
    "/fapi/v1/aggTrades": agg_trades,
    "/fapi/v1/premiumIndex": premium_index,
    "/fapi/v1/fundingRate": funding_rate,
    "/fapi/v1/depth": depth,
    "/fapi/v1/ticker/bookTicker": book_ticker,
    "/fapi/v1/ticker/24hr": day_ticker,
}
