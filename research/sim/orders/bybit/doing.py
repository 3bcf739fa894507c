"""What Bybit does for an account: place, cancel, set."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, Literal, cast

from research.sim.bybit import Invalid
from research.sim.orders.bybit import forms
from research.sim.orders.bybit.asking import (
    MARGINS,
    Asked,
    Params,
    Route,
    invalid,
    margin_of,
    symbol_of,
    whole,
)
from research.sim.orders.words import Denied, Force, Kind, Leg, Order, Side, Ticket

CODES: dict[str, tuple[int, str]] = {
    "symbol": (10001, "params error: symbol invalid"),
    "tick": (10001, "Price invalid"),
    "price": (10001, "Price invalid"),
    "band": (110003, "Order price exceeds the allowable range."),
    "lot": (10001, "Qty invalid"),
    "least": (10001, "The number of contracts exceeds minimum limit allowed"),
    "most": (10001, "The number of contracts exceeds maximum limit allowed: too large"),
    "notional": (110094, "Order does not meet minimum order value 5USDT"),
    "funds": (110007, "ab not enough for new order"),
    "no_position": (110017, "current position is zero, cannot fix reduce-only order qty"),
    "used_id": (110072, "OrderLinkedID is duplicate"),
    "no_order": (110001, "order not exists or too late to cancel"),
    "too_many": (110020, "You can't have more than 500 active orders"),
    "leg": (10001, "position idx not match position mode"),
    "mode_same": (110025, "Position mode is not modified"),
    "mode_busy": (110024, "You have an existing position, so position mode cannot be switched"),
    "leverage_same": (110043, "leverage not modified"),
    "leverage": (110013, "cannot set leverage gt maxLeverage by risk limit"),
    "margin_busy": (3400045, "Set margin mode failed"),
}
"""Code and words for why an account refuses."""
SIDE_OF: dict[str, Side] = {"Buy": "buy", "Sell": "sell"}
FORCES: dict[str, Force] = {"GTC": "GTC", "IOC": "IOC", "FOK": "FOK", "PostOnly": "GTX"}
LEG_OF: dict[int, Leg] = {0: "BOTH", 1: "LONG", 2: "SHORT"}
LATER = ("would_take", "would_not_fill")
"""Refusals that come after the acknowledgement: the order is taken, and cancelled by matching."""
MOST_LEVERAGE = 50


def denied(no: Denied) -> Invalid:
    """Return a refusal as the venue words it."""
    code, words = CODES.get(no.reason, (10001, f"params error: {no.reason}"))
    return Invalid(code, words)


def amount(params: Params, name: str) -> Decimal | None:
    """Return a parameter that is an amount; None where it is not given."""
    given = params.get(name)
    if given in (None, ""):
        return None
    try:
        value = Decimal(str(given))
    except InvalidOperation:
        raise invalid(name) from None
    if not value.is_finite():
        raise invalid(name)
    return value


def create(asked: Asked, params: Params) -> Any:
    """Take an order. That it is taken says nothing of whether it stands or trades."""
    ticket = ticket_of(asked, params)
    account = asked.account
    account.advance()
    if ticket.cid and account.history.find(id=None, cid=ticket.cid, now=account.moment):
        raise denied(Denied("used_id"))
    last = forms.text(account.price(ticket.symbol))
    try:
        order = account.place(ticket, asked.twist)
    except Denied as no:
        if no.reason == "would_trigger":
            raise _too_late(ticket, last) from None
        if no.reason not in LATER:
            raise denied(no) from None
        order = account.bury(ticket, no.reason)
    order.more |= {"last": last, "direction": whole(params, "triggerDirection", 0)}
    return _named(order)


def ticket_of(asked: Asked, params: Params) -> Ticket:
    """Read what is asked for."""
    symbol = cast(str, symbol_of(asked, params))
    side = SIDE_OF.get(str(params.get("side")))
    quantity, price, trigger = (amount(params, n) for n in ("qty", "price", "triggerPrice"))
    leg = LEG_OF.get(whole(params, "positionIdx", 0))
    cid = str(params.get("orderLinkId") or "")
    force = FORCES.get(str(params.get("timeInForce") or "GTC"))
    if side is None or quantity is None or force is None or leg is None:
        raise invalid("side, qty, timeInForce or positionIdx")
    if len(cid) > 36:
        raise invalid("orderLinkId")
    kind = _kind(params, side, trigger)
    if kind != "limit":
        price, force = None, "GTC"
    reduces = params.get("reduceOnly") is True
    return Ticket(cid, symbol, side, kind, quantity, price, force, trigger, reduces, leg=leg)


def _kind(params: Params, side: Side, trigger: Decimal | None) -> Kind:
    """Return the kind of order: a trigger that is risen to stops a seller's loss never."""
    if params.get("orderType") not in ("Market", "Limit"):
        raise invalid("orderType")
    if trigger is None:
        return "market" if params["orderType"] == "Market" else "limit"
    direction = whole(params, "triggerDirection", 0)
    if direction not in (1, 2) or params["orderType"] != "Market":
        raise invalid("triggerDirection")
    return "stop" if (direction == 1) == (side == "buy") else "take"


