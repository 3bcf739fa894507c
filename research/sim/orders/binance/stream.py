"""Binance's user stream: keys to listen with, and what is told to those who have one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from research.sim.binance_rest import refuse
from research.sim.binance_ws import hear
from research.sim.lines import Line
from research.sim.orders.account import Account
from research.sim.orders.binance import forms
from research.sim.orders.binance.forms import text
from research.sim.orders.venues import Call, Route, Stream, Token
from research.sim.orders.words import Event, Order, Trade

if TYPE_CHECKING:
    from research.sim.orders.private import Private

HOUR = 3_600_000_000
EXECUTIONS = {"new": "NEW", "trade": "TRADE", "cancelled": "CANCELED", "expired": "EXPIRED"}


def begin(call: Call) -> Any:
    """Give out a key to listen with, the same one as long as it is good."""
    name, token = _current(call)
    if token is None:
        made = blake2b(f"{call.key.id}|{len(call.private.tokens)}".encode(), digest_size=32)
        name, token = made.hexdigest(), Token(call.account, call.now + HOUR)
        call.private.tokens[name] = token
        call.account.later(HOUR, lambda: _check(call.private, name))
    token.until = call.now + HOUR
    return {"listenKey": name}


def extend(call: Call) -> Any:
    """Let it be good for another hour."""
    name, token = _current(call)
    if token is None:
        raise refuse(-1125, "This listenKey does not exist.")
    token.until = call.now + HOUR
    return {"listenKey": name}


def end(call: Call) -> Any:
    """Let it be good no more."""
    name, _ = _current(call)
    call.private.tokens.pop(name, None)
    return {}


def _current(call: Call) -> tuple[str, Token | None]:
    call.account.advance()
    mine = call.private.tokens.items()
    return next(((n, t) for n, t in mine if t.account is call.account), ("", None))


def _check(private: Private, name: str) -> None:
    """Say that a key is good no more, unless it was extended."""
    token = private.tokens.get(name)
    if token is None:
        return
    moment = token.account.moment
    if token.until > moment:
        token.account.later(token.until - moment, lambda: _check(private, name))
        return
    del private.tokens[name]
    for tell in list(token.told):
        tell({"e": "listenKeyExpired", "E": moment // 1000, "listenKey": name})


def take(private: Private, line: Line, query: Mapping[str, str]) -> Stream:
    """Tell a connection of the accounts whose keys its address names; unknown ones tell nothing."""
    names = query.get("listenKey", "").split("/")
    tokens = [private.tokens[name] for name in names if name in private.tokens]
    wanted = set(filter(None, query.get("events", "").split("/")))

    def say(body: dict[str, Any]) -> None:
        if not wanted or body["e"] in wanted or body["e"] == "listenKeyExpired":
            line.say(body)

    listeners = [(token.account, _teller(token.account, say)) for token in tokens]
    for account, listener in listeners:
        account.listeners.append(listener)
    for token in tokens:
        token.told.append(say)

    def leave() -> None:
        for account, listener in listeners:
            account.listeners.remove(listener)
        for token in tokens:
            token.told.remove(say)

    return Stream(hear, leave)


def _teller(account: Account, say: Any) -> Any:
    def tell(event: Event) -> None:
        for body in bodies(account, event):
            say(body)

    return tell


def bodies(account: Account, event: Event) -> Iterator[dict[str, Any]]:
    """Return what is told of an event, in order."""
    order, stamp = event.order, event.time // 1000
    head = {"T": stamp, "E": stamp}
    if order is not None and order.trigger is not None:
        if order.waits or event.kind == "triggered" or order.status != "open":
            yield {"e": "ALGO_UPDATE", **head, "o": _algo(order)}
        if order.waits or order.triggered is None:
            return
    if order is not None:
        kind = "new" if event.kind == "triggered" else event.kind
        body = _order(order, event.trade, EXECUTIONS[kind], stamp)
        yield {"e": "ORDER_TRADE_UPDATE", **head, "o": body}
    if event.trade is not None or event.income is not None:
        yield {"e": "ACCOUNT_UPDATE", **head, "a": _account(account, event)}


def _algo(one: Order) -> dict[str, Any]:
    row = forms.algo(one)
    return {
        "caid": one.cid,
        "aid": one.id,
        "at": "CONDITIONAL",
        "o": row["orderType"],
        "s": one.symbol,
        "S": row["side"],
        "ps": one.leg,
        "f": one.force,
        "q": row["quantity"],
        "X": row["algoStatus"],
        "ai": row["actualOrderId"],
        "ap": row["actualPrice"],
        "aq": text(one.filled),
        "act": "MARKET" if one.triggered else "0",
        "tp": row["triggerPrice"],
        "p": "0",
        "V": "EXPIRE_MAKER",
        "wt": "CONTRACT_PRICE",
        "pm": "NONE",
        "cp": one.close,
        "pP": False,
        "R": one.reduce_only,
        "tt": row["triggerTime"],
        "gtd": 0,
        "rm": one.reason,
    }


def _order(one: Order, trade: Trade | None, execution: str, stamp: int) -> dict[str, Any]:
    row = forms.order(one)
    body = {
        "s": one.symbol,
        "c": one.cid,
        "S": row["side"],
        "o": row["type"],
        "f": one.force,
        "q": row["origQty"],
        "p": row["price"],
        "ap": row["avgPrice"],
        "sp": "0",
        "x": execution,
        "X": row["status"],
        "i": one.work,
        "l": "0",
        "z": row["executedQty"],
        "L": "0",
        "n": "0",
        "N": None,
        "T": stamp,
        "t": 0,
        "b": "0",
        "a": "0",
        "m": False,
        "R": one.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": row["origType"],
        "ps": one.leg,
        "cp": one.close,
        "rp": "0",
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "EXPIRE_MAKER",
        "pm": "NONE",
        "gtd": 0,
    }
    if trade is not None:
        body |= {"l": text(trade.quantity), "L": text(trade.price), "n": text(trade.fee)}
        body |= {"N": trade.coin, "t": trade.id, "m": trade.maker, "rp": text(trade.realised)}
    return body


def _account(account: Account, event: Event) -> dict[str, Any]:
    funding = event.income is not None
    coin = event.income.coin if event.income is not None else ""
    if event.trade is not None:
        coin = account.rules(event.trade.symbol).quote
    coins = {coin, event.trade.coin} if event.trade is not None else {coin}
    balances = [
        {"a": c, "wb": text(n), "cw": text(n), "bc": "0"}
        for c, n in sorted(account.ledger.coins.items())
        if c in coins
    ]
    places = [] if event.trade is None else [_place(account, event.trade)]
    return {"m": "FUNDING_FEE" if funding else "ORDER", "B": balances, "P": places}


def _place(account: Account, trade: Trade) -> dict[str, Any]:
    held = account.ledger.held(trade.symbol, trade.leg)
    return {
        "s": trade.symbol,
        "pa": text(held.quantity),
        "ep": text(round(held.entry, 8)),
        "bep": text(round(held.entry, 8)),
        "cr": text(trade.realised),
        "up": text(round(held.worth(trade.price), 8)),
        "mt": account.margin.get(trade.symbol, "cross"),
        "iw": "0",
        "ps": trade.leg,
    }


ROUTES = {
    ("POST", "/fapi/v1/listenKey"): Route("read", begin),
    ("PUT", "/fapi/v1/listenKey"): Route("read", extend),
    ("DELETE", "/fapi/v1/listenKey"): Route("read", end),
}
