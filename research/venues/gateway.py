"""The way to an account."""

from __future__ import annotations

from collections.abc import Callable

from research.errors import UserError, nearest
from research.live.net import Network
from research.venues import VENUES
from research.venues.binance import Binance
from research.venues.bybit import Bybit
from research.venues.keys import Keys
from research.venues.kraken import Kraken
from research.venues.wire import Wire
from research.venues.words import Gateway

KINDS: dict[str, Callable[[Wire, str], Gateway]] = {
    "binance": Binance,
    "bybit": Bybit,
    "kraken": Kraken,
}


def open_gateway(
    venue: str,
    network: Network,
    *,
    account: str,
    keys: Keys,
    now: Callable[[], int] | None = None,
    timeout: float = 10.0,
    pace: float = 1.0,
) -> Gateway:
    """Return the gateway of an account; nothing is asked before its ``open()``.

    Parameters
    ----------
    venue : str
        ``binance`` (USD-M futures), ``bybit`` (linear perpetuals) or ``kraken`` (spot).
    network : Network
        How the venue is reached; it stays open when the gateway is closed.
    account : str
        As the user named it.
    keys : Keys
        What requests are signed with.
    now : callable, optional
        Time in microseconds, as market time of a simulated exchange; absent: this machine's.
    timeout : float
        Real seconds after which no answer is waited for.
    pace : float
        Market seconds in a real one, where a simulated exchange plays faster; infinite: ask
        without pauses.

    Raises
    ------
    UserError
        If the venue is not known, or ccxt is not installed.
    """
    if venue not in VENUES:
        known = nearest(venue, list(VENUES))
        raise UserError(f"live.venue must be {', '.join(VENUES)}, found {venue!r}.{known}")
    wire = Wire(venue, network, keys, now=now, timeout=timeout, pace=pace)
    return KINDS[venue](wire, account)
