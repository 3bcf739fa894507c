"""Everything an account does, at each venue, through the unmodified ccxt."""

import asyncio
from decimal import Decimal

import pytest

from research.errors import UserError
from research.live.net import Network
from research.venues import open_gateway
from research.venues.keys import Keys
from research.venues.words import DONE, Refused, Settings

VENUES = ["binance", "bybit", "kraken"]
FUTURES = ["binance", "bybit"]
D = Decimal


async def settled(gateway, symbol, cid):
    """Ask until an order is over; some venues answer before it is."""
    for _ in range(50):
        found = await gateway.find(symbol, cid)
        if found is not None and found.status in DONE:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"{cid} is not over: {found}")


@pytest.mark.parametrize("venue", VENUES)
async def test_a_round_trip_adds_up(world, venue):
    async with world(venue) as at:
        gateway, symbol = at.gateway, at.symbol
        quote = gateway.market(symbol).quote
        before = (await gateway.balance())[quote]
        since = at.exchange.clock.now()
        sent = await at.send("one", quantity="2")
        done = await settled(gateway, symbol, "one")
        assert (sent.cid, sent.symbol, sent.side) == ("one", symbol, "buy")
        assert done.id == sent.id and done.status == "filled" and done.filled == D(2)
        fills = await gateway.fills(symbol, since)
        assert sum(one.quantity for one in fills) == D(2)
        assert {one.order for one in fills} == {done.id} and {one.side for one in fills} == {"buy"}
        assert len({one.trade for one in fills}) == len(fills)
        paid = sum(one.quantity * one.price for one in fills)
        assert abs(paid / 2 - done.average) < D("1e-6")
        held = await gateway.positions()
        assert held[symbol].quantity == D(2)
        rates = await gateway.fees(symbol)
        assert {one.coin for one in fills} == {quote} and not any(one.maker for one in fills)
        fee = sum(one.fee for one in fills)
        assert abs(fee - paid * rates.taker) < D("1e-6") and fee > 0
        await at.send("two", "sell", quantity="2", reduce_only=True)
        await settled(gateway, symbol, "two")
        assert symbol not in await gateway.positions()
        fills = await gateway.fills(symbol, since)
        change = sum((1, -1)[one.side == "buy"] * one.quantity * one.price for one in fills)
        after = (await gateway.balance())[quote]
        assert after.total == before.total + change - sum(one.fee for one in fills)
        assert await gateway.fills(symbol, since + 10**12) == []


@pytest.mark.parametrize("venue", VENUES)
async def test_resting_orders(world, venue):
    async with world(venue) as at:
        gateway, symbol = at.gateway, at.symbol
        sent = await at.send("rests", kind="limit", quantity="1", price="99")
        found = await gateway.find(symbol, "rests")
        assert (found.id, found.status, found.filled) == (sent.id, "open", D(0))
        assert (found.quantity, found.side, found.average) == (D(1), "buy", None)
        assert [one.cid for one in await gateway.open_orders()] == ["rests"]
        gone = await gateway.cancel(symbol, "rests")
        assert (gone.cid, gone.status) == ("rests", "cancelled")
        assert await gateway.cancel(symbol, "rests") is None
        assert await gateway.cancel(symbol, "never") is None
        assert await gateway.find(symbol, "never") is None
        assert (await gateway.find(symbol, "rests")).status == "cancelled"
        for cid in ("a", "b"):
            await at.send(cid, kind="limit", quantity="1", price="98.5")
        await gateway.cancel_all(symbol)
        assert await gateway.open_orders() == []


@pytest.mark.parametrize("venue", VENUES)
async def test_orders_that_do_not_rest(world, venue):
    async with world(venue) as at:
        gateway, symbol = at.gateway, at.symbol
        await at.send("far", kind="ioc", quantity="1", price="98")
        far = await settled(gateway, symbol, "far")
        assert far.filled == 0 and far.status in ("cancelled", "expired")
        await at.send("near", kind="ioc", quantity="1", price="102")
        assert (await settled(gateway, symbol, "near")).status == "filled"
        try:
            await at.send("maker", kind="post_only", quantity="1", price="102")
        except Refused as no:
            assert no.reason == "would_take"
        else:  # Bybit takes it in and lets it go
            maker = await settled(gateway, symbol, "maker")
            assert maker.filled == 0 and maker.status in ("expired", "rejected")
            assert maker.reason
        assert (await at.send("rests", kind="post_only", price="98")).status == "open"


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(("kind", "trigger"), [("stop", "95"), ("take", "105")])
async def test_conditional_orders(world, venue, kind, trigger):
    async with world(venue) as at:
        gateway, symbol = at.gateway, at.symbol
        await at.send("in", quantity="2")
        await settled(gateway, symbol, "in")
        how = {"side": "sell", "kind": kind, "quantity": "2", "trigger": trigger}
        sent = await at.send("guard", reduce_only=True, **how)
        assert sent.status == "open"
        assert [one.cid for one in await gateway.open_orders()] == ["guard"]
        assert (await gateway.find(symbol, "guard")).status == "open"
        gone = await gateway.cancel(symbol, "guard")
        assert (gone.cid, gone.status) == ("guard", "cancelled")
        assert await gateway.open_orders() == []
        assert await gateway.cancel(symbol, "guard") is None
        await at.send("again", reduce_only=True, **how)
        await gateway.cancel_all(symbol)
        assert await gateway.open_orders() == []
        assert (await gateway.positions())[symbol].quantity == D(2)


