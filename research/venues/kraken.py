"""Kraken spot.

Source: docs.kraken.com, Spot REST. Each answer has HTTP status 200; requests of one key come one
after another, by a rising nonce. An order that would arrive late is refused by its ``deadline``.
Orders are looked for among open and closed ones by ``cl_ord_id``. Fees are taken in the quote
currency (``fciq``): what is held is then what was traded, to the digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from research.venues import words
from research.venues.fitting import maybe, number
from research.venues.unified import Unified, book_of, ended, known, surely, unified
from research.venues.wire import Wire
from research.venues.words import WINDOW_US, Refused

STATUSES: dict[str, words.Status] = {
    "pending": "open",
    "open": "open",
    "closed": "filled",
    "canceled": "cancelled",
    "expired": "expired",
}
BY_US = ("", "User requested", "User canceled", "User cancel")
"""Reasons of a cancellation that is not the venue's own."""
NO_SETTINGS = words.Settings(leverage=None, margin=None, hedged=None)


class Kraken(Unified):
    """One account; see `words.Gateway`."""

    name, title = "kraken", "Kraken"

    def __init__(self, wire: Wire, account: str) -> None:
        super().__init__(wire, account)
        self._ids: dict[str, str] = {}
        self._symbols: dict[str, str] = {}

    def _learn(self, told: Mapping[str, Any]) -> None:
        self._markets = {name: market(one) for name, one in told.items()}
        self._ids = {name: one["id"] for name, one in told.items()}
        # answers name a pair by either of two names, neither of them the one people use
        self._symbols = {one["id"]: name for name, one in told.items()}
        self._symbols |= {one["info"]["altname"]: name for name, one in told.items()}

    def fit(self, order: words.Order, price: Decimal) -> words.Order:
        """Return `order` cut to tick and lot; nothing is bought to reduce what is held."""
        if order.reduce_only and order.side == "buy":
            raise Refused("no_position", f"{order.symbol}: a spot account owes nothing to buy back")
        return super().fit(order, price)

    async def permissions(self) -> words.Permissions:
        """Return what the key may do."""
        return await self._wire.ask("privatePostGetApiKeyInfo", {}, read=_permissions)

    async def settings(self, symbol: str) -> words.Settings:
        """Return that there are none."""
        return NO_SETTINGS

    async def set(self, symbol: str, wanted: words.Settings) -> words.Settings:
        """Return that there are none."""
        return NO_SETTINGS

    async def fees(self, symbol: str) -> words.Fees:
        """Return the account's rates."""
        asked = {"pair": self._id(symbol)}
        return await self._wire.ask("privatePostTradeVolume", asked, read=_fees)

    async def balance(self) -> dict[str, words.Balance]:
        """Return coins; free is what no order holds."""
        return await self._wire.ask("privatePostBalanceEx", {}, read=self._balances)

    async def positions(self) -> dict[str, words.Position]:
        """Return of each symbol the total of its base currency."""
        coins = await self.balance()
        held = ((name, coins.get(one.base)) for name, one in self._markets.items())
        return {
            name: words.Position(name, coin.total, None)
            for name, coin in held
            if coin is not None and coin.total
        }

    async def ticker(self, symbol: str) -> words.Ticker:
        """Return best prices and the last one; Kraken tells no time with them."""
        asked, now = {"pair": self._id(symbol)}, self._wire.there()
        return await self._wire.ask("publicGetTicker", asked, read=lambda told: _ticker(told, now))

    async def book(self, symbol: str, depth: int = 20) -> words.Book:
        """Return best levels."""
        asked, now = {"pair": self._id(symbol), "count": min(depth, 500)}, self._wire.there()
        return await self._wire.ask("publicGetDepth", asked, read=lambda told: _book(told, now))

    # -- orders ------------------------------------------------------------------------------------

    async def send(self, order: words.Order) -> words.Seen:
        """Send once; without short selling whatever is sold reduces what is held."""
        plain = order._replace(reduce_only=False)
        *how, params = unified(plain, order.symbol)
        params |= {"oflags": "fciq", "deadline": _stamp(self._wire.there() + WINDOW_US)}
        return await self._send(order, (*how, params))

    async def cancel(self, symbol: str, cid: str) -> words.Seen | None:
        """Cancel once."""
        return await self._cancel(
            symbol, cid, "privatePostCancelOrder", {"cl_ord_id": cid}, read=_cancelled
        )

    async def cancel_all(self, symbol: str) -> None:
        """Cancel what is open in `symbol`, one by one: Kraken's own way takes other symbols too."""
        for order in await surely(self.open_orders()):
            if order.symbol == symbol:
                asked = {"txid": order.id}
                await known(self._wire.change("privatePostCancelOrder", asked, read=_cancelled))

    async def find(self, symbol: str, cid: str) -> words.Seen | None:
        """Return an order, open or done."""
        for call, kind in (("OpenOrders", "open"), ("ClosedOrders", "closed")):
            rows = await self._orders(f"privatePost{call}", {"cl_ord_id": cid}, kind)
            found = [one for one in rows if one.cid == cid]
            if found:
                return found[0]
        return None

    async def open_orders(self) -> list[words.Seen]:
        """Return all that is open, conditional orders too."""
        return await self._orders("privatePostOpenOrders", {}, "open")

    async def _orders(self, call: str, asked: Mapping[str, Any], kind: str) -> list[words.Seen]:
        return await self._wire.ask(
            call,
            asked,
            read=lambda told: [self._seen(id_, one) for id_, one in told["result"][kind].items()],
        )

    async def fills(self, symbol: str, since: int) -> list[words.Fill]:
        """Return trades from `since` on; newer ones that come meanwhile only shift the pages."""
        found: dict[str, words.Fill] = {}
        seen = 0
        while True:
            asked = {"start": since // 1_000_000 - 1, "ofs": seen}
            page, count = await self._wire.ask("privatePostTradesHistory", asked, read=self._trades)
            found |= {one.trade: one for one in page}
            seen += len(page)
            if not page or seen >= count:
                break
        kept = (one for one in found.values() if one.symbol == symbol and one.time >= since)
        return sorted(kept, key=lambda one: (one.time, one.trade))

    async def income(self, since: int) -> list[words.Income]:
        """Return nothing: what is held on a spot account pays no funding."""
        return []

    async def dead_man(self, seconds: float) -> None:
        """Set or end the account's timer, in whole seconds."""
        asked = {"timeout": max(round(seconds), 1) if seconds else 0}
        await self._wire.change("privatePostCancelAllOrdersAfter", asked, read=dict)

    # -- what it tells, in names that only the markets know ----------------------------------------

    def _id(self, symbol: str) -> str:
        self.market(symbol)
        return self._ids[symbol]

    def _symbol(self, pair: str) -> str:
        return self._symbols.get(pair, pair)

    def _seen(self, id_: str, told: Mapping[str, Any]) -> words.Seen:
        about, reason = told["descr"], str(told.get("reason") or "")
        status, reason = ended(STATUSES[told["status"]], reason, BY_US)
        filled = number(told["vol_exec"])
        return words.Seen(
            cid=str(told.get("cl_ord_id") or ""),
            id=id_,
            symbol=self._symbol(str(about["pair"])),
            side=cast(words.Side, about["type"]),
            quantity=number(told["vol"]),
            filled=filled,
            average=maybe(told.get("price")) if filled else None,
            status=status,
            time=_us(told["opentm"]),
            reason=reason,
        )

    def _trades(self, told: Mapping[str, Any]) -> tuple[list[words.Fill], int]:
        result = told["result"]
        page = [self._fill(id_, one) for id_, one in result["trades"].items()]
        return page, int(result["count"])

    def _fill(self, id_: str, told: Mapping[str, Any]) -> words.Fill:
        symbol = self._symbol(str(told["pair"]))
        known = self._markets.get(symbol)
        return words.Fill(
            symbol=symbol,
            trade=id_,
            order=str(told["ordertxid"]),
            cid="",
            side=cast(words.Side, told["type"]),
            quantity=number(told["vol"]),
            price=number(told["price"]),
            fee=None if told.get("fee") is None else number(told["fee"]),
            coin=known.quote if known else "",
            maker=bool(told.get("maker")),
            time=_us(told["time"]),
        )

    def _balances(self, told: Mapping[str, Any]) -> dict[str, words.Balance]:
        found: dict[str, words.Balance] = {}
        for asset, one in told["result"].items():
            total, held = number(one["balance"]), number(one.get("hold_trade") or "0")
            found[str(self._wire.client.safe_currency_code(asset))] = words.Balance(
                total, total - held
            )
        return found


def market(told: Mapping[str, Any]) -> words.Market:
    """Read a market as ccxt has it, by the venue's own steps."""
    info = told["info"]
    tick = info.get("tick_size") or Decimal(1).scaleb(-int(info["pair_decimals"]))
    return words.Market(
        symbol=told["symbol"],
        base=told["base"],
        quote=told["quote"],
        spot=True,
        tick=number(tick),
        lot=Decimal(1).scaleb(-int(info["lot_decimals"])),
        least=number(info.get("ordermin") or "0"),
        most=None,
        least_notional=number(info.get("costmin") or "0"),
        trading=info.get("status", "online") == "online",
    )


def _stamp(time_us: int) -> str:
    """Return a moment as RFC 3339.

    >>> _stamp(1_714_521_600_250_000)
    '2024-05-01T00:00:00.250Z'
    """
    moment = datetime.fromtimestamp(time_us // 1000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _us(seconds: Any) -> int:
    return int(number(seconds) * 1_000_000)


def _cancelled(told: Mapping[str, Any]) -> int:
    count = int(told["result"]["count"])
    if not count:
        raise Refused("no_such_order", "nothing was cancelled")
    return count


def _permissions(told: Mapping[str, Any]) -> words.Permissions:
    result = told["result"]
    may = result["permissions"]
    return words.Permissions(
        trade="modify-trades" in may,
        withdraw="withdraw-funds" in may,
        addresses=bool(result.get("ipAllowlist")),
    )


def _fees(told: Mapping[str, Any]) -> words.Fees:
    """Read rates, which Kraken tells in percent."""
    result = told["result"]
    taker = next(iter(result["fees"].values()))
    maker = next(iter((result.get("fees_maker") or result["fees"]).values()))
    return words.Fees(number(maker["fee"]) / 100, number(taker["fee"]) / 100)


def _ticker(told: Mapping[str, Any], now: int) -> words.Ticker:
    one = next(iter(told["result"].values()))
    return words.Ticker(number(one["b"][0]), number(one["a"][0]), number(one["c"][0]), now)


def _book(told: Mapping[str, Any], now: int) -> words.Book:
    one = next(iter(told["result"].values()))
    return book_of(one["bids"], one["asks"], now)
