"""Bars of all symbols put together to moments: in order, each once, whatever order they came in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from research.live.moments import Bar, Moment

Note = Callable[[str, dict[str, Any]], object]
ROOM = 3000
"""Bars ahead of the one that is due that are kept; REST has those that come beyond."""
MEMORY = 512
"""Moments behind it whose bars are remembered, to know a revision from a repetition."""


class _Version(NamedTuple):
    """A bar and when the venue sent it; of two sent at the same time, the one that came last."""

    event: int
    bar: Bar


class Assembly:
    """What has come so far, and which moment is due.

    Parameters
    ----------
    symbols : list of str
        Those that make a moment complete.
    interval : int
        Length of a bar, microseconds.
    note : callable
        Told ``revision`` and ``gap``.

    Examples
    --------
    >>> told = []
    >>> here = Assembly(["A", "B"], 60, lambda kind, body: told.append(kind))
    >>> here.begin(120)
    >>> here.offer(Bar("A", 60, 1.0, 1.0, 1.0, 1.0, 5.0), 121)
    >>> here.missing(), here.complete.is_set()
    (['B'], False)
    >>> here.cover("B", 120)
    >>> [bar.symbol for bar in here.take(122).bars], told
    (['A'], ['gap'])
    """

    def __init__(self, symbols: list[str], interval: int, note: Note) -> None:
        self.symbols = sorted(symbols)
        self.interval = interval
        self.due = 0
        self.proof = 0
        """Market time that candles themselves prove: one that opened at t shows that t is past."""
        self.complete = asyncio.Event()
        self._note = note
        self._pool: dict[int, dict[str, _Version]] = {}
        self._covered = dict.fromkeys(self.symbols, 0)
        self._done: dict[int, dict[str, list[Bar]]] = {}

    def begin(self, due: int) -> None:
        """Set the first moment that is due, a close in microseconds UTC."""
        self.due = due
        self._look()

    def offer(self, bar: Bar, event: int) -> None:
        """Take a closed bar that the venue sent at `event`; repetitions change nothing."""
        close = bar.open_time + self.interval
        if close < self.due:
            self._after(close, bar)
        elif close < self.due + ROOM * self.interval:
            self._before(close, _Version(event, bar))
            if close == self.due:
                self._look()

    def cover(self, symbol: str, close: int) -> None:
        """Know that the venue has no more bars of `symbol` up to `close` than were offered."""
        self._covered[symbol] = max(self._covered[symbol], close)
        self._look()

    def missing(self) -> list[str]:
        """Return the symbols that the moment that is due waits for."""
        here = self._pool.get(self.due, {})
        return [s for s in self.symbols if s not in here and self._covered[s] < self.due]

    def take(self, known: int) -> Moment:
        """Return the moment that was due; it must be complete."""
        time, here = self.due, self._pool.pop(self.due, {})
        bars = tuple(here[s].bar for s in self.symbols if s in here)
        for symbol in self.symbols:
            if symbol not in here:
                self._note("gap", {"symbol": symbol, "time": time})
        self._done[time] = {bar.symbol: [bar] for bar in bars}
        if len(self._done) > MEMORY:
            del self._done[next(iter(self._done))]
        self.due += self.interval
        self._look()
        return Moment(time, bars, max(known, time))

    def _look(self) -> None:
        if self.missing():
            self.complete.clear()
        else:
            self.complete.set()

    def _before(self, close: int, new: _Version) -> None:
        here = self._pool.setdefault(close, {})
        old = here.get(new.bar.symbol)
        if old is None:
            here[new.bar.symbol] = new
        elif not _same(old.bar, new.bar):
            later, earlier = (new, old) if new.event >= old.event else (old, new)
            here[new.bar.symbol] = later
            self._revised(close, earlier.bar, later.bar, acted_on="now")

    def _after(self, close: int, bar: Bar) -> None:
        if (there := self._done.get(close)) is None:
            return  # too old to be remembered
        versions = there.setdefault(bar.symbol, [])
        if not any(_same(bar, known) for known in versions):
            self._revised(close, versions[0] if versions else None, bar, acted_on="was")
            versions.append(bar)

    def _revised(self, close: int, was: Bar | None, now: Bar, *, acted_on: str) -> None:
        body = {"symbol": now.symbol, "time": close, "acted_on": acted_on}
        self._note("revision", body | {"was": was and was._asdict(), "now": now._asdict()})


def _same(one: Bar, other: Bar) -> bool:
    return one[:-1] == other[:-1]  # wherever they came from
