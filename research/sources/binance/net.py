"""Polite requests: bounded, inside the weight budget, silent when told to be, patient with faults.

Every request of a run goes through one `Host` per server. Whether it may be sent is decided with
no `await` before it is sent, so that no task slips into a silence another task was just told of.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import aiohttp
import orjson

from research.errors import UserError
from research.sources.binance.account import Tally
from research.sources.binance.venue import read_json, write_atomic

Read = TypeVar("Read")
_REFUSALS = 20


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and how patient a download is; times in seconds.

    Parameters
    ----------
    concurrency : int
        Requests under way at once, over all servers.
    tries : int
        Times one request is sent before a server that fails is given up.
    backoff, longest : float
        The n-th pause after a fault is drawn from 0 to ``backoff * 2**n``, at most `longest`.
    patience : float
        Longest silence that is waited out; a longer one ends the run with its reason.
    minute : float
        Length of the venue's weight window.
    share : float
        Part of the weight budget that is used, so that other programs keep some.
    timeout : float
        Longest wait for the next byte of an answer.

    Examples
    --------
    >>> Pace().concurrency
    8
    """

    concurrency: int = 8
    tries: int = 6
    backoff: float = 0.5
    longest: float = 30.0
    patience: float = 600.0
    minute: float = 60.0
    share: float = 0.75
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer: status, body, headers, and the server's own clock where it told it."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def clock(self) -> datetime | None:
        """The server's time, to the second, from the Date header."""
        return _http_date(self.headers.get("date", ""))


class Broken(Exception):
    """An answer that arrived whole by HTTP but is not what was asked for; worth another try."""


class Net:
    """The session, the request slots and the count that all servers of one run share."""

    def __init__(self, pace: Pace, tally: Tally, quiet_file: Path) -> None:
        self.pace, self.tally, self.quiet_file = pace, tally, quiet_file
        self.slots = asyncio.Semaphore(pace.concurrency)
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=pace.timeout, sock_read=pace.timeout
            ),
            connector=aiohttp.TCPConnector(limit=0),  # the slots are the bound
            trust_env=True,
        )

    async def __aenter__(self) -> Net:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.session.close()


