"""The account against slow twins: matching print by print, money by addition."""

from decimal import ROUND_FLOOR, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.sim.orders.history import DAY, Retention
from research.sim.orders.words import Denied, Ticket, Twist

D = Decimal
A, B = "AAAUSDT", "BBBUSDT"
MINUTE = 60_000_000


def ticket(side="buy", kind="market", quantity="1", price=None, *, symbol=A, cid="", **more):
    value = None if price is None else D(price)
    trigger = more.pop("trigger", None)
    more["trigger"] = None if trigger is None else D(trigger)
    return Ticket(cid, symbol, side, kind, D(quantity), value, **more)


def at(prices, share, symbol=A):
    """A price so much away from the last one, on the tick."""
    last = prices.quotes.quote(symbol, prices.now).price
    tick = prices.rules(symbol).tick
    return (last * D(share) / tick).to_integral_value(ROUND_FLOOR) * tick


def prints(prices, since, symbol=A):
    return prices.market.trades(symbol, since + 1, prices.now, now=prices.now, most=1 << 30)


def test_a_market_order_walks_the_book_as_it_stands(prices, account):
    made = prints(prices, prices.now - prices.now % MINUTE - 1)[-1]
    book = prices.market.book(A, made.price, made.time).asks
    order = account.place(ticket(quantity="40"))
    left, paid = D(40), D(0)
    for price, quantity in book:
        there = D(str(quantity)).quantize(D("0.001"), ROUND_FLOOR)
        ask = -(D(str(-price)).quantize(D("0.01"), ROUND_FLOOR))
        part = min(left, there)
        left, paid = left - part, paid + part * ask
    assert left == 0 and order.status == "filled"
    assert (order.filled, order.paid) == (40, paid)
    assert len(account.fills()) > 1 and all(not fill.maker for fill in account.fills())


def test_the_same_book_is_taken_but_once(account):
    first = account.place(ticket(quantity="40"))
    second = account.place(ticket(quantity="40"))
    assert second.average > first.average
    made = [fill.price for fill in account.fills()]
    assert made == sorted(made) and len(set(made)) < len(made), "a level was shared"


def test_what_the_book_does_not_hold_expires(prices, account):
    account.transfer("USDT", D(10**7))
    order = account.place(ticket(quantity="9000"))
    assert order.status == "expired" and 0 < order.filled < 9000 and not account.open_orders()


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_limit_fills_at_its_price_by_the_prints_that_went_through_it(prices, account, side):
    limit = at(prices, "0.999" if side == "buy" else "1.001")
    order = account.place(ticket(side, "limit", "60", limit))
    begun = prices.now
    prices.on(18 * MINUTE)
    left, expected = D(60), []
    for one in prints(prices, begun):
        price = D(repr(one.price))
        if left and (price < limit if side == "buy" else price > limit):
            lots = D(repr(one.quantity)).quantize(D("0.001"), ROUND_FLOOR)
            part = min(left, max(lots, D("0.001")))
            left -= part
            expected.append((part, limit, True, one.time))
    assert expected, "no print went through it: the test says nothing"
    assert [(f.quantity, f.price, f.maker, f.time) for f in account.fills()] == expected
    assert order.rest == left and order.status == ("open" if left else "filled")


def test_of_two_limits_the_better_price_fills_first(prices, account):
    worse = account.place(ticket("buy", "limit", "500", at(prices, "0.9992")))
    better = account.place(ticket("buy", "limit", "5", at(prices, "0.9995")))
    while not worse.filled:
        prices.on()
        account.advance()
    assert better.status == "filled"


def test_a_limit_that_crosses_takes_and_the_rest_of_it_rests(prices, account):
    account.transfer("USDT", D(10**6))
    ask = prices.quotes.levels(prices.rules(A), "buy", prices.now)[0]
    order = account.place(ticket("buy", "limit", ask[1] + 50, ask[0]))
    assert order.filled == ask[1] and order.status == "open"
    ioc = account.place(ticket("sell", "limit", "2000", at(prices, "0.9999"), force="IOC"))
    assert ioc.status == "expired" and ioc.filled < 2000


