"""One sitting of trading, from a study's name to the closing summary."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from research import datasets, pipeline, units
from research.errors import UserError
from research.live import arms, basis, folders, names, parts, played, prepare
from research.live import clock as clocks
from research.live import feed as feeds
from research.live.alerts import Alerts
from research.live.broker import Broker, terms
from research.live.journal.files import empty
from research.live.log import Log, opened
from research.live.net import Network
from research.live.played import EXCHANGE
from research.live.replay import micro
from research.live.retraining import Retraining
from research.live.rows import at
from research.live.runner import Runner
from research.study import Study
from research.venues.words import Gateway


class Wish(NamedTuple):
    """How one sitting shall be."""

    length: int | None
    """Market time to trade, in microseconds."""
    speed: float
    dry_run: bool
    faults: Any
    """How many, or a plan that was read; None: none."""
    debug: bool
    live: bool = False
    """Whether real orders are sent; all arms are there then."""


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
        If the study cannot be traded, or real orders are asked for and an arm is missing.
    BlockingIOError
        If another process runs this run.
    """
    if not speed >= 0:
        raise UserError(f"live: --speed must be 0 (no bound) or above, found {speed:g}.")
    plan = played.plan(faults)
    folder = _idle(folders.find(resume)) if resume else None
    if folder is not None and options:
        raise UserError(
            f"run {folder.name}: goes on with the settings it began with, found "
            f"{', '.join(options)} beside it. Leave out -o, or start a new run."
        )
    if folder is not None:
        chosen = Study.model_validate(folders.facts(folder)["study"])
    else:
        chosen = pipeline.read(name, options)
    live = _real(chosen, folder, mode, dry_run=dry_run)
    _tradable(chosen)
    length = None if span is None else micro(units.duration(span))
    if folder is not None and dry_run and prepare.begun(folder) and not prepare.dry(folder):
        raise UserError(
            f"run {folder.name}: was not begun as a dry run, so it cannot go on as one. Leave out "
            "--dry-run, or start a new run."
        )
    wish = Wish(length, speed, dry_run, plan, debug, live)
    if folder is not None:
        return asyncio.run(_sit(chosen, folder, wish))
    return _first(chosen, create(chosen, live=live), wish)


def _idle(folder: Path) -> Path:
    """Refuse a run that another process has, or prepares; a notebook makes one for its child."""
    who = folders.runner(folder)
    if who not in (None, os.getpid(), os.getppid()):
        raise BlockingIOError(f"run {folder.name} is already running (process {who})")
    return folder


def _first(study: Study, folder: Path, wish: Wish) -> dict[str, Any]:
    """Sit for the first time; a run that a mistake kept from beginning leaves no folder."""
    try:
        return asyncio.run(_sit(study, folder, wish))
    except UserError:
        if empty(folder):  # what is not cleared here the next start clears
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _real(study: Study, folder: Path | None, mode: str | None, *, dry_run: bool) -> bool:
    """Return whether real orders are sent: what a run was begun as, it stays."""
    was = None if folder is None else folders.facts(folder).get("mode", "paper")
    if folder is not None and mode not in (None, was):
        raise UserError(
            f"run {folder.name}: was begun as {was} and goes on as such, found --mode {mode}. "
            "Leave --mode out, or start a new run."
        )
    if folder is not None and played.ended(folder):
        raise UserError(
            f"run {folder.name}: cannot go on, as the simulated exchange that had its account "
            f"ended with its sitting. Start a new one: ./run live {study.name} --mode live."
        )
    live = arms.wanted(study, mode or was)
    if live:
        terms.refuse(study, dry_run=dry_run)
    return live


