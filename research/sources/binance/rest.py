"""The REST klines of one market: first and last bar, and pages that cover what is missing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import orjson
import polars as pl

from research.errors import UserError
from research.sources.binance import klines
from research.sources.binance.net import Answer, Broken, Host
from research.sources.binance.venue import EPOCH, Market, interval_name, to_moment, to_ms

_UNKNOWN_SYMBOL = -1121
OVERLAP = 10  # bars asked for on both sides of a hole, to be compared with the archive


@dataclass(frozen=True, slots=True)
class Page:
    """One request: bars with open times from `start` to `end`, both inclusive, in ms."""

    start: int
    end: int
    bars: int


def pages(missing: np.ndarray, *, step: int, limit: int) -> list[Page]:
    """Cover sorted open times with requests, each with some known bars around them.

    Parameters
    ----------
    missing : np.ndarray of int64
        Open times wanted, ms, rising.
    step : int
        Bar size, ms.
    limit : int
        Most bars in one answer.

    Returns
    -------
    list of Page
        As few as a greedy walk needs; holes near each other share one.

    Examples
    --------
    >>> pages(np.array([600_000]), step=60_000, limit=1500)
    [Page(start=0, end=1200000, bars=21)]
    """
    found = []
    while len(missing):
        start = max(0, int(missing[0]) - OVERLAP * step)
        last = start + (limit - 1) * step
        inside = int(np.searchsorted(missing, last, side="right"))
        end = min(last, int(missing[inside - 1]) + OVERLAP * step)
        found.append(Page(start, end, (end - start) // step + 1))
        missing = missing[inside:]
    return found


class Rest:
    """One market's klines for one bar size; hands out closed bars alone."""

    def __init__(self, host: Host, market: Market, interval: timedelta, now: int) -> None:
        self.host, self.market, self.now = host, market, now
        self.interval, self.name = interval, interval_name(interval)

    async def first(self, symbol: str) -> int | None:
        """Open time (ms) of the symbol's first bar; None if it has none yet.

        One query; where a request sees only a window of time, one for each window.
        """
        start = self.market.launch
        while start < self.now:
            table = await self._query(symbol, startTime=start, limit=1)
            if table.height:
                return to_ms(table["open_time"][0])
            if self.market.window is None:
                return None
            start += self.market.window
        return None

    async def last(self, symbol: str) -> int | None:
        """Open time (ms) of the newest bar if it has closed: of a symbol that trades it has not."""
        table = await self._query(symbol, limit=1)
        return to_ms(table["open_time"][-1]) if table.height else None

    async def bars(self, symbol: str, missing: np.ndarray) -> pl.DataFrame:
        """Ask for the open times `missing` (ms) and a few around them; closed bars, in order."""
        step = self.interval // timedelta(milliseconds=1)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    self._query(symbol, startTime=p.start, endTime=p.end, limit=p.bars)
                )
                for p in pages(missing, step=step, limit=self.market.limit)
            ]
        tables = [task.result() for task in tasks]
        return pl.concat(tables).unique("open_time", keep="last").sort("open_time")

    async def _query(self, symbol: str, **params: int) -> pl.DataFrame:
        def read(answer: Answer) -> pl.DataFrame:
            _refuse_unknown(answer, symbol)
            table = klines.from_rest(answer, symbol)
            return table.filter(pl.col("open_time") + self.interval <= self._sure(answer))

        return await self.host.get(
            self.market.path,
            read,
            weight=self.market.weight(params["limit"]),
            symbol=symbol,
            interval=self.name,
            **params,
        )

    def _sure(self, answer: Answer) -> pl.Expr:
        """Take the earlier of our clock and the server's: a fast clock must not close a bar."""
        clocks = [to_moment(self.now), *([answer.clock] if answer.clock else [])]
        return pl.lit(min(clocks) - EPOCH).cast(pl.Duration("us")) + pl.lit(EPOCH)


def _refuse_unknown(answer: Answer, symbol: str) -> None:
    if answer.status == 200:
        return
    try:
        told = orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise Broken(f"status {answer.status} without a reason") from error
    code = told.get("code") if isinstance(told, dict) else None
    if code == _UNKNOWN_SYMBOL:
        raise UserError(
            f"binance: the venue knows no symbol {symbol!r}. Write it as the venue does, "
            "as in BTCUSDT (um, spot) or BTCUSD_PERP (cm)."
        )
    raise UserError(f"binance: the venue refuses to tell klines of {symbol!r}: {told}.")
