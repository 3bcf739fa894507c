"""Binance USD-M futures.

Source: developers.binance.com, USDS-Margined Futures. Conditional orders have a service and ids of
their own since 2025-12-09 (``/fapi/v1/algoOrder``); once triggered, one is an order of another id.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

from research.venues.fitting import NOTHING, fit, lookup, maybe, number
from research.venues.unified import surely, unified
from research.venues.wire import Wire, venue_time
from research.venues.words import (
    Balance,
    Book,
    Fees,
    Fill,
    Income,
    Market,
    Order,
    Permissions,
    Position,
    Refused,
    Seen,
    Settings,
    Side,
    Status,
    Ticker,
)

STATUSES: dict[str, Status] = {
    "NEW": "open",
    "PARTIALLY_FILLED": "open",
    "FILLED": "filled",
    "CANCELED": "cancelled",
    "EXPIRED": "expired",
    "EXPIRED_IN_MATCH": "expired",
    "REJECTED": "rejected",
    "TRIGGERING": "open",
    "TRIGGERED": "open",
    "FINISHED": "filled",
}
DEPTHS = (5, 10, 20, 50, 100, 500, 1000)
WEEK = 7 * 24 * 60 * 60 * 1000
"""Milliseconds that a question for trades may span."""
PAGE = 1000
TRADED = ("COMMISSION", "REALIZED_PNL")
"""Income that `fills` tell of."""


class Binance:
    """One account; see `words.Gateway`."""

    name = "binance"

    def __init__(self, wire: Wire, account: str) -> None:
        self.account, self._wire = account, wire
        self._markets: dict[str, Market] = {}
        self._names: dict[str, str] = {}
        self._conditional: set[str] = set()
        self._armed: set[str] = set()

    async def open(self) -> None:
        """Learn clock and markets."""
        await self._wire.set_clock()
        told = await self._wire.ask("load_markets", True, read=dict)
        perpetual = [m for m in told.values() if m["swap"] and m["linear"]]
        self._markets = {m["id"]: market(m) for m in perpetual}
        self._names = {m["id"]: m["symbol"] for m in perpetual}

    async def close(self) -> None:
        """Let go."""
        await self._wire.close()

    def market(self, symbol: str) -> Market:
        """Return what is asked of orders in `symbol`."""
        return lookup(self._markets, symbol, "Binance USD-M")

    def fit(self, order: Order, price: Decimal) -> Order:
        """Return `order` cut to tick and lot."""
        return fit(order, self.market(order.symbol), price)

    async def clock(self) -> int:
        """Return the venue's time."""
        return await venue_time(self._wire)

    async def permissions(self) -> Permissions:
        """Return what the key may do."""
        call = "sapiGetAccountApiRestrictions"
        return await self._wire.ask(call, {}, read=_permissions)

    async def settings(self, symbol: str) -> Settings:
        """Return leverage and margin of `symbol`, and the account's position mode."""
        hedged = await self._wire.ask("fapiPrivateGetPositionSideDual", {}, read=_hedged)
        asked = {"symbol": symbol}
        return await self._wire.ask(
            "fapiPrivateGetSymbolConfig", asked, read=lambda told: _settings(told, symbol, hedged)
        )

    async def set(self, symbol: str, wanted: Settings) -> Settings:
        """Set what differs and read it back."""
        have = await surely(self.settings(symbol))
        if wanted.hedged not in (None, have.hedged):
            side = {"dualSidePosition": "true" if wanted.hedged else "false"}
            await self._wire.change("fapiPrivatePostPositionSideDual", side, read=dict)
        if wanted.margin not in (None, have.margin):
            margin = "ISOLATED" if wanted.margin == "isolated" else "CROSSED"
            asked = {"symbol": symbol, "marginType": margin}
            await self._wire.change("fapiPrivatePostMarginType", asked, read=dict)
        if wanted.leverage not in (None, have.leverage):
            leverage = {"symbol": symbol, "leverage": wanted.leverage}
            await self._wire.change("fapiPrivatePostLeverage", leverage, read=dict)
        return await surely(self.settings(symbol))

    async def fees(self, symbol: str) -> Fees:
        """Return the account's rates."""
        return await self._wire.ask(
            "fapiPrivateGetCommissionRate",
            {"symbol": symbol},
            read=lambda t: Fees(number(t["makerCommissionRate"]), number(t["takerCommissionRate"])),
        )

    async def balance(self) -> dict[str, Balance]:
        """Return wallet balances of the futures account."""
        return await self._wire.ask("fapiPrivateV3GetAccount", {}, read=_balances)

    async def positions(self) -> dict[str, Position]:
        """Return what is held, long and short of a symbol together."""
        return await self._wire.ask("fapiPrivateV3GetPositionRisk", {}, read=_positions)

    async def ticker(self, symbol: str) -> Ticker:
        """Return best prices and the last one."""
        asked = {"symbol": symbol}
        last = await self._wire.ask(
            "fapiPublicGetTicker24hr", asked, read=lambda t: number(t["lastPrice"])
        )
        return await self._wire.ask(
            "fapiPublicGetTickerBookTicker", asked, read=lambda told: _ticker(told, last)
        )

    async def book(self, symbol: str, depth: int = 20) -> Book:
        """Return best levels."""
        limit = next((d for d in DEPTHS if d >= depth), DEPTHS[-1])
        asked = {"symbol": symbol, "limit": limit}
        return await self._wire.ask("fapiPublicGetDepth", asked, read=lambda t: _book(t, depth))

    # -- orders ------------------------------------------------------------------------------------

    async def send(self, order: Order) -> Seen:
        """Send once."""
        self._armed.add(order.symbol)
        if order.kind in ("stop", "take"):
            self._conditional.add(order.cid)
        return await self._wire.change(
            "create_order", *unified(order, self._names[order.symbol]), read=_sent
        )

    async def cancel(self, symbol: str, cid: str) -> Seen | None:
        """Cancel once, an order or, where there is none of that id, a conditional one."""
        if cid not in self._conditional:
            asked = {"symbol": symbol, "origClientOrderId": cid}
            try:
                return await self._wire.change("fapiPrivateDeleteOrder", asked, read=seen)
            except Refused as no:
                if no.reason != "no_such_order":
                    raise
        return await self._cancel_conditional(symbol, cid)

    async def _cancel_conditional(self, symbol: str, cid: str) -> Seen | None:
        """Cancel what is not triggered yet: its own answer would not say what it was."""
        found = await surely(self.find(symbol, cid))
        if found is None or found.status != "open":
            return None
        try:
            await self._wire.change("fapiPrivateDeleteAlgoOrder", {"clientAlgoId": cid}, read=dict)
        except Refused as no:
            if no.reason != "no_such_order":
                raise
            return None
        return found._replace(status="cancelled")

    async def cancel_all(self, symbol: str) -> None:
        """Cancel all that is open in `symbol`, conditional orders too."""
        asked = {"symbol": symbol}
        await self._wire.change("fapiPrivateDeleteAllOpenOrders", asked, read=dict)
        await self._wire.change("fapiPrivateDeleteAlgoOpenOrders", asked, read=dict)

    async def find(self, symbol: str, cid: str) -> Seen | None:
        """Return an order; of a conditional one that has triggered, the order it became."""
        asked = {"symbol": symbol, "origClientOrderId": cid}
        found = await self._maybe("fapiPrivateGetOrder", asked, seen)
        if found is not None:
            return cast(Seen, found)
        told = await self._maybe("fapiPrivateGetAlgoOrder", {"clientAlgoId": cid}, dict)
        if told is None:
            return None
        if actual := str(told.get("actualOrderId") or ""):
            order = {"symbol": symbol, "orderId": actual}
            became = await self._maybe("fapiPrivateGetOrder", order, seen)
            return None if became is None else cast(Seen, became)._replace(cid=cid)
        return conditional(told)

    async def _maybe(self, call: str, asked: Mapping[str, Any], read: Any) -> Any:
        try:
            return await self._wire.ask(call, asked, read=read)
        except Refused as no:
            if no.reason == "no_such_order":
                return None
            raise

    async def open_orders(self) -> list[Seen]:
        """Return all that is open, conditional orders too."""
        plain = await self._wire.ask("fapiPrivateGetOpenOrders", {}, read=_each(seen))
        waiting = await self._wire.ask("fapiPrivateGetOpenAlgoOrders", {}, read=_each(conditional))
        self._armed |= {order.symbol for order in plain}
        return plain + waiting

    async def fills(self, symbol: str, since: int) -> list[Fill]:
        """Return trades from `since` on: the first page by time, the others by number."""
        start, end = since // 1000, self._wire.now() // 1000
        page: list[Fill] = []
        while not page and start <= end:
            asked = {"symbol": symbol, "startTime": start, "limit": PAGE}
            if end - start >= WEEK:
                asked["endTime"] = start + WEEK - 1
            page = await self._wire.ask("fapiPrivateGetUserTrades", asked, read=_each(fill))
            start += WEEK
        found = page
        while len(page) >= PAGE:
            asked = {"symbol": symbol, "fromId": int(page[-1].trade) + 1, "limit": PAGE}
            page = await self._wire.ask("fapiPrivateGetUserTrades", asked, read=_each(fill))
            found = found + page
        found = sorted(found, key=lambda one: int(one.trade))
        return [one for one in found if one.time >= since]

    async def income(self, since: int) -> list[Income]:
        """Return funding and whatever else came without a trade."""
        start, found = since // 1000, dict[str, Income]()
        while True:
            asked = {"startTime": start, "limit": PAGE}
            page = await self._wire.ask("fapiPrivateGetIncome", asked, read=_each(income))
            fresh = {one.id: one for one in page} | found
            if len(page) < PAGE or len(fresh) == len(found):
                found = fresh
                break
            found, start = fresh, max(one.time for one in page) // 1000
        kept = (one for one in found.values() if one.kind not in TRADED and one.time >= since)
        return sorted(kept, key=lambda one: (one.time, one.id))

    async def dead_man(self, seconds: float) -> None:
        """Set or end the timer of each symbol in which orders were sent or seen open."""
        for symbol in sorted(self._armed):
            asked = {"symbol": symbol, "countdownTime": round(seconds * 1000)}
            await self._wire.change("fapiPrivatePostCountdownCancelAll", asked, read=dict)


