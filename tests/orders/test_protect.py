"""Stops and takes go with the position: never two of a kind, none where nothing is held."""

import asyncio
from decimal import Decimal

import pytest

from .life import SYMBOL, Life


async def protect(life, stop, take):
    life.moment += 60_000_000
    return await life.protector.protect(
        SYMBOL,
        stop=stop and Decimal(stop),
        take=take and Decimal(take),
        moment=life.moment,
        price=Decimal(100),
    )


def resting(life):
    return sorted(
        (p.order.kind, p.order.side, p.order.trigger, p.quantity) for p in life.venue.open
    )


async def test_a_position_is_protected_and_flat_is_not():
    life = Life()
    assert await protect(life, 90, 110) == [] and not life.venue.open
    await life.send(quantity="2")
    await protect(life, 90, 110)
    assert resting(life) == [("stop", "sell", 90, 2), ("take", "sell", 110, 2)]
    assert all(placed.order.reduce_only for placed in life.venue.open)
    written = len(life.rows)
    await protect(life, 90, 110)
    assert len(life.rows) == written
    await life.send("sell", "2", leg="exit", reduce=True)
    await protect(life, 90, 110)
    assert not life.venue.open and life.lawful()


async def test_a_short_position_is_protected_by_buying():
    life = Life()
    await life.send("sell")
    await protect(life, 110, 90)
    assert resting(life) == [("stop", "buy", 110, 1), ("take", "buy", 90, 1)]


async def test_it_moves_with_prices_and_with_the_position():
    life = Life()
    await life.send()
    await protect(life, 90, 110)
    await protect(life, 95, 110)
    assert resting(life) == [("stop", "sell", 95, 1), ("take", "sell", 110, 1)]
    await life.send(quantity="0.5")
    await protect(life, 95, None)
    assert resting(life) == [("stop", "sell", 95, Decimal("1.5"))]
    assert life.lawful()


async def test_after_a_stop_the_take_goes():
    life = Life()
    await life.send()
    await protect(life, 90, 110)
    stop = next(placed for placed in life.venue.open if placed.order.kind == "stop")
    life.venue.fill(stop, Decimal(1))
    await life.account.watch()
    await protect(life, 90, 110)
    assert not life.venue.open and life.book.held(SYMBOL) == 0 and life.lawful()


@pytest.mark.parametrize("met", ["lost", "done_unknown", "race"])
async def test_a_cancellation_that_is_not_answered_never_leaves_two(met):
    life = Life()
    await life.send()
    await protect(life, 90, None)
    life.venue.cancels.append(met)
    await protect(life, 95, None)
    expected = [] if met == "race" else [("stop", "sell", 95, 1)]
    assert resting(life) == expected and life.lawful()


async def test_a_stop_whose_answer_was_lost_is_found():
    life = Life()
    await life.send()
    life.venue.sends.append("accepted_unknown")
    await protect(life, 90, None)
    assert resting(life) == [("stop", "sell", 90, 1)]


async def test_one_that_is_refused_is_told():
    life = Life()
    await life.send()
    life.venue.sends.append("refused")
    (known,) = await protect(life, 90, None)
    assert known.answer == "refused" and known.leg == "stop"
    await protect(life, 90, None)
    assert resting(life) == [("stop", "sell", 90, 1)]


async def test_no_symbol_waits_for_the_orders_of_another():
    life = Life()
    await life.send()
    await protect(life, 90, None)
    cancel, asked, going = life.gateway.cancel, asyncio.Event(), asyncio.Event()

    async def slow(symbol, cid):
        asked.set()
        await going.wait()
        return await cancel(symbol, cid)

    life.gateway.cancel = slow
    moving = asyncio.create_task(protect(life, 95, None))
    await asked.wait()
    other = life.protector.protect(
        "ETHUSDT", stop=Decimal(9), take=None, moment=life.moment, price=Decimal(10)
    )
    async with asyncio.timeout(60):
        assert await other == []
    going.set()
    await moving
    assert resting(life) == [("stop", "sell", 95, 1)] and life.lawful()
