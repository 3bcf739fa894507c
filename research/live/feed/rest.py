"""Polite requests on the live side: inside the weight budget, silent when told to be.

One request is one try: how long to go on belongs to who asks. A silence a venue asks for is kept
on disk, so that a killed program keeps it too.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import aiohttp
import orjson

from research.live.clock import Clock
from research.live.feed.limits import Limits
from research.live.feed.records import Ask, Venue
from research.live.net import Network
from research.sources.binance.venue import read_json
from research.store import atomic

_SHARE = 0.5  # of the budget: another program may live behind the same address
_SPARE = 0.5  # of that: what nothing waits for leaves the rest to what bars wait for
_MINUTE = 60.0
_LOOK = 0.2


class Unanswered(Exception):
    """No usable answer; worth another try."""


class Refused(Exception):
    """The venue does not know what was asked for; another try is no use."""


class _NoneToSpare(Unanswered):
    """Not asked: what is left of the minute's weight is kept for others."""


class Host:
    """One venue's REST server.

    Parameters
    ----------
    network : Network
        How it is reached.
    venue : Venue
        Whose it is.
    clock : Clock
        Whose minutes the venue counts weight in.
    limits : Limits
        How long to wait.
    """

    def __init__(self, network: Network, venue: Venue, clock: Clock, limits: Limits) -> None:
        self._network, self._venue, self._limits, self._clock = network, venue, limits, clock
        self._budget = int(venue.budget * _SHARE)
        self._minute, self._since, self._flying = -1, 0.0, 0
        self._slots = asyncio.Semaphore(8)
        self._lanes: dict[str, tuple[float, int]] = {}
        self._file = atomic.data_root() / "live" / "quiet.json"
        self._key = venue.base + (f":{network.port}" if network.port else "")
        self.used = 0
        """Weight used in this minute, as the venue counts it."""
        self.requests = 0
        self.last_us = 0
        self.why = ""
        """Why the last request had no answer; empty if it had one."""
        left = read_json(self._file).get(self._key, 0.0) - time.time()
        self._quiet_until = time.monotonic() + max(0.0, left)

    @property
    def quiet(self) -> float:
        """Seconds for which the venue wants no request."""
        return max(0.0, self._quiet_until - time.monotonic())

    async def get(self, ask: Ask, *, spare: bool = False) -> Any:
        """Return the JSON of one answer, after any silence the venue asked for.

        Parameters
        ----------
        ask : Ask
            What is asked.
        spare : bool
            Whether nothing waits for it: it is sent only at once, and only while, with it, half of
            this minute's weight is left.

        Raises
        ------
        Unanswered
            If no answer came or it is not one, or there is no weight to spare.
        Refused
            If the venue does not know the symbol.
        """
        try:
            found = await self._send(ask, spare=spare)
        except _NoneToSpare:
            raise  # nothing was asked: it says nothing of the venue
        except Unanswered as error:
            self.why = str(error)
            raise
        self.why, self.last_us = "", self._clock.now()
        return found

    async def _send(self, ask: Ask, *, spare: bool) -> Any:
        async with self._slots:
            if spare and not self._spares(ask.weight):
                raise _NoneToSpare
            # between the last look and the sending nothing is awaited: no request slips into a
            # silence that another one was just told of
            while (wait := self._must_wait(ask)) > 0:
                await asyncio.sleep(wait)
            self._lanes[ask.lane] = time.monotonic(), self._clock.now()
            self.used += ask.weight
            self._flying += ask.weight
            self.requests += 1
            try:
                status, body, headers = await self._exchange(ask)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise Unanswered(f"{type(error).__name__} {error}".strip()[:200]) from error
            finally:
                self._flying -= ask.weight
        return self._judge(status, body, headers)

    async def _exchange(self, ask: Ask) -> tuple[int, bytes, dict[str, str]]:
        whole = aiohttp.ClientTimeout(total=self._limits.connect)
        url = self._venue.base + ask.path
        async with self._network.session().get(
            url, params=ask.params, timeout=whole, allow_redirects=False
        ) as response:
            body = await response.content.read(self._limits.frame + 1)
            while len(body) <= self._limits.frame and not response.content.at_eof():
                body += await response.content.read(self._limits.frame + 1 - len(body))
            return response.status, body, {k.lower(): v for k, v in response.headers.items()}

    def _judge(self, status: int, body: bytes, headers: dict[str, str]) -> Any:
        self._count(headers)
        if status in (403, 418, 429):
            default = self._limits.forbidden if status == 403 else _MINUTE * (1 + (status == 418))
            self._be_quiet(_retry_after(headers, default))
            raise Unanswered(f"status {status}: silent for {self.quiet:.1f} s")
        if len(body) > self._limits.frame:
            raise Unanswered("an answer too large")
        try:
            told = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Unanswered(f"status {status}, not JSON") from error
        if reason := self._venue.refusal(status, told):
            raise Refused(reason)
        if self._venue.throttled(told):
            self._be_quiet(_retry_after(headers, 1.0))
            raise Unanswered("asked too often")
        wrong = type(told) is dict and (told.get("retCode", 0) != 0 or told.get("error"))
        if status != 200 or wrong:
            raise Unanswered(f"status {status}: {body[:120].decode('utf-8', 'replace')}")
        return told

    def _count(self, headers: dict[str, str]) -> None:
        self._roll()
        told = headers.get("x-mbx-used-weight-1m", "")
        if told.isdigit():  # others may use the same address: the venue's count rules
            self.used = int(told) + self._flying

    def _must_wait(self, ask: Ask) -> float:
        """Return seconds after which to look again; 0 to go on."""
        if self.quiet:
            return self.quiet
        self._roll()
        fits = self.used + ask.weight <= self._budget or self.used == self._flying == 0
        return min(_LOOK, self._until_next(ask)) if fits else _LOOK

    def _until_next(self, ask: Ask) -> float:
        """Return seconds, of whichever time flies faster, until its lane takes another one."""
        if not ask.pace or ask.lane not in self._lanes:
            return 0.0
        real, market = self._lanes[ask.lane]
        gone = max(time.monotonic() - real, (self._clock.now() - market) / 1e6)
        return max(0.0, ask.pace - gone)

    def _spares(self, weight: int) -> bool:
        self._roll()
        return not self.quiet and self.used + weight <= self._budget * _SPARE

    def _roll(self) -> None:
        # market minutes; a second late, as the venue's clock may be behind ours
        minute, real = (self._clock.now() - 1_000_000) // 60_000_000, time.monotonic()
        if minute != self._minute or real - self._since > _MINUTE + 1:
            self._minute, self._since, self.used = minute, real, self._flying

    def _be_quiet(self, seconds: float) -> None:
        # "Retry-After: 0" is no leave to hammer
        self._quiet_until = max(
            self._quiet_until, time.monotonic() + max(seconds, self._limits.first)
        )
        now = time.time()
        known = {k: v for k, v in read_json(self._file).items() if v > now}
        atomic.write_json(self._file, known | {self._key: now + self.quiet})


def _retry_after(headers: dict[str, str], default: float) -> float:
    text = headers.get("retry-after", "").strip()
    return float(text) if re.fullmatch(r"\d{1,7}(\.\d+)?", text) else default
