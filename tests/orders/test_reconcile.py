"""Reconciliation: what our orders explain is booked, anything else halts, nothing is invented."""

import asyncio
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.campaigns.orders.memory import Killed, Placed
from research.orders import accept, cid, events
from research.orders.reconcile import FILLS_KEPT_US
from research.venues.words import Income, Order, Unreachable

from .life import OWNER, SYMBOL, Life

DAY = 86_400_000_000


async def holding(quantity="1", side="buy"):
    life = Life()
    await life.send(side, quantity)
    return life


async def test_a_restart_adds_nothing_a_hundred_times():
    life = await holding()
    await life.send("sell", "0.4", "limit", leg="exit", reduce=True)
    assert not (await life.reconcile()).halted
    written = len(life.rows)
    for _ in range(100):
        life = life.again()
        assert not (await life.reconcile()).halted
        assert len(life.rows) == written and life.account.mode == "active"
    assert life.book.held(SYMBOL) == 1


async def test_fills_that_were_missed_are_booked():
    life = Life()
    await life.send(kind="limit")
    life.venue.fill(life.venue.open[0], Decimal("0.6"))
    after = life.again()
    report = await after.reconcile()
    assert not report.halted and after.book.held(SYMBOL) == Decimal("0.6") and after.lawful()
    assert after.book.orders[life.venue.open[0].order.cid].left == Decimal("0.4")


@pytest.mark.parametrize("met", ["killed_before", "killed_after"])
async def test_an_order_that_was_being_sent_is_found_out(met):
    life = Life()
    meant = life.meant()
    with pytest.raises(Killed):
        life.venue.sends.append(met)
        await life.sender.send(meant)
    after = life.again()
    assert after.book.orders[meant.order.cid].unknown
    assert not (await after.reconcile()).halted
    found = after.book.orders[meant.order.cid]
    expected = ("absent", 0) if met == "killed_before" else ("accepted", 1)
    assert (found.answer, found.filled) == expected and len(after.venue.orders) == found.filled
    assert after.lawful()


async def test_a_venue_that_is_silent_has_not_said_that_it_cannot_tell():
    life = Life()
    await life.send(kind="limit")
    after = life.again()
    after.venue.deaf = 18  # questions: longer than patience lasts
    with pytest.raises(Unreachable):
        await after.reconcile()
    after.venue.deaf = 0
    assert not (await after.reconcile()).halted and after.account.mode == "active"


async def test_what_was_meant_and_never_sent_is_absent_at_once():
    life = Life()
    meant = life.meant()
    life.account.note(events.intent(meant, 5))
    after = life.again()
    before = after.venue.time
    await after.reconcile()
    assert after.book.orders[meant.order.cid].answer == "absent"
    assert after.venue.time - before < 12_000_000


# -- what nothing explains ---------------------------------------------------------------------

SIGNS = ("-1", "0", "1")


@settings(max_examples=40, deadline=None)
@given(st.integers(-3000, 3000), st.integers(-3000, 3000), st.integers(50, 200), st.booleans())
def test_every_difference_is_found_and_none_is_traded_away(ours, venue, price, known):
    asyncio.run(explained(Decimal(ours) / 1000, Decimal(venue) / 1000, price, known))


async def explained(ours, venue, price, known):
    """Hold `ours`, then let others trade to `venue`, seen by us as trades or not at all."""
    life = Life()
    if ours:
        await life.send("buy" if ours > 0 else "sell", str(abs(ours)))
    life.venue.price = Decimal(price)
    if ours != venue:
        life.venue.foreign(venue - ours)
        if not known:  # as after an edit of the position
            life.venue.untold.add(life.venue.trades[-1].trade)
    after = life.again()
    report = await after.reconcile()
    assert report.halted == (ours != venue)
    assert after.book.held(SYMBOL) == ours, "no trade may be invented"
    if not report.halted:
        return
    assert after.account.mode == "stopped"
    (found,) = report.differences
    assert (found.ours, found.venue) == (ours, venue)
    assert found.foreign == (venue - ours if known else 0)
    assert_useful(report.text("run_1"))
    assert accept(after.account, report) == 1
    assert accept(after.account, report) == 0
    assert after.book.held(SYMBOL) == venue and not after.book.foreign[SYMBOL]
    assert not (await after.again().reconcile()).halted
    assert not (await after.reconcile()).halted


def assert_useful(said):
    assert "our fills say" in said and "the venue" in said
    assert "./run resume run_1 --accept-venue" in said


