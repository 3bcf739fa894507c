"""The dead man's switch: the venue cancels all open orders unless it hears of us in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from research.venues.words import Gateway, Refused, Unknown, Unreachable

SECONDS = {"binance": 120.0, "kraken": 60.0}
"""How long each venue waits, by its own advice: Binance ``countdownCancelAll`` is to be set to 120
s and renewed every 30 s, Kraken ``CancelAllOrdersAfter`` to 60 s and renewed every 15 to 30 s.
Bybit has such a timer for institutions alone."""
_A_TIME = 4


class DeadMan:
    """Renews the venue's timer while the run is well.

    A run that hangs, is killed or has lost the network leaves no order behind. The timer cancels
    orders and closes nothing: stops and takes are orders too.

    Parameters
    ----------
    gateway : Gateway
        Of the account.
    healthy : callable
        Whether the run is well; while it is not, the timer runs out.
    seconds : float, optional
        The venue's seconds after which it cancels. Absent: `SECONDS`; 0: there is no timer.
    pace : float
        The venue's seconds in one of ours.

    Attributes
    ----------
    failed : int
        Renewals in a row that failed.
    """

    def __init__(
        self,
        gateway: Gateway,
        healthy: Callable[[], bool],
        *,
        seconds: float | None = None,
        pace: float = 1.0,
    ) -> None:
        self._gateway, self._healthy, self._pace = gateway, healthy, pace
        self._seconds = SECONDS.get(gateway.name, 0.0) if seconds is None else seconds
        self.failed = 0

    async def run(self) -> None:
        """Renew until cancelled: four times within the time that the venue waits."""
        while self._seconds:
            if self._healthy():
                await self._say(self._seconds)
            await asyncio.sleep(self._seconds / _A_TIME / self._pace)

    async def end(self) -> bool:
        """Turn the timer off, in order; return whether the venue has said so."""
        return not self._seconds or await self._say(0)

    async def _say(self, seconds: float) -> bool:
        try:
            await self._gateway.dead_man(seconds)
        except (Unknown, Unreachable, Refused):  # the next renewal is soon; nobody hearing us is
            self.failed += 1  # what the timer is for
            return False
        self.failed = 0
        return True