def test_post_only_and_fill_or_kill_are_refused_rather_than_done_otherwise(prices, account):
    ask = prices.quotes.levels(prices.rules(A), "buy", prices.now)[0]
    with pytest.raises(Denied, match="would_take"):
        account.place(ticket("buy", "limit", "1", ask[0], force="GTX"))
    with pytest.raises(Denied, match="would_not_fill"):
        account.place(ticket("buy", "limit", ask[1] + 1, ask[0], force="FOK"))
    resting = account.place(ticket("buy", "limit", "1", at(prices, "0.999"), force="GTX"))
    assert resting.status == "open" and account.history.accepted == 1


@pytest.mark.parametrize(("side", "kind", "share"), [
    ("sell", "stop", "0.999"), ("buy", "stop", "1.001"),
    ("sell", "take", "1.001"), ("buy", "take", "0.999"),
])  # fmt: skip
def test_conditional_orders_trigger_on_the_first_print_that_reaches_them(
    prices, account, side, kind, share
):
    trigger = at(prices, share)
    order = account.place(ticket(side, kind, "1", trigger=trigger))
    begun = prices.now
    prices.on(18 * MINUTE)
    account.advance()
    rises = share > "1"
    reached = [
        one.time
        for one in prints(prices, begun)
        if (D(repr(one.price)) >= trigger if rises else D(repr(one.price)) <= trigger)
    ]
    assert reached and order.triggered == reached[0] == account.fills()[0].time
    assert order.status == "filled" and not account.fills()[0].maker


def test_what_would_trigger_at_once_is_refused(prices, account):
    with pytest.raises(Denied, match="would_trigger"):
        account.place(ticket("sell", "stop", "1", trigger=at(prices, "1.01")))


def test_reduce_only_never_turns_a_position(prices, account):
    with pytest.raises(Denied, match="no_position"):
        account.place(ticket("sell", reduce_only=True))
    account.place(ticket("buy", quantity="2"))
    order = account.place(ticket("sell", quantity="5", reduce_only=True))
    assert order.filled == 2 and order.status == "expired" and not account.positions()
    stop = account.place(
        ticket("sell", "stop", "1", trigger=at(prices, "0.9995"), reduce_only=True)
    )
    prices.on(18 * MINUTE)
    account.advance()
    assert stop.status == "expired" and "nothing to reduce" in stop.reason


def test_an_order_that_can_only_reduce_holds_no_money(prices, account):
    account.place(ticket("buy", quantity="2"))
    before = account.free("USDT")
    away = at(prices, "1.05")
    account.place(ticket("sell", "limit", "2", away, reduce_only=True))
    assert account.free("USDT") == before
    account.place(ticket("sell", "limit", "2", away))
    assert account.free("USDT") < before


def test_close_position_closes_whatever_there_is(prices, account):
    account.place(ticket("buy", quantity="2"))
    stop = account.place(ticket("sell", "stop", "0", trigger=at(prices, "0.9995"), close=True))
    account.place(ticket("buy", quantity="1.5"))
    prices.on(18 * MINUTE)
    assert not account.positions() and stop.filled == D("3.5")


FILTERS = {
    "symbol": {"symbol": "NONEUSDT"},
    "tick": {"kind": "limit", "price": "97.001"},
    "price": {"kind": "limit", "price": "-1"},
    "band": {"kind": "limit", "price": "20"},
    "lot": {"quantity": "1.0001"},
    "least": {"quantity": "0.0001"},
    "most": {"quantity": "1000000"},
    "notional": {"quantity": "0.01"},
    "funds": {"quantity": "9000"},
    "leg": {"leg": "LONG"},
}


