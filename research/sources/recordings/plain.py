"""What one frame says, read with a JSON parser: slow, and what the fast reader must agree with."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import orjson

from research.sources.recordings.frames import GIANT, NOT_KNOWN

NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
CHANNELS = {
    "depthUpdate": "depth",
    "bookTicker": "bookTicker",
    "trade": "trade",
    "aggTrade": "aggTrade",
}
DEPTH = re.compile(r"depth[0-9]*", re.ASCII)
REPLIES = {"result", "error", "code", "id"}
BYBIT_REPLIES = {"op", "success", "ret_msg", "retCode"}
LARGEST = 2**63 - 1


class Malformed(Exception):
    """A frame that is no message of its venue."""


class Message(NamedTuple):
    """A frame about an order book; whole numbers a venue does not give are `NOT_KNOWN`."""

    symbol: str | None
    sent: int
    time: int
    kind: str
    first_id: int
    last_id: int
    previous_id: int
    sequence: int
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


class Quote(NamedTuple):
    """A frame about the best prices; a side without orders has no price."""

    symbol: str
    sent: int
    time: int
    update_id: int
    bid: float | None
    bid_quantity: float
    ask: float | None
    ask_quantity: float


class Trade(NamedTuple):
    """One trade of a frame; `joined` where it stands for several fills of one order."""

    symbol: str
    sent: int
    time: int
    trade_id: int
    price: float
    quantity: float
    taker_side: int
    joined: bool


class Best:
    """Best prices of a symbol as a one-level book tells them: by changes of single sides."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[str, tuple[float, float] | None]] = {}

    def after(
        self, symbol: str, kind: str, bids: list[tuple[float, float]], asks: list[Any]
    ) -> tuple[float | None, float, float | None, float] | None:
        """Take one message and return bid and ask with quantities, None before the first book."""
        if kind == "snapshot":
            self.sides[symbol] = {"bid": None, "ask": None}
        sides = self.sides.get(symbol)
        if sides is None:
            return None
        for name, levels, best in (("bid", bids, max), ("ask", asks, min)):
            there = [level for level in levels if level[1]]
            held = sides[name]
            if there:
                sides[name] = best(there)
            elif held and any(price == held[0] for price, _ in levels):
                sides[name] = None
        bid, ask = sides["bid"] or (None, 0.0), sides["ask"] or (None, 0.0)
        return *bid, *ask


def understand(
    text: bytes, *, venue: str, market: str, best: Best
) -> Message | Quote | list[Trade]:
    """Read one frame.

    Parameters
    ----------
    text : bytes
        As the venue sent it.
    venue, market : str
        ``binance`` with ``um``, ``cm`` or ``spot``; ``bybit`` with any.
    best : Best
        What one-level books said before.

    Returns
    -------
    Message, Quote or list of Trade
        An empty list for a frame about something else (candles, mark prices, replies).

    Raises
    ------
    Malformed
        If it is no JSON, lacks a field, or a field is of another type or no plain number.

    Examples
    --------
    >>> understand(b'{"u":7,"s":"BTCUSDT","b":"1.5","B":"2","a":"1.6","A":"3"}',
    ...            venue="binance", market="spot", best=Best()).bid
    1.5
    """
    if len(text) > GIANT:
        raise Malformed("too long")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Malformed("no JSON") from error
    if not isinstance(message, dict):
        raise Malformed("no object")
    if venue == "bybit":
        return _bybit(message, best)
    return _binance(message, market)


def _binance(message: dict[str, Any], market: str) -> Message | Quote | list[Trade]:
    if "stream" not in message:
        return _event(message, "", "", market)
    stream, data = _text(message, "stream"), message.get("data")
    name, _, channel = stream.partition("@")
    channel = channel.partition("@")[0]
    if not isinstance(data, dict):
        if isinstance(data, list) and not _ours(channel):
            return []
        raise Malformed("no data")
    symbol = "" if name.startswith("!") else name.upper()
    return _event(data, symbol, name.lstrip("!") if name.startswith("!") else channel, market)


def _ours(channel: str) -> bool:
    return channel in CHANNELS.values() or bool(DEPTH.fullmatch(channel))


