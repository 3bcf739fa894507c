"""What goes over the wire: numbers as text, frames before and after a fault."""

from __future__ import annotations

import copy
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import orjson

from research.sim.faults import Fault

WRONG = "WRONGUSDT"
"""A symbol that the venue does not list."""
FIELDS = {
    "open": ("o", "open"),
    "high": ("h", "high"),
    "low": ("l", "low"),
    "close": ("c", "close", "p"),
    "volume": ("v", "volume", "q"),
    "open_time": ("t", "start", "T"),
    "closed": ("x", "confirm"),
}
BAD_NUMBERS: tuple[Any, ...] = ("NaN", "Infinity", "", None)
BAD_TYPES: tuple[Any, ...] = ([], {}, True, "twelve")


class Frame(NamedTuple):
    """One message of a stream, before it meets a fault."""

    host: str
    stream: str
    """As a client subscribes to it."""
    symbol: str
    channel: str
    """``kline``, ``trade`` or ``book``."""
    body: dict[str, Any]
    time: int
    bar: int
    final: bool
    """Closes a bar, or is of a channel in which no frame does."""

    @property
    def names(self) -> set[str]:
        """What a fault's target may match."""
        return {self.host, self.stream, self.symbol, self.channel}


def number(value: float) -> str:
    """Write a number as a venue does: every digit it has, no exponent.

    >>> number(1e-07), number(9982.5), number(3.0)
    ('0.0000001', '9982.5', '3')
    """
    text = repr(float(value))
    if "e" in text:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def text_of(body: Any) -> str:
    """Write a body as JSON."""
    return orjson.dumps(body).decode()


def payload(body: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a frame that holds prices."""
    inner = body.get("k") or body.get("data") or body
    if isinstance(inner, list):
        inner = inner[0]
    return inner if isinstance(inner, dict) else body


def key_of(body: dict[str, Any], field: str) -> str:
    """Return how a venue calls a field."""
    inner = payload(body)
    return next((key for key in FIELDS[field] if key in inner), FIELDS[field][0])


def changed(body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a copy of `body` with other values in some fields."""
    made = copy.deepcopy(body)
    payload(made).update({key_of(body, field): value for field, value in fields.items()})
    return made


def value(body: dict[str, Any], field: str) -> float:
    """Return a field of a frame as a number."""
    return float(payload(body)[key_of(body, field)])


def _corrupt(text: str, rng: Random) -> str:
    """Put a NUL somewhere: no JSON may hold one, so that no reader can take it for data."""
    place = rng.randrange(len(text))
    return text[:place] + "\0" + text[place + 1 :]


def _padded(text: str, size: int) -> str:
    return text[:-1] + ',"pad":"' + "x" * size + '"}'


def bodies(frame: Frame, fault: Fault, rng: Random) -> list[dict[str, Any]] | None:
    """Return what a fault makes of a frame's body; None where it works on the text."""
    body, args = frame.body, fault.args
    field = args.get("field", "close")
    if fault.kind in ("drop", "missing_close", "silent"):
        return []
    if fault.kind == "duplicate":
        return [body] * int(args.get("times", 2))
    if fault.kind == "stale_partial":
        return [body, changed(body, closed=False)]
    if fault.kind == "revised":
        close = value(body, "close") * (1 + args.get("bps", 5) / 10_000)
        wide = {"high": max, "low": min}
        ends = {name: number(f(close, value(body, name))) for name, f in wide.items()}
        return [body, changed(body, close=number(close), **ends)]
    if fault.kind == "wrong_symbol":
        return [_renamed(body, frame.symbol, args.get("symbol", WRONG)), body]
    if fault.kind == "nan":
        return [changed(body, **{field: args.get("value", rng.choice(BAD_NUMBERS))})]
    if fault.kind == "wrong_type":
        return [changed(body, **{field: args.get("value", rng.choice(BAD_TYPES))})]
    if fault.kind == "missing_key":
        made = changed(body)
        payload(made).pop(key_of(body, field), None)
        return [made]
    if fault.kind == "negative":
        return [changed(body, **{field: number(-1 - abs(value(body, field)))})]
    if fault.kind == "high_below_low":
        low = value(body, "low")
        return [changed(body, high=number(low * 0.99))]
    if fault.kind == "off_grid":
        start = int(payload(body)[key_of(body, "open_time")])
        return [changed(body, open_time=start + int(args.get("ms", 1234)))]
    if fault.kind == "spike":
        scale = float(args.get("factor", 100))
        names = [n for n in ("open", "high", "low", "close") if key_of(body, n) in payload(body)]
        return [changed(body, **{n: number(value(body, n) * scale) for n in names})]
    return None


def _renamed(body: dict[str, Any], symbol: str, other: str) -> dict[str, Any]:
    made: dict[str, Any] = orjson.loads(text_of(body).replace(f'"{symbol}"', f'"{other}"'))
    if isinstance(made.get("topic"), str):
        made["topic"] = made["topic"].replace(symbol, other)
    return made


def messages(text: str | bytes, fault: Fault, rng: Random) -> list[str | bytes]:
    """Return what a fault makes of a frame's text; bytes are not valid as text."""
    args = fault.args
    if isinstance(text, bytes):
        return [text]
    if fault.kind == "corrupt":
        return [_corrupt(text, rng)]
    if fault.kind == "truncate":
        return [text[: max(1, int(len(text) * args.get("part", rng.uniform(0.1, 0.9))))]]
    if fault.kind == "malformed":
        return [args.get("text", '{"e":"kline","k":'), text]
    if fault.kind == "empty":
        return ["", text]
    if fault.kind == "binary":
        return [b"\x02" + rng.randbytes(64), text]
    if fault.kind == "bad_utf8":
        return [b"\x01" + text.encode()[:-2] + b"\xc3\x28"]
    if fault.kind == "oversize":
        return [_padded(text, int(args.get("size", 5 << 20))), text]
    if fault.kind == "deep":
        depth = int(args.get("depth", 10_000))
        return ["[" * depth + "]" * depth, text]
    return [text]
