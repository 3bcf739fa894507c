"""What all three venues' gateways do alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from research.venues import words
from research.venues.fitting import NOTHING, fit, lookup, number, text
from research.venues.wire import Wire
from research.venues.words import Refused, Unknown, Unreachable

T = TypeVar("T")


class Unified(ABC):
    """One account; see `words.Gateway`. The rest of it is each venue's own.

    Parameters
    ----------
    wire : Wire
        How the venue is asked.
    account : str
        As the user named it.
    """

    name = ""
    title = ""
    """As people call the venue."""

    def __init__(self, wire: Wire, account: str) -> None:
        self.account, self._wire = account, wire
        self._markets: dict[str, words.Market] = {}

    async def open(self) -> None:
        """Learn clock and markets; where that fails, let go."""
        self._wire.open()
        try:
            await self._wire.set_clock()
            self._learn(await self._wire.ask("load_markets", True, read=dict))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go."""
        await self._wire.close()

    @abstractmethod
    def _learn(self, told: Mapping[str, Any]) -> None:
        """Keep what is to be known of the markets that ccxt has found, by its names of them."""

    def market(self, symbol: str) -> words.Market:
        """Return what is asked of orders in `symbol`."""
        return lookup(self._markets, symbol, self.title)

    def fit(self, order: words.Order, price: Decimal) -> words.Order:
        """Return `order` cut to tick and lot."""
        return fit(order, self.market(order.symbol), price)

    async def clock(self) -> int:
        """Return the venue's time."""
        return await self._wire.time()

    @abstractmethod
    async def find(self, symbol: str, cid: str) -> words.Seen | None:
        """Return an order, open or done."""

    async def _send(self, order: words.Order, how: Iterable[Any]) -> words.Seen:
        """Send once where the answer is no more than an id; what was taken in is not yet judged."""
        now = self._wire.there()
        taken = await self._wire.change("create_order", *how, read=lambda told: told["id"])
        if not taken:
            raise Unknown(f"{self.name}: took an order and named no id of it")
        about = (order.symbol, order.side, order.quantity)
        return words.Seen(order.cid, str(taken), *about, NOTHING, None, "open", now)

    async def _cancel(
        self,
        symbol: str,
        cid: str,
        call: str,
        asked: Mapping[str, Any],
        read: Callable[[Any], Any] = dict,
    ) -> words.Seen | None:
        """Cancel once where the answer does not tell of the order, and ask for it then."""
        if await known(self._wire.change(call, asked, read=read)) is None:
            return None
        found = await surely(self.find(symbol, cid))
        if found is None:
            raise Unknown(f"{self.name}: cancelled {cid}, and does not know it")
        return found


class Futures(Unified):
    """One account that trades linear perpetual futures."""

    def __init__(self, wire: Wire, account: str) -> None:
        super().__init__(wire, account)
        self._names: dict[str, str] = {}
        """What ccxt calls a symbol."""

    def _learn(self, told: Mapping[str, Any]) -> None:
        perpetual = [one for one in told.values() if one["swap"] and one["linear"]]
        self._markets = {one["id"]: self._market(one) for one in perpetual}
        self._names = {one["id"]: one["symbol"] for one in perpetual}

    @abstractmethod
    def _market(self, told: Mapping[str, Any]) -> words.Market:
        """Read a market as ccxt has it."""

    @abstractmethod
    async def settings(self, symbol: str) -> words.Settings:
        """Return how the account trades `symbol`."""

    @abstractmethod
    def _setters(self, symbol: str, wanted: words.Settings) -> dict[str, tuple[str, Any]]:
        """Return the request that sets each of the settings, in the order in which it is done."""

    async def set(self, symbol: str, wanted: words.Settings) -> words.Settings:
        """Set what differs and read it back."""
        have = await surely(self.settings(symbol))
        for name, (call, asked) in self._setters(symbol, wanted).items():
            if getattr(wanted, name) not in (None, getattr(have, name)):
                await self._wire.change(call, asked, read=dict)
        return await surely(self.settings(symbol))


def unified(order: words.Order, name: str) -> tuple[Any, ...]:
    """Return `order` as the arguments of ccxt's ``create_order``, which knows today's route.

    Parameters
    ----------
    order : Order
        As it shall be sent.
    name : str
        ccxt's name of its symbol.

    Examples
    --------
    >>> from decimal import Decimal
    >>> stop = words.Order("a", "BTCUSDT", "sell", "stop", Decimal(1), trigger=Decimal(90))
    >>> unified(stop, "BTC/USDT:USDT")[1:5]
    ('market', 'sell', '1', None)
    """
    params: dict[str, Any] = {"clientOrderId": order.cid}
    if order.reduce_only:
        params["reduceOnly"] = True
    if order.kind == "ioc":
        params["timeInForce"] = "IOC"
    if order.kind == "post_only":
        params["postOnly"] = True
    if order.trigger is not None:
        params["stopLossPrice" if order.kind == "stop" else "takeProfitPrice"] = text(order.trigger)
    kind = "limit" if order.kind in words.LIMITED else "market"
    price = None if order.price is None else text(order.price)
    return name, kind, order.side, text(order.quantity), price, params


async def surely(question: Awaitable[T]) -> T:
    """Ask within a change: without an answer nobody knows how far it came."""
    try:
        return await question
    except Unreachable as error:
        raise Unknown(str(error)) from None


async def known(request: Awaitable[T]) -> T | None:
    """Return what a venue says of an order; None where it says that it has none of that id."""
    try:
        return await request
    except Refused as no:
        if no.reason == "no_such_order":
            return None
        raise


def net(held: Iterable[words.Position]) -> dict[str, words.Position]:
    """Return positions by symbol, long and short together; those that come to nothing are absent.

    Examples
    --------
    >>> one, other = (words.Position("BTCUSDT", Decimal(n), Decimal(9)) for n in (3, -1))
    >>> net([one, other])["BTCUSDT"].quantity, net([other, one._replace(quantity=Decimal(1))])
    (Decimal('2'), {})
    """
    found: dict[str, words.Position] = {}
    for one in held:
        if one.quantity:
            before = found[one.symbol].quantity if one.symbol in found else NOTHING
            found[one.symbol] = one._replace(quantity=before + one.quantity)
    return {symbol: one for symbol, one in found.items() if one.quantity}


def book_of(bids: Iterable[Any], asks: Iterable[Any], time: int) -> words.Book:
    """Read a book whose rows begin with price and quantity."""
    best = [[(number(row[0]), number(row[1])) for row in side] for side in (bids, asks)]
    return words.Book(best[0], best[1], time)


def ended(status: words.Status, reason: str, by_us: tuple[str, ...]) -> tuple[words.Status, str]:
    """Return how an order stands and why: what was cancelled, and not by us, has expired.

    Parameters
    ----------
    status : Status
        As the venue has it.
    reason : str
        In the venue's words.
    by_us : tuple of str
        Those that it has for a cancellation that was asked for.
    """
    if reason in by_us:
        return status, ""
    return ("expired" if status == "cancelled" else status), reason
