"""From the venue's fills to the desk's books, each once, in the order in which they became known.

The order engine journals what a venue tells when it tells it. The desk takes it over here, under
the runner's lock, and says so with events of its own: so a restart books in the same order, and
what had been told but not booked when a run was killed is booked then.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import chain
from typing import Any

from research.live.desk import Desk
from research.live.journal import Event
from research.orders import Account, Booked

Said = tuple[str, dict[str, Any]]
ADJUSTED = "adjustment"
"""Begin of the trade ids of what a person told us to take the venue's word for."""
TRACE = 1e-9
"""What floats leave over, in quote currency."""
PROTECTING = ("stop", "take")
"""Why a position is left by its own levels: legs of orders, and reasons."""


class Books:
    """Keeps the desk's books as the venue's fills say.

    Parameters
    ----------
    desk : Desk
        A live one; touched under `lock` alone.
    account : Account
        What the venue has told.
    names : mapping of str to str
        The venue's name of each of the desk's symbols.
    lock : asyncio.Lock
        The runner's.
    write : callable
        Makes events durable.
    """

    def __init__(
        self,
        desk: Desk,
        account: Account,
        names: Mapping[str, str],
        lock: asyncio.Lock,
        write: Callable[[list[Said]], None],
    ) -> None:
        self._desk, self._account, self._names = desk, account, dict(names)
        self._lock, self._write = lock, write
        self._done: set[tuple[str, str]] = set()
        self._received: dict[str, float] = defaultdict(float)
        self._worth: dict[str, float] = {}
        self.reasons: dict[str, str] = {}
        """Why an order was sent, by its id."""

    def recall(self, events: Iterable[Event]) -> None:
        """Take in what was booked, and what orders were worth, before a restart."""
        for event in events:
            if event.kind == "booked":
                self._done.add((event.body["symbol"], event.body["trade"]))
            elif event.kind == "received":
                self._received[event.body["symbol"]] += event.body["amount"]
            else:
                self.hear(event.kind, event.body)

    def hear(self, kind: str, body: Mapping[str, Any]) -> None:
        """Take note of what a unit was worth when an order was meant."""
        if kind == "intent":
            trigger = body.get("trigger")
            self._worth[body["cid"]] = float(body["worth"] if trigger is None else trigger)

    async def collect(self) -> int:
        """Book what is new, and return how many events that were."""
        if not self._news():
            return 0
        async with self._lock:
            said: list[Said] = []
            for symbol, name in self._names.items():
                for event in chain(self._fills(symbol, name), self._moneys(symbol, name)):
                    self._desk.take(*event)
                    said.append(event)
            if said:
                self._write(said)
        return len(said)

    async def settle(self, symbol: str, why: str) -> None:
        """Have the desk wait no longer for the order of a symbol."""
        async with self._lock:
            event = "settled", {"symbol": symbol, "why": why, "time": self._account.now()}
            self._desk.take(*event)
            self._write([event])

    def _news(self) -> bool:
        """Tell whether there may be something to book, without the lock."""
        book = self._account.book
        return any(
            self._new(symbol, name)
            or abs(float(book.holding(name).income) - self._received[symbol]) > TRACE
            or not self._near(symbol, name)
            for symbol, name in self._names.items()
        )

    def _new(self, symbol: str, name: str) -> list[Booked]:
        return [
            found
            for (where, trade), found in self._account.book.fills.items()
            if where == name and found.cid and (symbol, trade) not in self._done
        ]

    def _near(self, symbol: str, name: str) -> bool:
        """Whether the desk holds what the book says, but for what floats leave over."""
        held = float(self._account.book.held(name))
        return abs(held - self._desk.positions[symbol]) <= 1e-9 * max(abs(held), 1e-6)

    def _fills(self, symbol: str, name: str) -> Iterator[Said]:
        """Yield a symbol's new fills; the desk has taken each before the next is made."""
        new, book = self._new(symbol, name), self._account.book
        held = book.held(name) - sum((found.change for found in new), Decimal(0))
        if new and abs(float(held) - self._desk.positions[symbol]) > 1e-9 * max(
            1.0, abs(float(held))
        ):
            yield from self._adjusted(symbol, float(held))
        for found in new:
            held += found.change
            yield self._booked(symbol, found, float(held))
        if not self._near(symbol, name):
            yield from self._adjusted(symbol, float(held))

    def _booked(self, symbol: str, found: Booked, held: float) -> Said:
        fill = found.fill
        self._done.add((symbol, fill.trade))
        price = float(fill.price)
        return "booked", {
            "symbol": symbol,
            "trade": fill.trade,
            "cid": found.cid,
            "leg": found.leg,
            "quantity": held - self._desk.positions[symbol],
            "price": price,
            "reference": self._worth.get(found.cid, price),
            "fee": float(found.fee),
            "estimated": found.estimated,
            "maker": fill.maker,
            "at": fill.time,
            "reason": self._reason(symbol, found),
            "time": self._account.now(),
        }

    def _reason(self, symbol: str, found: Booked) -> str:
        """Why it was sent: by this sitting, or by what the desk still waits for."""
        known = self.reasons.get(found.cid)
        if known is not None:
            return known
        if found.leg in PROTECTING:
            return found.leg
        wish = next((w.reason for w in self._desk.wishes() if w.symbol == symbol), None)
        return wish or ("entry" if found.leg == "entry" else "risk_halt")

    def _adjusted(self, symbol: str, held: float) -> Iterator[Said]:
        """Take over what a person told us to: in the books, at the last price, without costs."""
        change, now = held - self._desk.positions[symbol], self._account.now()
        entry = self._account.book.holding(self._names[symbol]).entry
        price = self._desk.mark(symbol) or float(entry or 0.0)
        yield (
            "booked",
            {
                "symbol": symbol,
                "trade": f"{ADJUSTED}-{len(self._account.book.adjustments)}",
                "cid": "",
                "leg": ADJUSTED,
                "quantity": change,
                "price": price,
                "reference": price,
                "fee": 0.0,
                "estimated": False,
                "maker": False,
                "at": now,
                "reason": "end",
                "time": now,
            },
        )

    def _moneys(self, symbol: str, name: str) -> Iterator[Said]:
        """Yield the funding that came since."""
        total = float(self._account.book.holding(name).income)
        amount = total - self._received[symbol]
        if abs(amount) > TRACE:
            self._received[symbol] = total
            now = self._account.now()
            yield "received", {"symbol": symbol, "amount": amount, "time": now}
