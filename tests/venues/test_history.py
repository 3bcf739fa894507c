"""What happened to an account: trades and income, all of it, once, in order."""

import asyncio
from decimal import Decimal

import pytest

from research.venues import binance
from research.venues.words import DONE

D = Decimal
DAY = 24 * 60 * 60 * 1_000_000
VENUES = ["binance", "bybit", "kraken"]


def trade(at, n):
    """Let the account trade so often without us, first long, then back."""
    for i in range(n):
        at.account.inject_foreign("AAAUSDT", ("buy", "sell")[i % 2], D("0.01"), cid=f"web_{i}")


@pytest.mark.parametrize("venue", VENUES)
async def test_all_pages(world, venue, monkeypatch):
    monkeypatch.setattr(binance, "PAGE", 50)
    async with world(venue) as at:
        since = at.exchange.clock.now()
        trade(at, 130)
        truth = at.account.fills()
        fills = await at.gateway.fills(at.symbol, since)
        assert len(fills) == len(truth) == 130 and len({one.trade for one in fills}) == 130
        assert [one.time for one in fills] == sorted(one.time for one in fills)
        for name in ("quantity", "price", "fee"):
            assert sum(getattr(f, name) for f in fills) == sum(getattr(f, name) for f in truth)
        later = fills[-1].time + 1
        trade(at, 1)
        assert len(await at.gateway.fills(at.symbol, later)) <= 1 + (later > since)


@pytest.mark.parametrize("venue", ["binance", "bybit"])
async def test_weeks_are_walked(world, venue):
    """What is older than one question may reach is found all the same."""
    async with world(venue) as at:
        now = at.exchange.clock.now()
        trade(at, 3)
        assert len(await at.gateway.fills(at.symbol, now - 17 * DAY)) == 3
        asked = [row["path"] for row in at.exchange.log if row["kind"] == "signed"]
        assert sum("userTrades" in path or "execution" in path for path in asked) == 3


@pytest.mark.parametrize("venue", ["binance", "bybit"])
async def test_funding(world, venue):
    async with world(venue) as at:
        since = at.exchange.clock.now()
        await at.send("in", quantity="2")
        at.exchange.clock.join("a client")
        paid = []
        for _ in range(400):  # until the next funding
            at.exchange.clock.ack(at.exchange.clock.now() // 60_000_000 * 60_000_000)
            await asyncio.sleep(0)
            at.account.advance()
            paid = [one for one in at.account.income() if one.kind == "funding"]
            if paid:
                break
        found = await at.gateway.income(since)
        assert [(one.kind, one.amount, one.coin) for one in found] == [
            ("funding", paid[0].amount, "USDT")
        ]
        assert found[0].symbol == at.symbol and found[0].time == paid[0].time // 1000 * 1000
        assert await at.gateway.income(found[0].time + 1_000) == []


@pytest.mark.parametrize("venue", VENUES)
async def test_a_triggered_order_keeps_its_id(world, venue):
    """Its fills name the order that `find` names, whatever id that has become."""
    async with world(venue) as at:
        gateway, symbol = at.gateway, at.symbol
        since = at.exchange.clock.now()
        await at.send("in", quantity="2")
        price = (await gateway.ticker(symbol)).last
        how = {"side": "sell", "kind": "stop", "quantity": "2", "reduce_only": True}
        await at.send("guard", trigger=str(price * D("0.999")), **how)
        at.exchange.clock.join("a client")
        for _ in range(300):
            at.exchange.clock.ack(at.exchange.clock.now() // 60_000_000 * 60_000_000)
            await asyncio.sleep(0)
            at.account.advance()
            if not at.account.open_orders():
                break
        done = await gateway.find(symbol, "guard")
        assert done.status in DONE and (done.cid, done.filled) == ("guard", D(2))
        sold = [one for one in await gateway.fills(symbol, since) if one.side == "sell"]
        assert {one.order for one in sold} == {done.id}
        assert sum(one.quantity for one in sold) == D(2)
        assert symbol not in await gateway.positions() and await gateway.open_orders() == []


async def test_fees_in_another_coin(world):
    from research.sim.orders.words import usual_key

    key = usual_key("binance")._replace(
        fee_coin=("BNB", D(600)), funds={"USDT": D(9000), "BNB": D(1)}
    )
    async with world("binance", exchange_keys=(key,)) as at:
        await at.send("in", quantity="2")
        fills = await at.gateway.fills(at.symbol, at.exchange.clock.now() - DAY)
        assert {one.coin for one in fills} == {"BNB"} and all(one.fee > 0 for one in fills)