def _too_late(ticket: Ticket, last: str) -> Invalid:
    rises = (ticket.side == "buy") == (ticket.kind == "stop")
    code, word, sign = (110092, "Rising", "<=") if rises else (110093, "Falling", ">=")
    said = f"expect {word}, but trigger_price[{ticket.trigger}] {sign} current[{last}]??LastPrice"
    return Invalid(code, said)


def _named(order: Order) -> dict[str, str]:
    cid = "" if order.cid.startswith("venue") else order.cid
    return {"orderId": forms.order_id(order.id), "orderLinkId": cid}


def cancel(asked: Asked, params: Params) -> Any:
    """Cancel an open order; the one with `orderId` where both ids are given."""
    symbol = symbol_of(asked, params)
    number = forms.number_of(str(params.get("orderId") or ""))
    cid = params.get("orderLinkId") or None
    if params.get("orderId"):
        found = asked.account.get(id=number) if number is not None else None
    elif cid:
        found = asked.account.get(cid=str(cid))
    else:
        raise invalid("orderId or orderLinkId")
    if found is None or found.symbol != symbol:
        raise denied(Denied("no_order"))
    try:
        return _named(asked.account.cancel(found))
    except Denied as no:
        raise denied(no) from None


def cancel_all(asked: Asked, params: Params) -> Any:
    """Cancel all open orders, of a symbol or of all; `orderFilter` picks conditional ones."""
    symbol, account = symbol_of(asked, params, needed=False), asked.account
    if symbol is None and not params.get("settleCoin") and not params.get("baseCoin"):
        raise Invalid(10001, "params error: symbol, baseCoin or settleCoin is needed")
    kinds = {"Order": False, "StopOrder": True}
    wanted = kinds.get(str(params.get("orderFilter", "")))
    found = [
        order
        for order in account.open_orders(symbol)
        if wanted is None or (order.trigger is not None) == wanted
    ]
    return {"list": [_named(account.cancel(order)) for order in found], "success": "1"}


def set_leverage(asked: Asked, params: Params) -> Any:
    """Set the leverage of a symbol."""
    symbol = cast(str, symbol_of(asked, params))
    buy, sell = amount(params, "buyLeverage"), amount(params, "sellLeverage")
    if buy is None or buy != sell or buy < 1 or buy % 1:
        raise invalid("buyLeverage or sellLeverage")
    if buy > MOST_LEVERAGE:
        raise denied(Denied("leverage"))
    if asked.account.leverage.get(symbol, forms.LEVERAGE) == buy:
        raise denied(Denied("leverage_same"))
    asked.account.leverage[symbol] = int(buy)
    return {}


def switch_mode(asked: Asked, params: Params) -> Any:
    """Switch between one-way and hedged: mode 0 or 3."""
    symbol_of(asked, params, needed=False)
    mode, account = whole(params, "mode", -1), asked.account
    if mode not in (0, 3):
        raise invalid("mode")
    if account.hedged == (mode == 3):
        raise denied(Denied("mode_same"))
    if any(held.quantity for held in account.ledger.positions.values()):
        raise denied(Denied("mode_busy"))
    if account.open_orders():
        raise Invalid(110028, "You have existing orders, so you cannot switch the position mode")
    account.hedged = mode == 3
    return {}


def set_margin_mode(asked: Asked, params: Params) -> Any:
    """Set the margin mode, which is one for all symbols of a unified account."""
    words = {word: mode for mode, word in MARGINS.items()}
    wanted = words.get(str(params.get("setMarginMode")))
    if wanted is None:
        raise invalid("setMarginMode")
    if wanted != margin_of(asked) and asked.account.open_orders():
        raise denied(Denied("margin_busy"))
    mode = cast(Literal["cross", "isolated"], wanted)
    asked.account.margin |= dict.fromkeys(asked.symbols, mode)
    return {"reasons": []}


def switch_isolated(asked: Asked, params: Params) -> Any:
    """Refuse: a unified account has no margin mode of a symbol."""
    raise Invalid(100028, "The API cannot be accessed by unified account users.")


ROUTES: dict[str, Route] = {
    "/v5/order/create": create,
    "/v5/order/cancel": cancel,
    "/v5/order/cancel-all": cancel_all,
    "/v5/position/set-leverage": set_leverage,
    "/v5/position/switch-mode": switch_mode,
    "/v5/position/switch-isolated": switch_isolated,
    "/v5/account/set-margin-mode": set_margin_mode,
}
"""What is asked with POST."""
