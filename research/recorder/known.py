"""What is known of each stream and each connection while frames come in."""

from __future__ import annotations

from dataclasses import dataclass, field

from research.live.feed.stream import Stream as Health
from research.recorder.ledger import Line
from research.recorder.venues import Stream

_PATIENCE_NS = 500_000_000


@dataclass(slots=True)
class Known:
    """What is known of one stream."""

    place: int
    stream: Stream
    health: Health
    messages: int = 0
    received: int = 0
    """Bytes."""
    last_ns: int = 0
    last_id: int = -1
    frame: bytes = b""
    """The newest."""
    gap: int | None = None
    """Number of the gap it is in."""
    dropped: list[int] = field(default_factory=list)
    """How many frames the disk is too slow for, and the receipt of the last one before them."""
    holes: list[tuple[int, int, Line]] = field(default_factory=list)

    def enveloped(self, body: bytes) -> bytes:
        """Return a book that was asked for as if a stream had brought it: it names its symbol."""
        name = f"{self.stream.symbol.lower()}@snapshot".encode()
        return b'{"stream":"' + name + b'","data":' + body + b"}"


Held = tuple[bytes, int, int, int]
"""A frame, where its stream's name ends, and its receipt by both clocks."""


class Connection:
    """What the frames of one connection are numbered by."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.sequence = 0
        self.heads: dict[int, int] = {}
        """The last id of each stream, by its place."""
        self.firsts: dict[int, tuple[int, int]] = {}
        """The first id of each stream, and when it was received."""
        self.resumed: set[int] = set()
        """Streams whose first message ended a gap: what was missing is declared."""
        self.pair: Pair | None = None
        """Set while another connection brings the same streams."""


class Pair:
    """Two connections that bring the same streams for a while.

    A stream of the new one waits until the old one has come as far, so that each message is kept
    once in the venue's order; whatever the slower one brings a second time is marked.
    """

    def __init__(self, old: Connection, new: Connection) -> None:
        self.old, self.new = old, new
        self.held: dict[int, list[Held]] = {}
        self.joined: set[int] = set()
        self.seen: dict[int, set[int]] = {}
        """Hashes of the frames of streams without ids, of each connection by its number."""

    def waits(self, known: Known, first: int, monotonic: int) -> bool:
        """Return whether a stream of the new connection, from id `first` on, has still to wait."""
        if known.place in self.joined:
            return False
        held = self.held.get(known.place)
        since = held[0][3] if held else monotonic
        caught_up = self.old.heads.get(known.place, first) >= first
        return not caught_up and known.gap is None and monotonic - since < _PATIENCE_NS

    def twice(self, connection: Connection, known: Known, frame: bytes, told: int | None) -> bool:
        """Return whether the other connection brought the same before."""
        if told is not None:
            return told <= known.last_id
        mark = hash((known.place, frame))
        other = self.old if connection is self.new else self.new
        self.seen.setdefault(connection.number, set()).add(mark)
        return mark in self.seen.get(other.number, ())
