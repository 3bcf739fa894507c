"""A venue in memory that does to orders what venues do on their worst days.

It is a model to test against by the hundred thousand steps, not an exchange: one price, and what
happens next is what it was told to do next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

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
    Status,
    Ticker,
    Unknown,
    Unreachable,
)

SYMBOL = "BTCUSDT"
ZERO = Decimal(0)
WINDOW_US = 5_000_000
_QUESTION_US = 700_000
_MARKET = Market(
    *(SYMBOL, "BTC", "USDT", False),
    tick=Decimal("0.1"),
    lot=Decimal("0.001"),
    least=Decimal("0.001"),
    most=None,
    least_notional=ZERO,
)


class Killed(BaseException):
    """The process ends here, as by SIGKILL."""


@dataclass
class Placed:
    """An order at the venue."""

    id: str
    order: Order
    quantity: Decimal
    status: Status = "open"
    filled: Decimal = ZERO

    def seen(self, time: int) -> Seen:
        """Tell of it."""
        told = (self.order.cid, self.id, self.order.symbol, self.order.side)
        return Seen(*told, self.quantity, self.filled, None, self.status, time)


@dataclass
class MemoryVenue:
    """The truth; it outlives those who trade.

    Attributes
    ----------
    sends, cancels : deque of str
        What the next requests of a kind meet; empty: nothing unusual.
    deaf : int
        So many questions from now on are not answered.
    share : Decimal
        Of an order that fills at once, the part that is filled.
    lag : int
        So often is a trade left out before it is told.
    tells_cids : bool
        Whether trades carry our ids.
    untold : set of str
        Ids of trades that it never tells of.
    reused : int
        Ids that were accepted although they had been used: must stay 0.
    """

    price: Decimal = Decimal(100)
    time: int = 1_700_000_000_000_000
    share: Decimal = Decimal(1)
    lag: int = 0
    deaf: int = 0
    tells_cids: bool = False
    reused: int = 0
    sends: deque[str] = field(default_factory=deque)
    cancels: deque[str] = field(default_factory=deque)
    orders: dict[str, Placed] = field(default_factory=dict)
    trades: list[Fill] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    hidden: dict[str, int] = field(default_factory=dict)
    untold: set[str] = field(default_factory=set)
    late: list[tuple[int, int, Order]] = field(default_factory=list)
    paid: list[Income] = field(default_factory=list)
    during: Callable[[], Awaitable[Any]] | None = None

    # -- what happens at the venue --------------------------------------------------------------

    def forward(self, us: int) -> None:
        """Let time pass; requests that were on their way arrive, if not too late."""
        self.time += us
        due = [each for each in self.late if each[0] <= self.time]
        self.late = [each for each in self.late if each[0] > self.time]
        for arrives, signed, order in due:
            if arrives < signed + WINDOW_US and not self._refusal(order):
                self.accept(order)

    def accept(self, order: Order, quantity: Decimal | None = None) -> Placed:
        """Take an order, and fill it if it is one that fills at once."""
        self.reused += any(each.order.cid == order.cid for each in self.orders.values())
        placed = Placed(f"v{len(self.orders)}", order, quantity or order.quantity)
        self.orders[placed.id] = placed
        if order.reduce_only:
            placed.quantity = min(placed.quantity, abs(self.position))
        if order.kind in ("market", "ioc"):
            self.fill(placed, (placed.quantity * self.share).quantize(_MARKET.lot))
            if placed.status == "open":
                placed.status = "expired"
        return placed

    def fill(self, placed: Placed, quantity: Decimal) -> None:
        """Fill a part of an order; reduce-only ones no further than flat."""
        sign = 1 if placed.order.side == "buy" else -1
        if placed.order.trigger is not None:
            self._trigger(placed)
        if placed.order.reduce_only:
            quantity = max(min(quantity, -sign * self.position), ZERO)
        quantity = min(quantity, placed.quantity - placed.filled)
        if quantity > 0:
            placed.filled += quantity
            self._trade(placed.id, placed.order.cid, placed.order.side, quantity)
        if placed.filled == placed.quantity:
            placed.status = "filled"
        elif placed.order.reduce_only and not self.position:
            placed.status = "expired"

    def _trigger(self, placed: Placed) -> None:
        """Let a conditional order go on as an order of another id, as Binance does."""
        self.orders.pop(placed.id)
        placed.id = f"{placed.id.rstrip('*')}*"
        self.orders[placed.id] = placed

    def foreign(self, quantity: Decimal) -> None:
        """Somebody else trades in the account."""
        self._trade(
            "x" + str(len(self.trades)), "", "buy" if quantity > 0 else "sell", abs(quantity)
        )

    def _trade(self, order: str, cid: str, side: Any, quantity: Decimal) -> None:
        name, fee = f"t{len(self.trades)}", quantity * self.price * Decimal("0.0005")
        told = Fill(
            *(SYMBOL, name, order, cid if self.tells_cids else "", side, quantity, self.price),
            *(fee, "USDT", False, self.time),
        )
        self.trades.append(told)
        self.owners[name] = cid
        self.hidden[name] = self.lag

    @property
    def position(self) -> Decimal:
        """What is held, by all trades."""
        return sum((f.quantity if f.side == "buy" else -f.quantity for f in self.trades), ZERO)

    @property
    def open(self) -> list[Placed]:
        """Orders that rest."""
        return [placed for placed in self.orders.values() if placed.status == "open"]

    def _refusal(self, order: Order) -> str:
        if any(each.order.cid == order.cid for each in self.open):
            return "used_id"
        reduces = self.position < 0 if order.side == "buy" else self.position > 0
        return "no_position" if order.reduce_only and not reduces else ""


class MemoryGateway:
    """The way of one process to a `MemoryVenue`."""

    name = "binance"

    def __init__(self, venue: MemoryVenue, account: str = "binance:main") -> None:
        self.venue, self.account = venue, account

    async def open(self) -> None:
        """Nothing to learn."""

    async def close(self) -> None:
        """Nothing to end."""

    def market(self, symbol: str) -> Market:
        """Return the one market's rules."""
        return _MARKET

    def fit(self, order: Order, price: Decimal) -> Order:
        """Return `order` cut to the lot, or refuse it."""
        quantity = order.quantity // _MARKET.lot * _MARKET.lot
        if quantity < _MARKET.least:
            raise Refused("too_small", f"{order.quantity} is less than {_MARKET.least}")
        return order._replace(quantity=quantity)

    def _asked(self) -> MemoryVenue:
        self.venue.forward(_QUESTION_US)
        if self.venue.deaf:
            self.venue.deaf -= 1
            raise Unreachable("no answer")
        return self.venue

    async def clock(self) -> int:
        """Return the venue's time."""
        return self._asked().time

    async def permissions(self) -> Permissions:
        """Return what any key may do."""
        return Permissions(trade=True, withdraw=False, addresses=True)

    async def settings(self, symbol: str) -> Settings:
        """Return what is set."""
        return Settings(1, "isolated", hedged=False)

    async def set(self, symbol: str, wanted: Settings) -> Settings:
        """Return what is wanted."""
        return wanted

    async def fees(self, symbol: str) -> Fees:
        """Return the rates."""
        return Fees(Decimal("0.0002"), Decimal("0.0005"))

    async def balance(self) -> dict[str, Balance]:
        """Return a full purse."""
        return {"USDT": Balance(Decimal(10**6), Decimal(10**6))}

    async def positions(self) -> dict[str, Position]:
        """Return the position."""
        held = self._asked().position
        return {SYMBOL: Position(SYMBOL, held, None)} if held else {}

    async def ticker(self, symbol: str) -> Ticker:
        """Return the one price."""
        venue = self._asked()
        return Ticker(venue.price, venue.price, venue.price, venue.time)

    async def book(self, symbol: str, depth: int = 20) -> Book:
        """Return an empty book."""
        return Book((), (), self.venue.time)

    async def send(self, order: Order) -> Seen:
        """Send once; what happens is the next of `MemoryVenue.sends`."""
        venue = self.venue
        venue.time += 1_000
        met = venue.sends.popleft() if venue.sends else ""
        if met == "refused":
            raise Refused("no_funds", "margin is insufficient")
        if met == "late":
            venue.late.append((venue.time + WINDOW_US * 3 // 5, venue.time, order))
        if met in ("late", "lost"):
            raise Unknown("no answer")
        if met == "killed_before":
            raise Killed
        refusal = venue._refusal(order)
        if refusal:
            raise Refused(refusal, "as the rules say")
        less = order.quantity - _MARKET.lot
        placed = venue.accept(order, less if met == "changed" and less else None)
        if venue.during is not None:
            await venue.during()
        if met == "accepted_unknown":
            raise Unknown("no answer")
        if met == "killed_after":
            raise Killed
        if met == "plain_ack":  # as a venue that takes orders first and matches them later
            return replace(placed, filled=ZERO, status="open").seen(venue.time)
        return placed.seen(venue.time)

    async def cancel(self, symbol: str, cid: str) -> Seen | None:
        """Cancel; what happens is the next of `MemoryVenue.cancels`."""
        venue = self.venue
        met = venue.cancels.popleft() if venue.cancels else ""
        placed = next((each for each in venue.open if each.order.cid == cid), None)
        if placed is None:
            return None
        if met == "race":
            venue.fill(placed, placed.quantity)
            return None
        if met == "lost":
            raise Unknown("no answer")
        placed.status = "cancelled"
        if met == "killed_after":
            raise Killed
        if met == "done_unknown":
            raise Unknown("no answer")
        return placed.seen(venue.time)

    async def cancel_all(self, symbol: str) -> None:
        """Cancel everything."""
        for placed in self.venue.open:
            placed.status = "cancelled"

    async def find(self, symbol: str, cid: str) -> Seen | None:
        """Return the newest order of that id."""
        found = [each for each in self._asked().orders.values() if each.order.cid == cid]
        return found[-1].seen(self.venue.time) if found else None

    async def open_orders(self) -> list[Seen]:
        """Return all that rest."""
        return [placed.seen(self.venue.time) for placed in self._asked().open]

    async def fills(self, symbol: str, since: int) -> list[Fill]:
        """Return trades; the newest are told late, all are told twice and newest first."""
        venue, told = self._asked(), []
        for trade in venue.trades:
            if venue.hidden[trade.trade] > 0:
                venue.hidden[trade.trade] -= 1
            elif trade.time >= since and trade.trade not in self.venue.untold:
                told += [trade, trade]
        return told[::-1]

    async def income(self, since: int) -> list[Income]:
        """Return what was paid, twice."""
        return [each for each in self._asked().paid if each.time >= since] * 2

    async def dead_man(self, seconds: float) -> None:
        """Take note of nothing."""
