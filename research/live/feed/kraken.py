"""Kraken spot: candles by REST alone, the newest 720 of them, the last of which is always open."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from research.errors import UserError
from research.live.feed.records import Ask, Event, Route, Unfit, candle, number, whole
from research.live.moments import Bar

SECOND = 1_000_000
_OWN = {"BTC": "XBT", "DOGE": "XDG"}
_WORDS = {timedelta(minutes=n): n for n in (1, 5, 15, 30, 60, 240, 1440)}
_NAME = re.compile(r"[A-Z0-9.]{1,15}/[A-Z0-9.]{1,15}")
_PACE = 1.05
"""Seconds between two questions: Kraken never refuses one a second."""
_UNKNOWN = ("EQuery:Unknown asset pair", "EQuery:Invalid asset pair")
_TOO_OFTEN = ("EAPI:Rate limit exceeded", "EGeneral:Too many requests", "EService:Throttled")


class Kraken:
    """The spot market.

    Parameters
    ----------
    symbols : list of str
        As Kraken's users write them: ``BTC/USD``.
    interval : int
        Length of a bar, microseconds.

    Raises
    ------
    UserError
        If there are no bars of that length, or a symbol is no pair.

    References
    ----------
    Kraken, "Get OHLC Data": the last entry is of the current, not yet committed timeframe and is
    always present; up to 720 of the newest entries, older ones cannot be had. `since` is exclusive.

    Examples
    --------
    >>> Kraken(["BTC/USD"], 60_000_000).page("BTC/USD", 120_000_000, 5).params
    {'pair': 'XBTUSD', 'interval': 1, 'since': 119}
    """

    name = "kraken"
    base = "https://api.kraken.com"
    like = "BTC/USD"
    beat = ""
    traded = False
    newest = True
    rounding = SECOND
    limit = 720
    budget = 1200  # counted by pair: each has its own pace

    def __init__(self, symbols: list[str], interval: int) -> None:
        span = timedelta(microseconds=interval)
        if span not in _WORDS:
            offered = ", ".join(map(str, _WORDS.values()))
            raise UserError(f"kraken: bars of {span} are not offered, only {offered} (minutes).")
        for symbol in symbols:
            if not _NAME.fullmatch(symbol):
                raise UserError(
                    f"kraken: {symbol!r} is no pair. Write it as BTC/USD, in live.symbols where "
                    "the study calls it something else."
                )
        self._minutes, self._interval = _WORDS[span], interval

    def routes(self) -> list[Route]:
        """Return none: nothing is streamed."""
        return []

    def read(self, text: str | bytes) -> list[Event]:
        """Return nothing: nothing is streamed."""
        return []

    def page(self, symbol: str, open_time: int, bars: int) -> Ask:
        """Ask for all candles from `open_time` on; Kraken takes no other end."""
        params: dict[str, str | int] = {
            "pair": pair(symbol),
            "interval": self._minutes,
            "since": max(0, open_time // SECOND - 1),
        }
        return Ask("/0/public/OHLC", params, 1, lane=symbol, pace=_PACE)

    def rows(self, told: Any) -> list[Any]:
        """Return the rows, oldest first; Kraken keys them by its own name of the pair."""
        result = told.get("result") if type(told) is dict else None
        parts = [v for k, v in result.items() if k != "last"] if type(result) is dict else []
        if len(parts) != 1 or type(parts[0]) is not list or not parts[0]:
            raise Unfit("not a list of candles")
        found: list[Any] = parts[0]
        return found

    def opened(self, row: Any) -> int:
        """Return a row's open time."""
        if type(row) is not list or len(row) < 8:
            raise Unfit("not a row of a candle")
        return whole(row[0], "time") * SECOND

    def bar(self, row: Any, symbol: str, source: str) -> Bar:
        """Read one row of 8; the quote volume is mean price times volume, the taker's part unknown.

        >>> row = [60, "1", "3", "1", "2", "2.5", "4", 7]
        >>> Kraken([], 60_000_000).bar(row, "BTC/USD", "rest")[5:10]
        (2.0, 4.0, 10.0, 7, None)
        """
        opened = self.opened(row)
        mean, volume = number(row[5], "vwap"), number(row[6], "volume")
        numbers = (*row[1:5], volume, mean * volume)
        made = candle(symbol, opened // 1000, numbers, interval=self._interval, source=source)
        return made._replace(trades=whole(row[7], "count"))

    def time(self) -> Ask:
        """Ask for the server's time."""
        return Ask("/0/public/Time", {}, 1, lane="time", pace=_PACE)

    def clock(self, told: Any) -> int:
        """Read the server's time; whole seconds."""
        result = told.get("result") if type(told) is dict else None
        if type(result) is not dict:
            raise Unfit("not a time")
        return whole(result.get("unixtime"), "time") * SECOND

    def refusal(self, status: int, told: Any) -> str:
        """Say so if there is no such pair; Kraken says it with status 200."""
        return next((text for text in errors(told) if text in _UNKNOWN), "")

    def throttled(self, told: Any) -> bool:
        """Return whether we ask too often; Kraken says it with status 200."""
        return any(text.startswith(_TOO_OFTEN) for text in errors(told))


def pair(symbol: str) -> str:
    """Return the pair as requests name it.

    >>> pair("BTC/USD"), pair("ETH/USDT")
    ('XBTUSD', 'ETHUSDT')
    """
    return "".join(_OWN.get(coin, coin) for coin in symbol.split("/"))


def errors(told: Any) -> list[str]:
    """Return what an answer says went wrong."""
    found = told.get("error") if type(told) is dict else None
    return [str(text)[:120] for text in found] if type(found) is list else []
