"""Bybit V5 linear: klines, by REST newest first; trades and the taker's part are unknown."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson

from research.errors import UserError
from research.live.feed.records import (
    MILLISECOND,
    Ask,
    Bad,
    Event,
    Reply,
    Route,
    Seen,
    Unfit,
    candle,
    whole,
)
from research.live.moments import Bar

LINEAR = "wss://stream.bybit.com/v5/public/linear"
_TOPICS = 200
_MINUTES = (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)
_WORDS = {timedelta(minutes=n): str(n) for n in _MINUTES} | {timedelta(days=1): "D"}
_BAD_REQUEST, _TOO_OFTEN = 10001, 10006
_FIELDS = ("open", "high", "low", "close", "volume", "turnover")


class Bybit:
    """The linear perpetuals.

    Parameters
    ----------
    symbols : list of str
        As the venue writes them.
    interval : int
        Length of a bar, microseconds.

    Raises
    ------
    UserError
        If the venue has no bars of that length.

    Examples
    --------
    >>> Bybit(["BTCUSDT"], 60_000_000).routes()[0].streams
    ('kline.1.BTCUSDT',)
    """

    name = "bybit"
    base = "https://api.bybit.com"
    beat = '{"op":"ping"}'
    traded = False
    limit = 1000
    newest = False
    rounding = MILLISECOND
    like = "BTCUSDT"
    budget = 6000  # the venue allows 600 requests in 5 s; a tenth of it is plenty

    def __init__(self, symbols: list[str], interval: int) -> None:
        span = timedelta(microseconds=interval)
        if span not in _WORDS:
            offered = ", ".join(_WORDS.values())
            raise UserError(
                f"bybit: bars of {span} are not offered, only {offered} (minutes, day)."
            )
        self._word, self._interval = _WORDS[span], interval
        self._symbols = {f"kline.{self._word}.{s}": s for s in symbols}

    def routes(self) -> list[Route]:
        """Return one connection for each 200 topics; each topic is asked for by itself.

        A request with one unknown topic is refused as a whole, and the others must not suffer.
        """
        names = list(self._symbols)
        parts = [tuple(names[i : i + _TOPICS]) for i in range(0, len(names), _TOPICS)]
        return [Route(LINEAR, tuple(_subscribe(n) for n in part), part) for part in parts]

    def read(self, text: str | bytes) -> list[Event]:
        """Return what one message says: klines, a refusal, or that it is neither."""
        topic = ""
        try:
            told = orjson.loads(text)
            if type(told) is not dict:
                raise Unfit("not an object")
            if "topic" not in told:
                return self._other(told)
            topic = told["topic"]
            if topic not in self._symbols:
                raise Unfit("a topic nobody asked for")
            event = whole(told["ts"], "ts") * MILLISECOND
            return [self._kline(topic, self._symbols[topic], row, event) for row in told["data"]]
        except Unfit as unfit:
            reason = str(unfit)
        except KeyError as missing:
            reason = f"{missing} is missing"
        except (TypeError, AttributeError):
            reason = "a value of the wrong type"
        except orjson.JSONDecodeError as error:
            reason = f"not JSON ({error})"
        return [Bad(str(topic)[:60], reason, _cut(text))]

    def _kline(self, topic: str, symbol: str, row: dict[str, Any], event: int) -> Seen:
        if row["interval"] != self._word:
            raise Unfit(f"interval {row['interval']!r:.20}, not {self._word}")
        opened, closed = whole(row["start"], "start") * MILLISECOND, row["confirm"]
        if type(closed) is not bool:
            raise Unfit(f"confirm is {closed!r:.20}")
        if opened % self._interval:
            raise Unfit(f"open time {row['start']} is off the grid")
        bar = None
        if closed:
            numbers = tuple(row[f] for f in _FIELDS)
            bar = candle(symbol, row["start"], numbers, interval=self._interval, source="stream")
        return Seen(topic, symbol, opened, event, bar)

    def _other(self, told: dict[str, Any]) -> list[Event]:
        if told.get("success") is False:
            topic = str(told.get("req_id", ""))
            return [
                Reply((topic,) if topic in self._symbols else (), str(told.get("ret_msg"))[:300])
            ]
        if "op" in told or "success" in told:
            return []
        raise Unfit("not a message of a topic")

    def page(self, symbol: str, open_time: int, bars: int) -> Ask:
        """Ask for klines; both ends are given, or the venue would begin with the newest."""
        params: dict[str, str | int] = {
            "category": "linear",
            "symbol": symbol,
            "interval": self._word,
            "start": open_time // MILLISECOND,
            "end": (open_time + (bars - 1) * self._interval) // MILLISECOND,
            "limit": bars,
        }
        return Ask("/v5/market/kline", params, 1)

    def rows(self, told: Any) -> list[Any]:
        """Return the rows, turned to oldest first."""
        result = told.get("result") if type(told) is dict else None
        found = result.get("list") if type(result) is dict else None
        if type(found) is not list:
            raise Unfit("not a list of klines")
        return found[::-1]

    def opened(self, row: Any) -> int:
        """Return a row's open time."""
        if type(row) is not list or len(row) < 7:
            raise Unfit("not a row of a kline")
        return whole(row[0], "start") * MILLISECOND

    def bar(self, row: Any, symbol: str, source: str) -> Bar:
        """Read one row of 7."""
        self.opened(row)
        return candle(symbol, row[0], tuple(row[1:7]), interval=self._interval, source=source)

    def time(self) -> Ask:
        """Ask for the server's time."""
        return Ask("/v5/market/time", {}, 1)

    def clock(self, told: Any) -> int:
        """Read the server's time."""
        if type(told) is not dict:
            raise Unfit("not a time")
        return whole(told.get("time"), "time") * MILLISECOND

    def refusal(self, status: int, told: Any) -> str:
        """Say so if the venue does not know the symbol; it says it with status 200."""
        code = told.get("retCode") if type(told) is dict else None
        return str(told.get("retMsg", code))[:80] if code == _BAD_REQUEST else ""

    def throttled(self, told: Any) -> bool:
        """Return whether the venue says, with status 200, that we ask too often."""
        return type(told) is dict and told.get("retCode") == _TOO_OFTEN


def _subscribe(topic: str) -> str:
    return orjson.dumps({"req_id": topic, "op": "subscribe", "args": [topic]}).decode()


def _cut(text: str | bytes) -> str:
    return (text if isinstance(text, str) else text.decode("utf-8", "replace"))[:300]
