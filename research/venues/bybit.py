"""Bybit linear perpetuals in a unified account.

Source: bybit-exchange.github.io/docs/v5. An answer to an order or a cancellation says that it was
taken in, not that it was done: what came of it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from research.venues import words
from research.venues.fitting import NOTHING, maybe, number
from research.venues.unified import Futures, book_of, ended, net, unified

STATUSES: dict[str, words.Status] = {
    "New": "open",
    "PartiallyFilled": "open",
    "Untriggered": "open",
    "Triggered": "open",
    "Filled": "filled",
    "Cancelled": "cancelled",
    "PartiallyFilledCanceled": "cancelled",
    "Deactivated": "cancelled",
    "Rejected": "rejected",
}
BY_US = ("", "EC_NoError", "EC_PerCancelRequest")
"""Reasons of a cancellation that is not the venue's own."""
WEEK = 7 * 24 * 60 * 60 * 1000
"""Milliseconds that a question of the past may span."""
LINEAR = {"category": "linear"}
PAGES = 1000
"""More pages than any account has in a week: the end of a venue that hands out pages for ever."""


class Bybit(Futures):
    """One account; see `words.Gateway`. Its margin mode is that of the whole account."""

    name, title = "bybit", "Bybit linear"

    def _market(self, told: Mapping[str, Any]) -> words.Market:
        return market(told)

    async def permissions(self) -> words.Permissions:
        """Return what the key may do."""
        return await self._wire.ask("privateGetV5UserQueryApi", {}, read=_permissions)

    async def settings(self, symbol: str) -> words.Settings:
        """Return leverage and position mode of `symbol`, and the account's margin mode."""
        margin = await self._wire.ask("privateGetV5AccountInfo", {}, read=_margin)
        asked = {**LINEAR, "symbol": symbol}
        return await self._wire.ask(
            "privateGetV5PositionList", asked, read=lambda told: _settings(told, margin)
        )

    def _setters(self, symbol: str, wanted: words.Settings) -> dict[str, tuple[str, Any]]:
        here, one = {**LINEAR, "symbol": symbol}, str(wanted.leverage)
        margin = "ISOLATED_MARGIN" if wanted.margin == "isolated" else "REGULAR_MARGIN"
        return {
            "hedged": ("privatePostV5PositionSwitchMode", here | {"mode": 3 * bool(wanted.hedged)}),
            "margin": ("privatePostV5AccountSetMarginMode", {"setMarginMode": margin}),
            "leverage": (
                "privatePostV5PositionSetLeverage", here | {"buyLeverage": one, "sellLeverage": one}
            ),
        }  # fmt: skip

    async def fees(self, symbol: str) -> words.Fees:
        """Return the account's rates."""
        asked = {**LINEAR, "symbol": symbol}
        return await self._wire.ask("privateGetV5AccountFeeRate", asked, read=_fees)

    async def balance(self) -> dict[str, words.Balance]:
        """Return wallet balances; free is what no order and no position holds."""
        asked = {"accountType": "UNIFIED"}
        return await self._wire.ask("privateGetV5AccountWalletBalance", asked, read=_balances)

    async def positions(self) -> dict[str, words.Position]:
        """Return what is held, long and short of a symbol together."""
        held: list[words.Position] = []
        for coin in self._coins():
            asked = {**LINEAR, "settleCoin": coin, "limit": 200}
            held += await self._pages("privateGetV5PositionList", asked, _position)
        return net(held)

    async def ticker(self, symbol: str) -> words.Ticker:
        """Return best prices and the last one."""
        asked = {**LINEAR, "symbol": symbol}
        return await self._wire.ask("publicGetV5MarketTickers", asked, read=_ticker)

    async def book(self, symbol: str, depth: int = 20) -> words.Book:
        """Return best levels."""
        asked = {**LINEAR, "symbol": symbol, "limit": min(depth, 500)}
        return await self._wire.ask("publicGetV5MarketOrderbook", asked, read=_book)

    # -- orders ------------------------------------------------------------------------------------

    async def send(self, order: words.Order) -> words.Seen:
        """Send once; what is returned is what was taken in, not yet judged."""
        name, kind, side, quantity, price, params = unified(order, self._names[order.symbol])
        trigger = params.pop("stopLossPrice", None) or params.pop("takeProfitPrice", None)
        if trigger is not None:  # as ccxt names these two, they would be reduce-only, always
            up = (order.kind == "stop") == (order.side == "buy")
            params |= {"triggerPrice": trigger, "triggerDirection": "above" if up else "below"}
        return await self._send(order, (name, kind, side, quantity, price, params))

    async def cancel(self, symbol: str, cid: str) -> words.Seen | None:
        """Cancel once."""
        asked = {**LINEAR, "symbol": symbol, "orderLinkId": cid}
        return await self._cancel(symbol, cid, "privatePostV5OrderCancel", asked)

    async def cancel_all(self, symbol: str) -> None:
        """Cancel all that is open in `symbol`, conditional orders too."""
        asked = {**LINEAR, "symbol": symbol}
        await self._wire.change("privatePostV5OrderCancelAll", asked, read=dict)

    async def find(self, symbol: str, cid: str) -> words.Seen | None:
        """Return an order: of those open or lately done, else of the past week."""
        asked = {**LINEAR, "symbol": symbol, "orderLinkId": cid}
        for call in ("privateGetV5OrderRealtime", "privateGetV5OrderHistory"):
            rows = await self._wire.ask(call, asked, read=_rows(seen))
            found = [one for one in rows if one.cid == cid]
            if found:
                return found[0]
        return None

    async def open_orders(self) -> list[words.Seen]:
        """Return all that is open, conditional orders too."""
        found: list[words.Seen] = []
        for coin in self._coins():
            asked = {**LINEAR, "settleCoin": coin, "limit": 50}
            found += await self._pages("privateGetV5OrderRealtime", asked, seen)
        return [one for one in found if one.status == "open"]

    async def fills(self, symbol: str, since: int) -> list[words.Fill]:
        """Return trades from `since` on, forced ones too."""
        asked = {**LINEAR, "symbol": symbol, "limit": 100}
        rows = await self._weeks("privateGetV5ExecutionList", asked, since, _trade)
        quote = self.market(symbol).quote
        found = {one.trade: one for one in rows if one is not None and one.time >= since}
        named = (one if one.coin else one._replace(coin=quote) for one in found.values())
        return sorted(named, key=lambda one: (one.time, one.trade))

    async def income(self, since: int) -> list[words.Income]:
        """Return funding."""
        asked = {**LINEAR, "accountType": "UNIFIED", "type": "SETTLEMENT", "limit": 50}
        rows = await self._weeks("privateGetV5AccountTransactionLog", asked, since, income)
        found = {one.id: one for one in rows if one.time >= since}
        return sorted(found.values(), key=lambda one: (one.time, one.id))

    async def dead_man(self, seconds: float) -> None:
        """Do nothing: Bybit has no timer for all users."""

    def _coins(self) -> list[str]:
        """Return in which coins profits are paid: of a linear contract, those it is quoted in."""
        return sorted({one.quote for one in self._markets.values()})

    async def _weeks(self, call: str, asked: Mapping[str, Any], since: int, read: Any) -> list[Any]:
        """Ask for the past from `since` on, a week at a time."""
        start, end = since // 1000, self._wire.there() // 1000
        found: list[Any] = []
        while start <= end:
            span = {"startTime": start, "endTime": start + WEEK - 1}
            found += await self._pages(call, {**asked, **span}, read)
            start += WEEK
        return found

    async def _pages(self, call: str, asked: Mapping[str, Any], read: Any) -> list[Any]:
        found: list[Any] = []
        cursor = ""
        for _ in range(PAGES):
            more = {**asked, "cursor": cursor} if cursor else asked
            page, cursor = await self._wire.ask(call, more, read=lambda told: _page(told, read))
            found += page
            if not cursor or not page:
                break
        return found


