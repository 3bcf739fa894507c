"""How patient the feed is. Real seconds: a broken socket does not mend faster in a fast market."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of this machine and of good manners, in real seconds where not said otherwise.

    Parameters
    ----------
    ping : float
        Between two pings of ours.
    silence : float
        A connection that sends nothing, not even a pong, for so long is half-open; a stream that
        is silent for so long, and for three of its usual pauses, is stale.
    tick : float
        Between two looks of the watchdog.
    connect : float
        Longest wait for a connection or an answer.
    first, longest : float
        The first pause after a failure, and the longest; each is twice the one before.
    grace : float
        Given to frames under way when the clock reaches a deadline.
    renew_us : int
        Age at which a connection is replaced, market microseconds: the venue cuts at 24 h.
    frame : int
        Largest frame or answer, bytes.
    forbidden : float
        Silence after a 403 that does not say for how long.

    Examples
    --------
    >>> Limits().silence
    8.0
    """

    ping: float = 3.0
    silence: float = 8.0
    tick: float = 0.25
    connect: float = 10.0
    first: float = 0.5
    longest: float = 30.0
    grace: float = 0.02
    renew_us: int = 23 * 3_600_000_000
    frame: int = 4 * 1024**2
    forbidden: float = 600.0


class Pauses:
    """Pauses that double from `first` to `longest`, each cut at random by up to a half."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.failures = 0

    def next(self) -> float:
        """Return the pause after one more failure, seconds."""
        full = min(self._limits.longest, self._limits.first * 2 ** min(self.failures, 16))
        self.failures += 1
        return random.uniform(full / 2, full)
