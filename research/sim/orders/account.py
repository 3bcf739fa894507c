"""One account at one venue: what is asked of it, what it has, and what its orders made.

Everything happens in virtual time and depends on nothing else: whoever asks, the account first
catches up with what the market did since it was last asked, print by print.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from decimal import Decimal
from typing import Literal, NamedTuple

from research.sim.orders import checks
from research.sim.orders.agenda import Agenda
from research.sim.orders.faults import twisted
from research.sim.orders.history import History, Retention
from research.sim.orders.ledger import Ledger
from research.sim.orders.matching import PLAIN, Matching
from research.sim.orders.quotes import Quotes
from research.sim.orders.words import (
    CENT,
    ZERO,
    Denied,
    Event,
    Income,
    Leg,
    Order,
    Rules,
    Side,
    Ticket,
    Trade,
    Twist,
)

FUNDING = 8 * 3_600_000_000
RATE = Decimal("0.0001")
"""Of every funding, as Binance's ``premiumIndex`` says here."""


class Terms(NamedTuple):
    """How a venue treats an account."""

    rules: Callable[[str], Rules]
    """Rules of a symbol; raises `Denied("symbol")` for one not listed."""
    fees: tuple[Decimal, Decimal]
    """Rates of makers and takers."""
    fee_coin: tuple[str, Decimal] | None = None
    """Coin in which fees are paid as long as there is any, and its price in quote currency."""
    retention: Retention = Retention()
    new_id: bool = False
    """Whether a triggered order trades under an id of its own."""
    spot: bool = False
    first_id: int = 1_000_000


