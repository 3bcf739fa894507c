"""Binance USD-M futures, private side: REST as ccxt calls it, and the user stream.

After https://developers.binance.com/docs/derivatives/usds-margined-futures/general-info and the
pages of each route there, as of autumn 2026.
"""

from __future__ import annotations

from decimal import Decimal

from research.sim.binance_rest import HOST, Refused, refuse, rules_of
from research.sim.binance_ws import HOST as STREAM
from research.sim.market import Market
from research.sim.orders.account import Terms
from research.sim.orders.binance import doing, money, signing, stream, telling
from research.sim.orders.binance.forms import named
from research.sim.orders.history import DAY, Retention
from research.sim.orders.venues import Venue
from research.sim.orders.words import Denied, Key, Rules

SAPI = "api.binance.com"
FEES = (Decimal("0.0002"), Decimal("0.0005"))
RETENTION = Retention(3 * DAY, 90 * DAY, 90 * DAY)
CODES: dict[str, tuple[int, str]] = {
    "symbol": (-1121, "Invalid symbol."),
    "precision": (-1111, "Precision is over the maximum defined for this asset."),
    "tick": (-4014, "Price not increased by tick size."),
    "price": (-4001, "Price less than 0."),
    "band": (-4016, "Limit price can't be higher or lower than the multiplier of the mark price."),
    "lot": (-4023, "Qty not increased by step size."),
    "least": (-4004, "Quantity less than min quantity."),
    "most": (-4005, "Quantity greater than max quantity."),
    "notional": (-4164, "Order's notional must be no smaller than 5 (unless reduce only)."),
    "funds": (-2019, "Margin is insufficient."),
    "no_position": (-2022, "ReduceOnly Order is rejected."),
    "would_take": (
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected.",
    ),
    "would_trigger": (-2021, "Order would immediately trigger."),
    "would_not_fill": (
        -5021,
        "Due to the order could not be filled immediately, the FOK order has been rejected.",
    ),
    "used_id": (-4116, "ClientOrderId is duplicated."),
    "no_order": (-2011, "Unknown order sent."),
    "too_many": (-2025, "Reach max open order limit."),
    "leg": (-4061, "Order's position side does not match user's setting."),
    "mode_same": (-4059, "No need to change position side."),
    "mode_busy": (-4068, "Position side cannot be changed if there exists position."),
    "margin_same": (-4046, "No need to change margin type."),
    "margin_busy": (-4048, "Margin type cannot be changed if there exists position."),
    "leverage": (-4028, "Leverage is not valid."),
}
"""Of every reason an account gives."""


def denied(no: Denied) -> Refused:
    """Return the venue's error for what an account denies."""
    return refuse(*CODES[no.reason])


def unknown() -> Refused:
    """Return the answer that says nothing: the order may stand or not."""
    message = "Unknown error, please check your request or try again later."
    return refuse(-1000, message, status=503)


def terms(market: Market, key: Key) -> Terms:
    """Return how the venue treats an account."""

    listed = {symbol: rules_of(market, symbol) for symbol in market.symbols}

    def rules(symbol: str) -> Rules:
        if symbol not in listed:
            raise Denied("symbol")
        return listed[symbol]

    return Terms(
        rules, key.fees or FEES, key.fee_coin, RETENTION, new_id=True, first_id=8_000_000_000
    )


VENUE = Venue(
    name="binance",
    hosts=(HOST, SAPI),
    routes={**doing.ROUTES, **telling.ROUTES, **money.ROUTES, **stream.ROUTES},
    terms=terms,
    funds=lambda market: {"USDT": Decimal(10_000)},
    identify=signing.identify,
    denied=denied,
    unknown=unknown,
    names=named,
    limits=signing.Limits,
    streams={(STREAM, "/private"): stream.take},
)
