"""What goes wrong between an order and its sender: what was taken, and what the sender was told."""

import asyncio
import json
from decimal import Decimal

import aiohttp
import pytest

from research.sim import faults
from research.sim.faults import ORDER, Fault
from tests.sim.orders.by_hand import ALGO, LIMIT, MARKET, MINUTE, STOP, A
from tests.sim.orders.by_hand import ORDER as PLACE


def signed(trader):
    return [e for e in trader.client.exchange.log if e["kind"] == "signed" and e["does"] != "read"]


SILENT = [
    ("accept_then_503", {}, 503, True),
    ("hold_after_accept", {"seconds": 0.05}, 504, True),
    ("hold_before_accept", {"seconds": 0.05}, 504, False),
    ("hold_before_accept", {"seconds": 0.05, "accept": True}, 200, True),
    ("fill_before_ack", {"seconds": 0.05}, 200, True),
]


@pytest.mark.parametrize(("kind", "args", "status", "taken"), SILENT)
async def test_what_is_said_and_what_was_taken_are_two_things(trading, kind, args, status, taken):
    async with trading(faults=[Fault(kind, prob=1.0, times=1, args=args)]) as trader:
        said, body = await trader(*PLACE, **MARKET, newClientOrderId="mine")
        assert said == status
        if status == 503:
            assert body["msg"].startswith("Unknown error, please check")
        assert trader.account.history.accepted == taken == bool(trader.account.positions())
        (entry,) = signed(trader)
        assert (entry["accepted"], entry["faults"], entry["cid"]) == (taken, (kind,), "mine")
        found = await trader("GET", "/fapi/v1/order", symbol=A, origClientOrderId="mine")
        assert found[0] == (200 if taken else 400)


async def test_a_client_that_gives_up_waiting_leaves_the_order_there(trading):
    hold = Fault("hold_after_accept", prob=1.0, target="mine", times=1, args={"seconds": 20})
    async with trading(faults=[hold]) as trader:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.7):
                await trader(*PLACE, **MARKET, newClientOrderId="mine")
        seen = await trader.ask("GET", "/fapi/v1/order", symbol=A, origClientOrderId="mine")
        assert seen["status"] == "FILLED"


async def test_a_reset_after_the_order_was_taken(trading):
    async with trading() as trader:
        trader.client.exchange.strike("ack_rst")
        with pytest.raises(aiohttp.ClientError):
            await trader(*PLACE, **MARKET)
        assert trader.account.history.accepted == 1


async def test_an_order_refused_with_a_503_is_taken_later(trading):
    async with trading() as trader:
        trader.client.exchange.strike("late_accept", us=MINUTE)
        assert (await trader(*PLACE, **MARKET, newClientOrderId="mine"))[0] == 503
        assert trader.account.history.accepted == 0 and not signed(trader)[0]["accepted"]
        begun = trader.account.moment
        await trader.client.run(2)
        order = trader.account.get(cid="mine")
        assert order.time == begun + MINUTE and order.status == "filled"
        late = [e for e in trader.client.exchange.log if e["kind"] == "late"]
        assert [(e["symbol"], e["cid"]) for e in late] == [(A, "mine")]


async def test_fills_are_told_more_than_once_in_parts_and_changed(trading):
    async with trading() as trader:
        strike = trader.client.exchange.strike
        strike("duplicate_fill", times=1)
        await trader.ask(*PLACE, **MARKET)
        rows = await trader.ask("GET", "/fapi/v1/userTrades", symbol=A)
        assert len(rows) == 2 and rows[0] == rows[1]
        strike("partial", share=0.4)
        made = await trader.ask(*PLACE, **MARKET)
        assert (made["status"], made["executedQty"]) == ("EXPIRED", "0.4")
        strike("partial", share=0.4, then="rest", us=MINUTE)
        made = await trader.ask(*PLACE, **LIMIT, price=trader.away("0.95"))
        assert (made["status"], made["executedQty"]) == ("PARTIALLY_FILLED", "0.4")
        strike("changed", factor=0.5, ticks=-2)
        price = trader.away("0.95")
        made = await trader.ask(*PLACE, **LIMIT, price=price)
        assert made["origQty"] == "0.5"
        assert Decimal(made["price"]) == Decimal(price) - Decimal("0.02")


async def test_a_cancellation_loses_the_race(trading):
    async with trading() as trader:
        await trader.ask(*PLACE, **LIMIT, price=trader.away("0.95"), newClientOrderId="mine")
        other = await trader.ask(*PLACE, **LIMIT, price=trader.away("0.95"))
        trader.client.exchange.strike("cancel_race", target="mine")
        asked = {"symbol": A, "origClientOrderId": "mine"}
        assert await trader.code("DELETE", "/fapi/v1/order", **asked) == (400, -2011)
        seen = await trader.ask("GET", "/fapi/v1/order", **asked)
        assert seen["status"] == "FILLED"
        await trader.ask("DELETE", "/fapi/v1/order", symbol=A, orderId=other["orderId"])


async def test_a_refusal_is_given_by_its_reason_or_word_by_word(trading):
    async with trading() as trader:
        strike = trader.client.exchange.strike
        strike("reject", reason="funds")
        assert await trader.code(*PLACE, **MARKET) == (400, -2019)
        strike("reject", body={"code": -4131, "msg": "PERCENT_PRICE"}, status=400, target=A)
        assert await trader.code(*PLACE, **MARKET) == (400, -4131)
        strike("reject", on="cancel", reason="no_order")
        strike("accept_then_503", on="change")
        await trader.ask(*ALGO, **STOP, triggerPrice=trader.away("0.9"))
        asked = {"symbol": A, "origClientOrderId": "x"}
        assert await trader.code("DELETE", "/fapi/v1/order", **asked) == (400, -2011)
        assert (await trader("POST", "/fapi/v1/leverage", symbol=A, leverage=3))[0] == 503
        assert trader.account.leverage == {A: 3}, "taken all the same"


async def test_a_struck_request_never_reaches_the_account(trading):
    fault = Fault("status", at=0, target="/fapi/v1/order", args={"status": 502})
    async with trading(faults=[fault]) as trader:
        await trader.client.run(1)
        trader.client.exchange.strike("status", target="/fapi/v1/order", status=502)
        assert (await trader(*PLACE, **MARKET))[0] == 502
        log = trader.client.exchange.log
        assert trader.account.history.accepted == 0
        assert [e["accepted"] for e in log if e["kind"] == "signed"] == [False]


def test_order_faults_come_from_a_file_too(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps([{"kind": "partial", "at": 3, "args": {"share": 0.5}}]))
    (one,) = faults.read(path)
    assert one.where == ORDER and one.times == 1
    plan = faults.Plan([one], 0)
    hit = {"bar": 3, "time": 0, "final": True}
    assert not plan.hits(ORDER, {"kraken"}, does="cancel", **hit)
    assert not plan.hits(ORDER, {"kraken"}, does="place", **{**hit, "bar": 2})
    assert plan.hits(ORDER, {"kraken"}, does="place", **hit) == [one]
    assert not plan.hits(ORDER, {"kraken"}, does="place", **hit), "once"