def create(study: Study, *, live: bool = False) -> Path:
    """Make the folder of a new run."""
    facts = {"study": study.model_dump(mode="json"), "feed": study.feed, **_way(study, live)}
    return folders.create(study.name, time.time_ns() // 1000, facts)


def _way(study: Study, live: bool) -> dict[str, Any]:
    """Say how a run trades."""
    if not live:
        return {"mode": "paper"}
    return {"mode": "live", "account": study.live.account, "venue": arms.venue(study)}


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
    names.of(study, datasets.symbols(study) or [])


async def _sit(study: Study, folder: Path, wish: Wish) -> dict[str, Any]:
    begun, start, venue = prepare.begun(folder), None, None
    if study.feed in played.PLAYED:
        start = played.begin(study, folder, begun)
    if study.feed == "simulated" and start is not None:
        plan = played.drawn(wish.faults, study, folder / played.MARKET, start, wish.length)
        venue = played.exchange(study, folder, wish.speed, plan, start)
    alerts = Alerts(folder, study.live.webhook, study.live.mail)
    hidden = arms.keys(study) if wish.live else None
    secrets = (*alerts.secrets, *((hidden.key, hidden.secret) if hidden else ()))
    log = opened(folder, debug=wish.debug, secrets=secrets)
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
    opening = asyncio.create_task(_opened(study, folder, venue, start, wish, notes))
    try:
        return await _run(study, folder, opening, start, wish, alerts, log, notes)
    finally:
        opening.cancel()
        for lines in await asyncio.gather(opening, return_exceptions=True):
            if isinstance(lines, _Lines):
                if lines.gateway is not None:
                    await lines.gateway.close()
                await lines.network.close()


class _Lines(NamedTuple):
    """What connects a run to its market."""

    network: Network
    clock: clocks.Clock
    feed: Any
    gateway: Gateway | None = None
    """To the account; None: paper, which has none."""


async def _opened(
    study: Study,
    folder: Path,
    venue: asyncio.Future[Any] | None,
    start: int | None,
    wish: Wish,
    notes: list[Any],
) -> _Lines:
    found = await asyncio.shield(venue) if venue is not None else None
    network = Network(found.port, found.ca) if found else Network()
    try:
        clock = await _clock(study, network, start, wish.speed)
        symbols = played.symbols(study, folder)
        feed = feeds.open(
            names.feed(study),
            network,
            clock,
            symbols,
            micro(study.data.interval),
            deadline_us=micro(study.live.deadline),
            stale_us=micro(study.live.stale),
            bars=folder / played.MARKET if study.feed == "replay" else None,
            note=lambda kind, body: notes[0](kind, _true(network, body)) if notes else None,
            names=names.read(study, symbols),
            **parts.streams(study),
        )
        gateway = None
        if wish.live:
            pace = wish.speed or math.inf
            gateway = await terms.opened(study, network, clock.now, pace, symbols)
    except BaseException:
        await network.close()
        raise
    return _Lines(network, clock, feed, gateway)


def _true(network: Network, body: dict[str, Any]) -> dict[str, Any]:
    """Name the simulated exchange where a feed names the address of the venue that it plays."""
    if "route" not in body or not network.simulated:
        return body
    return {**body, "route": f"simulated://{body['route'].partition('://')[2]}"}


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
    from research import operations

    async def history(since: int, until: int) -> pl.DataFrame:
        return await (await opening).feed.history(since, until)

    start = played.grid(clocks.WallClock().now(), study) if start is None else start
    log("prepare", run=folder.name, study=study.name, feed=study.feed)
    if prepare.begun(folder):
        ready = await prepare.recover(folder)
    else:
        facts = {**_way(study, wish.live), "dry_run": wish.dry_run, "feed": study.feed}
        facts["basis"] = await _basis(study, folder, history, start, log)
        account = (await opening).gateway if wish.live else None
        made = None if account is None else partial(terms.desk, study, account)
        ready = await prepare.fresh(study, folder, history, start, facts, made)
    _, clock, feed, gateway = await opening
    for command in folders.commands(folder):
        if command.name == "stop":  # meant for a sitting that is over
            folders.finish(command)
    broker = None
    if gateway is not None:
        since = int(prepare.first(folder)["time"])
        pace = wish.speed or math.inf
        broker = Broker(study, folder, gateway, ready.desk, clock, speed=pace, since=since)
    runner = Runner(ready, feed, clock, Retraining(ready), log, alerts, broker)
    notes.append(runner.note)
    last = f"{at(ready.last):%Y-%m-%d %H:%M}Z"
    log("start", run=folder.name, study=study.name, model=ready.champion, since=last)
    jobs = operations.start(study, folder, clock, alerts=alerts, log=log)
    try:
        left = folders.remaining(folder, ready.last, wish.length)
        return await runner.run(_until(ready.last, left, clock))
    finally:
        await jobs.close()
        await clock.close()


async def _basis(
    study: Study, folder: Path, history: prepare.History, start: int, log: Log
) -> dict[str, Any]:
    """Say how far the venue's prices are from those learnt from, where it has other names."""
    if all(
        symbol == name for symbol, name in names.read(study, played.symbols(study, folder)).items()
    ):
        return {}
    found = await basis.measured(study, history, start)
    log("basis", told=basis.told(found))
    return found


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


def text(done: dict[str, Any]) -> str:
    """Say the closing summary in lines."""
    shown = {**done, "equity": f"{done['equity']:,.2f}", "change": f"{done['change']:+.3%}"}
    wide = max(map(len, shown))
    lines = [f"{key:>{wide}}  {value}" for key, value in shown.items()]
    more = f"Prove it: ./run parity {done['run']}"
    if not played.ended(folders.find(done["run"])):
        more = f"Go on: ./run live --continue {done['run']}   {more}"
    return "\n".join([*lines, more])


__all__ = ["EXCHANGE", "create", "run", "text"]
