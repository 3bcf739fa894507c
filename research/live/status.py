"""How a run is doing, for whoever looks: read from its journal and heartbeat, never written to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from research.charges.delay import SHARE
from research.errors import UserError
from research.live import alerts, folders, journal, problems
from research.live.alerts import WORDS
from research.live.log import plain
from research.live.story import Story

STALE = 10.0
"""Real seconds without a heartbeat after which a runner is not well."""


@dataclass(frozen=True)
class Status:
    """How a run is doing.

    Attributes
    ----------
    condition : str
        ``running``, ``starting``, ``stale``, ``ended``, ``down`` (it ended without saying so),
        ``failed`` (it said so) or ``damaged``.
    since : float, optional
        Of a run that does not run: when it was last seen to, seconds since 1970 UTC.
    problems : list of str
        Why it is not well.
    """

    run: str
    condition: str
    well: bool
    problems: list[str]
    since: float | None
    why: str
    state: str
    time: int
    age: float | None
    """Of the last bar, seconds of market time; None: not known."""
    bars: int
    """Closes that were acted on."""
    decisions: int
    """At them, one for each symbol that had a bar."""
    trades: int
    capital: float
    equity: float
    positions: dict[str, float]
    model: str | None
    challenger: dict[str, Any] | None
    drift: dict[str, Any] | None
    feed: list[dict[str, Any]]
    latency: dict[str, int] | None
    """From a close to its fill as fills assume it, and what 95 % of decisions took at most; both
    in microseconds, ``assumed`` and ``measured``; None: nothing is measured yet."""
    checks: dict[str, int]
    """Of this sitting: bars ``compared`` with their trades, those that ``disagree``, and trade ids
    ``missing`` on the streams; empty: they are not compared."""
    uptime: float | None
    """Share of the closes since the start that were acted on; None: there was none yet."""
    jobs: list[dict[str, Any]]
    """What is done beside the bars: when it is due, what came of it last, how often it failed."""
    disk: float
    """Free space, GB."""
    errors: dict[str, int]
    """How many alerts there were, by kind."""
    alarms: list[dict[str, Any]]
    beat: float | None
    """Age of the heartbeat, real seconds."""
    pid: int | None

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.pid is not None

    @property
    def change(self) -> float:
        """Of the equity since the start, a fraction."""
        return self.equity / self.capital - 1 if self.capital else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        return {**vars(self), "running": self.running, "change": self.change}

    def text(self) -> str:
        """Say it in lines for a terminal."""
        held = {symbol: size for symbol, size in self.positions.items() if size}
        rows = [
            ("run", self.run),
            ("is", _sentence(self)),
            ("state", self.state),
            ("last bar", f"{moment(self.time)}{_old(self.age)}"),
            ("equity", f"{self.equity:,.2f} ({self.change:+.3%})"),
            (
                "decided",
                f"{self.bars:,} bars, {self.decisions:,} decisions, {self.trades:,} trades",
            ),
            ("holds", ", ".join(f"{s} {size:+.6g}" for s, size in held.items()) or "nothing"),
            ("model", self.model or "none yet"),
            *_challenger(self.challenger),
            *_delay(self.latency),
            *(("feed", _stream(stream)) for stream in self.feed),
            *_checked(self.checks),
            *_up(self.uptime, self.errors),
            *(("job", job_line(job)) for job in self.jobs),
            *(("alarm", f"{moment(a['time'])} {a['text']}") for a in self.alarms[-5:]),
            *(("problem", problem) for problem in self.problems),
        ]
        return "\n".join(f"{name:>10}  {plain(str(value))}" for name, value in rows)


def status(folder: Path) -> Status:
    """Return how the run in `folder` is doing; its journal is checked from the first event on."""
    story = Story()
    try:
        if journal.read(folder, last=1):
            journal.verify(folder)
        story.follow(folder)
    except UserError as error:
        return told(folder, story, damage=str(error))
    return told(folder, story)


def told(folder: Path, story: Story, *, damage: str = "") -> Status:
    """Return how a run is doing, from its story, its heartbeat and its lock.

    Parameters
    ----------
    folder : Path
        The run's.
    story : Story
        As far as the journal could be read.
    damage : str
        What is wrong with the journal.
    """
    beat, pid = folders.heartbeat(folder) or {}, process(folder)
    condition, why = _condition(folder, story, beat, pid, damage)
    state, jobs, free = _state(folder, story), problems.jobs(folder), problems.free(folder)
    wrong = [damage] if damage else []
    if condition in ("stale", "down", "failed"):
        wrong.append(_bad(condition, why, beat))
    if state == "halted":
        wrong.append(f"trading is halted: {story.why or 'file KILL'}")
    if condition == "running":
        wrong += problems.late(folder, story, beat) + problems.overdue(jobs, beat)
    wrong += problems.failed(jobs)
    if free < (least := float(problems.setting(story, "live", "disk", 1.0))):
        wrong.append(f"the disk has {free:.2f} GB left, {least:g} GB are needed")
    now, shown = beat.get("now"), {**(story.contest or {})}
    return Status(
        run=folder.name,
        condition=condition,
        well=not wrong,
        problems=wrong,
        since=None if pid is not None else _seen(folder),
        why=why,
        state=state,
        time=story.time,
        age=None if now is None or not story.time else max((now - story.time) / 1e6, 0.0),
        bars=story.bars,
        decisions=story.reasons.total(),
        trades=story.trades,
        capital=story.capital,
        equity=story.worth,
        positions=dict(story.positions),
        model=story.model,
        challenger={"model": story.challenger, **shown} if story.challenger else None,
        drift=beat.get("drift") or story.drift,
        feed=list(beat.get("feed") or []),
        latency=_latency(story),
        checks=dict(beat.get("checks") or {}),
        uptime=problems.uptime(story),
        jobs=jobs.get("jobs", []),
        disk=free,
        errors=alerts.counted(folder),
        alarms=[alarm._asdict() for alarm in [*story.alarms, *alerts.beside(folder)]],
        beat=beat.get("age"),
        pid=pid,
    )


def _condition(
    folder: Path, story: Story, beat: dict[str, Any], pid: int | None, damage: str
) -> tuple[str, str]:
    """Say in a word how a run stands, and why it does not run."""
    if damage:
        return "damaged", damage
    if pid is not None:
        if not _beaten(folder):
            return "starting", ""
        return ("running" if beat.get("age", 0.0) <= STALE else "stale"), ""
    if story.last.get("kind") == "stop":
        why = str(story.last.get("why", ""))
        return ("failed" if why.startswith("error") else "ended"), why
    return "down", "it ended without a word" if story.seq else "it never began"


def process(folder: Path) -> int | None:
    """Return the id of the process that runs `folder` now; None where there is none.

    A process that lives on after its sitting has ended, as a notebook's kernel does, is none.
    """
    said = folders.heartbeat(folder) or {}
    pid = folders.runner(folder)
    if pid is not None and said.get("stopped") and _beaten(folder) and _closed(folder):
        return None
    return pid


def _closed(folder: Path) -> bool:
    try:
        return [event.kind for event in journal.read(folder, last=1)] == ["stop"]
    except UserError:  # a damaged journal is told elsewhere
        return False


def _beaten(folder: Path) -> bool:
    """Tell whether the process that has the run now has shown that it lives."""
    taken, shown = (_changed(folder / name) for name in ("journal.lock", "heartbeat.json"))
    return shown is not None and (taken is None or shown >= taken)


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _seen(folder: Path) -> float | None:
    """Return when a run was last seen to run."""
    known = (_changed(folder / name) for name in ("heartbeat.json", "journal.lock"))
    return max((when for when in known if when is not None), default=None)


def _state(folder: Path, story: Story) -> str:
    return "halted" if folders.killed(folder) else WORDS[story.state]


def _bad(condition: str, why: str, beat: dict[str, Any]) -> str:
    if condition == "stale":
        return f"no heartbeat for {beat.get('age', 0.0):.0f} s"
    return f"not running: {why}"


def _up(uptime: float | None, errors: dict[str, int]) -> list[tuple[str, str]]:
    rows = [] if uptime is None else [("uptime", f"{uptime:.2%} of closes were acted on")]
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(errors.items()))
    return [*rows, *([("alerts", said)] if said else [])]


def job_line(job: dict[str, Any]) -> str:
    """Return what a job is and what came of it, as a person reads it."""
    came = f"{job['outcome']}: {job['said']}" if "outcome" in job else "not yet done"
    counts = f"done {job['done']}, failed {job['failed']}"
    return f"{job['name']} {job['every']}, next {moment(job['due'])}, {counts}; {came}"


def _sentence(found: Status) -> str:
    if found.running:
        return f"{found.condition} (process {found.pid})"
    since = "" if found.since is None else f" since {moment(int(found.since * 1e6))}"
    return f"not running{since}: {found.why}"


def moment(us: int) -> str:
    """Return a time as a person reads it, UTC.

    >>> moment(1_795_212_900_000_000)
    '2026-11-20 22:15:00'
    """
    return f"{datetime.fromtimestamp(us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}"


def _old(age: float | None) -> str:
    return "" if age is None else f", {age:.0f} s of market time ago"


def _challenger(shown: dict[str, Any] | None) -> list[tuple[str, str]]:
    if shown is None:
        return []
    value, needed = shown.get("e_value"), shown.get("needed")
    evidence = "" if value is None else f": e-value {value:.3g} of {needed:g} needed"
    return [("challenger", f"{shown['model']}{evidence}, {shown.get('bets', 0)} bets")]


def _latency(story: Story) -> dict[str, int] | None:
    if not story.taken:
        return None
    rules = story.start.get("desk", {}).get("rules", {})
    place = math.ceil(SHARE * len(story.taken)) - 1
    return {"assumed": rules.get("latency", 0), "measured": sorted(story.taken)[place]}


def _delay(latency: dict[str, int] | None) -> list[tuple[str, str]]:
    if latency is None:
        return []
    assumed, measured = (f"{latency[name] / 1e6:.3g} s" for name in ("assumed", "measured"))
    share = f"{SHARE:.0%} of decisions took {measured} at most"
    return [("latency", f"{share}, fills assume {assumed}")]


def _checked(checks: dict[str, int]) -> list[tuple[str, str]]:
    if not checks:
        return []
    compared, disagree, missing = (checks[name] for name in ("compared", "disagree", "missing"))
    said = f"{compared:,} compared with their trades, {disagree:,} disagree"
    return [("bars", f"{said}; {missing:,} trade ids missing on the streams")]


def _stream(stream: dict[str, Any]) -> str:
    last = moment(int(stream.get("last_us") or 0))
    counts = f"{stream.get('messages', 0)} messages, {stream.get('reconnects', 0)} reconnects"
    return f"{stream.get('name')}: {stream.get('state')}, {counts}, last {last}"
