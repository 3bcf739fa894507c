"""How far the venue's clock is from ours."""

from __future__ import annotations

from typing import NamedTuple

from research.live.clock import Clock
from research.live.feed.records import Unfit, Venue
from research.live.feed.rest import Host, Unanswered


class Skew(NamedTuple):
    """The venue's clock minus ours, and how wrong that may be: half the time the answer took."""

    us: int = 0
    error: int = 0

    @property
    def sure(self) -> int:
        """The part of the distance that the error cannot explain.

        >>> Skew(900, 1000).sure, Skew(-5000, 1000).sure
        (0, -4000)
        """
        return max(0, abs(self.us) - self.error) * (1 if self.us > 0 else -1)


async def measure(host: Host, venue: Venue, clock: Clock, *, slack: int = 0) -> tuple[Skew, int]:
    """Ask the venue what time it is.

    Parameters
    ----------
    slack : int
        Added to the error, microseconds: the exchange's own clock, told over another socket, may
        lag by a bar.

    Returns
    -------
    skew : Skew
    now : int
        The venue's time in its answer.

    Raises
    ------
    Unanswered
        If it does not say.
    """
    before = clock.now()
    told = await host.get(venue.time())
    after = clock.now()
    try:
        now = venue.clock(told)
    except Unfit as unfit:
        raise Unanswered(str(unfit)) from unfit
    return Skew(now - (before + after) // 2, (after - before) // 2 + venue.rounding + slack), now