def _event(
    data: dict[str, Any], symbol: str, channel: str, market: str
) -> Message | Quote | list[Trade]:
    kind = _text(data, "e") if "e" in data else _untyped(data)
    if kind == "book":
        return _snapshot(data, symbol, channel)
    if kind not in CHANNELS:
        if _ours(channel):
            raise Malformed("not what its stream carries")
        return []
    if channel == "rpiDepth":
        return []  # a book with orders that no algorithm can trade with
    expected = "depth" if DEPTH.fullmatch(channel) else channel
    if channel and expected != CHANNELS[kind]:
        raise Malformed("not what its stream carries")
    if symbol and _symbol(data, "s") != symbol:
        raise Malformed("not the symbol of its stream")
    if kind == "depthUpdate":
        return _update(data, channel, market)
    return _quote(data, market) if kind == "bookTicker" else _trade(data, kind)


def _untyped(data: dict[str, Any]) -> str:
    """Return what a frame without a type is: spot sends best prices so, and all send books so."""
    if "lastUpdateId" in data:
        return "book"
    if {"u", "s", "b", "B", "a", "A"} <= data.keys():
        return "bookTicker"
    if REPLIES & data.keys():
        return "reply"
    raise Malformed("of no known kind")


def _snapshot(data: dict[str, Any], symbol: str, channel: str) -> Message:
    if channel not in ("", "snapshot") and not DEPTH.fullmatch(channel):
        raise Malformed("not what its stream carries")
    said = _symbol(data, "symbol") if "symbol" in data else symbol
    if symbol and said != symbol:
        raise Malformed("not the symbol of its stream")
    return Message(
        said or None,
        _moment(data, "E") if "E" in data else NOT_KNOWN,
        _moment(data, "T") if "T" in data else NOT_KNOWN,
        "partial" if channel[5:].isdigit() else "snapshot",
        NOT_KNOWN,
        _whole(data, "lastUpdateId"),
        NOT_KNOWN,
        NOT_KNOWN,
        _levels(data, "bids"),
        _levels(data, "asks"),
    )


def _update(data: dict[str, Any], channel: str, market: str) -> Message:
    sent = _moment(data, "E")
    derivative = market != "spot"
    return Message(
        _symbol(data, "s"),
        sent,
        _moment(data, "T") if derivative or "T" in data else sent,
        "partial" if channel[5:].isdigit() else "update",
        _whole(data, "U"),
        _whole(data, "u"),
        _whole(data, "pu") if derivative or "pu" in data else NOT_KNOWN,
        NOT_KNOWN,
        _levels(data, "b"),
        _levels(data, "a"),
    )


def _quote(data: dict[str, Any], market: str) -> Quote:
    stamped = market != "spot"
    sent = _moment(data, "E") if stamped or "E" in data else NOT_KNOWN
    bid, bid_quantity = _best(data, "b", "B")
    ask, ask_quantity = _best(data, "a", "A")
    return Quote(
        _symbol(data, "s"),
        sent,
        _moment(data, "T") if stamped or "T" in data else sent,
        _whole(data, "u"),
        bid,
        bid_quantity,
        ask,
        ask_quantity,
    )


def _best(data: dict[str, Any], price: str, quantity: str) -> tuple[float | None, float]:
    """Return one side; a venue writes an empty one as zeros, and zero is no price."""
    paid, there = _number(data.get(price)), _number(data.get(quantity))
    if not paid and there:
        raise Malformed("a quantity at no price")
    return (paid, there) if paid else (None, 0.0)


def _trade(data: dict[str, Any], kind: str) -> list[Trade]:
    number = _whole(data, "t" if kind == "trade" else "a")
    sent, time, symbol = _moment(data, "E"), _moment(data, "T"), _symbol(data, "s")
    maker = _flag(data, "m")
    price, quantity = _number(data.get("p")), _number(data.get("q"))
    if "X" in data and _text(data, "X") != "MARKET":
        return []  # of the venue's insurance fund, or a place holder: nobody took from the book
    if not price or not quantity:
        raise Malformed("a trade of nothing")
    side = -1 if maker else 1
    return [Trade(symbol, sent, time, number, price, quantity, side, kind == "aggTrade")]


