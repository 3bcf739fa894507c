"""The life of orders, whatever comes in whatever order; small ones of the campaigns."""

import pytest

from research.campaigns import orders


def test_no_steps_in_any_order_break_a_law():
    assert orders.order_steps(500)["steps"] >= 500


@pytest.mark.slow
def test_orders_that_are_never_acknowledged_are_there_once():
    assert orders.order_timeouts(4, venues=("binance",))["orders"] == 4


@pytest.mark.long
@pytest.mark.slow
def test_killed_runs_double_nothing():
    assert orders.order_kills(4, venues=("binance",))["kills"] == 4
