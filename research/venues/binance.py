"""Binance USD-M futures.

Source: developers.binance.com, USDS-Margined Futures. Conditional orders have a service and ids of
their own since 2025-12-09 (``/fapi/v1/algoOrder``); once triggered, one is an order of another id.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

from research.venues import words
from research.venues.fitting import NOTHING, maybe, number
from research.venues.unified import Futures, book_of, known, net, surely, unified
from research.venues.wire import Wire

STATUSES: dict[str, words.Status] = {
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


class Binance(Futures):
    """One account; see `words.Gateway`."""

    name, title = "binance", "Binance USD-M"

    def __init__(self, wire: Wire, account: str) -> None:
        super().__init__(wire, account)
        self._conditional: set[str] = set()
        self._armed: set[str] = set()

    def _market(self, told: Mapping[str, Any]) -> words.Market:
        return market(told)

    async def permissions(self) -> words.Permissions:
        """Return what the key may do."""
        call = "sapiGetAccountApiRestrictions"
        return await self._wire.ask(call, {}, read=_permissions)

    async def settings(self, symbol: str) -> words.Settings:
        """Return leverage and margin of `symbol`, and the account's position mode."""
        hedged = await self._wire.ask("fapiPrivateGetPositionSideDual", {}, read=_hedged)
        asked = {"symbol": symbol}
        return await self._wire.ask(
            "fapiPrivateGetSymbolConfig", asked, read=lambda told: _settings(told, symbol, hedged)
        )

    def _setters(self, symbol: str, wanted: words.Settings) -> dict[str, tuple[str, Any]]:
        hedged = {"dualSidePosition": "true" if wanted.hedged else "false"}
        margin = "ISOLATED" if wanted.margin == "isolated" else "CROSSED"
        return {
            "hedged": ("fapiPrivatePostPositionSideDual", hedged),
            "margin": ("fapiPrivatePostMarginType", {"symbol": symbol, "marginType": margin}),
            "leverage": (
                "fapiPrivatePostLeverage", {"symbol": symbol, "leverage": wanted.leverage},
            ),
        }  # fmt: skip

    async def fees(self, symbol: str) -> words.Fees:
        """Return the account's rates."""
        return await self._wire.ask(
            "fapiPrivateGetCommissionRate",
            {"symbol": symbol},
            read=lambda t: words.Fees(
                number(t["makerCommissionRate"]), number(t["takerCommissionRate"])
            ),
        )

    async def balance(self) -> dict[str, words.Balance]:
        """Return wallet balances of the futures account."""
        return await self._wire.ask("fapiPrivateV3GetAccount", {}, read=_balances)

    async def positions(self) -> dict[str, words.Position]:
        """Return what is held, long and short of a symbol together."""
        return net(await self._wire.ask("fapiPrivateV3GetPositionRisk", {}, read=_each(_position)))

    async def ticker(self, symbol: str) -> words.Ticker:
        """Return best prices and the last one."""
        asked = {"symbol": symbol}
        last = await self._wire.ask(
            "fapiPublicGetTicker24hr", asked, read=lambda t: number(t["lastPrice"])
        )
        return await self._wire.ask(
            "fapiPublicGetTickerBookTicker", asked, read=lambda told: _ticker(told, last)
        )

    async def book(self, symbol: str, depth: int = 20) -> words.Book:
        """Return best levels."""
        limit = next((d for d in DEPTHS if d >= depth), DEPTHS[-1])
        asked = {"symbol": symbol, "limit": limit}
        return await self._wire.ask(
            "fapiPublicGetDepth",
            asked,
            read=lambda t: book_of(t["bids"][:depth], t["asks"][:depth], int(t["T"]) * 1000),
        )

    # -- orders ------------------------------------------------------------------------------------

    async def send(self, order: words.Order) -> words.Seen:
        """Send once."""
        self._armed.add(order.symbol)
        if order.kind in ("stop", "take"):
            self._conditional.add(order.cid)
        return await self._wire.change(
            "create_order", *unified(order, self._names[order.symbol]), read=_sent
        )

    async def cancel(self, symbol: str, cid: str) -> words.Seen | None:
        """Cancel once, an order or, where there is none of that id, a conditional one."""
        if cid not in self._conditional:
            asked = {"symbol": symbol, "origClientOrderId": cid}
            change = self._wire.change("fapiPrivateDeleteOrder", asked, read=seen)
            if (found := await known(change)) is not None:
                return found
        return await self._cancel_conditional(symbol, cid)

    async def _cancel_conditional(self, symbol: str, cid: str) -> words.Seen | None:
        """Cancel what is not triggered yet: its own answer would not say what it was."""
        found = await surely(self.find(symbol, cid))
        if found is None or found.status != "open":
            return None
        asked = {"clientAlgoId": cid}
        change = self._wire.change("fapiPrivateDeleteAlgoOrder", asked, read=dict)
        return None if await known(change) is None else found._replace(status="cancelled")

    async def cancel_all(self, symbol: str) -> None:
        """Cancel all that is open in `symbol`, conditional orders too."""
        asked = {"symbol": symbol}
        await self._wire.change("fapiPrivateDeleteAllOpenOrders", asked, read=dict)
        await self._wire.change("fapiPrivateDeleteAlgoOpenOrders", asked, read=dict)

    async def find(self, symbol: str, cid: str) -> words.Seen | None:
        """Return an order; of a conditional one that has triggered, the order it became."""
        if found := await self._order({"symbol": symbol, "origClientOrderId": cid}):
            return found
        asked = {"clientAlgoId": cid}
        told = await known(self._wire.ask("fapiPrivateGetAlgoOrder", asked, read=dict))
        if told is None:
            return None
        if actual := str(told.get("actualOrderId") or ""):
            became = await self._order({"symbol": symbol, "orderId": actual})
            return None if became is None else became._replace(cid=cid)
        return conditional(told)

    async def _order(self, asked: Mapping[str, Any]) -> words.Seen | None:
        return await known(self._wire.ask("fapiPrivateGetOrder", asked, read=seen))

    async def open_orders(self) -> list[words.Seen]:
        """Return all that is open, conditional orders too."""
        plain = await self._wire.ask("fapiPrivateGetOpenOrders", {}, read=_each(seen))
        waiting = await self._wire.ask("fapiPrivateGetOpenAlgoOrders", {}, read=_each(conditional))
        self._armed |= {order.symbol for order in plain}
        return plain + waiting

    async def fills(self, symbol: str, since: int) -> list[words.Fill]:
        """Return trades from `since` on: the first page by time, the others by number."""
        start, end = since // 1000, self._wire.now() // 1000
        page: list[words.Fill] = []
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

    async def income(self, since: int) -> list[words.Income]:
        """Return funding and whatever else came without a trade."""
        start, found = since // 1000, dict[str, words.Income]()
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


