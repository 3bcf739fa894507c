"""One sitting of paper trading, from a study's name to the closing summary."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from research import datasets, sim, units
from research import study as study_room
from research.errors import UserError
from research.live import clock as clocks
from research.live import feed as feeds
from research.live import folders, parts, prepare
from research.live.alerts import Alerts
from research.live.log import Log, opened
from research.live.net import Network
from research.live.replay import micro
from research.live.retraining import Retraining
from research.live.rows import at, micros
from research.live.runner import Runner
from research.store import atomic
from research.study import Study

ARMS = (
    "the extra 'live' is not installed",
    "the study has no account to trade",
    "the environment holds no dated arm that names the account",
    "there is no signed arming file that has not expired",
)
"""What real orders would need; none of it is in this version, so they cannot be sent."""
MARKET = "market.parquet"
EXCHANGE = "exchange.jsonl"
"""What a simulated exchange sent and answered, where faults were asked of it."""
SHOWN = timedelta(days=1)
"""Market time before the start that a simulated exchange knows bars of."""
PLAYED = ("simulated", "replay")
"""Feeds of a market that is known beforehand."""


class Wish(NamedTuple):
    """How one sitting shall be."""

    length: int | None
    """Market time to trade, in microseconds."""
    speed: float
    dry_run: bool
    faults: Any
    """How many, or a plan that was read; None: none."""
    debug: bool


def run(
    name: str,
    options: dict[str, Any],
    *,
    span: str | None = None,
    speed: float = 60.0,
    mode: str | None = None,
    dry_run: bool = False,
    resume: str | None = None,
    faults: str | None = None,
    debug: bool = False,
) -> dict[str, Any]:
    """Trade a study on paper and return the closing summary.

    Parameters
    ----------
    name : str
        A study; not looked at with `resume`.
    options : dict
        Dotted study options.
    span : str, optional
        Market time to trade, such as ``"24h"``. Absent: until stopped, or the market ends.
    speed : float
        Of a simulated market; 0: as fast as it is decided.
    mode : {"paper", "live"}, optional
        Absent: paper, unless the study says live.
    dry_run : bool
        Decide and journal, but fill nothing.
    resume : str, optional
        A run to go on with.
    faults : str, optional
        Of a simulated market: the path of a fault plan, or how many are drawn.
    debug : bool
        Say every decision.

    Raises
    ------
    UserError
        If real orders are asked for, or the study cannot be traded.
    BlockingIOError
        If another process runs this run.
    """
    if not speed >= 0:
        raise UserError(f"live: --speed must be 0 (no bound) or above, found {speed:g}.")
    plan = _plan(faults)
    folder = folders.find(resume) if resume else None
    if folder is not None and options:
        raise UserError(
            f"run {folder.name}: goes on with the settings it began with, found "
            f"{', '.join(options)} beside it. Leave out -o, or start a new run."
        )
    if folder is not None:
        chosen = Study.model_validate(folders.facts(folder)["study"])
    else:
        chosen = study_room.read(name, options)
    _paper(mode or chosen.live.mode)
    _tradable(chosen)
    length = None if span is None else micro(units.duration(span))
    if folder is not None and dry_run and prepare.begun(folder) and not prepare.dry(folder):
        raise UserError(
            f"run {folder.name}: was not begun as a dry run, so it cannot go on as one. Leave out "
            "--dry-run, or start a new run."
        )
    wish = Wish(length, speed, dry_run, plan, debug)
    return asyncio.run(_sit(chosen, folder or create(chosen), wish))


def _plan(asked: str | None) -> Any:
    """Read what is asked for as a number of faults, or as the path of a plan."""
    if asked is None or asked.isdigit():
        return asked and int(asked)
    if not Path(asked).is_file():
        raise UserError(f"live: --faults must be a count or the file of a plan, found {asked!r}.")
    return sim.faults.read(Path(asked))


def _paper(mode: str) -> None:
    if mode == "paper":
        return
    if mode != "live":
        raise UserError(f"live: mode must be 'paper' or 'live', found {mode!r}.")
    raise UserError(
        f"live: real orders need four arms, and none is there: {'; '.join(ARMS)}. "
        "Nothing was started. Use --mode paper."
    )


def create(study: Study) -> Path:
    """Make the folder of a new run."""
    facts = {"study": study.model_dump(mode="json"), "feed": study.feed, "mode": "paper"}
    return folders.create(study.name, time.time_ns() // 1000, facts)


def _tradable(study: Study) -> None:
    """Refuse what paper trading cannot do as the backtest does it."""
    if study.data.bars != "time":
        raise UserError(
            f"study {study.name}: data.bars {study.data.bars!r} is not traded on paper: venues "
            "publish bars by the clock. Take data.bars=time."
        )
    if study.model.meta:
        raise UserError(
            f"study {study.name}: model.meta {study.model.meta!r} is not traded on paper. Unset it."
        )


async def _sit(study: Study, folder: Path, wish: Wish) -> dict[str, Any]:
    begun, start, venue = prepare.begun(folder), None, None
    if study.feed in PLAYED:
        start = _played(study, folder, begun)
    if study.feed == "simulated" and start is not None:
        plan = _faults(wish.faults, study, folder / MARKET, start, wish.length)
        venue = _venue(study, folder, wish.speed, plan, start)
    alerts = Alerts(folder, study.live.webhook)
    log = opened(folder, debug=wish.debug, secrets=alerts.secrets)
    sending = asyncio.create_task(alerts.run())
    try:
        return await _trade(study, folder, venue, start, wish, alerts, log)
    finally:
        if venue is not None:
            with suppress(UserError, OSError):  # it never came up, and somebody has been told
                (await venue).stop()
        await alerts.drained()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        alerts.close()
        log.close()


async def _trade(
    study: Study,
    folder: Path,
    venue: asyncio.Future[Any] | None,
    start: int | None,
    wish: Wish,
    alerts: Alerts,
    log: Log,
) -> dict[str, Any]:
    notes: list[Any] = []
    # the exchange comes up, and its first minute passes, while the run is prepared
    opening = asyncio.create_task(_opened(study, folder, venue, start, wish.speed, notes))
    try:
        return await _run(study, folder, opening, start, wish, alerts, log, notes)
    finally:
        opening.cancel()
        for lines in await asyncio.gather(opening, return_exceptions=True):
            if isinstance(lines, _Lines):
                await lines.network.close()


class _Lines(NamedTuple):
    """What connects a run to its market."""

    network: Network
    clock: clocks.Clock
    feed: Any


async def _opened(
    study: Study,
    folder: Path,
    venue: asyncio.Future[Any] | None,
    start: int | None,
    speed: float,
    notes: list[Any],
) -> _Lines:
    found = await asyncio.shield(venue) if venue is not None else None
    network = Network(found.port, found.ca) if found else Network()
    try:
        clock = await _clock(study, network, start, speed)
        feed = feeds.open(
            "binance" if study.feed == "simulated" else study.feed,
            network,
            clock,
            _symbols(study, folder),
            micro(study.data.interval),
            deadline_us=micro(study.live.deadline),
            stale_us=micro(study.live.stale),
            bars=folder / MARKET if study.feed == "replay" else None,
            note=lambda kind, body: notes[0](kind, body) if notes else None,
            **parts.streams(study),
        )
    except BaseException:
        await network.close()
        raise
    return _Lines(network, clock, feed)


async def _run(
    study: Study,
    folder: Path,
    opening: asyncio.Task[_Lines],
    start: int | None,
    wish: Wish,
    alerts: Alerts,
    log: Log,
    notes: list[Any],
) -> dict[str, Any]:
    async def history(since: int, until: int) -> pl.DataFrame:
        return await (await opening).feed.history(since, until)

    start = _grid(clocks.WallClock().now(), study) if start is None else start
    log("prepare", run=folder.name, study=study.name, feed=study.feed)
    if prepare.begun(folder):
        ready = await prepare.recover(folder)
    else:
        facts = {"mode": "paper", "dry_run": wish.dry_run, "feed": study.feed}
        ready = await prepare.fresh(study, folder, history, start, facts)
    _, clock, feed = await opening
    for command in folders.commands(folder):
        if command.name == "stop":  # meant for a sitting that is over
            folders.finish(command)
    runner = Runner(ready, feed, clock, Retraining(ready), log, alerts)
    notes.append(runner.note)
    since = f"{at(ready.last):%Y-%m-%d %H:%M}Z"
    log("start", run=folder.name, study=study.name, model=ready.champion, since=since)
    try:
        left = folders.remaining(folder, ready.last, wish.length)
        return await runner.run(_until(ready.last, left, clock))
    finally:
        await clock.close()


async def _clock(study: Study, network: Network, start: int | None, speed: float) -> clocks.Clock:
    if study.feed == "replay" and start is not None:
        return clocks.ReplayClock(start, speed or math.inf)
    if network.simulated:
        return await clocks.VenueClock.connect(network)
    return clocks.WallClock()


def _until(last: int, length: int | None, clock: clocks.Clock) -> int | None:
    """Return when to stop: after the time asked for, or when a simulated market ends."""
    asked = None if length is None else last + length
    ends = clock.told.get("last") if isinstance(clock, clocks.VenueClock) else None
    known = [moment for moment in (asked, ends) if moment is not None]
    return min(known, default=None)


def _symbols(study: Study, folder: Path) -> list[str]:
    named = datasets.symbols(study)
    if named:
        return sorted(named)
    if study.feed in PLAYED:
        return (
            pl.read_parquet(folder / MARKET, columns=["symbol"])["symbol"].unique().sort().to_list()
        )
    return datasets.load(study)["symbol"].unique().sort().to_list()


def _grid(now: int, study: Study) -> int:
    """Return the last close of a bar up to `now`."""
    interval = micro(study.data.interval)
    return now // interval * interval


def _played(study: Study, folder: Path, begun: bool) -> int:
    """Write down the market that is to be played, or was until now: where does it go on."""
    if begun:
        return prepare.last_decided(folder)
    bars, start = _market(study)
    # older bars are stored, so nobody asks for them: an exchange that reads them comes up late
    last = pl.min_horizontal(pl.lit(at(start)), pl.col("time").max().over("symbol"))
    atomic.write_parquet(folder / MARKET, bars.filter(pl.col("time") > last - SHOWN))
    return start


def _venue(study: Study, folder: Path, speed: float, plan: Any, start: int) -> asyncio.Future[Any]:
    """Start the simulated exchange on the run's market; it takes a second or two to come up."""
    log = folder / EXCHANGE if plan else None
    how = {"start": start, "speed": speed or math.inf, "faults": plan, "seed": study.seed}
    begin = partial(sim.start, folder / MARKET, **how, log=log)
    return asyncio.get_running_loop().run_in_executor(None, begin)


