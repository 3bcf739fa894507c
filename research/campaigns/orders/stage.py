"""A run's orders at a simulated venue: the real gateway, real sockets, a journal on the disk."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import polars as pl

from research import schema
from research.live.journal import Journal, read
from research.live.net import Network
from research.orders import Account, Intent, Owner, Patience, Sender, cid, fold
from research.orders.money import ZERO
from research.sim.exchange import Exchange
from research.sim.orders.words import usual_key
from research.venues import open_gateway
from research.venues.keys import Keys
from research.venues.words import Order, Side

QUICK = Patience(pauses=(0.005, 0.01, 0.02), least=0.1, settle=2.0)
_NAME = "SIMUSDT"
_BEAT = 0.02
_PAST = 5
_START = datetime(2024, 5, 1, tzinfo=UTC)


def market(n_bars: int) -> pl.DataFrame:
    """Return minutes of a market that goes up and down within one part in a hundred."""
    draws = np.random.default_rng(7).uniform(99, 101, (n_bars, 4)).round(2)
    opened = [_START + timedelta(minutes=number) for number in range(n_bars)]
    volume = np.full(n_bars, 100_000.0)
    columns = {
        "symbol": [_NAME] * n_bars,
        "time": [moment + timedelta(minutes=1) for moment in opened],
        "open_time": opened,
        "open": draws[:, 0],
        "high": draws.max(axis=1),
        "low": draws.min(axis=1),
        "close": draws[:, 1],
        "volume": volume,
        "quote_volume": volume * draws.mean(axis=1),
        "trades": [20] * n_bars,
        "taker_buy_volume": volume / 2,
        "taker_buy_quote_volume": volume * draws.mean(axis=1) / 2,
    }
    return pl.DataFrame(columns, schema_overrides=schema.BARS).select(*schema.BARS)


def name_at(venue: str) -> str:
    """Return what a venue calls the one symbol."""
    return "SIM/USDT" if venue == "kraken" else _NAME


def exchange(venue: str, n_bars: int, **options: Any) -> Exchange:
    """Return an exchange that plays the market, not yet listening."""
    start = int((_START + timedelta(minutes=_PAST)).timestamp() * 1e6)
    names = {_NAME: name_at(venue)}
    return Exchange(market(n_bars), start=start, names=names, partials=0, **options)


class Clockwork:
    """Lets a minute go by at the venue, now or at a steady beat."""

    def __init__(self, venue: Exchange) -> None:
        self._venue = venue
        venue.clock.join(self)
        self._closes = iter([c for c in venue.market.closes if c > venue.clock.acked])

    async def minute(self) -> None:
        """Play one bar."""
        clock = self._venue.clock
        close = next(self._closes)
        await clock.wait(close)
        clock.ack(close)
        await asyncio.sleep(0)

    async def run(self) -> None:
        """Play on until cancelled."""
        while True:
            await asyncio.sleep(_BEAT)
            await self.minute()


class Run:
    """One process of a run: what it has in memory is what its journal says."""

    def __init__(self, venue: str, folder: Path, network: Network, now: Any, since: int) -> None:
        self.venue, self.symbol, self.folder = venue, name_at(venue), folder
        self._network, self._now, self._since = network, now, since
        self._number = 0

    async def open(self, timeout: float, patience: Patience = QUICK) -> Self:
        """Open gateway and journal."""
        name, given = f"{self.venue}:main", usual_key(self.venue)
        if not hasattr(self, "gateway"):
            self.gateway = open_gateway(
                *(self.venue, self._network),
                account=name,
                keys=Keys(given.id, given.secret),
                now=self._now,
                timeout=timeout,
                pace=math.inf,
            )
        await self.gateway.open()
        self.journal = Journal.open(self.folder)
        self.account = Account(
            *(self.gateway, self.journal.append, fold(read(self.folder))),
            Owner("orders", name, "2024-05-01_0005_orders_0001"),
            now=self._now,
            since=self._since,
            patience=patience,
        )
        self.book, self.sender = self.account.book, Sender(self.account)
        self._number = len(self.book.orders)
        return self

    async def close(self) -> None:
        """Let go of both."""
        await self.gateway.close()
        self.journal.close()

    def meant(self, side: Side, quantity: Decimal, kind: Any = "ioc", part: str = "1") -> Intent:
        """Return a new decision at a part of the price of about 100."""
        self._number += 1
        name = cid(self.account.owner, self.symbol, self._number, "entry")
        price = None if kind in ("market", "stop", "take") else Decimal(100) * Decimal(part)
        order = Order(name, self.symbol, side, kind, quantity, price)
        return Intent(order, "entry", self._number, Decimal(100))


class Stage:
    """An exchange and one run at it, in one process.

    Parameters
    ----------
    venue : str
        ``binance``, ``bybit`` or ``kraken``.
    folder : Path
        Empty; the journal's.
    n_bars : int
        Minutes that the market lasts.
    timeout : float
        Real seconds after which the run waits for no answer.
    """

    def __init__(self, venue: str, folder: Path, *, n_bars: int, timeout: float) -> None:
        self.exchange = exchange(venue, n_bars)
        self._venue, self._folder, self._timeout = venue, folder, timeout

    async def __aenter__(self) -> Self:
        """Listen, and start the run."""
        await self.exchange.__aenter__()
        self.clockwork = Clockwork(self.exchange)
        self.network = Network(self.exchange.port, self.exchange.ca)
        await self.network.__aenter__()
        now = self.exchange.clock.now
        run = Run(self._venue, self._folder, self.network, now, now())
        self.run = await run.open(self._timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End both."""
        await self.run.close()
        await self.network.__aexit__(kind, error, at)
        await self.exchange.__aexit__(kind, error, at)

    def broken(self) -> list[str]:
        """Return the laws that do not hold, by the exchange's own ledger and log."""
        meant = {event.body["cid"] for event in read(self._folder, kinds=("intent",))}
        return broken(truth(self.exchange, self._venue), told(self.run) | {"meant": meant})


