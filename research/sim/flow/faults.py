"""What goes wrong with order books on demand: the exchange's faults, and some of books alone.

A fault's `at` below 1e9 is the number of a frame within its stream, from 0 (``args["bars"]`` says
how many frames it lasts), else microseconds UTC; a `target` matches host, stream, symbol or
channel (``depth``, ``bookTicker``, ``trade``, ``aggTrade``).

>>> book_faults([{"kind": "id_gap", "at": 3}])[0].where
'frame'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from research.errors import UserError, nearest
from research.sim import faults
from research.sim.faults import FRAME, REQUEST, Fault, Plan
from research.sim.wire import BAD_NUMBERS, BAD_TYPES, WRONG, Frame, _renamed

OWN: dict[str, str] = {
    "id_gap": FRAME,
    "id_restart": FRAME,
    "crossed": FRAME,
    "stale_snapshot": REQUEST,
    "empty_snapshot": REQUEST,
}
"""Ids that do not follow on those before, ids that start at 1, a bid above the best ask; a REST
book of an id long gone (``args["ids"]`` before), or without a level. ``skew`` puts the venue's
clock ``args["us"]`` off, from the moment `at` on or, with a `prob`, all the time."""
FIELDS = {"depthUpdate": "b", "bookTicker": "b", "trade": "p", "aggTrade": "p"}


@dataclass(slots=True)
class BookFault(Fault):
    """One entry of a plan; `kind` is one of `OWN` or of the exchange's that befall any frame."""

    def __post_init__(self) -> None:
        kind = self.kind
        if kind not in OWN:
            Fault.__post_init__(self)
            return
        self.kind = "drop" if OWN[kind] == FRAME else "status"
        Fault.__post_init__(self)
        self.kind = kind

    @property
    def where(self) -> str:
        """What it befalls: ``frame`` or ``request``."""
        return OWN.get(self.kind) or faults.KINDS[self.kind]


UNFIT = ("missing_close", "stale_partial", "revised", "high_below_low", "off_grid", "spike")
UNFIT_ELSEWHERE = ("bad_row", "rest_lag", "gap")
"""Kinds that only bars know."""


def book_faults(entries: Iterable[Fault | Mapping[str, Any]]) -> list[BookFault]:
    """Make a plan's entries; a mapping has the fields of `Fault`.

    Raises
    ------
    UserError
        If an entry has no such kind or field, or is a fault of bars.
    """
    return [_made(entry) for entry in entries]


def skew(plan: Plan, moment: int) -> int:
    """Return by how much the venue's clock is off at `moment`, microseconds."""
    on = (f for f in plan.of("skew") if f.at is None or moment >= f.at)
    return sum(int(f.args.get("us", 0)) for f in on)


def read(path: Path) -> list[BookFault]:
    """Read a plan, a JSON list of objects with the fields of `Fault`."""
    return book_faults(faults.entries(path))


def _made(entry: Fault | Mapping[str, Any]) -> BookFault:
    names = list(Fault.__dataclass_fields__)
    fields = {n: getattr(entry, n) for n in names} if isinstance(entry, Fault) else dict(entry)
    for name in fields:
        if name not in names:
            raise UserError(f"Fault: no field {name!r}.{nearest(name, names)}")
    kind = fields.get("kind")
    known = [k for k in (*OWN, *faults.KINDS) if k not in (*UNFIT, *UNFIT_ELSEWHERE)]
    if kind not in known:
        raise UserError(f"Fault: no kind {kind!r} of order books.{nearest(str(kind), known)}")
    return BookFault(**fields)


def bodies(frame: Frame, fault: Fault, rng: Random) -> list[dict[str, Any]] | None:
    """Return what a fault makes of a frame's body; None where it works on the text."""
    body, args, kind = frame.body, fault.args, fault.kind
    if kind in ("drop", "silent"):
        return []
    if kind == "duplicate":
        return [body] * int(args.get("times", 2))
    if kind == "wrong_symbol":
        return [_renamed(body, frame.symbol, args.get("symbol", WRONG)), body]
    if kind not in _CHANGES:
        return None
    inner = body["data"] if "topic" in body else body
    first = inner[0] if isinstance(inner, list) else inner
    changed = {**first}
    _CHANGES[kind](changed, args, rng)
    if inner is body:
        return [changed]
    return [{**body, "data": [changed, *inner[1:]] if isinstance(inner, list) else changed}]


def _field(body: dict[str, Any], args: Mapping[str, Any]) -> str:
    """Return which field a fault spoils: the one asked for, or a price."""
    return args.get("field") or ("b" if "b" in body else "p")


def _spoil(body: dict[str, Any], field: str, bad: Any) -> None:
    """Put a value into a field; into the first price of a list of levels."""
    levels = body.get(field)
    if isinstance(levels, list) and not isinstance(bad, (list, dict)):
        rest = levels[1:]
        body[field] = [[bad, levels[0][1] if levels else "1"], *rest]
    else:
        body[field] = bad


def _nan(body: dict[str, Any], args: Mapping[str, Any], rng: Random) -> None:
    _spoil(body, _field(body, args), args.get("value", rng.choice(BAD_NUMBERS)))


def _wrong_type(body: dict[str, Any], args: Mapping[str, Any], rng: Random) -> None:
    _spoil(body, _field(body, args), args.get("value", rng.choice(BAD_TYPES)))


def _negative(body: dict[str, Any], args: Mapping[str, Any], rng: Random) -> None:
    _spoil(body, _field(body, args), "-1")


def _missing_key(body: dict[str, Any], args: Mapping[str, Any], rng: Random) -> None:
    body.pop(_field(body, args), None)


def _id_gap(body: dict[str, Any], args: Mapping[str, Any], rng: Random) -> None:
    """Let the ids begin later than those before ended."""
    ahead = int(args.get("ids", 7))
    for name in ("U", "pu") if "U" in body else ("u",):
        if name in body:
            body[name] += ahead


def _id_restart(body: dict[str, Any], args: Mapping[str, Any], rng: Random) -> None:
    """Let the ids start again at 1, as after a venue's restart."""
    body.update({name: 1 for name in ("U", "u") if name in body})
    if "pu" in body:
        body["pu"] = 0


def _crossed(body: dict[str, Any], args: Mapping[str, Any], rng: Random) -> None:
    """Bid more than anybody asks."""
    if isinstance(body.get("b"), list):
        body["b"] = [*body["b"], [str(args.get("price", "99999999")), "1"]]


_CHANGES = {
    "nan": _nan,
    "wrong_type": _wrong_type,
    "negative": _negative,
    "missing_key": _missing_key,
    "id_gap": _id_gap,
    "id_restart": _id_restart,
    "crossed": _crossed,
}
