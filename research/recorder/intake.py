"""Every frame, once: numbered, stamped, attributed to its stream, kept; or counted as lost."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import orjson

from research.live.feed.stream import Stream as Health
from research.recorder import chain
from research.recorder.disk import Disk
from research.recorder.known import Connection, Held, Known, Pair
from research.recorder.ledger import Ledger, Line
from research.recorder.venues import Stream, Venue
from research.sources.recordings.segments import FRAME, OTHER, REPLY, SNAPSHOT, Pages

BLOCK = 1 << 18
"""Bytes after which frames become a block at once; else they do every quarter of a second."""
WAITING = 64 << 20
"""Bytes that may wait for the disk; beyond, frames are dropped and declared."""
_UNREADABLE = 1 << 20
_SLOW = "the disk was too slow"
_EVENT = re.compile(rb'"(?:E|ts)":(\d{13})')
Tap = Callable[[bytes, int, int], object]
"""Takes a frame, its receipt in nanoseconds and the number of its connection."""
_REMEMBERED = 16  # holes in which a late message is still looked for


class Intake:
    """All connections of one recording end here.

    Parameters
    ----------
    venue : Venue
        Whose frames they are.
    streams : list of Stream
        Their places are 1, 2, ... in this order; place 0 is no stream.
    disk, ledger
        Where frames, and what is missing of them, go.
    connections : int
        Number of the first connection: those of earlier sessions go on.
    """

    def __init__(
        self,
        venue: Venue,
        streams: list[Stream],
        disk: Disk,
        ledger: Ledger,
        connections: int,
    ) -> None:
        self.venue, self.disk, self.ledger = venue, disk, ledger
        self.known = {
            s.name.encode(): Known(place, s, Health(s.name)) for place, s in enumerate(streams, 1)
        }
        self.places = [None, *self.known.values()]
        self.began_ns = time.time_ns()
        self.messages = self.bytes = self.bad = self.repeats = 0
        self.event_ms = 0
        """The newest time that a venue put on a frame."""
        self.wanted: dict[str, int] = {}
        """Symbols whose book must be asked for anew, and the id it must reach."""
        self.tap: Tap | None = None
        self._connections = connections
        self._rest = Connection(0)
        self._pages, self._prefix, self._cut = Pages(), venue.prefix, len(venue.prefix)
        self._unread, self._shedding = [0.0, 0], False

    def connect(self) -> Connection:
        """Return a new connection's counters."""
        self._connections += 1
        return Connection(self._connections)

    def named(self, name: str) -> Known:
        """Return what is known of a stream."""
        return self.known[name.encode()]

    # -- frames -----------------------------------------------------------------------------------

    def keep(self, connection: Connection, frame: bytes, wall: int, monotonic: int) -> Known | None:
        """Take in one frame, received at `wall` and `monotonic` (ns); return whose it is."""
        end = frame.find(b'"', self._cut)
        known = self.known.get(frame[self._cut : end]) if frame.startswith(self._prefix) else None
        if known is None:
            known, end = self._look(frame), 0
        if known is None:
            self._stray(connection, frame, wall, monotonic)
            return None
        if connection.pair is None:
            self._take(connection, known, frame, end, wall, monotonic)
        else:
            self._take_of_two(connection, connection.pair, known, (frame, end, wall, monotonic))
        return known

    def _take(
        self,
        connection: Connection,
        known: Known,
        frame: bytes,
        end: int,
        wall: int,
        monotonic: int,
    ) -> None:
        """Take in a frame of a known stream."""
        kind = known.stream.chain
        told = chain.ids(kind, frame, end) if kind else None
        repeat = frame == known.frame
        if connection.pair is not None:
            last = None if told is None else told.last
            repeat = connection.pair.twice(connection, known, frame, last)
        if told is not None or known.gap is not None:
            self._follow(connection, known, told, wall)
        known.messages += 1
        known.received += len(frame)
        self.repeats += repeat
        known.frame = frame
        self._add(connection, known, frame, wall, monotonic, FRAME, repeat)
        known.last_ns = wall

    # -- two connections --------------------------------------------------------------------------

    def pair(self, old: Connection, new: Connection) -> None:
        """Know that two connections bring the same streams from now on."""
        self.part(old)
        old.pair = new.pair = Pair(old, new)

    def part(self, connection: Connection) -> None:
        """Know that a connection ended: what waited for it does so no more."""
        if (pair := connection.pair) is None:
            return
        for place in list(pair.held):
            self._join(pair, place)
        pair.old.pair = pair.new.pair = None

    def _take_of_two(self, connection: Connection, pair: Pair, known: Known, held: Held) -> None:
        told = chain.ids(known.stream.chain, *held[:2]) if known.stream.chain else None
        waiting = pair.held.get(known.place)
        if connection is pair.new and told is not None:
            first = self._first_held(known, waiting) if waiting else told.last
            if pair.waits(known, first, held[3]):
                pair.held.setdefault(known.place, []).append(held)
                return
            self._join(pair, known.place)
        self._take(connection, known, *held)
        if waiting and not pair.waits(known, self._first_held(known, waiting), held[3]):
            self._join(pair, known.place)

    def _first_held(self, known: Known, waiting: list[Held]) -> int:
        told = chain.ids(known.stream.chain, *waiting[0][:2])
        return told.last if told is not None else -1

    def _join(self, pair: Pair, place: int) -> None:
        """Take in what a stream of the new connection brought while it waited."""
        pair.joined.add(place)
        known = self.places[place]
        for held in pair.held.pop(place, ()):
            if known is not None:
                self._take(pair.new, known, *held)

    def snapshot(self, known: Known, body: bytes) -> bool:
        """Take in a book that was asked for; return whether there was room for it."""
        wall, monotonic = time.time_ns(), time.monotonic_ns()
        self._add(self._rest, known, body, wall, monotonic, SNAPSHOT)
        return not self._shedding

    def _look(self, frame: bytes) -> Known | None:
        """Find whose a frame is that does not begin as frames do."""
        try:
            told = orjson.loads(frame)
            return self.known.get(str(told.get("stream") or told.get("topic")).encode())
        except (orjson.JSONDecodeError, AttributeError):
            return None

    def _stray(self, connection: Connection, frame: bytes, wall: int, monotonic: int) -> None:
        """Keep an answer to us, or a frame nobody can read: of those a megabyte a minute."""
        try:
            self.venue.read(frame)
            kind = REPLY
        except ValueError:
            kind = OTHER
            self.bad += 1
        begun, size = self._unread
        if monotonic - begun > 60e9:
            begun, size = monotonic, 0
        self._unread = [begun, size + len(frame)]
        if size + len(frame) <= _UNREADABLE:
            self._add(connection, None, frame, wall, monotonic, kind)
            return
        connection.sequence += 1
        self.ledger.declare(None, None, wall, wall, "too much that cannot be read", 1)

    def _add(
        self,
        connection: Connection,
        known: Known | None,
        frame: bytes,
        wall: int,
        monotonic: int,
        kind: int,
        repeat: bool = False,
    ) -> None:
        number = connection.sequence
        connection.sequence = number + 1
        if self._shedding or self.disk.waiting > WAITING:
            self._drop(known if kind == FRAME else None, wall)
            return
        if known is not None and known.dropped:
            self._say_dropped(known, wall)
        self.messages += 1
        self.bytes += len(frame)
        if self.tap is not None and known is not None and not repeat:
            self.tap(known.enveloped(frame) if kind == SNAPSHOT else frame, wall, connection.number)
        self._pages.add(
            frame,
            received_ns=wall,
            monotonic_ns=monotonic,
            connection=connection.number,
            sequence=number,
            stream=0 if known is None else known.place,
            kind=kind,
            repeat=repeat,
        )
        if self._pages.size >= BLOCK:
            self.flush()

    def flush(self) -> None:
        """Hand what came over to the disk; say what was dropped if there is room again."""
        if self._pages.count:
            self.disk.put(*self._pages.take())
        if self.disk.waiting <= WAITING // 2:
            self._shedding = False

    def _drop(self, known: Known | None, wall: int) -> None:
        self._shedding = True
        if known is None:
            self.ledger.declare(None, None, wall, wall, _SLOW, 1)
            return
        count, since = known.dropped or (0, known.last_ns or self.began_ns)
        known.dropped = [count + 1, since]
        known.messages -= 1
        known.received -= len(known.frame)

    def _say_dropped(self, known: Known, wall: int) -> None:
        count, since = known.dropped
        known.dropped = []
        self.declare(known, since, wall, _SLOW, count)

    def finish(self) -> None:
        """Hand over all that is left, and declare what was dropped until now."""
        self.flush()
        for known in self.known.values():
            if known.dropped:
                self._say_dropped(known, known.last_ns)

    def look(self) -> None:
        """Learn the newest time of the venue, from the newest frame of each stream."""
        for known in self.known.values():
            if found := _EVENT.search(known.frame):
                self.event_ms = max(self.event_ms, int(found[1]))

    # -- what is missing --------------------------------------------------------------------------

    def declare(self, known: Known, start: int, end: int, reason: str, lost: int | None) -> Line:
        """Write a gap of one stream that is over."""
        stream = known.stream
        return self.ledger.declare(stream.symbol, stream.name, start, end, reason, lost)

    def miss(self, known: Known, reason: str) -> None:
        """Open a gap of one stream at its last message; one that is open goes on."""
        if known.gap is None:
            start, stream = known.last_ns or self.began_ns, known.stream
            known.gap = self.ledger.open(stream.symbol, stream.name, start, reason)

    def handed_over(self, old: Connection, new: Connection) -> None:
        """Declare what neither of two connections that overlapped has seen."""
        for place, last in old.heads.items():
            known, joined = self.places[place], new.firsts.get(place)
            if known is None or joined is None or place in new.resumed:
                continue
            first, at = joined
            if known.stream.chain != "book" and first > last + 1:
                told = chain.Ids(first, first, first - 1)
                if hole := chain.hole(known.stream.chain, last, told, joining=True):
                    low, high = min(at, known.last_ns), max(at, known.last_ns)
                    self.declare(known, low, high, "between two connections", hole.lost)

    def _follow(
        self, connection: Connection, known: Known, told: chain.Ids | None, wall: int
    ) -> None:
        """See whether a message follows the one before it."""
        if known.gap is not None:
            connection.resumed.add(known.place)
            self._resume(known, told, wall)
        if told is None:
            return
        last, fresh = connection.heads.get(known.place), told.before < 0
        if last is None:
            connection.firsts[known.place] = (told.first, wall)
            if connection.pair is None:
                self._want(known, told)
        elif hole := chain.hole(known.stream.chain, last, told):
            line = self.declare(known, known.last_ns, wall, "ids do not run on", hole.lost)
            known.holes = [*known.holes[-_REMEMBERED:], (hole.low, hole.high, line)]
            self._want(known, told)
        elif told.last < last and known.holes:
            self._late(known, told)
        again = fresh and connection.pair is None
        connection.heads[known.place] = told.last if fresh or last is None else max(last, told.last)
        known.last_id = told.last if again else max(known.last_id, told.last)

    def _resume(self, known: Known, told: chain.Ids | None, wall: int) -> None:
        """End a stream's gap: its messages come again."""
        lost: int | None = None
        counts = known.stream.chain != "quote"  # their ids only rise
        if told is not None and known.last_id >= 0 and told.before >= 0 and counts:
            hole = chain.hole(known.stream.chain, known.last_id, told, joining=True)
            lost = 0 if hole is None else hole.lost
        if known.gap is not None:
            self.ledger.close(known.gap, wall, lost)
            known.gap = None

    def _late(self, known: Known, told: chain.Ids) -> None:
        for at, (low, high, line) in enumerate(known.holes):
            if low <= told.first <= high and line["lost"]:
                self.ledger.less(line)
                known.holes[at] = (low, high, line)
                return

    def _want(self, known: Known, told: chain.Ids) -> None:
        fresh = known.stream.chain == "book" and told.before < 0
        if known.stream.chain in ("depth", "book") and not fresh:
            self.wanted[known.stream.name] = told.first


def lag_ms(known: Known) -> float | None:
    """Return how long after the venue's own time the newest message came, milliseconds.

    It holds the difference of the two clocks as well: what counts is how it changes.
    """
    found = _EVENT.search(known.frame)
    return known.last_ns / 1e6 - int(found[1]) if found else None


def facts(venue: Venue, streams: list[Stream]) -> dict[str, Any]:
    """Return what each segment says of itself."""
    return {
        "format": 1,
        "venue": venue.venue,
        "market": venue.market,
        "exchange": venue.exchange,
        "streams": ["", *(s.name for s in streams)],
        "symbols": ["", *(s.symbol for s in streams)],
        "words": ["", *(s.word for s in streams)],
    }