# -- what it tells -------------------------------------------------------------------------------


def market(told: Mapping[str, Any]) -> Market:
    """Read a market as ccxt has it, by the venue's own filters."""
    info = told["info"]
    filters = {one["filterType"]: one for one in info["filters"]}
    lot, bulk = filters["LOT_SIZE"], filters.get("MARKET_LOT_SIZE", filters["LOT_SIZE"])
    notional = filters.get("MIN_NOTIONAL", {"notional": "0"})
    return Market(
        symbol=told["id"],
        base=told["base"],
        quote=told["quote"],
        spot=False,
        tick=number(filters["PRICE_FILTER"]["tickSize"]),
        lot=max(number(lot["stepSize"]), number(bulk["stepSize"])),
        least=max(number(lot["minQty"]), number(bulk["minQty"])),
        most=number(bulk["maxQty"]),
        least_notional=number(notional["notional"]),
        trading=info["status"] == "TRADING",
    )


def seen(told: Mapping[str, Any]) -> Seen:
    """Read an order."""
    return Seen(
        cid=str(told["clientOrderId"]),
        id=str(told["orderId"]),
        symbol=str(told["symbol"]),
        side=cast(Side, told["side"].lower()),
        quantity=number(told["origQty"]),
        filled=number(told["executedQty"]),
        average=maybe(told.get("avgPrice")),
        status=STATUSES[told["status"]],
        time=int(told.get("time") or told["updateTime"]) * 1000,
    )


