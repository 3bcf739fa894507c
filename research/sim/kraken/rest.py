"""REST of Kraken spot: market data. Errors come with HTTP 200, in a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from research.sim.binance_rest import FAR, Query
from research.sim.kraken.names import Pair, pair, plain
from research.sim.market import MINUTE, US, Market
from research.sim.orders.quotes import Quotes
from research.sim.orders.rules import usual
from research.sim.orders.words import Rules
from research.sim.prints import Candle, Print
from research.sim.wire import number

REST = "api.kraken.com"
PUBLIC = "/0/public/"
INTERVALS = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
"""Minutes."""
ROWS = 720
"""Candles of one answer, the newest; older ones cannot be had."""
COST_DECIMALS = 8
UNIT = Decimal(1)
LEAST_COST = Decimal("0.5")
"""Smallest order, of quote currency."""
TAKER, MAKER = 0.26, 0.16
"""Fees in percent, of those who trade little."""

Route = Callable[[Market, Query, int], Any]


class Invalid(Exception):
    """An error as Kraken names it."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


def found(market: Market, query: Query) -> Pair:
    """Return the pair that is asked for, by any of its names; `Invalid` where there is none."""
    if "pair" not in query:
        raise Invalid("EGeneral:Invalid arguments")
    asked = query["pair"]
    for one in map(pair, market.symbols):
        if asked in (one.key, one.altname, one.wsname):
            return one
    raise Invalid("EQuery:Unknown asset pair")


def _whole(query: Query, name: str, default: int) -> int:
    try:
        return int(float(query.get(name, default)))
    except (ValueError, OverflowError):
        raise Invalid(f"EGeneral:Invalid arguments:{name}") from None


