"""What a venue may say, and the checks that keep a bad record from becoming a bar."""

from __future__ import annotations

import math
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

from research.live.moments import Bar, Levels

MILLISECOND = 1000


class Unfit(Exception):
    """A record that cannot be what it says it is."""


class Seen(NamedTuple):
    """A candle on a stream; `bar` only when the venue says that it has closed."""

    stream: str
    symbol: str
    open_time: int
    event: int
    """When the venue sent it, microseconds by its clock: tells two versions of a bar apart."""
    bar: Bar | None


class Print(NamedTuple):
    """Trades of one taker at one price and time, as Binance gathers them; time in microseconds."""

    stream: str
    symbol: str
    id: int
    time: int
    price: float
    quantity: float
    trades: int
    buyer_is_maker: bool


class Depth(NamedTuple):
    """The best levels of a book, as they were at one time."""

    stream: str
    symbol: str
    levels: Levels


class Bad(NamedTuple):
    """A message that was refused, and why."""

    stream: str
    reason: str
    record: str


class Reply(NamedTuple):
    """A venue's answer to a subscription; `streams` are those it would not give."""

    streams: tuple[str, ...]
    message: str


Event = Seen | Print | Depth | Bad | Reply


class Route(NamedTuple):
    """One connection: where to, what to say there, and which streams it carries."""

    url: str
    hello: tuple[str, ...]
    streams: tuple[str, ...]

    @property
    def name(self) -> str:
        """The address without its query."""
        return self.url.partition("?")[0]


class Ask(NamedTuple):
    """One REST request."""

    path: str
    params: dict[str, str | int]
    weight: int
    lane: str = ""
    """What the venue counts it with, where it counts apart; empty: with all else."""
    pace: float = 0.0
    """Seconds between two of one lane."""


class Venue(Protocol):
    """What differs between venues: addresses and the form of messages. No state, no network."""

    name: str
    base: str
    like: str
    """How it writes a symbol."""
    budget: int
    """Weight a minute that one address may use."""
    limit: int
    """Bars in one answer."""
    beat: str
    """What keeps the connection alive beside a ping; empty for nothing."""
    traded: bool
    """Whether trades are streamed beside the candles."""
    newest: bool
    """Whether every answer ends with the candle that is open now, and begins `limit` before it at
    the earliest, whatever was asked for."""
    rounding: int
    """How coarsely it tells the time, microseconds."""

    def routes(self) -> list[Route]:
        """Return the connections that carry all streams."""

    def read(self, text: str | bytes) -> list[Event]:
        """Return what one message says; never raises."""

    def page(self, symbol: str, open_time: int, bars: int) -> Ask:
        """Ask for `bars` candles from `open_time` (microseconds) on."""

    def rows(self, told: Any) -> list[Any]:
        """Return the candles of an answer, oldest first."""

    def bar(self, row: Any, symbol: str, source: str) -> Bar:
        """Read one candle of an answer."""

    def opened(self, row: Any) -> int:
        """Return the open time of a candle of an answer, microseconds."""

    def time(self) -> Ask:
        """Ask for the venue's clock."""

    def clock(self, told: Any) -> int:
        """Return the venue's clock, microseconds."""

    def refusal(self, status: int, told: Any) -> str:
        """Return why the venue will never answer this, or an empty text."""

    def throttled(self, told: Any) -> bool:
        """Return whether an answer says that we ask too often."""


def number(value: object, name: str) -> float:
    """Read a number of the wire: decimal text or a number, finite.

    Raises
    ------
    Unfit
        If it is anything else.

    Examples
    --------
    >>> number("0.0010", "open")
    0.001
    >>> number("NaN", "open")
    Traceback (most recent call last):
    research.live.feed.records.Unfit: open is 'NaN'
    """
    found = math.nan
    if isinstance(value, str):
        # float() also reads "1_000", " 1" and the digits of other scripts
        if value.isascii() and "_" not in value and not value[:1].isspace():
            with suppress(ValueError):
                found = float(value)
    elif type(value) in (int, float):
        with suppress(OverflowError):
            found = float(value)  # type: ignore[arg-type]
    if not math.isfinite(found):
        raise Unfit(f"{name} is {str(value)[:40]!r}")
    return found


