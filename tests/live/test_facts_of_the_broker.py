"""Facts of the broker that need no exchange: money that is counted, and keys that may too much."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from research.campaigns.live_orders import chosen
from research.campaigns.orders.memory import SYMBOL, MemoryGateway, MemoryVenue
from research.errors import UserError
from research.live.broker import Broker, terms
from research.live.broker.balance import Balances
from research.live.broker.books import Books
from research.live.broker.deals import Deals, Levels
from research.live.desk import Desk, Wish
from research.live.journal import Event
from research.orders import Account, Intent, Owner, Patience, Sender, cid, fold
from research.orders.money import Holding
from research.trading.account import new_venue
from research.trading.rules import threshold
from research.venues.words import (
    Balance,
    Income,
    Order,
    Permissions,
    Refused,
    Settings,
    Unreachable,
)

OWNER = Owner("trend", "binance:main", "run_1")
NAMES = {"BTC": SYMBOL}


class House:
    """A desk, an account at a venue in memory, and a journal that is a list."""

    def __init__(self):
        self.venue, self.said, self.wishes = MemoryVenue(), [], []
        self.gateway = MemoryGateway(self.venue)
        rules = threshold(enter=0.01, interval=timedelta(minutes=1))
        self.desk = Desk(rules, new_venue(1), ["BTC"], 1000.0, live=True)
        self.account = Account(
            *(self.gateway, self.write, fold([]), OWNER),
            now=lambda: self.venue.time,
            since=self.venue.time,
        )
        self.sender = Sender(self.account)

    def write(self, *events):
        self.said += events

    def books(self):
        """Return the books of a sitting that begins now."""
        made = Books(self.desk, self.account, NAMES, asyncio.Lock(), lambda said: self.write(*said))
        kept = ("booked", "received", "intent")
        rows = [Event(n, kind, 0, body) for n, (kind, body) in enumerate(self.said)]
        made.recall(row for row in rows if row.kind in kept)
        return made

    async def buy(self, quantity="1"):
        name = cid(OWNER, SYMBOL, self.venue.time, "entry")
        order = Order(name, SYMBOL, "buy", "market", Decimal(quantity))
        return await self.sender.send(Intent(order, "entry", self.venue.time, Decimal(100)))


# -- books ----------------------------------------------------------------------------------------


async def test_a_new_sitting_books_no_fill_and_no_funding_again():
    house = House()
    await house.buy()
    paid = Income("a", "funding", SYMBOL, Decimal("-0.5"), "USDT", house.venue.time)
    house.venue.paid.append(paid)
    await house.account.incomes()
    assert await house.books().collect() == 2
    cash = house.desk.cash
    assert [await house.books().collect() for _ in range(2)] == [0, 0]
    assert (house.desk.cash, house.desk.positions) == (cash, {"BTC": 1.0})
    house.venue.paid.append(paid._replace(id="b", amount=Decimal("-0.25")))
    await house.account.incomes()
    assert await house.books().collect() == 1 and house.desk.cash == cash - 0.25


# -- the balance ----------------------------------------------------------------------------------


class Purse:
    """An account of which only the money counts."""

    def __init__(self, *, spot=False):
        self.total, self.held = Decimal(1000), Holding()
        market = SimpleNamespace(quote="USDT", spot=spot)
        self.gateway = SimpleNamespace(market=lambda name: market, balance=self.balance)
        book = SimpleNamespace(holding=lambda name: self.held)
        self.account = SimpleNamespace(book=book, now=lambda: 5)
        self.rows = []

    async def balance(self):
        return {"USDT": Balance(self.total, self.total)}

    async def compare(self):
        """Compare as a sitting does that begins now."""
        events = [Event(n, kind, 0, body) for n, (kind, body) in enumerate(self.rows)]
        said = await Balances(self.gateway, self.account, NAMES, events).compare()
        self.rows += said
        return [(body["kind"], body.get("difference")) for _, body in said]


async def test_money_that_fills_and_funding_explain_is_no_difference():
    purse = Purse()
    assert await purse.compare() == [("balance", None)]
    purse.held = Holding(realised=Decimal(10), fees=Decimal(2), income=Decimal(-3))
    purse.total += 5
    assert await purse.compare() == []


async def test_a_fee_in_another_coin_takes_nothing_from_the_quote_currency():
    purse = Purse()
    await purse.compare()
    purse.held = Holding(fees=Decimal(2), estimated=Decimal(2))
    assert await purse.compare() == []


async def test_at_a_spot_venue_what_is_held_was_paid_for():
    purse = Purse(spot=True)
    await purse.compare()
    purse.held, purse.total = Holding(quantity=Decimal(1), cost=Decimal(100)), Decimal(900)
    assert await purse.compare() == []


async def test_a_difference_is_told_once_and_its_end_too():
    purse = Purse()
    await purse.compare()
    purse.total += 7
    assert await purse.compare() == [("balance_differs", "7")]
    assert await purse.compare() == []
    purse.total -= 7
    assert await purse.compare() == [("balance_differs", "0")]


# -- before anything is sent ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "law"),
    [
        (Permissions(trade=True, withdraw=True, addresses=True), "its key may withdraw"),
        (Permissions(trade=False, withdraw=False, addresses=True), "its key may not trade"),
    ],
)
async def test_a_key_that_may_too_much_or_too_little_is_refused(found, law):
    async def permissions():
        return found

    with pytest.raises(UserError, match=law):
        await terms._permitted(SimpleNamespace(account="a", permissions=permissions))


def set_to(found):
    """Return a venue at which settings are as they are, whatever is wanted."""

    async def set_(symbol, wanted):
        return found

    market = SimpleNamespace(trading=True, spot=False)
    return SimpleNamespace(account="a", market=lambda name: market, set=set_)


FINE = Settings(1, "isolated", hedged=False)


@pytest.mark.parametrize("stays", [{"hedged": True}, {"margin": "cross"}, {"leverage": 20}])
async def test_a_setting_that_does_not_become_what_it_is_set_to_is_refused(stays):
    with pytest.raises(UserError, match="must have leverage 1, isolated margin, one-way mode"):
        await terms._set(chosen(), set_to(FINE._replace(**stays)), "AAAUSDT")


async def test_settings_as_the_study_wants_them_are_fine():
    await terms._set(chosen(), set_to(FINE), "AAAUSDT")


def test_an_urgent_word_forbids_openings_at_once_and_never_lifts_what_is_graver():
    house = House()
    study = chosen(**{"data.symbols": ["BTC"]})
    clock = SimpleNamespace(now=lambda: 0)
    broker = Broker(study, None, house.gateway, house.desk, clock, speed=1.0, since=0)
    broker._account = house.account
    broker.urgent(stopping=True)
    assert house.account.mode == "active", "nothing is known of the account yet"
    broker.begun = True
    broker.urgent(stopping=False)
    assert house.account.mode == "active"
    broker.urgent(stopping=True)
    assert house.account.mode == "reducing"
    house.account.stop("a person must look")
    broker.urgent(stopping=True)
    assert house.account.mode == "stopped"


class Part:
    """Notes what it is asked to do."""

    def __init__(self, name, noted):
        self._name, self._noted = name, noted

    def __getattr__(self, word):
        async def done(*args):
            self._noted.append(f"{self._name} {word}")

        return done


def parted(**settings):
    """Return a broker whose parts note what they are asked, and the notes."""
    house, noted = House(), []
    study = chosen(**{"data.symbols": ["BTC"], **settings})
    clock = SimpleNamespace(now=lambda: 0)
    broker = Broker(study, None, house.gateway, house.desk, clock, speed=1.0, since=0)
    for name in ("sender", "deals", "books", "dead", "gateway"):
        setattr(broker, f"_{name}", Part(name, noted))
    broker._account = SimpleNamespace(watch=Part("account", noted).watch, patience=Patience())
    broker.begun, broker._protected = True, False
    return broker, noted


@pytest.mark.parametrize("protected", [True, False])
async def test_stops_that_shall_outlive_us_are_under_no_timer(protected):
    broker, noted = parted()
    broker._protected = protected
    await broker._switch()
    await asyncio.sleep(0)
    assert noted == ["dead end" if protected else "dead run"]


async def test_the_end_settles_what_is_unknown_before_it_lets_go_of_timer_and_venue():
    broker, noted = parted()
    await broker._switch()
    await asyncio.sleep(0)
    noted.clear()
    await broker.close()
    assert noted == [
        *("sender settle", "deals end", "account watch", "books collect", "dead end"),
        "gateway close",
    ]


@pytest.mark.parametrize(
    ("trouble", "law"),
    [
        (Refused("clock", "EAPI:Invalid nonce"), "the venue refuses .clock: EAPI:Invalid nonce"),
        (Unreachable("no answer"), "the venue does not answer .no answer"),
    ],
)
async def test_an_account_that_cannot_be_looked_at_is_one_line_after_some_tries(trouble, law):
    broker, _ = parted()
    broker._account.patience, asked = Patience(pauses=(0.0,)), []

    async def compare():
        asked.append(trouble)
        raise trouble

    broker._compare = compare
    with pytest.raises(UserError, match=law) as said:
        await broker._first_look()
    assert len(asked) == 5 and "\n" not in str(said.value)


# -- deals ----------------------------------------------------------------------------------------


def deals(house, stop=None, take=None):
    levels = Levels(*(None if x is None else Decimal(x) for x in (stop, take)))
    return Deals(house.desk, house.sender, house.books(), NAMES, levels)


async def test_what_leaves_a_position_can_only_reduce_it():
    house = House()
    await house.buy()
    made = deals(house)
    await house.books().collect()
    await made.leave("BTC", "reversal")
    left = [body for kind, body in house.said if kind == "intent"][-1]
    assert (left["side"], left["quantity"], left["reduce_only"]) == ("sell", "1.000", True)
    assert house.account.book.held(SYMBOL) == 0


@pytest.mark.parametrize("then", ["others trade", "the run ends"])
async def test_a_stop_taken_back_for_an_exit_that_may_not_leave_any_more_is_laid_again(
    monkeypatch, then
):
    house = House()
    await house.buy()
    made = deals(house, stop="0.02")
    await made.protect("BTC")
    (stop,) = house.venue.open
    wish = Wish("BTC", "risk_halt", 0, 0.0, 1.0)
    monkeypatch.setattr(made, "_wish", lambda symbol: wish)
    cancel = house.gateway.cancel

    async def meanwhile(symbol, cid):
        done = await cancel(symbol, cid)
        if then == "the run ends":
            house.account.ending = True
        else:
            house.venue.foreign(Decimal("0.5"))
            await house.account.refresh(SYMBOL)
        return done

    house.gateway.cancel = meanwhile
    await made._deal("BTC")
    (again,) = house.venue.open
    assert stop.status == "cancelled" and house.account.book.held(SYMBOL) == 1
    assert again.order[1:] == stop.order[1:] and again.order.cid != stop.order.cid
    legs = [body["leg"] for kind, body in house.said if kind == "intent"]
    assert legs == ["entry", "stop", "stop"]
    assert (house.account.mode == "stopped") == (then == "others trade")


async def test_a_stop_that_somebody_else_took_back_is_not_laid_on_a_stopped_account():
    house = House()
    await house.buy()
    made = deals(house, stop="0.02")
    await made.protect("BTC")
    house.venue.open[0].status = "cancelled"
    await house.account.watch()
    house.account.stop("a person must look")
    await made.protect("BTC")
    assert not house.venue.open and len(house.venue.orders) == 2


async def test_an_entry_that_is_taken_back_while_its_price_is_asked_for_is_not_sent(monkeypatch):
    house = House()
    made = deals(house)
    wish = Wish("BTC", "entry", 1, 500.0, 0.0)
    monkeypatch.setattr(made, "_wish", lambda symbol: None)
    assert await made._enter(wish) == "taken back" and not house.said
    monkeypatch.setattr(made, "_wish", lambda symbol: wish._replace(target=-1))
    assert await made._enter(wish) == "taken back" and not house.said


async def test_a_position_whose_stop_is_refused_is_left():
    house = House()
    await house.buy()
    made = deals(house, stop="0.02", take="0.05")
    send = house.gateway.send

    async def no_stops(order):
        if order.kind == "stop":
            house.venue.sends.append("refused")
        return await send(order)

    house.gateway.send = no_stops
    await made.protect("BTC")
    assert house.account.book.held(SYMBOL) == 0 and not house.venue.open
