"""Bybit linear perpetuals in a unified account.

Source: bybit-exchange.github.io/docs/v5. An answer to an order or a cancellation says that it was
taken in, not that it was done: what came of it is asked.
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
    Unknown,
)

STATUSES: dict[str, Status] = {
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


class Bybit:
    """One account; see `words.Gateway`."""

    name = "bybit"

    def __init__(self, wire: Wire, account: str) -> None:
        self.account, self._wire = account, wire
        self._markets: dict[str, Market] = {}
        self._names: dict[str, str] = {}
        self._coins: list[str] = []

    async def open(self) -> None:
        """Learn clock and markets."""
        await self._wire.set_clock()
        told = await self._wire.ask("load_markets", True, read=dict)
        perpetual = [m for m in told.values() if m["swap"] and m["linear"]]
        self._markets = {m["id"]: market(m) for m in perpetual}
        self._names = {m["id"]: m["symbol"] for m in perpetual}
        self._coins = sorted({m["settle"] for m in perpetual})

    async def close(self) -> None:
        """Let go."""
        await self._wire.close()

    def market(self, symbol: str) -> Market:
        """Return what is asked of orders in `symbol`."""
        return lookup(self._markets, symbol, "Bybit linear")

    def fit(self, order: Order, price: Decimal) -> Order:
        """Return `order` cut to tick and lot."""
        return fit(order, self.market(order.symbol), price)

    async def clock(self) -> int:
        """Return the venue's time."""
        return await venue_time(self._wire)

    async def permissions(self) -> Permissions:
        """Return what the key may do."""
        return await self._wire.ask("privateGetV5UserQueryApi", {}, read=_permissions)

    async def settings(self, symbol: str) -> Settings:
        """Return leverage and position mode of `symbol`, and the account's margin mode."""
        margin = await self._wire.ask("privateGetV5AccountInfo", {}, read=_margin)
        asked = {**LINEAR, "symbol": symbol}
        return await self._wire.ask(
            "privateGetV5PositionList", asked, read=lambda told: _settings(told, margin)
        )

    async def set(self, symbol: str, wanted: Settings) -> Settings:
        """Set what differs and read it back; the margin mode is that of the whole account."""
        have = await surely(self.settings(symbol))
        if wanted.hedged not in (None, have.hedged):
            mode = {**LINEAR, "symbol": symbol, "mode": 3 if wanted.hedged else 0}
            await self._wire.change("privatePostV5PositionSwitchMode", mode, read=dict)
        if wanted.margin not in (None, have.margin):
            name = "ISOLATED_MARGIN" if wanted.margin == "isolated" else "REGULAR_MARGIN"
            asked = {"setMarginMode": name}
            await self._wire.change("privatePostV5AccountSetMarginMode", asked, read=dict)
        if wanted.leverage not in (None, have.leverage):
            one = str(wanted.leverage)
            both = {**LINEAR, "symbol": symbol, "buyLeverage": one, "sellLeverage": one}
            await self._wire.change("privatePostV5PositionSetLeverage", both, read=dict)
        return await surely(self.settings(symbol))

    async def fees(self, symbol: str) -> Fees:
        """Return the account's rates."""
        asked = {**LINEAR, "symbol": symbol}
        return await self._wire.ask("privateGetV5AccountFeeRate", asked, read=_fees)

    async def balance(self) -> dict[str, Balance]:
        """Return wallet balances; free is what no order and no position holds."""
        asked = {"accountType": "UNIFIED"}
        return await self._wire.ask("privateGetV5AccountWalletBalance", asked, read=_balances)

    async def positions(self) -> dict[str, Position]:
        """Return what is held, long and short of a symbol together."""
        found: dict[str, Position] = {}
        for coin in self._coins:
            asked = {**LINEAR, "settleCoin": coin, "limit": 200}
            for one in await self._pages("privateGetV5PositionList", asked, _position):
                before = found[one.symbol].quantity if one.symbol in found else NOTHING
                found[one.symbol] = one._replace(quantity=before + one.quantity)
        return {symbol: held for symbol, held in found.items() if held.quantity}

    async def ticker(self, symbol: str) -> Ticker:
        """Return best prices and the last one."""
        asked = {**LINEAR, "symbol": symbol}
        return await self._wire.ask("publicGetV5MarketTickers", asked, read=_ticker)

    async def book(self, symbol: str, depth: int = 20) -> Book:
        """Return best levels."""
        asked = {**LINEAR, "symbol": symbol, "limit": min(depth, 500)}
        return await self._wire.ask("publicGetV5MarketOrderbook", asked, read=_book)

    # -- orders ------------------------------------------------------------------------------------

    async def send(self, order: Order) -> Seen:
        """Send once; what is returned is what was taken in, not yet judged."""
        name, kind, side, quantity, price, params = unified(order, self._names[order.symbol])
        trigger = params.pop("stopLossPrice", None) or params.pop("takeProfitPrice", None)
        if trigger is not None:  # as ccxt names these two, they would be reduce-only, always
            up = (order.kind == "stop") == (order.side == "buy")
            params |= {"triggerPrice": trigger, "triggerDirection": "above" if up else "below"}
        taken = await self._wire.change(
            "create_order", name, kind, side, quantity, price, params, read=lambda told: told["id"]
        )
        if not taken:
            raise Unknown("bybit: took an order and named no id of it")
        return Seen(
            order.cid, str(taken), order.symbol, order.side, order.quantity, NOTHING, None, "open",
            self._wire.now() - self._wire.skew_us,
        )  # fmt: skip

    async def cancel(self, symbol: str, cid: str) -> Seen | None:
        """Cancel once."""
        asked = {**LINEAR, "symbol": symbol, "orderLinkId": cid}
        try:
            await self._wire.change("privatePostV5OrderCancel", asked, read=dict)
        except Refused as no:
            if no.reason == "no_such_order":
                return None
            raise
        found = await surely(self.find(symbol, cid))
        if found is None:
            raise Unknown(f"bybit: cancelled {cid}, and does not know it")
        return found

    async def cancel_all(self, symbol: str) -> None:
        """Cancel all that is open in `symbol`, conditional orders too."""
        asked = {**LINEAR, "symbol": symbol}
        await self._wire.change("privatePostV5OrderCancelAll", asked, read=dict)

    async def find(self, symbol: str, cid: str) -> Seen | None:
        """Return an order: of those open or lately done, else of the past week."""
        asked = {**LINEAR, "symbol": symbol, "orderLinkId": cid}
        for call in ("privateGetV5OrderRealtime", "privateGetV5OrderHistory"):
            rows = await self._wire.ask(call, asked, read=_rows(seen))
            found = [one for one in rows if one.cid == cid]
            if found:
                return found[0]
        return None

    async def open_orders(self) -> list[Seen]:
        """Return all that is open, conditional orders too."""
        found: list[Seen] = []
        for coin in self._coins:
            asked = {**LINEAR, "settleCoin": coin, "limit": 50}
            found += await self._pages("privateGetV5OrderRealtime", asked, seen)
        return [one for one in found if one.status == "open"]

    async def fills(self, symbol: str, since: int) -> list[Fill]:
        """Return trades from `since` on, forced ones too."""
        asked = {**LINEAR, "symbol": symbol, "limit": 100}
        rows = await self._weeks("privateGetV5ExecutionList", asked, since, _trade)
        quote = self.market(symbol).quote
        found = {one.trade: one for one in rows if one is not None and one.time >= since}
        named = (one if one.coin else one._replace(coin=quote) for one in found.values())
        return sorted(named, key=lambda one: (one.time, one.trade))

    async def income(self, since: int) -> list[Income]:
        """Return funding."""
        asked = {**LINEAR, "accountType": "UNIFIED", "type": "SETTLEMENT", "limit": 50}
        rows = await self._weeks("privateGetV5AccountTransactionLog", asked, since, income)
        found = {one.id: one for one in rows if one.time >= since}
        return sorted(found.values(), key=lambda one: (one.time, one.id))

    async def dead_man(self, seconds: float) -> None:
        """Do nothing: Bybit has no timer for all users."""

    async def _weeks(self, call: str, asked: Mapping[str, Any], since: int, read: Any) -> list[Any]:
        """Ask for the past from `since` on, a week at a time."""
        start, end = since // 1000, (self._wire.now() - self._wire.skew_us) // 1000
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