class Account:
    """One account at one venue.

    Parameters
    ----------
    quotes : Quotes
        The played market.
    terms : Terms
        The venue's.
    coins : dict of str to Decimal
        What there is at first.
    now : callable
        The venue's time, microseconds since 1970 UTC.

    Attributes
    ----------
    ledger : Ledger
        Coins and positions.
    history : History
        Orders, trades and income.
    listeners : list of callable
        Each is told every `Event`.
    hedged : bool
        Whether long and short are held side by side.
    leverage, margin : dict
        By symbol; 20 and ``cross`` where nothing is set.
    moment : int
        Up to when it has caught up.
    """

    def __init__(
        self, quotes: Quotes, terms: Terms, coins: dict[str, Decimal], now: Callable[[], int]
    ) -> None:
        self.quotes, self.terms, self.ledger = quotes, terms, Ledger(coins)
        self.history = History(terms.retention, terms.first_id)
        self.listeners: list[Callable[[Event], None]] = []
        self.hedged = False
        self.leverage: dict[str, int] = {}
        self.margin: dict[str, Literal["cross", "isolated"]] = {}
        self._now, self.moment = now, now()
        self._matching = Matching(self)
        self._agenda = Agenda()
        self._deadlines: dict[str, int] = {}
        if not terms.spot:
            self._agenda.put(self.moment - self.moment % FUNDING + FUNDING, self._fund)

    # what may be asked

    def rules(self, symbol: str) -> Rules:
        """Return the rules of a symbol; `Denied` where it is not listed."""
        return self.terms.rules(symbol)

    def price(self, symbol: str) -> Decimal:
        """Return the last price, which is the mark price too."""
        return self.quotes.quote(symbol, self.moment).price

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Return what is open (in a symbol), oldest first."""
        self.advance()
        return self.standing(symbol)

    def standing(self, symbol: str | None = None) -> list[Order]:
        """Return the same as of when the account was last asked."""
        books = self._matching.standing
        if symbol is not None:
            return list(books.get(symbol, {}).values())
        return sorted((o for book in books.values() for o in book.values()), key=lambda o: o.id)

    def get(self, *, id: int | None = None, cid: str | None = None) -> Order | None:
        """Return an order by either id, the newest of a client's id; None: not known (any more)."""
        self.advance()
        return self.history.find(id=id, cid=cid, now=self.moment)

    def orders(self, symbol: str | None = None) -> list[Order]:
        """Return all orders (of a symbol) still known, oldest first."""
        self.advance()
        return self.history.orders(self.moment, symbol)

    def fills(self, symbol: str | None = None) -> list[Trade]:
        """Return all trades (of a symbol) still known, oldest first."""
        self.advance()
        return self.history.trades(self.moment, symbol)

    def income(self) -> list[Income]:
        """Return all income, oldest first."""
        self.advance()
        return self.history.income

    def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Return each coin's total and what of it neither orders nor positions hold."""
        self.advance()
        return {coin: (n, self.free(coin)) for coin, n in self.ledger.coins.items()}

    def free(self, coin: str) -> Decimal:
        """Return what of a coin neither orders nor positions hold."""
        self.advance()
        return checks.free(self, coin)

    def positions(self) -> dict[tuple[str, Leg], tuple[Decimal, Decimal]]:
        """Return quantity and mean price of what futures are held, by symbol and leg."""
        self.advance()
        held = self.ledger.positions.items()
        return {key: (one.quantity, one.entry) for key, one in held if one.quantity}

    def equity(self, coin: str) -> Decimal:
        """Return a coin, and what closing all positions settled in it would bring."""
        self.advance()
        total = self.ledger.coins.get(coin, ZERO)
        for (symbol, _), held in self.ledger.positions.items():
            if held.quantity and self.rules(symbol).quote == coin:
                total += held.worth(self.price(symbol))
        return total

    # what may be done

    def place(self, ticket: Ticket, twist: Twist = PLAIN) -> Order:
        """Take an order; raise `Denied` where it is refused."""
        self.advance()
        rules = self.rules(ticket.symbol)
        ticket = twisted(ticket, rules, twist)
        checks.check(self, rules, ticket)
        order = self._new(ticket)
        if twist is not PLAIN:
            self._matching.twists[order.id] = twist
        if not order.waits:
            self._matching.take(order, self.quotes.quote(order.symbol, self.moment))
        return order

    def bury(self, ticket: Ticket, why: str) -> Order:
        """Take an order that expires at once, as some venues judge one after they have taken it."""
        self.advance()
        order = self._new(ticket)
        self.end(order, "expired", why)
        return order

    def cancel(self, order: Order) -> Order:
        """Cancel an order; raise `Denied` where it is open no more."""
        self.advance()
        if order.status != "open":
            raise Denied("no_order")
        self.end(order, "cancelled", "cancelled by the client")
        return order

    def cancel_all(
        self, symbol: str | None = None, why: str = "cancelled by the client"
    ) -> list[Order]:
        """Cancel all that is open (in a symbol) and return it."""
        found = self.open_orders(symbol)
        for order in found:
            self.end(order, "cancelled", why)
        return found

    def dead_man(self, us: int, symbol: str = "") -> None:
        """Cancel all (of a symbol) in `us` unless called again in time; 0: not any more."""
        self.advance()
        self._deadlines.pop(symbol, None)
        if us > 0:
            due = self._deadlines[symbol] = self.moment + us
            self._agenda.put(due, lambda: self._expire(symbol, due))

    def transfer(self, coin: str, amount: Decimal) -> None:
        """Put coins in, or below 0 take them out."""
        self.advance()
        self.ledger.add(coin, amount)
        self._income("transfer", "", amount, coin)

    # what befalls an account from outside, for tests

    def inject_foreign(
        self,
        symbol: str,
        side: Side,
        quantity: Decimal,
        *,
        cid: str = "web_0001",
        price: Decimal | None = None,
        leg: Leg = "BOTH",
    ) -> Order:
        """Let somebody else trade in the account: by hand, or the venue itself.

        The venue's own have ids that begin with ``autoclose-``, ``adl_autoclose`` or
        ``settlement_autoclose-``. It fills at once, at `price` or at the market.
        """
        self.advance()
        order = self._new(Ticket(cid, symbol, side, "market", quantity, leg=leg))
        if price is None:
            self._matching.take(order, self.quotes.quote(symbol, self.moment))
        else:
            self.fill(order, quantity, price, maker=False)
        return order

    def edit_position(
        self, symbol: str, quantity: Decimal, entry: Decimal | None = None, leg: Leg = "BOTH"
    ) -> None:
        """Change what is held without any trade; at a spot venue, the base coin."""
        self.advance()
        rules = self.rules(symbol)
        if rules.spot:
            self.ledger.coins[rules.base] = quantity
        else:
            price = self.price(symbol) if entry is None else entry
            self.ledger.edit(symbol, leg, quantity, price)
        self._tell(Event("edited", self.moment))

    def prune_history(self, before: int | None = None) -> int:
        """Forget done orders and trades older than `before`; None: all. Return how many."""
        self.advance()
        return self.history.forget(self.moment + 1 if before is None else before)

    def fill_now(self, order: Order) -> None:
        """Let the rest of an open order fill at once: the race that a cancellation loses."""
        self.advance()
        self._matching.finish(order)

    # time

    def due(self) -> int:
        """Return when something may happen next (`FAR`: never): a print, a timer, funding."""
        first, symbols = self._agenda.first, self._matching.symbols
        return min(first, self.quotes.next(symbols, self.moment)) if symbols else first

    def advance(self) -> None:
        """Catch up with the market."""
        now = self._now()
        while self.moment < now:
            until = min(self._agenda.first, now)
            if symbols := self._matching.symbols:
                for strike in self.quotes.strikes(symbols, self.moment, until):
                    self.moment = strike.time
                    self._matching.meet(strike)
            self.moment = max(self.moment, until)
            self._agenda.catch_up(self.moment)

    def later(self, us: int, action: Callable[[], None]) -> None:
        """Do something so much later, at exactly that moment."""
        self._agenda.put(self.moment + us, action)

    def _expire(self, symbol: str, due: int) -> None:
        if self._deadlines.get(symbol) == due:
            del self._deadlines[symbol]
            for order in self.standing(symbol or None):
                self.end(order, "cancelled", "dead-man timer")

    def _fund(self) -> None:
        """Pay or get the funding of every position, and set the next moment of it."""
        for (symbol, _), held in sorted(self.ledger.positions.items()):
            if held.quantity:
                amount = (-held.quantity * self.price(symbol) * RATE).quantize(CENT)
                quote = self.rules(symbol).quote
                self.ledger.add(quote, amount)
                self._income("funding", symbol, amount, quote)
        self.later(FUNDING, self._fund)

    # what the matching tells

    def trigger(self, order: Order) -> None:
        """Book that the trigger of an order was reached."""
        order.triggered = order.updated = self.moment
        if self.terms.new_id:
            order.work = self.history.next_id()
            self.history.works(order)
        if order.close:
            order.quantity = abs(self.ledger.held(order.symbol, order.leg).quantity)
        self._emit("triggered", order)

    def fill(self, order: Order, quantity: Decimal, price: Decimal, *, maker: bool) -> None:
        """Book a fill."""
        rules = self.rules(order.symbol)
        realised = self.ledger.trade(rules, order.side, quantity, price, order.leg)
        fee, coin = self._charge(rules, quantity * price, maker)
        order.filled += quantity
        order.paid += quantity * price
        order.updated = self.moment
        times = self._matching.twists.get(order.id, PLAIN).times
        if order.rest == 0:
            order.status = "filled"
            self._matching.drop(order)
        number = self.history.next_trade(order.symbol)
        what = (order.symbol, order.side, quantity, price, fee, coin, maker, realised, order.leg)
        trade = Trade(number, order.work, order.cid, *what, self.moment)
        self.history.book(trade, times)
        if realised:
            self._income("realised", order.symbol, realised, rules.quote, number)
        self._income("fee", order.symbol, -fee, coin, number)
        for _ in range(times):
            self._emit("trade", order, trade)

    def end(self, order: Order, status: Literal["cancelled", "expired"], why: str) -> None:
        """Book that an order is over."""
        order.status, order.reason, order.updated = status, why, self.moment
        self._matching.drop(order)
        self._emit(status, order)

    def _new(self, ticket: Ticket) -> Order:
        number = self.history.next_id()
        cid = ticket.cid or f"venue{number}"
        made = Order(number, cid, *ticket[1:], self.moment, self.moment, work=number)
        self._matching.add(made)
        self.history.keep(made)
        self._emit("new", made)
        return made

    def _charge(self, rules: Rules, notional: Decimal, maker: bool) -> tuple[Decimal, str]:
        """Take the fee, in the account's own coin for it where there is enough."""
        fee, coin = notional * self.terms.fees[not maker], rules.quote
        if self.terms.fee_coin is not None:
            other, price = self.terms.fee_coin
            if self.ledger.coins.get(other, ZERO) >= fee / price:
                fee, coin = fee / price, other
        fee = fee.quantize(CENT)
        self.ledger.add(coin, -fee)
        return fee, coin

    # telling

    def _income(
        self,
        kind: Literal["funding", "realised", "fee", "transfer"],
        symbol: str,
        amount: Decimal,
        coin: str,
        trade: int | None = None,
    ) -> None:
        number = self.history.next_income()
        made = Income(number, kind, symbol, amount, coin, self.moment, trade)
        self.history.income.append(made)
        if kind == "funding":
            self._tell(Event("funding", self.moment, income=made))

    def _emit(
        self,
        kind: Literal["new", "triggered", "trade", "cancelled", "expired"],
        order: Order,
        trade: Trade | None = None,
    ) -> None:
        if self.listeners:
            self._tell(Event(kind, self.moment, copy(order), trade))

    def _tell(self, event: Event) -> None:
        for listener in list(self.listeners):
            listener(event)