def conditional(told: Mapping[str, Any]) -> Seen:
    """Read a conditional order that has not become another yet."""
    return Seen(
        cid=str(told["clientAlgoId"]),
        id=str(told["algoId"]),
        symbol=str(told["symbol"]),
        side=cast(Side, told["side"].lower()),
        quantity=number(told["quantity"]),
        filled=NOTHING,
        average=None,
        status=STATUSES[told["algoStatus"]],
        time=int(told["createTime"]) * 1000,
    )


def fill(told: Mapping[str, Any]) -> Fill:
    """Read a trade; it does not tell the client id of its order."""
    return Fill(
        symbol=str(told["symbol"]),
        trade=str(told["id"]),
        order=str(told["orderId"]),
        cid="",
        side=cast(Side, told["side"].lower()),
        quantity=number(told["qty"]),
        price=number(told["price"]),
        fee=None if told.get("commission") is None else number(told["commission"]),
        coin=str(told.get("commissionAsset", "")),
        maker=bool(told["maker"]),
        time=int(told["time"]) * 1000,
    )


def income(told: Mapping[str, Any]) -> Income:
    """Read an entry of the account's income; its number is unique within its kind."""
    kind = str(told["incomeType"])
    return Income(
        id=f"{kind}:{told['tranId']}:{told.get('symbol') or ''}",
        kind="funding" if kind == "FUNDING_FEE" else kind,
        symbol=str(told.get("symbol") or ""),
        amount=number(told["income"]),
        coin=str(told["asset"]),
        time=int(told["time"]) * 1000,
    )


