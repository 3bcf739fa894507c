"""The two doors to a poll, ``await history(...)`` and `download`, and the work behind them."""

from __future__ import annotations

import asyncio
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import orjson
import polars as pl

from research.errors import UserError
from research.schema import BARS
from research.sources import waiting, wishes
from research.sources.kraken.account import Account, Told

REST = "https://api.kraken.com"
MINUTES = (1, 5, 15, 30, 60, 240, 1440)
Have = Callable[[str, str], Iterable[int]]
Save = Callable[[str, str, pl.DataFrame], None]
Progress = Callable[[int, int, str], None]
_RAW = {name: kind for name, kind in BARS.items() if name != "time"}
_NAME = re.compile(r"[A-Z0-9.]+-[A-Z0-9.]+")
_OWN = {"BTC": "XBT", "DOGE": "XDG"}
_LASTING = ("EQuery:", "EGeneral:Invalid arguments", "EGeneral:Unknown method")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and how patient a poll is; times in seconds.

    Parameters
    ----------
    apart : float
        Between two requests: Kraken never refuses one a second.
    tries : int
        Times one request is sent before Kraken is given up.
    backoff, longest : float
        The n-th pause after a fault is drawn from ``backoff`` to ``backoff * 2**n``, at most
        `longest`.
    timeout : float
        Longest wait for an answer.
    """

    apart: float = 1.05
    tries: int = 6
    backoff: float = 1.0
    longest: float = 30.0
    timeout: float = 30.0


async def history(
    symbols: Iterable[str],
    *,
    start: datetime,
    end: datetime | None,
    interval: timedelta,
    rest: str | None = None,
    have: Have,
    save: Save,
    progress: Progress | None = None,
    pace: Pace | None = None,
) -> Account:
    """Bring what Kraken still tells of `symbols` to `save`, and say what it does not any more.

    Parameters
    ----------
    symbols : iterable of str
        ``BTC-USD``, as the store can name a folder.
    start, end : datetime
        Open times wanted, UTC; `end` is exclusive, None means now.
    interval : timedelta
        Bar size: 1, 5, 15, 30, 60, 240 or 1440 min.
    rest : str, optional
        Address of the REST interface, if it is not Kraken's own.
    have : callable (symbol, "YYYY-MM") -> iterable of int
        Open times in ms already stored for a UTC month.
    save : callable (symbol, "YYYY-MM", raw) -> None
        Takes new raw bars: columns of `schema.BARS` but `time`; quote volume is mean price times
        volume, the taker's part is null. Must store whole or nothing.
    progress : callable (done, total, label), optional
        Called after each symbol.
    pace : Pace, optional
        Pauses and tries.

    Returns
    -------
    Account
        By symbol; prints as a summary.

    Raises
    ------
    UserError
        If the wish makes no sense, a pair is unknown, or Kraken fails for good. What was saved
        until then stays.

    Notes
    -----
    The last row of an answer is the bar that is still open; it is left out ("Get OHLC Data").

    Examples
    --------
    >>> day = datetime(2026, 2, 6, tzinfo=UTC)
    >>> wish = dict(start=day, end=day, interval=timedelta(hours=1))
    >>> asyncio.run(history(["BTC-USD"], have=lambda s, m: [], save=print, **wish))
    Traceback (most recent call last):
    research.errors.UserError: kraken: end 2026-02-06 00:00Z must lie after start ...
    """
    names = _names(symbols)
    wishes.span("kraken", start, end)
    minutes = _minutes(interval)
    poll = _Poll(rest or REST, minutes, pace or Pace())
    rows = []
    async with aiohttp.ClientSession(trust_env=True) as session:
        for done, name in enumerate(names, 1):
            table = await poll.bars(session, name)
            rows.append(_stored(name, table, start, end, interval, have, save))
            if progress is not None:
                progress(done, len(names), name)
    return Account(tuple(rows), poll.requests)


download = waiting.plain(history, name="kraken download")


def _names(symbols: Iterable[str]) -> list[str]:
    names = wishes.named("kraken", symbols, like="BTC-USD")
    for name in names:
        if not _NAME.fullmatch(name):
            raise UserError(f"kraken: {name!r} is no pair. Write it as BTC-USD.")
    return names


def _minutes(interval: timedelta) -> int:
    minutes = interval / timedelta(minutes=1)
    if minutes not in MINUTES:
        offered = ", ".join(map(str, MINUTES))
        raise UserError(f"kraken: bars of {interval} are not offered, only {offered} (minutes).")
    return int(minutes)


class _Poll:
    """Questions for candles, one after another."""

    def __init__(self, rest: str, minutes: int, pace: Pace) -> None:
        self._url, self._minutes, self._pace = f"{rest.rstrip('/')}/0/public/OHLC", minutes, pace
        self.requests = 0

    async def bars(self, session: aiohttp.ClientSession, name: str) -> pl.DataFrame:
        """Return the closed bars that Kraken tells of a symbol."""
        pair = "".join(_OWN.get(coin, coin) for coin in name.split("-"))
        params = {"pair": pair, "interval": self._minutes, "since": 0}
        why = ""
        for attempt in range(self._pace.tries):
            if self.requests:
                await asyncio.sleep(self._pace.apart)
            self.requests += 1
            try:
                told = await self._ask(session, params)
                if any(text.startswith(_LASTING) for text in told.get("error") or ()):
                    raise UserError(f"kraken: {', '.join(told['error'])} for {name}. Check it.")
                return _table(name, told)
            except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
                if isinstance(error, UserError):
                    raise
                why = f"{type(error).__name__} {error}"[:200]
            longest = min(self._pace.longest, self._pace.backoff * 2**attempt)
            await asyncio.sleep(random.uniform(longest / 2, longest))
        raise UserError(
            f"kraken: {self._url} failed {self._pace.tries} times, last: {why}. Run again later."
        )

    async def _ask(self, session: aiohttp.ClientSession, params: dict[str, Any]) -> dict[str, Any]:
        whole = aiohttp.ClientTimeout(total=self._pace.timeout)
        async with session.get(self._url, params=params, timeout=whole) as answer:
            answer.raise_for_status()
            told = orjson.loads(await answer.read())
        if not isinstance(told, dict):
            raise TypeError("not an object")
        return told


def _table(name: str, told: dict[str, Any]) -> pl.DataFrame:
    """Read an answer, without its last row, which is open."""
    if told.get("error"):
        raise ValueError(", ".join(map(str, told["error"])))
    (rows,) = (part for key, part in told["result"].items() if key != "last")
    made = []
    for time, *prices, mean, volume, count in rows[:-1]:
        opened = datetime.fromtimestamp(int(time), UTC)
        amount, price = float(volume), float(mean)
        made.append(
            (name, opened, *map(float, prices), amount, price * amount, int(count), None, None)
        )
    return pl.DataFrame(made, schema=_RAW, orient="row")


def _stored(
    name: str,
    table: pl.DataFrame,
    start: datetime,
    end: datetime | None,
    interval: timedelta,
    have: Have,
    save: Save,
) -> Told:
    """Hand over what is new, by month, and count what is beyond Kraken's memory."""
    at = pl.col("open_time")
    inside = table.filter(at >= start, at < (end or datetime.max.replace(tzinfo=UTC)))
    new, months = 0, defaultdict[str, set[int]](set)
    for month in inside.select(at.dt.strftime("%Y-%m").unique(maintain_order=True)).to_series():
        months[month] = set(have(name, month))
        part = inside.filter(at.dt.strftime("%Y-%m") == month)
        fresh = part.filter(~at.dt.epoch("ms").is_in(list(months[month])))
        if fresh.height:
            save(name, month, fresh)
            new += fresh.height
    first = table["open_time"].min()
    beyond = _beyond(name, start, end, first, interval, have)
    last = table["open_time"].max()
    return Told(name, first, last, inside.height, new, beyond)  # type: ignore[arg-type]


def _beyond(
    name: str, start: datetime, end: datetime | None, first: Any, interval: timedelta, have: Have
) -> int:
    """Count bars from `start` up to the first one told that are not stored."""
    begin = start + (-(start - datetime(1970, 1, 1, tzinfo=UTC))) % interval
    until = min(first, end or first) if first is not None else begin
    if until <= begin:
        return 0
    wanted = pl.datetime_range(begin, until, interval, closed="left", eager=True)
    known: set[int] = set()
    for month in wanted.dt.strftime("%Y-%m").unique():
        known |= set(have(name, month))
    return len(set(wanted.dt.epoch("ms")) - known)
