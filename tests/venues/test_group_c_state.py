"""Group C, what is held: C13-C18."""

import asyncio
from decimal import Decimal
from itertools import product

import pytest

from research.orders import Intent, accept, reconcile
from research.venues.words import Refused, Settings

from .scene import FUTURES, MINUTE, VENUES, scene

venues = pytest.mark.parametrize("venue", VENUES)
DAY = 1440 * MINUTE
FOREIGN = {
    "binance": ("web_1", "adl_autoclose", "autoclose-1", "settlement_autoclose-1"),
    "bybit": ("web_1", "adl_autoclose", "autoclose-1"),
    "kraken": ("web_1",),
}


@pytest.mark.parametrize(("venue", "who"), [(v, w) for v, them in FOREIGN.items() for w in them])
async def test_c13_what_others_trade_in_the_account_is_booked_and_stops_the_run(
    venue, who, tmp_path
):
    """By hand, by liquidation, by deleveraging, by a delisting: none of it is ours."""
    async with scene(venue, tmp_path) as s:
        await s.send(quantity=3)
        mine = s.book.held(s.symbol)
        s.foreign.add(who)
        s.account.inject_foreign(s.symbol, "sell", Decimal(1), cid=who)
        await s.run.refresh(s.symbol)
        assert s.run.mode == "stopped" and s.symbol in s.run.why
        assert s.book.held(s.symbol) == mine, "others' trades are not ours"
        assert s.book.foreign[s.symbol] == -1
        with pytest.raises(Refused, match="not_trading"):
            await s.send(quantity=1)
        report = await reconcile(s.run, [s.symbol])
        assert report.halted and "What to do" in report.text("run")
        await s.judge()
        assert accept(s.run, report) == 1 and accept(s.run, report) == 0
        await s.restart()
        assert not (await reconcile(s.run, [s.symbol])).halted
        assert (await s.send(side="sell", quantity=1, part="0.98")).filled == 1


SIGNS = (-1, 0, 1)


@venues
async def test_c14_a_position_that_no_fill_explains_halts_and_names_both_numbers(venue, tmp_path):
    """All pairs of what we hold and what the venue says; where they agree, nothing is written."""
    signs = SIGNS if venue in FUTURES else (0, 1)
    async with scene(venue, tmp_path) as s:
        s.edited = True
        for ours, theirs in product(signs, signs):
            await _hold(s, ours)
            s.account.edit_position(s.symbol, _there(s, theirs), entry=Decimal(90))
            report = await reconcile(s.run, [s.symbol])
            assert report.halted == (ours != theirs), (ours, theirs)
            assert (s.run.mode == "stopped") == report.halted
            if report.halted:
                (found,) = report.differences
                assert (found.ours, found.venue) == (ours, theirs)
                assert str(theirs) in report.text("run")
                with pytest.raises(Refused, match="not_trading"):
                    await s.send(quantity=1)
                accept(s.run, report)
            assert s.book.held(s.symbol) == theirs
            written = len(s.events())
            assert not (await reconcile(s.run, [s.symbol])).halted
            assert len(s.events("fill", "adjustment")) <= written
        await s.judge()


async def _hold(s, wanted):
    """Trade until we hold so much, and the venue agrees; at a spot venue fees are put back."""
    missing = wanted - s.book.held(s.symbol)
    s.account.edit_position(s.symbol, _there(s, s.book.held(s.symbol)))
    if missing:
        side, part = ("buy", "1.02") if missing > 0 else ("sell", "0.98")
        await s.send(side=side, quantity=abs(missing), part=part)
    assert s.book.held(s.symbol) == wanted


def _there(s, held):
    """Return what the venue's ledger says where so much of it is ours."""
    if not s.rules.spot:
        return Decimal(held)
    return s.start.get(s.rules.base, Decimal(0)) + held


@venues
async def test_c14_what_our_own_orders_did_while_nobody_watched_is_booked(venue, tmp_path):
    """A resting order that was filled, and one that the venue cancelled: nothing halts."""
    async with scene(venue, tmp_path) as s:
        filled, cut = await s.rest(quantity=2), await s.rest(quantity=1)
        await s.close()
        there = {cid: s.account.get(cid=cid) for cid in s.book.orders}
        s.account.fill_now(there[filled.order.cid])
        s.account.cancel(there[cut.order.cid])
        await s.open()
        report = await reconcile(s.run, [s.symbol])
        assert not report.halted and s.run.mode == "active"
        assert s.run.known(filled.order.cid).filled == 2
        assert s.run.known(cut.order.cid).status == "cancelled"
        await s.judge()


RESTARTS = 4


@venues
async def test_c15_a_warm_restart_with_an_open_position_adds_nothing(venue, tmp_path):
    await restarts(venue, tmp_path, RESTARTS)


