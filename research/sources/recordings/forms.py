"""What a text is: whose messages, of which market, and what stands before each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import orjson

from research.sources.recordings import frames
from research.sources.recordings.frames import NOT_KNOWN, Frames

ENOUGH = 200
"""Messages whose market is asked for before it is believed."""
_COIN = re.compile(r"[A-Z0-9]+USD_(PERP|[0-9]{6})", re.ASCII)
_STAMP = re.compile(rb'"ts":([0-9]{1,13})[,}]')


class Form(NamedTuple):
    """How a file's lines are read, and whose they are."""

    venue: str
    market: str
    batch: Callable[[bytes], Frames]


def tell(piece: bytes) -> Form | None:
    """Return the form of a file by its first piece, or None where it is no recording."""
    for batch in (frames.stamped, archived):
        read = batch(piece)
        whose = Counter(_markets(read)).most_common(1)
        if whose:
            return Form(*whose[0][0], batch)
    return None


def archived(piece: bytes) -> Frames:
    """Read lines that are frames alone; when one was sent stands for when it came."""
    read = frames.bare(piece)
    for i in range(len(read.starts)):
        found = _STAMP.search(read.text(i))
        read.received_ns[i] = int(found[1]) * 1_000_000 if found else NOT_KNOWN
    return read


def _markets(read: Frames) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    for i in np.flatnonzero(read.received_ns != NOT_KNOWN).tolist():
        try:
            message = orjson.loads(read.text(i))
        except orjson.JSONDecodeError:
            continue
        whose = _market(message) if isinstance(message, dict) else None
        if whose is not None:
            told.append(whose)
        if len(told) == ENOUGH:
            break
    return told


def _market(message: dict[str, Any]) -> tuple[str, str] | None:
    if "topic" in message:
        symbol = str(message["topic"]).rpartition(".")[2]
        return "bybit", "inverse" if symbol.endswith("USD") else "linear"
    data = message.get("data", message)
    if not isinstance(data, dict):
        return None
    name = data.get("s", data.get("symbol"))
    if isinstance(name, str) and _COIN.fullmatch(name):
        return "binance", "cm"
    future = _future(data)
    return None if future is None else ("binance", "um" if future else "spot")


def _future(data: dict[str, Any]) -> bool | None:
    """Return whether the message has what futures add to it; None for one that does not tell."""
    kind = data.get("e")
    if kind == "depthUpdate":
        return "pu" in data
    if kind in ("trade", "aggTrade"):
        return "M" not in data
    if "lastUpdateId" in data or kind == "bookTicker" or {"u", "b", "B"} <= data.keys():
        return "T" in data
    return None
