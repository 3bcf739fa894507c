"""Facts of orders that only a bad day shows: late words, silence, old doubts, and restarts."""

import asyncio
from decimal import Decimal

import pytest

from research.campaigns.orders.memory import Killed, MemoryVenue
from research.live.journal import JournalError
from research.orders import Intent, Patience, events, fold
from research.orders.life import Known, step
from research.venues.words import Income, Order, Position, Seen

from .life import START, SYMBOL, Life, Row
from .test_protect import protect

MINUTE = 60_000_000


@pytest.mark.parametrize("kind", ["intent", "send", "fill"])
async def test_what_could_not_be_written_is_not_known(kind):
    life = Life()

    def full(*events):
        if events[0][0] == kind:
            raise JournalError("the disk is full")
        life.write(*events)

    life.account._write = full
    with pytest.raises(JournalError):
        await life.send()
    assert life.book == fold(life.rows)


async def test_an_order_of_which_nobody_knows_is_found_before_it_is_cancelled():
    life = Life()
    with pytest.raises(Killed):
        await life.send(kind="limit", met="killed_after")
    again = life.again()
    (doubtful,) = again.book.unsettled()
    known = await again.sender.cancel(doubtful.order.cid)
    assert known.status == "cancelled" and not life.venue.open and again.lawful()


# -- what was held to be refused, or absent, and is there ----------------------------------------


async def test_a_refused_order_that_is_at_the_venue_stops_the_account():
    life = Life()
    known = await life.send(kind="limit", met="refused")
    told = (known.order.cid, "v9", SYMBOL, "buy", Decimal(1), Decimal(0), None, "open", START)
    life.account.told(known.order.cid, Seen(*told))
    assert life.account.mode == "stopped" and "held to be refused" in life.account.why


async def test_a_refused_order_that_was_filled_stops_the_account():
    life = Life()
    known = await life.send(met="refused")
    life.venue.tells_cids = True
    life.venue.accept(known.order)
    await life.account.refresh(SYMBOL)
    assert life.account.mode == "stopped" and "was filled" in life.account.why
    assert life.book.held(SYMBOL) == 1


async def test_an_order_that_arrives_after_it_was_asked_for_is_not_absent():
    """The venue's clock is read before the question: what arrives between the two is not lost."""
    life = Life(patience=Patience(pauses=(0.0,), least=0.0, settle=5.0))
    find = life.gateway.find

    async def slow(symbol, cid):
        found = await find(symbol, cid)
        life.venue.forward(2 * life.account.patience.window_us)
        return found

    life.gateway.find = slow
    known = await life.send(met="late")
    assert "absent" not in life.kinds and known.filled == 1 and life.lawful()


def test_of_two_doubts_the_later_proof_counts():
    order = Order("a", SYMBOL, "buy", "ioc", Decimal(1), Decimal(100))
    known = Known(order, "entry", START, START, sent=True)
    for proof in (9, 5):
        known = step(known, "unknown", {"proof": proof})
    assert known.proof == 9


# -- fills that are told late, or twice, or are none of ours -------------------------------------


async def test_a_trade_of_others_that_is_told_after_ours_is_seen():
    life = Life()
    life.venue.foreign(Decimal(1))
    life.venue.hidden["t0"] = 10**9
    life.venue.forward(10_000_000)
    await life.send()
    life.venue.hidden["t0"] = 0
    await life.account.refresh(SYMBOL)
    assert life.book.foreign == {SYMBOL: 1} and life.account.mode == "stopped"


async def test_a_fill_of_a_resting_order_is_found_however_late_it_is_told():
    life = Life()
    await life.send(kind="limit")
    life.venue.fill(life.venue.open[0], Decimal("0.25"))
    life.venue.hidden["t0"] = 10**9
    life.venue.forward(10 * MINUTE)
    await life.send()
    life.venue.hidden["t0"] = 0
    await life.account.refresh(SYMBOL)
    assert life.book.held(SYMBOL) == life.venue.position == Decimal("1.25")


