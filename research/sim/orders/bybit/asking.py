"""What Bybit tells of an account: orders, executions, positions, money, the key itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from research.sim.bybit import Invalid
from research.sim.orders.account import Account
from research.sim.orders.bybit import forms
from research.sim.orders.bybit.forms import CATEGORY, COIN
from research.sim.orders.history import DAY
from research.sim.orders.words import ZERO, Income, Key, Leg, Order, Trade, Twist

Params = Mapping[str, Any]
Item = TypeVar("Item")
RECENT = 500
"""Orders that are over, which ``/v5/order/realtime`` still shows."""
WEEK = 7 * DAY


class Asked(NamedTuple):
    """Who asks."""

    account: Account
    key: Key
    symbols: Sequence[str]
    """That are listed."""
    twist: Twist
    """What a fault does to the order that is asked for."""


Route = Callable[[Asked, Params], Any]


def invalid(what: str) -> Invalid:
    """Return the error for a parameter that cannot be."""
    return Invalid(10001, f"params error: {what} invalid")


def symbol_of(asked: Asked, params: Params, *, needed: bool = True) -> str | None:
    """Return the symbol asked for; an error where it is needed or not listed."""
    if params.get("category") != CATEGORY:
        raise invalid("category")
    symbol = params.get("symbol") or None
    if symbol is None and needed:
        raise invalid("symbol")
    if symbol is not None and symbol not in asked.symbols:
        raise invalid("symbol")
    return symbol


def whole(params: Params, name: str, default: int) -> int:
    """Return a parameter that is a whole number."""
    try:
        return int(params.get(name, default))
    except (TypeError, ValueError):
        raise invalid(name) from None


def page(items: Sequence[Item], params: Params, default: int, most: int) -> tuple[list[Item], str]:
    """Return one page and the cursor of the next, which is already URL-encoded.

    >>> page("abcde", {"limit": "2"}, 20, 50)
    (['a', 'b'], 'page_token%3D2%26')
    >>> page("abcde", {"limit": 2, "cursor": "page_token=4&"}, 20, 50)
    (['e'], '')
    """
    limit = max(1, min(whole(params, "limit", default), most))
    token = str(params.get("cursor", "") or "page_token=0&")
    begun = token.removeprefix("page_token=").removesuffix("&")
    if not begun.isdigit():
        raise invalid("cursor")
    end = int(begun) + limit
    return list(items[int(begun) : end]), f"page_token%3D{end}%26" if end < len(items) else ""


def window(asked: Asked, params: Params, usual: int) -> tuple[int, int]:
    """Return first and last moment: `usual` long where an end is open, never above a week."""
    start, end = whole(params, "startTime", -1) * 1000, whole(params, "endTime", -1) * 1000
    if start < 0 and end < 0:
        return asked.account.moment - usual, asked.account.moment
    if start < 0:
        return end - usual, end + 999
    if end < 0:
        return start, start + usual
    if end < start or end - start > WEEK:
        raise Invalid(10001, "The time range between startTime and endTime cannot exceed 7 days.")
    return start, end + 999


def realtime(asked: Asked, params: Params) -> Any:
    """Answer open orders, newest first; one asked for by its id also when it is over."""
    symbol = symbol_of(asked, params, needed=False)
    named = params.get("orderId") or params.get("orderLinkId")
    if symbol is None and not named and not params.get("settleCoin") and not params.get("baseCoin"):
        raise Invalid(10001, "params error: symbol, baseCoin or settleCoin is needed")
    account = asked.account
    found = account.open_orders(symbol)
    if named or whole(params, "openOnly", 0):
        over = [o for o in account.history.orders(account.moment, symbol) if o.status != "open"]
        found = sorted([*over[-RECENT:], *found], key=lambda order: order.id)
    return _orders(account, _named(found, params), params)


def history(asked: Asked, params: Params) -> Any:
    """Answer orders that are over, newest first."""
    symbol, account = symbol_of(asked, params, needed=False), asked.account
    account.advance()
    start, end = window(asked, params, WEEK)
    known = account.history.orders(account.moment, symbol)
    found = [o for o in known if o.status != "open" and start <= o.time <= end]
    return _orders(account, _named(found, params), params)


def _named(orders: Sequence[Order], params: Params) -> list[Order]:
    if params.get("orderId"):
        number = forms.number_of(str(params["orderId"]))
        return [order for order in orders if order.id == number]
    if params.get("orderLinkId"):
        return [order for order in orders if order.cid == params["orderLinkId"]]
    return list(orders)


def _orders(account: Account, orders: Sequence[Order], params: Params) -> Any:
    kinds = {"Order": False, "StopOrder": True}
    wanted = kinds.get(str(params.get("orderFilter", "")))
    if wanted is not None:
        orders = [o for o in orders if (o.trigger is not None) == wanted]
    shown, cursor = page(orders[::-1], params, 20, 50)
    rows = [forms.order_form(account, order) for order in shown]
    return {"category": CATEGORY, "list": rows, "nextPageCursor": cursor}


def executions(asked: Asked, params: Params) -> Any:
    """Answer trades and fundings, newest first."""
    symbol, account = symbol_of(asked, params, needed=False), asked.account
    account.advance()
    start, end = window(asked, params, WEEK)
    kind = params.get("execType")
    made: list[Trade | Income] = [
        trade
        for trade in account.history.trades(account.moment, symbol)
        if start <= trade.time <= end and kind in (None, "", forms.exec_type(trade.cid))
    ]
    if kind in (None, "", "Funding"):
        made += [
            one
            for one in account.history.income
            if one.kind == "funding" and symbol in (None, one.symbol) and start <= one.time <= end
        ]
    made = [one for one in made if _of(account, one, params)]
    made.sort(key=lambda one: one.time)
    shown, cursor = page(made[::-1], params, 50, 100)
    rows = [
        forms.trade_form(account, one)
        if isinstance(one, Trade)
        else forms.funding_form(account, one)
        for one in shown
    ]
    return {"category": CATEGORY, "list": rows, "nextPageCursor": cursor}


def _of(account: Account, one: Trade | Income, params: Params) -> bool:
    """Return whether a trade is of the order asked for."""
    shown, cid = params.get("orderId"), params.get("orderLinkId")
    if not shown and not cid:
        return True
    if not isinstance(one, Trade):
        return False
    return one.order == forms.number_of(str(shown)) if shown else one.cid == cid


def positions(asked: Asked, params: Params) -> Any:
    """Answer one symbol's position, flat or not, or all that are not flat."""
    symbol, account = symbol_of(asked, params, needed=False), asked.account
    if symbol is None and not params.get("settleCoin"):
        raise Invalid(10001, "params error: symbol or settleCoin is needed")
    account.advance()
    legs: tuple[Leg, ...] = ("LONG", "SHORT") if account.hedged else ("BOTH",)
    wanted = [(symbol, leg) for leg in legs] if symbol else sorted(account.ledger.positions)
    held = [
        (name, leg)
        for name, leg in wanted
        if symbol is not None or account.ledger.held(name, leg).quantity
    ]
    shown, cursor = page(held, params, 20, 200)
    rows = [forms.position_form(account, name, leg) for name, leg in shown]
    return {"category": CATEGORY, "list": rows, "nextPageCursor": cursor}


