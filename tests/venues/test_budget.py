"""What a venue says of its patience is obeyed, and a share of it is kept for orders."""

import asyncio
import time

import pytest

from research.venues import budget
from research.venues.budget import ASKING, LIMITS, MINUTE, Budget
from research.venues.refusals import Answer
from research.venues.words import Refused, Unreachable

FINE = Answer(200, "", "{}")
ASK = "fapiPrivateGetOrder"


def heard(one, headers, answer=FINE, limited=False, call=ASK):
    one.heard(call, answer, headers, limited=limited)


async def waits(one, call=ASK, weight=1, *, order=False):
    """Return the seconds that a request waits."""
    began = time.monotonic()
    await one.take(call, weight, order=order)
    return time.monotonic() - began


async def test_a_share_is_kept_for_orders(monkeypatch):
    monkeypatch.setattr(budget, "PATIENCE", 0.2)
    now = [0]
    one = Budget("binance", lambda: now[0])
    heard(one, {"X-MBX-USED-WEIGHT-1M": str(int(LIMITS["binance"] * ASKING))})
    assert await waits(one, order=True) < 0.1
    with pytest.raises(Unreachable, match="too often"):
        await one.take(ASK, 1, order=False)
    now[0] = MINUTE  # the next minute begins anew
    assert await waits(one) < 0.1 and one.used == 1


async def test_what_we_use_counts_before_it_is_told(monkeypatch):
    monkeypatch.setattr(budget, "PATIENCE", 0.1)
    one = Budget("binance", lambda: 0)
    await one.take(ASK, LIMITS["binance"] * ASKING, order=False)
    with pytest.raises(Unreachable):
        await one.take(ASK, 1, order=False)


async def test_retry_after_is_obeyed():
    one = Budget("binance", lambda: 0)
    heard(one, {"Retry-After": "0.4"}, Answer(429, "-1003", ""), limited=True)
    with pytest.raises(Refused, match="wants silence") as told:
        await one.take(ASK, 1, order=True)
    assert told.value.reason == "too_often"
    assert 0.3 < await waits(one) < 2
    assert await waits(one, order=True) < 0.1


@pytest.mark.parametrize(
    ("answer", "headers", "least"),
    [
        (Answer(418, "", ""), {"Retry-After": "7200"}, 7000),
        (Answer(418, "", ""), {}, 100),
        (Answer(429, "", ""), {"Retry-After": "0"}, 0.1),
        (Answer(403, "", ""), {}, 500),
        (Answer(200, "EGeneral:Temporary lockout", ""), {}, 800),
        (Answer(429, "", ""), {"Retry-After": "soon"}, 50),
    ],
)
async def test_silences(answer, headers, least):
    one = Budget("binance", lambda: 0)
    heard(one, headers, answer, limited=True)
    assert least < one.quiet <= max(least * 1.4, 0.2)
    heard(one, {"Retry-After": "0"}, Answer(429, "", ""), limited=True)
    assert one.quiet > least * 0.9  # a shorter silence does not end a longer one


async def test_order_counts():
    one = Budget("binance", now := lambda: 25_000_000)
    heard(one, {"X-MBX-ORDER-COUNT-10S": "300"})
    with pytest.raises(Refused, match="300 orders within 10 s"):
        await one.take("create_order", 1, order=True)
    assert now() == 25_000_000
    later = Budget("binance", lambda: 30_000_000)
    later._orders = one._orders
    assert await waits(later, "create_order", order=True) < 0.1


async def test_a_full_route_waits_alone(monkeypatch):
    monkeypatch.setattr(budget, "PATIENCE", 0.3)
    one = Budget("bybit", lambda: 1_000_000)
    headers = {"X-Bapi-Limit-Status": "0", "X-Bapi-Limit-Reset-Timestamp": "1000"}
    heard(one, headers, call="create_order")
    assert await waits(one, "privateGetV5OrderRealtime") < 0.1
    assert 0.2 < await waits(one, "create_order", order=True) < 2


async def test_kraken_counts_by_the_faster_clock():
    now = [0]
    one = Budget("kraken", lambda: now[0])
    for _ in range(12):
        assert await waits(one, "privatePostBalanceEx") < 0.1
    now[0] += 3_100_000  # three seconds of the venue's make room for one more
    assert await waits(one, "privatePostBalanceEx") < 0.1
    task = asyncio.create_task(one.take("privatePostBalanceEx", 3, order=False))
    await asyncio.sleep(0.15)
    assert not task.done()
    assert await waits(one, "create_order", order=True) < 0.1  # orders are counted apart
    now[0] += 3_100_000
    await asyncio.wait_for(task, 1)
