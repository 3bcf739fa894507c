"""Binance's private side as its documents have it: signatures, windows, filters, codes, pools."""

import asyncio
import json
from decimal import Decimal

import pytest

from research.sim.faults import Fault
from research.sim.orders.words import Key, usual_key
from tests.sim.orders.by_hand import ALGO, LIMIT, MARKET, MINUTE, ORDER, STOP, A

REFUSED = [
    (ORDER, MARKET | {"symbol": "NONE"}, -1121),
    (ORDER, MARKET | {"symbol": ""}, -1102),
    (ORDER, MARKET | {"side": "HOLD"}, -1117),
    (ORDER, MARKET | {"type": "ODD"}, -1116),
    (ORDER, MARKET | {"type": "STOP_MARKET", "stopPrice": "90"}, -4120),
    (ORDER, MARKET | {"quantity": "many"}, -1102),
    (ORDER, MARKET | {"quantity": "1.00011"}, -1111),
    (ORDER, MARKET | {"quantity": "1.0001"}, -4023),
    (ORDER, MARKET | {"quantity": "0.0001"}, -4004),
    (ORDER, MARKET | {"quantity": "20000"}, -4005),
    (ORDER, MARKET | {"quantity": "0.01"}, -4164),
    (ORDER, MARKET | {"quantity": "9000"}, -2019),
    (ORDER, MARKET | {"positionSide": "LONG"}, -4061),
    (ORDER, MARKET | {"reduceOnly": "true"}, -2022),
    (ORDER, MARKET | {"newClientOrderId": "x" * 37}, -4015),
    (ORDER, MARKET | {"newClientOrderId": "spaced out"}, -1100),
    (ORDER, LIMIT, -1102),
    (ORDER, LIMIT | {"price": "97.001"}, -4014),
    (ORDER, LIMIT | {"price": "97.0001"}, -1111),
    (ORDER, LIMIT | {"price": "-5"}, -4001),
    (ORDER, LIMIT | {"price": "20"}, -4016),
    (ORDER, LIMIT | {"price": "100", "timeInForce": "SOON"}, -1115),
    (ORDER, LIMIT | {"price": "105", "timeInForce": "GTX"}, -5022),
    (ORDER, LIMIT | {"price": "105", "timeInForce": "FOK", "quantity": "2000"}, -5021),
    (ALGO, STOP | {"triggerPrice": "150"}, -2021),
    (ALGO, STOP | {"algoType": "GRID"}, -1102),
    (ALGO, STOP | {"type": "MARKET", "triggerPrice": "90"}, -1116),
    (("DELETE", "/fapi/v1/order"), {"symbol": A, "origClientOrderId": "none"}, -2011),
    (("DELETE", "/fapi/v1/order"), {"symbol": A}, -1102),
    (("DELETE", "/fapi/v1/algoOrder"), {"clientAlgoId": "none"}, -2011),
    (("GET", "/fapi/v1/order"), {"symbol": A, "orderId": "7"}, -2013),
    (("GET", "/fapi/v1/algoOrder"), {"algoId": "7"}, -2013),
    (("GET", "/fapi/v1/userTrades"), {"symbol": A, "startTime": 0, "endTime": 10**12}, -4165),
    (("POST", "/fapi/v1/leverage"), {"symbol": A, "leverage": "126"}, -4028),
    (("POST", "/fapi/v1/marginType"), {"symbol": A, "marginType": "CROSSED"}, -4046),
    (("POST", "/fapi/v1/positionSide/dual"), {"dualSidePosition": "false"}, -4059),
    (("PUT", "/fapi/v1/listenKey"), {}, -1125),
]


async def test_every_mistake_has_its_code_and_leaves_nothing(trading):
    async with trading() as trader:
        for (method, path), asked, code in REFUSED:
            if code == -5021:
                trader.account.transfer("USDT", Decimal(10**6))
            status, body = await trader(method, path, **asked)
            assert (status, body["code"]) == (400, code), (asked, body)
        assert trader.account.history.accepted == 0
        signed = [e for e in trader.client.exchange.log if e["kind"] == "signed"]
        assert len(signed) == len(REFUSED) and not any(e["accepted"] for e in signed)


