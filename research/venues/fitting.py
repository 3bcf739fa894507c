"""Orders cut to what a market takes, or refused with our own reason before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

from research.errors import UserError, nearest
from research.venues.words import LIMITED, Market, Order, Refused

NOTHING = Decimal(0)


def fit(order: Order, market: Market, price: Decimal) -> Order:
    """Return `order` on the grid of `market`.

    Parameters
    ----------
    order : Order
        As wanted.
    market : Market
        What its venue asks.
    price : Decimal
        What a unit is worth now, for orders that name no price.

    Raises
    ------
    Refused
        ``too_small``, ``too_large`` or ``not_trading``.

    Examples
    --------
    >>> usual = [Decimal(text) for text in ("0.1", "0.001", "0.001")]
    >>> market = Market("BTCUSDT", "BTC", "USDT", False, *usual, None, Decimal(5))
    >>> wanted = Order("a", "BTCUSDT", "buy", "limit", Decimal("0.0129"), Decimal("499.96"))
    >>> found = fit(wanted, market, Decimal(500))
    >>> str(found.quantity), str(found.price)
    ('0.012', '499.9')
    """
    if not market.trading and not order.reduce_only:
        raise Refused("not_trading", f"{market.symbol} is not traded now")
    quantity = _step(order.quantity, market.lot, ROUND_DOWN)
    if quantity < market.least or quantity <= 0:
        least = f"{market.least:f} {market.base}"
        raise Refused("too_small", f"{order.quantity:f} of {market.symbol}, least {least}")
    if market.most is not None and quantity > market.most and order.kind not in LIMITED:
        raise Refused("too_large", f"{quantity:f} of {market.symbol}, most {market.most:f}")
    cut = order._replace(
        quantity=quantity,
        price=_price(order.price, order, market),
        trigger=_price(order.trigger, order, market),
    )
    worth = quantity * (cut.price or cut.trigger or price)
    if worth < market.least_notional and not order.reduce_only:
        least = f"{market.least_notional:f} {market.quote}"
        raise Refused("too_small", f"{market.symbol} worth {worth:.8g}, least {least}")
    return cut


def _price(price: Decimal | None, order: Order, market: Market) -> Decimal | None:
    if price is None:
        return None
    cut = _step(price, market.tick, ROUND_FLOOR if order.side == "buy" else ROUND_CEILING)
    if cut <= 0:
        raise Refused("price_out_of_band", f"{market.symbol} at {price:f}: must be above 0")
    return cut


def _step(number: Decimal, step: Decimal, way: str) -> Decimal:
    """Return the multiple of `step` beside `number`, written with the step's digits."""
    return ((number / step).to_integral_value(rounding=way) * step).quantize(step.normalize())


def lookup(markets: Mapping[str, Market], symbol: str, venue: str) -> Market:
    """Return a market by the venue's symbol; say which is nearest where there is none.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    if symbol not in markets:
        close = nearest(symbol, list(markets))
        raise UserError(
            f"{venue}: has no symbol {symbol!r}.{close} Name it as the venue does, or map the "
            'study\'s name to it: live.symbols."NAME" = "SYMBOL".'
        )
    return markets[symbol]


def number(told: Any) -> Decimal:
    """Return an amount as a venue wrote it.

    Raises
    ------
    ValueError
        If it is not a finite number.
    """
    try:
        found = Decimal(str(told))
    except InvalidOperation as error:
        raise ValueError(f"not a number: {told!r}") from error
    if not found.is_finite():
        raise ValueError(f"not a finite number: {told!r}")
    return found


def maybe(told: Any) -> Decimal | None:
    """Return an amount; None where there is none, or it is nothing."""
    return (number(told) or None) if told not in (None, "") else None


def text(amount: Decimal) -> str:
    """Return an amount as venues read it: never 1E-7.

    >>> text(Decimal("1E-7"))
    '0.0000001'
    """
    return f"{amount:f}"
