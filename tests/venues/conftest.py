"""A simulated exchange with an account, and the gateway to it over real sockets."""

import contextlib
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from research import schema
from research.live.net import Network
from research.sim.exchange import Exchange
from research.sim.kraken import pace
from research.sim.orders.kraken import signing
from research.sim.orders.words import usual_key
from research.venues import budget, open_gateway
from research.venues.keys import Keys
from research.venues.words import Order

START = datetime(2024, 5, 1, 7, tzinfo=UTC)  # an hour before futures pay funding
MINUTE = 60_000_000
ZERO = int(START.timestamp()) * 1_000_000
NAMES = {"binance": "AAAUSDT", "bybit": "AAAUSDT", "kraken": "AAA/USDT"}


def played(bars=60, symbols=("AAAUSDT",), seed=1):
    """Minutes around 100, each of them traded in."""
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in symbols:
        path = 100 * np.exp(np.cumsum(rng.normal(0, 1e-4, (bars, 4)).ravel())).reshape(bars, 4)
        volume = rng.uniform(50, 150, bars)
        opens = [START + timedelta(minutes=i) for i in range(bars)]
        parts.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "time": [t + timedelta(minutes=1) for t in opens],
                    "open_time": opens,
                    "open": path[:, 0],
                    "high": path.max(1),
                    "low": path.min(1),
                    "close": path[:, -1],
                    "volume": volume,
                    "quote_volume": volume * path.mean(1),
                    "trades": rng.integers(30, 300, bars),
                    "taker_buy_volume": volume / 2,
                    "taker_buy_quote_volume": volume * path.mean(1) / 2,
                }
            )
        )
    return pl.concat(parts).cast(schema.BARS).select(*schema.BARS).sort("symbol", "time")


class World:
    """One venue's exchange, its account and a gateway."""

    def __init__(self, exchange, network, gateway, venue):
        self.exchange, self.network, self.gateway, self.venue = exchange, network, gateway, venue
        self.symbol = NAMES[venue]
        self.account = exchange.accounts.get(venue)

    @property
    def signed(self):
        """Requests that would change something, as the exchange saw them."""
        rows = [row for row in self.exchange.log if row["kind"] == "signed"]
        return [row for row in rows if row["does"] != "read"]

    def order(self, cid, side="buy", kind="market", quantity="1", **more):
        more = {k: Decimal(v) if k in ("price", "trigger") else v for k, v in more.items()}
        return Order(cid, self.symbol, side, kind, Decimal(quantity), **more)

    async def send(self, *args, **more):
        gateway = self.gateway
        order = gateway.fit(self.order(*args, **more), (await gateway.ticker(self.symbol)).last)
        return await gateway.send(order)


@contextlib.asynccontextmanager
async def _world(
    venue, *, keys=None, timeout=5.0, opened=True, exchange_keys=None, off=0, **options
):
    """One venue; our clock is `off` by so many microseconds."""
    options |= {"keys": exchange_keys} if exchange_keys else {}
    options = {"start": ZERO + 30 * MINUTE, "weight_limit": 10**9, **options}
    key = usual_key(venue)
    mine = keys or Keys(key.id, key.secret)
    async with (
        Exchange(played(400), **options) as exchange,
        Network(exchange.port, exchange.ca) as network,
    ):
        gateway = open_gateway(
            venue,
            network,
            account=venue,
            keys=mine,
            now=lambda: exchange.clock.now() + off,
            timeout=timeout,
            pace=math.inf,
        )
        try:
            if opened:
                await gateway.open()
            yield World(exchange, network, gateway, venue)
        finally:
            await gateway.close()


@pytest.fixture(autouse=True)
def uncounted(monkeypatch):
    """Let nobody count requests: hundreds are made here while the venues' time stands still."""
    monkeypatch.setattr(budget, "LANES", {})
    monkeypatch.setattr(budget, "LIMITS", {})
    monkeypatch.setattr(pace, "BURST", math.inf)
    monkeypatch.setattr(signing, "COUNTER", math.inf)


@pytest.fixture
def world():
    return _world
