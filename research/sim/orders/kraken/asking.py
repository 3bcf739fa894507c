"""What only asks: coins, orders, trades, fees, and what a key may do."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from research.sim.kraken import Invalid, asset, found, pair
from research.sim.orders.kraken.forms import (
    TYPES,
    number_of,
    order_row,
    plain,
    text_id,
    trade_id,
    trade_row,
)
from research.sim.orders.kraken.signing import form
from research.sim.orders.venues import Call
from research.sim.orders.words import Order, Trade

PAGE = 50
"""Rows of one answer."""
MOST_IDS = 50
TOKEN_LASTS = 900
"""Seconds."""


def balance(call: Call) -> Any:
    """Answer what there is of each coin."""
    return {asset(coin): plain(total) for coin, (total, _) in call.account.balances().items()}


def balance_ex(call: Call) -> Any:
    """Answer the same, and what of it orders hold."""
    return {
        asset(coin): {"balance": plain(total), "hold_trade": plain(total - free)}
        for coin, (total, free) in call.account.balances().items()
    }


def trade_balance(call: Call) -> Any:
    """Answer what all coins are worth in the quote currency asked for; there is no margin."""
    wanted = form(call).get("asset", "ZUSD")
    worth = Decimal(0)
    for coin, (total, _) in call.account.balances().items():
        worth += total * _price(call, coin, wanted)
    none = dict.fromkeys(("m", "n", "c", "v", "uv"), "0")
    return {name: plain(worth) for name in ("eb", "tb", "e", "mf")} | none


def _price(call: Call, coin: str, wanted: str) -> Decimal:
    if asset(coin) == asset(wanted) or wanted in (coin, asset(coin)):
        return Decimal(1)
    for symbol in call.private.market.symbols:
        one = pair(symbol)
        if (one.base, one.quote) == (asset(coin), wanted):
            return call.account.price(symbol)
    return Decimal(0)


def open_orders(call: Call) -> Any:
    """Answer what is open, newest first."""
    asked = form(call)
    chosen = [o for o in reversed(call.account.open_orders()) if _fits(o, asked)]
    return {"open": _rows(call, chosen)}


def closed_orders(call: Call) -> Any:
    """Answer what is over, newest first, a page from `ofs` on."""
    asked = form(call)
    over = (o for o in call.account.orders() if o.status != "open")
    newest = sorted(over, key=lambda order: (order.updated, order.id), reverse=True)
    chosen = [o for o in newest if _fits(o, asked) and _between(asked, o.updated)]
    first = _number(asked, "ofs", 0)
    return {"closed": _rows(call, chosen[first : first + PAGE]), "count": len(chosen)}


def query_orders(call: Call) -> Any:
    """Answer orders by their ids; those of another `userref` are left out."""
    asked = form(call)
    if "userref" in asked and not asked["userref"].lstrip("-").isdigit():
        raise Invalid("EGeneral:Invalid arguments:userref")
    ids = asked.get("txid", "").split(",")
    if not asked.get("txid") or len(ids) > MOST_IDS:
        raise Invalid("EGeneral:Invalid arguments:txid")
    numbers = [number for number in map(number_of, ids) if number is not None]
    orders = [order for order in (call.account.get(id=n) for n in numbers) if order]
    return _rows(call, [order for order in orders if _fits(order, asked)])


def _rows(call: Call, orders: list[Order]) -> dict[str, Any]:
    trades = call.account.fills() if orders else []
    symbols = call.private.market.symbols
    return {text_id("O", order.id): order_row(order, trades, symbols) for order in orders}


def _fits(order: Order, asked: Mapping[str, str]) -> bool:
    if "cl_ord_id" in asked and order.more.get("cl_ord_id") != asked["cl_ord_id"]:
        return False
    return "userref" not in asked or str(order.more.get("userref")) == asked["userref"]


def trades_history(call: Call) -> Any:
    """Answer trades, newest first, a page from `ofs` on; `start` is exclusive."""
    asked = form(call)
    made = [trade for trade in reversed(call.account.fills()) if _between(asked, trade.time)]
    first = _number(asked, "ofs", 0)
    return {"trades": _trades(call, made[first : first + PAGE]), "count": len(made)}


def query_trades(call: Call) -> Any:
    """Answer trades by their ids."""
    ids = form(call).get("txid", "").split(",")
    if len(ids) > MOST_IDS:
        raise Invalid("EGeneral:Invalid arguments:txid")
    symbols = call.private.market.symbols
    return _trades(call, [t for t in call.account.fills() if trade_id(symbols, t) in ids])


def _trades(call: Call, made: list[Trade]) -> dict[str, Any]:
    symbols = call.private.market.symbols
    kinds = {trade.order: call.account.get(id=trade.order) for trade in made}
    return {
        trade_id(symbols, trade): trade_row(trade, TYPES[order.kind] if order else "market")
        for trade, order in ((trade, kinds[trade.order]) for trade in made)
    }


def _between(asked: Mapping[str, str], moment: int) -> bool:
    start, end = _number(asked, "start", 0), _number(asked, "end", 1 << 40)
    return start * 1_000_000 < moment < (end + 1) * 1_000_000


def _number(asked: Mapping[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not text.isdigit():  # Kraken takes ids of trades there too; they are not played
        raise Invalid(f"EGeneral:Invalid arguments:{name}")
    return int(text)


def trade_volume(call: Call) -> Any:
    """Answer the account's rates in percent, of the pairs that are asked for."""
    asked = form(call)
    maker, taker = call.account.terms.fees
    names = asked["pair"].split(",") if asked.get("pair") else []
    keys = [found(call.private.market, {"pair": name}).key for name in names]
    rates = {key: {"fee": plain(taker * 100), "minfee": "0.1", "maxfee": "0.26"} for key in keys}
    makers = {key: {"fee": plain(maker * 100), "minfee": "0", "maxfee": "0.16"} for key in keys}
    return {"currency": "ZUSD", "volume": "0", "fees": rates, "fees_maker": makers}


def token(call: Call) -> Any:
    """Answer a token for private streams, which are not played."""
    return {"token": f"token-of-{call.key.id}", "expires": TOKEN_LASTS}


def key_info(call: Call) -> Any:
    """Answer what the key may do (Kraken, "Get API Key Info")."""
    may = ["query-funds", "query-open-trades", "query-closed-trades"]
    may += ["modify-trades", "close-trades"] if call.key.trade else []
    may += ["withdraw-funds"] if call.key.withdraw else []
    return {
        "apiKeyName": call.key.id,
        "apiKey": call.key.id,
        "nonce": form(call).get("nonce", "0"),
        "nonceWindow": 0,
        "permissions": may,
        "iban": "",
        "validUntil": "0",
        "queryFrom": "0",
        "queryTo": "0",
        "createdTime": "0",
        "modifiedTime": "0",
        "ipAllowlist": ["127.0.0.1"] if call.key.addresses else [],
        "lastUsed": str(call.now // 1_000_000),
    }
