"""Who may ask Kraken what, and how often: signature, nonce, permissions, counters.

References
----------
Kraken, "Authentication": API-Sign is HMAC-SHA512 of the path and SHA-256 of nonce and body, under
the decoded secret, in base64; the nonce of a key must rise. "Spot REST rate limits": a counter of
each key, and one of each key and pair for orders.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256, sha512
from time import monotonic
from typing import TYPE_CHECKING

import orjson

from research.sim.binance_rest import Refused
from research.sim.kraken import Invalid, error, found, pair
from research.sim.lines import Tell
from research.sim.orders.account import Account
from research.sim.orders.kraken.forms import number_of
from research.sim.orders.venues import Call
from research.sim.orders.words import Key, Order

if TYPE_CHECKING:
    from research.sim.orders.private import Private

COUNTER, DECAY = 20.0, 0.5
"""Greatest counter and its fall a second, of the middle tier (Intermediate)."""
ORDERS, ORDERS_DECAY = 125.0, 2.34
"""The same of orders in one pair."""
COSTS = {"TradesHistory": 2, "ClosedOrders": 2, "AddOrder": 0, "CancelOrder": 0}
"""What a call adds to the counter; 1 where it is not named."""
HASTE = ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1))
"""Seconds from placing to cancelling, and what that adds to the counter of orders."""


def refused(no: Invalid) -> Refused:
    """Return an error as it is answered: with HTTP 200."""
    return Refused(200, error(no.error))


def form(call: Call) -> dict[str, str]:
    """Return what a call asks, of a form or of JSON."""
    if call.headers.get("Content-Type", "").startswith("application/json"):
        try:
            told = orjson.loads(call.body)
        except ValueError:
            raise Invalid("EGeneral:Invalid arguments") from None
        return {str(k): str(v) for k, v in told.items()} if isinstance(told, dict) else {}
    return call.form


def sign(secret: str, path: str, nonce: str, body: bytes) -> str:
    """Return the signature of a request.

    >>> sign("c2VjcmV0", "/0/private/Balance", "1", b"nonce=1")[:12]
    'nY4IAKuG38Vp'
    """
    inner = sha256(nonce.encode() + body).digest()
    made = hmac.new(b64decode(secret), path.encode() + inner, sha512).digest()
    return b64encode(made).decode()


def identify(call: Call) -> Key:
    """Return whose request it is, once key and signature are right."""
    key = call.private.keys.get(("kraken", call.headers.get("API-Key", "")))
    if key is None:
        raise refused(Invalid("EAPI:Invalid key"))
    try:
        nonce = form(call).get("nonce", "")
    except Invalid as no:
        raise refused(no) from None
    right = sign(key.secret, call.path, nonce, call.body)
    if not hmac.compare_digest(right, call.headers.get("API-Sign", "")):
        raise refused(Invalid("EAPI:Invalid signature"))
    return key


@dataclass(slots=True)
class _Counter:
    most: float
    decay: float
    used: float = 0.0
    real: float = 0.0
    market: int = 0

    def spend(self, cost: float, now: int) -> bool:
        """Count a call; False: there have been too many."""
        real = monotonic()
        gone = max(real - self.real, (now - self.market) / 1e6) if self.real else 0.0
        self.real, self.market = real, now
        self.used = max(0.0, self.used - gone * self.decay)
        if self.used + cost > self.most:
            return False
        self.used += cost
        return True


class Counters:
    """The newest nonce of each key, and how often it asked.

    Seconds are real or market time, whichever went further.

    Parameters
    ----------
    tell : callable
        The log: told ``limited`` of each call that was one too many.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._nonces: dict[str, int] = {}
        self._calls: dict[str, _Counter] = {}
        self._orders: dict[tuple[str, str], _Counter] = {}

    def spend(self, call: Call) -> dict[str, str]:
        """Check the nonce and count a call; it returns no headers."""
        try:
            self._nonce(call.key.id, form(call).get("nonce", ""))
            name = call.path.rpartition("/")[2]
            counter = self._calls.setdefault(call.key.id, _Counter(COUNTER, DECAY))
            if (cost := COSTS.get(name, 1)) and not counter.spend(cost, call.now):
                raise self._no(call, "EAPI:Rate limit exceeded")
            if name == "AddOrder":
                self._placed(call)
            elif name == "CancelOrder":
                self._cancelled(call)
        except Invalid as no:
            raise refused(no) from None
        return {}

    def _nonce(self, key: str, text: str) -> None:
        if not text.isdigit() or not self._nonces.get(key, -1) < int(text) < 2**64:
            raise Invalid("EAPI:Invalid nonce")
        self._nonces[key] = int(text)

    def _placed(self, call: Call) -> None:
        if not self._of(call, form(call).get("pair", "")).spend(1, call.now):
            raise self._no(call, "EOrder:Rate limit exceeded")

    def _cancelled(self, call: Call) -> None:
        """Count a cancellation by the order's age: it is not refused, what comes after may be."""
        order = named(call.account, form(call))
        if order is not None and order.status == "open":
            counter = self._of(call, pair(order.symbol).altname)
            counter.spend(0, call.now)
            age = call.now - order.time
            counter.used += next((cost for most, cost in HASTE if age < most * 1_000_000), 0)

    def _of(self, call: Call, asked: str) -> _Counter:
        try:
            lane = found(call.private.market, {"pair": asked}).altname
        except Invalid:
            lane = ""
        return self._orders.setdefault((call.key.id, lane), _Counter(ORDERS, ORDERS_DECAY))

    def _no(self, call: Call, text: str) -> Invalid:
        self._tell("limited", venue="kraken", path=call.path)
        return Invalid(text)


def named(account: Account, asked: Mapping[str, str]) -> Order | None:
    """Return the order that a call names, by either id; None: there is none."""
    if "cl_ord_id" in asked:
        return account.get(cid=asked["cl_ord_id"])
    number = number_of(asked.get("txid", ""))
    return None if number is None else account.get(id=number)


def limits(private: Private) -> Callable[[Call], dict[str, str]]:
    """Return what counts requests of one exchange."""
    return Counters(private.tell).spend
