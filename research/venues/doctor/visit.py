"""The way to an account that is examined: a study's, or a venue's, real or simulated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from research import datasets
from research.errors import UserError, nearest
from research.live import names
from research.live.clock import Clock, VenueClock, WallClock
from research.live.net import Network
from research.store import atomic
from research.study import Study, read
from research.venues import VENUES, open_gateway
from research.venues import keys as keyring
from research.venues.doctor.checks import Check, Wanted, examine
from research.venues.keys import Keys

MINUTE = 60_000_000
HOUR, DAWN = timedelta(hours=1), datetime(2024, 5, 1, tzinfo=UTC)
USUAL = {"binance": "BTCUSDT", "bybit": "BTCUSDT", "kraken": "BTC/USD"}
"""Symbols that are looked at where no study names any."""


class Report(NamedTuple):
    """What was found."""

    venue: str
    account: str
    checks: list[Check]

    @property
    def well(self) -> bool:
        """Whether nothing stands against trading."""
        return all(check.state != "bad" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        checks = [check._asdict() for check in self.checks]
        return {"venue": self.venue, "account": self.account, "well": self.well, "checks": checks}

    def text(self) -> str:
        """Return it as lines."""
        bad = sum(check.state == "bad" for check in self.checks)
        end = f"{self.account}: {'well' if self.well else f'{bad} to mend'}"
        return "\n".join([*(check.line() for check in self.checks), end])


def run(
    name: str | None,
    options: Mapping[str, Any],
    *,
    venue: str | None = None,
    simulated: bool = False,
    tell: Callable[[Check], object] = lambda check: None,
) -> Report:
    """Examine the account that a study would trade, or one at a venue.

    Parameters
    ----------
    name : str, optional
        A study.
    options : mapping
        Study keys that are set.
    venue : str, optional
        Whose account; absent: the study's.
    simulated : bool
        On a simulated exchange on this machine, with keys of its own.
    tell : callable
        Given each check when it is made.

    Raises
    ------
    UserError
        If neither study nor venue is named, or there are no keys.
    """
    if name is None and venue is None:
        raise UserError(
            f"doctor: name a study, as in ./run doctor trend, or --venue {', '.join(VENUES)}."
        )
    if venue is not None and venue not in VENUES:
        known = nearest(venue, list(VENUES))
        raise UserError(f"--venue must be {', '.join(VENUES)}, found {venue!r}.{known}")
    return asyncio.run(_run(_patient(name, options, venue, simulated), simulated, tell))


class _Patient(NamedTuple):
    study: Study
    venue: str
    account: str
    symbols: dict[str, str]
    """The venue's name of each of the study's."""


def _patient(
    name: str | None, options: Mapping[str, Any], venue: str | None, simulated: bool
) -> _Patient:
    study = read(name or "demo", dict(options))
    named = study.live.account.partition(":")[0] if study.live.account else None
    place = venue or study.live.venue or named or names.venue(study)
    if place not in VENUES:
        raise UserError(f"doctor: {place} takes no orders. Set live.venue, or pass --venue.")
    own = study.live.account if named == place else None
    if name is None:
        return _Patient(study, place, own or place, {USUAL[place]: USUAL[place]})
    there = study.with_options({"live.venue": place})
    if simulated:
        there = there.with_options({"live.feed": "simulated"})
    return _Patient(study, place, own or place, names.of(there, _named(study)))


def _named(study: Study) -> list[str]:
    """Return a study's symbols without loading its market."""
    found = datasets.symbols(study)
    if not found and study.data.source == "simulated":
        found = [f"SIM{i:02d}USDT" for i in range(1, study.simulated.symbols + 1)]
    return sorted(found or datasets.load(study)["symbol"].unique().to_list())


async def _run(patient: _Patient, simulated: bool, tell: Callable[[Check], object]) -> Report:
    keys = _simulated_keys(patient.venue) if simulated else keyring.read(patient.account)
    checks: list[Check] = []
    async with _reached(patient, simulated) as (network, clock):
        gateway = open_gateway(
            patient.venue, network, account=patient.account, keys=keys, now=clock.now
        )
        try:
            async for check in examine(gateway, _wanted(patient, network, clock)):
                checks.append(check)
                tell(check)
        finally:
            await gateway.close()
    return Report(patient.venue, patient.account, checks)


def _wanted(patient: _Patient, network: Network, clock: Clock) -> Wanted:
    live, symbols = patient.study.live, sorted(patient.symbols.values())
    return Wanted(
        symbols=symbols,
        now=clock.now,
        skew=live.clock_skew.total_seconds(),
        margin=live.margin,
        bar=closed_bar(patient.venue, network, clock, symbols[0]),
        folder=_folder(),
        disk=live.disk,
    )


def closed_bar(
    venue: str, network: Network, clock: Clock, symbol: str
) -> Callable[[], Awaitable[str]]:
    """Return what asks a venue's feed for the last closed minute."""

    async def ask() -> str:
        from research.live import feed as feeds

        lines = feeds.open(venue, network, clock, [symbol], MINUTE, note=lambda kind, body: None)
        try:
            end = clock.now() // MINUTE * MINUTE
            bars = await lines.history(end - 10 * MINUTE, end)
        finally:
            await lines.close()
        if not bars.height:
            raise UserError(
                f"{symbol}: nothing was traded in the last ten minutes. Look at the venue's status "
                "page; take a symbol that is traded more."
            )
        time, close = bars.sort("time").select("time", "close").row(-1)
        return f"{symbol}: {time:%H:%M} UTC closed at {close:g}"

    return ask


def _folder() -> Path:
    place = atomic.data_root()
    place.mkdir(parents=True, exist_ok=True)
    return place


def _simulated_keys(venue: str) -> Keys:
    from research.sim.orders.words import usual_key

    key = usual_key(venue)
    return Keys(key.id, key.secret)


@asynccontextmanager
async def _reached(patient: _Patient, simulated: bool) -> AsyncIterator[tuple[Network, Clock]]:
    if not simulated:
        async with Network() as network:
            yield network, WallClock()
        return
    from research.sim.exchange import Exchange

    bars, start = market(list(patient.symbols))
    async with (
        Exchange(bars, start=start, speed=1.0, names=patient.symbols, record=False) as exchange,
        Network(exchange.port, exchange.ca) as network,
    ):
        clock = await VenueClock.connect(network)
        try:
            yield network, clock
        finally:
            with suppress(OSError):
                await clock.close()


def market(symbols: Sequence[str]) -> tuple[Any, int]:
    """Return two hours of a market that stands still, and the moment at which it is played."""
    import polars as pl

    from research.schema import BARS

    opens = pl.datetime_range(
        DAWN, DAWN + 2 * HOUR, "1m", time_zone="UTC", closed="left", eager=True
    )
    numbers = {"open": 100, "high": 100, "low": 100, "close": 100, "volume": 50, "trades": 50}
    numbers |= {"quote_volume": 5000, "taker_buy_volume": 25, "taker_buy_quote_volume": 2500}
    rows = pl.DataFrame({"open_time": opens}).with_columns(
        pl.lit(number).alias(name) for name, number in numbers.items()
    )
    known = rows.with_columns(time=pl.col("open_time") + timedelta(minutes=1))
    parts = [known.with_columns(symbol=pl.lit(symbol)) for symbol in sorted(symbols)]
    start = int((DAWN + HOUR).timestamp()) * 1_000_000
    return pl.concat(parts).select(*BARS).cast(BARS), start  # type: ignore[arg-type]
