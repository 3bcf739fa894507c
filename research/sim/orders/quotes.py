"""Prices of the played market as orders meet them: exact, on the tick."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import NamedTuple

from research.sim.market import Market
from research.sim.orders.words import Rules, Side

FAR = 1 << 60


class Quote(NamedTuple):
    """The market at a moment: the last price, and since when the book stands as it does."""

    price: Decimal
    since: int


class Strike(NamedTuple):
    """A print that orders may meet."""

    time: int
    symbol: str
    price: Decimal
    quantity: Decimal


def exact(number: float) -> Decimal:
    """Return a float as it is written.

    >>> exact(0.1)
    Decimal('0.1')
    """
    return Decimal(repr(number))


def floor(value: Decimal, step: Decimal) -> Decimal:
    """Return `value` rounded down to a multiple of `step`.

    >>> floor(Decimal("1.29"), Decimal("0.05"))
    Decimal('1.25')
    """
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def ceiling(value: Decimal, step: Decimal) -> Decimal:
    """Return `value` rounded up to a multiple of `step`.

    >>> ceiling(Decimal("1.21"), Decimal("0.05"))
    Decimal('1.25')
    """
    return (value / step).to_integral_value(ROUND_CEILING) * step


class Quotes:
    """The played market, asked by orders.

    Parameters
    ----------
    market : Market
        What is played.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._levels = lru_cache(maxsize=256)(self._made)

    def quote(self, symbol: str, now: int) -> Quote:
        """Return the last price, and the moment of the book (that of the last print or close)."""
        market = self._market
        begun = now - now % market.interval
        seen = market.trades(symbol, begun, now, now=now, most=FAR)
        if seen:
            return Quote(exact(seen[-1].price), seen[-1].time)
        candles = market.candles(symbol, market.interval, 0, begun, now=begun, first=-1)
        if candles:
            return Quote(exact(candles[-1].candle.close), begun)
        return Quote(exact(market.series(symbol).candles[0].open), begun)

    def levels(self, rules: Rules, side: Side, now: int) -> tuple[tuple[Decimal, Decimal], ...]:
        """Return what a taker on `side` meets: pairs of price and quantity, the best first."""
        return self.at(rules, side, self.quote(rules.symbol, now))

    def at(self, rules: Rules, side: Side, quote: Quote) -> tuple[tuple[Decimal, Decimal], ...]:
        """Return the same of the book as it stood at a quote."""
        return self._levels(rules, side, quote)

    def _made(self, rules: Rules, side: Side, quote: Quote) -> tuple[tuple[Decimal, Decimal], ...]:
        book = self._market.book(rules.symbol, float(quote.price), quote.since)
        buys = side == "buy"
        rounded = ceiling if buys else floor
        levels = (
            (rounded(exact(price), rules.tick), floor(exact(quantity), rules.lot))
            for price, quantity in (book.asks if buys else book.bids)
        )
        return tuple((price, quantity) for price, quantity in levels if quantity > 0 and price > 0)

    def strikes(self, symbols: list[str], after: int, until: int) -> Iterator[Strike]:
        """Yield the prints of `symbols` in after..until, `after` itself excluded, by time."""
        found = [
            (one.time, symbol, one)
            for symbol in symbols
            for one in self._market.trades(symbol, after + 1, until, now=until, most=FAR)
        ]
        if len(symbols) > 1:
            found.sort(key=lambda item: item[:2])
        for time, symbol, one in found:
            yield Strike(time, symbol, exact(one.price), exact(one.quantity))

    def next(self, symbols: list[str], after: int) -> int:
        """Return the time of the next print of any of `symbols`; `FAR`: there is none."""
        ahead = [self._market.trades(s, after + 1, FAR, now=FAR, most=1) for s in symbols]
        return min((made[0].time for made in ahead if made), default=FAR)
