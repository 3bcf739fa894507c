"""Sending: durable before it leaves, once, and never again."""

import asyncio
from decimal import Decimal

import pytest

from research.live.journal import JournalError
from research.orders import Intent, Patience
from research.venues.words import Refused, Seen, Unknown

from .life import OWNER, QUICK, SYMBOL, Life


async def test_what_is_meant_is_written_before_it_is_sent():
    life = Life()
    written = []
    send = life.gateway.send

    async def watched(order):
        written.append(list(life.kinds))
        return await send(order)

    life.gateway.send = watched
    known = await life.send()
    assert written == [["intent", "send"]]
    assert life.kinds == ["intent", "send", "done", "fill"]
    assert known.settled and known.filled == 1 and life.lawful()


@pytest.mark.parametrize("kind", ["intent", "send"])
async def test_what_cannot_be_written_is_not_sent(kind):
    life = Life()

    def full(*events):
        if events[0][0] == kind:
            raise JournalError("the disk is full")

    life.account._write = full
    with pytest.raises(JournalError):
        await life.send()
    assert not life.venue.orders


@pytest.mark.parametrize("met", ["accepted_unknown", "late"])
async def test_an_order_whose_answer_was_lost_is_found(met):
    life = Life()
    known = await life.send(met=met)
    assert known.settled and known.filled == 1 and len(life.venue.orders) == 1
    assert life.kinds.count("unknown") == 1 and life.lawful()


async def test_an_order_that_never_arrived_is_absent_after_the_proof():
    life = Life()
    sent = life.venue.time
    known = await life.send(met="lost")
    assert known.answer == "absent" and known.left == 0 and not life.venue.orders
    absent = life.rows[-1].body
    assert absent["at"] >= sent + QUICK.window_us
    assert life.venue.time - sent >= QUICK.least * 1e6


async def test_it_is_not_absent_while_the_venue_could_still_take_it():
    """Asked for long, but on a venue whose clock has not moved past the proof."""
    life = Life(patience=Patience(pauses=(0.0,), least=0.0, settle=5.0))
    asked = []

    async def never(symbol, cid):
        asked.append(life.venue.time)
        return None

    life.gateway.find = never
    known = await life.send(met="lost")
    proof = next(row.body["proof"] for row in life.rows if row.kind == "unknown")
    assert known.answer == "absent" and len(asked) >= 3
    assert life.rows[-1].body["at"] > proof


async def test_silence_proves_nothing():
    life = Life()
    life.venue.deaf = 40
    known = await life.send(met="lost")
    assert life.venue.deaf == 0 and known.answer == "absent"


async def test_no_id_is_sent_twice():
    life = Life()
    meant = life.meant()
    for met in ("lost", "", ""):
        life.venue.sends.append(met)
        await life.sender.send(meant)
    assert not life.venue.orders and life.kinds.count("send") == 1
    assert life.again().book.orders.keys() == life.book.orders.keys()
    await life.again().sender.send(meant)
    assert not life.venue.orders and life.venue.reused == 0


@pytest.mark.parametrize("lag", [0, 1, 3])
@pytest.mark.parametrize("share", ["1", "0.25", "0"])
async def test_what_an_ioc_does_not_fill_is_released(share, lag):
    life = Life()
    life.venue.share, life.venue.lag = Decimal(share), lag
    known = await life.send()
    assert known.settled and known.left == 0
    assert life.book.held(SYMBOL) == Decimal(share) and life.lawful()


async def test_a_fill_that_comes_before_the_ack_is_booked_once():
    life = Life()
    life.venue.tells_cids = True
    life.venue.during = lambda: life.account.refresh(SYMBOL)
    known = await life.send(kind="market")
    assert life.kinds == ["intent", "send", "fill", "done"]
    assert known.settled and life.book.held(SYMBOL) == 1


async def test_a_fill_without_our_id_waits_for_the_order_it_may_be_of():
    life = Life()
    life.venue.during = lambda: life.account.refresh(SYMBOL)
    await life.send(kind="market", met="accepted_unknown")
    assert "foreign" not in {booked.leg for booked in life.book.fills.values()}
    assert life.book.held(SYMBOL) == 1 and life.account.mode == "active"


async def test_two_that_ask_at_once_book_once():
    life = Life()
    life.venue.share = Decimal("0.5")
    known = await life.send(kind="limit")
    for placed in life.venue.open:
        life.venue.fill(placed, Decimal(1))
    await asyncio.gather(*(life.account.refresh(SYMBOL) for _ in range(8)))
    assert life.kinds.count("fill") == 1 and life.book.held(SYMBOL) == known.order.quantity


async def test_an_order_that_was_taken_otherwise_is_adopted():
    life = Life()
    known = await life.send(quantity="0.500", met="changed")
    assert known.size == Decimal("0.499") and known.settled and life.lawful()
    done = next(row.body for row in life.rows if row.kind == "done")
    assert done["changed"] == {"quantity": ["0.500", "0.499"]}


async def test_an_order_that_is_another_one_stops_the_account():
    life = Life()

    async def turned(order):
        return Seen(*(order.cid, "v1", SYMBOL, "sell", Decimal(1), Decimal(0), None, "open", 1))

    life.gateway.send = turned
    await life.send(kind="limit")
    assert life.account.mode == "stopped" and "not what was sent" in life.account.why


# -- refusals ----------------------------------------------------------------------------------


