"""Whether a stream's ids run on: read from the bytes of a frame, without decoding the rest of it.

Rules of the venues: a USD-M depth message names the one before (`pu`), a spot one begins where that
ended (`U`), trades and aggregate trades count by one, Bybit's book counts by one and starts again
with each snapshot. Ids of quotes only rise.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_DEPTH = re.compile(rb'"U":(\d+),"u":(\d+)(?:,"pu":(\d+))?')
_TRADE = re.compile(rb'"t":(\d+)')
_AGGREGATE = re.compile(rb'"a":(\d+)')
_UPDATE = re.compile(rb'"u":(\d+)')
_PATTERNS = {"trade": _TRADE, "aggTrade": _AGGREGATE, "quote": _UPDATE}
_NEAR = 200  # bytes within which ids stand, from one end of a frame


class Ids(NamedTuple):
    """What one message says of its place in the chain."""

    first: int
    last: int
    before: int
    """The id the message before it must have; -1: this one begins anew."""


class Broken(NamedTuple):
    """A hole in a chain."""

    lost: int | None
    """Messages missing; None: the ids do not count messages."""
    low: int
    high: int
    """Ids beyond the last seen, up to and with the last missing."""


def ids(chain: str, frame: bytes, start: int) -> Ids | None:
    """Return the ids of a frame of a stream, None where it has none.

    Parameters
    ----------
    chain : str
        As `venues.Stream.chain`.
    frame : bytes
        As received.
    start : int
        Where to begin to look.

    Examples
    --------
    >>> ids("depth", b'{"e":"depthUpdate","U":5,"u":9,"pu":4,"b":[]}', 0)
    Ids(first=5, last=9, before=4)
    >>> ids("book", b'{"type":"delta","data":{"b":[],"u":7,"seq":9}}', 0)
    Ids(first=7, last=7, before=6)
    """
    if chain == "depth":
        return _depth(frame, start)
    if chain == "book":
        return _book(frame, start)
    found = _PATTERNS[chain].search(frame, start, start + _NEAR)
    if found is None:
        return None
    number = int(found[1])
    return Ids(number, number, number - 1)


def _depth(frame: bytes, start: int) -> Ids | None:
    found = _DEPTH.search(frame, start, start + _NEAR)
    if found is None:
        return None
    first, last, before = found.groups()
    return Ids(int(first), int(last), int(before) if before else int(first) - 1)


def _book(frame: bytes, start: int) -> Ids | None:
    found = _UPDATE.search(frame, max(start, len(frame) - _NEAR))
    if found is None:
        return None
    number = int(found[1])
    fresh = number == 1 or frame.find(b'"snapshot"', start, start + 40) >= 0
    return Ids(number, number, -1 if fresh else number - 1)


def hole(chain: str, last: int, told: Ids, *, joining: bool = False) -> Broken | None:
    """Return the hole between the message whose last id was `last` and the one that `told`.

    A message that was seen before, or that begins anew, leaves none. `joining` says that it is the
    first of its connection: that one may begin before what is known already.

    Examples
    --------
    >>> hole("trade", 4, Ids(7, 7, 6))
    Broken(lost=2, low=5, high=6)
    >>> hole("depth", 9, Ids(10, 12, 9)), hole("depth", 12, Ids(8, 9, 7))
    (None, None)
    """
    if told.before in (-1, last) or told.last <= last or chain == "quote":
        return None
    if joining and told.first <= last + 1:
        return None
    counted = told.first - last - 1 if chain != "depth" else None
    return Broken(counted, last + 1, told.first - 1)


def snapshot_id(told: object) -> int | None:
    """Return the last id that a book, asked for by REST, has in it."""
    found = told.get("lastUpdateId") if type(told) is dict else None
    return found if type(found) is int else None
