"""The runner: bar after bar from the feed to the desk to the journal, and what happens beside it.

One event loop waits for bars, commands and signals; the work of a bar (features, forecast,
decision, journal) is done in one worker thread, so that the loop is never kept from its sockets.
A bar is decided and durable in the journal before the feed's clock is told to go on.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from research import charges
from research.live import folders, guards
from research.live.alerts import Alerts
from research.live.broker import Broker, Hooks
from research.live.clock import Clock, WallClock
from research.live.desk import ACTIVE, HALTED
from research.live.feed import Feed
from research.live.journal import JournalError
from research.live.log import DAILY, Log
from research.live.moments import Moment, Scored, recorded, untold
from research.live.prepare import Prepared
from research.live.replay import micro
from research.live.retraining import Retraining
from research.live.state import scored

WORDS = ("active", "reducing", "halted")
SAID = ("retrain", "swap", "challenger", "rejected_model", "expired", "model_late", "train_failed")
SHOWN = ("model", "was", "why", "trigger")
"""Of events about models: which are said, and what of them."""
LOOK = 0.05
"""Seconds between two looks at the run's commands."""
NEWEST = 10_000
"""Decisions whose latency is kept for backtests."""


class Runner:
    """Trades one prepared run until it is told to stop: on paper, or through a broker.

    Parameters
    ----------
    prepared : Prepared
        Fresh or recovered.
    feed : Feed
        Where bars come from.
    clock : Clock
        The feed's: virtual where the market is simulated.
    retraining : Retraining
        Decides about models.
    log : Log
        What is said goes there.
    alerts : Alerts
        Sees every event that is written.
    broker : Broker, optional
        Sends the desk's orders to a venue. Absent: paper, which has no way to send any.
    """

    def __init__(
        self,
        prepared: Prepared,
        feed: Feed,
        clock: Clock,
        retraining: Retraining,
        log: Log,
        alerts: Alerts,
        broker: Broker | None = None,
    ) -> None:
        self._p, self._feed, self._clock, self._broker = prepared, feed, clock, broker
        self._retraining, self._log, self._alerts = retraining, log, alerts
        self._parting = broker
        self._pen = threading.Lock()  # the broker writes from the loop while a bar is decided
        self._guards = guards.Guards(prepared.study, prepared.folder)
        for body in [] if prepared.state is None else prepared.state.newest:
            rows = [scored(row) for row in body["rows"]]
            reasons = [row["reason"] for row in body["rows"]]
            self._guards.recall(body["time"], rows, reasons, len(body["trades"]))
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="bar")
        self._lock = asyncio.Lock()
        self._stopping: asyncio.Event = asyncio.Event()
        self._why = "end of the time asked for"
        self._notes: deque[dict[str, Any]] = deque()
        self._last, self._count, self._trades, self._ended = prepared.last, 0, 0, 0
        self._decided = 0
        self._equity = prepared.desk.equity
        self._taken: deque[int] = deque(maxlen=NEWEST)
        self._done = set() if prepared.state is None else prepared.state.commands

    def note(self, kind: str, body: dict[str, Any]) -> None:
        """Take what the feed says beside bars; it goes into the journal with the next event."""
        self._notes.append({"kind": kind, **body})
        self._log(kind, **body)

    def stop(self, why: str) -> None:
        """End after the bar in hand."""
        self._why = why
        self._stopping.set()

    async def run(self, until: int | None) -> dict[str, Any]:
        """Trade until `until`, in microseconds of the feed's time, or a stop.

        Returns
        -------
        dict
            The closing summary.

        Raises
        ------
        JournalError
            If the journal cannot be written: nothing that is not durable is acted on.
        """
        self._listen()
        watcher = asyncio.create_task(self._watch())
        moments = self._feed.moments(self._last)
        try:
            if self._broker is not None:
                await self._broker.begin(Hooks(self._lock, self._write, self._ask, self._log))
            while not self._stopping.is_set() and (until is None or self._last < until):
                moment = await self._next(moments, watcher)
                if moment is None or (until is not None and moment.time > until):
                    break
                await self._take(moment)
                self._log.bar(moment.time, equity=self._equity, trades=self._ended, until=until)
        except JournalError as error:
            self._alerts.raise_("journal", str(error), time=self._last)
            raise
        except Exception as error:
            self._why = f"error: {type(error).__name__}: {error}"
            await self._part()
            self._close()
            raise
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            await self._end()
        return self._close()

    async def _end(self) -> None:
        try:
            await self._part()
        finally:
            self._retraining.close()
            await self._feed.close()
            self._worker.shutdown(wait=True)

    async def _part(self) -> None:
        """Leave the venue in order, once, while the journal can still be written."""
        parting, self._parting = self._parting, None
        if parting is not None:
            await parting.close()

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(name, self.stop, f"signal {name.name}")
            except (ValueError, NotImplementedError, RuntimeError):
                return  # not the main thread: whoever started us stops us

    async def _next(
        self, moments: AsyncIterator[Moment], watcher: asyncio.Task[None]
    ) -> Moment | None:
        """Wait for the next moment; None when there is none, or a stop came first."""
        coming = asyncio.ensure_future(anext(moments, None))
        stopped = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({coming, stopped, watcher}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if watcher.done():
            coming.cancel()
            watcher.result()
        if coming.done():
            return coming.result()
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        return None

    async def _take(self, moment: Moment) -> None:
        if not isinstance(self._clock, WallClock):  # market time waits: no model is ever late
            await self._retraining.ready(moment.time, stopping=self._stopping)
        if self._stopping.is_set():
            return
        if self._broker is not None:
            await self._broker.before()
        async with self._lock:
            await self._in_thread(self._decide, moment)
        if self._broker is not None:
            await self._broker.after()
        await self._clock.ack(moment.time)
        self._retraining.begin()

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *arguments)

    # -- in the worker thread ---------------------------------------------------------------------

    def _decide(self, moment: Moment) -> None:
        """Take one moment from its bars to a durable record."""
        events = self._flushed(moment.time)
        events += self._retraining.before(moment.time, self._p.forecaster)
        if not moment.bars:
            self._write(events)
            return
        study, desk = self._p.study, self._p.desk
        rows = self._p.forecaster.score(moment)
        if moment.levels is not None:
            rows = [row._replace(levels=moment.levels.get(row.bar.symbol)) for row in rows]
        late = moment.known - moment.time > micro(study.live.late)
        told = [untold(row) for row in rows] if late else rows
        events += self._guarded(moment.time, rows)
        before, begun = desk.control, time.perf_counter_ns()
        step = desk.step(moment.time, told)
        took = {**self._p.forecaster.took, "decide": (time.perf_counter_ns() - begun) // 1000}
        took["close_to_known"] = moment.known - moment.time
        if not late:  # a bar that came by backfill says nothing of how quick we are
            self._taken.append(sum(took.values()))
        events.append(("moment", recorded(moment, told, step, late=late, state=before, took=took)))
        if desk.control != before:
            events.append(self._said(before, "limit met", "risk"))
        self._guards.sent(moment.time, step.reasons, len(step.trades))
        events += self._retraining.after(moment, rows, self._p.forecaster, step)
        self._count += 1
        self._decided += len(rows)
        if self._count % study.live.snapshot == 0:
            events.append(("snapshot", {"time": moment.time, **desk.snapshot()}))
        self._write(events)
        self._last, self._equity, self._ended = moment.time, step.equity, len(step.trades)
        self._trades += self._ended
        self._tell(moment.time, told, step)

    def _flushed(self, now: int) -> list[tuple[str, dict[str, Any]]]:
        events = []
        while self._notes:
            note = self._notes.popleft()  # what it calls time is the close that it speaks of
            events.append(("note", {**note, "time": now, "close": note.get("time")}))
        return events

    def _guarded(self, now: int, rows: list[Scored]) -> list[tuple[str, dict[str, Any]]]:
        """Let the guards look; the strictest verdict sets the desk's state."""
        found, desk = self._guards.check(now, rows, health=self._feed.health()), self._p.desk
        events, was = [], desk.control
        passing = found.state if found is not None and not found.latched else 0
        why = "guards are content" if found is None else found.reason
        if passing != desk.degraded:
            desk.obey({"degraded": passing})
            events.append(self._said(was, why, "guard", degraded=passing))
        if found is not None and found.latched and found.state > desk.ordered:
            events.append(self._set(found.state, why, "guard"))
        return events

    def _urge(self, state: int) -> None:
        """Let no order leave from here on that a state forbids, and what is open be taken back."""
        if self._broker is not None:
            self._broker.urgent(stopping=state != ACTIVE)

    def _set(self, state: int, why: str, by: str, **more: Any) -> tuple[str, dict[str, Any]]:
        self._urge(state)
        was, self._p.desk.control = self._p.desk.control, state
        return self._said(was, why, by, asked=state, **more)

    def _said(self, was: int, why: str, by: str, **more: Any) -> tuple[str, dict[str, Any]]:
        state = self._p.desk.control
        self._log("control", state=WORDS[state], was=WORDS[was], why=why, by=by)
        said = {"time": self._last, "state": state, "was": was, "why": why, "by": by}
        return "control", {**said, **more}

    def _write(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        if not events:
            return
        with self._pen:
            self._p.journal.append(*events)
            for kind, body in events:
                if kind in SAID:
                    self._log(kind, **{k: v for k, v in body.items() if k in SHOWN})
                elif kind in DAILY:
                    self._log(kind, **body, level="debug")
            self._alerts.see(*events)

    def _tell(self, now: int, rows: list[Scored], step: Any) -> None:
        for row, reason in zip(rows, step.reasons):
            self._log("decision", time=now, symbol=row.bar.symbol, reason=reason, level="debug")
        for trade in step.trades:
            self._log("trade", **trade)

    # -- beside the bars --------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look at the run's commands, and show that we live."""
        beaten = 0.0
        while True:
            if self._broker is not None and self._broker.begun:
                self._broker.check()
            if self._p.desk.control != HALTED and folders.killed(self._p.folder):
                await self._ask(HALTED, "file KILL", "file")
            for command in folders.commands(self._p.folder):
                await self._obey(command)
            if time.monotonic() - beaten >= 1.0:
                beaten = time.monotonic()
                folders.beat(self._p.folder, self._facts())
            await asyncio.sleep(LOOK)

    async def _ask(self, state: int, why: str, by: str, **more: Any) -> None:
        if state != ACTIVE:
            self._urge(state)  # before all else: a close in hand may take its time
        async with self._lock:
            self._write([self._set(state, why, by, **more)])
        if self._broker is not None:
            self._broker.wake()

    async def _obey(self, command: folders.Command) -> None:
        why, done = command.body.get("why", "told to"), {"command": command.id}
        if command.id in self._done:
            pass  # done before a crash
        elif command.name == "kill":
            await self._ask(HALTED, why, "command", **done)
        elif command.name == "resume":
            await self._resume(command, why, done)
        elif command.name == "stop":
            self.stop("told to")
        else:
            async with self._lock:
                said = self._retraining.rollback(self._last, self._p.forecaster)
                self._write([(kind, {**body, **done}) for kind, body in said])
        self._done.add(command.id)
        folders.finish(command)

    async def _resume(self, command: folders.Command, why: str, done: dict[str, Any]) -> None:
        against = ""
        if self._broker is not None:
            accepting = bool(command.body.get("accept_venue"))
            against = await self._broker.resume(accepting=accepting)
        if against:
            self._log("not_resumed", why=against)
            note = {"kind": "not_resumed", "why": against, "time": self._last, **done}
            return self._write([("note", note)])
        async with self._lock:  # a bar in hand may be looking at what is resumed from
            self._guards.resume()
        await self._ask(ACTIVE, why, "command", **done)

    def _facts(self) -> dict[str, Any]:
        return {
            "mode": "paper" if self._broker is None else "live",
            **({} if self._broker is None else self._broker.facts()),
            "run": self._p.folder.name,
            "time": self._last,
            "now": self._clock.now(),
            "state": WORDS[self._p.desk.control],
            "equity": self._equity,
            "model": self._retraining.champion,
            "challenger": self._retraining.challenger,
            "feed": self._feed.health(),
            "checks": self._feed.checks(),
            "stopped": self._stopping.is_set(),
        }

    def _close(self) -> dict[str, Any]:
        """Write the closing event and return what it says."""
        study, capital = self._p.study, self._p.study.backtest.capital
        summary = {
            "run": self._p.folder.name,
            "study": study.name,
            "why": self._why,
            "bars": self._count,
            "decisions": self._decided,
            "trades": self._trades,
            "equity": self._equity,
            "change": self._equity / capital - 1,
            "state": WORDS[self._p.desk.control],
            "model": self._retraining.champion,
            **{f"trades_{name}": count for name, count in self._feed.checks().items()},
        }
        self._write([*self._flushed(self._last), ("stop", {"time": self._last, **summary})])
        self._p.journal.close()
        charges.measure_latency(study.feed, self._p.folder.name, list(self._taken))
        folders.beat(self._p.folder, {**self._facts(), "stopped": True})
        return summary


__all__ = ["WORDS", "JournalError", "Runner"]