async def test_who_does_not_sign_rightly_is_refused(trading):
    keys = (usual_key("binance"), Key("binance", "reader", "s", trade=False, withdraw=True))
    async with trading(keys=keys) as trader:
        path = "/fapi/v3/balance"
        assert await trader.code("GET", path, secret="other") == (400, -1022)
        assert await trader.code("GET", path, signed=False) == (400, -1102)
        assert await trader.code("GET", path, recvWindow=60_001) == (400, -1131)
        assert await trader.code("GET", path, stamp="soon") == (400, -1102)
        trader.key = Key("binance", "", "s")
        assert await trader.code("GET", path) == (401, -2014)
        trader.key = Key("binance", "nobody", "s")
        assert await trader.code("GET", path) == (401, -2015)
        trader.key = keys[1]
        assert (await trader("GET", path))[0] == 200
        assert await trader.code(*ORDER, **MARKET) == (401, -2015)
        may = await trader.ask("GET", "/sapi/v1/account/apiRestrictions")
        assert may["enableWithdrawals"] and not may["enableFutures"] and may["ipRestrict"]
        log = json.dumps(trader.client.exchange.log)
        assert "signature" not in log and "sim-secret" not in log


async def test_a_request_is_judged_by_the_clock_it_meets(trading):
    async with trading(speed=20.0) as trader:
        clock = await trader.client.clock()
        now = trader.client.exchange.clock.now() // 1000
        path, wide = "/fapi/v3/balance", 20 * 5000
        assert await trader.code("GET", path, stamp=now - wide - 1) == (400, -1021)
        assert (await trader("GET", path, stamp=now - wide + 30_000))[0] == 200
        assert await trader.code("GET", path, stamp=now + 60_000) == (400, -1021)
        await clock.send_json({"hold": True})
        while trader.client.exchange.clock.running:
            await asyncio.sleep(0.001)
        assert (await trader("GET", path, stamp=0))[0] == 200, "a clock that stands judges nobody"


@pytest.mark.parametrize(("us", "status"), [
    (6_000_000, 400), (4_000_000, 200), (-900_000, 200), (-1_100_000, 400),
])  # fmt: skip
async def test_where_the_clock_jumps_an_injected_skew_alone_refuses(trading, us, status):
    async with trading(faults=[Fault("skew", at=0, args={"us": us})]) as trader:
        await trader.client.run(1)
        assert (await trader("GET", "/fapi/v3/balance", stamp=5))[0] == status


async def test_orders_are_pooled_and_weighed(trading):
    async with trading(order_limits=(3, 4), weight_limit=60) as trader:
        for used in "123":
            await trader.ask(*ORDER, **MARKET)
            assert trader.headers["X-MBX-ORDER-COUNT-10S"] == used
            assert trader.headers["X-MBX-ORDER-COUNT-1M"] == used
        assert trader.headers["X-MBX-USED-WEIGHT-1M"] == "0", "orders weigh nothing"
        assert await trader.code(*ORDER, **MARKET) == (429, -1015)
        assert trader.headers["Retry-After"] == "10" and trader.account.history.accepted == 3
        await trader.ask("GET", "/fapi/v1/openOrders")
        assert trader.headers["X-MBX-USED-WEIGHT-1M"] == "40"
        await trader.ask("GET", "/fapi/v1/openOrders", symbol=A)
        assert trader.headers["X-MBX-USED-WEIGHT-1M"] == "41"
        assert await trader.code("GET", "/fapi/v1/income") == (429, -1003)


