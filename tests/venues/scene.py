"""A run's account at a simulated venue, from its journal to ccxt's sockets, and what must hold.

`scene` is the world of one case: the exchange plays a small market, orders go through the order
engine and the gateway, everything is journalled. `Scene.judge` is the oracle that every case ends
with. Of the engine it knows only what was written into the journal, of the venue the ledger itself.
"""

import asyncio
import base64
import gc
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from random import Random

import polars as pl

from research import schema
from research.live.journal import Journal, read, verify
from research.live.net import Network
from research.orders import Account, Intent, Owner, Patience, Sender, cid, fold
from research.sim.exchange import Exchange
from research.sim.orders.words import Key
from research.venues import open_gateway
from research.venues.keys import Keys
from research.venues.words import Order

VENUES = ("binance", "bybit", "kraken")
FUTURES = ("binance", "bybit")
CANARY = "CanaryThatMustNeverBeSeen"
MINUTE = 60_000_000
ZERO = 1_714_549_800_000_000
"""2024-05-01 07:50 UTC: ten minutes before a funding."""
FIRST = 5
"""Bars that are history when a case begins."""
BASE = "AAA"
QUICK = Patience(pauses=(0.005, 0.01), least=0.05, settle=0.5, window_us=5_000_000)


def symbol_of(venue, base=BASE):
    return f"{base}/USDT" if venue == "kraken" else f"{base}USDT"


def market(bars=40, symbols=(BASE,), *, interval=MINUTE, seed=3):
    """A market that goes up and down within one part in a hundred."""
    draw, rows = Random(seed), []
    for symbol in symbols:
        last = 100.0
        for number in range(bars):
            path = [last] + [round(100 * (1 + draw.uniform(-0.01, 0.01)), 2) for _ in range(4)]
            last, volume = path[-1], 1000.0
            opened = ZERO + number * interval
            mean = sum(path) / len(path)
            rows.append(
                {
                    "symbol": f"{symbol}USDT",
                    "time": opened + interval,
                    "open_time": opened,
                    "open": path[0],
                    "high": max(path),
                    "low": min(path),
                    "close": last,
                    "volume": volume,
                    "quote_volume": volume * mean,
                    "trades": 20,
                    "taker_buy_volume": volume / 2,
                    "taker_buy_quote_volume": volume * mean / 2,
                }
            )
    stamps = pl.col("time", "open_time").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return pl.DataFrame(rows).with_columns(stamps).cast(schema.BARS).select(*schema.BARS)


def key_of(venue, **may):
    secret = f"{CANARY}-{venue}"
    if venue == "kraken":
        secret = base64.b64encode(secret.encode()).decode()
    return Key(venue, f"key-{venue}", secret, **may)