@pytest.mark.parametrize("reason", FILTERS)
def test_what_is_wrong_with_a_ticket_is_named(prices, reason):
    account = prices.account()
    listed = account.terms.rules

    def rules(symbol):
        if symbol == "NONEUSDT":
            raise Denied("symbol")
        return listed(symbol)

    account.terms = account.terms._replace(rules=rules)
    with pytest.raises(Denied) as no:
        account.place(ticket(**FILTERS[reason]))
    assert no.value.reason == reason and account.history.accepted == 0


def test_a_client_id_is_unique_among_open_orders_alone(prices, account):
    price = at(prices, "0.9")
    first = account.place(ticket("buy", "limit", "1", price, cid="mine"))
    with pytest.raises(Denied, match="used_id"):
        account.place(ticket(cid="mine"))
    account.cancel(first)
    again = account.place(ticket(cid="mine"))
    assert account.get(cid="mine") is again and account.history.reused == 1
    third = account.place(ticket(cid="mine"))
    assert account.history.reused == 2 and account.get(id=again.id) is again is not third


def test_an_order_may_be_taken_and_end_at_once_unfilled(prices, account):
    told = []
    account.listeners.append(told.append)
    order = account.bury(ticket("buy", "limit", "1", at(prices, "1.05")), "would have traded")
    assert (order.status, order.filled, order.reason) == ("expired", 0, "would have traded")
    assert [event.kind for event in told] == ["new", "expired"]
    assert account.open_orders() == [] and account.get(id=order.id) is order


def test_no_more_open_orders_than_the_venue_takes(prices, account):
    for _ in range(200):
        account.place(ticket("buy", "limit", "0.1", at(prices, "0.9")))
    with pytest.raises(Denied, match="too_many"):
        account.place(ticket())
    assert len(account.cancel_all(A)) == 200 and not account.open_orders()


def test_trades_are_numbered_in_each_symbol_and_told_by_it(account):
    for symbol in (A, B, A, B):
        account.place(ticket(symbol=symbol))
    assert [fill.id for fill in account.fills(A)] == [1, 2] == [f.id for f in account.fills(B)]


def test_history_is_forgotten_as_the_venue_says(make_market, prices):
    keep = Retention(unfilled=10 * MINUTE, orders=15 * MINUTE, trades=12 * MINUTE)
    account = prices.account(retention=keep)
    filled = account.place(ticket(cid="filled"))
    gone = account.cancel(account.place(ticket("buy", "limit", "1", at(prices, "0.9"), cid="gone")))
    stays = account.place(ticket("buy", "limit", "1", at(prices, "0.9"), cid="open"))
    prices.on(10 * MINUTE)
    assert account.get(id=gone.id) is gone and len(account.orders()) == 3
    prices.on(1)
    assert account.get(cid="gone") is None and account.get(cid="filled") is filled
    prices.on(2 * MINUTE)
    assert not account.fills() and account.orders(A) == [filled, stays]
    prices.on(4 * MINUTE)
    assert account.get(cid="filled") is None and account.get(cid="open") is stays
    assert prices.account().history.retention == Retention(3 * DAY, 90 * DAY, 90 * DAY)


def test_pruning_forgets_all_that_is_done(prices, account):
    account.place(ticket(cid="a"))
    resting = account.place(ticket("buy", "limit", "1", at(prices, "0.9"), cid="b"))
    assert account.prune_history() == 2
    assert account.orders() == [resting] and not account.fills() and account.get(cid="a") is None
    assert account.positions(), "what is held is not history"


def test_a_dead_mans_timer_cancels_at_its_moment_unless_renewed(prices, account):
    price = at(prices, "0.9")
    one, other = (account.place(ticket("buy", "limit", "1", price)) for _ in "ab")
    far = account.place(ticket("buy", "limit", "1", at(prices, "0.9", B), symbol=B))
    account.dead_man(MINUTE, A)
    prices.on(MINUTE - 1)
    account.dead_man(2 * MINUTE, A)
    begun = prices.now
    prices.on(5 * MINUTE)
    account.advance()
    assert one.status == other.status == "cancelled" and far.status == "open"
    assert one.updated == begun + 2 * MINUTE
    account.dead_man(MINUTE)
    account.dead_man(0)
    prices.on(2 * MINUTE)
    assert account.open_orders() == [far]