async def test_trades_from_before_the_run_are_none_of_its_business():
    venue = MemoryVenue(time=START - MINUTE // 2)
    venue.foreign(Decimal(1))
    venue.forward(MINUTE)
    life = Life(venue)
    assert await life.account.refresh(SYMBOL) == []
    assert not life.rows and life.account.mode == "active"


async def test_a_fill_whose_fee_must_be_asked_for_is_booked_once_by_two_at_once():
    life = Life()
    await life.send(kind="limit")
    life.venue.fill(life.venue.open[0], Decimal("0.5"))
    charged = life.account._charges.of

    async def slow(fill):
        await asyncio.sleep(0)
        return await charged(fill)

    life.account._charges.of = slow
    await asyncio.gather(*(life.account.refresh(SYMBOL) for _ in range(4)))
    assert life.kinds.count("fill") == 1


async def test_funding_that_is_told_late_is_booked():
    life = Life()
    for name, at in (("b", 20_000_000), ("a", 10_000_000)):
        paid = Income(name, "funding", SYMBOL, Decimal(-1), "USDT", START + at)
        life.venue.paid.append(paid)
        await life.account.incomes()
    assert life.book.incomes == {"a", "b"} and life.book.holding(SYMBOL).income == -2


# -- silence --------------------------------------------------------------------------------------


async def test_silence_does_not_mean_that_an_acknowledged_order_is_gone():
    life = Life()
    life.venue.during = lambda: _deafen(life.venue)
    known = await life.send(met="plain_ack")
    assert known.settled and known.filled == 1 and life.account.mode == "active"


async def _deafen(venue):
    venue.deaf = 40  # longer than an order is looked for where the venue says that it has none


# -- what rests -----------------------------------------------------------------------------------


async def test_what_is_left_of_an_order_is_of_what_the_venue_took():
    life = Life()
    known = await life.send(quantity="0.500", kind="limit", met="changed")
    assert known.left == Decimal("0.499")


async def test_a_stop_that_was_filled_in_part_protects_what_is_left():
    life = Life()
    await life.send()
    await protect(life, 90, None)
    life.venue.fill(life.venue.open[0], Decimal("0.4"))
    await life.account.watch()
    sent = life.kinds.count("send")
    await protect(life, 90, None)
    assert life.book.held(SYMBOL) == Decimal("0.6") and life.kinds.count("send") == sent


def test_a_stop_protects_its_own_symbol_alone():
    rows = []
    for name, symbol in (("a", "BTCUSDT"), ("b", "ETHUSDT")):
        order = Order(name, symbol, "sell", "stop", Decimal(1), None, Decimal(90), True)
        said = events.intent(Intent(order, "stop", START, Decimal(100)), START)
        rows += [Row(*said), Row(*events.send(name, START))]
    assert [known.order.cid for known in fold(rows).protection("BTCUSDT", "stop")] == ["a"]


async def test_no_second_stop_while_nobody_knows_of_the_first():
    life = Life()
    await life.send()
    life.venue.sends.append("killed_after")
    with pytest.raises(Killed):
        await protect(life, 90, None)
    life.venue.forward(4 * 24 * 60 * MINUTE)  # the venue's not knowing it would prove nothing
    again = life.again()
    assert await protect(again, 95, None) == []
    assert [placed.order.trigger for placed in life.venue.open] == [90]


# -- the end, and the next beginning --------------------------------------------------------------


async def test_the_end_books_what_rested_and_was_filled():
    life = Life()
    await life.send(kind="limit")
    life.venue.fill(life.venue.open[0], Decimal(1))
    await life.sender.settle()
    assert life.book.held(SYMBOL) == 1 and not life.book.unsettled()


async def test_a_position_that_the_run_does_not_trade_halts_it_all_the_same():
    life = Life()
    held = life.gateway.positions

    async def more():
        return await held() | {"ETHUSDT": Position("ETHUSDT", Decimal(3), None)}

    life.gateway.positions = more
    report = await life.reconcile()
    assert report.halted and [each.symbol for each in report.differences] == ["ETHUSDT"]


async def test_an_open_order_is_ours_by_the_venues_id_where_it_names_no_other():
    life = Life()
    await life.send(kind="limit")
    told = life.gateway.open_orders

    async def nameless():
        return [seen._replace(cid="") for seen in await told()]

    life.gateway.open_orders = nameless
    report = await life.reconcile()
    assert not report.halted and report.foreign == ()
