"""Which book was in force when an order could be filled: one for each bar."""

from __future__ import annotations

from research.live.moments import Levels

AGE = 60_000_000
"""Longest time that a book is taken to stand, microseconds: a longer silence is a hole."""
_KEPT = 64


class Shown:
    """Keeps of each symbol's books those that the fills of its bars need.

    Parameters
    ----------
    interval : int
        Length of a bar, microseconds.
    delay : int
        After a bar's open, when an order is filled in it, microseconds; below `interval`.

    Examples
    --------
    >>> shown = Shown(60_000_000, 2_000_000)
    >>> for second in (0, 1, 3):
    ...     shown.take("A", Levels(second * 1_000_000, ((9.0, 1.0),), ((10.0, 1.0),)))
    >>> shown.at("A", 0).time, shown.at("A", 120_000_000) is None
    (1000000, True)
    """

    def __init__(self, interval: int, delay: int) -> None:
        self._interval, self._delay = interval, delay
        self._kept: dict[str, dict[int, Levels]] = {}
        self._newest: dict[str, int] = {}

    def take(self, symbol: str, levels: Levels) -> None:
        """Take a book; it is the newest for the next bar that is filled after it, and no other."""
        self._newest[symbol] = max(levels.time, self._newest.get(symbol, 0))
        kept, opened = self._kept.setdefault(symbol, {}), self._filled_after(levels.time)
        if opened not in kept or levels.time >= kept[opened].time:
            kept[opened] = levels
        while len(kept) > _KEPT:
            del kept[min(kept)]

    def at(self, symbol: str, opened: int) -> Levels | None:
        """Return the newest book at the fills of the bar that opened at `opened`; None: none."""
        earlier = [slot for slot in self._kept.get(symbol, ()) if slot <= opened]
        if not earlier:
            return None
        levels = self._kept[symbol][max(earlier)]
        return levels if opened + self._delay - levels.time <= AGE else None

    def settled(self, symbol: str, opened: int) -> bool:
        """Return whether a later book has come: what `at` says of the bar stays so."""
        return self._newest.get(symbol, 0) > opened + self._delay

    def _filled_after(self, time: int) -> int:
        """Return the open of the first bar whose fills are at `time` or later."""
        past = time - self._delay
        return past + -past % self._interval