def market(told: Mapping[str, Any]) -> words.Market:
    """Read a market as ccxt has it, by the venue's own filters."""
    info = told["info"]
    filters = {one["filterType"]: one for one in info["filters"]}
    lot, bulk = filters["LOT_SIZE"], filters.get("MARKET_LOT_SIZE", filters["LOT_SIZE"])
    notional = filters.get("MIN_NOTIONAL", {"notional": "0"})
    return words.Market(
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


def seen(told: Mapping[str, Any]) -> words.Seen:
    """Read an order."""
    return words.Seen(
        cid=str(told["clientOrderId"]),
        id=str(told["orderId"]),
        symbol=str(told["symbol"]),
        side=cast(words.Side, told["side"].lower()),
        quantity=number(told["origQty"]),
        filled=number(told["executedQty"]),
        average=maybe(told.get("avgPrice")),
        status=STATUSES[told["status"]],
        time=int(told.get("time") or told["updateTime"]) * 1000,
    )


def conditional(told: Mapping[str, Any]) -> words.Seen:
    """Read a conditional order that has not become another yet."""
    return words.Seen(
        cid=str(told["clientAlgoId"]),
        id=str(told["algoId"]),
        symbol=str(told["symbol"]),
        side=cast(words.Side, told["side"].lower()),
        quantity=number(told["quantity"]),
        filled=NOTHING,
        average=None,
        status=STATUSES[told["algoStatus"]],
        time=int(told["createTime"]) * 1000,
    )


def fill(told: Mapping[str, Any]) -> words.Fill:
    """Read a trade; it does not tell the client id of its order."""
    return words.Fill(
        symbol=str(told["symbol"]),
        trade=str(told["id"]),
        order=str(told["orderId"]),
        cid="",
        side=cast(words.Side, told["side"].lower()),
        quantity=number(told["qty"]),
        price=number(told["price"]),
        fee=None if told.get("commission") is None else number(told["commission"]),
        coin=str(told.get("commissionAsset", "")),
        maker=bool(told["maker"]),
        time=int(told["time"]) * 1000,
    )


def income(told: Mapping[str, Any]) -> words.Income:
    """Read an entry of the account's income; its number is unique within its kind."""
    kind = str(told["incomeType"])
    return words.Income(
        id=f"{kind}:{told['tranId']}:{told.get('symbol') or ''}",
        kind="funding" if kind == "FUNDING_FEE" else kind,
        symbol=str(told.get("symbol") or ""),
        amount=number(told["income"]),
        coin=str(told["asset"]),
        time=int(told["time"]) * 1000,
    )


def _sent(order: Mapping[str, Any]) -> words.Seen:
    told = order["info"]
    return conditional(told) if "algoId" in told else seen(told)


def _each(read: Any) -> Any:
    return lambda told: [read(one) for one in told]


def _permissions(told: Mapping[str, Any]) -> words.Permissions:
    return words.Permissions(
        trade=bool(told["enableFutures"]),
        withdraw=bool(told["enableWithdrawals"]),
        addresses=bool(told["ipRestrict"]),
    )


def _hedged(told: Mapping[str, Any]) -> bool:
    return str(told["dualSidePosition"]).lower() == "true"


def _settings(told: Any, symbol: str, hedged: bool) -> words.Settings:
    one = next(row for row in told if row["symbol"] == symbol)
    margin = "isolated" if one["marginType"].upper() == "ISOLATED" else "cross"
    return words.Settings(int(one["leverage"]), cast(Any, margin), hedged)


def _balances(told: Mapping[str, Any]) -> dict[str, words.Balance]:
    return {
        str(one["asset"]): words.Balance(
            number(one["walletBalance"]), number(one["availableBalance"])
        )
        for one in told["assets"]
    }


def _position(told: Mapping[str, Any]) -> words.Position:
    held, entry = number(told["positionAmt"]), maybe(told["entryPrice"])
    return words.Position(str(told["symbol"]), held, entry)


def _ticker(told: Mapping[str, Any], last: Decimal) -> words.Ticker:
    return words.Ticker(
        number(told["bidPrice"]), number(told["askPrice"]), last, int(told["time"]) * 1000
    )
