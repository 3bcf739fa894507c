"""Real orders at length: runs that are killed with a position, and go on, again and again.

A simulated exchange outlives the sittings of one run: in each a broker begins, the desk closes a
few bars, and the sitting ends in order or is cut off in the middle of whatever it did.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from research import schema, study
from research.live import journal, state
from research.live.broker import Broker, Hooks, terms
from research.live.desk import HALTED, Desk
from research.live.moments import Bar, Moment, Scored, recorded
from research.live.net import Network
from research.sim.exchange import Exchange
from research.study import Study

MINUTE = 60_000_000
SYMBOL = "AAAUSDT"
START = datetime(2024, 5, 1, tzinfo=UTC)


def bars(count: int, seed: int = 1) -> pl.DataFrame:
    """Return minutes around 100, each of them traded in."""
    dice = np.random.default_rng(seed)
    path = 100 * np.exp(np.cumsum(dice.normal(0, 1e-4, 4 * count))).reshape(count, 4)
    opens = [START + timedelta(minutes=k) for k in range(count)]
    columns = {
        "symbol": [SYMBOL] * count,
        "time": [when + timedelta(minutes=1) for when in opens],
        "open_time": opens,
        "open": path[:, 0],
        "high": path.max(axis=1),
        "low": path.min(axis=1),
        "close": path[:, 3],
        "volume": np.full(count, 1e4),
        "quote_volume": np.full(count, 1e6),
        "trades": np.full(count, 50),
        "taker_buy_volume": np.full(count, 5e3),
        "taker_buy_quote_volume": np.full(count, 5e5),
    }
    return pl.DataFrame(columns).cast(schema.BARS).select(*schema.BARS)  # type: ignore[arg-type]


def chosen(venue: str = "binance", **more: Any) -> Study:
    """Return a study that trades one symbol by its forecast, at a venue of the exchange."""
    settings = {
        "data.symbols": [SYMBOL],
        "backtest.enter": "1 %",
        "backtest.capital": 1000.0,
        "live.mode": "live",
        "live.venue": venue,
        "live.account": f"{venue}:main",
    }
    return study.read("demo", {**settings, **more})


class Sitting:
    """One sitting of a run: a broker, a desk and a journal, without bars of their own.

    Parameters
    ----------
    exchange : Exchange
        Listening; it outlives the sitting.
    table : pl.DataFrame
        What it plays, see `bars`.
    folder : Path
        The run's, with a folder ``commands``.
    settings : Study
        See `chosen`.
    """

    def __init__(
        self, exchange: Exchange, table: pl.DataFrame, folder: Path, settings: Study
    ) -> None:
        self.exchange, self.folder, self.study = exchange, folder, settings
        self._table = table
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.lock = asyncio.Lock()

    async def begin(self) -> None:
        """Go on from the journal, as a run that starts does."""
        self.journal = journal.Journal.open(self.folder)
        self.network = Network(self.exchange.port, self.exchange.ca)
        now = self.exchange.clock.now
        self.gateway = await terms.opened(self.study, self.network, now, math.inf, [SYMBOL])
        known = journal.read(self.folder)
        if known:
            self.desk = state.fold(known).desk
        else:
            self.desk = terms.desk(self.study, self.gateway, [SYMBOL])
            self.journal.append(("start", {"desk": self.desk.constants(), "time": now()}))
        since = journal.read(self.folder, kinds=("start",))[0].time
        self.broker = Broker(
            self.study,
            self.folder,
            self.gateway,
            self.desk,
            self.exchange.clock,  # type: ignore[arg-type]
            speed=math.inf,
            since=since,
        )
        hooks = Hooks(
            self.lock, self.write, self.ask, lambda kind, **b: self.said.append((kind, b))
        )
        await self.broker.begin(hooks)

    def write(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        """Make events durable."""
        self.journal.append(*events)

    async def ask(self, wanted: int, why: str, by: str = "command") -> None:
        """Set the desk's state of control as the runner does."""
        self.broker.urgent(stopping=wanted > 0)
        async with self.lock:
            was, self.desk.control = self.desk.control, wanted
            told = {"state": self.desk.control, "was": was, "why": why, "by": by, "asked": wanted}
            self.write([("control", {**told, "time": self.desk.time})])
        self.broker.wake()

    async def close_bar(self, told: float) -> str:
        """Let the next bar close with this forecast, decide it, and send; return the reason."""
        clock = self.exchange.clock
        close = (clock.now() // MINUTE + 1) * MINUTE
        clock.ack(close - MINUTE)
        await clock.wait(close)
        await self.broker.before()
        row = Scored(self._bar(close), None, "m", told, told, 0, math.nan, 0.0, 0.0)
        moment = Moment(close, (row.bar,), close)
        async with self.lock:
            before = self.desk.control
            step = self.desk.step(close, [row])
            body = recorded(moment, [row], step, late=False, state=before, took={})
            self.write([("moment", body)])
        await self.broker.after()
        return step.reasons[0]

    def _bar(self, close: int) -> Bar:
        begin = int(START.timestamp()) * 1_000_000
        row = self._table.row((close - begin) // MINUTE - 1, named=True)
        values = {name: float(row[name]) for name in (*schema.PRICES, "volume")}
        return Bar(SYMBOL, close - MINUTE, **values)  # type: ignore[arg-type]

    @property
    def held(self) -> Decimal:
        """What the exchange says is held."""
        found = self.exchange.accounts[str(self.study.live.venue)].positions()
        return sum((quantity for quantity, _ in found.values()), Decimal(0))

    async def end(self) -> None:
        """End in order."""
        await self.broker.close()
        await self._gone()

    async def die(self) -> None:
        """End as a kill does: nothing more is written, nobody is told."""
        own = {asyncio.current_task()}
        named = ("broker", "dead man", "deal ")
        mine = [t for t in asyncio.all_tasks() - own if t.get_name().startswith(named)]
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        with suppress(Exception):
            await self.gateway.close()
        await self._gone()

    async def _gone(self) -> None:
        await self.network.close()
        self.journal.close()


def restarts(count: int, seed: int = 0, venue: str = "binance") -> dict[str, Any]:
    """Kill and restart a run that holds a position, `count` times, with faults of orders.

    Returns
    -------
    dict
        ``restarts``, ``orders`` sent, ``twice`` (ids that the exchange took more than once),
        ``unequal`` (restarts after which desk and exchange held different positions), ``added``
        (orders that a restart sent by itself), ``halted``.
    """
    with TemporaryDirectory() as place:
        return asyncio.run(_restarts(count, random.Random(seed), Path(place), chosen(venue)))


FAULTS = ("ack_rst", "hold_after_accept", "accept_then_503", "duplicate_fill", "fill_before_ack")


async def _restarts(
    count: int, dice: random.Random, place: Path, settings: Study
) -> dict[str, Any]:
    folder, found = place / "run", Counter[str]()
    (folder / "commands").mkdir(parents=True)
    start = int(START.timestamp()) * 1_000_000 + 30 * MINUTE
    table = bars(4 * count + 60)
    async with Exchange(table, start=start) as exchange:
        exchange.clock.join("campaign")
        for _ in range(count):
            sitting = Sitting(exchange, table, folder, settings)
            before = len(_placed(exchange))
            await sitting.begin()
            found["added"] += len(_placed(exchange)) - before
            found["unequal"] += float(sitting.held) != sitting.desk.positions[SYMBOL]
            found["halted"] += sitting.desk.control == HALTED
            if dice.random() < 0.5:
                exchange.strike(dice.choice(FAULTS), us=50_000)
            told = dice.choice([0.02, 0.02, -0.02])
            closing = asyncio.create_task(sitting.close_bar(told))
            await asyncio.wait([closing], timeout=dice.uniform(0.1, 0.6))
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
            await sitting.die()
    cids = Counter(row["cid"] for row in _placed(exchange) if row["accepted"])
    twice = sum(times > 1 for times in cids.values())
    kept = {name: found[name] for name in ("added", "unequal", "halted")}
    return {"restarts": count, "orders": len(cids), "twice": twice, **kept}


def _placed(exchange: Exchange) -> list[dict[str, Any]]:
    """Return the requests of orders that the exchange has seen."""
    return [r for r in exchange.log if r["kind"] == "signed" and r["does"] == "place"]


__all__ = ["Desk", "Sitting", "bars", "chosen", "restarts"]