def whole(value: object, name: str) -> int:
    """Read a whole number that is not negative: an integer or its digits.

    >>> whole("12", "trades")
    12
    """
    if type(value) is int and 0 <= value < 2**62:
        return value
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    raise Unfit(f"{name} is {value!r:.40}")


def candle(
    symbol: str, open_time: object, numbers: tuple[object, ...], *, interval: int, source: str
) -> Bar:
    """Check one closed candle.

    Parameters
    ----------
    symbol : str
        Whose.
    open_time : object
        Milliseconds, as on the wire.
    numbers : tuple
        Open, high, low, close, volume and, where the venue has them, quote volume, trades, taker
        buy volume and its quote volume; as on the wire.
    interval : int
        Length of a bar, microseconds.
    source : str
        As `Bar.source`.

    Returns
    -------
    Bar

    Raises
    ------
    Unfit
        If the open time is off the grid, a price is not above zero, high or low do not enclose
        the others, or an amount is negative.

    Examples
    --------
    >>> candle("A", 60_000, ("1", "2", "1", "2", "0"), interval=60_000_000, source="rest").close
    2.0
    >>> candle("A", 60_000, ("1", "1", "2", "2", "0"), interval=60_000_000, source="rest")
    Traceback (most recent call last):
    research.live.feed.records.Unfit: high 1.0 is below another price
    """
    opened = whole(open_time, "open time") * MILLISECOND
    if opened % interval:
        raise Unfit(f"open time {open_time} is off the grid")
    prices = [number(v, n) for v, n in zip(numbers, ("open", "high", "low", "close"))]
    low, high = min(prices), max(prices)
    if low <= 0:
        raise Unfit(f"a price is {low}")
    if prices[1] < high:
        raise Unfit(f"high {prices[1]} is below another price")
    if prices[2] > low:
        raise Unfit(f"low {prices[2]} is above another price")
    amounts: list[float] = [number(v, "an amount") for v in numbers[4:6]]
    if len(numbers) > 6:
        amounts.append(whole(numbers[6], "trades"))
        amounts += [number(v, "an amount") for v in numbers[7:9]]
    if min(amounts) < 0:
        raise Unfit(f"an amount is {min(amounts)}")
    return Bar(symbol, opened, *prices, *amounts, source=source)  # type: ignore[arg-type,misc]


def levels(time: int, bids: object, asks: object) -> Levels:
    """Check the best levels of a book.

    Parameters
    ----------
    time : int
        When the book was so, microseconds.
    bids, asks : object
        Pairs of price and quantity, best first; as on the wire.

    Returns
    -------
    Levels

    Raises
    ------
    Unfit
        If a side is empty or out of order, a price or a quantity is not above zero, or the best
        bid is not below the best ask.

    Examples
    --------
    >>> levels(0, [["9", "1"], ["8", "5"]], [["10", "2"]]).bids
    ((9.0, 1.0), (8.0, 5.0))
    >>> levels(0, [["10", "1"]], [["10", "2"]])
    Traceback (most recent call last):
    research.live.feed.records.Unfit: the book is crossed: 10.0 is bid, 10.0 asked
    """
    made = Levels(time, _side(bids, "bids", -1), _side(asks, "asks", 1))
    if made.bids[0][0] >= made.asks[0][0]:
        raise Unfit(f"the book is crossed: {made.bids[0][0]} is bid, {made.asks[0][0]} asked")
    return made


def _side(told: object, name: str, up: int) -> tuple[tuple[float, float], ...]:
    if type(told) is not list or not told:
        raise Unfit(f"{name} is no list of levels")
    if any(type(level) is not list or len(level) != 2 for level in told):
        raise Unfit(f"{name}: a level is no pair of price and quantity")
    found = tuple((number(level[0], "price"), number(level[1], "quantity")) for level in told)
    if any(price <= 0 or quantity <= 0 for price, quantity in found):
        raise Unfit(f"{name}: a level is not above zero")
    if any(up * (b[0] - a[0]) <= 0 for a, b in pairwise(found)):
        raise Unfit(f"{name} are out of order")
    return found
