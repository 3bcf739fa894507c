"""What must stand in a request itself: no simulated exchange would miss it."""

import asyncio
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from research.sim.orders.words import usual_key
from research.venues import client
from research.venues.binance import Binance
from research.venues.kraken import Kraken
from research.venues.words import WINDOW_US, Order, Refused

NOW = 1_714_521_600_250_000
"""2024-05-01 00:00:00.25 UTC."""


class Heard:
    """Takes the one request that leaves."""

    def there(self):
        return NOW

    async def change(self, call, *how, read):
        self.call, self.how = call, how
        return "an id"

    async def ask(self, call, *how, read):
        return read([OPEN] if call == "fapiPrivateGetOpenOrders" else [])


OPEN = {
    "clientOrderId": "a",
    "orderId": 7,
    "symbol": "BTCUSDT",
    "side": "BUY",
    "origQty": "1",
    "executedQty": "0",
    "avgPrice": "0",
    "status": "NEW",
    "time": NOW // 1000,
}


async def test_an_order_at_kraken_pays_its_fee_in_quote_currency_and_cannot_arrive_late():
    wire = Heard()
    order = Order("a", "BTC/USD", "sell", "market", Decimal(1), reduce_only=True)
    seen = await Kraken(wire, "kraken:main").send(order)
    *how, params = wire.how
    assert (wire.call, how) == ("create_order", ["BTC/USD", "market", "sell", "1", None])
    assert params["oflags"] == "fciq" and "reduceOnly" not in params
    assert WINDOW_US == 5_000_000 and params["deadline"] == "2024-05-01T00:00:05.250Z"
    assert (seen.id, seen.status, seen.filled) == ("an id", "open", 0)


async def test_the_dead_mans_timer_of_binance_guards_orders_of_the_sitting_before():
    wire = Heard()
    gateway = Binance(wire, "binance:main")
    assert [seen.cid for seen in await gateway.open_orders()] == ["a"]
    await gateway.dead_man(120.0)
    assert wire.call == "fapiPrivatePostCountdownCancelAll"
    assert wire.how == ({"symbol": "BTCUSDT", "countdownTime": 120_000},)


async def test_signed_requests_of_one_key_of_kraken_leave_one_after_another(world, monkeypatch):
    """Two at once may overtake each other, and the later nonce is then refused."""
    inside, real = [0, 0], client.Session._send

    @asynccontextmanager
    async def watched(self, *how):
        inside[:] = inside[0] + 1, max(inside[1], inside[0] + 1)
        try:
            async with real(self, *how) as answer:
                yield answer
        finally:
            inside[0] -= 1

    async with world("kraken") as at:
        monkeypatch.setattr(client.Session, "_send", watched)
        await asyncio.gather(*(at.gateway.balance() for _ in range(6)))
    assert inside == [0, 1]


async def test_what_a_venue_says_of_our_keys_is_not_repeated(world):
    key = usual_key("binance")
    async with world("binance") as at:
        said = {"code": -1102, "msg": f"mandatory: {key.id} and {key.secret} are wrong"}
        at.exchange.strike("status", status=400, body=said)
        with pytest.raises(Refused, match="mandatory") as no:
            await at.send("one")
    assert key.id not in str(no.value) and key.secret not in str(no.value)
