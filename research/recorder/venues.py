"""What each venue offers to record: addresses, names of streams, and what its frames begin with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from research.errors import UserError, nearest
from research.live.feed.bybit import LINEAR
from research.live.feed.records import Ask, Event, Reply, Route

_PER_CONNECTION = 200
_SYMBOL = re.compile("[A-Z0-9_]{1,30}")
_UNKNOWN_SYMBOL = (-1121, -1122)
_BAD_REQUEST, _TOO_OFTEN = 10001, 10006
_ANSWERS = {"op", "success", "result", "id", "code", "error"}
_INTERVALS = "1m|3m|5m|15m|30m|1h|2h|4h|6h|8h|12h|1d"
_MINUTES = "1|3|5|15|30|60|120|240|360|720|D"


class Stream(NamedTuple):
    """One stream: what users and the venue call it, whose it is, and what its ids mean."""

    word: str
    name: str
    symbol: str
    chain: str
    """``depth``, ``trade``, ``aggTrade`` or ``book``, whose ids run on, ``quote``, whose ids rise;
    empty where there are none."""


@dataclass(frozen=True)
class Venue:
    """One market of one venue; it has no state."""

    name: str
    venue: str
    market: str
    exchange: str
    """What the tables' folders and their column `exchange` say."""
    base: str
    budget: int
    """Weight a minute that one address may use, less what is left to others."""
    words: dict[str, str]
    """A pattern of what users ask for, and the stream's name for it, with ``{s}`` and ``{0}``."""
    offered: str
    """The same for people."""
    beat: str = ""
    prefix: bytes = b'{"stream":"'
    """What a frame of a stream begins with; the stream's name follows."""
    routes_of: dict[str, str] = field(default_factory=dict)
    """Address by the kind of a stream; the entry ``""`` is for all others."""

    def streams(self, symbols: Sequence[str], words: Sequence[str]) -> list[Stream]:
        """Return each symbol's streams.

        Raises
        ------
        UserError
            If a symbol cannot be one or the venue does not offer such a stream.
        """
        symbols = [symbol for symbol in symbols if symbol.strip()]
        words = [word for word in words if word.strip()]
        if not symbols or not words:
            raise UserError("recorder: nothing to record. Name at least one symbol and one stream.")
        for symbol in symbols:
            if not _SYMBOL.fullmatch(symbol):
                raise UserError(
                    f"recorder: {symbol!r} cannot be a symbol of {self.name}. "
                    "Write it as the venue does, as in BTCUSDT."
                )
        names = [(word, self._name(word)) for word in dict.fromkeys(words)]
        return [
            Stream(word, name.format(s=self._cased(symbol)), symbol, self._chain(name))
            for symbol in dict.fromkeys(symbols)
            for word, name in names
        ]

    def _name(self, word: str) -> str:
        for pattern, name in self.words.items():
            if match := re.fullmatch(pattern, word):
                return name.replace("{0}", match[1] or "" if match.groups() else "")
        known = re.findall(r"\w+", self.offered)
        raise UserError(
            f"recorder: {self.name} has no stream {word!r}.{nearest(word, known)} "
            f"It offers {self.offered}."
        )

    def _cased(self, symbol: str) -> str:
        return symbol if self.venue == "bybit" else symbol.lower()

    def _chain(self, name: str) -> str:
        if self.venue == "bybit":
            return "book" if name.startswith("orderbook.") else ""
        kind = name.partition("@")[2]
        if kind in ("trade", "aggTrade", "bookTicker"):
            return kind if kind != "bookTicker" else "quote"
        return "depth" if re.fullmatch(r"depth(@\d+ms)?", kind) else ""

    def routes(self, streams: Sequence[Stream]) -> list[Route]:
        """Return the connections that carry `streams`: one for each 200 of an address."""
        by_address: dict[str, list[str]] = {}
        for stream in streams:
            by_address.setdefault(self._address(stream.name), []).append(stream.name)
        return [
            self._route(address, tuple(names[i : i + _PER_CONNECTION]))
            for address, names in by_address.items()
            for i in range(0, len(names), _PER_CONNECTION)
        ]

    def _address(self, name: str) -> str:
        kind = re.match(r"[A-Za-z]*", name.partition("@")[2])
        return self.routes_of.get(kind[0] if kind else "", self.routes_of[""])

    def _route(self, address: str, names: tuple[str, ...]) -> Route:
        if self.venue == "bybit":
            return Route(address, tuple(subscribe(name) for name in names), names)
        return Route(f"{address}?streams={'/'.join(names)}", (), names)

    def snapshot(self, symbol: str, levels: int = 1000) -> Ask:
        """Ask for a book as it is."""
        if self.venue == "bybit":
            params: dict[str, str | int] = {"category": self.market, "symbol": symbol, "limit": 1}
            return Ask("/v5/market/orderbook", params, 1)
        path = "/api/v3/depth" if self.market == "spot" else "/fapi/v1/depth"
        few = levels <= 50
        weight = (5 if few else 50) if self.market == "spot" else (2 if few else 20)
        return Ask(path, {"symbol": symbol, "limit": levels}, weight)

    def read(self, text: str | bytes) -> list[Event]:
        """Return what a venue refuses in an answer to us; empty for any other answer.

        Raises
        ------
        ValueError
            If the text is neither an answer nor anything else that can be read.
        """
        told = orjson.loads(text)
        if type(told) is not dict or not told.keys() & _ANSWERS:
            raise ValueError("not an answer")
        if told.get("success") is False:  # Bybit
            return [Reply((str(told.get("req_id", "")),), str(told.get("ret_msg"))[:300])]
        if "error" in told or ("code" in told and "msg" in told):
            return [Reply((), str(told.get("error") or told["msg"])[:300])]
        return []

    def refusal(self, status: int, told: Any) -> str:
        """Return why the venue will never answer a request, or an empty text."""
        if type(told) is not dict:
            return ""
        if told.get("code") in _UNKNOWN_SYMBOL:
            return str(told.get("msg", told["code"]))[:80]
        return str(told.get("retMsg"))[:80] if told.get("retCode") == _BAD_REQUEST else ""

    def throttled(self, told: Any) -> bool:
        """Return whether the venue says, with status 200, that we ask too often."""
        return type(told) is dict and told.get("retCode") == _TOO_OFTEN


