"""Accounts at an exchange that plays a small market, in process and through the unmodified ccxt.

Fixtures that other tests may use: `prices`, `account`, `venue`, `trading` and `ccxt_at`.
"""

import contextlib
from decimal import Decimal

import pytest

from research.sim.market import Market
from research.sim.orders.account import Account, Terms
from research.sim.orders.quotes import Quotes
from research.sim.orders.rules import usual
from tests.sim.conftest import MINUTE, ZERO, market
from tests.sim.orders.by_hand import Trader

FEES = (Decimal("0.0002"), Decimal("0.0005"))


class Prices:
    """A market and a clock that a test moves by hand."""

    def __init__(self, bars, start):
        self.market = Market(bars, start=start)
        self.quotes = Quotes(self.market)
        self.now = self.market.start + MINUTE // 2

    def on(self, us=MINUTE):
        self.now += us

    def rules(self, symbol, *, spot=False):
        return usual(symbol, self.market.series(symbol).candles[0].open, spot=spot)

    def account(self, *, spot=False, coins=None, **terms):
        rules = {symbol: self.rules(symbol, spot=spot) for symbol in self.market.symbols}
        made = Terms(rules.__getitem__, **{"fees": FEES, "spot": spot, **terms})
        return Account(self.quotes, made, coins or {"USDT": Decimal(10_000)}, lambda: self.now)


@pytest.fixture(scope="session")
def make_prices():
    few = market()

    def made(bars=few):
        return Prices(bars, ZERO + 20 * MINUTE)

    return made


@pytest.fixture
def prices(make_prices):
    return make_prices()


@pytest.fixture
def account(prices):
    return prices.account()


@pytest.fixture
def venue(playing, bars):
    """An exchange of all venues and a client of it; `ccxt_at` connects ccxt to it."""

    @contextlib.asynccontextmanager
    async def made(**options):
        async with playing(options.pop("bars", bars), **options) as client:
            yield client

    return made


@pytest.fixture
def ccxt_at():
    """Return an unmodified ccxt exchange at a client's, with the venue's usual key."""

    @contextlib.asynccontextmanager
    async def connected(name, client, *, pro=False, key=None, **options):
        module = pytest.importorskip("ccxt.pro" if pro else "ccxt.async_support")
        venue = {"binanceusdm": "binance"}.get(name, name)
        ids = {"apiKey": f"sim-key-{venue}", "secret": f"sim-secret-{venue}"}
        if key is not None:
            ids = {"apiKey": key.id, "secret": key.secret}
        made = getattr(module, name)({"session": client.session, **ids, **options})
        made.enableRateLimit = False
        try:
            yield made
        finally:
            await made.close()

    return connected


@pytest.fixture
def trading(venue):
    """An exchange and somebody who signs requests to its Binance by hand."""

    @contextlib.asynccontextmanager
    async def made(key=None, **options):
        async with venue(**options) as client:
            yield Trader(client, key)

    return made