async def test_an_order_is_found_by_either_id_until_the_venue_forgets_it(trading, make_market):
    async with trading(bars=make_market(bars=60)) as trader:
        keep = trader.account.history.retention
        assert keep.unfilled == 3 * 86_400_000_000
        trader.account.history.retention = keep._replace(unfilled=10 * MINUTE)
        price = trader.away("0.9")
        made = await trader.ask(*ORDER, **LIMIT, price=price, newClientOrderId="mine")
        by_id = await trader.ask("GET", "/fapi/v1/order", symbol=A, orderId=made["orderId"])
        by_cid = await trader.ask("GET", "/fapi/v1/order", symbol=A, origClientOrderId="mine")
        assert by_id == by_cid and by_id["status"] == "NEW"
        assert await trader.code(*ORDER, **MARKET, newClientOrderId="mine") == (400, -4116)
        done = await trader.ask("DELETE", "/fapi/v1/order", symbol=A, origClientOrderId="mine")
        assert done["status"] == "CANCELED"
        await trader.client.run(8)
        assert (await trader("GET", "/fapi/v1/order", symbol=A, orderId=made["orderId"]))[0] == 200
        await trader.client.run(3)
        asked = {"symbol": A, "orderId": made["orderId"]}
        assert await trader.code("GET", "/fapi/v1/order", **asked) == (400, -2013)
        assert await trader.ask("GET", "/fapi/v1/allOrders", symbol=A) == []
        await trader.ask(*ORDER, **MARKET, newClientOrderId="mine")
        assert trader.account.history.reused == 1


async def test_fills_are_paged_by_id_and_by_time(trading):
    async with trading() as trader:
        for _ in range(3):
            await trader.ask(*ORDER, **MARKET | {"quantity": "20"})
        rows = await trader.ask("GET", "/fapi/v1/userTrades", symbol=A)
        assert [row["id"] for row in rows] == list(range(1, len(rows) + 1)) and len(rows) > 5
        page = await trader.ask("GET", "/fapi/v1/userTrades", symbol=A, fromId=3, limit=2)
        assert page == rows[2:4]
        newest = await trader.ask("GET", "/fapi/v1/userTrades", symbol=A, limit=2)
        assert newest == rows[-2:]
        stamp = rows[0]["time"]
        first = await trader.ask("GET", "/fapi/v1/userTrades", symbol=A, startTime=stamp, limit=2)
        assert first == rows[:2]
        none = await trader.ask("GET", "/fapi/v1/userTrades", symbol=A, startTime=stamp + 1)
        assert none == []
        fees = await trader.ask("GET", "/fapi/v1/income", incomeType="COMMISSION", limit=1000)
        paid = sum(Decimal(row["income"]) for row in fees)
        assert paid == -sum(Decimal(row["commission"]) for row in rows)
        assert {row["tradeId"] for row in fees} == {str(row["id"]) for row in rows}


async def test_a_conditional_order_lives_apart_until_it_is_triggered(trading):
    async with trading() as trader:
        await trader.ask(*ORDER, **MARKET | {"side": "BUY"})
        asked = STOP | {"reduceOnly": "true", "clientAlgoId": "stop"}
        made = await trader.ask(*ALGO, **asked, triggerPrice=trader.away("0.9995"))
        assert made["algoStatus"] == "NEW" and made["actualOrderId"] == ""
        assert await trader.ask("GET", "/fapi/v1/openOrders", symbol=A) == []
        assert len(await trader.ask("GET", "/fapi/v1/openAlgoOrders")) == 1
        asked = {"symbol": A, "origClientOrderId": "stop"}
        assert await trader.code("GET", "/fapi/v1/order", **asked) == (400, -2013)
        await trader.client.run(18)
        algo = await trader.ask("GET", "/fapi/v1/algoOrder", algoId=made["algoId"])
        assert algo["algoStatus"] == "FINISHED" and algo["triggerTime"] > algo["createTime"]
        order = await trader.ask("GET", "/fapi/v1/order", symbol=A, orderId=algo["actualOrderId"])
        assert (order["status"], order["type"], order["clientOrderId"]) == (
            "FILLED", "MARKET", "stop"
        )  # fmt: skip
        rows = await trader.ask("GET", "/fapi/v1/userTrades", symbol=A, orderId=order["orderId"])
        assert sum(Decimal(row["qty"]) for row in rows) == 1
        assert await trader.ask("GET", "/fapi/v3/positionRisk") == []


