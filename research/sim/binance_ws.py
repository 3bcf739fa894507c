"""Streams of Binance USD-M futures: routes since April 2026, subscriptions, and their frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from research.sim.books import Levels
from research.sim.lines import Line
from research.sim.prints import Candle, Print
from research.sim.wire import Frame, number

HOST = "fstream.binance.com"
INTERVALS = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "6h": 360,
    "8h": 480,
    "12h": 720,
    "1d": 1440,
}
BOOK = "depth20@100ms"
PUBLIC = ("bookTicker", "depth", "rpiDepth", "trade")
STREAMS = 200
MESSAGES = 10
DAY = 86_400_000_000
PING = 180_000_000


def category(stream: str) -> str:
    """Return the route a stream is served on.

    >>> category("btcusdt@kline_1m"), category("btcusdt@bookTicker")
    ('market', 'public')
    """
    return "public" if stream.partition("@")[2].startswith(PUBLIC) else "market"


def route(line: Line) -> str:
    """Return ``public``, ``market`` or ``private``; nothing for the retired addresses."""
    first = line.path.strip("/").partition("/")[0]
    return first if first in ("public", "market", "private") else ""


def combined(line: Line) -> bool:
    """Return whether frames are wrapped with their stream's name."""
    return "stream" in line.path.strip("/").split("/")


def wrap(line: Line, stream: str) -> Callable[[dict[str, Any]], Any]:
    """Return what puts a body into a connection's form."""
    if combined(line):
        return lambda body: {"stream": stream, "data": body}
    return lambda body: body


def takes(line: Line, stream: str) -> bool:
    """Return whether a connection gets a stream's frames: retired addresses get none."""
    return line.host == HOST and stream in line.streams and route(line) == category(stream)


def opened(line: Line, query: str) -> None:
    """Subscribe what the address of a new connection names."""
    _, _, tail = line.path.partition("/ws/")
    asked = query.split("/") if query else [name for name in tail.split("/") if "@" in name]
    if len(asked) > STREAMS:
        line.close(1008, "too many streams")
        return
    line.streams.update(dict.fromkeys(asked))


def hear(line: Line, text: str) -> None:
    """Answer a message of the client."""
    if line.too_fast(MESSAGES):
        line.close(1008, "Too many requests")
        return
    try:
        asked = orjson.loads(text)
        method, params, name = asked["method"], asked.get("params", []), asked.get("id")
    except (ValueError, KeyError, TypeError, AttributeError):
        line.say({"error": {"code": 2, "msg": "Invalid request: not a request"}, "id": None})
        return
    if method == "LIST_SUBSCRIPTIONS":
        line.say({"result": list(line.streams), "id": name})
    elif method == "SUBSCRIBE" and len({*line.streams, *params}) > STREAMS:
        line.say({"error": {"code": 2, "msg": "Invalid request: too many streams"}, "id": name})
    elif method == "SUBSCRIBE":
        line.streams.update(dict.fromkeys(params))
        line.say({"result": None, "id": name})
    elif method == "UNSUBSCRIBE":
        for stream in params:
            line.streams.pop(stream, None)
        line.say({"result": None, "id": name})
    else:
        line.say({"error": {"code": 2, "msg": f"Invalid request: {method}"}, "id": name})


def tick(line: Line, now: int) -> None:
    """Ping a connection every three minutes and cut it after a day."""
    if now - line.opened >= DAY:
        line.close(1001, "24 h")
    elif now - line.pinged >= PING:
        line.ping(now)


def kline(candle: Candle, symbol: str, interval: str, *, time: int, bar: int, final: bool) -> Frame:
    """Return a kline frame."""
    stream = f"{symbol.lower()}@kline_{interval}"
    some = candle.trades > 0
    inner = {
        "t": candle.open_time // 1000,
        "T": candle.close_time // 1000 - 1,
        "s": symbol,
        "i": interval,
        "f": candle.first if some else -1,
        "L": candle.first + candle.trades - 1 if some else -1,
        "o": number(candle.open),
        "c": number(candle.close),
        "h": number(candle.high),
        "l": number(candle.low),
        "v": number(candle.volume),
        "n": candle.trades,
        "x": final,
        "q": number(candle.quote),
        "V": number(candle.buy),
        "Q": number(candle.buy_quote),
        "B": "0",
    }
    body = {"e": "kline", "E": time // 1000, "s": symbol, "k": inner}
    return Frame(HOST, stream, symbol, "kline", body, time, bar, final)


def agg_trade(made: Print, symbol: str, bar: int) -> Frame:
    """Return an aggregated-trade frame."""
    stamp = made.time // 1000
    body = {
        "e": "aggTrade",
        "E": stamp,
        "a": made.id,
        "s": symbol,
        "p": number(made.price),
        "q": number(made.quantity),
        "nq": number(made.quantity),
        "f": made.first,
        "l": made.last,
        "T": stamp,
        "m": made.maker,
    }
    return Frame(HOST, f"{symbol.lower()}@aggTrade", symbol, "trade", body, made.time, bar, True)


def book_ticker(made: Print, symbol: str, bar: int) -> Frame:
    """Return a best-bid-and-ask frame around a print, one basis point wide."""
    stamp, half = made.time // 1000, made.price * 0.5e-4
    body = {
        "e": "bookTicker",
        "u": made.id,
        "s": symbol,
        "b": number(round(made.price - half, 8)),
        "B": number(made.quantity),
        "a": number(round(made.price + half, 8)),
        "A": number(made.quantity),
        "T": stamp,
        "E": stamp,
    }
    return Frame(HOST, f"{symbol.lower()}@bookTicker", symbol, "book", body, made.time, bar, True)


def depth(levels: Levels, symbol: str, *, time: int, bar: int) -> Frame:
    """Return a frame of the best 20 levels of a book."""
    stamp = time // 1000
    sides = {name: [[*map(number, level)] for level in side] for name, side in zip("ba", levels)}
    body = {
        "e": "depthUpdate",
        "E": stamp,
        "T": stamp,
        "s": symbol,
        "U": stamp,
        "u": stamp,
        "pu": stamp - 1,
        **sides,
    }
    return Frame(HOST, f"{symbol.lower()}@{BOOK}", symbol, "book", body, time, bar, True)