class Host:
    """One server: its base address, its silence and, for REST, its weight budget."""

    def __init__(self, net: Net, base: str, kind: str, budget: int | None = None) -> None:
        if not base.startswith(("http://", "https://")):
            raise UserError(f"binance: {kind} must be an http(s) address, found {base!r}.")
        self.net, self.base, self.kind = net, base.rstrip("/"), kind
        self.budget = None if budget is None else int(budget * net.pace.share)
        self.window, self.used, self.in_flight = -1, 0, 0
        told = read_json(net.quiet_file).get(self.base, 0.0) - time.time()
        self.quiet_until = time.monotonic() + max(0.0, told)

    async def get(
        self,
        path: str,
        read: Callable[[Answer], Read],
        *,
        weight: int = 0,
        **params: str | int,
    ) -> Read:
        """Return ``read(answer)`` of a GET; waits, tries again and gives up as `Pace` says.

        Raises
        ------
        UserError
            If the server fails `tries` times, refuses this address, or asks for a silence longer
            than the patience.
        """
        failed = refused = 0
        while True:
            found = await self._send(path, params, weight)
            if isinstance(found, Answer) and found.status in (418, 429):
                refused += 1
                self._be_quiet(found, refused)
                continue
            problem = found if isinstance(found, str) else self._problem(found)
            if isinstance(found, Answer) and not problem:
                try:
                    return read(found)
                except Broken as broken:
                    problem = str(broken)
            failed += 1
            if failed >= self.net.pace.tries:
                raise UserError(
                    f"binance: {self.base}{path} failed {failed} times, last: {problem}. "
                    "Run again to go on from here."
                )
            await self.back_off(path, problem, failed)

    async def _send(self, path: str, params: dict[str, str | int], weight: int) -> Answer | str:
        while True:
            async with self.net.slots:
                if not (wait := self._must_wait(weight)):
                    return await self._exchange(path, params, weight)
            self.net.tally.waits += 1
            self.net.tally.waited += wait
            await asyncio.sleep(wait)

    async def _exchange(self, path: str, params: dict[str, str | int], weight: int) -> Answer | str:
        self.net.tally.requests[self.kind] += 1
        self.used += weight
        self.in_flight += weight
        try:
            async with self.net.session.get(self.base + path, params=params) as response:
                headers = {k.lower(): v for k, v in response.headers.items()}
                answer = Answer(response.status, await response.read(), headers)
        except (aiohttp.ClientError, OSError) as error:
            return f"{type(error).__name__} {error}".strip()
        finally:
            self.in_flight -= weight
        self._roll()
        told = answer.headers.get("x-mbx-used-weight-1m", "")
        if told.isdigit():  # others may use the same address: the venue's count rules
            self.used = max(self.used, int(told) + self.in_flight)
        return answer

    def _must_wait(self, weight: int) -> float:
        quiet = self.quiet_until - time.monotonic()
        self._refuse_if_longer(quiet)
        if quiet > 0 or self.budget is None:
            return max(0.0, quiet)
        self._roll()
        if self.used + weight <= self.budget or self.used == self.in_flight == 0:
            return 0.0
        # a little into the next window, as the venue's clock may be behind ours
        minute = self.net.pace.minute
        return (self.window + 1) * minute - time.time() + minute / 60

    def _roll(self) -> None:
        window = int(time.time() // self.net.pace.minute)
        if window != self.window:
            self.window, self.used = window, self.in_flight

    def _be_quiet(self, answer: Answer, refused: int) -> None:
        if refused > _REFUSALS:
            raise UserError(
                f"binance: {self.base} answered {answer.status} {refused} times to one request, "
                "each time after the silence it asked for. Run again later; what was stored stays."
            )
        told = _retry_after(answer, default=self.net.pace.minute)
        seconds = max(told, self.net.pace.backoff)  # "Retry-After: 0" is no leave to hammer
        self.quiet_until = max(self.quiet_until, time.monotonic() + seconds)
        self.net.tally.retries += 1
        self.net.tally.notes.append(
            f"{self.base} answered {answer.status}: silent for {seconds:g} s."
        )
        until = read_json(self.net.quiet_file)  # a ban outlives the run that met it
        until[self.base] = time.time() + self.quiet_until - time.monotonic()
        write_atomic(self.net.quiet_file, orjson.dumps(until))

    def _refuse_if_longer(self, quiet: float) -> None:
        if quiet > self.net.pace.patience:
            until = datetime.fromtimestamp(time.time() + quiet, UTC)
            raise UserError(
                f"binance: {self.base} wants no requests from this address until "
                f"{until:%Y-%m-%d %H:%M:%S}Z. Run again after that; what was stored stays."
            )

    def _problem(self, answer: Answer) -> str:
        if answer.status in (200, 400, 404):
            return ""
        if answer.status == 408 or answer.status >= 500:
            return f"status {answer.status}"
        raise UserError(
            f"binance: {self.base} refuses this address with status {answer.status}. "
            f"Name a mirror in data.{self.kind}, or try from another network."
        )

    async def back_off(self, path: str, problem: str, failed: int = 1) -> None:
        """Note a fault and pause before the next try: at random, longer after each failure."""
        self.net.tally.retries += 1
        self.net.tally.notes.append(f"{self.base}{path}: {problem}; tried again.")
        longest = min(self.net.pace.longest, self.net.pace.backoff * 2**failed)
        await asyncio.sleep(random.uniform(0, longest))


def _retry_after(answer: Answer, *, default: float) -> float:
    text = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    until, now = _http_date(text), answer.clock or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds()) if until else default


def _http_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