def _sent(order: Mapping[str, Any]) -> Seen:
    told = order["info"]
    return conditional(told) if "algoId" in told else seen(told)


def _each(read: Any) -> Any:
    return lambda told: [read(one) for one in told]


def _permissions(told: Mapping[str, Any]) -> Permissions:
    return Permissions(
        trade=bool(told["enableFutures"]),
        withdraw=bool(told["enableWithdrawals"]),
        addresses=bool(told["ipRestrict"]),
    )


def _hedged(told: Mapping[str, Any]) -> bool:
    return str(told["dualSidePosition"]).lower() == "true"


def _settings(told: Any, symbol: str, hedged: bool) -> Settings:
    one = next(row for row in told if row["symbol"] == symbol)
    margin = "isolated" if one["marginType"].upper() == "ISOLATED" else "cross"
    return Settings(int(one["leverage"]), cast(Any, margin), hedged)


def _balances(told: Mapping[str, Any]) -> dict[str, Balance]:
    return {
        str(one["asset"]): Balance(number(one["walletBalance"]), number(one["availableBalance"]))
        for one in told["assets"]
    }


def _positions(told: Any) -> dict[str, Position]:
    found: dict[str, Position] = {}
    for one in told:
        held, symbol = number(one["positionAmt"]), str(one["symbol"])
        if held:
            before = found[symbol].quantity if symbol in found else NOTHING
            found[symbol] = Position(symbol, before + held, maybe(one["entryPrice"]))
    return {symbol: held for symbol, held in found.items() if held.quantity}


def _ticker(told: Mapping[str, Any], last: Decimal) -> Ticker:
    return Ticker(
        number(told["bidPrice"]), number(told["askPrice"]), last, int(told["time"]) * 1000
    )


def _book(told: Mapping[str, Any], depth: int) -> Book:
    bids, asks = (
        [(number(price), number(size)) for price, size in told[side][:depth]]
        for side in ("bids", "asks")
    )
    return Book(bids, asks, int(told["T"]) * 1000)