class Scene:
    """One run, its account and the venue. `folder` is the run's."""

    def __init__(self, venue, exchange, network, folder, patience, key):
        self.venue, self.exchange, self.network = venue, exchange, network
        self.folder, self.patience, self.key = folder, patience, key
        self.symbol = symbol_of(venue)
        self.account = exchange.accounts[venue]
        """The venue's own, which the oracle asks."""
        self.start = dict(self.account.ledger.coins)
        self.owner = Owner("group-c", f"{venue}:main", "2024-05-01_0020_group-c_0001")
        self.since = exchange.clock.now()
        self.foreign, self.moved, self.edited = set(), [], False
        self._number = 0
        self._joined = False

    async def open(self):
        """Start the run, or start it again: nothing is kept but the journal."""
        keys = Keys(self.key.id, self.key.secret)
        self.gateway = open_gateway(
            self.venue,
            self.network,
            account=f"{self.venue}:main",
            keys=keys,
            now=self.exchange.clock.now,
            timeout=20.0,
            pace=float("inf"),
        )
        await self.gateway.open()
        self.journal = Journal.open(self.folder)
        self.book = fold(read(self.folder))
        self.run = Account(
            self.gateway,
            self.journal.append,
            self.book,
            self.owner,
            now=self.exchange.clock.now,
            since=self.since,
            patience=self.patience,
        )
        self.sender = Sender(self.run)

    async def close(self):
        await self.gateway.close()
        self.journal.close()

    async def restart(self):
        await self.close()
        await self.open()

    @contextmanager
    def hurry(self, seconds):
        """Let requests wait for an answer no longer than this."""
        client = self.gateway._wire.client
        usual, client.timeout = client.timeout, int(seconds * 1000)
        try:
            yield
        finally:
            client.timeout = usual

    # -- orders ----------------------------------------------------------------------------------

    @property
    def price(self):
        return self.account.price(self.symbol)

    @property
    def rules(self):
        return self.account.rules(self.symbol)

    def order(self, side="buy", quantity=1, kind="ioc", part="1.02", **more):
        """Return an order that nobody has sent: its price is a part of the market's."""
        self._number += 1
        name = cid(self.owner, self.symbol, self.since + self._number, "entry")
        price = self.price * Decimal(part)
        price -= price % self.rules.tick
        limit = None if kind in ("market", "stop", "take") else price
        quantity = Decimal(quantity)
        return Order(name, self.symbol, side, kind, quantity, limit, **more)

    async def send(self, order=None, leg="entry", **how):
        order = order or self.order(**how)
        return await self.sender.send(Intent(order, leg, self.since, self.price))

    async def rest(self, side="buy", quantity=1, part=None):
        """Send a limit order that the market does not reach."""
        part = part or ("0.9" if side == "buy" else "1.1")
        return await self.send(side=side, quantity=quantity, kind="limit", part=part)

    # -- time ------------------------------------------------------------------------------------

    def flow(self):
        """Let time flow at the exchange's speed, up to the next bar."""
        if not self._joined:
            self.exchange.clock.join(self)
            self._joined = True

    async def play(self, bars=1):
        """Let so many bars go by; the account at the venue meets every print in them."""
        clock = self.exchange.clock
        self.flow()
        for close in [c for c in clock._closes if c > clock.acked][:bars]:
            await clock.wait(close)
            clock.ack(close)
            await asyncio.sleep(0)
        self.account.advance()

    @asynccontextmanager
    async def passing(self, bars=1):
        """Let time pass at the venue while this lasts: so many bars, soon."""

        async def pass_on():
            await asyncio.sleep(0.03)
            await self.play(bars)

        task = asyncio.create_task(pass_on())
        try:
            yield
        finally:
            await task

    # -- what is known -----------------------------------------------------------------------------

    def events(self, *kinds):
        return read(self.folder, kinds=kinds)

    def signed(self, does="place"):
        """What the venue saw of us, in its own log."""
        return [e for e in self.exchange.log if e["kind"] == "signed" and e["does"] == does]

    def held(self):
        """What is held at the venue, by its own ledger."""
        rules = self.rules
        if rules.spot:
            coins = self.account.ledger.coins
            return coins.get(rules.base, Decimal(0)) - self.start.get(rules.base, Decimal(0))
        return sum(h.quantity for h in self.account.ledger.positions.values())

    async def judge(self):
        """Assert what must hold whatever went wrong."""
        await self.run.incomes()
        self._once()
        self._booked()
        if not self.edited:
            self._paid()
        self._folds()
        self._silent()

    def _once(self):
        """Every order at the venue was meant, durably, before; and none is there twice."""
        meant = {event.body["cid"] for event in self.events("intent")}
        sent = Counter(event.body["cid"] for event in self.events("send"))
        assert len(meant) == len(self.events("intent")) and set(sent.values()) <= {1}
        asked = Counter(entry["cid"] for entry in self.signed())
        assert set(asked.values()) <= {1}, "an order was sent twice"
        taken = Counter(entry["cid"] for entry in self.signed() if entry["accepted"])
        taken += Counter(e["cid"] for e in self.exchange.log if e["kind"] == "late")
        assert set(taken.values()) <= {1} and set(taken) <= set(sent) <= meant
        assert self.account.history.reused == 0
        assert self.account.history.accepted == len(taken) + len(self.foreign)

    def _booked(self):
        """The position is the sum of the fills in the journal, each there once."""
        fills = [event.body for event in self.events("fill")]
        names = [(body["symbol"], body["trade"]) for body in fills]
        assert len(names) == len(set(names)), "a fill was booked twice"
        signed = [_signed(body) for body in fills]
        ours = {event.body["cid"] for event in self.events("intent")}
        kept = sum((q for q, body in zip(signed, fills) if body["cid"] in ours), Decimal(0))
        adjusted = sum(Decimal(e.body["quantity"]) for e in self.events("adjustment"))
        assert self.run.book.held(self.symbol) == kept + adjusted
        if not self.edited:
            assert self.held() == sum(signed, Decimal(0)), "the position is not what was filled"

    def _paid(self):
        """Money at the venue is what it was, and what the journal's fills and incomes say."""
        fills = [event.body for event in self.events("fill")]
        coins = Counter(self.start)
        for body in fills:
            quantity, price = Decimal(body["quantity"]), Decimal(body["price"])
            coins["USDT"] += -quantity * price if body["side"] == "buy" else quantity * price
            if self.rules.spot:
                coins[BASE] += quantity if body["side"] == "buy" else -quantity
            if body["fee"] is not None:
                coins[body["coin"]] -= Decimal(body["fee"])
        for event in self.events("income"):
            coins[event.body["coin"]] += Decimal(event.body["amount"])
        for coin, amount in self.moved:
            coins[coin] += amount
        there = Counter(self.account.ledger.coins)
        if not self.rules.spot:  # a future's price is not paid, but owed: its cost stands for it
            there["USDT"] -= sum(h.cost for h in self.account.ledger.positions.values())
        assert {c: v for c, v in there.items() if v} == {c: v for c, v in coins.items() if v}

    def _folds(self):
        """What is known is what the journal says, and saying it twice adds nothing."""
        assert verify(self.folder)
        told = read(self.folder)
        assert fold(told) == self.run.book
        again = fold([*told, *told])
        assert (again.fills, again.holdings) == (self.run.book.fills, self.run.book.holdings)

    def _silent(self):
        """No artefact holds a secret."""
        kept = [path.read_bytes() for path in self.folder.rglob("*") if path.is_file()]
        assert kept
        shown = repr((self.gateway, self.run, self.sender, self.run.book, self.run.why))
        for secret in (CANARY, self.key.secret):
            assert all(secret.encode() not in text for text in kept) and secret not in shown


