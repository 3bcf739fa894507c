"""One account's way to its venue: ccxt's signing and addresses, our judgement of what came back.

Each request goes out once. What an answer means is read from the answer itself, whatever ccxt makes
of it; where none came, a change may have happened (`Unknown`) and a question has no answer
(`Unreachable`). No text that leaves here holds a key, a secret or a signature.
"""

from __future__ import annotations

import asyncio
import binascii
import math
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Never, TypeVar

import orjson

from research.live.log import Secrets, redacted
from research.live.net import Network
from research.venues.budget import Budget
from research.venues.client import Session, client, real_now
from research.venues.keys import Keys
from research.venues.refusals import UNKNOWN, Answer, code_of, meaning
from research.venues.words import Refused, Unknown, Unreachable

T = TypeVar("T")
_SHOWN = 300
_MARKS = re.compile(r"<[^>]*>")
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
        self.release: Callable[[], None] = _nothing
        """End the turn that it has."""

    async def take(self, turn: asyncio.Lock) -> None:
        """Wait for the one before to be answered; or for a while, as it has arrived by then."""
        self.release()  # of a request that went before
        await turn.acquire()
        held = [turn]
        late = asyncio.get_running_loop().call_later(_ARRIVAL, lambda: held.pop().release())

        def release() -> None:
            late.cancel()
            if held:
                held.pop().release()

        self.release = release


def _nothing() -> None:
    """Have no turn to end."""


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
        self.venue, self.now, self._pace = venue, now or real_now, pace
        self._secrets = Secrets([keys.key, keys.secret])
        self.budget = Budget(venue, self.now)
        # a nonce that comes after a higher one is refused: one signed request at a time
        self._turn = asyncio.Lock() if venue == "kraken" else None
        self.client = client(venue, keys, now=self.now, timeout=timeout)
        self._throttle = self.client.throttle
        self.client.throttle = self._pause
        self._session = Session(network, self._leaving, self._heard)

    def open(self) -> None:
        """Take requests."""
        self.client.open()
        self.client.session = self._session

    async def close(self) -> None:
        """Let go of the session, whose connections are the network's."""
        await self.client.close()

    def there(self) -> int:
        """Return the venue's time by our clock, as far as it is certain that ours is off."""
        return self.now() - int(self.client.options.get("timeDifference", 0)) * 1000

    async def time(self) -> int:
        """Return the venue's time as it tells it, microseconds."""
        call, read = _TIME[self.venue]
        return await self.ask(call, read=read)

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
        call, read = _TIME[self.venue]
        there = await self._asked(call, (), read)
        here = self.now()
        off, doubt = (asked + here) // 2 - there, (here - asked) // 2 + _COARSE[self.venue]
        self.client.options["timeDifference"] = off // 1000 if abs(off) > doubt else 0

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
            return await getattr(self.client, this.name)(*args)
        finally:
            this.release()
            _call.reset(told)

    async def _pause(self, weight: float | None = None) -> None:
        """Stand in for ccxt's throttle: our budget first, then its own pace.

        What is signed next must be the next to leave, so that the turn is taken last: an order
        stands behind no question that waits for its budget.
        """
        this = _call.get()
        await self.budget.take(this.name, weight or 0.0, order=this.order)
        if math.isfinite(self._pace) and not this.order:
            await self._throttle((weight or 0.0) / self._pace)
        public = this.name.startswith("public") or this.name == "load_markets"
        if self._turn is not None and not public:
            await this.take(self._turn)

    def _leaving(self) -> None:
        _call.get().sent = True

    def _heard(self, status: int, headers: Any, body: str) -> None:
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
        self._unsent(this, error)
        if this.answer is not None and (this.answer.code or this.answer.status >= 300):
            reason = meaning(self.venue, this.answer, sure=sure)
            if reason != UNKNOWN:
                raise Refused(reason, self._words(this.answer.text)) from None
        raise Unknown(f"{self.venue}: {self._words(error)}") from None

    def _unanswered(self, this: Call, error: Exception) -> Never:
        sure = _definite(error)
        self._unsent(this, error)
        if this.answer is not None and this.answer.code and this.answer.status < 500:
            reason = meaning(self.venue, this.answer, sure=sure)
            if reason == "too_often":
                raise _Crowded(f"{self.venue}: {self._words(this.answer.text)}") from None
            if reason != UNKNOWN:
                raise Refused(reason, self._words(this.answer.text)) from None
        raise Unreachable(f"{self.venue}: {self._words(error)}") from None

    def _unsent(self, this: Call, error: Exception) -> None:
        """Refuse what ccxt itself would not send."""
        if this.sent:
            return
        if isinstance(error, binascii.Error):
            raise Refused("keys", "the secret is not one: it is not in base64") from None
        if _definite(error):
            raise Refused("other", self._words(error)) from None

    def _words(self, said: object) -> str:
        """Return what was said in one short line, without secrets and a web page's marks."""
        if isinstance(said, Exception):
            said = f"{type(said).__name__} {said}"
        line = " ".join(_MARKS.sub(" ", str(said)).split())
        return str(redacted(line, self._secrets))[:_SHOWN]


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


_TIME: dict[str, tuple[str, Callable[[Any], int]]] = {
    "binance": ("fapiPublicGetTime", _server_time),
    "bybit": ("publicGetV5MarketTime", _bybit_time),
    "kraken": ("publicGetTime", _kraken_time),
}
_COARSE = {"binance": 1_000, "bybit": 1_000, "kraken": 1_000_000}
"""Microseconds in which a venue tells the time."""
