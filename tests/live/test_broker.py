"""The broker between a live desk and a simulated exchange, over real sockets and real ccxt."""

import asyncio
import contextlib
from decimal import ROUND_CEILING, Decimal

import pytest

from research.campaigns.live_orders import MINUTE, START, SYMBOL, Sitting, bars, chosen
from research.errors import UserError
from research.live import folders, journal, names, state
from research.live.broker import REPORT, terms
from research.live.desk import ACTIVE, HALTED, REDUCING
from research.sim.exchange import Exchange
from research.venues.words import Unreachable

UP, DOWN, CALM = 0.02, -0.02, 0.0


@contextlib.asynccontextmanager
async def house(tmp_path, seed=1, **more):
    """An exchange that outlives sittings, and a maker of sittings of one run."""
    folder = tmp_path / "run"
    (folder / "commands").mkdir(parents=True)
    start = int(START.timestamp()) * 1_000_000 + 30 * MINUTE
    settings, table = chosen(more.pop("venue", "binance"), **more), bars(120, seed)
    named = names.of(settings, [SYMBOL])
    async with Exchange(table, start=start, names=named) as exchange:
        exchange.clock.join("test")

        async def sit():
            sitting = Sitting(exchange, table, folder, settings)
            await sitting.begin()
            return sitting

        yield exchange, sit


def kinds(sitting, *wanted):
    return [e.body for e in journal.read(sitting.folder, kinds=wanted)]


def placed(exchange):
    return [r for r in exchange.log if r["kind"] == "signed" and r["does"] == "place"]


async def test_entry_hold_and_exit_are_orders_and_their_fills_are_booked(tmp_path):
    async with house(tmp_path) as (exchange, sit):
        sitting = await sit()
        assert not placed(exchange)
        assert await sitting.close_bar(UP) == "entry"
        held = sitting.held
        assert held > 0 and sitting.desk.positions[SYMBOL] == float(held)
        assert await sitting.close_bar(CALM) == "hold"
        assert await sitting.close_bar(DOWN) == "reversal"  # leaves, and enters the other side
        assert sitting.held < 0 and sitting.desk.positions[SYMBOL] == float(sitting.held)
        trade = kinds(sitting, "booked")
        assert [b["reason"] for b in trade] == ["entry", "reversal", "reversal"]
        assert all(b["price"] != b["reference"] and b["fee"] > 0 for b in trade)
        assert len(placed(exchange)) == 3
        # the money: cash of the desk is what the exchange says, to a hundredth
        exchange_cash = exchange.accounts["binance"].balances()["USDT"][0]
        worth = sum(b["quantity"] * b["price"] + b["fee"] for b in trade)
        assert sitting.desk.cash == pytest.approx(1000 - worth)
        realised = 1000 - worth + float(sitting.held) * trade[-1]["price"]
        assert float(exchange_cash) == pytest.approx(10_000 + realised - 1000, abs=0.01)
        await sitting.end()
        known = state.fold(journal.read(sitting.folder)).desk
        assert known.snapshot() == sitting.desk.snapshot()


async def test_restarts_with_a_position_add_nothing(tmp_path):
    async with house(tmp_path, **{"backtest.stop": "2 %"}) as (exchange, sit):
        sitting = await sit()
        await sitting.close_bar(UP)
        await sitting.end()
        before, orders = sitting.journal.seq, len(placed(exchange))
        for k in range(4):
            sitting = await sit()
            assert sitting.desk.positions[SYMBOL] == float(sitting.held) > 0
            await (sitting.die() if k % 2 else sitting.end())
        assert (sitting.journal.seq, len(placed(exchange))) == (before, orders)


@pytest.mark.parametrize("fault", ["hold_after_accept", "accept_then_503"])
async def test_killed_while_an_order_is_at_the_venue_it_is_found_and_booked_once(tmp_path, fault):
    async with house(tmp_path) as (exchange, sit):
        sitting = await sit()
        exchange.strike(fault, us=30_000_000)
        closing = asyncio.create_task(sitting.close_bar(UP))
        for _ in range(200):
            await asyncio.sleep(0.01)
            if placed(exchange):
                break
        await sitting.die()
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        sitting = await sit()
        assert sitting.held > 0 and sitting.desk.positions[SYMBOL] == float(sitting.held)
        assert len(placed(exchange)) == 1 and len(kinds(sitting, "booked")) == 1
        assert kinds(sitting, "booked")[0]["reason"] == "entry"
        assert await sitting.close_bar(CALM) == "hold"
        await sitting.end()


