"""What each answer of a venue means for an order, over real sockets and through ccxt.

The expected meanings are written here once more, from the venues' error lists: two tables that were
made apart must agree.
"""

import asyncio

import pytest

from research.venues.refusals import TABLES, UNKNOWN
from research.venues.words import REFUSALS, Refused, Unknown, Unreachable

SURE = {
    "binance": {
        "clock": [-1021, -5028],
        "keys": [-1002, -1022, -2014, -2015],
        "too_often": [-1003, -1008, -1015],
        "too_precise": [-1111, -4014, -4023],
        "no_funds": [-2018, -2019, -2028, -4118],
        "no_position": [-2022, -2024],
        "too_small": [-4003, -4004, -4164],
        "too_large": [-2027, -4005],
        "price_out_of_band": [-4002, -4013, -4016, -4024, -4131, -4183, -4184],
        "would_take": [-5022],
        "would_trigger": [-2021],
        "no_such_order": [-2011, -2013],
        "used_id": [-4116],
        "mode": [-4061, -4120],
        "not_trading": [-1121, -4140, -4141],
        "permission": [-2017, -4087, -4088, -4400],
        "other": [-1102, -1116, -2010, -2025, -4015, -4999],
    },
    "bybit": {
        "clock": [10002],
        "keys": [10003, 10004, 33004],
        "permission": [10005, 10010],
        "too_often": [10006, 10018, 10429],
        "no_funds": [110004, 110007, 110012, 110045],
        "price_out_of_band": [110003, 30208],
        "no_such_order": [110001, 110008, 110010],
        "no_position": [110017],
        "too_large": [110021, 110090],
        "too_small": [110094],
        "used_id": [110030, 110072],
        "not_trading": [110023, 110074, 30228],
        "would_trigger": [110092, 110093],
        "mode": [110028, 110024],
        "other": [10001, 110009, 110020],
    },
    "kraken": {
        "clock": ["EAPI:Invalid nonce", "EService:Deadline elapsed"],
        "keys": ["EAPI:Invalid key", "EAPI:Invalid signature"],
        "permission": ["EGeneral:Permission denied"],
        "too_often": ["EAPI:Rate limit exceeded", "EOrder:Rate limit exceeded"],
        "no_funds": ["EOrder:Insufficient funds"],
        "too_small": ["EOrder:Order minimum not met", "EOrder:Cost minimum not met"],
        "too_precise": [
            "EOrder:Invalid price:Invalid price argument",
            "EOrder:Tick size check failed",
        ],
        "no_such_order": ["EOrder:Unknown order"],
        "would_take": ["EOrder:Post only order"],
        "not_trading": [
            "EService:Market in cancel_only mode",
            "EService:Market in post_only mode",
            "EQuery:Unknown asset pair",
        ],
        "other": ["EGeneral:Invalid arguments", "EOrder:Invalid price:x:y:z"],
    },
}
UNSURE = {
    "binance": [-1000, -1001, -1006, -1007],
    "bybit": [10000, 10016, 170007],
    "kraken": [
        "EService:Unavailable",
        "EService:Busy",
        "EService:Timeout",
        "EGeneral:Internal error",
        "EDatabase:Internal error",
        "EWhat:Is this",
    ],
}
SURE["kraken"]["too_precise"].append(SURE["kraken"]["other"].pop())
PLACE = {"binance": "/fapi/v1/order", "bybit": "/v5/order/create", "kraken": "/0/private/AddOrder"}
HTML = "<html><body><h1>No</h1></body></html>"
BINANCE_503 = {
    "Unknown error, please check your request or try again later.": UNKNOWN,
    "Service Unavailable.": "other",
    "Internal error; unable to process your request. Please try again.": "other",
}


def body(venue, code):
    if venue == "kraken":
        return {"error": [code]}
    if venue == "bybit":
        return {"retCode": code, "retMsg": "no", "result": {}, "retExtInfo": {}, "time": 1}
    return {"code": code, "msg": "no"}


async def meaning(at, cid, **fault):
    """Return what came of an order that a fault strikes."""
    at.exchange.strike(target=PLACE[at.venue], **fault)
    try:
        await at.gateway.send(at.gateway.fit(at.order(cid), 100))
    except Refused as no:
        return no.reason
    except Unknown:
        return UNKNOWN
    finally:
        at.gateway._wire.budget._quiet_until = 0.0  # what is refused for a while is another test
    return "sent"


