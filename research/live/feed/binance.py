"""Binance USD-M: today's routes, klines and aggregate trades.

The route matters: since 2026-04-23 an address without ``/market`` acknowledges a subscription to
klines and never sends one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson

from research.live.feed.records import (
    MILLISECOND,
    Ask,
    Bad,
    Depth,
    Event,
    Print,
    Reply,
    Route,
    Seen,
    Unfit,
    candle,
    levels,
    number,
    whole,
)
from research.live.moments import Bar
from research.sources.binance.venue import interval_name, market_of

MARKET = "wss://fstream.binance.com/market/stream"
PUBLIC = "wss://fstream.binance.com/public/stream"
BOOK = "depth20@100ms"
_STREAMS = 200
_UNKNOWN_SYMBOL = (-1121, -1122)
_FIELDS = ("o", "h", "l", "c", "v", "q", "n", "V", "Q")


class Binance:
    """The USD-M futures market.

    Parameters
    ----------
    symbols : list of str
        As the venue writes them.
    interval : int
        Length of a bar, microseconds.
    prints : bool
        Whether aggregate trades are streamed beside the klines.
    books : bool
        Whether the best 20 levels of each book are.

    Raises
    ------
    UserError
        If the venue has no bars of that length.

    Examples
    --------
    >>> Binance(["BTCUSDT"], 60_000_000).routes()[0].url
    'wss://fstream.binance.com/market/stream?streams=btcusdt@kline_1m'
    """

    name = "binance"
    beat = ""
    newest = False
    rounding = MILLISECOND
    like = "BTCUSDT"

    def __init__(
        self, symbols: list[str], interval: int, *, prints: bool = False, books: bool = False
    ) -> None:
        market = market_of("um")
        self.base, self.limit, self.budget = market.rest, market.limit, market.budget
        self._market, self._interval = market, interval
        self._word = interval_name(timedelta(microseconds=interval))
        self._symbols = {f"{s.lower()}@kline_{self._word}": s for s in symbols}
        self.traded = prints
        self._traded = {f"{s.lower()}@aggTrade": s for s in symbols} if prints else {}
        self._books = {f"{s.lower()}@{BOOK}": s for s in symbols} if books else {}

    def routes(self) -> list[Route]:
        """Return one connection for each 200 streams of a category; books have their own."""
        asked = ((MARKET, [*self._symbols, *self._traded]), (PUBLIC, [*self._books]))
        return [
            Route(f"{address}?streams={'/'.join(part)}", (), part)
            for address, names in asked
            for part in (tuple(names[i : i + _STREAMS]) for i in range(0, len(names), _STREAMS))
        ]

    def read(self, text: str | bytes) -> list[Event]:
        """Return what one message says: a kline, a trade, a book, or that it is none."""
        stream = ""
        try:
            told = orjson.loads(text)
            if type(told) is not dict:
                raise Unfit("not an object")
            if "stream" not in told:
                return self._other(told, text)
            stream = told["stream"]
            return [self._known(stream, told["data"])]
        except Unfit as unfit:
            reason = str(unfit)
        except KeyError as missing:
            reason = f"{missing} is missing"
        except (TypeError, AttributeError):
            reason = "a value of the wrong type"
        except orjson.JSONDecodeError as error:
            reason = f"not JSON ({error})"
        return [Bad(str(stream)[:60], reason, _cut(text))]

    def _known(self, stream: str, data: dict[str, Any]) -> Event:
        if (symbol := self._symbols.get(stream)) is not None:
            return self._kline(stream, symbol, data)
        if (symbol := self._traded.get(stream)) is not None:
            return _print(stream, symbol, data)
        if (symbol := self._books.get(stream)) is not None:
            return _depth(stream, symbol, data)
        raise Unfit("a stream nobody asked for")

    def _kline(self, stream: str, symbol: str, data: dict[str, Any]) -> Seen:
        k = data["k"]
        if data["s"] != symbol or k.get("s", symbol) != symbol:
            raise Unfit(f"symbol {data['s']!r:.40} on the stream of {symbol}")
        if k["i"] != self._word:
            raise Unfit(f"interval {k['i']!r:.20}, not {self._word}")
        opened, closed = whole(k["t"], "open time") * MILLISECOND, k["x"]
        if type(closed) is not bool:
            raise Unfit(f"x is {closed!r:.20}")
        event = whole(data["E"], "event time") * MILLISECOND
        if opened % self._interval:
            raise Unfit(f"open time {k['t']} is off the grid")
        bar = None
        if closed:
            numbers = tuple(k[f] for f in _FIELDS)
            bar = candle(symbol, k["t"], numbers, interval=self._interval, source="stream")
        return Seen(stream, symbol, opened, event, bar)

    def _other(self, told: dict[str, Any], text: str | bytes) -> list[Event]:
        if "error" in told or "code" in told:
            return [Reply((), _cut(text))]
        if "result" in told or told.get("e") == "serverShutdown":
            return []
        raise Unfit("not a message of a stream")

    def page(self, symbol: str, open_time: int, bars: int) -> Ask:
        """Ask for klines; the venue counts more weight for more bars."""
        params: dict[str, str | int] = {
            "symbol": symbol,
            "interval": self._word,
            "startTime": open_time // MILLISECOND,
            "endTime": (open_time + (bars - 1) * self._interval) // MILLISECOND,
            "limit": bars,
        }
        return Ask(self._market.path, params, self._market.weight(bars))

    def rows(self, told: Any) -> list[Any]:
        """Return the rows: the venue's order is oldest first."""
        if type(told) is not list:
            raise Unfit("not a list of klines")
        return told

    def opened(self, row: Any) -> int:
        """Return a row's open time."""
        if type(row) is not list or len(row) < 11:
            raise Unfit("not a row of a kline")
        return whole(row[0], "open time") * MILLISECOND

    def bar(self, row: Any, symbol: str, source: str) -> Bar:
        """Read one row of 12."""
        self.opened(row)
        numbers = (*row[1:6], *row[7:11])
        return candle(symbol, row[0], numbers, interval=self._interval, source=source)

    def time(self) -> Ask:
        """Ask for the server's time."""
        return Ask("/fapi/v1/time", {}, 1)

    def clock(self, told: Any) -> int:
        """Read the server's time."""
        if type(told) is not dict:
            raise Unfit("not a time")
        return whole(told.get("serverTime"), "server time") * MILLISECOND

    def refusal(self, status: int, told: Any) -> str:
        """Say so if the venue does not know the symbol."""
        code = told.get("code") if type(told) is dict else None
        return str(told.get("msg", code))[:80] if code in _UNKNOWN_SYMBOL else ""

    def throttled(self, told: Any) -> bool:
        """Never by the body: Binance says it by status."""
        return False

    def prints(self, symbol: str, first: int) -> Ask:
        """Ask for up to 1000 aggregate trades from id `first` on."""
        params: dict[str, str | int] = {"symbol": symbol, "fromId": first, "limit": 1000}
        return Ask("/fapi/v1/aggTrades", params, 20)

    def told_prints(self, told: Any, symbol: str) -> list[Print]:
        """Read an answer to `prints`, oldest first."""
        return [_print(f"{symbol.lower()}@aggTrade", symbol, row) for row in self.rows(told)]


def _print(stream: str, symbol: str, data: dict[str, Any]) -> Print:
    if data.get("s", symbol) != symbol:
        raise Unfit(f"symbol {data['s']!r:.40} on the stream of {symbol}")
    price, quantity = number(data["p"], "price"), number(data["q"], "quantity")
    trades = whole(data["l"], "last id") - whole(data["f"], "first id") + 1
    if price <= 0 or quantity < 0 or trades < 1 or type(data["m"]) is not bool:
        raise Unfit("not a trade")
    moment = whole(data["T"], "time") * MILLISECOND
    return Print(stream, symbol, whole(data["a"], "id"), moment, price, quantity, trades, data["m"])


def _depth(stream: str, symbol: str, data: dict[str, Any]) -> Depth:
    if data["s"] != symbol:
        raise Unfit(f"symbol {data['s']!r:.40} on the stream of {symbol}")
    time = whole(data["T"], "time") * MILLISECOND
    return Depth(stream, symbol, levels(time, data["b"], data["a"]))


def _cut(text: str | bytes) -> str:
    return (text if isinstance(text, str) else text.decode("utf-8", "replace"))[:300]
