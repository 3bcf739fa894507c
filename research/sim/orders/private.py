"""Signed requests: who asks, whether they may, what goes wrong, and what comes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from research.sim.binance_rest import Refused, Weights
from research.sim.clock import SECOND, Clock
from research.sim.faults import ORDER, Fault, Plan
from research.sim.lines import Line, Tell
from research.sim.market import Market
from research.sim.orders.account import Account
from research.sim.orders.faults import CARRIERS, Cut, Gone, denial, seconds, twist
from research.sim.orders.quotes import FAR, Quotes
from research.sim.orders.venues import Call, Route, Stream, Token, Venue, venues
from research.sim.orders.words import Denied, Key


class Private:
    """The order side of one exchange.

    Parameters
    ----------
    market, clock, plan : Market, Clock, Plan
        What is played, when, and what goes wrong.
    keys : iterable of Key
        Who may ask; each account begins with its first key's funds.
    weights : Weights
        Weight used at Binance, shared with its public routes.
    order_limits : tuple of int
        New orders in 10 s and in a minute at Binance.
    tell : callable
        The log.
    skew : callable
        By how much the venues' clock is off at a moment, microseconds.

    Attributes
    ----------
    accounts : dict of str to Account
        By venue; those that keys name, by ``<venue>:<account>``.
    keys : dict of tuple to Key
        By venue and id.
    tokens : dict of str to Token
        What private streams are opened with.
    """

    def __init__(
        self,
        market: Market,
        clock: Clock,
        plan: Plan,
        keys: Iterable[Key],
        *,
        weights: Weights,
        order_limits: tuple[int, int],
        tell: Tell,
        skew: Callable[[int], int],
    ) -> None:
        self.market, self.clock, self.plan, self.tell = market, clock, plan, tell
        self.weights, self.order_limits, self.skew = weights, order_limits, skew
        self.quotes = Quotes(market)
        self.keys: dict[tuple[str, str], Key] = {}
        self.accounts: dict[str, Account] = {}
        self.tokens: dict[str, Token] = {}
        for key in keys:
            self.add(key)
        there = {key.venue for key in self.keys.values()}
        self.venues = {name: venue for name, venue in venues().items() if name in there}
        self._hosts = {host: venue for venue in self.venues.values() for host in venue.hosts}
        counted = {name: venue.limits for name, venue in self.venues.items()}
        self._limits = {name: made(self) for name, made in counted.items() if made is not None}
        self._asked = self._seen = 0

    def add(self, key: Key) -> Account:
        """Let another key in; return its account, a new one where no key had it before."""
        venue = venues()[key.venue]
        self.keys[key.venue, key.id] = key
        name = account_name(key)
        if name not in self.accounts:
            coins = venue.funds(self.market) if key.funds is None else key.funds
            terms = venue.terms(self.market, key)
            self.accounts[name] = Account(self.quotes, terms, coins, self.clock.now)
        return self.accounts[name]

    def timely(self, stamp: int, window: int, ahead: int = SECOND) -> bool:
        """Return whether a request stamped so may be taken, all microseconds.

        A request's way takes real time, so that the window is as wide as the clock is fast. Where
        the clock stands still or jumps, nothing but an injected skew makes a request untimely.
        """
        now, speed = self.clock.now(), self.clock.speed
        if not self.clock.running or speed == float("inf"):
            return -ahead < self.skew(now) <= window
        scale, now = max(1.0, speed), now + self.skew(now)
        return now - window * scale <= stamp < now + ahead * scale

    def route(self, method: str, host: str, path: str) -> tuple[Venue, Route] | None:
        """Return the private route of a request; None: it is none."""
        venue = self._hosts.get(host)
        route = venue.routes.get((method, path)) if venue is not None else None
        return (venue, route) if venue is not None and route is not None else None

    async def answer(self, venue: Venue, route: Route, call: Call) -> tuple[Any, dict[str, str]]:
        """Return body and headers.

        Raises
        ------
        Refused
            The venue says no, or that it does not know.
        Cut
            The connection is to be reset.
        """
        try:
            call.key = venue.identify(call)
            call.account = self.accounts[account_name(call.key)]
            limit = self._limits.get(venue.name)
            headers = limit(call) if limit is not None else {}
        except Refused as no:
            self._signed(venue, route, call, no.status, accepted=False)
            raise
        hits = self._struck(venue, route, call)
        call.twist = twist(hits)
        carrier = next((fault for fault in hits if fault.kind in CARRIERS), None)
        try:
            if carrier is None:
                return self._perform(venue, route, call, hits), headers
            return await self._carried(venue, route, call, carrier, hits), headers
        finally:
            self.ask()

    def _struck(self, venue: Venue, route: Route, call: Call) -> list[Fault]:
        if not self.plan.faults or route.does == "read":
            return []
        names = {venue.name, call.host, call.path, *venue.names(call)}
        bar = self.market.number(call.now)
        return self.plan.hits(ORDER, names, bar=bar, time=call.now, final=True, does=route.does)

    def _perform(self, venue: Venue, route: Route, call: Call, hits: Iterable[Fault]) -> Any:
        try:
            body = route.answer(call)
        except Denied as no:
            self._signed(venue, route, call, 400, accepted=False, hits=hits)
            raise venue.denied(no) from None
        except Refused as no:
            self._signed(venue, route, call, no.status, accepted=False, hits=hits)
            raise
        self._signed(venue, route, call, 200, accepted=True, hits=hits)
        return body

    async def _carried(
        self, venue: Venue, route: Route, call: Call, fault: Fault, hits: list[Fault]
    ) -> Any:
        """Do what is asked as a fault wants it: not, late, or without saying so."""
        kind = fault.kind
        if kind == "reject":
            self._signed(venue, route, call, 400, accepted=False, hits=hits)
            raise denial(venue, fault)
        if kind == "hold_before_accept":
            await asyncio.sleep(seconds(fault))
            if not fault.args.get("accept"):
                self._signed(venue, route, call, 504, accepted=False, hits=hits)
                raise Gone
            call.key = venue.identify(call)
        if kind == "late_accept":
            self._signed(venue, route, call, 503, accepted=False, hits=hits)
            self._later(venue, route, call, int(fault.args.get("us", 5 * SECOND)))
            raise venue.unknown()
        if kind == "cancel_race":
            symbol, cid = venue.names(call)
            for order in call.account.open_orders(symbol or None):
                if cid in ("", order.cid):
                    call.account.fill_now(order)
        body = self._perform(venue, route, call, hits)
        self.ask()
        if kind == "accept_then_503":
            raise venue.unknown()
        if kind == "ack_rst":
            raise Cut
        if kind in ("hold_after_accept", "fill_before_ack"):
            await asyncio.sleep(seconds(fault))
        if kind == "hold_after_accept":
            raise Gone
        return body

    def _later(self, venue: Venue, route: Route, call: Call, us: int) -> None:
        def accept() -> None:
            call.late = us
            with suppress(Denied, Refused):
                route.answer(call)
                symbol, cid = venue.names(call)
                self.tell("late", venue=venue.name, path=call.path, symbol=symbol, cid=cid)

        call.account.advance()
        call.account.later(us, accept)

    def _signed(
        self,
        venue: Venue,
        route: Route,
        call: Call,
        status: int,
        *,
        accepted: bool,
        hits: Iterable[Fault] = (),
    ) -> None:
        symbol, cid = venue.names(call)
        self.tell(
            "signed",
            venue=venue.name,
            method=call.method,
            path=call.path,
            does=route.does,
            symbol=symbol,
            cid=cid,
            accepted=accepted,
            status=status,
            faults=tuple(fault.kind for fault in hits),
        )

    def stream(self, line: Line, query: Mapping[str, str]) -> Stream | None:
        """Take a connection to a private stream; None: it is to none."""
        for venue in self.venues.values():
            for (host, begin), take in venue.streams.items():
                if line.host == host and line.path.startswith(begin):
                    return take(self, line, query)
        return None

    def has_stream(self, host: str, path: str) -> bool:
        """Return whether there is such a private stream."""
        there = (at for venue in self.venues.values() for at in venue.streams)
        return any(host == at[0] and path.startswith(at[1]) for at in there)

    def ask(self) -> None:
        """Say that something may be due earlier than it was."""
        self._asked += 1
        self.clock.wake()

    async def trade(self) -> None:
        """Let every account catch up as soon as something is due in it."""
        while True:
            self._seen, now = self._asked, self.clock.now()
            for account in self.accounts.values():
                if account.due() <= now:
                    account.advance()
            ahead = min((account.due() for account in self.accounts.values()), default=FAR)
            await self.clock.wait(ahead, lambda: self._asked != self._seen)


def account_name(key: Key) -> str:
    """Return under which name an account is kept."""
    return f"{key.venue}:{key.account}" if key.account else key.venue