# -- what it tells -------------------------------------------------------------------------------


def market(told: Mapping[str, Any]) -> words.Market:
    """Read a market as ccxt has it, by the venue's own filters."""
    info = told["info"]
    lot = info["lotSizeFilter"]
    most = lot.get("maxMktOrderQty") or lot.get("maxOrderQty")
    return words.Market(
        symbol=told["id"],
        base=told["base"],
        quote=told["quote"],
        spot=False,
        tick=number(info["priceFilter"]["tickSize"]),
        lot=number(lot["qtyStep"]),
        least=number(lot["minOrderQty"]),
        most=maybe(most),
        least_notional=maybe(lot.get("minNotionalValue")) or NOTHING,
        trading=info["status"] == "Trading",
    )


def seen(told: Mapping[str, Any]) -> words.Seen:
    """Read an order."""
    reason = str(told.get("rejectReason") or "")
    status, reason = ended(STATUSES[told["orderStatus"]], reason, BY_US)
    return words.Seen(
        cid=str(told["orderLinkId"]),
        id=str(told["orderId"]),
        symbol=str(told["symbol"]),
        side=cast(words.Side, told["side"].lower()),
        quantity=number(told["qty"]),
        filled=number(told["cumExecQty"] or "0"),
        average=maybe(told.get("avgPrice")),
        status=status,
        time=int(told["createdTime"]) * 1000,
        reason=reason,
    )


