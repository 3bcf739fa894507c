"""Binance's routes that tell of money, positions, settings and the key itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from research.sim.orders.account import Account
from research.sim.orders.binance import forms
from research.sim.orders.binance.forms import asked, symbol_of, text
from research.sim.orders.binance.telling import WEEK
from research.sim.orders.ledger import Held
from research.sim.orders.quotes import FAR
from research.sim.orders.venues import Call, Route
from research.sim.orders.words import ZERO, Leg

KEPT = Decimal("0.005")
"""Maintenance margin, as a fraction of a position's notional."""
ONCE = Decimal("1e-8")


def account(call: Call) -> Any:
    """Tell of the account as a whole."""
    mine = call.account
    totals = _totals(mine)
    return {
        **{f"total{name[:1].upper()}{name[1:]}": value for name, value in totals.items()},
        "totalCrossWalletBalance": totals["walletBalance"],
        "totalCrossUnPnl": totals["unrealizedProfit"],
        "availableBalance": text(mine.free("USDT").quantize(ONCE)),
        "maxWithdrawAmount": text(max(ZERO, mine.free("USDT")).quantize(ONCE)),
        "assets": [_asset(mine, coin) for coin in sorted(mine.ledger.coins)],
        "positions": [_short(mine, *at) for at in sorted(mine.positions())],
    }


def _totals(mine: Account) -> dict[str, str]:
    wallet = mine.ledger.coins.get("USDT", ZERO)
    equity, margins = mine.equity("USDT"), _margins(mine)
    orders = equity - margins[0] - mine.free("USDT")
    values = {
        "walletBalance": wallet,
        "unrealizedProfit": equity - wallet,
        "marginBalance": equity,
        "maintMargin": margins[1],
        "initialMargin": margins[0] + orders,
        "positionInitialMargin": margins[0],
        "openOrderInitialMargin": orders,
    }
    return {name: text(value.quantize(ONCE)) for name, value in values.items()}


def _margins(mine: Account) -> tuple[Decimal, Decimal]:
    """Return initial and maintenance margin of all positions."""
    worth = {
        at: abs(quantity) * mine.price(at[0]) for at, (quantity, _) in mine.positions().items()
    }
    initial = sum((n / mine.leverage.get(at[0], 20) for at, n in worth.items()), ZERO)
    return initial, sum(worth.values(), ZERO) * KEPT


def _asset(mine: Account, coin: str) -> dict[str, Any]:
    wallet = mine.ledger.coins[coin]
    totals = _totals(mine) if coin == "USDT" else {}
    plain = text(wallet.quantize(ONCE))
    zero = ("unrealizedProfit", "maintMargin", "initialMargin", "positionInitialMargin")
    return {
        "asset": coin,
        "marginBalance": plain,
        **dict.fromkeys(zero, "0.00000000"),
        "openOrderInitialMargin": "0.00000000",
        **totals,
        "walletBalance": plain,
        "crossWalletBalance": plain,
        "crossUnPnl": totals.get("unrealizedProfit", "0.00000000"),
        "availableBalance": text(mine.free(coin).quantize(ONCE)),
        "maxWithdrawAmount": text(max(ZERO, mine.free(coin)).quantize(ONCE)),
        "updateTime": mine.moment // 1000,
    }


def _short(mine: Account, symbol: str, leg: Leg) -> dict[str, Any]:
    row = _position(mine, symbol, leg)
    names = ("symbol", "positionSide", "positionAmt", "notional", "isolatedMargin")
    more = ("isolatedWallet", "initialMargin", "maintMargin", "updateTime")
    return {
        **{name: row[name] for name in (*names, *more)},
        "unrealizedProfit": row["unRealizedProfit"],
    }


def _position(mine: Account, symbol: str, leg: Leg) -> dict[str, Any]:
    held, price = mine.ledger.held(symbol, leg), mine.price(symbol)
    notional = held.quantity * price
    margin = abs(notional) / mine.leverage.get(symbol, 20)
    isolated = mine.margin.get(symbol, "cross") == "isolated" and bool(held.quantity)
    initial = text(margin.quantize(ONCE))
    return {
        "symbol": symbol,
        "positionSide": leg,
        "positionAmt": text(held.quantity),
        "entryPrice": text(round(held.entry, 8)),
        "breakEvenPrice": text(round(held.entry, 8)),
        "markPrice": text(price),
        "unRealizedProfit": text(held.worth(price).quantize(ONCE)),
        "liquidationPrice": _liquidation(mine, held),
        "isolatedMargin": initial if isolated else "0",
        "notional": text(notional.quantize(ONCE)),
        "marginAsset": mine.rules(symbol).quote,
        "isolatedWallet": initial if isolated else "0",
        "initialMargin": initial,
        "maintMargin": text((abs(notional) * KEPT).quantize(ONCE)),
        "positionInitialMargin": initial,
        "openOrderInitialMargin": "0",
        "adl": 1,
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": mine.moment // 1000,
    }


def _liquidation(mine: Account, held: Held) -> str:
    """Return the price at which nothing but the maintenance margin is left; 0: none above 0."""
    if not held.quantity:
        return "0"
    sign = 1 if held.quantity > 0 else -1
    price = (held.cost - mine.ledger.coins.get("USDT", ZERO)) / (held.quantity * (1 - sign * KEPT))
    return text(round(max(ZERO, price), 8))


def positions(call: Call) -> Any:
    """Tell of positions; of a symbol that is named, also where it is flat."""
    return [_position(call.account, *at) for at in _held(call)]


