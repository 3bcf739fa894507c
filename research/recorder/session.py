"""One recording, from its first connection to its summary."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from research.errors import UserError
from research.live.clock import WallClock
from research.live.feed.limits import Limits
from research.live.feed.waiting import end, first
from research.live.net import Network
from research.recorder import folder as folders
from research.recorder.books import Answers, Books, check_symbols
from research.recorder.converting import Converter
from research.recorder.disk import Disk
from research.recorder.intake import Intake, Tap, facts, lag_ms
from research.recorder.ledger import Ledger
from research.recorder.stats import Statistics
from research.recorder.venues import Stream, Venue, venue
from research.recorder.wire import Wire
from research.units import duration

BEAT = 0.2
"""Seconds between two blocks of a quiet stream."""
SEGMENT_BYTES = 64 << 20
_STATS_SECONDS = 1.0
_HOUR_MS = 3_600_000
Progress = Callable[[Statistics], object]


class RecordingStopped(UserError):
    """A recording that could not go on; all it had is on disk, and what it lacks is declared."""

    def __init__(self, message: str, summary: Statistics) -> None:
        super().__init__(message)
        self.summary = summary


def record(
    name: str, symbols: Sequence[str], streams: Sequence[str], folder: Path | str, **more: Any
) -> Statistics:
    """Record until `length` is over or the process is told to stop; for scripts and commands.

    In a notebook, whose event loop runs already, say ``await capture(...)`` instead: it takes the
    same arguments.
    """
    return asyncio.run(capture(name, symbols, streams, folder, signals=True, **more))


async def capture(
    name: str,
    symbols: Sequence[str],
    streams: Sequence[str],
    folder: Path | str,
    *,
    length: str | timedelta | None = None,
    progress: Progress | None = None,
    network: Network | None = None,
    limits: Limits | None = None,
    signals: bool = False,
    convert: bool = True,
    tap: Tap | None = None,
) -> Statistics:
    """Record a venue's streams, every frame as it was received.

    Parameters
    ----------
    name : str
        ``binance_usdm``, ``binance_spot`` or ``bybit``.
    symbols, streams : sequence of str
        Such as ``BTCUSDT``, and ``depth``, ``bookTicker``, ``aggTrade``, ``trade``.
    folder : Path
        Where to; made where there is none. A recording that is there goes on.
    length : str or timedelta, optional
        Such as ``"10 min"``; absent: until it is cancelled, or told to stop.
    progress : callable, optional
        Given `Statistics` each second, also while the last segments become Parquet at the end.
    network : Network, optional
        How the venue is reached; a simulated one on this machine, for tests.
    limits : Limits, optional
        How patient the connections are.
    signals : bool
        End cleanly on SIGTERM and ctrl-C.
    convert : bool
        Make Parquet of each closed segment; otherwise segments are left as they are.
    tap : callable, optional
        Given each frame of a stream as it comes: its bytes, receipt (ns) and connection's number.

    Returns
    -------
    Statistics
        Of the whole recording.

    Raises
    ------
    UserError
        Before anything is written, if the venue, a symbol or a stream is not known, or the folder
        cannot be written to; as `RecordingStopped` if the disk refuses later.
    BlockingIOError
        If another recorder has the folder.
    """
    chosen = venue(name)
    wanted = chosen.streams(symbols, streams)
    named = [stream.symbol for stream in wanted]
    span = None if length is None else duration(length)
    where, limits = Path(folder), limits or Limits()
    async with contextlib.AsyncExitStack() as held:
        if network is None:
            network = await held.enter_async_context(Network())
        host = Answers(network, chosen, WallClock(), limits)  # type: ignore[arg-type]
        lock = folders.probe(where)
        if lock is None:
            await check_symbols(host, chosen, named, limits)
            lock = folders.open_folder(where)
            held.enter_context(lock)
        else:
            held.enter_context(lock)
            await check_symbols(host, chosen, named, limits)
        session = _Session(chosen, wanted, where)
        session.intake.tap = tap
        made = Converter(where, chosen.venue, chosen.market) if convert else None
        return await session.run(
            network, host, limits, span=span, progress=progress, signals=signals, converter=made
        )


class _Session:
    """The parts of one recording, put together."""

    def __init__(self, venue: Venue, streams: list[Stream], folder: Path) -> None:
        self._log = structlog.get_logger("recorder")
        self.folder = folder
        self._left = left = folders.recover(folder)
        self._facts, self._segment = facts(venue, streams), left.segment
        self._stop = asyncio.Event()
        self._why, self._over = "", "interrupted"
        self._loop = asyncio.get_running_loop()
        self._converter: Converter | None = None
        self.disk = Disk(folder, name=self._name, closed=self._closed, failed=self._failed)
        self.ledger = Ledger(self.disk.line, left.gap, left.opened)
        self.intake = Intake(venue, streams, self.disk, self.ledger, left.connection)
        self.reconnects = 0
        self._books: Books | None = None
        self._began = time.monotonic()
        self._ended: float | None = None
        self._counted = (self._began, 0)

    async def run(
        self,
        network: Network,
        host: Answers,
        limits: Limits,
        *,
        span: timedelta | None,
        progress: Progress | None,
        signals: bool,
        converter: Converter | None,
    ) -> Statistics:
        """Record until something ends it, and leave everything in order."""
        self._converter = converter
        self._go_on()
        wires = [
            Wire(route, self.intake, network, WallClock(), note=self._note, limits=limits)
            for route in self.intake.venue.routes([k.stream for k in self.intake.known.values()])
        ]
        self._books = Books(self.intake, host, wires, limits)
        jobs = [*(wire.run() for wire in wires), self._books.run(), self._beat(progress)]
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            with self._signals(signals):
                await first(
                    self._stop.wait(),
                    tasks=tasks,
                    timeout=None if span is None else span.total_seconds(),
                )
                for task in tasks:
                    if task.done():
                        task.result()
            self._over = "the time is over"
        finally:
            await end(tasks)
            self._finish()
            if converter is not None:
                await converter.finish(partial(self._packing, progress))
        return self._judge()

    def _packing(self, progress: Progress | None, left: int) -> None:
        if progress is not None:
            progress(self._summary()._replace(packing=left))

    def _go_on(self) -> None:
        """Declare what lies between the session before and this one."""
        left = self._left
        folders.note(self.folder, began_ns=self.intake.began_ns, first_segment=left.segment)
        going = self.ledger.settle(left.last_ns, {name: ns for name, (_, ns) in left.heard.items()})
        for known in self.intake.known.values():
            known.gap = going.get(known.stream.name)
        if left.last_ns:
            reason = "the recorder was killed" if left.killed else "the recorder was stopped"
            if left.killed:
                when = datetime.fromtimestamp(left.last_ns / 1e9, UTC)
                self._log.warning(
                    "the last recording was killed: up to a second before its last whole block "
                    "counts as lost",
                    whole_until=f"{when:%Y-%m-%d %H:%M:%S.%f}Z",
                    cut_bytes=left.torn,
                )
            for name, (symbol, last_ns) in left.heard.items():
                here = self.intake.known.get(name.encode())
                if here is not None:
                    here.last_ns = last_ns
                    self.intake.miss(here, reason)
                elif name not in going:  # open until a session records it again
                    self.ledger.open(symbol, name, last_ns, f"{reason}; not recorded since")
        if self._converter is not None:
            self._converter.pending()

    @contextlib.contextmanager
    def _signals(self, wanted: bool) -> Iterator[None]:
        kinds = (signal.SIGTERM, signal.SIGINT) if wanted else ()
        for kind in kinds:
            self._loop.add_signal_handler(kind, self._told, f"told to by {kind.name}")
        try:
            yield
        finally:
            for kind in kinds:
                self._loop.remove_signal_handler(kind)

    def _told(self, why: str) -> None:
        self._why = self._why or why
        self._stop.set()

    async def _beat(self, progress: Progress | None) -> None:
        """Make blocks, begin segments, and say how it goes."""
        hour, told = 0, time.monotonic()
        while True:
            await asyncio.sleep(BEAT)
            self.intake.look()
            self.intake.flush()
            now = self.intake.event_ms // _HOUR_MS
            if (hour and now > hour) or self.disk.segment_bytes >= SEGMENT_BYTES:
                self.disk.rotate()
            hour = max(hour, now)
            if progress is not None and time.monotonic() - told >= _STATS_SECONDS:
                told = time.monotonic()
                progress(self.statistics())

    def _note(self, kind: str, body: dict[str, Any]) -> None:
        self.reconnects += kind == "reconnect"
        self._log.warning(kind, **body)

    def _name(self) -> tuple[str, dict[str, Any]]:
        """Name the next segment; called on the writing thread."""
        number, self._segment = self._segment, self._segment + 1
        moment = self.intake.event_ms / 1e3 or time.time()
        name = f"{number:06d}_{datetime.fromtimestamp(moment, UTC):%Y%m%dT%H%M%S}"
        return name, self._facts | {"segment": number}

    def _closed(self, path: Path) -> None:
        if self._converter is not None:
            self._loop.call_soon_threadsafe(self._converter.add, path)

    def _failed(self, error: Exception) -> None:
        self._loop.call_soon_threadsafe(self._told, _refusal(error))

    def _finish(self) -> None:
        """Write what is held, then declare what could not be written."""
        self._ended = time.monotonic()
        self.intake.finish()
        self.disk.rotate()
        self.disk.settle()
        for place, (count, first_ns, last_ns) in self.disk.unwritten.items():
            known = self.intake.places[place]
            if known is not None:
                self.intake.declare(known, first_ns, last_ns, "the disk refused", count)
            else:
                self.ledger.declare(None, None, first_ns, last_ns, "the disk refused", count)
        for place, (first_ns, last_ns) in self.disk.doubtful.items():
            known = self.intake.places[place]
            symbol = None if known is None else known.stream.symbol
            name = None if known is None else known.stream.name
            self.ledger.declare(symbol, name, first_ns, last_ns, "the disk refused", None)
        if self.disk.failure is not None:
            start = self.disk.synced_ns or self.intake.began_ns
            self.ledger.open(None, None, start, "the disk refused")
        self.disk.end()
        if self.disk.failure is None:
            folders.note(self.folder, ended_ns=time.time_ns(), **self._summary().to_dict())

    def _summary(self) -> Statistics:
        told = self.statistics()._replace(stopped=self._why or self._over)
        return told._replace(rate=sum(told.messages.values()) / max(told.seconds, 1e-9))

    def _judge(self) -> Statistics:
        told = self._summary()
        if self.disk.failure is not None:
            why = _refusal(self.disk.failure)
            raise RecordingStopped(
                f"recorder: {self.folder}: {why}. What came until then is recorded, what did not "
                "is declared in gaps.jsonl. Free space, then start again: it goes on.",
                told,
            )
        return told

    def statistics(self) -> Statistics:
        """Return how the recording does."""
        intake, disk, ledger = self.intake, self.disk, self.ledger
        now = self._ended or time.monotonic()
        then, counted = self._counted
        self._counted = (now, intake.messages)
        lags = {k.stream.name: lag_ms(k) for k in intake.known.values()}
        return Statistics(
            seconds=round(now - self._began, 3),
            messages={
                k.stream.name: k.messages - disk.unwritten.get(k.place, (0,))[0]
                for k in intake.known.values()
            },
            rate=(intake.messages - counted) / max(now - then, 1e-9),
            received=intake.bytes,
            written=disk.written,
            waiting=disk.waiting,
            gaps=ledger.number,
            open_gaps=ledger.opened,
            lost=ledger.lost,
            unreadable=intake.bad,
            reconnects=self.reconnects,
            books=self._books.kept if self._books is not None else 0,
            lag_ms={name: round(lag, 1) for name, lag in lags.items() if lag is not None},
            disk_free=folders.free(self.folder),
        )


def _refusal(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"the disk refuses: {error.strerror or error}"
    return f"writing failed: {type(error).__name__}: {error}".replace("\n", " ")