def fill(told: Mapping[str, Any]) -> words.Fill:
    """Read an execution; its fee is in the settlement coin where none is named."""
    return words.Fill(
        symbol=str(told["symbol"]),
        trade=str(told["execId"]),
        order=str(told["orderId"]),
        cid=str(told.get("orderLinkId") or ""),
        side=cast(words.Side, told["side"].lower()),
        quantity=number(told["execQty"]),
        price=number(told["execPrice"]),
        fee=None if told.get("execFee") in (None, "") else number(told["execFee"]),
        coin=str(told.get("feeCoin") or told.get("feeCurrency") or ""),
        maker=bool(told["isMaker"]),
        time=int(told["execTime"]) * 1000,
    )


def income(told: Mapping[str, Any]) -> words.Income:
    """Read an entry of the transaction log."""
    return words.Income(
        id=str(told["id"]),
        kind="funding" if told["type"] == "SETTLEMENT" else str(told["type"]),
        symbol=str(told.get("symbol") or ""),
        amount=number(told["change"]),
        coin=str(told["currency"]),
        time=int(told["transactionTime"]) * 1000,
    )


def _trade(told: Mapping[str, Any]) -> words.Fill | None:
    return None if told["execType"] == "Funding" else fill(told)


def _page(told: Mapping[str, Any], read: Any) -> tuple[list[Any], str]:
    result = told["result"]
    return [read(one) for one in result["list"]], str(result.get("nextPageCursor") or "")


def _rows(read: Any) -> Any:
    return lambda told: _page(told, read)[0]


def _permissions(told: Mapping[str, Any]) -> words.Permissions:
    may, result = told["result"]["permissions"], told["result"]
    orders = "Order" in may.get("ContractTrade", []) or bool(may.get("Derivatives"))
    return words.Permissions(
        trade=not int(result["readOnly"]) and orders,
        withdraw="Withdraw" in may.get("Wallet", []),
        addresses=result.get("ips") not in (None, [], ["*"]),
    )


def _margin(told: Mapping[str, Any]) -> str:
    return "isolated" if told["result"]["marginMode"] == "ISOLATED_MARGIN" else "cross"


def _settings(told: Mapping[str, Any], margin: str) -> words.Settings:
    rows = told["result"]["list"]
    leverage = maybe(rows[0].get("leverage"))
    hedged = any(int(row["positionIdx"]) for row in rows)
    return words.Settings(None if leverage is None else int(leverage), cast(Any, margin), hedged)


def _fees(told: Mapping[str, Any]) -> words.Fees:
    one = told["result"]["list"][0]
    return words.Fees(number(one["makerFeeRate"]), number(one["takerFeeRate"]))


def _balances(told: Mapping[str, Any]) -> dict[str, words.Balance]:
    found = {}
    for one in told["result"]["list"][0]["coin"]:
        total = number(one["walletBalance"] or "0")
        held = (one.get(name) for name in ("locked", "totalOrderIM", "totalPositionIM"))
        bound = sum((number(part) for part in held if part), NOTHING)
        found[str(one["coin"])] = words.Balance(total, total - bound)
    return found


def _position(told: Mapping[str, Any]) -> words.Position:
    size = number(told["size"] or "0")
    signed = -size if told["side"] == "Sell" else size
    return words.Position(str(told["symbol"]), signed, maybe(told.get("avgPrice")))


def _ticker(told: Mapping[str, Any]) -> words.Ticker:
    one, names = told["result"]["list"][0], ("bid1Price", "ask1Price", "lastPrice")
    bid, ask, last = (number(one[name]) for name in names)
    return words.Ticker(bid, ask, last, int(told["time"]) * 1000)


def _book(told: Mapping[str, Any]) -> words.Book:
    result = told["result"]
    return book_of(result["b"], result["a"], int(result["ts"]) * 1000)
