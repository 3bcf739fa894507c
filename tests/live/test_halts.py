"""Halts of real orders: exits leave at once, stops stay with positions, nothing is sent unseen."""

import asyncio
from decimal import Decimal

import pytest

from research.campaigns.live_orders import chosen
from research.errors import UserError
from research.live import arms
from research.live.broker import terms
from research.live.desk import ACTIVE, HALTED
from research.live.net import Network
from research.orders import Intent, cid, events
from research.venues.keys import Keys
from research.venues.words import Order, Refused, Unreachable

from .test_broker import CALM, SYMBOL, UP, house, kinds, placed, until

STOPS = {"backtest.stop": "2 %"}


def noted(sitting, kind):
    return [body for body in kinds(sitting, "note") if body["kind"] == kind]


async def mismatched(exchange, sit, change):
    """Return a sitting that begins with a position that somebody has changed."""
    sitting = await sit()
    await sitting.close_bar(UP)
    await sitting.end()
    account = exchange.accounts["binance"]
    account.edit_position(SYMBOL, sitting.held + Decimal(change), Decimal(100))
    return await sit(), account


async def test_where_a_mismatch_leaves_the_position_its_stop_stays_and_a_person_hears(tmp_path):
    async with house(tmp_path, **STOPS) as (exchange, sit):
        sitting, account = await mismatched(exchange, sit, "1")
        (stop,) = account.open_orders()
        orders = len(placed(exchange))
        await until(lambda: noted(sitting, "not_flat"))
        assert [await sitting.close_bar(CALM) for _ in range(2)] == ["risk_halt"] * 2
        assert account.open_orders() == [stop] and sitting.desk.control == HALTED
        assert len(placed(exchange)) == orders
        await sitting.end()
        assert account.open_orders() == [stop]


async def test_what_a_person_accepts_has_a_stop_of_its_own_size(tmp_path):
    async with house(tmp_path, **STOPS) as (exchange, sit):
        sitting, account = await mismatched(exchange, sit, "-4")
        assert await sitting.broker.resume(accepting=True) == ""
        await sitting.ask(ACTIVE, "told to")
        await until(lambda: [s.quantity for s in account.open_orders()] == [sitting.held])
        await sitting.end()


async def test_nothing_is_sent_while_a_resume_still_compares(tmp_path):
    async with house(tmp_path) as (exchange, sit):
        sitting, _ = await mismatched(exchange, sit, "-4")
        orders, held = len(placed(exchange)), sitting.held
        asked, going = asyncio.Event(), asyncio.Event()
        open_orders = sitting.gateway.open_orders

        async def slow():
            asked.set()
            await going.wait()
            return await open_orders()

        sitting.gateway.open_orders = slow
        resuming = asyncio.create_task(sitting.broker.resume(accepting=False))
        await asked.wait()
        assert await sitting.close_bar(CALM) == "risk_halt"
        going.set()
        assert "not what our fills say" in await resuming
        assert (len(placed(exchange)), sitting.held) == (orders, held)
        assert sitting.broker.facts()["orders"]["mode"] == "stopped"
        await sitting.end()


async def test_a_resume_opens_the_account_with_the_desk_and_not_before(tmp_path):
    async with house(tmp_path) as (exchange, sit):
        sitting, _ = await mismatched(exchange, sit, "-4")
        orders = len(placed(exchange))
        assert await sitting.broker.resume(accepting=True) == ""
        assert await sitting.close_bar(CALM) in ("waiting", "risk_halt")  # the desk is halted yet
        assert len(placed(exchange)) == orders and sitting.held
        for spoils in (
            sitting.broker._account.stop,
            lambda why: sitting.broker.urgent(stopping=True),
        ):
            spoils("others traded meanwhile")
            await sitting.ask(ACTIVE, "told to")
            await until(lambda: sitting.desk.control == HALTED)
            assert sitting.broker.facts()["orders"]["mode"] == "stopped"
            assert await sitting.broker.resume(accepting=False) == ""
        async with sitting.runner._lock:  # a close is being decided
            asking = asyncio.create_task(sitting.ask(ACTIVE, "told to"))
            await asyncio.sleep(0)
            assert sitting.broker.facts()["orders"]["mode"] == "stopped"
        await asking
        assert sitting.broker.facts()["orders"]["mode"] == "active"
        await sitting.end()


async def doubtful(sitting):
    """Mean and send an order of which nobody ever hears."""
    account = sitting.broker._account
    name = cid(account.owner, SYMBOL, 1, "entry", 0)
    meant = Intent(
        Order(name, SYMBOL, "buy", "ioc", Decimal(1), Decimal(90)), "entry", 1, Decimal(1)
    )
    account.note(events.intent(meant, account.now()), events.send(name, account.now()))
    account.doubt(name, "no answer")
    return name


async def test_a_kill_waits_for_no_order_in_doubt(tmp_path):
    async with house(tmp_path) as (exchange, sit):
        sitting = await sit()
        await sitting.close_bar(UP)
        account, name = sitting.broker._account, await doubtful(sitting)
        asking = asyncio.Event()

        async def never(symbol, cid):
            asking.set()
            return await (asyncio.Event().wait() if cid == name else find(symbol, cid))

        find, sitting.gateway.find = sitting.gateway.find, never
        await sitting.ask(HALTED, "kill")
        await until(lambda: not sitting.held)
        await asking.wait()
        assert account.known(name).unknown and len(placed(exchange)) == 2
        await sitting.die()


