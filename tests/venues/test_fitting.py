"""Whatever is sent lies on the market's grid, and is never worse than what was asked."""

from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.venues.fitting import fit, lookup, maybe, number
from research.venues.words import LIMITED, Market, Order, Refused

TICKS = ["0.1", "0.5", "0.01", "0.00000001", "1", "10", "0.025"]
KINDS = ["market", "limit", "ioc", "post_only", "stop", "take"]


def market(tick="0.1", lot="0.001", least="0.001", most="100", notional="5", trading=True):
    steps = [Decimal(text) for text in (tick, lot, least, most, notional)]
    return Market("BTCUSDT", "BTC", "USDT", False, *steps, trading)


def order(kind="limit", side="buy", quantity="1", price="100", trigger=None, **more):
    price = Decimal(price) if kind in LIMITED else None
    trigger = Decimal(trigger or "90") if kind in ("stop", "take") else None
    return Order("a", "BTCUSDT", side, kind, Decimal(quantity), price, trigger, **more)


amounts = st.decimals("0.0000001", 10_000, places=7)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(["buy", "sell"]),
    amounts,
    amounts,
    st.sampled_from(TICKS),
    st.sampled_from(TICKS),
)
def test_on_the_grid_and_never_worse(kind, side, quantity, price, tick, lot):
    rules = market(tick, lot, lot, "1000000", "0")
    wanted = order(kind, side, quantity, price, trigger=price)
    try:
        cut = fit(wanted, rules, Decimal(100))
    except Refused as no:
        assume(no.reason in ("too_small", "price_out_of_band"))
        below = quantity < rules.lot
        assert below if no.reason == "too_small" else price < rules.tick
        return
    assert 0 <= quantity - cut.quantity < rules.lot
    assert cut.quantity % rules.lot == 0
    for asked, got in ((wanted.price, cut.price), (wanted.trigger, cut.trigger)):
        assert (asked is None) == (got is None)
        if asked is not None:
            better = asked - got if side == "buy" else got - asked
            assert 0 <= better < rules.tick
            assert got % rules.tick == 0
    assert fit(cut, rules, Decimal(100)) == cut
    assert "E" not in f"{cut.quantity:f}"


@pytest.mark.parametrize(
    ("wanted", "rules", "reason"),
    [
        (order(quantity="0.0009"), market(), "too_small"),
        (order(quantity="0.0019"), market(least="0.002"), "too_small"),
        (order(quantity="0.049"), market(), "too_small"),
        (order(quantity="101"), market(), None),
        (order("market", quantity="100"), market(), None),
        (order("market", quantity="101"), market(), "too_large"),
        (order("stop", quantity="101"), market(), "too_large"),
        (order(quantity="0.05"), market(), None),
        (order(quantity="0.049", reduce_only=True), market(), None),
        (order("market", quantity="0.049"), market(), "too_small"),
        (order(price="0.04"), market(), "price_out_of_band"),
        (order(), market(trading=False), "not_trading"),
        (order(reduce_only=True), market(trading=False), None),
        (order(quantity="-1"), market(), "too_small"),
        (order(quantity="0"), market(least="0"), "too_small"),
    ],
)
def test_refused_before_anything_is_sent(wanted, rules, reason):
    if reason is None:
        assert fit(wanted, rules, Decimal(100)).quantity <= wanted.quantity
        return
    with pytest.raises(Refused) as told:
        fit(wanted, rules, Decimal(100))
    assert told.value.reason == reason


def test_symbols_that_are_not_there():
    with pytest.raises(UserError, match=r"no symbol 'BTCUSD'\. Did you mean 'BTCUSDT'\?"):
        lookup({"BTCUSDT": market()}, "BTCUSD", "Binance USD-M")


@pytest.mark.parametrize("told", ["NaN", "Infinity", "", "x", None, "1,5"])
def test_what_is_no_number(told):
    with pytest.raises(ValueError, match="not a"):
        number(told)
    assert maybe("0.000") is None and maybe("") is None and maybe("1.50") == Decimal("1.5")
