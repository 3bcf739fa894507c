"""Laws of the exchange's time."""

import asyncio
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.sim.clock import SECOND, Clock

MINUTE = 60 * SECOND
CLOSES = [MINUTE * k for k in range(1, 6)]


async def told(ws):
    return json.loads((await ws.receive(timeout=2)).data)


async def until(ws, true, seconds=2):
    """Read states until one is as wanted."""
    async with asyncio.timeout(seconds):
        while not true(state := await told(ws)):
            pass
    return state


@given(st.lists(st.sampled_from(["join", "leave", "hold", "free", "ack", "publish", "wait"])))
@settings(max_examples=100, deadline=None)
def test_time_never_runs_back_nor_past_a_bar_unseen(steps):
    async def live():
        clock = Clock(0, CLOSES, speed=1e6, grace=0.001)
        before = 0
        for step in steps:
            pending = [c for c in CLOSES if c > clock.acked]
            if step == "ack" and pending:
                assert clock.ack(pending[0]) == (pending[0] <= before)
            elif step == "publish" and pending and clock.now() >= pending[0]:
                clock.published(pending[0])
            elif step == "wait":
                await asyncio.sleep(0.002)
            elif step in ("join", "leave"):
                getattr(clock, step)("me")
            elif step in ("hold", "free"):
                clock.hold("me", step == "hold")
            now = clock.now()
            waiting = [c for c in CLOSES if c > clock.acked]
            assert before <= now <= clock.until
            assert not waiting or now <= waiting[0] + 2 * SECOND
            before = now

    asyncio.run(live())


async def test_time_stands_still_without_a_client():
    clock = Clock(0, CLOSES, speed=1000)
    await asyncio.sleep(0.02)
    assert clock.now() == 0
    clock.join("me")
    await asyncio.sleep(0.02)
    assert clock.now() >= 20 * SECOND
    clock.leave("me")
    there = clock.now()
    await asyncio.sleep(0.02)
    assert clock.now() == there


async def test_hold_stops_time_until_released_or_gone():
    clock = Clock(0, CLOSES, speed=1000)
    clock.join("a")
    clock.join("b")
    clock.hold("a", True)
    there = clock.now()
    await asyncio.sleep(0.01)
    assert clock.now() == there and clock.state()["speed"] == 0
    clock.leave("a")
    await asyncio.sleep(0.01)
    assert clock.now() > there


async def test_infinite_speed_goes_from_ack_to_ack():
    clock = Clock(0, CLOSES, speed=math.inf, grace=0.01)
    clock.join("me")
    assert clock.now() == MINUTE
    assert not clock.ack(2 * MINUTE), "a bar that has not closed cannot have been seen"
    clock.published(MINUTE)
    await asyncio.sleep(0.03)
    assert clock.now() == MINUTE + 2 * SECOND
    assert clock.ack(MINUTE)
    assert clock.now() == 2 * MINUTE


async def test_an_ack_saves_the_grace():
    clock = Clock(0, CLOSES, speed=math.inf, grace=10)
    clock.join("me")
    for close in CLOSES:
        assert clock.now() == close
        clock.published(close)
        assert clock.ack(close)
    assert clock.now() == CLOSES[-1] + 2 * SECOND


def test_real_speed_has_no_rest_at_a_close():
    clock = Clock(0, CLOSES, speed=1)
    assert clock.until == MINUTE + 2 * SECOND


async def test_waiting_ends_at_its_moment():
    clock = Clock(0, CLOSES, speed=1000)
    clock.join("me")
    await asyncio.wait_for(clock.wait(30 * SECOND), 1)
    assert 30 * SECOND <= clock.now() < 60 * SECOND


async def test_protocol(playing, bars):
    async with playing(bars, speed=600) as client:
        start = client.exchange.market.start
        assert client.exchange.clock.now() == start
        ws = await client.clock()
        first = await told(ws)
        assert first["speed"] == 600
        assert first["now"] - start < SECOND and first["until"] == start + MINUTE
        assert first["last"] == start + 20 * MINUTE
        stuck = await until(ws, lambda s: s["until"] == start + MINUTE + 2 * SECOND)
        await asyncio.sleep(0.1)
        assert client.exchange.clock.now() == stuck["until"], "no further before the ack"
        await ws.send_json({"ack": start + MINUTE})
        await until(ws, lambda s: s["until"] == start + 2 * MINUTE)
        await ws.send_json({"hold": True})
        held = await until(ws, lambda s: s["speed"] == 0)
        await asyncio.sleep(0.05)
        assert client.exchange.clock.now() == held["now"]
        await ws.send_json({"hold": False})
        await until(ws, lambda s: s["speed"] == 600)
        await ws.send_str("nonsense")
        await ws.send_json([1])
        await ws.close()
        await asyncio.sleep(0.02)
        there = client.exchange.clock.now()
        await asyncio.sleep(0.02)
        assert client.exchange.clock.now() == there, "nobody is there: time stands still"


async def test_frames_come_when_time_reaches_the_close(playing, bars, frames):
    async with playing(bars, speed=math.inf) as client:
        stream = await client.stream("aaausdt@kline_1m")
        clock = await client.clock()
        start = client.exchange.market.start
        made = [f["data"]["k"] for f in await frames(stream)]
        assert [k["x"] for k in made].count(True) == 1
        assert (made[-1]["T"] + 1) * 1000 == start + MINUTE
        await clock.send_json({"ack": start + MINUTE})
        made = [f["data"]["k"] for f in await frames(stream)]
        assert [k["x"] for k in made].count(True) == 1
        assert (made[-1]["T"] + 1) * 1000 == start + 2 * MINUTE


async def test_a_killed_client_finds_the_market_where_it_left_it(playing, bars):
    async with playing(bars, speed=math.inf) as client:
        clock = await client.run(3)
        await client.exchange.clock.wait(client.exchange.market.start + 4 * MINUTE)
        clock._response.connection.transport.abort()
        await asyncio.sleep(0.1)
        there = client.exchange.clock.now()
        await asyncio.sleep(0.1)
        assert client.exchange.clock.now() == there
        await client.run(2)
        assert client.exchange.clock.acked == client.exchange.market.start + 5 * MINUTE


@pytest.mark.parametrize("interval", [MINUTE, 5 * MINUTE])
async def test_longer_bars_are_acknowledged_at_their_own_closes(playing, bars, interval):
    async with playing(bars, interval_us=interval) as client:
        await client.clock()
        assert client.exchange.clock.until == client.exchange.market.start + interval