def server_time(market: Market, query: Query, now: int) -> Any:
    """Answer the clock, in whole seconds."""
    at = datetime.fromtimestamp(now // US, UTC)
    return {"unixtime": now // US, "rfc1123": f"{at:%a, %d %b %y %H:%M:%S} +0000"}


def status(market: Market, query: Query, now: int) -> Any:
    """Answer that all is well."""
    at = datetime.fromtimestamp(now // US, UTC)
    return {"status": "online", "timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}"}


def assets(market: Market, query: Query, now: int) -> Any:
    """Answer each asset that is traded."""
    pairs = [pair(symbol) for symbol in market.symbols]
    ids = sorted({one.base for one in pairs} | {one.quote for one in pairs})
    facts = {"aclass": "currency", "decimals": 10, "display_decimals": 5, "status": "enabled"}
    return {one: {**facts, "altname": plain(one)} for one in ids}


def asset_pairs(market: Market, query: Query, now: int) -> Any:
    """Answer the rules of the pairs that are asked for, or of all."""
    names = query["pair"].split(",") if "pair" in query else market.symbols
    pairs = [found(market, {"pair": n}) if "pair" in query else pair(n) for n in names]
    return {one.key: _rules(one, rules_of(market, one.symbol)) for one in pairs}


def rules_of(market: Market, symbol: str) -> Rules:
    """Return what is asked of orders in a symbol: decimals of price and quantity, and least ones.

    Kraken has no band of prices: a limit may lie anywhere.
    """
    made = usual(symbol, market.series(symbol).candles[0].open, spot=True)
    tick, lot = min(made.tick, UNIT), min(made.lot, UNIT)
    free = (Decimal(0), Decimal(10**9))
    return replace(made, tick=tick, lot=lot, least=10 * lot, least_notional=LEAST_COST, band=free)


def _rules(one: Pair, rules: Rules) -> dict[str, Any]:
    return {
        "altname": one.altname,
        "wsname": one.wsname,
        "aclass_base": "currency",
        "base": one.base,
        "aclass_quote": "currency",
        "quote": one.quote,
        "lot": "unit",
        "cost_decimals": COST_DECIMALS,
        "pair_decimals": _decimals(rules.tick),
        "lot_decimals": _decimals(rules.lot),
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, TAKER]],
        "fees_maker": [[0, MAKER]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": str(rules.least),
        "costmin": str(LEAST_COST),
        "tick_size": str(rules.tick),
        "status": "online",
    }


def _decimals(step: Decimal) -> int:
    """Return how many decimals a power of ten has.

    >>> _decimals(Decimal("0.001")), _decimals(Decimal("1"))
    (3, 0)
    """
    return max(0, -int(step.as_tuple().exponent))


def _book(market: Market, symbol: str, now: int) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return bids and asks as orders would meet them."""
    quotes, rules = Quotes(market), rules_of(market, symbol)
    bids, asks = quotes.levels(rules, "sell", now), quotes.levels(rules, "buy", now)
    told = [[[str(p), str(q), now // US] for p, q in side] for side in (bids, asks)]
    return told[0], told[1]


def row(candle: Candle) -> list[Any]:
    """Return a candle as Kraken's eight columns: time, prices, mean price, volume, trades."""
    mean = candle.quote / candle.volume if candle.volume > 0 else 0.0
    prices = map(number, candle[2:6])
    return [candle.open_time // US, *prices, number(mean), number(candle.volume), candle.trades]


def ohlc(market: Market, query: Query, now: int) -> Any:
    """Answer the newest candles that open after `since`; the last one is always open."""
    one = found(market, query)
    minutes, since = _whole(query, "interval", 1), _whole(query, "since", 0)
    interval = minutes * MINUTE
    if minutes not in INTERVALS or interval % market.interval:
        raise Invalid("EGeneral:Invalid arguments:interval")
    start = min(since * US, now - 2 * interval)
    seen = market.candles(one.symbol, interval, max(0, start), FAR, now=now, first=-ROWS)
    candles = [s.candle for s in seen]
    if seen and seen[-1].closed:
        candles.append(_empty(candles[-1], now - now % interval, interval))
    rows = [row(c) for c in candles[-ROWS:]]
    told = [r for r in rows[:-1] if r[0] > since] + rows[-1:]
    return {one.key: told, "last": rows[-2][0] if len(rows) > 1 else since}


def _empty(before: Candle, opened: int, interval: int) -> Candle:
    """Return a candle in which nothing was traded yet."""
    flat = (before.close,) * 4
    return Candle(opened, opened + interval, *flat, 0.0, 0.0, 0, 0.0, 0.0, before.first)


def depth(market: Market, query: Query, now: int) -> Any:
    """Answer the book: price, quantity, time of the level."""
    one, count = found(market, query), max(1, min(_whole(query, "count", 100), 500))
    bids, asks = _book(market, one.symbol, now)
    return {one.key: {"asks": asks[:count], "bids": bids[:count]}}


def trades(market: Market, query: Query, now: int) -> Any:
    """Answer trades after `since` (seconds or nanoseconds), or the newest; `last` goes on there."""
    one, count = found(market, query), max(1, min(_whole(query, "count", 1000), 1000))
    if "since" in query:
        since = _whole(query, "since", 0)
        start = since // 1000 if since > 10**14 else since * US
        made = market.trades(one.symbol, start + 1, now, now=now, most=count)
    else:
        made = market.trades(one.symbol, now - 60 * MINUTE, now, now=now, most=FAR)[-count:]
    last = made[-1].time if made else now
    return {one.key: [_trade(p) for p in made], "last": str(last * 1000)}


def _trade(p: Print) -> list[Any]:
    side = "s" if p.maker else "b"
    return [number(p.price), number(p.quantity), p.time / US, side, "m", "", p.id]


def spread(market: Market, query: Query, now: int) -> Any:
    """Answer the newest best bid and ask."""
    one = found(market, query)
    bids, asks = _book(market, one.symbol, now)
    told = [now // US, bids[0][0], asks[0][0]]
    return {one.key: [told], "last": now // US}


def ticker(market: Market, query: Query, now: int) -> Any:
    """Answer the last price, the best ones, and today and the last day, of some pairs or of all."""
    if "pair" in query:
        pairs = [found(market, {"pair": name}) for name in query["pair"].split(",")]
    else:
        pairs = [pair(symbol) for symbol in market.symbols]
    return {one.key: _ticker(market, one.symbol, now) for one in pairs}


def _ticker(market: Market, symbol: str, now: int) -> dict[str, Any]:
    last = str(Quotes(market).quote(symbol, now).price)
    bids, asks = _book(market, symbol, now)
    today = now - now % (1440 * MINUTE)
    spans = [_span(market, symbol, start, now) for start in (today, now - 1440 * MINUTE)]
    both = {name: [span[name] for span in spans] for name in ("v", "p", "t", "l", "h")}
    best = {side: [level[0], "1", level[1]] for side, level in (("b", bids[0]), ("a", asks[0]))}
    return {**best, "c": [last, "1"], **both, "o": spans[0]["o"]}


def _span(market: Market, symbol: str, start: int, now: int) -> dict[str, Any]:
    seen = market.candles(symbol, market.interval, start, now, now=now)
    candles = [s.candle for s in seen] or market.series(symbol).candles[:1]
    volume, quote = sum(c.volume for c in candles), sum(c.quote for c in candles)
    return {
        "v": number(volume),
        "p": number(quote / volume if volume > 0 else candles[-1].close),
        "t": sum(c.trades for c in candles),
        "l": number(min(c.low for c in candles)),
        "h": number(max(c.high for c in candles)),
        "o": number(candles[0].open),
    }


ROUTES: dict[str, Route] = {
    f"{PUBLIC}Time": server_time,
    f"{PUBLIC}SystemStatus": status,
    f"{PUBLIC}Assets": assets,
    f"{PUBLIC}AssetPairs": asset_pairs,
    f"{PUBLIC}Ticker": ticker,
    f"{PUBLIC}OHLC": ohlc,
    f"{PUBLIC}Depth": depth,
    f"{PUBLIC}Trades": trades,
    f"{PUBLIC}Spread": spread,
}
BY_PAIR = (f"{PUBLIC}OHLC", f"{PUBLIC}Trades")
"""Routes whose limit is counted for each pair."""


def lane(path: str, query: Query) -> str:
    """Return on which counter a call is."""
    return f"{path} {query.get('pair', '')}" if path in BY_PAIR else ""


def error(text: str) -> dict[str, Any]:
    """Return an answer that says no."""
    return {"error": [text]}


def answer(market: Market, path: str, query: Query, now: int) -> dict[str, Any]:
    """Return an answer in Kraken's envelope."""
    if path not in ROUTES:
        return error("EGeneral:Unknown method")
    try:
        return {"error": [], "result": ROUTES[path](market, query, now)}
    except Invalid as no:
        return error(no.error)
