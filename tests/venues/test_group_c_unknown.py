"""Group C, what nobody knows: C01-C04 and C20."""

import asyncio
import os
import signal

import pytest

from research.live.net import Network
from research.orders import reconcile
from research.venues.words import Refused

from .scene import MINUTE, VENUES, scene

venues = pytest.mark.parametrize("venue", VENUES)


LOST = [
    ("binance", "hold_after_accept"),
    ("bybit", "hold_after_accept"),
    ("kraken", "hold_after_accept"),
    ("binance", "accept_then_503"),
    ("bybit", "accept_then_503"),
    ("kraken", "ack_rst"),
]


@pytest.mark.parametrize(("venue", "fault"), LOST)
async def test_c01_an_order_that_lives_though_nobody_said_so_is_found_by_its_id(
    venue, fault, tmp_path
):
    async with scene(venue, tmp_path) as s:
        s.exchange.strike(fault, seconds=1.0)
        with s.hurry(0.3):
            known = await s.send(quantity=2)
        assert known.answer == "accepted" and known.settled and known.filled == 2
        assert [event.kind for event in s.events()][:3] == ["intent", "send", "unknown"]
        assert len(s.signed()) == 1
        await s.judge()


@venues
async def test_c02_an_order_that_never_arrived_is_absent_once_it_cannot_arrive_any_more(
    venue, tmp_path
):
    """Its id is not used again: what is still wanted is decided anew."""
    async with scene(venue, tmp_path) as s:
        s.exchange.strike("hold_before_accept", seconds=0.1)
        sending = asyncio.create_task(s.send(quantity=2))
        while not s.events("unknown"):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # longer than `Patience.least`: the venue's clock stands still
        (known,) = s.book.orders.values()
        assert known.unknown and not sending.done()
        async with s.passing():
            known = await sending
        assert known.answer == "absent" and s.held() == 0
        (unknown,), (absent,) = s.events("unknown"), s.events("absent")
        assert absent.body["at"] > unknown.body["proof"]
        again = await s.sender.send(_meant(s, known.order))
        assert again == known and len(s.signed()) == 1, "an id was sent twice"
        anew = await s.send(quantity=2)
        assert anew.filled == 2 and anew.order.cid != known.order.cid
        await s.judge()


def _meant(s, order):
    from research.orders import Intent

    return Intent(order, "entry", s.since, s.price)


@venues
async def test_c03_an_order_taken_after_an_unknown_answer_is_adopted_when_it_shows(venue, tmp_path):
    """503, taken two seconds later, filled half a minute later: the fill is booked at once."""
    async with scene(venue, tmp_path) as s:
        s.exchange.strike("late_accept", us=2_000_000)
        order = s.order(kind="limit", part="0.97", quantity=2)
        sending = asyncio.create_task(s.send(order))
        while not s.events("unknown"):
            await asyncio.sleep(0.01)
        await s.play()
        known = await sending
        assert known.answer == "accepted" and not known.over
        later = s.account.get(cid=order.cid)
        s.account.later(30_000_000, lambda: s.account.fill_now(later))
        await s.play()
        assert s.held() > 1.9
        await s.run.watch()
        assert s.run.known(order.cid).settled and s.run.mode == "active"
        await s.judge()


@pytest.mark.parametrize("venue", ["binance", "bybit"])
async def test_c03_a_venue_that_takes_an_order_later_than_it_may_stops_the_run(venue, tmp_path):
    """Beyond the window nothing can be accepted; where it is all the same, it is booked, loudly."""
    async with scene(venue, tmp_path) as s:
        s.exchange.strike("late_accept", us=4 * MINUTE)
        async with s.passing():
            known = await s.send(quantity=2)
        assert known.answer == "absent" and s.held() == 0
        await s.play(5)
        assert s.held() == 2
        await reconcile(s.run, [s.symbol])
        known = s.run.known(known.order.cid)
        assert known.answer == "accepted" and known.settled
        assert s.run.mode == "stopped" and "absent" in s.run.why
        await s.judge()


async def test_c03_an_order_with_a_deadline_is_taken_late_by_nobody(tmp_path):
    """Kraken takes nothing after the deadline that we send with each order."""
    async with scene("kraken", tmp_path) as s:
        s.exchange.strike("late_accept", us=4 * MINUTE)
        async with s.passing():
            known = await s.send(quantity=2)
        await s.play(5)
        await reconcile(s.run, [s.symbol])
        assert s.run.known(known.order.cid).answer == "absent" and s.run.mode == "active"
        assert s.held() == 0 and s.account.history.accepted == 0
        await s.judge()