@pytest.mark.parametrize("venue", FUTURES)
async def test_settings_are_set_and_read_back(world, venue):
    async with world(venue) as at:
        gateway, symbol = at.gateway, at.symbol
        for wanted in (Settings(3, "isolated", False), Settings(7, "cross", True)):
            assert await gateway.set(symbol, wanted) == wanted
            assert await gateway.settings(symbol) == wanted
        asked = len(at.signed)
        await gateway.set(symbol, Settings(7, None, None))
        assert len(at.signed) == asked  # nothing differs, nothing is sent
        await gateway.set(symbol, Settings(1, "isolated", False))
        await at.send("in", "sell", quantity="1")
        await settled(gateway, symbol, "in")
        assert (await gateway.positions())[symbol].quantity == D(-1)


async def test_a_spot_venue_has_no_settings(world):
    async with world("kraken") as at:
        none = Settings(None, None, None)
        assert await at.gateway.set(at.symbol, Settings(3, "isolated", False)) == none
        assert await at.gateway.income(0) == []
        with pytest.raises(Refused, match="no_position"):
            await at.send("back", "buy", quantity="1", reduce_only=True)


@pytest.mark.parametrize("venue", VENUES)
async def test_what_everybody_may_see(world, venue):
    async with world(venue) as at:
        gateway, symbol = at.gateway, at.symbol
        ticker, book = await gateway.ticker(symbol), await gateway.book(symbol, 5)
        assert ticker.bid < ticker.ask and abs(ticker.last / ticker.bid - 1) < D("0.01")
        bids, asks = [price for price, _ in book.bids], [price for price, _ in book.asks]
        assert bids == sorted(bids, reverse=True) and asks == sorted(asks) and bids[0] < asks[0]
        assert 0 < len(bids) <= 5 and all(size > 0 for _, size in (*book.bids, *book.asks))
        now, coarse = at.exchange.clock.now(), 1_000_000
        assert abs(ticker.time - now) <= coarse * 60 and abs(book.time - now) <= coarse * 60
        assert abs(await gateway.clock() - now) <= coarse
        with pytest.raises(UserError, match="has no symbol"):
            gateway.market("NOPE")


@pytest.mark.parametrize("venue", VENUES)
async def test_permissions(world, venue):
    async with world(venue) as at:
        may = await at.gateway.permissions()
        assert may.trade is True and may.withdraw is False and may.addresses is True


@pytest.mark.parametrize("venue", VENUES)
async def test_dead_man(world, venue):
    async with world(venue) as at:
        gateway = at.gateway
        await at.send("rests", kind="limit", quantity="1", price="99")
        await gateway.dead_man(60)
        timers = [row for row in at.signed if "ancelAll" in row["path"]]
        assert len(timers) == (0 if venue == "bybit" else 1)
        await gateway.dead_man(0)
        assert [one.cid for one in await gateway.open_orders()] == ["rests"]


@pytest.mark.parametrize("venue", VENUES)
async def test_secrets_are_in_no_words(world, venue):
    keys = Keys("canary-key-of-mine", "Y2FuYXJ5LXNlY3JldC1vZi1taW5l")
    async with world(venue, keys=keys) as at:
        for question in (at.gateway.balance(), at.send("one"), at.gateway.cancel(at.symbol, "x")):
            with pytest.raises(Refused) as told:
                await question
            assert told.value.reason in ("keys", "permission")
            shown = f"{told.value!r} {told.value} {told.value.words} {told.value.__cause__!r}"
            assert "canary" not in shown and keys.secret not in shown and "signature=" not in shown
        assert "canary" not in repr(vars(at.gateway))


def test_venues_are_known():
    with pytest.raises(UserError, match=r"live\.venue .*Did you mean 'kraken'"):
        open_gateway("krakken", Network(), account="x", keys=Keys("a", "b"))
