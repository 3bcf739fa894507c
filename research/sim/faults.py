"""What goes wrong on demand: a plan of faults, the same ones for the same seed.

A fault says what (`kind`), when (`at` a bar's number or a time, or with what `prob`) and to whom
(`target`, a pattern over symbol, stream, channel, route or host).

>>> one = Fault("drop", at=3, target="BTCUSDT")
>>> plan = Plan([one], seed=1)
>>> [f.kind for f in plan.hits("frame", {"BTCUSDT", "kline"}, bar=3, time=0, final=True)]
['drop']
>>> plan.hits("frame", {"ETHUSDT", "kline"}, bar=3, time=0, final=True)
[]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from research.errors import UserError, nearest

FRAME = "frame"
REQUEST = "request"
MARKET = "market"
ORDER = "order"

KINDS: dict[str, str] = {
    # one frame of a stream
    "drop": FRAME,
    "missing_close": FRAME,
    "duplicate": FRAME,
    "reorder": FRAME,
    "delay": FRAME,
    "corrupt": FRAME,
    "truncate": FRAME,
    "malformed": FRAME,
    "empty": FRAME,
    "binary": FRAME,
    "bad_utf8": FRAME,
    "oversize": FRAME,
    "deep": FRAME,
    "stale_partial": FRAME,
    "revised": FRAME,
    "wrong_symbol": FRAME,
    "nan": FRAME,
    "wrong_type": FRAME,
    "missing_key": FRAME,
    "negative": FRAME,
    "high_below_low": FRAME,
    "off_grid": FRAME,
    "spike": FRAME,
    # the connection a frame would have gone through
    "rst": FRAME,
    "close": FRAME,
    "half_open": FRAME,
    "slowloris": FRAME,
    "silent": FRAME,
    # one request, or the handshake of a connection
    "status": REQUEST,
    "bad_json": REQUEST,
    "rest_rst": REQUEST,
    "hang": REQUEST,
    "redirect": REQUEST,
    "bad_row": REQUEST,
    "rest_lag": REQUEST,
    # the market and its clock
    "gap": MARKET,
    "skew": MARKET,
    # a signed request that places or cancels an order
    "hold_after_accept": ORDER,
    "hold_before_accept": ORDER,
    "accept_then_503": ORDER,
    "late_accept": ORDER,
    "ack_rst": ORDER,
    "fill_before_ack": ORDER,
    "duplicate_fill": ORDER,
    "partial": ORDER,
    "changed": ORDER,
    "cancel_race": ORDER,
    "reject": ORDER,
}
RECOVERABLE: dict[str, tuple[dict[str, Any], ...]] = {
    "drop": ({},),
    "missing_close": ({},),
    "duplicate": ({"times": 2}, {"times": 5}),
    "reorder": ({},),
    "delay": ({"us": 500_000}, {"us": 1_500_000}),
    "corrupt": ({},),
    "truncate": ({},),
    "malformed": ({},),
    "empty": ({},),
    "binary": ({},),
    "bad_utf8": ({},),
    "oversize": ({},),
    "deep": ({},),
    "stale_partial": ({}, {"us": 10_000_000}),
    "revised": ({"bps": 5, "us": 30_000_000},),
    "wrong_symbol": ({},),
    "nan": ({"field": "close"}, {"field": "volume"}),
    "wrong_type": ({"field": "close"}, {"field": "open"}),
    "missing_key": ({"field": "close"}, {"field": "high"}),
    "negative": ({"field": "low"}, {"field": "volume"}),
    "high_below_low": ({},),
    "off_grid": ({},),
    "rst": ({}, {"mid_frame": True}),
    "close": tuple({"code": code} for code in (1000, 1001, 1006, 1008, 1012, 1013)),
    "half_open": ({},),
    "slowloris": ({},),
    "silent": ({"bars": 2}, {"bars": 5}),
    "status": (
        *({"status": code} for code in (500, 502, 503, 504, 408)),
        {"status": 429, "retry_after": 1},
    ),
    "bad_json": ({},),
    "rest_rst": ({},),
    "bad_row": ({"column": 4, "value": "NaN"}, {"column": 2, "value": "-1"}, {"column": 5}),
}
"""Kinds, with the arguments to draw from, that a correct client repairs by REST in time."""
ASKED = ("drop", "missing_close", "corrupt", "truncate", "nan", "negative", "rst", "close")
"""Kinds after which a client must ask by REST: there a plan puts the faults of requests."""
BAR_NUMBERS_BELOW = 10**9
"""An `at` below is the number of a played bar, from 0; else microseconds UTC."""


@dataclass(slots=True)
class Fault:
    """One entry of a plan.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    at : int or None
        Number of the played bar (0 is the first), or microseconds UTC from which it may strike.
    prob : float or None
        Instead of `at`: probability for each frame or request.
    target : str
        Pattern (``*`` and ``?``) that one of these must match. Of a frame: the symbol, the
        stream, the channel (``kline``, ``trade``, ``book``), the host. Of a request: its path,
        its symbol, its host; of one with an order also the venue and the client's id.
    args : dict
        What the kind takes. ``frame`` is ``final`` (default: the frame that closes a bar),
        ``partial`` or ``any``; frames of trades are ``any``. ``on`` is what a request with an
        order does: ``place`` (default), ``cancel`` (that of ``cancel_race``) or ``change``.
    times : int or None
        How often it strikes. None: once for requests and for an `at` in time, else always.

    Notes
    -----
    What befalls orders: ``hold_before_accept`` and ``hold_after_accept`` keep the client waiting
    (``seconds``, real; before: never taken unless ``accept``), ``accept_then_503`` and ``ack_rst``
    take the order and do not say so, ``late_accept`` takes it ``us`` after it said 503,
    ``fill_before_ack`` answers ``seconds`` later, ``duplicate_fill`` tells each fill ``times``
    times, ``partial`` fills a ``share`` and ``then`` lets the remainder ``expire``, ``cancel`` or
    ``rest`` (it fills ``us`` later), ``changed`` takes another quantity (``factor``) or price
    (``ticks``), ``cancel_race`` fills the order before it is cancelled, ``reject`` refuses with a
    ``reason`` of `research.sim.orders.words.REASONS`, or a ``body`` and ``status``.
    """

    kind: str
    at: int | None = None
    prob: float | None = None
    target: str = "*"
    args: dict[str, Any] = field(default_factory=dict)
    times: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"Fault: no kind {self.kind!r}.{nearest(self.kind, list(KINDS))}")
        if (self.at is None) == (self.prob is None):
            raise UserError(
                f"Fault {self.kind}: give either at or prob, found {self.at, self.prob}."
            )
        by_bar = self.at is not None and self.at < BAR_NUMBERS_BELOW
        if self.times is None and self.at is not None and not (by_bar and self.where == FRAME):
            self.times = 1

    @property
    def where(self) -> str:
        """What it befalls: ``frame``, ``request`` or ``market``."""
        return KINDS[self.kind]

    @property
    def bars(self) -> int:
        """How many bars it lasts; 1 unless its arguments say more."""
        return int(self.args.get("bars", 1))


class Plan:
    """A list of faults, ready to be asked.

    Parameters
    ----------
    faults : iterable of Fault or dict
        A dict has the fields of `Fault`.
    seed : int
        Of the probabilities and of what a fault draws.
    """

    def __init__(self, faults: Iterable[Fault | Mapping[str, Any]] = (), seed: int = 0) -> None:
        self.faults = [f if isinstance(f, Fault) else _fault(f) for f in faults]
        self.seed = seed
        self._left = {id(f): f.times for f in self.faults}
        self._asked = 0
        self._ever: list[int] = []
        self._in_bar: dict[int, list[int]] = {}
        for number, fault in enumerate(self.faults):
            self._place(number, fault)

    def add(self, fault: Fault) -> None:
        """Let another fault strike from now on."""
        self.faults.append(fault)
        self._left[id(fault)] = fault.times
        self._place(len(self.faults) - 1, fault)

    def _place(self, number: int, fault: Fault) -> None:
        if fault.at is None or fault.at >= BAR_NUMBERS_BELOW:
            self._ever.append(number)
            return
        for bar in range(fault.at, fault.at + (fault.bars if fault.where == FRAME else 1)):
            self._in_bar.setdefault(bar, []).append(number)

    def of(self, kind: str) -> list[Fault]:
        """Return the faults of one kind."""
        return [fault for fault in self.faults if fault.kind == kind]

    def hits(
        self,
        where: str,
        names: set[str],
        *,
        bar: int,
        time: int,
        final: bool,
        key: str = "",
        does: str = "",
    ) -> list[Fault]:
        """Return the faults that strike a frame or an order, or the one that strikes a request.

        Parameters
        ----------
        where : str
            ``frame``, ``request`` or ``order``.
        names : set of str
            What a target may match.
        bar : int
            Number of the bar it belongs to.
        time : int
            Its moment, microseconds UTC.
        final : bool
            Whether the frame closes a bar; True for a frame that cannot (a trade).
        key : str
            What tells it from others, for a probability to depend on nothing else.
        does : str
            What a request with an order does: ``place``, ``cancel`` or ``change``.
        """
        self._asked += 1
        key = key or str(self._asked)
        possible = sorted([*self._ever, *self._in_bar.get(bar, ())])
        struck = (
            fault
            for number, fault in ((number, self.faults[number]) for number in possible)
            if fault.where == where
            and self._due(fault, number, time, key)
            and _frame_fits(fault, final)
            and _order_fits(fault, does)
            and any(fnmatchcase(name, fault.target) for name in names)
            and self._strike(fault)
        )
        return list(islice(struck, 1)) if where == REQUEST else list(struck)

    def draw(self, key: str) -> Random:
        """Return a generator that depends on the plan's seed and on `key` alone."""
        return Random(blake2b(f"{self.seed}|{key}".encode(), digest_size=16).digest())

    def _due(self, fault: Fault, number: int, time: int, key: str) -> bool:
        if fault.at is None:
            return self.draw(f"{number}|{key}").random() < (fault.prob or 0.0)
        return fault.at < BAR_NUMBERS_BELOW or time >= fault.at

    def _strike(self, fault: Fault) -> bool:
        left = self._left[id(fault)]
        if left is None:
            return True
        self._left[id(fault)] = left - 1
        return left > 0