KILLS = {
    "meant": ("append", 1),
    "sent": ("append", 2),
    "answer on its way": ("post", 0),
    "answered": ("append", 3),
}


@pytest.mark.parametrize(
    ("venue", "moment"),
    [
        ("binance", "meant"),
        ("kraken", "sent"),
        *((venue, "answer on its way") for venue in VENUES),
        ("bybit", "answered"),
    ],
)
async def test_c04_a_killed_run_finds_its_order_and_sends_it_never_again(venue, moment, tmp_path):
    """SIGKILL: when it is meant, when it is about to leave, before and after the answer."""
    kind, when = KILLS[moment]
    async with scene(venue, tmp_path) as s:
        if kind == "post":
            s.exchange.strike("hold_after_accept", seconds=2.0)
        order = s.order(quantity=2)
        await s.close()
        await _killed(s, order, kind, when)
        await s.open()
        left = s.book.orders[order.cid]
        assert left.sent == (moment != "meant")
        async with s.passing():
            report = await reconcile(s.run, [s.symbol])
        assert not report.halted
        known = s.run.known(order.cid)
        assert known.answer == ("absent" if moment in ("meant", "sent") else "accepted")
        assert known.settled and known.filled == (0 if known.answer == "absent" else 2)
        assert len(s.signed()) == (moment in ("answer on its way", "answered"))
        await s.judge()


async def _killed(s, order, kind, when):
    """Send from another process that is killed at a moment."""
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(_send_and_die(s, order, kind, when))
        finally:
            os._exit(3)
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        await asyncio.sleep(0.005)
        if kind == "post" and s.signed():
            os.kill(pid, signal.SIGKILL)


async def _send_and_die(s, order, kind, when):
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    written = 0

    def count(step):
        nonlocal written
        written += step == "committed"
        if kind == "append" and written == when:
            die()

    s.network = Network(s.exchange.port, s.exchange.ca)
    await s.open()
    s.journal.at = count
    await s.send(order)


@pytest.mark.parametrize("venue", ["binance", "bybit"])
async def test_c20_a_request_refused_for_its_time_is_asked_again_but_never_sent_again(
    venue, tmp_path
):
    """A question is asked again once the clock is set; an order is refused for certain."""
    async with scene(venue, tmp_path, speed=1.0, early=300_000) as s:
        s.flow()
        await asyncio.sleep(0.4)
        s.exchange.strike("skew", times=10**6, us=60_000_000)
        known = await s.send(quantity=2)
        assert (known.answer, known.reason) == ("refused", "clock") and s.held() == 0
        assert len(s.signed()) == 1
        assert await s.gateway.balance()
        reads = [entry for entry in s.signed("read") if not entry["accepted"]]
        assert reads, "the clock was never wrong"
        anew = await s.send(quantity=2)
        assert anew.filled == 2 and len(s.signed()) == 2
        await s.judge()


async def test_c20_a_refused_nonce_is_a_refusal(tmp_path):
    """Kraken's clock: a nonce that is not higher than the last, and an order past its deadline."""
    async with scene("kraken", tmp_path) as s:
        for said in ("EAPI:Invalid nonce", "EService:Deadline elapsed"):
            s.exchange.strike("reject", status=200, body={"error": [said]})
            known = await s.send(quantity=2)
            assert (known.answer, known.reason) == ("refused", "clock")
        anew = await s.send(quantity=2)
        assert anew.filled == 2 and len(s.signed()) == 3
        await s.judge()


async def test_c20_a_run_that_is_ending_waits_for_what_is_unknown_and_sends_no_more(tmp_path):
    async with scene("bybit", tmp_path) as s:
        s.exchange.strike("hold_after_accept", seconds=0.1)
        sending = asyncio.create_task(s.send(quantity=2))
        while not s.signed():
            await asyncio.sleep(0.01)
        assert await s.sender.settle() == []
        assert (await sending).answer == "accepted"
        with pytest.raises(Refused):
            await s.send(quantity=1)
        await s.run.watch()
        await s.judge()
