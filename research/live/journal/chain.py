"""What a journal's rows are: events in canonical JSON, each bound to all before it by a hash."""

from __future__ import annotations

import json
import math
from hashlib import blake2b
from typing import Any, NamedTuple


class JournalError(RuntimeError):
    """An event could not be made durable: the runner must halt, since what is not written did not
    happen."""


class Event(NamedTuple):
    """One row of a journal."""

    seq: int
    """From 1, without holes."""
    kind: str
    time: int
    """Microseconds since 1970 UTC, market time."""
    body: dict[str, Any]


class Link(NamedTuple):
    """Where a chain ends: number, hash and time of its last event."""

    seq: int = 0
    hash: bytes = bytes(32)
    time: int = 0


def canonical(body: dict[str, Any]) -> str:
    """Return the one JSON text of `body`: sorted keys, no spaces, floats as repr, NaN as null.

    Raises
    ------
    ValueError
        If a number is infinite: it could not be read back.

    Examples
    --------
    >>> canonical({"b": 0.1, "a": [1, float("nan"), None], "c": True})
    '{"a":[1,null,null],"b":0.1,"c":true}'
    """
    try:
        return _json(body)
    except ValueError:  # NaN is rare, so only then is every number looked at
        return _json(_without_nan(body))


def _json(body: Any) -> str:
    return json.dumps(
        body, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain_number
    )


def _plain_number(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        return _without_nan(value.tolist())
    raise TypeError(f"journal: {type(value).__name__} {value!r} has no JSON")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def follow(link: Link, kind: bytes, time: int, body: bytes) -> Link:
    """Return the link that an event makes after `link`."""
    row = b'[%d,"%s",%d,%s]' % (link.seq + 1, kind, time, body)
    return Link(link.seq + 1, blake2b(link.hash + row, digest_size=32).digest(), time)