def _frame_fits(fault: Fault, final: bool) -> bool:
    wanted = fault.args.get("frame", "any" if fault.kind == "silent" else "final")
    return fault.where != FRAME or wanted == "any" or final == (wanted == "final")


def _order_fits(fault: Fault, does: str) -> bool:
    usual = "cancel" if fault.kind == "cancel_race" else "place"
    return fault.where != ORDER or fault.args.get("on", usual) == does


def _fault(entry: Mapping[str, Any]) -> Fault:
    known = list(Fault.__dataclass_fields__)
    for name in entry:
        if name not in known:
            raise UserError(f"Fault: no field {name!r}.{nearest(name, known)}")
    if "kind" not in entry:
        raise UserError(f"Fault: field 'kind' is missing, found {', '.join(entry) or 'nothing'}.")
    return Fault(**dict(entry))


def read(path: Path) -> list[Fault]:
    """Read a plan, a JSON list of objects with the fields of `Fault`."""
    return [_fault(entry) for entry in entries(path)]


def entries(path: Path) -> list[Any]:
    """Read what a plan lists, whatever it is."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"Faults: {path} must be a readable JSON list. {error}") from None
    if not isinstance(found, list):
        raise UserError(f"Faults: {path} must be a JSON list, found {type(found).__name__}.")
    return found


def write(path: Path, faults: Iterable[Fault]) -> None:
    """Write a plan that `read` reads."""
    path.write_text(json.dumps([asdict(fault) for fault in faults], indent=1) + "\n")


def plan(
    count: int,
    seed: int,
    bars: int,
    symbols: Sequence[str],
    kinds: Mapping[str, tuple[dict[str, Any], ...]] = RECOVERABLE,
) -> list[Fault]:
    """Draw a plan of `count` faults over the first `bars` played bars.

    Parameters
    ----------
    count : int
        Faults; kinds come in turn, so that each comes as often as the others. Those of requests
        are put where a frame's fault makes a client ask.
    seed : int
        Same seed, same plan.
    bars : int
        Played bars; the first is spared, so that a client can come in.
    symbols : sequence of str
        Symbols that frames' faults may befall.
    kinds : mapping of str to tuple of dict
        Kinds and the arguments to draw from.

    Returns
    -------
    list of Fault
        In order of bars.

    Examples
    --------
    >>> made = plan(60, 1, 100, ["BTCUSDT", "ETHUSDT"])
    >>> len(made), {fault.kind for fault in made} == set(RECOVERABLE)
    (60, True)
    """
    rng = Random(f"{seed}|{count}|{bars}")
    order: list[str] = []
    while len(order) < count:
        order += rng.sample(sorted(kinds), len(kinds))
    made: list[Fault] = []
    for kind in sorted(order[:count], key=lambda kind: KINDS[kind] == REQUEST):
        asked = [f.at for f in made if f.kind in ASKED and f.at is not None]
        if KINDS[kind] == REQUEST and asked:
            at, target = rng.choice(asked), "*/kline*"
        else:
            at, target = rng.randrange(min(1, bars - 1), bars), rng.choice(list(symbols))
        made.append(Fault(kind, at=at, target=target, args=dict(rng.choice(kinds[kind]))))
    return sorted(made, key=lambda fault: (fault.at or 0, fault.kind))
