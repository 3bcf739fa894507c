"""How often a venue may be asked: what it says of that in its answers, which ccxt does not read.

A share of what may be asked in a minute is kept for orders. A silence that a venue wants is kept.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping

from research.venues.refusals import Answer
from research.venues.words import Refused, Unreachable

MINUTE = 60_000_000
ASKING = 0.7
"""Share of a minute's weight that is not for orders alone."""
LIMITS = {"binance": 2400}
"""Weight a minute (Binance USD-M, General Info). Others count by endpoint and say when to wait."""
LANES = {"kraken": {"public": (2.0, 1.0), "privatePost": (12.0, 1 / 3)}}
"""By how calls begin: so many at once, and so many more each second (Kraken, Spot REST Rate Limits:
once a second is within the limits of public calls; of private ones a counter of 15 that falls by
0.33 a second, for the lowest tier; orders are counted apart)."""
HEAVY = {"privatePostTradesHistory": 2.0}
"""Calls that count for more than one."""
PATIENCE = 5.0
"""Seconds that a question waits for its turn at most."""
_LOOK = 0.05
_ORDERS = {"x-mbx-order-count-10s": (10_000_000, 300), "x-mbx-order-count-1m": (MINUTE, 1200)}
_SILENCES = {403: 600.0, 418: 120.0, 429: 60.0}


class _Lane:
    """Calls that are left; the clock that went further counts, the venue's or real time."""

    def __init__(self, most: float, rate: float, now: int) -> None:
        self._most, self._rate, self.left = most, rate, most
        self._real, self._there = time.monotonic(), now

    def look(self, now: int) -> float:
        """Return how many calls are left."""
        real = time.monotonic()
        passed = max(real - self._real, (now - self._there) / 1e6, 0.0)
        self._real, self._there = real, now
        self.left = min(self._most, self.left + passed * self._rate)
        return self.left


class Budget:
    """What is left of one venue's patience.

    Parameters
    ----------
    venue : str
        Whose.
    now : callable
        The venue's time, microseconds: it counts in its own minutes.
    """

    def __init__(self, venue: str, now: Callable[[], int]) -> None:
        self._venue, self._now = venue, now
        self._limit = LIMITS.get(venue)
        self._minute, self.used = -1, 0.0
        self._quiet_until = 0.0
        self._orders: dict[str, tuple[int, int]] = {}
        self._full: dict[str, tuple[int, float]] = {}
        lanes = LANES.get(venue, {}).items()
        self._lanes = {name: _Lane(*lane, now()) for name, lane in lanes}

    @property
    def quiet(self) -> float:
        """Seconds for which the venue wants no request."""
        return max(0.0, self._quiet_until - time.monotonic())

    async def take(self, call: str, weight: float, *, order: bool) -> None:
        """Wait until a request may go out.

        Parameters
        ----------
        call : str
            What is called: some venues count each kind of request for itself.
        weight : float
            Its weight in a minute's budget.
        order : bool
            Whether it is one that changes something.

        Raises
        ------
        Refused
            ``too_often``, of an order that the venue would not take now.
        Unreachable
            Of a question that would have to wait for long.
        """
        began = time.monotonic()
        while self._is_full(call) or (not order and not self._may_ask(call, weight)):
            if self.quiet > PATIENCE or time.monotonic() - began > PATIENCE:
                raise Unreachable(f"{self._venue}: asked too often, silent for {self.quiet:.0f} s")
            await asyncio.sleep(_LOOK)
        if order:
            self._take_order()
        elif lane := self._lane(call):
            lane.left -= HEAVY.get(call, 1.0)
        self._roll()
        self.used += weight

    def _may_ask(self, call: str, weight: float) -> bool:
        lane = self._lane(call)
        spare = lane is None or lane.look(self._now()) >= HEAVY.get(call, 1.0)
        return spare and not self.quiet and self._fits(weight)

    def _lane(self, call: str) -> _Lane | None:
        call = "public" if call == "load_markets" else call
        return next((lane for name, lane in self._lanes.items() if call.startswith(name)), None)

    def heard(
        self, call: str, answer: Answer, headers: Mapping[str, str], *, limited: bool
    ) -> None:
        """Take in what an answer says of the budget.

        Parameters
        ----------
        call : str
            What was called.
        answer : Answer
            What was answered.
        headers : mapping of str to str
            With it.
        limited : bool
            Whether the answer means that it is asked too often.
        """
        told = {name.lower(): value for name, value in headers.items()}
        self._roll()
        used = told.get("x-mbx-used-weight-1m", "")
        if used.isdigit():  # others may share the address: the venue's own count rules
            self.used = max(self.used, float(used))
        for name, (window, _) in _ORDERS.items():
            if told.get(name, "").isdigit():
                self._orders[name] = (self._now() // window, int(told[name]))
        reset = told.get("x-bapi-limit-reset-timestamp", "")
        if reset.isdigit() and (told.get("x-bapi-limit-status") == "0" or answer.code == "10006"):
            self._fill(call, int(reset) * 1000)
        elif limited or answer.status in _SILENCES:
            self._be_quiet(self._wanted(answer, told))

    def _fill(self, call: str, reset: int) -> None:
        """Note that no more of `call` may be asked before `reset`, microseconds of the venue.

        Before the limit is passed it tells the present moment: limits are those of a second.
        """
        reset = max(reset, self._now() + 1_000_000)
        seconds = (reset - self._now()) / 1e6
        # where the venue's clock stands still, real time has to do
        self._full[call] = (reset, time.monotonic() + min(seconds, PATIENCE))

    def _is_full(self, call: str) -> bool:
        reset, until = self._full.get(call, (0, 0.0))
        return self._now() < reset and time.monotonic() < until

    def _take_order(self) -> None:
        if self.quiet:
            raise Refused("too_often", f"{self._venue} wants silence for {self.quiet:.0f} s")
        for name, (window, most) in _ORDERS.items():
            at, count = self._orders.get(name, (-1, 0))
            if at == self._now() // window and count >= most:
                raise Refused("too_often", f"{count} orders within {window // 1_000_000} s")

    def _fits(self, weight: float) -> bool:
        self._roll()
        return self._limit is None or self.used + weight <= self._limit * ASKING

    def _roll(self) -> None:
        minute = self._now() // MINUTE
        if minute != self._minute:
            self._minute, self.used = minute, 0.0

    def _wanted(self, answer: Answer, told: Mapping[str, str]) -> float:
        """Return the seconds of silence that an answer asks for."""
        after = told.get("retry-after", "").strip()
        if re.fullmatch(r"\d{1,7}(\.\d+)?", after):
            return float(after)
        if answer.code == "EGeneral:Temporary lockout":
            return 900.0  # fifteen minutes (Kraken, Rate limits)
        return _SILENCES.get(answer.status, 1.0)

    def _be_quiet(self, seconds: float) -> None:
        # "Retry-After: 0" is no leave to hammer
        self._quiet_until = max(self._quiet_until, time.monotonic() + max(seconds, 0.2))