@pytest.mark.parametrize(("ours", "venue", "known"), [*product(SIGNS, SIGNS, (True, False))])
async def test_every_sign_of_every_position(ours, venue, known):
    await explained(Decimal(ours), Decimal(venue), 90, known)


async def test_others_who_leave_the_position_as_it_was_halt_nothing():
    life = await holding()
    life.venue.foreign(Decimal(2))
    life.venue.foreign(Decimal(-2))
    after = life.again()
    assert not (await after.reconcile()).halted
    assert after.book.held(SYMBOL) == 1 and len(after.book.fills) == 3


async def test_trades_of_others_while_we_run_stop_the_account():
    life = await holding()
    life.venue.foreign(Decimal("-0.5"))
    await life.send("sell", "0.1", leg="exit", reduce=True)
    assert life.account.mode == "stopped" and "others traded" in life.account.why
    assert life.book.held(SYMBOL) == Decimal("0.9")
    assert life.book.expected(SYMBOL) == life.venue.position == Decimal("0.4")


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("web_17", "not ours"),
        ("autoclose-1700000000000000", "not ours"),
        (cid(OWNER._replace(instance="run_2"), SYMBOL, 5, "entry"), "another instance's"),
        (cid(OWNER, SYMBOL, 5, "entry"), "not ours"),  # of ours, but this journal never meant it
    ],
)
async def test_open_orders_that_we_did_not_mean_halt(name, whose):
    life = await holding()
    life.venue.orders["x"] = Placed(
        "x", Order(name, SYMBOL, "buy", "limit", Decimal(1), Decimal(90)), Decimal(1)
    )
    after = life.again()
    report = await after.reconcile()
    assert report.halted and [seen.id for seen in report.foreign] == ["x"]
    assert f"open order x ({whose}): buy 1 {SYMBOL}" in report.text("run_1")
    assert accept(after.account, report) == 1
    assert not (await after.again().reconcile()).halted
    assert after.book.held(SYMBOL) == 1


async def test_an_order_sent_longer_ago_than_the_venue_remembers_halts():
    life = Life()
    with pytest.raises(Killed):
        await life.send(met="killed_before")
    life.venue.forward(4 * DAY)
    after = life.again()
    report = await after.reconcile()
    assert report.halted and [known.answer for known in report.doubtful] == ["unknown"]
    assert "cannot say what became of it" in report.text("run_1")
    assert accept(after.account, report) == 1
    assert not (await after.again().reconcile()).halted
    assert not after.again().book.unsettled()


async def test_a_resting_order_that_the_venue_has_forgotten_halts():
    life = Life()
    await life.send(kind="limit")
    life.venue.orders.clear()
    report = await life.again().reconcile()
    assert report.halted and len(report.doubtful) == 1


async def test_fills_that_the_venue_has_forgotten_halt():
    life = Life()
    await life.send(kind="limit")
    life.venue.fill(life.venue.open[0], Decimal(1))
    life.venue.trades.clear()
    report = await life.again().reconcile()
    assert report.halted and report.doubtful[0].told == 1


async def test_a_silence_longer_than_trades_are_kept_halts():
    life = await holding()
    life.venue.forward(FILLS_KEPT_US + DAY)
    after = life.again()
    report = await after.reconcile()
    assert report.unseen == 91 and "nobody watched for 91 days" in report.text("run_1")
    assert await after.accept() == 0 and after.account.mode == "active"


async def test_a_venue_that_does_not_answer_is_no_answer():
    life = await holding()
    life.venue.deaf = 1000
    with pytest.raises(Unreachable):
        await life.again().reconcile()


# -- money -------------------------------------------------------------------------------------


async def test_funding_is_booked_once():
    life = await holding()
    paid = [Decimal("-0.31"), Decimal("0.12")]
    for number, amount in enumerate(paid):
        life.venue.paid.append(
            Income(f"i{number}", "funding", SYMBOL, amount, "USDT", life.venue.time)
        )
    for _ in range(3):
        await life.account.incomes()
        life = life.again()
        await life.reconcile()
    held = life.book.holding(SYMBOL)
    assert held.income == sum(paid) and life.kinds.count("income") == 2
    assert held.cash == sum(paid) - held.fees


async def test_funding_from_before_the_run_is_not_ours():
    life = await holding()
    life.venue.paid.append(Income("i0", "funding", SYMBOL, Decimal(1), "USDT", 5))
    await life.account.incomes()
    assert "income" not in life.kinds
