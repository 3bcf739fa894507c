"""What a venue says of its patience is obeyed, and a share of it is kept for orders."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from research.venues import budget
from research.venues.budget import ASKING, LIMITS, MINUTE, Budget
from research.venues.refusals import Answer
from research.venues.words import Refused, Unreachable

FINE = Answer(200, "", "{}")
ASK = "fapiPrivateGetOrder"


class Seconds:
    """Real time that passes only while somebody waits."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def uncounted():
    """Here it is what is tested."""


@pytest.fixture(autouse=True)
def seconds(monkeypatch):
    made = Seconds()
    monkeypatch.setattr(budget, "monotonic", made)
    monkeypatch.setattr(budget, "sleep", made.sleep)
    return made


def heard(one, headers, answer=FINE, limited=False, call=ASK):
    one.heard(call, answer, headers, limited=limited)


async def waits(one, call=ASK, weight=1, *, order=False):
    """Return the seconds that a request waits."""
    began = budget.monotonic()
    await one.take(call, weight, order=order)
    return budget.monotonic() - began


async def test_a_share_is_kept_for_orders():
    now = [0]
    one = Budget("binance", lambda: now[0])
    heard(one, {"X-MBX-USED-WEIGHT-1M": str(int(LIMITS["binance"] * ASKING))})
    assert await waits(one, order=True) == 0
    with pytest.raises(Unreachable, match="too often"):
        await one.take(ASK, 1, order=False)
    now[0] = MINUTE  # the next minute begins anew
    assert await waits(one) == 0 and one.used == 1


async def test_what_we_use_counts_before_it_is_told():
    one = Budget("binance", lambda: 0)
    await one.take(ASK, LIMITS["binance"] * ASKING, order=False)
    with pytest.raises(Unreachable):
        await one.take(ASK, 1, order=False)


async def test_an_answer_that_knows_of_less_takes_nothing_back():
    """It was given before what we have asked since."""
    one = Budget("binance", lambda: 0)
    for _ in range(2):
        await one.take(ASK, 100, order=False)
    heard(one, {"X-MBX-USED-WEIGHT-1M": "100"})
    assert one.used == 200
    heard(one, {"X-MBX-USED-WEIGHT-1M": "900"})
    assert one.used == 900


async def test_retry_after_is_obeyed():
    one = Budget("binance", lambda: 0)
    heard(one, {"Retry-After": "0.4"}, Answer(429, "-1003", ""), limited=True)
    with pytest.raises(Refused, match="wants silence") as told:
        await one.take(ASK, 1, order=True)
    assert told.value.reason == "too_often"
    assert await waits(one) == pytest.approx(0.4, abs=0.06)
    assert await waits(one, order=True) == 0


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
    assert least < one.quiet <= max(least * 1.4, 0.21)
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
    assert await waits(later, "create_order", order=True) == 0


async def test_a_full_route_waits_alone():
    one = Budget("bybit", lambda: 1_000_000)
    headers = {"X-Bapi-Limit-Status": "0", "X-Bapi-Limit-Reset-Timestamp": "1000"}
    heard(one, headers, call="create_order")
    assert await waits(one, "privateGetV5OrderRealtime") == 0
    assert await waits(one, "create_order", order=True) == pytest.approx(1, abs=0.06)


BALANCE, TRADES = "privatePostBalanceEx", "privatePostTradesHistory"


async def test_kraken_counts_by_the_faster_clock():
    now = [0]
    one = Budget("kraken", lambda: now[0])
    for _ in range(12):
        assert await waits(one, BALANCE) == 0
    now[0] += 3_400_000  # more than three seconds of the venue's make room for one more
    assert await waits(one, BALANCE) == 0
    assert await waits(one, "create_order", order=True) == 0  # orders are counted apart
    assert await waits(one, BALANCE) == pytest.approx(1 / 0.3, abs=0.1)


async def test_a_costly_question_is_answered_though_cheap_ones_never_end():
    """It waits for its turn alone: those who came later do not eat what it saves for."""
    one = Budget("kraken", lambda: 0)

    async def ask_on():
        while True:
            await one.take(BALANCE, 1, order=False)

    cheap = [asyncio.create_task(ask_on()) for _ in range(3)]
    for _ in range(100):
        await asyncio.sleep(0)
    for _ in range(3):
        await one.take(TRADES, 1, order=False)
    for task in cheap:
        task.cancel()
    await asyncio.gather(*cheap, return_exceptions=True)


async def test_who_gives_up_stands_in_nobodys_way():
    one = Budget("kraken", lambda: 0)
    for _ in range(12):
        await one.take(BALANCE, 1, order=False)
    first = asyncio.create_task(one.take(TRADES, 1, order=False))
    await asyncio.sleep(0)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    assert await waits(one, BALANCE) < 1 / 0.3 + 0.1


@settings(max_examples=30, deadline=None, phases=[Phase.generate])
@given(
    st.lists(
        st.tuples(st.sampled_from([BALANCE, TRADES, "create_order"]), st.floats(0, 20)),
        min_size=30,
        max_size=80,
    )
)
def test_what_kraken_allows_the_lowest_tier_is_never_exceeded(asked):
    """A counter of 15 that falls by 0.33 a second; 2 for a history, nothing for an order."""

    async def ask():
        seconds, counter, last = budget.monotonic, 0.0, budget.monotonic.now
        one = Budget("kraken", lambda: int(seconds.now * 1e6))
        for call, pause in asked:
            seconds.now += pause * (pause > 15)  # most come without a pause
            await one.take(call, 1, order=call == "create_order")
            counter = max(0.0, counter - (seconds.now - last) * 0.33)
            counter += {BALANCE: 1, TRADES: 2}.get(call, 0)
            last = seconds.now
            assert counter <= 15

    asyncio.run(ask())
