"""ccxt's client of a venue, on our session and our clock."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp

from research.errors import UserError
from research.live.net import Network
from research.venues.keys import Keys
from research.venues.words import WINDOW_US

CLIENTS = {"binance": "binanceusdm", "bybit": "bybit", "kraken": "kraken"}
_OPTIONS: dict[str, dict[str, Any]] = {
    "binance": {
        "recvWindow": WINDOW_US // 1000,
        "fetchMargins": False,
        "warnOnFetchOpenOrdersWithoutSymbol": False,
    },
    # the account is a unified one, or `permissions` says that it is not: ccxt need not ask
    "bybit": {
        "recvWindow": WINDOW_US // 1000,
        "fetchMarkets": {"types": ["linear"]},
        "loadAllOptions": False,
        "enableUnifiedMargin": False,
        "enableUnifiedAccount": True,
    },
    "kraken": {},
}
# ccxt's own window lets three private questions through in ten seconds; Kraken a dozen at once
_PACES = {
    "kraken": {
        "rateLimiterAlgorithm": "leakyBucket",
        "tokenBucket": {"capacity": 30.0, "tokens": 30.0},
    }
}


class Session:
    """What ccxt takes for a session: it follows no redirect, as keys must not go elsewhere.

    Parameters
    ----------
    network : Network
        How a venue is reached.
    leaving : callable
        Called when a request is about to leave.
    heard : callable
        Given status, headers and text of each answer.
    """

    def __init__(
        self,
        network: Network,
        leaving: Callable[[], None],
        heard: Callable[[int, Any, str], None],
    ) -> None:
        self._network, self._leaving, self._heard = network, leaving, heard
        self.headers: dict[str, str] = {}  # ccxt adds them to each request's own

    def get(self, url: Any, **how: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Ask."""
        return self._send("GET", url, how)

    def post(self, url: Any, **how: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Ask, or change something."""
        return self._send("POST", url, how)

    def put(self, url: Any, **how: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Change something."""
        return self._send("PUT", url, how)

    def delete(self, url: Any, **how: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Cancel something."""
        return self._send("DELETE", url, how)

    @asynccontextmanager
    async def _send(
        self, method: str, url: Any, how: dict[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        session = self._network.session()
        self._leaving()
        async with session.request(method, url, allow_redirects=False, **how) as response:
            self._heard(response.status, response.headers, await response.text("utf8"))
            if 300 <= response.status < 400:
                raise aiohttp.ClientConnectionError("the venue points elsewhere")
            yield response


def client(venue: str, keys: Keys, *, now: Callable[[], int], timeout: float) -> Any:
    """Return ccxt's client of a venue; it has no session yet.

    Parameters
    ----------
    venue : str
        ``binance``, ``bybit`` or ``kraken``.
    keys : Keys
        What requests are signed with.
    now : callable
        Time in microseconds.
    timeout : float
        Real seconds after which no answer is waited for.
    """
    try:
        import ccxt.async_support as ccxt
    except ModuleNotFoundError as error:
        raise UserError(
            "orders: need ccxt, the extra 'live'. Run: .venv/bin/python -m pip install -e '.[live]'"
        ) from error
    made = getattr(ccxt, CLIENTS[venue])(
        {
            "apiKey": keys.key,
            "secret": keys.secret,
            "session": None,
            "enableRateLimit": True,
            "timeout": round(timeout * 1000),
            "options": _OPTIONS[venue],
            **_PACES.get(venue, {}),
        }
    )
    made.has["fetchCurrencies"] = False  # nothing here is deposited or withdrawn
    # ccxt would load the system's certificates for a session of its own, and wait for its end
    made.ssl_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.timeout_on_exit = 0
    made.milliseconds = lambda: now() // 1000
    if venue == "kraken":
        # real time, finer than ccxt's: it rises across restarts, and where market time stands still
        made.nonce = real_now
    return made


def real_now() -> int:
    """Return this machine's time, microseconds since 1970 UTC."""
    return time.time_ns() // 1000
