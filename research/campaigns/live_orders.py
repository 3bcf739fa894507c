"""Real orders at length: runs that are killed with a position, and go on, again and again.

A simulated exchange outlives the sittings of one run: in each a broker begins, the desk closes a
few bars, and the sitting ends in order or is cut off in the middle of whatever it did.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl

from research import schema, study
from research.errors import UserError
from research.live import arms, journal, names, state
from research.live.broker import Broker, Hooks, terms
from research.live.broker.books import Said
from research.live.desk import HALTED, Desk
from research.live.moments import Bar, Moment, Scored
from research.live.net import Network
from research.live.runner import Runner
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


class Quiet:
    """What a runner has beside its desk and its broker, where nothing of it is looked at."""

    def __init__(self, said: list[tuple[str, dict[str, Any]]]) -> None:
        self._said, self.told, self.reasons = said, math.nan, tuple[str, ...]()
        self.took: dict[str, int] = {}

    def __call__(self, kind: str, **body: Any) -> None:
        """Hear what is logged."""
        self._said.append((kind, body))

    def see(self, *events: Said) -> None:
        """Alert nobody."""

    def health(self) -> list[dict[str, Any]]:
        """Return nothing of the feed."""
        return []

    def score(self, moment: Moment) -> list[Scored]:
        """Return the forecast that was told beforehand."""
        return [
            Scored(bar, None, "m", self.told, self.told, 0, math.nan, 0.0, 0.0)
            for bar in moment.bars
        ]

    async def ready(self, now: int, *, stopping: asyncio.Event) -> None:
        """Wait for no model."""

    def before(self, now: int, forecaster: Any) -> list[Said]:
        """Change no model."""
        return []

    def after(self, moment: Moment, rows: list[Scored], forecaster: Any, step: Any) -> list[Said]:
        """Keep the reasons of a close."""
        self.reasons = step.reasons
        return []

    def begin(self) -> None:
        """Train nothing."""


class Standing:
    """The exchange's clock for one who asks for each bar himself."""

    def __init__(self, clock: Any) -> None:
        self.now, self._clock = clock.now, clock

    async def ack(self, us: int) -> None:
        """Let the market wait: for the bar that is asked for next."""

    async def close(self) -> int:
        """Let the next bar close, and return when that was."""
        close = int(self.now() // MINUTE + 1) * MINUTE
        self._clock.ack(close - MINUTE)
        await self._clock.wait(close)
        return close


class Sitting:
    """One sitting of a run: runner, broker, desk and journal, and each bar when it is asked for.

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
        self._table, self._clock = table, Standing(exchange.clock)
        self.said: list[tuple[str, dict[str, Any]]] = []
        self._open = AsyncExitStack()

    async def begin(self) -> None:
        """Go on from the journal, as a run that starts does."""
        self.journal = self._open.enter_context(journal.Journal.open(self.folder))
        network = await self._open.enter_async_context(
            Network(self.exchange.port, self.exchange.ca)
        )
        now = self._clock.now
        self.gateway = await terms.opened(self.study, network, now, math.inf, [SYMBOL])
        self._open.push_async_callback(self.gateway.close)
        known = journal.read(self.folder)
        if known:
            self.desk = state.fold(known).desk
        else:
            self.desk = terms.desk(self.study, self.gateway, [SYMBOL])
            self.journal.append(("start", {"desk": self.desk.constants(), "time": now()}))
        since = journal.read(self.folder, kinds=("start",))[0].time
        how: dict[str, Any] = {"speed": math.inf, "since": since}
        clock: Any = self._clock
        self.broker = Broker(self.study, self.folder, self.gateway, self.desk, clock, **how)
        await self.broker.begin(self._hooks())

    def _hooks(self) -> Hooks:
        """Make the runner, and return what it lends its broker."""
        self._quiet = Quiet(self.said)
        prepared: Any = SimpleNamespace(
            study=self.study,
            folder=self.folder,
            state=None,
            last=self.desk.time,
            desk=self.desk,
            journal=self.journal,
            forecaster=self._quiet,
        )
        quiet, clock = cast(Any, self._quiet), cast(Any, self._clock)
        self.runner = Runner(prepared, quiet, clock, quiet, quiet, quiet, self.broker)
        runner = self.runner
        self._open.callback(runner._worker.shutdown)
        return Hooks(runner._lock, runner._write, runner._ask, runner._log)

    async def ask(self, wanted: int, why: str, by: str = "command") -> None:
        """Set the desk's state of control, as a person does."""
        await self.runner._ask(wanted, why, by)

    async def pass_bar(self) -> int:
        """Let the next bar close unseen, and return when that was."""
        return await self._clock.close()

    async def close_bar(self, told: float) -> str:
        """Let the next bar close with this forecast, decide it, and send; return the reason."""
        close = await self.pass_bar()
        self._quiet.told = told
        await self.runner._take(Moment(close, (self._bar(close),), close))
        return self._quiet.reasons[0]

    def _bar(self, close: int) -> Bar:
        begin = int(START.timestamp()) * 1_000_000
        row = self._table.row((close - begin) // MINUTE - 1, named=True)
        values = {name: float(row[name]) for name in (*schema.PRICES, "volume")}
        return Bar(SYMBOL, close - MINUTE, **values)  # type: ignore[arg-type]

    @property
    def held(self) -> Decimal:
        """What the exchange says is held; of spot, the base coin."""
        account = self.exchange.accounts[arms.venue(self.study)]
        rules = account.rules(names.of(self.study, [SYMBOL])[SYMBOL])
        if rules.spot:
            return account.ledger.coins.get(rules.base, Decimal(0))
        return sum((quantity for quantity, _ in account.positions().values()), Decimal(0))

    async def end(self) -> None:
        """End in order."""
        await self.broker.close()
        await self._open.aclose()

    async def die(self) -> None:
        """End as a kill does: nothing more is written, nobody is told."""
        own = {asyncio.current_task()}
        named = ("broker", "dead man", "deal ")
        mine = [t for t in asyncio.all_tasks() - own if t.get_name().startswith(named)]
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        await self._open.aclose()


def restarts(count: int, seed: int = 0, venue: str = "binance") -> dict[str, Any]:
    """Kill and restart a run until it has held a position at `count` starts, with faults of orders.

    Parameters
    ----------
    count : int
        Restarts with a position.
    seed : int
        Of forecasts, faults and moments.
    venue : str
        Where.

    Returns
    -------
    dict
        ``restarts`` with a position, of all ``sittings``; ``orders`` at the exchange, ``twice``
        (ids that it took more than once), ``unequal`` (restarts after which desk and exchange held
        different positions), ``added`` (orders that a restart meant by itself), ``halted``.
    """
    with TemporaryDirectory() as place:
        return asyncio.run(_restarts(count, random.Random(seed), Path(place), chosen(venue)))


FAULTS = ("ack_rst", "hold_after_accept", "accept_then_503", "duplicate_fill", "fill_before_ack")


async def _restarts(
    count: int, dice: random.Random, place: Path, settings: Study
) -> dict[str, Any]:
    folder, found = place / "run", Counter(restarts=0, sittings=0, unequal=0, added=0, halted=0)
    (folder / "commands").mkdir(parents=True)
    start = int(START.timestamp()) * 1_000_000 + 30 * MINUTE
    table = bars(4 * count + 60)
    named = names.of(settings, [SYMBOL])
    async with Exchange(table, start=start, names=named) as exchange:
        exchange.clock.join("campaign")
        while found["restarts"] < count:
            sitting = Sitting(exchange, table, folder, settings)
            before = _meant(folder)
            await _begun(sitting)
            found["added"] += _meant(folder) - before
            found["unequal"] += float(sitting.held) != sitting.desk.positions[SYMBOL]
            found["halted"] += sitting.desk.control == HALTED
            found["restarts"] += bool(sitting.held)
            found["sittings"] += 1
            await _cut_off(exchange, sitting, dice)
    cids = Counter(row["cid"] for row in _placed(exchange) if row["accepted"])
    return {**found, "orders": len(cids), "twice": sum(times > 1 for times in cids.values())}


async def _begun(sitting: Sitting) -> None:
    """Begin; later, where the venue still counts what a killed one has asked, and answers no more.

    Kraken does, by the account.
    """
    while True:
        try:
            return await sitting.begin()
        except UserError:
            await sitting.die()
            for _ in range(3):
                await sitting.pass_bar()


async def _cut_off(exchange: Exchange, sitting: Sitting, dice: random.Random) -> None:
    """Let a bar close, as a rule one on which to hold, and kill the sitting at a random moment."""
    if dice.random() < 0.5:
        exchange.strike(dice.choice(FAULTS), us=50_000)
    told = dice.choice([0.02, 0.02, -0.02])
    closing = asyncio.create_task(sitting.close_bar(told))
    await asyncio.wait([closing], timeout=dice.uniform(0.1, 0.6))
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await sitting.die()


def _meant(folder: Path) -> int:
    """Return how many orders were ever meant."""
    return len(journal.read(folder, kinds=("intent",)))


def _placed(exchange: Exchange) -> list[dict[str, Any]]:
    """Return the requests of orders that the exchange has seen."""
    return [r for r in exchange.log if r["kind"] == "signed" and r["does"] == "place"]


__all__ = ["Desk", "Sitting", "bars", "chosen", "restarts"]
