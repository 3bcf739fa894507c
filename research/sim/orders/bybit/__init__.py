"""Bybit V5, linear: the private side.

An acknowledgement says only that an order was taken: one that matching refuses is found cancelled
afterwards, with a `rejectReason`. Errors come with HTTP 200, told by `retCode`. A client's
`orderLinkId` is never taken twice. Sources: the V5 documentation ("Place Order", "Get Open & Closed
Orders", "Get Order History", "Get Trade History", "Get Transaction Log", "Rate Limit Rules",
"Error Codes"); what ccxt 4.5.90 asks and how it reads the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson

from research.sim.binance_rest import Refused
from research.sim.bybit import REST, Invalid, rules_of
from research.sim.market import Market
from research.sim.orders import venues
from research.sim.orders.account import Terms
from research.sim.orders.bybit import asking, doing, signing
from research.sim.orders.bybit.asking import Asked, Params
from research.sim.orders.bybit.forms import COIN
from research.sim.orders.history import DAY, Retention
from research.sim.orders.venues import Call, Does, Venue
from research.sim.orders.words import Denied, Key, Rules

FEES = (Decimal("0.0002"), Decimal("0.00055"))
"""Makers and takers, of an account without a level."""
RETENTION = Retention(unfilled=DAY, orders=None, trades=730 * DAY)
UNKNOWN = ((10000, "Server Timeout"), (10016, "Internal System Error."))
"""What it says when it does not know what came of a request."""
_DOES: dict[str, Does] = {"/v5/order/create": "place", "/v5/order/cancel": "cancel"}


def refused(no: Invalid, now: int) -> Refused:
    """Return an error as it is answered: with HTTP 200."""
    return Refused(200, {**no.body, "time": now // 1000}, no.headers)


def routed(route: asking.Route) -> Callable[[Call], Any]:
    """Return what answers a call by `route`, in the venue's envelope."""

    def answer(call: Call) -> Any:
        asked = Asked(call.account, call.key, call.private.market.symbols, call.twist)
        try:
            if call.method == "POST" and not call.key.trade:
                raise Invalid(10005, "Permission denied, please check your API key permissions.")
            result = route(asked, params(call))
        except Invalid as no:
            raise refused(no, call.now) from None
        stamp = call.now // 1000
        return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": stamp}

    return answer


def params(call: Call) -> Params:
    """Return what a call asks, of its address or its body."""
    if call.method != "POST":
        return call.query
    try:
        told = orjson.loads(call.body)
    except ValueError:
        raise Invalid(10001, "params error: body is no JSON") from None
    if not isinstance(told, dict):
        raise Invalid(10001, "params error: body is no object")
    return told


def names(call: Call) -> tuple[str, str]:
    """Return symbol and client's id that a request names."""
    try:
        told = params(call)
    except Invalid:
        return "", ""
    return str(told.get("symbol") or ""), str(told.get("orderLinkId") or "")


def identify(call: Call) -> Key:
    """Return whose request it is; `Refused` where key, signature or time are wrong."""
    try:
        return signing.identify(call)
    except Invalid as no:
        raise refused(no, call.now) from None


def limits(_: object) -> Callable[[Call], dict[str, str]]:
    """Return what counts requests."""
    counted = signing.Limits()

    def spend(call: Call) -> dict[str, str]:
        try:
            return counted.spend(call.key.id, call.path, call.now)
        except Invalid as no:
            raise refused(no, call.now) from None

    return spend


def terms(market: Market, key: Key) -> Terms:
    """Return how an account is treated."""

    def rules(symbol: str) -> Rules:
        if symbol not in market.symbols:
            raise Denied("symbol")
        return rules_of(market, symbol)

    return Terms(rules, key.fees or FEES, key.fee_coin, RETENTION)


def denied(no: Denied) -> Refused:
    """Return what an account denies as the venue words it."""
    return Refused(200, {**doing.denied(no).body, "time": 0})


def unknown() -> Refused:
    """Return the answer of a venue that does not know what came of a request."""
    code, words = UNKNOWN[0]
    return Refused(200, Invalid(code, words).body)


VENUE = Venue(
    name="bybit",
    hosts=(REST,),
    routes={
        **{("GET", path): venues.Route("read", routed(r)) for path, r in asking.ROUTES.items()},
        **{
            ("POST", path): venues.Route(_DOES.get(path, "change"), routed(r))
            for path, r in doing.ROUTES.items()
        },
    },
    terms=terms,
    funds=lambda market: {COIN: Decimal(10_000)},
    identify=identify,
    denied=denied,
    unknown=unknown,
    names=names,
    limits=limits,
)