def positions_before(call: Call) -> Any:
    """Tell of positions in the older form, which has leverage and margin type."""
    mine = call.account
    return [
        {
            **_position(mine, symbol, leg),
            "leverage": str(mine.leverage.get(symbol, 20)),
            "marginType": mine.margin.get(symbol, "cross"),
            "isAutoAddMargin": "false",
            "maxNotionalValue": "1000000000",
        }
        for symbol, leg in _held(call)
    ]


def _held(call: Call) -> list[tuple[str, Leg]]:
    query, mine = asked(call), call.account
    there = sorted(mine.positions())
    if "symbol" not in query:
        return there
    symbol = symbol_of(mine, query).symbol
    legs: tuple[Leg, ...] = ("LONG", "SHORT") if mine.hedged else ("BOTH",)
    return [(symbol, leg) for leg in legs]


def balance(call: Call) -> Any:
    """Tell of every coin."""
    return [
        {
            "accountAlias": "sim",
            "asset": coin,
            "balance": row["walletBalance"],
            **{name: row[name] for name in ("crossWalletBalance", "crossUnPnl")},
            **{name: row[name] for name in ("availableBalance", "maxWithdrawAmount")},
            "marginAvailable": True,
            "updateTime": row["updateTime"],
        }
        for coin in sorted(call.account.ledger.coins)
        for row in [_asset(call.account, coin)]
    ]


def incomes(call: Call) -> Any:
    """Tell of money that came and went, oldest first; the last week where no time is named."""
    query, mine = asked(call), call.account
    limit = max(1, min(forms.whole(query, "limit", 100), 1000))
    start, end = forms.whole(query, "startTime", -1) * 1000, forms.whole(query, "endTime", -1)
    wanted, symbol = query.get("incomeType", ""), query.get("symbol", "")
    low = start if start >= 0 else mine.moment - WEEK
    rows = [
        one
        for one in mine.income()
        if low <= one.time <= (end * 1000 + 999 if end >= 0 else FAR)
        and wanted in ("", forms.INCOMES[one.kind])
        and symbol in ("", one.symbol)
    ]
    first = (forms.whole(query, "page", 1) - 1) * limit
    return [forms.income(one) for one in rows[first : first + limit]]


def fees(call: Call) -> Any:
    """Tell of the account's rates."""
    maker, taker = call.account.terms.fees
    return {
        "symbol": symbol_of(call.account, asked(call)).symbol,
        "makerCommissionRate": text(maker),
        "takerCommissionRate": text(taker),
        "rpiCommissionRate": text(maker),
    }


def brackets(call: Call) -> Any:
    """Tell of leverage brackets, of one symbol or of all."""
    query = asked(call)
    if "symbol" in query:
        return _bracket(symbol_of(call.account, query).symbol)
    return [_bracket(symbol) for symbol in call.private.market.symbols]


def _bracket(symbol: str) -> dict[str, Any]:
    only = {
        "bracket": 1,
        "initialLeverage": 125,
        "notionalCap": 1_000_000_000,
        "notionalFloor": 0,
        "maintMarginRatio": float(KEPT),
        "cum": 0.0,
    }
    return {"symbol": symbol, "notionalCoef": 1.0, "brackets": [only]}


def settings(call: Call) -> Any:
    """Tell how symbols are traded."""
    query, mine = asked(call), call.account
    symbols = [symbol_of(mine, query).symbol] if "symbol" in query else call.private.market.symbols
    return [
        {
            "symbol": symbol,
            "marginType": {"cross": "CROSSED"}.get(mine.margin.get(symbol, "cross"), "ISOLATED"),
            "isAutoAddMargin": False,
            "leverage": mine.leverage.get(symbol, 20),
            "maxNotionalValue": "1000000000",
        }
        for symbol in symbols
    ]


def permissions(call: Call) -> Any:
    """Tell what the key may do."""
    key = call.key
    return {
        "ipRestrict": key.addresses,
        "createTime": 1_700_000_000_000,
        "enableReading": True,
        "enableWithdrawals": key.withdraw,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": key.trade,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
        "enableSpotAndMarginTrading": key.trade,
        "enablePortfolioMarginTrading": False,
    }


ROUTES = {
    ("GET", "/fapi/v3/account"): Route("read", account),
    ("GET", "/fapi/v2/account"): Route("read", account),
    ("GET", "/fapi/v2/balance"): Route("read", balance),
    ("GET", "/fapi/v3/balance"): Route("read", balance),
    ("GET", "/fapi/v3/positionRisk"): Route("read", positions),
    ("GET", "/fapi/v2/positionRisk"): Route("read", positions_before),
    ("GET", "/fapi/v1/income"): Route("read", incomes),
    ("GET", "/fapi/v1/commissionRate"): Route("read", fees),
    ("GET", "/fapi/v1/leverageBracket"): Route("read", brackets),
    ("GET", "/fapi/v1/symbolConfig"): Route("read", settings),
    ("GET", "/fapi/v1/positionSide/dual"): Route(
        "read", lambda call: {"dualSidePosition": call.account.hedged}
    ),
    ("GET", "/sapi/v1/account/apiRestrictions"): Route("read", permissions),
    ("GET", "/sapi/v1/capital/config/getall"): Route("read", lambda call: []),
    ("GET", "/sapi/v1/margin/allPairs"): Route("read", lambda call: []),
    ("GET", "/sapi/v1/margin/isolated/allPairs"): Route("read", lambda call: []),
}