async def test_three_refusals_in_a_row_leave_only_what_reduces():
    life = Life()
    await life.send()
    for number in range(3):
        assert life.account.mode == "active", number
        known = await life.send(met="refused")
        assert known.answer == "refused" and known.reason == "no_funds"
    assert life.account.mode == "reducing" and "no_funds" in life.account.why
    before = len(life.rows)
    with pytest.raises(Refused, match="in a row"):
        await life.send()
    assert len(life.rows) == before
    assert (await life.send("sell", leg="exit", reduce=True)).filled == 1
    assert life.book.held(SYMBOL) == 0 and life.lawful()


async def test_an_order_that_is_taken_ends_the_row():
    life = Life()
    for met in ("refused", "refused", "", "refused", "refused"):
        await life.send(met=met)
    assert life.account.mode == "active"


async def test_whoever_resumes_begins_a_new_row():
    life = Life()
    for _ in range(3):
        await life.send(met="refused")
    life.account.resume()
    assert (life.account.mode, life.account.why) == ("active", "")
    for mode in ("active", "active", "reducing"):
        await life.send(met="refused")
        assert life.account.mode == mode


async def test_an_order_too_small_is_refused_here_and_in_writing():
    life = Life()
    known = await life.send(quantity="0.0001")
    assert (known.answer, known.reason, known.sent) == ("refused", "too_small", False)
    assert not life.venue.orders and life.kinds == ["intent", "refused"]
    for _ in range(4):
        await life.send(quantity="0.0001")
    assert life.account.mode == "active"


# -- cancelling --------------------------------------------------------------------------------


@pytest.mark.parametrize("met", ["", "race", "lost", "done_unknown"])
async def test_a_cancelled_order_is_over_and_what_it_filled_is_booked(met):
    life = Life()
    known = await life.send(kind="limit")
    life.venue.fill(life.venue.open[0], Decimal("0.3"))
    life.venue.cancels.append(met)
    known = await life.sender.cancel(known.order.cid)
    assert known.settled and known.status == ("filled" if met == "race" else "cancelled")
    assert life.book.held(SYMBOL) == life.venue.position == (1 if met == "race" else Decimal("0.3"))
    assert life.lawful() and life.kinds.count("cancel") == 1


async def test_everything_of_ours_can_be_cancelled():
    life = Life()
    for _ in range(3):
        await life.send(kind="limit")
    await life.sender.cancel_all()
    assert not life.venue.open and not life.book.unsettled()


async def test_what_protects_a_position_may_be_left_with_it():
    life = Life()
    await life.send(quantity="2")
    await life.send("sell", "1", "limit", leg="exit", reduce=True)
    await life.send("buy", "1", "limit")
    await life.sender.cancel_all(keeping_stops=True)
    assert [placed.order.side for placed in life.venue.open] == ["sell"]
    await life.send("sell", "2", leg="exit", reduce=True)
    await life.sender.cancel_all(keeping_stops=True)  # nothing is held any more
    assert not life.venue.open and life.lawful()


async def test_an_order_that_was_acknowledged_and_is_gone_stops_the_account():
    life = Life()
    known = await life.send(kind="limit")
    life.venue.orders.clear()
    known = await life.sender.cancel(known.order.cid)
    assert (
        not known.over and life.account.mode == "stopped" and "not at the venue" in life.account.why
    )


# -- the end -----------------------------------------------------------------------------------


async def test_the_end_settles_what_is_unknown_and_sends_nothing_more():
    life = Life()
    await life.send()
    task = asyncio.create_task(life.send("sell", met="accepted_unknown"))
    await asyncio.sleep(0)
    assert await life.sender.settle() == []
    await task
    assert life.book.held(SYMBOL) == 0 and life.lawful()
    with pytest.raises(Refused, match="ending"):
        await life.send("sell", leg="exit", reduce=True)


async def test_the_end_does_not_wait_for_ever():
    life = Life(patience=Patience(pauses=(0.01,), settle=0.1))
    life.account.seconds = asyncio.get_running_loop().time
    task = asyncio.create_task(life.send(met="lost"))
    await asyncio.sleep(0.02)
    life.venue.deaf = 10**9
    began = asyncio.get_running_loop().time()
    left = await life.sender.settle()
    assert asyncio.get_running_loop().time() - began < 1.0
    assert [known.unknown for known in left] == [True]
    await asyncio.wait_for(task, 1)
    life.venue.deaf = 0
    assert not (await life.again().reconcile()).halted


async def test_a_task_that_is_cancelled_while_sending_leaves_it_unknown():
    life = Life()

    async def hangs(order):
        await asyncio.sleep(60)

    life.gateway.send = hangs
    task = asyncio.create_task(life.send())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [known.unknown for known in life.again().book.unsettled()] == [True]


async def test_the_mode_of_a_stopped_account_lets_nothing_through():
    life = Life()
    life.account.stop("a person must look")
    with pytest.raises(Refused, match="a person must look"):
        await life.send("sell", leg="exit", reduce=True)
    life.account.stop("something else")
    assert life.account.why == "a person must look"
    life.account.why = ""  # a person looks: what is found now counts
    life.account.stop("something else")
    assert life.account.why == "something else"


async def test_unknown_is_said_with_what_was_heard():
    life = Life()

    async def silent(order):
        raise Unknown("HTTP 503: Unknown error")

    life.gateway.send = silent
    await life.send()
    assert next(row.body for row in life.rows if row.kind == "unknown")["words"].startswith("HTTP")


def test_intents_say_what_the_order_is_for():
    life = Life()
    meant = life.meant(leg="exit", reduce=True)
    assert isinstance(meant, Intent) and OWNER.whose(meant.order.cid) == "ours"
