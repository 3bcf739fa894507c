"""Orders, trades and what is asked for, as Binance writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from research.sim.binance_rest import Refused, refuse
from research.sim.orders.account import Account
from research.sim.orders.venues import Call
from research.sim.orders.words import Income, Kind, Leg, Order, Rules, Side, Trade

SIDES: dict[str, Side] = {"BUY": "buy", "SELL": "sell"}
LEGS: dict[str, Leg] = {"BOTH": "BOTH", "LONG": "LONG", "SHORT": "SHORT"}
CONDITIONAL: dict[str, Kind] = {"STOP_MARKET": "stop", "TAKE_PROFIT_MARKET": "take"}
TYPES = {"market": "MARKET", "limit": "LIMIT", "stop": "STOP_MARKET", "take": "TAKE_PROFIT_MARKET"}
STATUSES = {"filled": "FILLED", "cancelled": "CANCELED", "expired": "EXPIRED"}
ALGO = {"open": "NEW", "filled": "FINISHED", "cancelled": "CANCELED", "expired": "EXPIRED"}
INCOMES = {
    "funding": "FUNDING_FEE",
    "realised": "REALIZED_PNL",
    "fee": "COMMISSION",
    "transfer": "TRANSFER",
}
CID = re.compile(r"[\.A-Z\:/a-z0-9_-]{1,36}")
MANDATORY = "Mandatory parameter '{}' was not sent, was empty/null, or malformed."


def asked(call: Call) -> dict[str, str]:
    """Return what a request asks, in its address or its body."""
    return {**call.query, **call.form} if call.body else call.query


def named(call: Call) -> tuple[str, str]:
    """Return the symbol and the client's id that a request names."""
    query = asked(call)
    names = ("newClientOrderId", "origClientOrderId", "clientAlgoId")
    return query.get("symbol", ""), next((query[n] for n in names if n in query), "")


def text(value: Decimal) -> str:
    """Write an amount without exponent.

    >>> text(Decimal("1E+2")), text(Decimal("0.10"))
    ('100', '0.10')
    """
    return format(value, "f")


def must(query: Mapping[str, str], name: str) -> str:
    """Return a parameter; -1102 where it is missing or empty."""
    if not query.get(name):
        raise refuse(-1102, MANDATORY.format(name))
    return query[name]


def amount(query: Mapping[str, str], name: str) -> Decimal:
    """Return a parameter as a number; -1102 where it is none."""
    try:
        value = Decimal(must(query, name))
    except InvalidOperation:
        raise refuse(-1102, MANDATORY.format(name)) from None
    if not value.is_finite():
        raise refuse(-1102, MANDATORY.format(name))
    return value


def whole(query: Mapping[str, str], name: str, default: int | None = None) -> int:
    """Return a parameter as a whole number; -1102 where it is none."""
    if default is not None and name not in query:
        return default
    try:
        return int(must(query, name))
    except ValueError:
        raise refuse(-1102, MANDATORY.format(name)) from None


def choice(query: Mapping[str, str], name: str, among: Mapping[str, Any], code: int) -> Any:
    """Return what a parameter stands for."""
    value = must(query, name)
    if value not in among:
        raise refuse(code, f"Invalid {name}.")
    return among[value]


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return whether a parameter is true."""
    return query.get(name, "false").lower() == "true"


def symbol_of(account: Account, query: Mapping[str, str]) -> Rules:
    """Return the rules of the symbol that is named."""
    return account.rules(must(query, "symbol"))


def digits(rules: Rules, value: Decimal, step: Decimal) -> None:
    """Refuse a number with more digits than the venue writes at all: one more than its step."""
    if _places(value) > _places(step) + 1:
        raise refuse(-1111, "Precision is over the maximum defined for this asset.")


def _places(value: Decimal) -> int:
    return max(0, -int(value.normalize().as_tuple().exponent))


def cid_of(query: Mapping[str, str], name: str) -> str:
    """Return the client's id that is given, empty without one."""
    given = query.get(name, "")
    if len(given) > 36:
        raise refuse(-4015, "Client order id length should not be more than 36 chars.")
    if given and not CID.fullmatch(given):
        raise refuse(-1100, f"Illegal characters found in parameter '{name}'.")
    return given


