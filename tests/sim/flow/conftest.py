"""A minute of planted order flow, an exchange that plays it, and a client that knows nothing."""

import asyncio
import contextlib
import json

import aiohttp
import pytest

from research.sim.flow import FlowExchange
from research.sources.simulated.flow import market

HOSTS = {
    "um": ("wss://fstream.binance.com/public/stream", "https://fapi.binance.com/fapi/v1"),
    "spot": ("wss://stream.binance.com:9443/stream", "https://api.binance.com/api/v3"),
}


class Client:
    """Talks to the exchange as anybody would."""

    def __init__(self, exchange, session, kind):
        self.exchange, self.session, self.kind = exchange, session, kind

    async def get(self, path, **params):
        base = HOSTS[self.kind][1] if self.kind in HOSTS else "https://api.bybit.com"
        async with self.session.get(f"{base}/{path}", params=params) as answer:
            text = await answer.text()
            with contextlib.suppress(ValueError):
                text = json.loads(text)
            return answer.status, text

    async def stream(self, *names, address=None, **options):
        address = address or HOSTS[self.kind][0]
        url = f"{address}?streams={'/'.join(names)}"
        return await self.session.ws_connect(url, **options)

    async def bybit(self, *topics):
        ws = await self.session.ws_connect("wss://stream.bybit.com/v5/public/linear")
        for topic in topics:
            await ws.send_json({"op": "subscribe", "args": [topic], "req_id": topic})
        return ws

    async def all(self, ws, seconds=20.0):
        """Return every message until the recording is over and nothing more comes."""
        got, quiet = [], 0
        async with asyncio.timeout(seconds):
            while quiet < 5:
                try:
                    got.append(await ws.receive(timeout=0.05))
                except TimeoutError:
                    quiet += self.exchange.over.is_set()
                    continue
                quiet = 0
                if got[-1].type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    break
        return got

    def sent(self, line="1"):
        """Return the texts of streams that left on a connection, as the exchange tells."""
        return [
            e["text"]
            for e in self.exchange.log
            if e["kind"] == "frame" and e["line"] == line and e["stream"] and e["text"]
        ]


@pytest.fixture(scope="session")
def made():
    """A minute of a market by its kind, made once."""
    kept = {}

    def of(kind="um"):
        if kind not in kept:
            venue = "bybit" if kind == "linear" else "binance"
            kept[kind] = market(symbols=2, minutes=1, seed=7, venue=venue, market=kind)
        return kept[kind]

    return of


@pytest.fixture
def playing(made, session_at):
    """An exchange that plays a minute, and a client of it."""

    @contextlib.asynccontextmanager
    async def open_one(kind="um", recording=None, **options):
        recording = recording or made(kind).recording
        async with (
            FlowExchange(recording, **options) as exchange,
            session_at(exchange.port, exchange.ca) as session,
        ):
            yield Client(exchange, session, kind)

    return open_one
