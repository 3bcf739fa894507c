"""Binance's routes that change something: orders, conditional orders, settings, dead-man timers."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from research.sim.binance_rest import refuse
from research.sim.orders.account import Account
from research.sim.orders.binance import forms
from research.sim.orders.binance.forms import (
    CONDITIONAL,
    LEGS,
    SIDES,
    amount,
    asked,
    choice,
    cid_of,
    flag,
    found,
    must,
    symbol_of,
    whole,
)
from research.sim.orders.venues import Call, Route
from research.sim.orders.words import ZERO, Denied, Force, Order, Rules, Ticket

FORCES = {name: name for name in ("GTC", "IOC", "FOK", "GTX")}
MOVED = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
MOST_LEVERAGE = 125
DONE = {"code": 200, "msg": "The operation of cancel all open order is done."}
SET = {"code": 200, "msg": "success"}
MARGINS = {"ISOLATED": "isolated", "CROSSED": "cross"}


def place(call: Call) -> Any:
    """Place a market or limit order."""
    query, account = asked(call), call.account
    rules = symbol_of(account, query)
    side = choice(query, "side", SIDES, -1117)
    kind = must(query, "type")
    if kind in MOVED:
        words = "Order type not supported for this endpoint. Please use the Algo Order API"
        raise refuse(-4120, f"{words} endpoints instead.")
    if kind not in ("MARKET", "LIMIT"):
        raise refuse(-1116, "Invalid orderType.")
    limit = kind == "LIMIT"
    force: Force = choice(query, "timeInForce", FORCES, -1115) if limit else "GTC"
    ticket = Ticket(
        cid_of(query, "newClientOrderId"),
        rules.symbol,
        side,
        "limit" if limit else "market",
        _number(rules, query, "quantity", rules.lot),
        _number(rules, query, "price", rules.tick) if limit else None,
        force,
        reduce_only=_reduce_only(account, query),
        leg=_leg(query),
    )
    return forms.order(account.place(ticket, call.twist))


def place_algo(call: Call) -> Any:
    """Place a conditional order."""
    query, account = asked(call), call.account
    rules = symbol_of(account, query)
    if must(query, "algoType") != "CONDITIONAL":
        raise refuse(-1102, "Invalid algoType.")
    close = flag(query, "closePosition")
    ticket = Ticket(
        cid_of(query, "clientAlgoId"),
        rules.symbol,
        choice(query, "side", SIDES, -1117),
        choice(query, "type", CONDITIONAL, -1116),
        ZERO if close else _number(rules, query, "quantity", rules.lot),
        trigger=_number(rules, query, "triggerPrice", rules.tick),
        reduce_only=_reduce_only(account, query),
        close=close,
        leg=_leg(query),
    )
    return forms.algo(account.place(ticket, call.twist))


def _number(rules: Rules, query: Mapping[str, str], name: str, step: Decimal) -> Decimal:
    value = amount(query, name)
    forms.digits(rules, value, step)
    return value


def _leg(query: Mapping[str, str]) -> Any:
    return choice({"positionSide": "BOTH", **query}, "positionSide", LEGS, -1102)


def _reduce_only(account: Account, query: Mapping[str, str]) -> bool:
    if account.hedged and "reduceOnly" in query:
        raise refuse(-1106, "Parameter 'reduceonly' sent when not required.")
    return flag(query, "reduceOnly")


def cancel(call: Call) -> Any:
    """Cancel an order."""
    query = asked(call)
    symbol_of(call.account, query)
    one = found(call.account, query, "orderId", "origClientOrderId")
    if one is None or one.waits:
        raise Denied("no_order")
    return forms.order(call.account.cancel(one))


def cancel_algo(call: Call) -> Any:
    """Cancel a conditional order that was not triggered."""
    one = found(call.account, asked(call), "algoId", "clientAlgoId")
    if one is None or not one.waits:
        raise Denied("no_order")
    call.account.cancel(one)
    return {"algoId": one.id, "clientAlgoId": one.cid, "code": "200", "msg": "success"}


def cancel_all(call: Call) -> Any:
    """Cancel all orders of a symbol, conditional ones excepted."""
    return _all(call, waits=False)


def cancel_all_algo(call: Call) -> Any:
    """Cancel all conditional orders of a symbol."""
    return _all(call, waits=True)


def _all(call: Call, *, waits: bool) -> Any:
    symbol = symbol_of(call.account, asked(call)).symbol
    found: list[Order] = [o for o in call.account.open_orders(symbol) if o.waits == waits]
    for order in found:
        call.account.cancel(order)
    return DONE


def countdown(call: Call) -> Any:
    """Set, renew or (with 0) stop the dead-man timer of a symbol."""
    query = asked(call)
    symbol = symbol_of(call.account, query).symbol
    milliseconds = whole(query, "countdownTime")
    call.account.dead_man(milliseconds * 1000, symbol)
    return {"symbol": symbol, "countdownTime": str(milliseconds)}


def leverage(call: Call) -> Any:
    """Set the leverage of a symbol."""
    query = asked(call)
    symbol, wanted = symbol_of(call.account, query).symbol, whole(query, "leverage")
    if not 1 <= wanted <= MOST_LEVERAGE:
        raise refuse(-4028, f"Leverage {wanted} is not valid")
    call.account.leverage[symbol] = wanted
    return {"leverage": wanted, "maxNotionalValue": "1000000000", "symbol": symbol}


def margin(call: Call) -> Any:
    """Set isolated or cross margin of a symbol."""
    query, account = asked(call), call.account
    symbol = symbol_of(account, query).symbol
    wanted = choice(query, "marginType", MARGINS, -4021)
    if account.margin.get(symbol, "cross") == wanted:
        raise Denied("margin_same")
    if account.open_orders(symbol):
        raise refuse(-4047, "Margin type cannot be changed if there exists open orders.")
    if any(one == symbol for one, _ in account.positions()):
        raise Denied("margin_busy")
    account.margin[symbol] = wanted
    return SET


def hedge(call: Call) -> Any:
    """Set one-way or hedged mode of the account."""
    query, account = asked(call), call.account
    must(query, "dualSidePosition")
    wanted = flag(query, "dualSidePosition")
    if account.hedged == wanted:
        raise Denied("mode_same")
    if account.open_orders():
        raise refuse(-4067, "Position side cannot be changed if there exists open orders.")
    if account.positions():
        raise Denied("mode_busy")
    account.hedged = wanted
    return SET


ROUTES = {
    ("POST", "/fapi/v1/order"): Route("place", place),
    ("DELETE", "/fapi/v1/order"): Route("cancel", cancel),
    ("DELETE", "/fapi/v1/allOpenOrders"): Route("cancel", cancel_all),
    ("POST", "/fapi/v1/algoOrder"): Route("place", place_algo),
    ("DELETE", "/fapi/v1/algoOrder"): Route("cancel", cancel_algo),
    ("DELETE", "/fapi/v1/algoOpenOrders"): Route("cancel", cancel_all_algo),
    ("POST", "/fapi/v1/countdownCancelAll"): Route("change", countdown),
    ("POST", "/fapi/v1/leverage"): Route("change", leverage),
    ("POST", "/fapi/v1/marginType"): Route("change", margin),
    ("POST", "/fapi/v1/positionSide/dual"): Route("change", hedge),
}