async def restarts(venue, tmp_path, count):
    """Restart so often with a position and a resting order; return the events that were added."""
    async with scene(venue, tmp_path) as s:
        await s.send(quantity=3)
        await s.rest(quantity=1)
        await reconcile(s.run, [s.symbol])
        held, written = s.held(), len(s.events())
        for number in range(count):
            await s.restart()
            report = await reconcile(s.run, [s.symbol])
            assert not report.halted and s.held() == held == s.book.held(s.symbol)
            assert len(s.events()) == written, f"restart {number} added {s.events()[written:]}"
        assert len(s.signed()) == 2
        await s.judge()
        return len(s.events()) - written


async def _unanswered(s, days):
    """Send an order that never arrives, and look for it so many days later."""
    s.exchange.strike("hold_before_accept", seconds=0.1)
    sending = asyncio.create_task(s.send(quantity=2))
    while not s.events("send"):
        await asyncio.sleep(0.01)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await s.close()
    await s.play(days)
    await s.open()


@pytest.mark.parametrize(("venue", "days"), [("binance", 4), ("bybit", 2), ("kraken", 91)])
async def test_c16_an_order_older_than_the_venue_remembers_halts_with_what_to_do(
    venue, days, tmp_path
):
    """Sent, unanswered, and nobody looked for long: that it is not found proves nothing."""
    async with scene(venue, tmp_path, interval=DAY, bars=days + 10) as s:
        await _unanswered(s, days)
        report = await reconcile(s.run, [s.symbol])
        (known,) = report.doubtful
        assert known.unknown and report.halted and s.run.mode == "stopped"
        said = report.text("run-7")
        assert known.order.cid in said and "resume run-7 --accept-venue" in said
        accept(s.run, report)
        assert s.run.mode == "active" and not s.run.known(known.order.cid).unknown
        await s.restart()
        assert not (await reconcile(s.run, [s.symbol])).halted
        await s.judge()


async def test_c16_what_the_venue_still_remembers_it_can_deny(tmp_path):
    """Kraken keeps closed orders: one that it does not know after four days never came."""
    async with scene("kraken", tmp_path, interval=DAY, bars=15) as s:
        await _unanswered(s, 4)
        async with s.passing():
            report = await reconcile(s.run, [s.symbol])
        assert not report.halted and s.run.mode == "active"
        assert [known.answer for known in s.book.orders.values()] == ["absent"]
        await s.judge()


@venues
async def test_c16_trades_that_the_venue_has_forgotten_are_not_made_up(venue, tmp_path):
    async with scene(venue, tmp_path) as s:
        known = await s.rest(quantity=2)
        await s.close()
        s.account.fill_now(s.account.get(cid=known.order.cid))
        assert s.account.prune_history() > 0
        await s.open()
        report = await reconcile(s.run, [s.symbol])
        assert report.halted and s.run.mode == "stopped"
        assert s.book.held(s.symbol) == 0 and s.events("fill") == []
        accept(s.run, report)
        assert s.book.held(s.symbol) == s.held()
        s.edited = True
        await s.judge()


@venues
async def test_c17_an_id_that_was_used_is_never_sent_again_though_the_venue_might_take_it(
    venue, tmp_path
):
    """Binance and Kraken keep ids unique among open orders alone: after a fill it would double."""
    async with scene(venue, tmp_path) as s:
        known = await s.send(quantity=2)
        again = Intent(known.order, "entry", s.since, s.price)
        assert await s.sender.send(again) == known
        await s.restart()
        assert (await s.sender.send(again)).filled == 2
        assert len(s.signed()) == 1 and s.account.history.reused == 0
        await s.judge()
        if venue == "binance":
            await s.gateway.send(known.order)
            assert s.account.history.reused == 1, "the venue would have taken it"


@pytest.mark.parametrize("venue", FUTURES)
@pytest.mark.parametrize("differs", ["hedged", "leverage", "margin"])
async def test_c18_an_account_that_trades_otherwise_than_wanted_is_seen_and_set(
    venue, differs, tmp_path
):
    """What is wrong is read, set, and read back: whoever starts a run compares before it trades."""
    wanted = Settings(leverage=2, margin="isolated", hedged=False)
    async with scene(venue, tmp_path) as s:
        assert await s.gateway.set(s.symbol, wanted) == wanted
        if differs == "hedged":
            s.account.hedged = True
        elif differs == "leverage":
            s.account.leverage[s.symbol] = 20
        else:
            s.account.margin.clear()
        found = await s.gateway.settings(s.symbol)
        assert getattr(found, differs) != getattr(wanted, differs)
        assert found._replace(**{differs: getattr(wanted, differs)}) == wanted
        assert await s.gateway.set(s.symbol, wanted) == wanted
        await s.judge()


@pytest.mark.parametrize("venue", FUTURES)
async def test_c18_an_order_in_a_hedged_account_is_refused_and_not_tried_again(venue, tmp_path):
    async with scene(venue, tmp_path) as s:
        s.account.hedged = True
        known = await s.send(quantity=2)
        assert (known.answer, known.reason) == ("refused", "mode") and len(s.signed()) == 1
        await s.judge()