async def test_settings_are_set_read_back_and_kept_from_changing_under_a_position(trading):
    async with trading() as trader:
        await trader.ask("POST", "/fapi/v1/leverage", symbol=A, leverage=3)
        await trader.ask("POST", "/fapi/v1/marginType", symbol=A, marginType="ISOLATED")
        (row,) = await trader.ask("GET", "/fapi/v1/symbolConfig", symbol=A)
        assert (row["leverage"], row["marginType"]) == (3, "ISOLATED")
        mode = ("POST", "/fapi/v1/positionSide/dual")
        await trader.ask(*mode, dualSidePosition="true")
        seen = await trader.ask("GET", "/fapi/v1/positionSide/dual")
        assert seen == {"dualSidePosition": True}
        await trader.ask(*ORDER, **MARKET, positionSide="LONG")
        asked = MARKET | {"positionSide": "LONG", "reduceOnly": "true"}
        assert await trader.code(*ORDER, **asked) == (400, -1106)
        assert await trader.code(*mode, dualSidePosition="false") == (400, -4068)
        margin = {"symbol": A, "marginType": "CROSSED"}
        assert await trader.code("POST", "/fapi/v1/marginType", **margin) == (400, -4048)
        (risk,) = await trader.ask("GET", "/fapi/v3/positionRisk")
        worth = Decimal(risk["notional"])
        assert abs(Decimal(risk["initialMargin"]) - worth / 3) < Decimal("1e-7")


async def test_a_countdown_cancels_what_stands_in_its_symbol(trading):
    async with trading() as trader:
        await trader.ask(*ORDER, **LIMIT, price=trader.away("0.9"))
        said = await trader.ask(
            "POST", "/fapi/v1/countdownCancelAll", symbol=A, countdownTime=150_000
        )
        assert said == {"symbol": A, "countdownTime": "150000"}
        await trader.client.run(1)
        assert len(await trader.ask("GET", "/fapi/v1/openOrders")) == 1
        await trader.client.run(2)
        assert await trader.ask("GET", "/fapi/v1/openOrders") == []


async def test_the_user_stream_tells_of_orders_money_and_its_own_end(trading, make_market, frames):
    async with trading(bars=make_market(bars=100)) as trader:
        key = (await trader.ask("POST", "/fapi/v1/listenKey"))["listenKey"]
        assert (await trader.ask("POST", "/fapi/v1/listenKey"))["listenKey"] == key
        url = f"wss://fstream.binance.com/private/ws?listenKey={key}"
        ws = await trader.client.session.ws_connect(url)
        deaf = await trader.client.session.ws_connect(url[:-3])
        await trader.ask(*ORDER, **MARKET, newClientOrderId="mine")
        await trader.ask(*ALGO, **STOP, triggerPrice=trader.away("0.9995"), clientAlgoId="stop")
        told = await frames(ws)
        assert [f["e"] for f in told][:3] == [
            "ORDER_TRADE_UPDATE", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"
        ]  # fmt: skip
        assert [told[0]["o"][n] for n in ("x", "X", "c")] == ["NEW", "NEW", "mine"]
        assert told[1]["o"]["x"] == "TRADE" and told[2]["a"]["P"][0]["pa"] == "1"
        assert told[-1]["e"] == "ALGO_UPDATE" and told[-1]["o"]["X"] == "NEW"
        clock = await trader.client.run(18)
        told = await frames(ws)
        kinds = [f["o"]["X"] for f in told if f["e"] == "ALGO_UPDATE"]
        assert kinds == ["TRIGGERED", "FINISHED"]
        await trader.client.run(45, clock)
        ended = [f for f in await frames(ws) if f["e"] == "listenKeyExpired"]
        assert [f["listenKey"] for f in ended] == [key]
        assert await trader.code("PUT", "/fapi/v1/listenKey") == (400, -1125)
        assert await frames(deaf) == []