def market(told: Mapping[str, Any]) -> Market:
    """Read a market as ccxt has it, by the venue's own filters."""
    info = told["info"]
    lot = info["lotSizeFilter"]
    most = lot.get("maxMktOrderQty") or lot.get("maxOrderQty")
    return Market(
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


def seen(told: Mapping[str, Any]) -> Seen:
    """Read an order."""
    status, reason = STATUSES[told["orderStatus"]], str(told.get("rejectReason") or "")
    if status == "cancelled" and reason not in BY_US:
        status = "expired"
    return Seen(
        cid=str(told["orderLinkId"]),
        id=str(told["orderId"]),
        symbol=str(told["symbol"]),
        side=cast(Side, told["side"].lower()),
        quantity=number(told["qty"]),
        filled=number(told["cumExecQty"] or "0"),
        average=maybe(told.get("avgPrice")),
        status=status,
        time=int(told["createdTime"]) * 1000,
        reason="" if reason in BY_US else reason,
    )


def fill(told: Mapping[str, Any]) -> Fill:
    """Read an execution; its fee is in the settlement coin where none is named."""
    return Fill(
        symbol=str(told["symbol"]),
        trade=str(told["execId"]),
        order=str(told["orderId"]),
        cid=str(told.get("orderLinkId") or ""),
        side=cast(Side, told["side"].lower()),
        quantity=number(told["execQty"]),
        price=number(told["execPrice"]),
        fee=None if told.get("execFee") in (None, "") else number(told["execFee"]),
        coin=str(told.get("feeCoin") or told.get("feeCurrency") or ""),
        maker=bool(told["isMaker"]),
        time=int(told["execTime"]) * 1000,
    )


def income(told: Mapping[str, Any]) -> Income:
    """Read an entry of the transaction log."""
    return Income(
        id=str(told["id"]),
        kind="funding" if told["type"] == "SETTLEMENT" else str(told["type"]),
        symbol=str(told.get("symbol") or ""),
        amount=number(told["change"]),
        coin=str(told["currency"]),
        time=int(told["transactionTime"]) * 1000,
    )


def _trade(told: Mapping[str, Any]) -> Fill | None:
    return None if told["execType"] == "Funding" else fill(told)


def _page(told: Mapping[str, Any], read: Any) -> tuple[list[Any], str]:
    result = told["result"]
    return [read(one) for one in result["list"]], str(result.get("nextPageCursor") or "")


def _rows(read: Any) -> Any:
    return lambda told: _page(told, read)[0]


def _permissions(told: Mapping[str, Any]) -> Permissions:
    may, result = told["result"]["permissions"], told["result"]
    orders = "Order" in may.get("ContractTrade", []) or bool(may.get("Derivatives"))
    return Permissions(
        trade=not int(result["readOnly"]) and orders,
        withdraw="Withdraw" in may.get("Wallet", []),
        addresses=result.get("ips") not in (None, [], ["*"]),
    )


def _margin(told: Mapping[str, Any]) -> str:
    return "isolated" if told["result"]["marginMode"] == "ISOLATED_MARGIN" else "cross"


def _settings(told: Mapping[str, Any], margin: str) -> Settings:
    rows = told["result"]["list"]
    leverage = maybe(rows[0].get("leverage"))
    hedged = any(int(row["positionIdx"]) for row in rows)
    return Settings(None if leverage is None else int(leverage), cast(Any, margin), hedged)


def _fees(told: Mapping[str, Any]) -> Fees:
    one = told["result"]["list"][0]
    return Fees(number(one["makerFeeRate"]), number(one["takerFeeRate"]))


def _balances(told: Mapping[str, Any]) -> dict[str, Balance]:
    found = {}
    for one in told["result"]["list"][0]["coin"]:
        total = number(one["walletBalance"] or "0")
        held = (one.get(name) for name in ("locked", "totalOrderIM", "totalPositionIM"))
        bound = sum((number(part) for part in held if part), NOTHING)
        found[str(one["coin"])] = Balance(total, total - bound)
    return found


def _position(told: Mapping[str, Any]) -> Position:
    size = number(told["size"] or "0")
    signed = -size if told["side"] == "Sell" else size
    return Position(str(told["symbol"]), signed, maybe(told.get("avgPrice")))


def _ticker(told: Mapping[str, Any]) -> Ticker:
    one, names = told["result"]["list"][0], ("bid1Price", "ask1Price", "lastPrice")
    bid, ask, last = (number(one[name]) for name in names)
    return Ticker(bid, ask, last, int(told["time"]) * 1000)


def _book(told: Mapping[str, Any]) -> Book:
    result = told["result"]
    bids, asks = ([(number(p), number(q)) for p, q in result[side]] for side in ("b", "a"))
    return Book(bids, asks, int(result["ts"]) * 1000)
