"""Kraken's limit on public requests: calls more than a second apart are never refused."""

from __future__ import annotations

from time import monotonic
from typing import NamedTuple

TOO_OFTEN = "EAPI:Rate limit exceeded"
BURST = 3.0
"""Calls at once that are let through. Kraken publishes none: the count is this room's own."""
SLOW = 5.0
"""Seconds for which one who called too often is refused; it begins again with each call."""


class _Lane(NamedTuple):
    used: float
    real: float
    market: int
    shut: float


class Pace:
    """A counter for each address and, of trades and candles, for each pair; it falls by `rate`.

    Time is real or market time, whichever went further: a fast market must not be slower to ask.

    Parameters
    ----------
    rate : float
        Calls a second.

    References
    ----------
    Kraken support, "What are the API rate limits": public endpoints are limited by address and
    pair for Trades and OHLC, by address for all others; once a second is within the limits, who
    calls more often may be refused for a few seconds.

    Examples
    --------
    >>> pace = Pace()
    >>> [pace.spend("XBTUSD", 0) for _ in range(4)]
    [True, True, True, False]
    >>> pace.spend("ETHUSD", 0), pace.spend("XBTUSD", 10_000_000)
    (True, True)
    """

    def __init__(self, rate: float = 1.0) -> None:
        self.rate = rate
        self.refused = 0
        """Calls that were too many."""
        self._lanes: dict[str, _Lane] = {}

    def spend(self, lane: str, now: int) -> bool:
        """Count a call at market time `now`, microseconds; False: it is refused."""
        real = monotonic()
        before = self._lanes.get(lane, _Lane(0.0, real, now, 0.0))
        passed = max(real - before.real, (now - before.market) / 1e6)
        left, shut = max(0.0, before.used - passed * self.rate), before.shut - passed
        fits = left + 1 <= BURST and shut <= 0
        if not fits:
            self.refused += 1
        shut = 0.0 if fits else SLOW / self.rate
        self._lanes[lane] = _Lane(left + fits, real, now, shut)
        return fits
