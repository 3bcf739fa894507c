"""The words in which orders are spoken of with any venue.

Amounts are `Decimal`, as venues write them: what was bought and paid must add up exactly. Symbols
are the venue's own (``BTCUSDT``; at Kraken ``BTC/USD``), times microseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol

Side = Literal["buy", "sell"]
Kind = Literal["market", "limit", "ioc", "post_only", "stop", "take"]
"""`ioc`: a limit that fills at once as far as it can, the rest is cancelled. `stop` and `take`
rest at the venue until the price has reached `Order.trigger`, and then are market orders."""
LIMITED: tuple[Kind, ...] = ("limit", "ioc", "post_only")
"""Those that have a price."""
Status = Literal["open", "filled", "cancelled", "expired", "rejected"]
"""`expired`: the venue cancelled what was left of it."""
DONE: tuple[Status, ...] = ("filled", "cancelled", "expired", "rejected")
WINDOW_US = 5_000_000
"""Microseconds after which a venue no longer takes a request up that it has not seen before: ours
all say so to it. An order that is not found later than this after it was sent is not coming."""


class Market(NamedTuple):
    """What a venue asks of orders in one symbol."""

    symbol: str
    base: str
    quote: str
    spot: bool
    tick: Decimal
    """Step of prices."""
    lot: Decimal
    """Step of quantities, in base currency."""
    least: Decimal
    """Smallest quantity."""
    most: Decimal | None
    """Largest quantity of a market order; None: no limit is told."""
    least_notional: Decimal
    """Smallest worth of an order, in quote currency; 0: none."""
    trading: bool = True


class Order(NamedTuple):
    """What shall be sent."""

    cid: str
    """Our own id of it, never used before; up to 32 of ``A-Z a-z 0-9 _ -``."""
    symbol: str
    side: Side
    kind: Kind
    quantity: Decimal
    price: Decimal | None = None
    """Of `limit`, `ioc` and `post_only`."""
    trigger: Decimal | None = None
    """Of `stop` and `take`."""
    reduce_only: bool = False
    """It may make a position smaller, never larger or turned."""


class Seen(NamedTuple):
    """An order as its venue tells of it."""

    cid: str
    id: str
    """The venue's own."""
    symbol: str
    side: Side
    quantity: Decimal
    filled: Decimal
    average: Decimal | None
    """Mean price of what is filled; None: nothing is, or it is not told."""
    status: Status
    time: int
    reason: str = ""
    """Why it was rejected or expired, in the venue's words."""


class Fill(NamedTuple):
    """One trade of an order. Unique by venue, symbol and `trade`."""

    symbol: str
    trade: str
    """The venue's id of the trade."""
    order: str
    """The venue's id of its order."""
    cid: str
    """Empty where the venue does not tell it."""
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal | None
    """Paid; below 0 received. None: not told."""
    coin: str
    """In which `fee` was paid."""
    maker: bool
    time: int


class Income(NamedTuple):
    """Money that came or went without a trade."""

    id: str
    kind: str
    """``funding``, or the venue's own word."""
    symbol: str
    amount: Decimal
    """Received; below 0 paid."""
    coin: str
    time: int


class Position(NamedTuple):
    """What is held of a symbol; at a spot venue the total of its base currency."""

    symbol: str
    quantity: Decimal
    """In base currency; below 0 short."""
    entry: Decimal | None
    """Mean price; None: not told."""


class Balance(NamedTuple):
    """One coin of an account."""

    total: Decimal
    free: Decimal


class Ticker(NamedTuple):
    """Best prices and the last trade's."""

    bid: Decimal
    ask: Decimal
    last: Decimal
    time: int


class Book(NamedTuple):
    """Best levels, best first: pairs of price and quantity."""

    bids: Sequence[tuple[Decimal, Decimal]]
    asks: Sequence[tuple[Decimal, Decimal]]
    time: int


class Fees(NamedTuple):
    """Rates of the account, as fractions of notional."""

    maker: Decimal
    taker: Decimal


class Permissions(NamedTuple):
    """What a key may do; None: the venue does not tell."""

    trade: bool | None
    withdraw: bool | None
    addresses: bool | None
    """Whether it is bound to internet addresses."""


