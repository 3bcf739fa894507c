"""One account's way to its venue: ccxt's signing and addresses, our judgement of what came back.

Each request goes out once. What an answer means is read from the answer itself, whatever ccxt makes
of it; where none came, a change may have happened (`Unknown`) and a question has no answer
(`Unreachable`). No text that leaves here holds a key, a secret or a signature.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import Any, Never, TypeVar

import aiohttp
import orjson

from research.errors import UserError
from research.live.log import Secrets, redacted
from research.live.net import Network
from research.venues.budget import Budget
from research.venues.keys import Keys
from research.venues.refusals import UNKNOWN, Answer, code_of, meaning
from research.venues.words import WINDOW_US, Refused, Unknown, Unreachable

T = TypeVar("T")
CLIENTS = {"binance": "binanceusdm", "bybit": "bybit", "kraken": "kraken"}
_OPTIONS: dict[str, dict[str, Any]] = {
    "binance": {
        "recvWindow": WINDOW_US // 1000,
        "fetchMargins": False,
        "warnOnFetchOpenOrdersWithoutSymbol": False,
    },
    # the account is a unified one, or `permissions` says that it is not: ccxt need not ask
    "bybit": {
        "recvWindow": WINDOW_US // 1000,
        "fetchMarkets": {"types": ["linear"]},
        "loadAllOptions": False,
        "enableUnifiedMargin": False,
        "enableUnifiedAccount": True,
    },
    "kraken": {},
}
# ccxt's own window lets three private questions through in ten seconds; Kraken a dozen at once
_PACES = {
    "kraken": {
        "rateLimiterAlgorithm": "leakyBucket",
        "tokenBucket": {"capacity": 30.0, "tokens": 30.0},
    }
}
_SHOWN = 300
_TRIES = 2
"""How often a question is asked again that the venue will answer another time."""
_ARRIVAL = 1.0
"""Seconds on the way after which a request has arrived, or never will before the next."""


class _Crowded(Unreachable):
    """A question came at a bad moment; it may be asked again after a while."""


class Call:
    """One request on its way."""

    def __init__(self, name: str, *, order: bool) -> None:
        self.name, self.order = name, order
        self.sent = False
        self.answer: Answer | None = None


_call: ContextVar[Call] = ContextVar("call")


class Wire:
    """Requests of one account.

    Parameters
    ----------
    venue : str
        ``binance``, ``bybit`` or ``kraken``.
    network : Network
        How it is reached; it stays open.
    keys : Keys
        What requests are signed with.
    now : callable, optional
        Time in microseconds; absent: this machine's.
    timeout : float
        Real seconds after which no answer is waited for.
    pace : float
        Market seconds in a real one: how much faster than in real time may be asked. Infinite:
        without a pause.
    """

    def __init__(
        self,
        venue: str,
        network: Network,
        keys: Keys,
        *,
        now: Callable[[], int] | None,
        timeout: float,
        pace: float,
    ) -> None:
        self.venue, self.now, self._pace = venue, now or _now, pace
        self._secrets = Secrets([keys.key, keys.secret])
        self.budget = Budget(venue, self.now)
        # a nonce that comes after a higher one is refused: one signed request at a time
        self._turn = asyncio.Lock() if venue == "kraken" else None
        self.client = _client(venue, network, keys, self, timeout)
        self._throttle = self.client.throttle
        self.client.throttle = self._pause

    @property
    def skew_us(self) -> int:
        """How far this machine's clock is ahead of the venue's, as far as that is certain."""
        return int(self.client.options.get("timeDifference", 0)) * 1000

    async def ask(self, call: str, *args: Any, read: Callable[[Any], T]) -> T:
        """Return what `read` makes of an answer; nothing is changed at the venue.

        Raises
        ------
        Unreachable
            If there was no usable answer.
        Refused
            If the venue does not answer such a question, or not us.
        """
        for _ in range(_TRIES):
            try:
                return await self._asked(call, args, read)
            except Refused as no:
                if no.reason != "clock" or self.venue == "kraken":
                    raise
                await self.set_clock()
            except _Crowded:  # the budget waits for as long as the venue said
                continue
        return await self._asked(call, args, read)

    async def change(self, call: str, *args: Any, read: Callable[[Any], T]) -> T:
        """Send once; return what `read` makes of the answer.

        A task that is cancelled while it waits here ends as cancelled ones do; what became of the
        request is then as unknown as it is to a program that was killed.

        Raises
        ------
        Refused
            If nothing has changed, for certain.
        Unknown
            If nobody can tell.
        """
        this = Call(call, order=True)
        try:
            return read(await self._made(this, args))
        except (Refused, Unknown):
            raise
        except Unreachable as error:
            raise Unknown(str(error)) from None
        except Exception as error:  # whatever ccxt or an answer that is no answer raises
            self._changed(this, error)

    async def set_clock(self) -> None:
        """Measure how far this machine's clock is off; what is within doubt counts as nothing."""
        asked = self.now()
        there = await self._asked(*_TIME[self.venue])
        here = self.now()
        off, doubt = (asked + here) // 2 - there, (here - asked) // 2 + _COARSE[self.venue]
        self.client.options["timeDifference"] = off // 1000 if abs(off) > doubt else 0

    async def close(self) -> None:
        """Let go of the session, which stays open."""
        await self.client.close()

    async def _asked(self, call: str, args: Any, read: Callable[[Any], T]) -> T:
        this = Call(call, order=False)
        try:
            return read(await self._made(this, args))
        except (Refused, Unreachable):
            raise
        except Exception as error:  # as above
            self._unanswered(this, error)

    async def _made(self, this: Call, args: Any) -> Any:
        """Make a request; whether it is answered is noted in `this`."""
        told = _call.set(this)
        try:
            async with self._one_by_one(this.name):
                return await getattr(self.client, this.name)(*args)
        finally:
            _call.reset(told)

    @asynccontextmanager
    async def _one_by_one(self, call: str) -> AsyncIterator[None]:
        """Wait for the one before to be answered; or for a while, as it has arrived by then."""
        if self._turn is None or call.startswith("public") or call == "load_markets":
            yield
            return
        await self._turn.acquire()
        held = [self._turn]
        late = asyncio.get_running_loop().call_later(_ARRIVAL, lambda: held.pop().release())
        try:
            yield
        finally:
            late.cancel()
            if held:
                held.pop().release()

    async def _pause(self, weight: float | None = None) -> None:
        """Stand in for ccxt's throttle: our budget first, then its own pace."""
        this = _call.get()
        await self.budget.take(this.name, weight or 0.0, order=this.order)
        if math.isfinite(self._pace) and not this.order:  # an order stands behind no question
            await self._throttle((weight or 0.0) / self._pace)

    def heard(self, status: int, headers: Any, body: str) -> None:
        """Take in an answer as it came."""
        try:
            told = orjson.loads(body)
        except orjson.JSONDecodeError:
            told = None
        answer = Answer(status, code_of(self.venue, told), body)
        this = _call.get()
        this.answer = answer
        limited = bool(answer.code) and meaning(self.venue, answer, sure=True) == "too_often"
        self.budget.heard(this.name, answer, headers, limited=limited)

    # -- judgement -------------------------------------------------------------------------------

    def _changed(self, this: Call, error: Exception) -> Never:
        sure = _definite(error)
        if not this.sent and sure:  # ccxt itself would not send it
            raise Refused("other", self._words(error)) from None
        if this.answer is not None and (this.answer.code or this.answer.status >= 300):
            reason = meaning(self.venue, this.answer, sure=sure)
            if reason != UNKNOWN:
                raise Refused(reason, self._words(this.answer.text)) from None
        raise Unknown(f"{self.venue}: {self._words(error)}") from None

    def _unanswered(self, this: Call, error: Exception) -> Never:
        sure = _definite(error)
        if not this.sent and sure:
            raise Refused("other", self._words(error)) from None
        if this.answer is not None and this.answer.code:
            reason = meaning(self.venue, this.answer, sure=sure)
            if reason == "too_often":
                raise _Crowded(f"{self.venue}: {self._words(this.answer.text)}") from None
            if reason != UNKNOWN:
                raise Refused(reason, self._words(this.answer.text)) from None
        raise Unreachable(f"{self.venue}: {self._words(error)}") from None

    def _words(self, said: object) -> str:
        """Return what was said, short and without secrets."""
        if isinstance(said, Exception):
            said = f"{type(said).__name__} {said}"
        return str(redacted(str(said), self._secrets))[:_SHOWN]


