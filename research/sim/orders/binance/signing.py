"""Who signed a request at Binance, when, and whether it asks too often."""

from __future__ import annotations

import hmac
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING

from research.sim.binance_rest import HOST, Refused, refuse
from research.sim.orders.venues import Call
from research.sim.orders.words import Key

if TYPE_CHECKING:
    from research.sim.orders.private import Private

LISTEN = "/fapi/v1/listenKey"
RECV_WINDOW, MOST_WINDOW = 5000, 60_000
NEEDS_TRADE = ("place", "cancel", "change")
WEIGHTS: dict[tuple[str, str], int] = {
    ("POST", "/fapi/v1/order"): 0,
    ("POST", "/fapi/v1/algoOrder"): 0,
    ("GET", "/fapi/v1/allOrders"): 5,
    ("GET", "/fapi/v1/userTrades"): 5,
    ("GET", "/fapi/v3/account"): 5,
    ("GET", "/fapi/v2/balance"): 5,
    ("GET", "/fapi/v3/balance"): 5,
    ("GET", "/fapi/v2/positionRisk"): 5,
    ("GET", "/fapi/v3/positionRisk"): 5,
    ("GET", "/fapi/v1/symbolConfig"): 5,
    ("GET", "/fapi/v1/allAlgoOrders"): 5,
    ("POST", "/fapi/v1/countdownCancelAll"): 10,
    ("GET", "/fapi/v1/commissionRate"): 20,
    ("GET", "/fapi/v1/income"): 30,
    ("GET", "/fapi/v1/positionSide/dual"): 30,
}
"""Those that are not 1."""
ALL_SYMBOLS = {"/fapi/v1/openOrders": 40, "/fapi/v1/openAlgoOrders": 40}
"""Dearer where no symbol is named."""


def identify(call: Call) -> Key:
    """Return the key of a request whose signature and time are good.

    The signature is the HMAC-SHA256 of the query followed by the body, without itself.
    """
    name = call.headers.get("X-MBX-APIKEY", "")
    if not name:
        raise refuse(-2014, "API-key format invalid.", 401)
    key = call.private.keys.get(("binance", name))
    if key is None:
        raise _forbidden()
    if call.path != LISTEN:
        _signature(call, key)
        _time(call)
    route = call.private.route(call.method, call.host, call.path)
    if route is not None and route[1].does in NEEDS_TRADE and not key.trade:
        raise _forbidden()
    return key


def _forbidden() -> Refused:
    return refuse(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def _signature(call: Call, key: Key) -> None:
    given, rest = "", []
    for text in (call.text, call.body.decode()):
        parts = [part for part in text.split("&") if part]
        given = next((p[10:] for p in parts if p.startswith("signature=")), given)
        rest.append("&".join(p for p in parts if not p.startswith("signature=")))
    if not given:
        raise refuse(-1102, "Mandatory parameter 'signature' was not sent.")
    made = hmac.new(key.secret.encode(), "".join(rest).encode(), sha256).hexdigest()
    if not hmac.compare_digest(made, given):
        raise refuse(-1022, "Signature for this request is not valid.")


def _time(call: Call) -> None:
    asked = {**call.query, **call.form}
    try:
        stamp = int(asked["timestamp"])
        window = int(asked.get("recvWindow", RECV_WINDOW))
    except (KeyError, ValueError):
        raise refuse(-1102, "Mandatory parameter 'timestamp' was not sent.") from None
    if not 0 < window <= MOST_WINDOW:
        raise refuse(-1131, "recvWindow must be less than 60000.")
    if not call.private.timely(stamp * 1000, window * 1000):
        raise refuse(-1021, "Timestamp for this request is outside of the recvWindow.")


class Limits:
    """Weight of an address and new orders of an account, in the venue's windows or real ones.

    Parameters
    ----------
    private : Private
        Of which exchange.
    """

    def __init__(self, private: Private) -> None:
        self._private = private
        self._pools: dict[str, tuple[Pool, Pool]] = {}

    def __call__(self, call: Call) -> dict[str, str]:
        """Count a request; return what its answer says of it, or raise `Refused`."""
        clock = self._private.clock
        if call.host == HOST:
            speed = clock.speed if clock.running else 0.0
            self._private.weights.spend(weight(call), call.now, speed)
        headers = self._private.weights.headers()
        if call.method != "POST" or call.path not in ("/fapi/v1/order", "/fapi/v1/algoOrder"):
            return headers
        few, many = self._private.order_limits
        pools = (Pool(few, 10), Pool(many, 60))
        short, long = self._pools.setdefault(call.key.account, pools)
        headers["X-MBX-ORDER-COUNT-10S"] = str(short.spend(call.now))
        headers["X-MBX-ORDER-COUNT-1M"] = str(long.spend(call.now))
        return headers


def weight(call: Call) -> int:
    """Return what a request weighs."""
    if call.path in ALL_SYMBOLS and "symbol" not in call.query:
        return ALL_SYMBOLS[call.path]
    return WEIGHTS.get((call.method, call.path), 1)


class Pool:
    """New orders in a fixed window.

    Parameters
    ----------
    limit : int
        Orders a window.
    seconds : int
        Its length, of the venue's time or (where that stands still) of real time.
    """

    def __init__(self, limit: int, seconds: int) -> None:
        self.limit, self.seconds, self.used = limit, seconds, 0
        self._window, self._since = -1, 0.0

    def spend(self, now: int) -> int:
        """Count an order; return how many there are now, or raise `Refused`."""
        window, real = now // (self.seconds * 1_000_000), monotonic()
        if window != self._window or real - self._since >= self.seconds:
            self._window, self._since, self.used = window, real, 0
        self.used += 1
        if self.used > self.limit:
            words = f"Too many new orders; current limit is {self.limit} per {self.seconds} s."
            raise Refused(429, {"code": -1015, "msg": words}, {"Retry-After": str(self.seconds)})
        return self.used
