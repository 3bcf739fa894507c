"""Binance's markets, bar sizes and file names, and what we remember about a symbol there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from research.errors import UserError, nearest

DAY = 86_400_000
MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

INTERVALS: dict[timedelta, str] = {
    **{timedelta(minutes=n): f"{n}m" for n in (1, 3, 5, 15, 30)},
    **{timedelta(hours=n): f"{n}h" for n in (1, 2, 4, 6, 8, 12)},
    timedelta(days=1): "1d",
}


@dataclass(frozen=True, slots=True)
class Market:
    """Where one of Binance's markets lives and what it allows.

    `limit` is in bars a request, `weights` are pairs (bars, weight of a request for fewer),
    `budget` is the weight one address may use in a minute; `window` (ms) is set where a request
    sees only so much time after its start.
    """

    folder: str
    rest: str
    path: str
    limit: int
    weights: tuple[tuple[int, int], ...]
    budget: int
    launch: int = 0
    window: int | None = None

    def weight(self, bars: int) -> int:
        """Weight that a request for `bars` bars costs."""
        return next(w for below, w in self.weights if bars < below)


_FUTURES = ((100, 1), (500, 2), (1001, 5), (1501, 10))
MARKETS = {
    "um": Market("futures/um", "https://fapi.binance.com", "/fapi/v1/klines", 1500, _FUTURES, 2400),
    "cm": Market(
        "futures/cm",
        "https://dapi.binance.com",
        "/dapi/v1/klines",
        1500,
        _FUTURES,
        2400,
        launch=1_596_240_000_000,  # 2020-08-01
        window=200 * DAY,
    ),
    "spot": Market("spot", "https://api.binance.com", "/api/v3/klines", 1000, ((1001, 2),), 6000),
}


def market_of(name: str) -> Market:
    """Return the market called `name`, or say which there are.

    >>> market_of("um").weight(99), market_of("um").weight(1500)
    (1, 10)
    >>> market_of("usdm")
    Traceback (most recent call last):
    research.errors.UserError: binance: market must be um, cm or spot, found 'usdm'...
    """
    if name not in MARKETS:
        known = nearest(name, list(MARKETS))
        raise UserError(f"binance: market must be um, cm or spot, found {name!r}.{known}")
    return MARKETS[name]


def interval_name(interval: timedelta) -> str:
    """Return Binance's word for a bar size.

    >>> interval_name(timedelta(minutes=15))
    '15m'
    """
    if interval not in INTERVALS:
        raise UserError(
            f"binance: bars of {interval} are not offered, only {', '.join(INTERVALS.values())}. "
            "Download 1m and resample."
        )
    return INTERVALS[interval]


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970, exactly.

    >>> to_ms(datetime(2024, 5, 1, tzinfo=UTC))
    1714521600000
    """
    return (moment - EPOCH) // MILLISECOND


def to_moment(ms: int) -> datetime:
    """UTC moment of milliseconds since 1970."""
    return EPOCH + ms * MILLISECOND


def month_of(ms: int) -> tuple[str, int, int]:
    """Name, first ms and end (exclusive) of the UTC month that holds `ms`.

    >>> month_of(1714521600001)
    ('2024-05', 1714521600000, 1717200000000)
    """
    day = to_moment(ms)
    first = datetime(day.year, day.month, 1, tzinfo=UTC)
    following = first.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
    return f"{first:%Y-%m}", to_ms(first), to_ms(following)


def months(start: int, end: int) -> list[tuple[str, int, int]]:
    """Cut ``[start, end)`` in ms into UTC months ``("2024-05", from, to)``.

    >>> [m for m, _, _ in months(1714521600000 - 1, 1714521600001)]
    ['2024-04', '2024-05']
    """
    found = []
    while start < end:
        name, _, following = month_of(start)
        found.append((name, start, min(end, following)))
        start = following
    return found


def runs(times: np.ndarray, step: int) -> list[tuple[int, int]]:
    """Join sorted open times that follow each other into spans ``[from, to)``, all in ms.

    >>> runs(np.array([0, 60, 120, 600]), 60)
    [(0, 180), (600, 660)]
    """
    if not len(times):
        return []
    cuts = np.flatnonzero(np.diff(times) != step) + 1
    return [(int(part[0]), int(part[-1]) + step) for part in np.split(times, cuts)]


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` so that a reader, or a kill, sees the old file or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    if os.name != "posix":  # a folder cannot be synced elsewhere
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_json(path: Path) -> dict[str, Any]:
    """Return a remembered object; one that cannot be read is as good as none."""
    try:
        found = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


class Memory:
    """What earlier runs learnt about a symbol: its first bar, and bars the venue does not have."""

    def __init__(self, path: Path) -> None:
        self.path = path
        known = read_json(path)
        self.first: int | None = known.get("first")
        self.holes: list[list[int]] = known.get("holes", [])

    def keep(self, *, first: int | None = None, holes: list[tuple[int, int]] | None = None) -> None:
        """Remember the listing (ms) or spans ``[from, to)`` that nobody can fill."""
        before = (self.first, list(self.holes))
        self.first = first if first is not None else self.first
        self.holes = _joined([*self.holes, *map(list, holes or [])])
        if (self.first, self.holes) != before:
            known = {"first": self.first, "holes": self.holes}
            write_atomic(self.path, orjson.dumps(known, option=orjson.OPT_INDENT_2))

    def without(self, times: np.ndarray) -> np.ndarray:
        """Leave out the open times that lie in a remembered hole."""
        keep = np.ones(len(times), dtype=bool)
        for start, end in self.holes:
            keep &= (times < start) | (times >= end)
        return times[keep]


def _joined(spans: list[list[int]]) -> list[list[int]]:
    joined: list[list[int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    return joined