async def test_a_halt_cancels_leaves_verifies_and_latches(tmp_path):
    async with house(tmp_path, **{"backtest.stop": "2 %"}) as (exchange, sit):
        sitting = await sit()
        await sitting.close_bar(UP)
        assert exchange.accounts["binance"].open_orders()
        await sitting.ask(HALTED, "told to")
        for _ in range(300):
            await asyncio.sleep(0.01)
            if any(b["kind"] == "flat" for b in kinds(sitting, "note")):
                break
        assert (sitting.held, sitting.desk.positions[SYMBOL]) == (0, 0.0)
        assert not exchange.accounts["binance"].open_orders()
        assert kinds(sitting, "booked")[-1]["reason"] == "risk_halt"
        orders = len(placed(exchange))
        assert [await sitting.close_bar(UP) for _ in range(2)] == ["risk_halt"] * 2
        assert len(placed(exchange)) == orders
        assert await sitting.broker.resume(accepting=False) == ""
        await sitting.ask(ACTIVE, "told to")
        assert await sitting.close_bar(UP) == "entry" and sitting.held > 0
        await sitting.end()


async def until(true, seconds=60.0):
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("who", ["person", "guard"])
async def test_whoever_halts_what_rests_is_taken_back_and_nothing_is_held(tmp_path, who):
    async with house(tmp_path, **{"backtest.stop": "2 %"}) as (exchange, sit):
        sitting = await sit()
        await sitting.close_bar(UP)
        orders = len(placed(exchange))
        if who == "person":
            await sitting.ask(HALTED, "told to")
        else:
            folders.kill(sitting.folder)  # nobody looks for it between two closes here
            await sitting.close_bar(UP)
        await until(lambda: any(b["kind"] == "flat" for b in kinds(sitting, "note")))
        assert (sitting.held, sitting.desk.positions[SYMBOL]) == (0, 0.0)
        assert not exchange.accounts["binance"].open_orders()
        assert [b["by"] for b in kinds(sitting, "control")] == [
            "command" if who == "person" else "guard"
        ]
        assert sitting.broker.facts()["orders"]["mode"] == "reducing"
        assert len(placed(exchange)) == orders + 1  # the one that leaves
        assert await sitting.close_bar(UP) == "risk_halt" and len(placed(exchange)) == orders + 1
        await sitting.end()


async def test_a_halt_that_the_venue_did_not_hear_is_tried_again(tmp_path, monkeypatch):
    async with house(tmp_path, **{"backtest.stop": "2 %"}) as (exchange, sit):
        sitting = await sit()
        await sitting.close_bar(UP)
        cancelled, silent = sitting.broker._sender.cancel_all, [True]

        async def at_first_silent(**how):
            if silent:
                silent.pop()
                raise Unreachable("no answer")
            await cancelled(**how)

        monkeypatch.setattr(sitting.broker._sender, "cancel_all", at_first_silent)
        await sitting.ask(HALTED, "told to")
        await until(lambda: any(kind == "venue_silent" for kind, _ in sitting.said))
        await sitting.close_bar(UP)
        await until(lambda: any(b["kind"] == "flat" for b in kinds(sitting, "note")))
        assert sitting.held == 0 and not exchange.accounts["binance"].open_orders()
        await sitting.end()


async def test_who_only_reduces_keeps_the_stops_of_what_is_held(tmp_path):
    async with house(tmp_path, **{"backtest.stop": "2 %"}) as (exchange, sit):
        sitting = await sit()
        await sitting.close_bar(UP)
        (stop,) = exchange.accounts["binance"].open_orders()
        await sitting.ask(REDUCING, "told to")
        await until(lambda: not sitting.broker._urgent)
        assert await sitting.close_bar(UP) == "hold"
        assert exchange.accounts["binance"].open_orders() == [stop] and sitting.held > 0
        await sitting.end()


async def test_a_stop_that_somebody_took_away_is_laid_again_at_the_next_close(tmp_path):
    async with house(tmp_path, **{"backtest.stop": "2 %"}) as (exchange, sit):
        sitting = await sit()
        await sitting.close_bar(UP)
        account = exchange.accounts["binance"]
        (stop,) = account.open_orders()
        account.cancel(stop)
        await sitting.close_bar(CALM)
        (again,) = account.open_orders()
        assert (again.trigger, again.quantity) == (stop.trigger, stop.quantity)
        assert again.cid != stop.cid
        await sitting.close_bar(CALM)
        assert account.open_orders() == [again]
        await sitting.end()