def told(run: Run) -> dict[str, Any]:
    """Return what a run says of itself: what it holds, what its fills come to, what it meant."""
    booked = sum((b.change for b in run.book.fills.values() if b.cid), ZERO)
    return {"held": run.book.held(run.symbol), "booked": booked, "meant": set(run.book.orders)}


def truth(at: Exchange, venue: str) -> dict[str, Any]:
    """Return what an exchange knows of its one account.

    Position, how many orders it took and how many under an id that had been used, and how often
    each id was asked for and taken.
    """
    account = at.accounts[venue]
    if venue == "kraken":
        held = account.ledger.coins.get("SIM", ZERO)
    else:
        held = sum((h.quantity for h in account.ledger.positions.values()), ZERO)
    log = [e for e in at.log if e["kind"] == "late" or e.get("does") == "place"]
    return {
        "held": held,
        "reused": account.history.reused,
        "accepted": account.history.accepted,
        "asked": Counter(e["cid"] for e in log if e["kind"] == "signed"),
        "taken": Counter(e["cid"] for e in log if e["kind"] == "late" or e["accepted"]),
    }


def broken(truth: dict[str, Any], told: dict[str, Any]) -> list[str]:
    """Return the laws that do not hold between what a venue knows and what a run says."""
    asked, taken = truth["asked"], truth["taken"]
    found = [f"{name} was sent {times} times" for name, times in asked.items() if times > 1]
    found += [f"{name} is there {times} times" for name, times in taken.items() if times > 1]
    found += [f"{name} was never meant" for name in taken if name not in told["meant"]]
    if truth["reused"]:
        found.append(f"{truth['reused']} ids were used again")
    if truth["accepted"] != len(taken):
        found.append(f"{truth['accepted']} orders of {len(taken)} ids")
    if told["held"] != truth["held"]:
        found.append(f"{told['held']} held by our fills, {truth['held']} at the venue")
    if told["booked"] != told["held"]:
        found.append(f"{told['held']} held, {told['booked']} by the sum of fills")
    return found