def _bybit(message: dict[str, Any], best: Best) -> Message | Quote | list[Trade]:
    if "topic" not in message:
        if BYBIT_REPLIES & message.keys():
            return []
        raise Malformed("of no known kind")
    channel, _, rest = _text(message, "topic").partition(".")
    if channel == "publicTrade":
        return _bybit_trades(message, rest)
    if channel != "orderbook":
        return []
    depth, _, symbol = rest.partition(".")
    book = _bybit_book(message, symbol)
    if depth != "1":
        return book
    quote = best.after(symbol, book.kind, book.bids, book.asks)
    if quote is None:
        return []
    return Quote(symbol, book.sent, book.time, book.last_id, *quote)


def _bybit_book(message: dict[str, Any], symbol: str) -> Message:
    data, kind = message.get("data"), _text(message, "type")
    if kind not in ("snapshot", "delta") or not isinstance(data, dict):
        raise Malformed("no book")
    if _symbol(data, "s") != symbol:
        raise Malformed("not the symbol of its topic")
    sent = _moment(message, "ts")
    return Message(
        symbol,
        sent,
        _moment(message, "cts") if "cts" in message else sent,
        "snapshot" if kind == "snapshot" else "update",
        NOT_KNOWN,
        _whole(data, "u"),
        NOT_KNOWN,
        _whole(data, "seq") if "seq" in data else NOT_KNOWN,
        _levels(data, "b"),
        _levels(data, "a"),
    )


def _bybit_trades(message: dict[str, Any], symbol: str) -> list[Trade]:
    data, sent = message.get("data"), _moment(message, "ts")
    if not isinstance(data, list):
        raise Malformed("no trades")
    return [_bybit_trade(one, sent, symbol) for one in data if not _off_book(one)]


def _off_book(one: Any) -> bool:
    """Return whether a trade was agreed beside the book: nobody took from it."""
    if not isinstance(one, dict):
        raise Malformed("no trade")
    return "BT" in one and _flag(one, "BT")


def _bybit_trade(one: dict[str, Any], sent: int, symbol: str) -> Trade:
    side = {"Buy": 1, "Sell": -1}.get(_text(one, "S"))
    price, quantity = _number(one.get("p")), _number(one.get("v"))
    if side is None or not price or not quantity or _symbol(one, "s") != symbol:
        raise Malformed("no trade")
    name = _text(one, "i")
    # perpetuals name their trades by letters
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 20 else NOT_KNOWN
    time = _moment(one, "T")
    return Trade(
        symbol, sent, time, number if number <= LARGEST else NOT_KNOWN, price, quantity, side, False
    )


def _whole(data: dict[str, Any], key: str) -> int:
    value = data.get(key)
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise Malformed(f"{key} is no whole number")
    return value


def _moment(data: dict[str, Any], key: str) -> int:
    """Return microseconds since 1970: venues send milliseconds, or microseconds where asked to."""
    value = _whole(data, key)
    if value < 10**14:
        return value * 1_000
    if value < 10**17:
        return value
    raise Malformed(f"{key} is no time")


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise Malformed(f"{key} is no text")
    return value


def _symbol(data: dict[str, Any], key: str) -> str:
    value = _text(data, key)
    if not (0 < len(value) <= 32 and value.isprintable() and value.upper() == value):
        raise Malformed(f"{key} is no symbol")
    return value


def _flag(data: dict[str, Any], key: str) -> bool:
    value = data.get(key)
    if not isinstance(value, bool):
        raise Malformed(f"{key} is neither true nor false")
    return value


def _number(value: Any) -> float:
    """Return a text of digits as a number: not below zero, finite, zero only if it says so."""
    if not isinstance(value, str) or len(value) > 40 or not NUMBER.fullmatch(value):
        raise Malformed("no number")
    number = float(value)
    lost = not number and any(digit in "123456789" for digit in re.split("[eE]", value)[0])
    if lost or not math.isfinite(number):
        raise Malformed("a number beyond all sizes")
    return number


def _levels(data: dict[str, Any], key: str) -> list[tuple[float, float]]:
    levels = data.get(key)
    if not isinstance(levels, list):
        raise Malformed(f"{key} is no list")
    return [_level(level) for level in levels]


def _level(level: Any) -> tuple[float, float]:
    if not isinstance(level, list) or len(level) != 2:
        raise Malformed("no level")
    price, quantity = _number(level[0]), _number(level[1])
    if not price:
        raise Malformed("a level at no price")
    return price, quantity
