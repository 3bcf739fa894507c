"""Who may ask Bybit what, and how often: signatures, time windows, limits per key and route."""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Mapping
from hashlib import sha256
from time import monotonic
from typing import NamedTuple

from research.sim.bybit import Invalid
from research.sim.orders.venues import Call
from research.sim.orders.words import Key

SECOND = 1_000_000
LIMITS = {
    "/v5/order/create": 10,
    "/v5/order/cancel": 10,
    "/v5/order/cancel-all": 10,
    "/v5/position/set-leverage": 10,
    "/v5/position/switch-mode": 10,
    "/v5/account/set-margin-mode": 5,
    "/v5/account/transaction-log": 30,
    "/v5/account/fee-rate": 10,
    "/v5/user/query-api": 10,
}
USUAL = 50
"""Requests a second on every other route."""
DEFAULT_WINDOW = 5000


class Signed(NamedTuple):
    """What a request says of itself, in its headers."""

    key: str
    stamp: str
    window: str
    signature: str


def read(headers: Mapping[str, str]) -> Signed:
    """Return what the headers say; an error where one is missing."""
    names = ("X-BAPI-API-KEY", "X-BAPI-TIMESTAMP", "X-BAPI-SIGN")
    key, stamp, signature = (headers.get(name, "") for name in names)
    if not (key and stamp and signature):
        said = f"empty value: apiTimestamp[{stamp}] apiKey[{key}] apiSignature[{signature}]"
        raise Invalid(10001, f"{said}: openapi sign params error!")
    window = headers.get("X-BAPI-RECV-WINDOW", str(DEFAULT_WINDOW))
    return Signed(key, stamp, window, signature)


def verify(said: Signed, key: Key | None, payload: str) -> Key:
    """Return the key if it is one and has signed.

    That is HMAC-SHA256 of stamp, key, window and payload, in hexadecimal.

    The payload is the query as it was sent, or the body.
    """
    if key is None:
        raise Invalid(10003, "API key is invalid.")
    origin = f"{said.stamp}{said.key}{said.window}{payload}"
    right = hmac.new(key.secret.encode(), origin.encode(), sha256).hexdigest()
    if not hmac.compare_digest(right, said.signature.lower()):
        raise Invalid(10004, f"error sign! origin_string[{origin}]")
    return key


def identify(call: Call) -> Key:
    """Return whose request it is, once key, signature and time are right."""
    said = read(call.headers)
    key = call.private.keys.get(("bybit", said.key))
    payload = call.body.decode() if call.method == "POST" else call.text
    made = verify(said, key, payload)
    in_time(said, call)
    return made


def in_time(said: Signed, call: Call) -> None:
    """Check the time: server - window <= stamp < server + 1 s."""
    try:
        stamp, window = int(said.stamp), int(said.window)
    except ValueError:
        raise Invalid(10001, "params error: timestamp or recv_window invalid") from None
    if not call.private.timely(stamp * 1000, window * 1000):
        raise Invalid(
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{stamp}],server_timestamp[{call.now // 1000}],recv_window[{window}]",
        )


class Limits:
    """Requests of the last second, by key and route.

    A second is over when it is over on the venue's clock or in real time, for the venue's may
    stand still.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], deque[tuple[int, float]]] = {}

    def spend(self, key: str, path: str, now: int) -> dict[str, str]:
        """Count a request and return the headers that say so; 10006 for one too many."""
        limit, real = LIMITS.get(path, USUAL), monotonic()
        seen = self._seen.setdefault((key, path), deque())
        while seen and (now - seen[0][0] >= SECOND or real - seen[0][1] >= 1):
            seen.popleft()
        left = limit - len(seen)
        reset = seen[0][0] + SECOND if seen and left <= 0 else now
        headers = {
            "X-Bapi-Limit": str(limit),
            "X-Bapi-Limit-Status": str(max(0, left - 1)),
            "X-Bapi-Limit-Reset-Timestamp": str(reset // 1000),
        }
        if left <= 0:
            no = Invalid(10006, "Too many visits. Exceeded the API Rate Limit.")
            no.headers = headers
            raise no
        seen.append((now, real))
        return headers