def wallet(asked: Asked, params: Params) -> Any:
    """Answer what there is."""
    if params.get("accountType") != "UNIFIED":
        raise Invalid(10001, "accountType only support UNIFIED.")
    account = asked.account
    account.advance()
    wanted = [coin for coin in str(params.get("coin") or "").split(",") if coin]
    coins = sorted(set(wanted) or {COIN, *account.ledger.coins})
    equity = forms.text(account.equity(COIN))
    total = {
        "accountType": "UNIFIED",
        "accountLTV": "",
        "accountIMRate": "",
        "accountMMRate": "",
        "accountIMRateByMp": "",
        "accountMMRateByMp": "",
        "totalInitialMarginByMp": "",
        "totalMaintenanceMarginByMp": "",
        "totalEquity": equity,
        "totalMarginBalance": equity,
        "totalAvailableBalance": forms.text(max(account.free(COIN), ZERO)),
        "totalPerpUPL": forms.text(account.equity(COIN) - account.ledger.coins.get(COIN, ZERO)),
        "totalInitialMargin": "",
        "totalWalletBalance": forms.text(account.ledger.coins.get(COIN, ZERO)),
        "totalMaintenanceMargin": "",
    }
    return {"list": [total | {"coin": [forms.coin_form(account, coin) for coin in coins]}]}


