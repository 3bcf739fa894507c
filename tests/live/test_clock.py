"""Clocks: time never goes back, never past its bound, and waits where it must."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.live.clock import SECOND, Flow, ReplayClock, VenueClock, WallClock
from research.live.net import Network
from research.sim import Exchange

from .feeds import MINUTE, market, start_of

US = st.integers(0, 2**52)
FLOWS = st.builds(
    lambda now, ahead, speed, at: Flow(now, now + ahead, speed, at),
    US,
    st.integers(0, 10**10),
    st.sampled_from([0.0, 0.5, 1.0, 500.0, 1e12, float("inf")]),
    st.floats(0, 1e6),
)


@given(FLOWS, st.floats(0, 1e6), st.floats(0, 1e6))
def test_time_rises_from_now_and_stops_at_until(flow, one, other):
    early, late = sorted((one, other))
    assert flow.now <= flow.read(early) <= flow.read(late) <= flow.until


@given(FLOWS, st.integers(-(10**9), 10**10))
def test_the_wait_ends_when_the_moment_is_reached(flow, ahead):
    moment = flow.now + ahead
    seconds = flow.seconds_to(moment)
    if seconds is None:
        assert flow.speed == 0 or moment > flow.until
    else:
        assert flow.read(flow.at + seconds + 1e-6 * (1 + flow.at)) >= moment - 1 or seconds == 0


def test_the_wall_clock_never_goes_back(monkeypatch):
    clock, told = WallClock(), iter([5_000_000, 9_000_000, 2_000_000, 9_500_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(told))
    assert [clock.now() for _ in range(4)] == [5_000, 9_000, 9_000, 9_500]


async def test_the_wall_clock_sleeps():
    clock = WallClock()
    began = clock.now()
    await clock.sleep_until(began + 50_000)
    assert 50_000 <= clock.now() - began < 500_000
    await asyncio.wait_for(clock.sleep_until(began), 0.1)


async def test_venue_time_waits_for_the_acknowledgement():
    bars = market(minutes=6)
    start = start_of(bars, 2)
    exchange = Exchange(bars, start=start, grace=0.0)
    async with exchange as server, Network(server.port, server.ca) as network:
        clock = await VenueClock.connect(network)
        await clock.sleep_until(start + MINUTE)
        await asyncio.sleep(0.05)
        assert clock.now() == start + MINUTE + 2 * SECOND
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(clock.sleep_until(start + 2 * MINUTE), 0.1)
        await clock.ack(start + MINUTE)
        await asyncio.wait_for(clock.sleep_until(start + 2 * MINUTE), 2)
        await clock.close()


async def test_venue_time_is_held_and_released():
    bars = market(minutes=6)
    start = start_of(bars, 2)
    exchange = Exchange(bars, start=start, speed=60.0)
    async with exchange as server, Network(server.port, server.ca) as network:
        clock = await VenueClock.connect(network)
        await clock.hold()
        await asyncio.sleep(0.1)
        stood = clock.now()
        await asyncio.sleep(0.2)
        assert clock.now() == stood
        await clock.release()
        await asyncio.wait_for(clock.sleep_until(stood + 5 * SECOND), 2)
        await clock.close()
        ended = clock.now()
        await asyncio.sleep(0.1)
        assert clock.now() == ended


async def test_what_was_said_is_said_again_on_the_next_line():
    bars = market(minutes=8)
    start = start_of(bars, 2)
    first = Exchange(bars, start=start, grace=0.0)
    async with first as server:
        network = Network(server.port, server.ca)
        clock = await VenueClock.connect(network)
        await clock.sleep_until(start + MINUTE)
    # nobody listens now: the acknowledgement is kept
    await clock.ack(start + MINUTE)
    seen = clock.now()
    second = Exchange(bars, start=start, grace=0.0, port=server.port)
    async with second as server:
        network.ca = server.ca
        await network.close()
        await asyncio.wait_for(clock.sleep_until(start + 2 * MINUTE), 5)
        assert clock.now() >= seen and second.clock.acked == start + MINUTE
        await clock.close()
    await network.close()


async def test_replayed_time_flows_as_far_as_it_is_let():
    clock = ReplayClock(0, speed=100.0)
    clock.play_to(10 * SECOND)
    began = time.monotonic()
    await clock.sleep_until(10 * SECOND)
    assert 0.09 < time.monotonic() - began < 0.6
    await asyncio.sleep(0.05)
    assert clock.now() == 10 * SECOND
    await clock.hold()
    clock.play_to(20 * SECOND)
    await asyncio.sleep(0.05)
    assert clock.now() == 10 * SECOND
    await clock.release()
    await asyncio.wait_for(clock.sleep_until(20 * SECOND), 2)
