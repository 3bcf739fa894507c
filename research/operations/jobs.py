"""Jobs by the clock of a market: each in a thread of its own, never twice at once, all counted.

A job that was due several times while nobody looked is done once. One that fails is tried again
after a quarter of an hour, and after `jobs.failures` failures in a row somebody is told. What was
begun and what came of it is durable in a table; a job is named there by the time it was due, so
that a restart knows what is still to be done.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from research import units
from research.errors import UserError, nearest
from research.live.apart import in_thread
from research.live.log import plain, redacted
from research.operations import places
from research.operations.schedule import Times
from research.operations.table import DONE, FAILED, STOPPED, Row, Table
from research.store import atomic

if TYPE_CHECKING:
    from research.live.alerts import Alerts
    from research.live.clock import Clock
    from research.live.log import Log
    from research.study import Study

STATE = "jobs.json"
"""What the jobs of a folder are doing, for whoever looks."""
AGAIN = 15 * 60_000_000
"""Market time after which a job that failed is tried again, microseconds."""
LEAVE = 5.0
"""Real seconds that a job is given to end when it is told to."""
_LONGEST = 500


class Task(NamedTuple):
    """What a job is told."""

    name: str
    study: Study
    folder: Path
    """Where the jobs are kept."""
    run: Path | None
    """The run they are about; None: there is none yet."""
    due: int
    """Market time in microseconds since 1970 UTC."""
    now: int
    stopping: threading.Event
    """Set when it is to end at once."""


class Work(NamedTuple):
    """One job: when it is due, and what is done then."""

    when: Times
    do: Callable[[Task], str]
    """Returns in a line what was done; what it raises is a failure."""
    light: bool = False
    """Done at once, beside any other; all else waits for its turn, and is caught up with."""


@dataclass
class _Turn:
    """Where one job stands."""

    work: Work
    due: int = 0
    again: int | None = None
    """When what failed is tried again."""
    failed: int = 0
    """When that was due."""
    passed: int = 0
    busy: bool = False

    @property
    def next(self) -> int:
        again = self.due if self.again is None or self.busy else self.again
        return min(self.due, again)


class Jobs:
    """The jobs of one study, by one clock.

    Parameters
    ----------
    study : Study
        Its `jobs` say how long one may take, and when somebody is told.
    folder : Path
        Where their table is kept.
    clock : Clock
        Says what time it is.
    works : list of Work
        What is to be done.
    run : Path, optional
        What they are about; absent: the newest run of the study whenever a job begins.
    closing : callable, optional
        What is done at the end of the run, when no other job runs any more.
    alerts : Alerts, optional
        Told of what fails again and again.
    log : Log, optional
        Told of every job.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        clock: Clock,
        works: list[Work],
        *,
        run: Path | None = None,
        closing: Callable[[Task], str] | None = None,
        alerts: Alerts | None = None,
        log: Log | None = None,
    ) -> None:
        self._at_last = closing
        self._study, self._folder, self._clock, self._run = study, folder, clock, run
        self._alerts, self._log, self._table = alerts, log, Table(folder)
        self._turns = {work.when.name: _Turn(work) for work in works}
        self._lane, self._news = asyncio.Lock(), asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._doing: dict[asyncio.Task[Any], threading.Event] = {}
        self._writing, self._closing = threading.Lock(), False

    def begin(self) -> None:
        """Begin to wait for what is due; nothing where there is no work."""
        if self._turns:
            self._loop = asyncio.create_task(self._go(), name="jobs")

    async def close(self) -> None:
        """End all jobs, and give those that run a few seconds to leave in order."""
        self._closing = True
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        for stopping in self._doing.values():
            stopping.set()
        if self._doing:
            await asyncio.wait(list(self._doing), timeout=2 * LEAVE)
        for left in list(self._doing):
            left.cancel()
        if self._at_last is not None:
            work = Work(Times("closing", "at the end", None), self._at_last, light=True)
            await self._kept(_Turn(work), self._clock.now(), 0)

    async def once(self, name: str) -> Row:
        """Do a job now, as if it were due, and return what came of it.

        Raises
        ------
        UserError
            If there is no such job, or it is off.
        """
        if name not in self._turns:
            known = list(self._turns)
            hint = nearest(name, known)
            raise UserError(f"job {name!r}: there is none.{hint} Here: {', '.join(known)}.")
        now = self._clock.now()
        await in_thread(self._recall, now)
        row = await self._do(self._turns[name], last_due(self._turns[name].work.when, now), 0)
        return row

    def state(self) -> dict[str, Any]:
        """Return when each job is due and what came of it last; nothing is begun."""
        now = self._clock.now()
        self._foresee(now)
        return state(self._turns, self._table, now)

    # -- waiting -----------------------------------------------------------------------------------

    async def _go(self) -> None:
        try:
            await in_thread(self._recall, self._clock.now())
            while True:
                self._news.clear()
                now = self._clock.now()
                for turn in self._turns.values():
                    self._look(turn, now)
                await self._sleep(min(turn.next for turn in self._turns.values()))
        except Exception as error:  # nobody waits for this task: what it meets is told
            self._say("job", f"jobs have ended: {_words(error)}", self._clock.now())

    def _recall(self, now: int) -> None:
        """Find out what is still to be done from before."""
        self._table.cut_off()
        self._foresee(now)
        self._write()

    def _foresee(self, now: int) -> None:
        for name, turn in self._turns.items():
            known = None if turn.work.light else self._table.behind(name)
            turn.due = turn.work.when.after(now if known is None else known)

    def _look(self, turn: _Turn, now: int) -> None:
        """Begin what is due; what is due while it still runs stands to the next one's account."""
        if turn.due <= now:
            due, many = turn.work.when.newest(turn.due, now)
            turn.due = turn.work.when.after(due)
            if turn.busy:
                turn.passed += many
                return
            passed, turn.passed = turn.passed + many - 1, 0
        elif turn.again is not None and turn.again <= now and not turn.busy:
            due, passed = turn.failed, 0
        else:
            return
        turn.busy, turn.again = True, None
        task = asyncio.create_task(self._kept(turn, due, passed), name=turn.work.when.name)
        self._doing[task] = threading.Event()
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[Any]) -> None:
        self._doing.pop(task, None)
        self._news.set()

    async def _sleep(self, until: int) -> None:
        """Wait for a moment of the market, or for a job that ends: it may be tried again sooner."""
        waits = {
            asyncio.ensure_future(self._clock.sleep_until(until)),
            asyncio.ensure_future(self._news.wait()),
        }
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                wait.result()
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    # -- doing -------------------------------------------------------------------------------------

    async def _kept(self, turn: _Turn, due: int, passed: int) -> None:
        """Do a job; that its table cannot be written is told, and it is tried again."""
        try:
            await self._do(turn, due, passed)
        except Exception as error:  # what the work itself raises has been counted before
            turn.again, turn.failed = self._clock.now() + AGAIN, due
            if not self._closing:
                self._say("job", _words(error), self._clock.now())
        finally:
            turn.busy = False

    async def _do(self, turn: _Turn, due: int, passed: int) -> Row:
        work, me = turn.work, asyncio.current_task()
        stopping = (self._doing.get(me) if me is not None else None) or threading.Event()
        if work.light:
            return await self._try(turn, due, passed, stopping)
        async with self._lane:
            if self._closing:
                raise UserError(f"job {work.when.name}: was not begun, the run ends.")
            return await self._try(turn, due, passed, stopping)

    async def _try(self, turn: _Turn, due: int, passed: int, stopping: threading.Event) -> Row:
        name, now, limit = turn.work.when.name, self._clock.now(), self._study.jobs.timeout
        row = await in_thread(self._table.begin, name, due, passed)
        run = self._run or next(iter(places.runs(self._study.name)[-1:]), None)
        task = Task(name, self._study, self._folder, run, due, now, stopping)
        future = in_thread(self._perform, turn.work, task, name=f"job {name}")
        await asyncio.wait({future}, timeout=limit.total_seconds())
        late = not future.done()
        if late:
            stopping.set()
            await asyncio.wait({future}, timeout=LEAVE)
        outcome, said = future.result() if future.done() else (FAILED, "")
        if late:
            outcome, said = FAILED, f"took longer than {units.show(limit)} and was stopped"
        elif outcome == FAILED and self._closing and stopping.is_set():
            outcome = STOPPED
        row = await in_thread(self._table.end, row, outcome, said)
        await self._ended(turn, row)
        if not future.done():  # it is deaf: no second one is begun beside it
            await future
        return row

    def _perform(self, work: Work, task: Task) -> tuple[str, str]:
        """Do the work, in a thread, and return what came of it; whatever it raises is counted."""
        try:
            return DONE, _line(work.do(task))
        except Exception as error:  # a mistake, a fault of ours or of a library: it has failed
            import traceback

            if self._log is not None and not isinstance(error, UserError):
                trace = traceback.format_exc()
                self._log("job fault", level="debug", name=task.name, traceback=trace)
            return FAILED, _words(error)

    async def _ended(self, turn: _Turn, row: Row) -> None:
        """Tell what came of a job, and see to it that one that failed is tried again."""
        most, now = self._study.jobs.failures, self._clock.now()
        failed = await in_thread(self._table.failures, row.name)
        if row.outcome == FAILED and not turn.work.light:
            turn.again, turn.failed = now + AGAIN, row.due
        if row.outcome == FAILED and failed % most == 0:
            text = f"job {row.name} has failed {failed} times in a row: {row.said}"
            self._say("job", text, now)
        if self._log is not None:
            quiet = row.outcome == DONE and turn.work.light
            level = "debug" if quiet else "warning" if row.outcome == FAILED else "info"
            facts = {"name": row.name, "outcome": row.outcome, "said": row.said}
            self._log("job", level=level, time=row.due, **facts)
        try:
            await in_thread(self._write)
        except UserError as error:  # what was done is done, and durable
            self._say("job", str(error), now)

    def _say(self, kind: str, text: str, now: int) -> None:
        if self._alerts is not None:
            self._alerts.raise_(kind, text, time=now)

    def _write(self) -> None:
        with self._writing:  # two jobs may end at once
            found = state(self._turns, self._table, self._clock.now())
            atomic.write_json(self._folder / STATE, found)


def state(turns: dict[str, _Turn], table: Table, now: int) -> dict[str, Any]:
    """Return what jobs are doing, as `STATE` holds it."""
    jobs, counts = [], table.count()
    for name, turn in turns.items():
        last = [row for row in table.newest(name, count=2) if row.ended is not None][:1]
        kept = ("outcome", "said", "attempt", "passed")
        came = {word: getattr(row, word) for row in last for word in kept}
        facts = {"name": name, "every": turn.work.when.words, "due": turn.next, **came}
        many = {word: counts.get(name, {}).get(word, 0) for word in (DONE, FAILED)}
        jobs.append({**facts, **many, "in_a_row": table.failures(name)})
    return {"written": time.time(), "now": now, "jobs": jobs}


def last_due(when: Times, now: int) -> int:
    """Return when a job was last due; where it never was within a week, now."""
    first = when.after(now - 8 * 86_400_000_000)
    return when.newest(first, now)[0] if first <= now else now


def _line(text: str) -> str:
    return plain(str(redacted(" ".join(text.split()))))[:_LONGEST]


def _words(error: Exception) -> str:
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return _line(f"{kind}{error}")