def _signed(body):
    """What a fill changes in what is held: at a spot venue, less a fee taken in the coin itself."""
    quantity = Decimal(body["quantity"]) * (1 if body["side"] == "buy" else -1)
    base = body["symbol"].partition("/")[0] if "/" in body["symbol"] else None
    paid = body["fee"] is not None and body["coin"] == base
    return quantity - Decimal(body["fee"]) if paid else quantity


@asynccontextmanager
async def scene(
    venue,
    tmp_path,
    *,
    bars=40,
    interval=MINUTE,
    symbols=(BASE,),
    patience=QUICK,
    speed=float("inf"),
    early=0,
    **may,
):
    """The world of one case, `early` microseconds before a bar closes. `may` is of the key."""
    raised = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: raised.append(context))
    folder = tmp_path / "run"
    folder.mkdir()
    key = key_of(venue, **may)
    played = market(bars, symbols, interval=interval)
    start = ZERO + FIRST * interval - early
    names = {f"{s}USDT": symbol_of(venue, s) for s in symbols}
    async with (
        Exchange(
            played,
            start=start,
            keys=(key,),
            names=names,
            speed=speed,
            grace=0.0,
            weight_limit=10**9,
        ) as exchange,
        Network(exchange.port, exchange.ca) as network,
    ):
        made = Scene(venue, exchange, network, folder, patience, key)
        await made.open()
        try:
            yield made
        finally:
            await made.close()
    gc.collect(0)
    assert raised == [], "a task died unseen"
