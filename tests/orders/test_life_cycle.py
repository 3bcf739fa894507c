"""The life of orders, whatever comes in whatever order; small ones of the campaigns."""

from decimal import Decimal

import pytest

from research.campaigns import orders
from research.campaigns.orders.points import state_of
from research.orders import Known
from research.venues.words import Order


def test_no_steps_in_any_order_break_a_law():
    assert orders.order_steps(500)["steps"] >= 500


@pytest.mark.slow
def test_orders_that_are_never_acknowledged_are_there_once():
    assert orders.order_timeouts(4, venues=("binance",))["orders"] == 4


@pytest.mark.slow
def test_killed_runs_double_nothing():
    found = orders.order_kills(4, venues=("binance",))
    assert (found["kills"], found["sent"], found["restarts"]["added"]) == (4, 0, 0)
    assert sum(found["points"].values()) == 4 and {"meant", "sent"} <= set(found["states"])


SENT = Known(
    Order("a", "SIMUSDT", "buy", "limit", Decimal(2), Decimal(9)), "entry", 5, 6, sent=True
)
STOP = SENT._replace(order=SENT.order._replace(kind="stop", price=None, trigger=Decimal(8)))
OPEN, PART, OVER = ("open", "0", ""), ("open", "1", ""), ("cancelled", "0", "")


@pytest.mark.parametrize(
    ("known", "there", "state"),
    [
        (SENT._replace(sent=False), None, "meant"),
        (SENT, None, "sent"),
        (SENT._replace(answer="unknown"), None, "doubted"),
        (SENT, OPEN, "accepted, not acknowledged"),
        (SENT._replace(answer="unknown"), PART, "filled, not acknowledged"),
        (SENT._replace(answer="accepted"), OPEN, "resting"),
        (SENT._replace(answer="accepted"), PART, "partly filled"),
        (SENT._replace(answer="accepted"), ("filled", "2", ""), "over, fills not booked"),
        (SENT._replace(answer="accepted", cancelling=True), OPEN, "cancelling"),
        (SENT._replace(answer="accepted", cancelling=True), OVER, "cancelled, not known"),
        (STOP._replace(answer="accepted"), OPEN, "conditional, resting"),
        (STOP._replace(answer="accepted"), ("open", "0", "triggered"), "triggered, not known"),
    ],
)
def test_the_state_a_kill_finds_an_order_in_has_a_name(known, there, state):
    assert state_of(known, there) == state
