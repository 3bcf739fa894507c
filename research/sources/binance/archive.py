"""The archive of daily and monthly zips, behind a cache whose every file is checked before use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from research.errors import UserError
from research.sources.binance import klines
from research.sources.binance.net import Answer, Broken, Host
from research.sources.binance.venue import DAY, Market, month_of, to_moment, write_atomic

_DAYS_FOR_A_MONTH = 10  # from here on one monthly zip is less to fetch than its days
_CHECKSUM_TRIES = 3


@dataclass(frozen=True, slots=True)
class Zip:
    """One archive file that is in the cache, and the span ``[start, end)`` in ms it stands for."""

    path: Path
    start: int
    end: int
    fetched: bool

    def read(self, symbol: str) -> pl.DataFrame:
        """Return its raw bars, in file order.

        Raises
        ------
        UserError
            If the file agrees with its checksum and still holds no klines.
        """
        try:
            return klines.from_zip(self.path.read_bytes(), symbol)
        except Broken as broken:
            raise UserError(
                f"binance: {self.path.name} is as published, but {broken}. "
                f"Take it out of the wanted span, or delete {self.path} to fetch it again."
            ) from broken


class Archive:
    """One market's archive for one bar size, through the cache under `cache`."""

    def __init__(self, host: Host, market: Market, interval: str, cache: Path) -> None:
        self.host, self.market, self.interval, self.cache = host, market, interval, cache

    async def covering(self, symbol: str, missing: np.ndarray, now: int) -> list[Zip]:
        """Fetch what is needed of one month so that the open times `missing` (ms) are covered.

        A closed month that lacks many days comes as its monthly zip, else the closed days come one
        by one. A day that is not published is simply not in the result.
        """
        month, first, end = month_of(int(missing[0]))
        days = np.unique(missing // DAY) * DAY
        monthly = self._paths(symbol, "monthly", month)
        if end <= now and (len(days) >= _DAYS_FOR_A_MONTH or monthly[1].exists()):
            found = await self._zip(symbol, "monthly", month, first, end)
            if found:
                return [found]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    self._zip(symbol, "daily", f"{to_moment(day):%Y-%m-%d}", day, day + DAY)
                )
                for day in map(int, days)
                if day + DAY <= now
            ]
        return [zip_ for task in tasks if (zip_ := task.result())]

    def _paths(self, symbol: str, period: str, date: str) -> tuple[str, Path]:
        name = f"{symbol}/{self.interval}/{symbol}-{self.interval}-{date}.zip"
        folder = f"{self.market.folder}/{period}/klines"
        return f"/data/{folder}/{name}", self.cache / folder / name

    async def _zip(self, symbol: str, period: str, date: str, start: int, end: int) -> Zip | None:
        url, path = self._paths(symbol, period, date)
        if _is_sound(path):
            return Zip(path, start, end, fetched=False)
        for left in reversed(range(_CHECKSUM_TRIES)):
            stated = await self.host.get(f"{url}.CHECKSUM", klines.checksum)
            if stated is None:
                return None
            content = await self.host.get(url, _body)
            if content is None:
                return None
            if (found := klines.sha256(content)) == stated:
                _store(path, content, stated)
                return Zip(path, start, end, fetched=True)
            if left:
                problem = f"{len(content)} bytes do not agree with the checksum"
                await self.host.back_off(url, problem)
        raise UserError(
            f"binance: {self.host.base}{url} does not agree with its checksum after "
            f"{_CHECKSUM_TRIES} tries: stated {stated}, found {found}. Nothing of it was "
            "used. Run again later, or leave its span out."
        )


def _body(answer: Answer) -> bytes | None:
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise Broken(f"status {answer.status}")
    return answer.body


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".CHECKSUM")


def _is_sound(path: Path) -> bool:
    try:
        stated = _beside(path).read_text().split()[0]
        return klines.sha256(path.read_bytes()) == stated
    except (FileNotFoundError, IndexError, UnicodeDecodeError):
        return False


def _store(path: Path, content: bytes, stated: str) -> None:
    write_atomic(path, content)
    write_atomic(_beside(path), f"{stated}  {path.name}\n".encode())
