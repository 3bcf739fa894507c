"""Venues that take orders, behind one interface; real ones and the simulated exchange alike.

`open_gateway` reaches one account at Kraken (spot), Binance (USD-M) or Bybit (linear) through ccxt;
`keys` reads what it signs with; `doctor` says what keeps an account from being traded.
"""

from __future__ import annotations

from typing import Any

__all__ = ["VENUES", "open_gateway"]
VENUES = ("binance", "bybit", "kraken")


def __getattr__(name: str) -> Any:
    if name != "open_gateway":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from research.venues.gateway import open_gateway

    return open_gateway