async def test_a_kill_waits_for_no_question_that_is_under_way(tmp_path):
    async with house(tmp_path) as (_, sit):
        sitting = await sit()
        await sitting.close_bar(UP)
        sitting.broker._awake.clear()

        async def hangs(*args):
            await asyncio.Event().wait()

        sitting.broker._cleared = sitting.broker._heed = hangs  # whatever keeps it from looking
        await sitting.ask(HALTED, "kill")
        await until(lambda: not sitting.held)
        await sitting.die()


async def test_a_halted_run_that_was_killed_leaves_its_position_when_it_begins_again(tmp_path):
    async with house(tmp_path, **STOPS) as (exchange, sit):
        sitting = await sit()
        await sitting.close_bar(UP)

        async def hangs(symbol):
            await asyncio.Event().wait()

        sitting.gateway.ticker = hangs
        await sitting.ask(HALTED, "told to")
        await sitting.die()
        assert sitting.held and exchange.accounts["binance"].open_orders()
        sitting = await sit()  # and no bar closes
        await until(lambda: noted(sitting, "flat"))
        assert not sitting.held and not exchange.accounts["binance"].open_orders()
        assert kinds(sitting, "booked")[-1]["reason"] == "risk_halt"
        assert sitting.broker.facts()["orders"]["mode"] == "reducing"
        await sitting.end()


# -- a venue that refuses what it is asked ---------------------------------------------------------


async def no(*args):
    raise Refused("clock", "EAPI:Invalid nonce")


async def test_a_wrong_key_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(arms, "keys", lambda study: Keys("wrong", "wrong"))
    async with house(tmp_path) as (exchange, _), Network(exchange.port, exchange.ca) as network:
        with pytest.raises(UserError, match=r"binance:main: the venue refuses \(keys: ") as said:
            await terms.opened(chosen(), network, exchange.clock.now, 1.0, [SYMBOL])
        assert "\n" not in str(said.value) and "Nothing was sent" in str(said.value)


async def test_a_question_refused_during_a_resume_changes_nothing(tmp_path):
    async with house(tmp_path) as (_, sit):
        sitting = await sit()
        await sitting.ask(HALTED, "told to")
        await until(lambda: noted(sitting, "flat"))
        before = sitting.broker.facts()["orders"]
        positions, sitting.gateway.positions = sitting.gateway.positions, no
        assert "Invalid nonce" in await sitting.broker.resume(accepting=False)
        assert sitting.broker.facts()["orders"] == before
        sitting.gateway.positions = positions
        assert await sitting.broker.resume(accepting=False) == ""
        await sitting.end()


async def test_a_question_refused_at_the_end_keeps_nothing_from_ending(tmp_path):
    async with house(tmp_path, **STOPS) as (_, sit):
        sitting = await sit()
        await sitting.close_bar(UP)
        sitting.gateway.fills, closed = no, []
        close = sitting.gateway.close

        async def closing():
            closed.append(True)
            await close()

        sitting.gateway.close = closing
        await sitting.end()
        assert closed[:1] == [True]


@pytest.mark.parametrize("trouble", [Refused("clock", "nonce"), Unreachable("no answer")])
async def test_a_comparison_that_was_not_answered_is_tried_again_soon(tmp_path, trouble):
    async with house(tmp_path) as (_, sit):
        sitting = await sit()
        asked, positions = [], sitting.gateway.positions

        async def counted():
            asked.append(len(asked))
            if len(asked) == 1:
                raise trouble
            return await positions()

        sitting.gateway.positions = counted
        seen = []
        for _ in range(20):
            await sitting.close_bar(CALM)
            seen.append(len(asked))
        begun = seen.index(1)  # 15 minutes after the start; the next minute again, then not
        assert begun > 10 and set(seen[begun + 1 :]) == {2}
        await sitting.end()


# -- refusals of orders ----------------------------------------------------------------------------


async def test_a_take_that_is_refused_for_good_is_sent_once_for_a_position(tmp_path):
    async with house(tmp_path, **STOPS, **{"backtest.take": "5 %"}) as (exchange, sit):
        sitting = await sit()
        send, takes = sitting.gateway.send, []

        async def some(order):
            if order.kind == "take":
                takes.append(order.cid)
                raise Refused("price_out_of_band", "too far")
            return await send(order)

        sitting.gateway.send = some
        assert [await sitting.close_bar(told) for told in (UP, *[CALM] * 4)][1:] == ["hold"] * 4
        assert len(takes) == 1 and sitting.desk.control == ACTIVE
        assert [o.kind for o in exchange.accounts["binance"].open_orders()] == ["stop"]
        await sitting.close_bar(-UP)  # another position is asked for again
        assert len(takes) == 2
        await sitting.end()


async def test_whoever_resumes_begins_a_new_row_of_refusals(tmp_path):
    async with house(tmp_path) as (_, sit):
        sitting = await sit()

        async def none(order):
            raise Refused("no_funds", "margin is insufficient")

        sitting.gateway.send = none
        for mode in ("active", "active", "reducing"):
            await sitting.close_bar(UP)
            assert sitting.broker.facts()["orders"]["mode"] == mode
        assert await sitting.broker.resume(accepting=False) == ""
        await sitting.ask(ACTIVE, "told to")
        for mode in ("active", "active", "reducing"):
            await sitting.close_bar(UP)
            assert sitting.broker.facts()["orders"]["mode"] == mode
        await sitting.end()
