"""Rules that a venue might have for a symbol, from nothing but its price."""

from __future__ import annotations

from decimal import Decimal
from math import floor, log10

from research.sim.orders.words import Rules

QUOTES = ("USDT", "USDC", "FDUSD", "USD", "EUR", "BTC")


def coins(symbol: str) -> tuple[str, str]:
    """Return base and quote currency of a symbol.

    >>> coins("BTCUSDT"), coins("ETH/EUR"), coins("X:BTC-USD")
    (('BTC', 'USDT'), ('ETH', 'EUR'), ('BTC', 'USD'))
    """
    plain = symbol.rpartition(":")[2]
    for mark in "/-":
        if mark in plain:
            base, _, quote = plain.partition(mark)
            return base, quote
    quote = next((q for q in QUOTES if plain.endswith(q) and plain != q), "USDT")
    return plain.removesuffix(quote), quote


def usual(symbol: str, price: float, *, spot: bool = False) -> Rules:
    """Return rules of the usual coarseness at `price`.

    The tick has five significant digits of the price, a lot is worth between 0.1 and 1 of quote
    currency, and an order at least 5 of it.

    >>> made = usual("BTCUSDT", 60000.0)
    >>> made.base, made.tick, made.lot, made.least_notional
    ('BTC', Decimal('1'), Decimal('0.00001'), Decimal('5'))
    """
    base, quote = coins(symbol)
    digits = floor(log10(price))
    tick, lot = Decimal(1).scaleb(digits - 4), Decimal(1).scaleb(-digits - 1)
    return Rules(
        symbol=symbol,
        base=base,
        quote=quote,
        spot=spot,
        tick=_plain(tick),
        lot=_plain(lot),
        least=_plain(lot),
        most=_plain(lot * 10**8),
        most_market=_plain(lot * 10**7),
        least_notional=Decimal(5),
    )


def _plain(value: Decimal) -> Decimal:
    """Return the same number written without exponent."""
    return Decimal(format(value, "f"))
