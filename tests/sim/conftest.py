"""A small market, an exchange that plays it, and a client that knows nothing of research."""

import asyncio
import contextlib
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import numpy as np
import polars as pl
import pytest

from research import schema
from research.sim.exchange import Exchange

START = datetime(2024, 5, 1, tzinfo=UTC)
MINUTE = 60_000_000
WIRE = Path(__file__).resolve().parents[3] / "shared" / "data" / "wire"
ZERO = int(START.timestamp()) * 1_000_000


def market(symbols=("AAAUSDT", "BBBUSDT"), bars=40, seed=1):
    """Bars whose prints can be: quote volumes are those of prices within each bar."""
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in symbols:
        price = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, (bars, 12)).ravel()))
        path = price.reshape(bars, 12)
        taken = np.where(rng.random((bars, 12)) < 0.5, rng.random((bars, 12)), 0)
        size = rng.exponential(10, (bars, 12))
        quiet = rng.random(bars) < 0.1
        size[quiet], path[quiet] = 0, path[quiet][:, :1]
        opens = [START + timedelta(minutes=i) for i in range(bars)]
        parts.append(
            pl.DataFrame(
                {
                    "symbol": [symbol] * bars,
                    "time": [t + timedelta(minutes=1) for t in opens],
                    "open_time": opens,
                    "open": path[:, 0],
                    "high": path.max(1),
                    "low": path.min(1),
                    "close": path[:, -1],
                    "volume": size.sum(1),
                    "quote_volume": (size * path).sum(1),
                    "trades": np.where(quiet, 0, rng.integers(30, 300, bars)),
                    "taker_buy_volume": (size * taken).sum(1),
                    "taker_buy_quote_volume": (size * taken * path).sum(1),
                }
            )
        )
    return pl.concat(parts).cast(schema.BARS).select(*schema.BARS).sort("symbol", "time")


class _Here(aiohttp.abc.AbstractResolver):
    """Every host is on this machine: no test can reach anything else."""

    def __init__(self, port):
        self.port = port

    async def resolve(self, host, port=0, family=0):
        here = {"hostname": host, "host": "127.0.0.1", "port": self.port}
        return [{**here, "family": 2, "proto": 0, "flags": 0}]

    async def close(self):
        pass


def session_of(port, ca):
    context = ssl.create_default_context(cafile=str(ca))
    connector = aiohttp.TCPConnector(resolver=_Here(port), ssl=context)
    return aiohttp.ClientSession(connector=connector)


class Client:
    """Talks to the exchange as anybody would."""

    def __init__(self, exchange, session):
        self.exchange, self.session = exchange, session

    async def get(self, url, **params):
        async with self.session.get(f"https://{url}", params=params) as answer:
            return await answer.json()

    async def binance(self, path, **params):
        return await self.get(f"fapi.binance.com/fapi/v1/{path}", **params)

    async def bybit(self, path, **params):
        params = {"category": "linear", **params}
        return (await self.get(f"api.bybit.com/v5/market/{path}", **params))["result"]

    async def stream(self, *names, route="market/stream", **options):
        url = f"wss://fstream.binance.com/{route}?streams={'/'.join(names)}"
        return await self.session.ws_connect(url, **options)

    async def clock(self):
        return await self.session.ws_connect("wss://clock.sim/clock")

    async def run(self, bars, clock=None):
        """Acknowledge so many bars as soon as their frames are out."""
        clock = clock or await self.clock()
        closes = self.exchange.clock._closes
        begun = next(
            (i for i, c in enumerate(closes) if c > self.exchange.clock.acked), len(closes)
        )
        for close in closes[begun : begun + bars]:
            await self.exchange.clock.wait(close)
            await asyncio.sleep(0)
            await clock.send_json({"ack": close})
            while self.exchange.clock.acked < close:
                await asyncio.sleep(0.001)
        return clock


@contextlib.asynccontextmanager
async def _exchange(bars, **options):
    options = {"start": ZERO + 20 * MINUTE, "grace": 0.02, **options}
    async with (
        Exchange(bars, **options) as exchange,
        session_of(exchange.port, exchange.ca) as session,
    ):
        yield Client(exchange, session)


@pytest.fixture
def bars():
    return market()


@pytest.fixture
def playing():
    return _exchange


@pytest.fixture
def make_market():
    return market


@pytest.fixture
def session_at():
    return session_of


@pytest.fixture
def frames():
    """Read what comes within a moment, as parsed bodies."""

    async def read(ws, seconds=0.2):
        out = []
        with contextlib.suppress(TimeoutError):
            while True:
                message = await ws.receive(timeout=seconds)
                if message.type != aiohttp.WSMsgType.TEXT:
                    out.append(message)
                    break
                try:
                    out.append(json.loads(message.data))
                except ValueError:
                    out.append(message.data)
        return out

    return read


@pytest.fixture
def wire():
    """Read a real message as parsed JSON; skip where there is none beside the project."""

    def read(name):
        path = WIRE / name
        if not path.exists():
            pytest.skip("no real messages beside the project")
        return json.loads(path.read_text())

    return read


@pytest.fixture
def keys():
    """Return all keys of a body, of inner ones too, and how long its rows are."""

    def of(body):
        if isinstance(body, dict):
            return set(body) | {k for value in body.values() for k in of(value)}
        if isinstance(body, list) and body:
            return {len(body[0])} if isinstance(body[0], list) else of(body[0])
        return set()

    return of
