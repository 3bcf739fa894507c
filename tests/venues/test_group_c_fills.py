"""Group C, fills: C05-C10, C12 and C19."""

import asyncio
from decimal import Decimal
from itertools import permutations
from random import Random

import pytest

from research.live.journal import Event
from research.orders import fold
from research.venues.words import Refused

from .scene import FUTURES, VENUES, scene

venues = pytest.mark.parametrize("venue", VENUES)


@venues
async def test_c05_whoever_asks_at_the_same_time_a_fill_is_booked_once(venue, tmp_path):
    """The order's own question, the watch and a refresh all meet the same fills."""
    async with scene(venue, tmp_path) as s:
        s.exchange.strike("hold_after_accept", seconds=0.1)
        sending = asyncio.create_task(s.send(quantity=3))
        while not s.signed():
            await asyncio.sleep(0.005)
        while not sending.done():
            await asyncio.gather(s.run.watch(), s.run.refresh(s.symbol), s.run.refresh(s.symbol))
        assert (await sending).filled == 3
        await s.judge()


@venues
async def test_c06_what_is_told_again_and_again_is_known_once(venue, tmp_path):
    async with scene(venue, tmp_path) as s:
        s.exchange.strike("duplicate_fill", times=3)
        known = await s.send(quantity=3)
        assert known.filled == known.told == 3 and known.settled
        written = len(s.events())
        for _ in range(3):
            await s.run.look(known.order.cid)
            await s.run.watch()
        assert len(s.events()) == written, "what was known was written again"
        await s.judge()


@venues
async def test_c07_fills_that_come_before_the_acknowledgement_lead_to_the_same_state(
    venue, tmp_path
):
    """Live, and then in every order in which the journal's events could have come."""
    async with scene(venue, tmp_path) as s:
        s.exchange.strike("fill_before_ack", seconds=1.0)
        sending = asyncio.create_task(s.send(quantity=2))
        while not s.account.history.trades(s.account.moment):
            await asyncio.sleep(0.005)
        await s.run.watch()
        (known,) = s.book.orders.values()
        if venue == "bybit":  # its fills name the client's id: others may yet be somebody else's
            assert known.filled == 2 and known.answer == "accepted"
        assert s.run.mode == "active" and not s.book.foreign
        assert (await sending).settled and s.book.held(s.symbol) == 2
        _same_in_any_order(s)
        await s.judge()


def _same_in_any_order(s, most=200):
    """Fold the events of the scene in other orders: nothing but the intent must be first."""
    told = [Event(*event) for event in s.events()]
    meant = [event for event in told if event.kind == "intent"]
    rest = [event for event in told if event.kind != "intent"]
    orders = list(permutations(rest)) if len(rest) < 6 else _shuffled(rest, most)
    for mixed in orders:
        book = fold([*meant, *mixed])
        assert (book.orders, book.fills.keys()) == (s.book.orders, s.book.fills.keys())
        ours, theirs = book.holding(s.symbol), s.book.holding(s.symbol)
        assert (ours.quantity, ours.cash - ours.cost) == (
            theirs.quantity,
            theirs.cash - theirs.cost,
        )


def _shuffled(rest, most):
    draw = Random(5)
    return [draw.sample(rest, len(rest)) for _ in range(most)]


@venues
async def test_c08_the_order_in_which_fills_come_does_not_matter(venue, tmp_path):
    async with scene(venue, tmp_path) as s:
        await s.send(quantity=50)
        await s.send(quantity=30, side="sell", part="0.98", leg="exit")
        await s.play()
        await s.send(quantity=5)
        assert len(s.events("fill")) >= 3
        _same_in_any_order(s)
        await s.judge()


@venues
@pytest.mark.parametrize("then", ["expire", "cancel"])
async def test_c09_what_is_filled_of_a_cut_order_is_held_and_the_rest_is_free_again(
    venue, then, tmp_path
):
    async with scene(venue, tmp_path) as s:
        s.exchange.strike("partial", share=0.25, then=then)
        known = await s.send(quantity=4)
        assert (known.filled, known.left, known.settled) == (1, 0, True)
        assert known.status in ("cancelled", "expired")
        assert s.account.open_orders() == []
        await s.judge()


@venues
async def test_c09_the_rest_that_fills_later_is_booked_later(venue, tmp_path):
    async with scene(venue, tmp_path) as s:
        s.exchange.strike("partial", share=0.25, then="rest", us=20_000_000)
        known = await s.send(kind="limit", part="1.01", quantity=4)
        await s.run.watch()
        known = s.run.known(known.order.cid)
        assert (known.filled, known.left, known.over) == (1, 3, False)
        await s.play()
        await s.run.watch()
        assert s.run.known(known.order.cid).settled
        await s.judge()


