"""Group C, C11: every no of a venue has one meaning, is final, and three of them end the adding."""

from decimal import Decimal

import pytest

from research.orders import Intent
from research.venues.words import Refused

from .scene import VENUES, scene


def _binance(code, words, status=400):
    return status, {"code": code, "msg": words}


def _bybit(code, words):
    return 200, {"retCode": code, "retMsg": words, "result": {}, "retExtInfo": {}, "time": 0}


def _kraken(*said):
    return 200, {"error": list(said)}


CODES = {
    "binance": [
        (_binance(-2019, "Margin is insufficient."), "no_funds"),
        (_binance(-4164, "Order's notional must be no smaller than 5."), "too_small"),
        (_binance(-1111, "Precision is over the maximum."), "too_precise"),
        (_binance(-4131, "The counterparty's best price fails."), "price_out_of_band"),
        (_binance(-2022, "ReduceOnly Order is rejected."), "no_position"),
        (_binance(-4120, "Order type not supported for this endpoint."), "mode"),
        (_binance(-5022, "Due to the order could not be executed as maker."), "would_take"),
        (_binance(-4061, "Order's position side does not match."), "mode"),
        (_binance(-4116, "ClientOrderId is duplicated."), "used_id"),
        (_binance(-2015, "Invalid API-key, IP, or permissions.", 401), "keys"),
        (_binance(-1008, "Service Unavailable.", 503), "other"),
        (_binance(-1001, "Internal error; unable to process your request.", 503), "other"),
    ],
    "bybit": [
        (_bybit(110007, "ab not enough for new order"), "no_funds"),
        (_bybit(110012, "Insufficient available balance"), "no_funds"),
        (_bybit(110094, "Order does not meet minimum order value 5USDT"), "too_small"),
        (_bybit(110003, "Order price exceeds the allowable range."), "price_out_of_band"),
        (_bybit(110017, "current position is zero"), "no_position"),
        (_bybit(110072, "OrderLinkedID is duplicate"), "used_id"),
        (_bybit(10001, "position idx not match position mode"), "mode"),
        (_bybit(10001, "params error"), "other"),
        (_bybit(10004, "error sign! origin_string[1key]"), "keys"),
        (_bybit(10005, "Permission denied"), "permission"),
    ],
    "kraken": [
        (_kraken("EOrder:Insufficient funds"), "no_funds"),
        (_kraken("EOrder:Order minimum not met"), "too_small"),
        (_kraken("EOrder:Cost minimum not met"), "too_small"),
        (_kraken("EOrder:Post only order"), "would_take"),
        (_kraken("EOrder:Invalid price"), "too_precise"),
        (_kraken("EService:Market in cancel_only mode"), "not_trading"),
        (_kraken("EGeneral:Permission denied"), "permission"),
        (_kraken("EAPI:Invalid key"), "keys"),
        (_kraken("EAPI:Invalid signature"), "keys"),
    ],
}
"""What the venue answers, and what we understand. Those that say `too_often` are not here: they
are kept away from orders by the budget of requests."""


@pytest.mark.parametrize("venue", VENUES)
async def test_c11_every_refusal_has_its_reason_and_is_never_tried_again(venue, tmp_path):
    async with scene(venue, tmp_path) as s:
        for number, ((status, body), reason) in enumerate(CODES[venue], 1):
            s.run.mode = "active"
            s.exchange.strike("reject", status=status, body=body)
            known = await s.send(quantity=2)
            assert (known.answer, known.reason) == ("refused", reason), body
            assert known.settled and len(s.signed()) == number
        assert s.held() == 0 and s.account.history.accepted == 0
        await s.judge()


@pytest.mark.parametrize("venue", VENUES)
async def test_c11_after_three_refusals_in_a_row_nothing_is_added_any_more(venue, tmp_path):
    """What the account does not have: three times over is enough. Reducing stays allowed."""
    async with scene(venue, tmp_path) as s:
        await s.send(quantity=2)
        for _ in range(3):
            assert s.run.mode == "active"
            known = await s.send(quantity=20_000)
            assert (known.answer, known.reason) == ("refused", "no_funds")
        assert s.run.mode == "reducing" and "no_funds" in s.run.why
        asked = len(s.signed())
        with pytest.raises(Refused, match="not_trading"):
            await s.send(quantity=1)
        assert len(s.signed()) == asked, "an order left that may not"
        left = await s.send(side="sell", quantity=1, part="0.98", reduce_only=True)
        assert left.filled == 1
        await s.judge()


@pytest.mark.parametrize("venue", VENUES)
async def test_c11_an_order_that_no_venue_takes_is_refused_before_it_is_sent(venue, tmp_path):
    async with scene(venue, tmp_path) as s:
        for quantity, reason in (("0.0000001", "too_small"), ("0.001", "too_small")):
            known = await s.send(quantity=quantity)
            assert (known.answer, known.reason) == ("refused", reason)
        order = s.order(quantity="1.23456789123", part="1.0111111")
        known = await s.sender.send(Intent(order, "entry", s.since, s.price))
        assert known.order.quantity % s.rules.lot == 0 and known.order.price % s.rules.tick == 0
        assert known.filled == known.order.quantity and 0 <= Decimal("1.23457") - known.filled < 1
        assert len(s.signed()) == 1
        await s.judge()


@pytest.mark.parametrize("venue", VENUES)
async def test_c11_a_post_only_order_that_would_take_ends_without_a_fill(venue, tmp_path):
    """Binance and Kraken refuse it; Bybit takes it and cancels it afterwards."""
    async with scene(venue, tmp_path) as s:
        known = await s.send(kind="post_only", part="1.01", quantity=2)
        while not known.over:
            known = await s.sender.cancel(known.order.cid)
        assert known.filled == 0 and s.held() == 0
        assert known.reason == (
            "EC_PostOnlyWillTakeLiquidity" if venue == "bybit" else "would_take"
        )
        await s.judge()
