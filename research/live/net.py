"""The one door to the network: real venues, or the simulated exchange under their real names."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from types import TracebackType

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


class _Loopback(AbstractResolver):
    """Sends every host name to this machine: nothing can reach a real venue by accident."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = ResolveResult(
            hostname=host,
            host="127.0.0.1",
            port=self._port,
            family=socket.AF_INET,
            proto=0,
            flags=0,
        )
        return [found]

    async def close(self) -> None:
        """Hold nothing, so nothing to give back."""


class Network:
    """One session for REST, streams and the exchange's clock.

    Parameters
    ----------
    port : int, optional
        Port on 127.0.0.1 that every host name leads to: the simulated exchange. Absent: the real
        network.
    ca : Path, optional
        Certificate authority (PEM) trusted instead of the system's.

    Examples
    --------
    >>> Network().simulated, Network(port=18443).simulated
    (False, True)
    """

    def __init__(self, port: int | None = None, ca: Path | str | None = None) -> None:
        self.port, self.ca = port, ca
        self._session: aiohttp.ClientSession | None = None

    @property
    def simulated(self) -> bool:
        """Whether host names lead to a simulated exchange on this machine."""
        return self.port is not None

    def session(self) -> aiohttp.ClientSession:
        """Return the session; made at the first call, in the running event loop."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=self._connector(), trust_env=not self.simulated
            )
        return self._session

    def _connector(self) -> aiohttp.TCPConnector:
        trust = ssl.create_default_context(cafile=self.ca)
        if self.port is None:
            return aiohttp.TCPConnector(limit=0, ssl=trust)
        return aiohttp.TCPConnector(
            limit=0, ssl=trust, resolver=_Loopback(self.port), use_dns_cache=False
        )

    async def close(self) -> None:
        """Close the session and all its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Network:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()