def test_funding_is_paid_on_what_is_held_then(make_market, make_prices):
    prices = make_prices(make_market(bars=490))
    account = prices.account()
    account.place(ticket("sell", quantity="3"))
    account.place(ticket(quantity="1", symbol=B))
    assert prices.now % (480 * MINUTE) == 20 * MINUTE + MINUTE // 2
    prices.on(470 * MINUTE)
    paid = [one for one in account.income() if one.kind == "funding"]
    moment = prices.now - prices.now % (480 * MINUTE)
    assert [(one.symbol, one.time) for one in paid] == [(A, moment), (B, moment)]
    mark = prices.quotes.quote(A, moment).price
    assert paid[0].amount == (3 * mark * D("0.0001")).quantize(D("1e-8")) > 0 > paid[1].amount


def test_fees_are_paid_in_the_other_coin_as_long_as_there_is_any(prices):
    coins = {"USDT": D(10_000), "BNB": D("0.0001")}
    account = prices.account(coins=coins, fee_coin=("BNB", D(600)))
    first, second = (account.place(ticket()) for _ in "ab")
    fills = account.fills()
    assert [fill.coin for fill in fills] == ["BNB", "USDT"]
    assert fills[0].fee == (first.paid * D("0.0005") / 600).quantize(D("1e-8"))
    assert account.balances()["BNB"][0] == D("0.0001") - fills[0].fee
    assert fills[1].fee == (second.paid * D("0.0005")).quantize(D("1e-8"))


def test_spot_changes_coins_and_holds_what_orders_may_need(prices):
    account = prices.account(spot=True, coins={"USDT": D(1000)})
    bought = account.place(ticket(quantity="2"))
    fee = sum(fill.fee for fill in account.fills())
    assert account.balances()["USDT"] == (1000 - bought.paid - fee,) * 2
    assert account.balances()["AAA"] == (2, 2) and not account.positions()
    limit = account.place(ticket("sell", "limit", "1.5", at(prices, "1.1")))
    assert account.balances()["AAA"] == (2, D("0.5"))
    with pytest.raises(Denied, match="funds"):
        account.place(ticket("sell", quantity="1"))
    account.cancel(limit)
    account.place(ticket("sell", quantity="1"))


def test_hedged_legs_are_apart(prices, account):
    account.hedged = True
    account.place(ticket("buy", quantity="2", leg="LONG"))
    account.place(ticket("sell", quantity="1", leg="SHORT"))
    with pytest.raises(Denied, match="leg"):
        account.place(ticket())
    assert {leg: n for (_, leg), (n, _) in account.positions().items()} == {"LONG": 2, "SHORT": -1}


def test_others_may_trade_in_the_account_and_the_venue_may_change_it(account):
    order = account.inject_foreign(A, "buy", D(3), cid="adl_autoclose", price=D("90"))
    assert order.status == "filled" and account.positions()[A, "BOTH"] == (3, 90)
    account.edit_position(A, D(-2), D(100))
    assert account.positions()[A, "BOTH"] == (-2, 100) and len(account.fills()) == 1


def test_a_twisted_order_fills_a_share_and_then_what_it_is_told(prices, account):
    told = []
    account.listeners.append(told.append)
    expired = account.place(ticket(quantity="4"), Twist(share=D("0.25")))
    assert (expired.filled, expired.status) == (1, "expired")
    rest = account.place(
        ticket("buy", "limit", "4", at(prices, "0.95")), Twist(D("0.5"), "rest", MINUTE, times=3)
    )
    assert (rest.filled, rest.status) == (2, "open")
    prices.on(MINUTE)
    account.advance()
    assert rest.status == "filled" and rest.updated == rest.time + MINUTE
    assert [f.id for f in account.fills()] == [1, 2, 2, 2, 3, 3, 3]
    assert [e.trade.id for e in told if e.kind == "trade"] == [1, 2, 2, 2, 3, 3, 3]
    changed = account.place(
        ticket("buy", "limit", "4", at(prices, "0.95")), Twist(factor=D("0.5"), ticks=-3)
    )
    assert changed.quantity == 2 and changed.price == at(prices, "0.95") - D("0.03")


