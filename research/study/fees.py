"""What venues charge per side, by tier, as their public fee pages had it in 2026.

A study that trades elsewhere, or has its own rebate, states ``costs.fee`` itself.
"""

from __future__ import annotations

from research.errors import UserError, nearest

SCHEDULES: dict[str, tuple[tuple[float, float], ...]] = {
    "binance_um": (
        (0.0002, 0.0005),
        (0.00016, 0.0004),
        (0.00014, 0.00035),
        (0.00012, 0.00032),
        (0.0001, 0.0003),
    ),
    "binance_spot": ((0.001, 0.001), (0.0009, 0.001), (0.0008, 0.001), (0.0004, 0.0006)),
    "bybit_linear": ((0.0002, 0.00055), (0.00018, 0.0004), (0.00016, 0.000375)),
    "kraken_spot": ((0.0025, 0.004), (0.002, 0.0035), (0.0014, 0.0024), (0.0012, 0.0022)),
}
"""(maker, taker) of each tier, the lowest volume first."""
VENUES = {
    "binance": ("binance_um", "binance_spot"),
    "bybit": ("bybit_linear", "bybit_linear"),
    "kraken": ("kraken_spot", "kraken_spot"),
}
"""The schedules of each venue that is traded: of its futures and of its spot market, where there
are both."""


def schedule(venue: str, *, spot: bool) -> str:
    """Return by which of `SCHEDULES` a venue charges.

    >>> schedule("binance", spot=True), schedule("kraken", spot=False)
    ('binance_spot', 'kraken_spot')
    """
    return VENUES[venue][spot]


def fee(venue: str, tier: int, role: str) -> float:
    """Return what `venue` charges on each fill, as a fraction of its notional.

    >>> fee("binance_um", 0, "taker"), fee("kraken_spot", 0, "maker")
    (0.0005, 0.0025)
    """
    if venue not in SCHEDULES:
        raise UserError(
            f"no fee schedule of {venue!r}.{nearest(venue, list(SCHEDULES))} "
            f"Here: {', '.join(SCHEDULES)}; or state costs.fee."
        )
    tiers = SCHEDULES[venue]
    if not 0 <= tier < len(tiers):
        raise UserError(f"{venue} has tiers 0 to {len(tiers) - 1} here, found {tier}.")
    return tiers[tier][role == "taker"]
