"""The words of the order side: what is asked of a venue, and what it keeps of it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple

Side = Literal["buy", "sell"]
Kind = Literal["market", "limit", "stop", "take"]
"""`stop` and `take` rest until a print has reached the trigger, and then are market orders."""
Force = Literal["GTC", "IOC", "FOK", "GTX"]
"""GTX: a limit that is refused where it would take."""
Status = Literal["open", "filled", "cancelled", "expired", "rejected"]
Leg = Literal["BOTH", "LONG", "SHORT"]
"""Which position of a symbol: `BOTH` where there is but one."""
ZERO = Decimal(0)
CENT = Decimal("1e-8")
"""What amounts are rounded to where they would have no end."""


class Denied(Exception):
    """A venue's no. `reason` is one of `REASONS`; the venue's module writes its code for it."""

    def __init__(self, reason: str, words: str = "") -> None:
        super().__init__(f"{reason} {words}".strip())
        self.reason, self.words = reason, words


REASONS = (
    "symbol",
    "tick",
    "price",
    "band",
    "lot",
    "least",
    "most",
    "notional",
    "funds",
    "no_position",
    "would_take",
    "would_trigger",
    "would_not_fill",
    "used_id",
    "no_order",
    "too_many",
    "leg",
    "mode_same",
    "mode_busy",
    "margin_same",
    "margin_busy",
    "leverage",
)
"""Of `Denied`. `price`: below zero or none. `band`: too far from the market. `would_not_fill`: FOK.
`leg`: a long or short side named in one-way mode, or none in hedged mode. `_same`: the setting is
what it was; `_busy`: there are positions or open orders."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What orders in one symbol must keep to.

    Attributes
    ----------
    symbol, base, quote : str
        As the played market names it, and its coins.
    spot : bool
        Whether coins change hands; else a perpetual future settled in `quote`.
    tick, lot : Decimal
        Steps of price and of quantity.
    least, most, most_market : Decimal
        Quantity of an order; `most_market` that of market orders.
    least_notional : Decimal
        Worth of an order, in quote currency; reduce-only orders are exempt.
    band : tuple of Decimal
        A limit must lie within these multiples of the last price.
    most_open : int
        Open orders in the symbol.
    """

    symbol: str
    base: str
    quote: str
    spot: bool
    tick: Decimal
    lot: Decimal
    least: Decimal
    most: Decimal
    most_market: Decimal
    least_notional: Decimal
    band: tuple[Decimal, Decimal] = (Decimal("0.85"), Decimal("1.15"))
    most_open: int = 200


class Ticket(NamedTuple):
    """What is asked for."""

    cid: str
    """The client's own id; empty: the venue makes one."""
    symbol: str
    side: Side
    kind: Kind
    quantity: Decimal
    price: Decimal | None = None
    force: Force = "GTC"
    trigger: Decimal | None = None
    reduce_only: bool = False
    close: bool = False
    """Close whatever there is of the position when triggered; `quantity` is then 0."""
    leg: Leg = "BOTH"


@dataclass(slots=True)
class Order:
    """An order as the venue keeps it. Times are microseconds since 1970 UTC."""

    id: int
    cid: str
    symbol: str
    side: Side
    kind: Kind
    quantity: Decimal
    price: Decimal | None
    force: Force
    trigger: Decimal | None
    reduce_only: bool
    close: bool
    leg: Leg
    time: int
    updated: int
    status: Status = "open"
    filled: Decimal = ZERO
    paid: Decimal = ZERO
    """Sum of price times quantity of its fills."""
    reason: str = ""
    work: int = 0
    """Id under which it trades; differs from `id` where a triggered order is a new one."""
    triggered: int | None = None
    more: dict[str, Any] = field(default_factory=dict)
    """What only its venue knows."""

    @property
    def rest(self) -> Decimal:
        """What is not filled."""
        return self.quantity - self.filled

    @property
    def average(self) -> Decimal:
        """Mean price of its fills; 0 without."""
        return self.paid / self.filled if self.filled else ZERO

    @property
    def waits(self) -> bool:
        """Whether its trigger has not been reached."""
        return self.trigger is not None and self.triggered is None


class Trade(NamedTuple):
    """One fill."""

    id: int
    order: int
    """The id under which its order trades."""
    cid: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    coin: str
    maker: bool
    realised: Decimal
    leg: Leg
    time: int


class Income(NamedTuple):
    """Money that came or went."""

    id: int
    kind: Literal["funding", "realised", "fee", "transfer"]
    symbol: str
    amount: Decimal
    coin: str
    time: int
    trade: int | None = None


class Event(NamedTuple):
    """What a user stream tells of. Orders in it are copies as of then."""

    kind: Literal["new", "triggered", "trade", "cancelled", "expired", "funding", "edited"]
    time: int
    order: Order | None = None
    trade: Trade | None = None
    income: Income | None = None


class Twist(NamedTuple):
    """What a fault does to the order it strikes."""

    share: Decimal | None = None
    """Only so much of it fills at first."""
    then: Literal["expire", "cancel", "rest"] = "expire"
    """What becomes of the remainder; `rest`: it fills `us` later."""
    us: int = 1_000_000
    times: int = 1
    """How often each of its fills is told."""
    factor: Decimal | None = None
    """Its quantity is another, by this factor."""
    ticks: int = 0
    """Its price is another, by so many ticks."""


class Key(NamedTuple):
    """An API key and what it may do."""

    venue: str
    id: str
    secret: str
    """As the venue hands it out: Kraken's is base64."""
    trade: bool = True
    withdraw: bool = False
    addresses: bool = True
    """Whether it is bound to internet addresses."""
    account: str = ""
    """Keys of one venue and account share it; empty is the venue's first."""
    funds: dict[str, Decimal] | None = None
    """Coins in the account at first; None: 10,000 of the quote currency."""
    fees: tuple[Decimal, Decimal] | None = None
    """Rates of makers and takers; None: the venue's usual ones."""
    fee_coin: tuple[str, Decimal] | None = None
    """Coin in which fees are paid as long as there is any, and its price."""


def usual_key(venue: str) -> Key:
    """Return the key that every exchange lets in where none is named: it may not withdraw.

    >>> usual_key("bybit")[:3]
    ('bybit', 'sim-key-bybit', 'sim-secret-bybit')
    """
    secret = f"sim-secret-{venue}"
    if venue == "kraken":
        secret = b64encode(secret.encode()).decode()
    return Key(venue, f"sim-key-{venue}", secret)