def subscribe(topic: str) -> str:
    """Return Bybit's request for one topic: one unknown topic would refuse its neighbours."""
    return orjson.dumps({"req_id": topic, "op": "subscribe", "args": [topic]}).decode()


_BINANCE = {
    r"depth((?:5|10|20)?(?:@(?:100|250|500)ms)?)": "{s}@depth{0}",
    "bookTicker": "{s}@bookTicker",
    "trade": "{s}@trade",
    "aggTrade": "{s}@aggTrade",
    f"kline_({_INTERVALS})": "{s}@kline_{0}",
}
_PUBLIC = "wss://fstream.binance.com/public/stream"
_MARKET = "wss://fstream.binance.com/market/stream"
_KLINE = "kline_1m (and other intervals)"
_DEPTHS = "depth, depth5, depth10, depth20"
VENUES = {
    "binance_usdm": Venue(
        "binance_usdm",
        "binance",
        "um",
        "binance_futures",
        "https://fapi.binance.com",
        1600,
        {"depth": "{s}@depth@100ms", **_BINANCE, "(markPrice|forceOrder)": "{s}@{0}"},
        f"{_DEPTHS}, bookTicker, trade, aggTrade, {_KLINE}, markPrice, forceOrder",
        routes_of={"": _MARKET, "depth": _PUBLIC, "bookTicker": _PUBLIC, "trade": _PUBLIC},
    ),
    "binance_spot": Venue(
        "binance_spot",
        "binance",
        "spot",
        "binance_spot",
        "https://api.binance.com",
        4000,
        {"depth": "{s}@depth@100ms", **_BINANCE},
        f"{_DEPTHS}, bookTicker, trade, aggTrade, {_KLINE}",
        routes_of={"": "wss://stream.binance.com:9443/stream"},
    ),
    "bybit": Venue(
        "bybit",
        "bybit",
        "linear",
        "bybit",
        "https://api.bybit.com",
        6000,
        {
            "depth": "orderbook.50.{s}",
            r"(?:depth|orderbook\.)(1|50|200|1000)": "orderbook.{0}.{s}",
            "bookTicker": "orderbook.1.{s}",
            "trade|publicTrade": "publicTrade.{s}",
            "ticker|tickers": "tickers.{s}",
            f"kline_({_MINUTES})": "kline.{0}.{s}",
        },
        "depth1, depth50 (depth), depth200, depth1000, bookTicker (depth1), trade, ticker, kline_1",
        beat='{"op":"ping"}',
        prefix=b'{"topic":"',
        routes_of={"": LINEAR},
    ),
}
"""Each market by its name on the command line."""


def venue(name: str) -> Venue:
    """Return a market by its name.

    Raises
    ------
    UserError
        If there is no such one.

    Examples
    --------
    >>> found = venue("binance_usdm").streams(["BTCUSDT"], ["depth", "aggTrade"])
    >>> [route.url for route in venue("binance_usdm").routes(found)]  # doctest: +ELLIPSIS
    ['wss://fstream.binance.com/public/stream?streams=btcusdt@depth@100ms', '...btcusdt@aggTrade']
    >>> venue("bybit").streams(["BTCUSDT"], ["depth500"])
    Traceback (most recent call last):
    research.errors.UserError: recorder: bybit has no stream 'depth500'. Did you mean 'depth50'? ...
    """
    if name not in VENUES:
        known = list(VENUES)
        raise UserError(
            f"recorder: venue {name!r} is not known.{nearest(name, known)} "
            f"Known: {', '.join(known)}."
        )
    return VENUES[name]
