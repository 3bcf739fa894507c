"""How often a venue may be asked: what it says of that in its answers, which ccxt does not read.

A share of what may be asked in a minute is kept for orders. A silence that a venue wants is kept.
"""

from __future__ import annotations

import re
from asyncio import sleep
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic

from research.venues.refusals import Answer
from research.venues.words import Refused, Unreachable

MINUTE = 60_000_000
ASKING = 0.7
"""Share of a minute's weight that is not for orders alone."""
LIMITS = {"binance": 2400}
"""Weight a minute (Binance USD-M, General Info). Others count by endpoint and say when to wait."""
LANES = {"kraken": {"public": (2.0, 1.0), "privatePost": (12.0, 0.3)}}
"""By how calls begin: so many at once, and so many more each second (Kraken, Spot REST Rate Limits:
once a second is within the limits of public calls; of private ones a counter of 15 that falls by
0.33 a second, for the lowest tier; orders are counted apart)."""
HEAVY = {"privatePostTradesHistory": 2.0}
"""Calls that count for more than one."""
PATIENCE = 5.0
"""Seconds that a question waits at most for a silence to end, or for the next minute."""
TURN = 30.0
"""Seconds that a question waits at most for its turn in a lane: far more than the costliest takes
to be saved for, or it would never be asked."""
_LOOK = 0.05
_ORDERS = {"x-mbx-order-count-10s": (10_000_000, 300), "x-mbx-order-count-1m": (MINUTE, 1200)}
_SILENCES = {403: 600.0, 418: 120.0, 429: 60.0}


class _Lane:
    """Calls that are left; of the venue's time and real time that counts which went further.

    Whoever came first is served first: cheap calls must not eat what a costly one waits for.
    """

    def __init__(self, most: float, rate: float, now: int) -> None:
        self._most, self._rate, self._left = most, rate, most
        self._real, self._there = monotonic(), now
        self._line: deque[object] = deque()

    def spend(self, one: object, cost: float, now: int) -> bool:
        """Take a call if it is the turn of `one` and there is enough."""
        if one not in self._line:
            self._line.append(one)
        real = monotonic()
        passed = max(real - self._real, (now - self._there) / 1e6, 0.0)
        left = min(self._most, self._left + passed * self._rate)
        if self._line[0] is not one or left < cost:
            return False
        self._left, self._real, self._there = left - cost, real, now
        return True

    def leave(self, one: object) -> None:
        """Wait no longer."""
        with suppress(ValueError):
            self._line.remove(one)


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
        return max(0.0, self._quiet_until - monotonic())

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
        await self._until(lambda: not self._is_full(call), PATIENCE)
        if order:
            self._take_order()
        else:
            await self._until(lambda: not self.quiet and self._fits(weight), PATIENCE)
            await self._turn(call)
        self._roll()
        self.used += weight

    async def _turn(self, call: str) -> None:
        """Wait for a call's turn in its lane."""
        if lane := self._lane(call):
            one, cost = object(), HEAVY.get(call, 1.0)
            try:
                await self._until(
                    lambda: not self.quiet and lane.spend(one, cost, self._now()), TURN
                )
            finally:
                lane.leave(one)

    async def _until(self, may: Callable[[], bool], patience: float) -> None:
        """Look again and again, for a while."""
        began = monotonic()
        while not may():
            waited = monotonic() - began
            if self.quiet > patience or waited > patience:
                left = f", silent for {self.quiet:.0f} s" if self.quiet else ""
                raise Unreachable(f"{self._venue}: asked too often, waited {waited:.0f} s{left}")
            await sleep(_LOOK)

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
        self._full[call] = (reset, monotonic() + min(seconds, PATIENCE))

    def _is_full(self, call: str) -> bool:
        reset, until = self._full.get(call, (0, 0.0))
        return self._now() < reset and monotonic() < until

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
        self._quiet_until = max(self._quiet_until, monotonic() + max(seconds, 0.2))