@pytest.mark.parametrize("venue", SURE)
async def test_code_by_code(world, venue):
    status = 400 if venue == "binance" else 200
    codes = [(code, reason) for reason, all_ in SURE[venue].items() for code in all_]
    codes += [(code, UNKNOWN) for code in UNSURE[venue]]
    async with world(venue) as at:
        found = {}
        for i, (code, _) in enumerate(codes):
            found[code] = await meaning(
                at, f"c{i}", kind="status", body=body(venue, code), status=status
            )
        assert found == dict(codes)
        assert not at.account.open_orders() and not at.account.fills()


@pytest.mark.parametrize("venue", SURE)
async def test_status_by_status(world, venue):
    """Without a word of the venue's own, only silence that it asks for is certain."""
    async with world(venue) as at:
        for i, status in enumerate((403, 408, 500, 502, 504)):
            told = await meaning(at, f"s{i}", kind="status", status=status, body=HTML)
            assert (status, told) == (status, UNKNOWN)
        for status in (418, 429):
            told = await meaning(at, f"q{status}", kind="status", status=status, body=HTML)
            assert (status, told) == (status, "too_often")
        for kind in ("bad_json", "rest_rst", "redirect"):
            assert (kind, await meaning(at, kind, kind=kind)) == (kind, UNKNOWN)
        assert not at.account.fills()


async def test_three_meanings_of_503(world):
    async with world("binance") as at:
        for i, (words, expected) in enumerate(BINANCE_503.items()):
            for code in (-1000, -1001, -1008):
                told = {"code": code, "msg": words}
                got = await meaning(at, f"{i}{-code}", kind="status", status=503, body=told)
                assert (words, code, got) == (words, code, expected)


@pytest.mark.parametrize("venue", SURE)
async def test_an_order_that_is_there_is_never_called_refused(world, venue):
    """Whatever happens to the answer of an accepted order, nobody says that it is not there."""
    async with world(venue, timeout=0.4) as at:
        kinds = ["accept_then_503", "ack_rst", "hold_after_accept"]
        for kind in kinds:
            more = {"seconds": 1.0} if kind.startswith("hold") else {}
            assert (kind, await meaning(at, kind, kind=kind, **more)) == (kind, UNKNOWN)
            found = await at.gateway.find(at.symbol, kind)
            assert found is not None and found.status == "filled"
        accepted = [row["cid"] for row in at.signed if row["accepted"]]
        assert accepted == kinds  # sent once each


@pytest.mark.parametrize("venue", SURE)
async def test_a_task_that_is_cancelled_ends_at_once(world, venue):
    async with world(venue, timeout=30) as at:
        at.exchange.strike("hold_after_accept", target=PLACE[venue], seconds=1.0)
        task = asyncio.create_task(at.gateway.send(at.gateway.fit(at.order("gone"), 100)))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await at.gateway.find(at.symbol, "gone")).status == "filled"


@pytest.mark.parametrize("venue", SURE)
async def test_questions(world, venue):
    """A question without an answer may be asked again: it is never `Unknown`."""
    paths = {"binance": "/fapi/v3/account", "bybit": "/v5/account/wallet-balance"}
    target = paths.get(venue, "/0/private/BalanceEx")
    async with world(venue, timeout=1.0) as at:
        faults = [("status", {"status": s, "body": HTML}) for s in (403, 500, 502, 503, 504, 408)]
        # a GET whose connection breaks is asked once more by HTTP itself
        times = 1 if venue == "kraken" else 2
        faults += [("bad_json", {}), ("rest_rst", {"times": times}), ("redirect", {})]
        for kind, how in faults:
            at.exchange.strike(kind, target=target, **how)
            with pytest.raises(Unreachable):
                await at.gateway.balance()
            at.gateway._wire.budget._quiet_until = 0.0
        assert await at.gateway.balance()


@pytest.mark.parametrize("venue", ["binance", "bybit"])
async def test_a_clock_that_is_off(world, venue):
    """An order is refused, for certain and unsent again; a question measures, and is asked anew."""
    async with world(venue, speed=1.0) as at:
        at.exchange.clock.join("a client")
        options = at.gateway._wire.client.options
        options["timeDifference"] = 3_600_000
        with pytest.raises(Refused) as told:
            await at.gateway.send(at.gateway.fit(at.order("late"), 100))
        assert told.value.reason == "clock" and len(at.signed) == 1
        options["timeDifference"] = -3_600_000
        assert await at.gateway.balance()
        assert abs(options["timeDifference"]) < 1000
        await at.gateway.send(at.gateway.fit(at.order("now"), 100))
        assert [row["accepted"] for row in at.signed] == [False, True]


@pytest.mark.parametrize("venue", SURE)
def test_every_reason_is_one(venue):
    assert set(TABLES[venue].values()) <= {*REFUSALS, UNKNOWN}
