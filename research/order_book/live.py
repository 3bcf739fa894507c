"""The live side: a book that is told messages as they arrive, and says what it needs.

No socket, no clock, no file: whoever owns them hands messages and moments in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from research.order_book import chain, ledger
from research.order_book.core import Columns, Core
from research.order_book.ladder import beyond

Kind = Literal["snapshot", "update", "partial"]
DONE = {
    chain.APPLY: "applied",
    chain.WHOLE: "snapshot",
    chain.HOLD: "held",
    chain.BREAK: "gap",
    chain.SPOILT: "gap",
    chain.OLD: "old",
    chain.TWICE: "duplicate",
}


class Message(NamedTuple):
    """One message about a book, decoded; an id is -1 where the venue has none."""

    symbol: str
    kind: Kind
    received_ns: int
    connection: int = 0
    time_us: int = -1
    first_id: int = -1
    last_id: int = -1
    previous_id: int = -1
    sequence: int = -1
    bids: Iterable[Sequence[float | str]] = ()
    asks: Iterable[Sequence[float | str]] = ()
    """Price and quantity; numbers or the venue's texts."""


class Heard(NamedTuple):
    """What a message did to a book."""

    done: str
    """One of ``applied, snapshot, held, gap, old, duplicate, stranger``."""
    proven: bool
    wanted: str
    """Why a new snapshot is needed (of Bybit: a new subscription); empty where none is."""


class Book:
    """One symbol's live book, by the very loop that rebuilds recordings.

    Parameters
    ----------
    symbol, venue, market : str
        As in `schema.MESSAGES` and `schema.Recording`.
    depth : int
        Levels a side in `levels`.

    Examples
    --------
    >>> book = Book("BTCUSDT", venue="binance", market="um", depth=1)
    >>> diff = Message("BTCUSDT", "update", 1, 0, 1, 90, 105, 89, bids=[(100.0, 3.0)])
    >>> book.hear(diff)
    Heard(done='held', proven=False, wanted='no snapshot yet')
    >>> whole = [(100.0, 2.0), (99.0, 1.0)], [(101.0, 4.0)]
    >>> book.hear(Message("BTCUSDT", "snapshot", 2, 0, 1, -1, 100, -1, -1, *whole))
    Heard(done='snapshot', proven=True, wanted='')
    >>> book.levels.tolist()
    [[[100.0, 3.0]], [[101.0, 4.0]]]
    """

    def __init__(
        self,
        symbol: str,
        *,
        venue: str,
        market: str,
        depth: int = 20,
        silence_ns: int = ledger.SILENCE_NS,
    ) -> None:
        self.symbol, self.strangers = symbol, 0
        self._silence_ns = silence_ns
        self._core = Core(chain.rules(venue, market), depth)
        self._ledger = ledger.Ledger(silence_ns)
        self.levels = np.zeros((2, depth, 2))
        self.time_us, self._heard_ns = 0, 0

    def hear(self, message: Message) -> Heard:
        """Take one message and say what it did; one of another symbol does nothing."""
        if message.symbol != self.symbol:
            self.strangers += 1
            return Heard("stranger", self.proven, self.wanted)
        new = _columns(message)
        found = self._core.take(new)
        self._ledger.hear(new.received_ns, found)
        self._heard_ns = message.received_ns
        done = int(found.done[0])
        if done < chain.OLD:
            self.levels, self.time_us = found.levels[0], int(found.time[0])
        return Heard(DONE[done], self.proven, self.wanted)

    @property
    def proven(self) -> bool:
        """Whether the book was proven after the last message."""
        return self._core.proven

    def proven_at(self, now_ns: int) -> bool:
        """Whether it is still, at a moment of the recorder's clock: silence ends the proof."""
        return self.proven and now_ns - self._heard_ns <= self._silence_ns

    @property
    def wanted(self) -> str:
        """Why a snapshot is needed; empty where none is."""
        return _wanted(self._core.state, self.proven) or self._beyond()

    def _beyond(self) -> str:
        far = beyond(self._core.book, self._core.depth)
        return "price left the snapshot" if self.proven and far else ""

    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Return bids and asks at full depth, best first: price and quantity, shape (n, 2)."""
        return self._core.sides()

    def gaps(self) -> pl.DataFrame:
        """Return the gaps so far, as `schema.GAPS`."""
        return self._ledger.table(self.symbol)

    @property
    def counted(self) -> dict[str, int]:
        """Messages by what was done with them; see `Built`."""
        return self._core.counted


def _wanted(state: chain.State, proven: bool) -> str:
    if state.phase == chain.EMPTY:
        return "no snapshot yet"
    if state.phase == chain.LOADED:
        return ""  # one is here, and waits for the first update that reaches over it
    return "" if proven else "crossed"


def _columns(message: Message) -> Columns:
    bids = np.array([*message.bids], float).reshape(-1, 2)
    asks = np.array([*message.asks], float).reshape(-1, 2)
    both = np.concatenate([bids, asks])
    return Columns(
        message=np.zeros(1, np.int64),
        received_ns=np.array([message.received_ns]),
        kind=np.array([chain.KINDS[message.kind]]),
        first=np.array([message.first_id]),
        last=np.array([message.last_id]),
        previous=np.array([message.previous_id]),
        sequence=np.array([message.sequence]),
        connection=np.array([message.connection]),
        time=np.array([message.time_us]),
        offset=np.array([0, len(both)]),
        side=np.repeat(np.array([1, -1], np.int8), [len(bids), len(asks)]),
        price=both[:, 0].copy(),
        quantity=both[:, 1].copy(),
    )