def account_info(asked: Asked, params: Params) -> Any:
    """Answer how the account trades: its margin mode is one for all symbols."""
    return {
        "marginMode": MARGINS[margin_of(asked)],
        "updatedTime": forms.stamp(asked.account.moment),
        "unifiedMarginStatus": 6,
        "dcpStatus": "OFF",
        "timeWindow": 0,
        "smpGroup": 0,
        "isMasterTrader": False,
        "spotHedgingStatus": "OFF",
    }


MARGINS = {"cross": "REGULAR_MARGIN", "isolated": "ISOLATED_MARGIN"}


def margin_of(asked: Asked) -> str:
    """Return the account's margin mode."""
    return asked.account.margin.get(asked.symbols[0], "cross")


def fee_rate(asked: Asked, params: Params) -> Any:
    """Answer the account's rates, of one symbol or of all."""
    symbol = symbol_of(asked, params, needed=False)
    maker, taker = map(forms.text, asked.account.terms.fees)
    names = [symbol] if symbol else asked.symbols
    rows = [{"symbol": name, "takerFeeRate": taker, "makerFeeRate": maker} for name in names]
    return {"list": rows}


def transactions(asked: Asked, params: Params) -> Any:
    """Answer what changed the wallet, newest first."""
    account = asked.account
    account.advance()
    start, end = window(asked, params, DAY)
    trades = {(t.symbol, t.id): t for t in account.history.trades(account.moment)}
    rows, balance = [], dict(account.ledger.coins)
    for one in reversed(account.history.income):
        trade = trades.get((one.symbol, one.trade)) if one.trade is not None else None
        row = forms.log_form(account, one, trade, balance.get(one.coin, ZERO))
        balance[one.coin] = balance.get(one.coin, ZERO) - one.amount
        wanted = params.get("type") in (None, "", row["type"])
        coin = params.get("currency") in (None, "", one.coin)
        if wanted and coin and start <= one.time <= end:
            rows.append(row)
    shown, cursor = page(rows, params, 20, 50)
    return {"list": shown, "nextPageCursor": cursor}


def key_info(asked: Asked, params: Params) -> Any:
    """Answer what the key may do."""
    key = asked.key
    trades = ["Order", "Position"] if key.trade else []
    wallet = ["AccountTransfer", "SubMemberTransfer", *(["Withdraw"] if key.withdraw else [])]
    return {
        "id": "13770661",
        "note": "simulated",
        "apiKey": key.id,
        "readOnly": 0 if key.trade or key.withdraw else 1,
        "secret": "",
        "permissions": {
            "ContractTrade": trades,
            "Spot": ["SpotTrade"] if key.trade else [],
            "Wallet": wallet,
            "Options": [],
            "Derivatives": ["DerivativesTrade"] if key.trade else [],
            "CopyTrading": [],
            "BlockTrade": [],
            "Exchange": [],
            "NFT": [],
            "Affiliate": [],
        },
        "ips": ["127.0.0.1"] if key.addresses else ["*"],
        "type": 1,
        "deadlineDay": 83,
        "expiredAt": "2030-01-01T00:00:00Z",
        "createdAt": "2024-01-01T00:00:00Z",
        "unified": 0,
        "uta": 1,
        "userID": 24600000,
        "inviterID": 0,
        "vipLevel": "No VIP",
        "mktMakerLevel": "0",
        "affiliateID": 0,
        "rsaPublicKey": "",
        "isMaster": True,
        "parentUid": "0",
        "kycLevel": "LEVEL_1",
        "kycRegion": "",
    }


def coins(asked: Asked, params: Params) -> Any:
    """Answer the coins there are; none can be moved."""
    names = {COIN, *(asked.account.rules(symbol).base for symbol in asked.symbols)}
    wanted = params.get("coin")
    rows = [
        {"name": coin, "coin": coin, "remainAmount": "0", "chains": []}
        for coin in sorted(names)
        if wanted in (None, "", coin)
    ]
    return {"rows": rows}


ROUTES: dict[str, Route] = {
    "/v5/order/realtime": realtime,
    "/v5/order/history": history,
    "/v5/execution/list": executions,
    "/v5/position/list": positions,
    "/v5/account/wallet-balance": wallet,
    "/v5/account/info": account_info,
    "/v5/account/fee-rate": fee_rate,
    "/v5/account/transaction-log": transactions,
    "/v5/user/query-api": key_info,
    "/v5/asset/coin/query-info": coins,
}
"""What is asked with GET."""
