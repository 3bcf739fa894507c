"""A run's orders at a venue in memory, its journal a list."""

import json
from collections import Counter, namedtuple
from decimal import Decimal

from research.campaigns.orders.laws import broken
from research.campaigns.orders.memory import SYMBOL, MemoryGateway, MemoryVenue
from research.orders import (
    Account,
    Intent,
    Owner,
    Patience,
    Protector,
    Sender,
    accept,
    cid,
    fold,
    reconcile,
)
from research.venues.words import Order

OWNER = Owner("trend", "binance:main", "run_1")
START = 1_700_000_000_000_000
QUICK = Patience(pauses=(0.0,), least=12.0, settle=5.0)
Row = namedtuple("Row", "kind body")


class Life:
    """What one process of a run has; `again` is the next."""

    def __init__(self, venue=None, rows=None, owner=OWNER, **options):
        self.venue = venue or MemoryVenue()
        self.rows = [] if rows is None else rows
        self.requests = Counter()
        self.gateway = MemoryGateway(self.venue)
        venue = self.venue
        self.account = Account(
            *(self.gateway, self.write, fold(self.rows), owner),
            now=lambda: venue.time,
            since=START,
            seconds=lambda: venue.time / 1e6,
            **{"patience": QUICK, **options},
        )
        self.sender = Sender(self.account)
        self.protector = Protector(self.sender)
        self.moment = len(self.rows) * 60_000_000

    def write(self, *events):
        self.rows += [Row(kind, json.loads(json.dumps(body))) for kind, body in events]

    def again(self, **options):
        return Life(self.venue, self.rows, **options)

    @property
    def book(self):
        return self.account.book

    @property
    def kinds(self):
        return [row.kind for row in self.rows]

    def meant(self, side="buy", quantity="1", kind="ioc", *, leg="entry", reduce=False):
        self.moment += 60_000_000
        price = None if kind == "market" else Decimal(100)
        name = cid(self.account.owner, SYMBOL, self.moment, leg)
        order = Order(name, SYMBOL, side, kind, Decimal(quantity), price, None, reduce)
        return Intent(order, leg, self.moment, Decimal(100))

    async def send(self, *words, met="", **options):
        self.venue.sends.extend([met])
        return await self.sender.send(self.meant(*words, **options))

    async def reconcile(self):
        return await reconcile(self.account, [SYMBOL])

    async def accept(self):
        return accept(self.account, await self.reconcile())

    def lawful(self):
        assert not broken(self.book, self.venue, self.account.owner)
        assert fold(self.rows) == self.book
        return True