def test_events_come_in_order_with_the_state_of_then(prices, account):
    told = []
    account.listeners.append(told.append)
    account.place(ticket("buy", quantity="30"))
    kinds = [event.kind for event in told]
    assert kinds == ["new", *["trade"] * (len(kinds) - 1)]
    filled = [event.order.filled for event in told]
    assert filled == sorted(filled) and filled[0] == 0 and filled[-1] == 30


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["market", "limit", "stop", "take", "cancel", "wait", "leverage"]),
        st.sampled_from([A, B]),
        st.sampled_from(["buy", "sell"]),
        st.integers(1, 4000),
        st.integers(-40, 40),
        st.sampled_from(["GTC", "IOC", "GTX"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=15,
)


def act(prices, account, action):
    kind, symbol, side, milli, away, force, reduces = action
    if kind == "wait":
        prices.on(milli * 20_000)
    elif kind == "leverage":
        account.leverage[symbol] = 1 + milli % 20
    elif kind == "cancel":
        for order in account.open_orders(symbol)[: milli % 3]:
            account.cancel(order)
    else:
        price = at(prices, 1 + D(away) / 10_000, symbol)
        more = {"force": force} if kind == "limit" else {}
        more |= {"price": price} if kind == "limit" else {}
        more |= {"trigger": price} if kind in ("stop", "take") else {}
        account.place(
            ticket(side, kind, D(milli) / 1000, symbol=symbol, reduce_only=reduces, **more)
        )


@given(actions=ACTIONS, spot=st.booleans())
@settings(max_examples=12, deadline=None)
def test_money_and_positions_add_up_whatever_is_done(make_prices, actions, spot):
    coins = {"USDT": D(2000), "AAA": D(3), "BBB": D(3)} if spot else {"USDT": D(2000)}
    prices = make_prices()
    account = prices.account(spot=spot, coins=coins)
    for action in actions:
        try:
            act(prices, account, action)
        except Denied:
            continue
        check(prices, account, coins, spot=spot)
    assert account.history.reused == 0


def check(prices, account, coins, *, spot):
    account.advance()
    fills = account.fills()
    signed = {A: D(0), B: D(0)}
    for fill in fills:
        signed[fill.symbol] += fill.quantity if fill.side == "buy" else -fill.quantity
    cash = coins["USDT"] - sum(
        f.price * (f.quantity if f.side == "buy" else -f.quantity) + f.fee for f in fills
    )
    cash += sum(one.amount for one in account.income() if one.kind == "funding")
    marks = sum(n * account.price(s) for s, n in signed.items())
    if spot:
        assert account.balances()["USDT"][0] == cash >= 0
        assert all(account.balances()[s[:3]][0] == coins[s[:3]] + n >= 0 for s, n in signed.items())
        assert all(0 <= free <= total for total, free in account.balances().values())
    else:
        held = {s: n for (s, _), (n, _) in account.positions().items()}
        assert held == {s: n for s, n in signed.items() if n}
        assert account.equity("USDT") == cash + marks
    by_order = {}
    for fill in fills:
        by_order[fill.order] = by_order.get(fill.order, 0) + fill.quantity
    for order in account.orders():
        assert by_order.get(order.work, 0) == order.filled <= order.quantity
        assert (order.status == "filled") == (order.rest == 0)
        assert (order in account.open_orders()) == (order.status == "open")
        if order.price is not None and order.filled:
            saved = order.price - order.average
            assert saved >= 0 if order.side == "buy" else saved <= 0