def status(order: Order) -> str:
    """Return an order's status."""
    if order.status == "open":
        return "PARTIALLY_FILLED" if order.filled else "NEW"
    return STATUSES[order.status]


def order(one: Order) -> dict[str, Any]:
    """Return an order, or what a conditional one became when it was triggered."""
    kind = "MARKET" if one.trigger is not None else TYPES[one.kind]
    return {
        "orderId": one.work,
        "symbol": one.symbol,
        "status": status(one),
        "clientOrderId": one.cid,
        "price": text(one.price) if one.price is not None else "0",
        "avgPrice": text(round(one.average, 8)),
        "origQty": text(one.quantity),
        "executedQty": text(one.filled),
        "cumQty": text(one.filled),
        "cumQuote": text(one.paid),
        "timeInForce": one.force,
        "type": kind,
        "reduceOnly": one.reduce_only,
        "closePosition": one.close,
        "side": one.side.upper(),
        "positionSide": one.leg,
        "stopPrice": "0",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": kind,
        "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "goodTillDate": 0,
        "time": (one.triggered or one.time) // 1000,
        "updateTime": one.updated // 1000,
    }


def algo(one: Order) -> dict[str, Any]:
    """Return a conditional order."""
    triggered = one.triggered is not None
    state = "TRIGGERED" if triggered and one.status == "open" else ALGO[one.status]
    return {
        "algoId": one.id,
        "clientAlgoId": one.cid,
        "algoType": "CONDITIONAL",
        "orderType": TYPES[one.kind],
        "symbol": one.symbol,
        "side": one.side.upper(),
        "positionSide": one.leg,
        "timeInForce": one.force,
        "quantity": text(one.quantity),
        "algoStatus": "FINISHED" if triggered and one.status != "open" else state,
        "actualOrderId": str(one.work) if triggered else "",
        "actualPrice": text(round(one.average, 8)) if triggered else "0.00000",
        "triggerPrice": text(one.trigger or Decimal(0)),
        "price": "0.00000",
        "icebergQuantity": None,
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "workingType": "CONTRACT_PRICE",
        "priceMatch": "NONE",
        "closePosition": one.close,
        "priceProtect": False,
        "reduceOnly": one.reduce_only,
        "activatePrice": "",
        "callbackRate": "",
        "createTime": one.time // 1000,
        "updateTime": one.updated // 1000,
        "triggerTime": (one.triggered or 0) // 1000,
        "goodTillDate": 0,
    }


def trade(one: Trade) -> dict[str, Any]:
    """Return a fill."""
    return {
        "symbol": one.symbol,
        "id": one.id,
        "orderId": one.order,
        "side": one.side.upper(),
        "price": text(one.price),
        "qty": text(one.quantity),
        "realizedPnl": text(one.realised),
        "quoteQty": text(one.price * one.quantity),
        "commission": text(one.fee),
        "commissionAsset": one.coin,
        "time": one.time // 1000,
        "positionSide": one.leg,
        "buyer": one.side == "buy",
        "maker": one.maker,
    }


def income(one: Income) -> dict[str, Any]:
    """Return money that came or went."""
    return {
        "symbol": one.symbol,
        "incomeType": INCOMES[one.kind],
        "income": text(one.amount),
        "asset": one.coin,
        "info": INCOMES[one.kind],
        "time": one.time // 1000,
        "tranId": 9_000_000_000 + one.id,
        "tradeId": str(one.trade or ""),
    }


def missing() -> Refused:
    """Return the answer to one who asks for an order that is not known."""
    return refuse(-2013, "Order does not exist.")


def found(account: Account, query: Mapping[str, str], id_name: str, cid_name: str) -> Order | None:
    """Return the order that a request names by either id; None: it is not known."""
    if id_name in query:
        one = account.get(id=whole(query, id_name))
    elif cid_name in query:
        one = account.get(cid=query[cid_name])
    else:
        raise refuse(-1102, f"Param '{cid_name}' or '{id_name}' must be sent, but both were empty.")
    if one is None or query.get("symbol", one.symbol) != one.symbol:
        return None
    return None if id_name == "orderId" in query and one.work != whole(query, id_name) else one