async def test_a_spot_position_with_a_stop_takes_its_profit_at_a_close(tmp_path):
    levels = {"backtest.stop": "2 %", "backtest.take": "0.08 %"}
    async with house(tmp_path, 6, venue="kraken", **levels) as (exchange, sit):
        sitting = await sit()
        await sitting.close_bar(UP)
        kinds_resting = [order.kind for order in exchange.accounts["kraken"].open_orders()]
        assert kinds_resting == ["stop"]  # the coins are spoken for: no take beside it
        entry = kinds(sitting, "booked")[0]["price"]
        closes, reasons = [], []
        while sitting.held and len(reasons) < 80:
            reasons.append(await sitting.close_bar(CALM))
            closes.append(sitting.desk.mark(SYMBOL))
        beyond = [close >= entry * 1.0008 for close in closes]
        assert beyond == [False] * (len(closes) - 1) + [True]
        left = kinds(sitting, "booked")[-1]
        assert (left["reason"], left["leg"], sitting.held) == ("take", "take", 0)
        assert await sitting.close_bar(CALM) == "take"
        assert not exchange.accounts["kraken"].open_orders()
        await sitting.end()


async def test_a_mismatch_halts_with_a_report_until_a_person_accepts_it(tmp_path):
    async with house(tmp_path) as (exchange, sit):
        sitting = await sit()
        await sitting.close_bar(UP)
        await sitting.end()
        orders = len(placed(exchange))
        exchange.accounts["binance"].edit_position(SYMBOL, Decimal("3.5"), Decimal(100))
        sitting = await sit()
        assert sitting.desk.control == HALTED
        said = (sitting.folder / REPORT).read_text()
        assert "HALTED" in said and "the venue 3.5" in said and "--accept-venue" in said
        assert await sitting.close_bar(DOWN) in ("waiting", "risk_halt")
        assert len(placed(exchange)) == orders and sitting.held == Decimal("3.5")
        assert "not what our fills say" in await sitting.broker.resume(accepting=False)
        assert await sitting.broker.resume(accepting=True) == ""
        assert sitting.desk.positions[SYMBOL] == 3.5 and not (sitting.folder / REPORT).exists()
        await sitting.ask(ACTIVE, "told to")
        assert await sitting.close_bar(DOWN) in ("reversal", "risk_halt")
        assert sitting.held <= 0
        await sitting.end()
        assert state.fold(journal.read(sitting.folder)).desk.positions == sitting.desk.positions


async def test_a_stop_rests_at_the_venue_and_the_next_close_says_so(tmp_path):
    async with house(tmp_path, **{"backtest.stop": "0.05 %"}) as (_, sit):
        sitting = await sit()
        await sitting.close_bar(UP)
        reasons = []
        while sitting.held and len(reasons) < 80:
            reasons.append(await sitting.close_bar(CALM))
        reasons.append(await sitting.close_bar(CALM))
        assert "stop" in reasons and set(reasons) <= {"hold", "stop", "no_edge"}
        stopped = next(b for b in kinds(sitting, "booked") if b["leg"] == "stop")
        entry = kinds(sitting, "booked")[0]["price"]
        assert stopped["reason"] == "stop"
        # a sale's trigger is rounded up to the tick
        due = Decimal(str(entry)) * Decimal("0.9995")
        assert stopped["reference"] == float(due.quantize(Decimal("0.01"), ROUND_CEILING))
        await sitting.end()


async def test_an_account_in_another_mode_is_set(tmp_path):
    async with house(tmp_path) as (exchange, sit):
        account = exchange.accounts["binance"]
        account.hedged = True
        account.leverage[SYMBOL] = 20
        sitting = await sit()
        assert not account.hedged and account.leverage[SYMBOL] == 1
        await sitting.end()


async def test_a_venue_that_does_not_answer_at_the_start_is_one_line(tmp_path):
    async with house(tmp_path) as (_, sit):
        pass
    with pytest.raises(UserError, match="binance:main: the venue does not answer") as said:
        await sit()
    assert "\n" not in str(said.value) and "Nothing was sent" in str(said.value)


@pytest.mark.parametrize(
    ("settings", "law"),
    [
        ({"live.feed": "replay"}, "has no venue"),
        ({"backtest.rule": "quantile", "backtest.overlap": 2}, "overlap 2"),
    ],
)
def test_what_cannot_be_done_with_real_orders_is_one_line(settings, law):
    with pytest.raises(UserError, match=law):
        terms.refuse(chosen(**settings), dry_run=False)
    with pytest.raises(UserError, match="dry run True"):
        terms.refuse(chosen(), dry_run=True)
