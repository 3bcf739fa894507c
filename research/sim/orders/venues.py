"""The table of venues with an order side, and what each must bring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import parse_qsl

from research.sim.binance_rest import Refused
from research.sim.lines import Line
from research.sim.market import Market
from research.sim.orders.account import Account, Terms
from research.sim.orders.matching import PLAIN
from research.sim.orders.words import Denied, Key, Twist

if TYPE_CHECKING:
    from research.sim.orders.private import Private

PLACES = {
    "binance": "research.sim.orders.binance",
    "bybit": "research.sim.orders.bybit",
    "kraken": "research.sim.orders.kraken",
}
"""Modules, each with a `VENUE`."""
Does = Literal["place", "cancel", "change", "read"]


@dataclass
class Call:
    """A request to a private route, and whose it is."""

    method: str
    host: str
    path: str
    text: str
    """What follows ``?`` in its address, as it came."""
    body: bytes
    headers: Mapping[str, str]
    private: Private
    now: int
    """The venue's time, microseconds since 1970 UTC."""
    account: Account = field(init=False)
    """Known once it is identified."""
    key: Key = field(init=False)
    late: int = 0
    """Microseconds of the venue's time for which it lay there before it was dealt with."""
    twist: Twist = PLAIN
    """What a fault does to the order it places: hand it to `Account.place`."""

    @cached_property
    def query(self) -> dict[str, str]:
        """What its address asks."""
        return dict(parse_qsl(self.text, keep_blank_values=True))

    @cached_property
    def form(self) -> dict[str, str]:
        """What its body asks, where that is a form."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


class Route(NamedTuple):
    """A private route."""

    does: Does
    answer: Callable[[Call], Any]
    """Return the body; may raise `Denied` and `Refused`."""


@dataclass(slots=True)
class Token:
    """What a private stream is opened with.

    Attributes
    ----------
    account : Account
        Whose it is.
    until : int
        Good before that moment, microseconds.
    told : list of callable
        What tells those who listen with it.
    """

    account: Account
    until: int
    told: list[Callable[[dict[str, Any]], None]] = field(default_factory=list)


class Stream(NamedTuple):
    """What a private stream does with a connection."""

    hear: Callable[[Line, str], None]
    leave: Callable[[], None]


class Venue(NamedTuple):
    """What a venue brings."""

    name: str
    hosts: tuple[str, ...]
    routes: Mapping[tuple[str, str], Route]
    """By method and path."""
    terms: Callable[[Market, Key], Terms]
    funds: Callable[[Market], dict[str, Decimal]]
    """What an account has at first where its key does not say."""
    identify: Callable[[Call], Key]
    """Check signature, nonce and time; raise `Refused`."""
    denied: Callable[[Denied], Refused]
    """The venue's answer to what an account denies."""
    unknown: Callable[[], Refused]
    """Its answer when it does not know itself what came of a request."""
    names: Callable[[Call], tuple[str, str]]
    """Symbol and client's id that a request names, empty where it names none."""
    limits: Callable[[Private], Callable[[Call], dict[str, str]]] | None = None
    """Make what counts requests: it returns headers, and raises `Refused` for one too many."""
    streams: Mapping[tuple[str, str], Callable[[Private, Line, Mapping[str, str]], Stream]] = {}
    """By host and beginning of a path: what takes a new connection and what its address asks."""


@lru_cache(maxsize=1)
def venues() -> dict[str, Venue]:
    """Return all venues, by name; they import this module, and so are not imported above."""
    return {name: import_module(place).VENUE for name, place in PLACES.items()}
