"""Kraken spot: the private side.

All answers have HTTP status 200; an error is a text in a list. What sold short, on margin or with a
limit behind a trigger would be is refused. Sources: docs.kraken.com, Spot REST ("Add Order",
"Cancel Order", "Get Closed Orders", "Get Trades History", "Get API Key Info", "Client Order
Identifiers", "Error messages", "Spot REST Rate Limits"); what ccxt 4.5.90 asks and how it reads the
answers.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from research.sim.binance_rest import Refused
from research.sim.kraken import REST, Invalid, coins, error, found, rules_of
from research.sim.market import Market
from research.sim.orders.account import Terms
from research.sim.orders.history import Retention
from research.sim.orders.kraken import asking, doing, signing
from research.sim.orders.venues import Call, Does, Route, Venue
from research.sim.orders.words import Denied, Key, Rules

FEES = (Decimal("0.0016"), Decimal("0.0026"))
"""Makers and takers, of an account without volume."""
RETENTION = Retention(None, None, None)
UNKNOWN = "EService:Timeout"
"""What it says when it does not know what came of a request."""
_CHANGES: dict[str, tuple[Does, Callable[[Call], Any]]] = {
    "AddOrder": ("place", doing.add_order),
    "CancelOrder": ("cancel", doing.cancel_order),
    "CancelAll": ("change", doing.cancel_all),
    "CancelAllOrdersAfter": ("change", doing.cancel_all_after),
}
_READS = {
    "Balance": asking.balance,
    "BalanceEx": asking.balance_ex,
    "TradeBalance": asking.trade_balance,
    "OpenOrders": asking.open_orders,
    "ClosedOrders": asking.closed_orders,
    "QueryOrders": asking.query_orders,
    "TradesHistory": asking.trades_history,
    "QueryTrades": asking.query_trades,
    "TradeVolume": asking.trade_volume,
    "GetWebSocketsToken": asking.token,
    "GetApiKeyInfo": asking.key_info,
}


def routed(does: Does, route: Callable[[Call], Any]) -> Route:
    """Return a route that answers in Kraken's envelope."""

    def answer(call: Call) -> Any:
        try:
            if does != "read" and not call.key.trade:
                raise Invalid("EGeneral:Permission denied")
            return {"error": [], "result": route(call)}
        except Invalid as no:
            raise signing.refused(no) from None

    return Route(does, answer)


def names(call: Call) -> tuple[str, str]:
    """Return symbol and client's id that a request names."""
    try:
        asked = signing.form(call)
        symbol = found(call.private.market, asked).symbol if "pair" in asked else ""
    except (Invalid, UnicodeDecodeError):
        return "", ""
    return symbol, asked.get("cl_ord_id", "")


def terms(market: Market, key: Key) -> Terms:
    """Return how an account is treated."""

    def rules(symbol: str) -> Rules:
        if symbol not in market.symbols:
            raise Denied("symbol")
        return rules_of(market, symbol)

    return Terms(rules, key.fees or FEES, key.fee_coin, RETENTION, spot=True)


def funds(market: Market) -> dict[str, Decimal]:
    """Return what an account has at first: some of every quote currency."""
    return {coins(symbol)[1]: Decimal(10_000) for symbol in market.symbols}


def denied(no: Denied) -> Refused:
    """Return what an account denies as the venue words it."""
    return signing.refused(Invalid(doing.ERRORS.get(no.reason, "EGeneral:Invalid arguments")))


def unknown() -> Refused:
    """Return the answer of a venue that does not know what came of a request."""
    return Refused(200, error(UNKNOWN))


_PATH = "/0/private/"
VENUE = Venue(
    name="kraken",
    hosts=(REST,),
    routes={
        **{("POST", _PATH + name): routed("read", route) for name, route in _READS.items()},
        **{("POST", _PATH + name): routed(*made) for name, made in _CHANGES.items()},
    },
    terms=terms,
    funds=funds,
    identify=signing.identify,
    denied=denied,
    unknown=unknown,
    names=names,
    limits=signing.limits,
)
