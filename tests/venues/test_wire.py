"""How requests leave: at a pace that the venue allows, signed one after another."""

import asyncio
import gc
import math
import time
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from research.sim.orders.words import usual_key
from research.venues import VENUES, budget, client, open_gateway
from research.venues.keys import Keys
from research.venues.words import Unreachable

from .conftest import MINUTE


@pytest.fixture(autouse=True)
def uncounted():
    """Here both sides count."""


async def flow(clock):
    """Let the venue's time go on at its speed."""
    clock.join("a client")
    while True:
        await asyncio.sleep(0.005)
        clock.ack(clock.now() // MINUTE * MINUTE)


async def test_kraken_is_never_asked_too_often(world):
    """Questions without end, public and private, wait for their turn and are all answered."""
    async with world("kraken", speed=500.0) as at:
        flowing = asyncio.create_task(flow(at.exchange.clock))
        since = at.exchange.clock.now()
        for _ in range(15):
            asked = [at.gateway.balance(), at.gateway.fills(at.symbol, since), at.gateway.clock()]
            await asyncio.gather(*asked, at.gateway.find(at.symbol, "none"))
        flowing.cancel()
        assert [e for e in at.exchange.log if e["kind"] == "limited"] == []


async def test_an_order_stands_behind_no_question(world, monkeypatch):
    """However many wait for leave to ask."""
    monkeypatch.setitem(budget.LANES, "kraken", {"privatePost": (1.0, 0.001)})
    async with world("kraken") as at:
        order = at.gateway.fit(at.order("one"), 100)
        asking = [asyncio.create_task(at.gateway.balance()) for _ in range(60)]
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await at.gateway.send(order)
        assert sum(task.done() for task in asking) <= 1
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


@pytest.mark.parametrize("venue", VENUES)
async def test_a_gateway_that_does_not_open_holds_nothing_and_may_be_opened_again(
    world, venue, caplog
):
    """Nor does one that nobody opened: ccxt would warn of either when it is forgotten."""
    async with world(venue, opened=False) as at:
        key = usual_key(venue)
        asked = {"account": venue, "keys": Keys(key.id, key.secret), "pace": math.inf}
        gateway = open_gateway(venue, at.network, **asked, now=at.exchange.clock.now)
        open_gateway(venue, at.network, **asked)
        for status in (502, 200):  # no answer, and one that is none of markets
            at.exchange.strike("status", status=status, body={"what": "is this"})
            with pytest.raises(Unreachable):
                await gateway.open()
            assert gateway._wire.client.session is None
        await gateway.open()
        assert gateway.market(at.symbol).trading
        await gateway.close()
        del gateway
        gc.collect()
    assert "release" not in caplog.text


async def test_no_request_follows_to_where_the_venue_points():
    """Its key would go along."""
    asked = []

    async def answer(request):
        asked.append(request.path)
        raise web.HTTPFound("/elsewhere")

    app = web.Application()
    app.router.add_route("*", "/{any}", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as plain:
        session = client.Session(
            SimpleNamespace(session=lambda: plain), lambda: None, lambda *heard: None
        )
        for ask in (session.get, session.post, session.put, session.delete):
            with pytest.raises(aiohttp.ClientConnectionError, match="points elsewhere"):
                async with ask(server.make_url("/here"), headers={"API-Key": "k"}):
                    pass
    assert asked == ["/here"] * 4


def test_krakens_nonce_rises_where_market_time_stands_still():
    made = client.client("kraken", Keys("k", "c2VjcmV0"), now=lambda: 5, timeout=1.0)
    first, until = made.nonce(), time.monotonic() + 60
    while made.nonce() <= first:
        assert time.monotonic() < until