def _definite(error: Exception) -> bool:
    """Return whether ccxt knows an error for one that leaves nothing done.

    A bare `ExchangeError` is what it makes of an answer it does not know, and of one cut short.
    """
    from ccxt.base.errors import ExchangeError

    return isinstance(error, ExchangeError) and type(error) is not ExchangeError


def _server_time(told: Any) -> int:
    return int(told["serverTime"]) * 1000


def _bybit_time(told: Any) -> int:
    return int(told["result"]["timeNano"]) // 1000


def _kraken_time(told: Any) -> int:
    return int(told["result"]["unixtime"]) * 1_000_000


_TIME: dict[str, tuple[str, tuple[()], Callable[[Any], int]]] = {
    "binance": ("fapiPublicGetTime", (), _server_time),
    "bybit": ("publicGetV5MarketTime", (), _bybit_time),
    "kraken": ("publicGetTime", (), _kraken_time),
}
_COARSE = {"binance": 1_000, "bybit": 1_000, "kraken": 1_000_000}
"""Microseconds in which a venue tells the time."""


async def venue_time(wire: Wire) -> int:
    """Return a venue's time, microseconds."""
    call, args, read = _TIME[wire.venue]
    return await wire.ask(call, *args, read=read)


class _Session:
    """What ccxt takes for a session: it follows no redirect, as keys must not go elsewhere."""

    def __init__(self, network: Network, wire: Wire) -> None:
        self._network, self._wire = network, wire
        self.headers: dict[str, str] = {}  # ccxt adds them to each request's own

    def get(self, url: Any, **how: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._send("GET", url, how)

    def post(self, url: Any, **how: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._send("POST", url, how)

    def put(self, url: Any, **how: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._send("PUT", url, how)

    def delete(self, url: Any, **how: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._send("DELETE", url, how)

    @asynccontextmanager
    async def _send(
        self, method: str, url: Any, how: dict[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        session = self._network.session()
        _call.get().sent = True
        async with session.request(method, url, allow_redirects=False, **how) as response:
            self._wire.heard(response.status, response.headers, await response.text("utf8"))
            if 300 <= response.status < 400:
                raise aiohttp.ClientConnectionError("the venue points elsewhere")
            yield response


def _client(venue: str, network: Network, keys: Keys, wire: Wire, timeout: float) -> Any:
    """Return ccxt's client of a venue, on our session and our clock."""
    try:
        import ccxt.async_support as ccxt
    except ModuleNotFoundError as error:
        raise UserError(
            "orders: need ccxt, the extra 'live'. Run: .venv/bin/python -m pip install -e '.[live]'"
        ) from error
    client = getattr(ccxt, CLIENTS[venue])(
        {
            "apiKey": keys.key,
            "secret": keys.secret,
            "session": _Session(network, wire),
            "enableRateLimit": True,
            "timeout": round(timeout * 1000),
            "options": _OPTIONS[venue],
            **_PACES.get(venue, {}),
        }
    )
    client.has["fetchCurrencies"] = False  # nothing here is deposited or withdrawn
    # ccxt would load the system's certificates for a session of its own, which it never has here
    client.ssl_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.milliseconds = lambda: wire.now() // 1000
    if venue == "kraken":
        # real time, finer than ccxt's: it rises across restarts, and where market time stands still
        client.nonce = _now
    return client


def _now() -> int:
    return time.time_ns() // 1000