class Settings(NamedTuple):
    """How a futures account trades a symbol; None: it has no such setting, as at a spot venue."""

    leverage: int | None
    margin: Literal["isolated", "cross"] | None
    hedged: bool | None
    """Whether long and short are held side by side."""


class Refused(Exception):
    """A venue, or we for it, said no, for certain: nothing is or will be at the venue.

    `reason` is one of `REFUSALS`, `words` what the venue said.
    """

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(f"{reason}: {words}")
        self.reason, self.words = reason, words


class Unknown(Exception):
    """Nobody knows yet what came of a request that changes something: it must be asked, not sent
    again."""


class Unreachable(Exception):
    """A request that changes nothing was not answered; it may be made again later."""


REFUSALS = (
    "too_small",
    "too_large",
    "too_precise",
    "price_out_of_band",
    "no_funds",
    "no_position",
    "would_take",
    "would_trigger",
    "no_such_order",
    "used_id",
    "not_trading",
    "clock",
    "keys",
    "permission",
    "mode",
    "too_often",
    "other",
)
"""Why an order or a cancellation is refused. `would_take`: a post-only order would have traded.
`would_trigger`: the price has passed the trigger already. `too_often`: now or until a ban ends.
`no_position`: reduce-only with nothing to reduce. `mode`: position or margin mode, or an order type
on a route that does not take it."""


class Gateway(Protocol):
    """One account at one venue. Nothing is ever sent twice by it.

    Methods that only ask may raise `Unreachable`, and `Refused` with reason `keys`, `permission`
    or `clock`. Those that change something raise `Refused` or `Unknown`.
    """

    name: str
    """``kraken``, ``binance`` or ``bybit``."""
    account: str
    """As the user named it, ``kraken:main``."""

    async def open(self) -> None:
        """Learn the venue's markets and its clock; what else is here needs it."""

    async def close(self) -> None:
        """End all connections."""

    def market(self, symbol: str) -> Market:
        """Return what is asked of orders in `symbol`; `UserError` where there is no such."""

    def fit(self, order: Order, price: Decimal) -> Order:
        """Return `order` cut to tick and lot; `Refused` where it is then too small or too large.

        `price` is what a unit is worth now. Prices are rounded so that none gets worse than it
        was: of a purchase down, of a sale up. Reduce-only orders may be worth less than the least.
        """

    async def clock(self) -> int:
        """Return the venue's time."""

    async def permissions(self) -> Permissions:
        """Return what the key may do."""

    async def settings(self, symbol: str) -> Settings:
        """Return how the account trades `symbol`."""

    async def set(self, symbol: str, wanted: Settings) -> Settings:
        """Set what differs, and return what is then read back."""

    async def fees(self, symbol: str) -> Fees:
        """Return the account's rates."""

    async def balance(self) -> dict[str, Balance]:
        """Return what there is of each coin."""

    async def positions(self) -> dict[str, Position]:
        """Return what is held, by symbol; flat ones are absent."""

    async def ticker(self, symbol: str) -> Ticker:
        """Return best prices."""

    async def book(self, symbol: str, depth: int = 20) -> Book:
        """Return best levels."""

    async def send(self, order: Order) -> Seen:
        """Send once."""

    async def cancel(self, symbol: str, cid: str) -> Seen | None:
        """Cancel once; None where the venue says that there is no such open order."""

    async def cancel_all(self, symbol: str) -> None:
        """Cancel all that is open in `symbol`."""

    async def find(self, symbol: str, cid: str) -> Seen | None:
        """Return an order, open or done; None: the venue knows none of that id (any more)."""

    async def open_orders(self) -> list[Seen]:
        """Return all that is open, ours or not."""

    async def fills(self, symbol: str, since: int) -> list[Fill]:
        """Return the account's trades from `since` on, oldest first, all pages."""

    async def income(self, since: int) -> list[Income]:
        """Return funding and the like from `since` on, oldest first; empty at a spot venue."""

    async def dead_man(self, seconds: float) -> None:
        """Have the venue cancel all open orders unless called again in time; 0: not any more.

        Nothing where the venue has no such timer.
        """