@venues
async def test_c10_a_cancellation_that_comes_too_late_finds_the_fill(venue, tmp_path):
    """Whether the venue says that there is no such order, or nothing: it is asked, and booked."""
    async with scene(venue, tmp_path) as s:
        for number in range(4):
            known = await s.rest(quantity=1)
            s.exchange.strike("cancel_race")
            if number == 3:
                s.exchange.strike("ack_rst", on="cancel")
            known = await s.sender.cancel(known.order.cid)
            assert (known.status, known.filled, known.settled) == ("filled", 1, True)
        plain = await s.rest(quantity=1)
        plain = await s.sender.cancel(plain.order.cid)
        assert (plain.status, plain.filled, plain.settled) == ("cancelled", 0, True)
        assert s.book.held(s.symbol) == s.held() > 3.9
        await s.judge()


@venues
async def test_c12_the_quantity_that_the_venue_took_counts_and_not_what_was_sent(venue, tmp_path):
    async with scene(venue, tmp_path) as s:
        s.exchange.strike("changed", factor=0.5)
        known = await s.send(quantity=4)
        assert (known.size, known.filled, known.left, known.settled) == (2, 2, 0, True)
        told = [e.body["changed"] for e in s.events("ack", "done") if "changed" in e.body]
        assert told and list(map(Decimal, told[-1]["quantity"])) == [4, 2]
        await s.judge()


@venues
async def test_c12_a_price_beyond_the_one_that_was_sent_is_booked_and_noted(venue, tmp_path):
    """The order would not have traded; the venue made its limit a whole unit higher."""
    async with scene(venue, tmp_path) as s:
        s.exchange.strike("changed", ticks=100)
        order = s.order(part="0.999", quantity=2)
        known = await s.send(order)
        assert known.filled == 2 and known.average > order.price
        told = [e.body["changed"] for e in s.events("ack", "done") if "changed" in e.body]
        assert told and Decimal(told[-1]["price"][1]) > Decimal(told[-1]["price"][0])
        await s.judge()


async def test_c19_a_fee_in_another_coin_is_exact_in_that_coin_and_an_estimate_in_ours(tmp_path):
    """Binance takes fees in BNB: 0.01 BNB is 1 USDT at the price of now."""
    paid = {
        "fee_coin": ("BNB", Decimal(100)),
        "funds": {"USDT": Decimal(10_000), "BNB": Decimal(9)},
    }
    async with scene("binance", tmp_path, symbols=("AAA", "BNB"), **paid) as s:
        await s.send(quantity=10)
        held = s.book.holding(s.symbol)
        spent = Decimal(9) - s.account.ledger.coins["BNB"]
        assert s.book.coins["BNB"] == -spent < 0
        assert held.estimated == held.fees and held.fees == pytest.approx(
            spent * s.account.price("BNBUSDT"), rel=Decimal("0.001")
        )
        await s.judge()


@venues
async def test_c19_a_fee_that_is_not_told_is_the_accounts_rate(venue, tmp_path):
    """As the venue charged it, to its last digit but the rounding of the ledger."""
    async with scene(venue, tmp_path) as s:
        asked = s.gateway.fills

        async def silent(symbol, since):
            return [one._replace(fee=None, coin="") for one in await asked(symbol, since)]

        s.gateway.fills = silent
        await s.send(quantity=10)
        held = s.book.holding(s.symbol)
        charged = sum(t.fee for t in s.account.history.trades(s.account.moment))
        assert held.estimated == held.fees
        assert abs(held.fees - charged) < Decimal("1e-8") * len(s.events("fill"))
        s.edited = True  # what was paid cannot be told from the journal
        await s.judge()


@pytest.mark.parametrize("venue", FUTURES)
async def test_c19_funding_is_booked_once_and_profit_is_the_venues_own(venue, tmp_path):
    """Realised, fees and funding agree with the venue's income to 1e-8, after a round trip."""
    async with scene(venue, tmp_path) as s:
        await s.send(quantity=10)
        await s.play(8)
        await s.run.incomes()
        await s.run.incomes()
        await s.send(side="sell", quantity=10, part="0.98", leg="exit")
        held, income = s.book.holding(s.symbol), s.account.history.income
        assert len(s.events("income")) == 1 and held.income < 0 and held.quantity == 0
        by_kind = {
            k: sum(i.amount for i in income if i.kind == k) for k in ("funding", "realised", "fee")
        }
        assert held.income == by_kind["funding"] and held.fees == -by_kind["fee"]
        assert abs(held.realised - by_kind["realised"]) < Decimal("1e-8")
        assert abs(held.cash - sum(by_kind.values())) < Decimal("1e-8")
        await s.judge()


@venues
async def test_a_refused_cancellation_leaves_the_order_and_says_nothing_false(venue, tmp_path):
    """C10's other side: the venue is silent about a cancellation that never arrived."""
    async with scene(venue, tmp_path) as s:
        known = await s.rest(quantity=1)
        s.exchange.strike("hold_before_accept", seconds=0.1, on="cancel")
        known = await s.sender.cancel(known.order.cid)
        assert (known.status, known.filled) == ("cancelled", 0)
        with pytest.raises(Refused):
            s.gateway.fit(s.order(quantity="0.0000001"), s.price)
        await s.judge()