def _market(study: Study) -> tuple[pl.DataFrame, int]:
    """Return the study's market with the days to come, and when those begin."""
    if study.data.source != "simulated":
        bars = datasets.load(study)
        last = micros(bars["time"].max())  # type: ignore[arg-type]
        return bars, _grid(last - micro(timedelta(days=study.live.days)), study)
    days = study.simulated.days + study.live.days
    longer = study.with_options({"simulated.days": days})
    bars = datasets.load(longer)
    first = micros(bars["open_time"].min())  # type: ignore[arg-type]
    return bars, first + micro(timedelta(days=study.simulated.days))


def _faults(asked: Any, study: Study, market: Path, start: int, length: int | None) -> Any:
    """Read a fault plan, or draw one over the bars that will be traded."""
    if asked is None:
        return ()
    if not isinstance(asked, int):
        return asked
    bars = pl.scan_parquet(market).filter(pl.col("time") > at(start))
    if length is not None:
        bars = bars.filter(pl.col("time") <= at(start + length))
    found = bars.select(pl.col("time").n_unique(), pl.col("symbol").unique().implode()).collect()
    played, symbols = found.row(0)
    return sim.faults.plan(asked, study.seed, played, sorted(symbols))


def text(done: dict[str, Any]) -> str:
    """Say the closing summary in lines."""
    shown = {**done, "equity": f"{done['equity']:,.2f}", "change": f"{done['change']:+.3%}"}
    wide = max(map(len, shown))
    lines = [f"{key:>{wide}}  {value}" for key, value in shown.items()]
    more = f"Go on: ./run live --continue {done['run']}   Prove it: ./run parity {done['run']}"
    return "\n".join([*lines, more])


__all__ = ["run", "text"]
