"""Jobs: due by the clock of their market, once however often, counted, told, never in the way."""

import asyncio
import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.live.clock import ReplayClock
from research.operations import jobs as room
from research.operations.jobs import Jobs, Work
from research.operations.schedule import NAMES, times
from research.operations.table import DONE, FAILED, STOPPED, Table
from research.study import Study

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
MONDAY = 1_705_276_800_000_000
"""2024-01-15 00:00 UTC."""


class Steps:
    """A clock that stands still until it is set."""

    def __init__(self, now=MONDAY):
        self._now, self._news, self.asleep = now, asyncio.Event(), 0

    def now(self):
        return self._now

    async def sleep_until(self, us):
        self.asleep += 1
        try:
            while self._now < us:
                await self._news.wait()
        finally:
            self.asleep -= 1

    async def set(self, us, jobs=None):
        """Set the time, and wait until what is due by then is begun; of `jobs`, done."""
        self._now = us
        self._news.set()
        self._news = asyncio.Event()
        await asyncio.sleep(0)
        await self.settled(jobs)

    async def settled(self, jobs=None):
        calm = 0
        while calm < 5:
            await asyncio.sleep(0.002)
            calm = 0 if not self.asleep or (jobs is not None and jobs._doing) else calm + 1


class Told:
    """Takes alerts and log lines."""

    def __init__(self):
        self.alerts, self.lines = [], []

    def raise_(self, kind, text, **facts):
        self.alerts.append((kind, text))

    def __call__(self, event, level="info", **facts):
        self.lines.append((event, level, facts))


def study(**jobs):
    return Study(name="s", jobs={"live": True, **jobs})


def made(place, clock, do, *names, told=None, **said):
    """Return jobs that all do `do`; `names` those there are."""
    chosen, told = study(**said), told or Told()
    works = [
        Work(when, do, light=name == "health")
        for name, when in times(chosen).items()
        if name in (names or NAMES)
    ]
    return Jobs(chosen, place, clock, works, run=place, alerts=told, log=told)


def rows(place, name):
    return list(reversed(Table(place).newest(name, count=1000)))


# -- when ----------------------------------------------------------------------------------------


@given(st.integers(0, 4_000_000_000_000_000), st.integers(0, 23), st.integers(0, 59))
@settings(max_examples=60, deadline=None)
def test_a_daily_job_is_due_at_its_minute_of_the_utc_day(now, hour, minute):
    when = times(study(download=f"{hour}:{minute:02}"))["download"]
    due = when.after(now)
    assert now < due <= now + DAY and due % DAY == hour * HOUR + minute * MINUTE


@given(st.integers(0, 4_000_000_000_000_000), st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_a_weekly_job_is_due_on_its_day(now, day):
    word = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")[day]
    due = times(study(maintenance=f"{word} 02:00"))["maintenance"].after(now)
    moment = datetime.fromtimestamp(due / 1e6, UTC)
    assert (moment.weekday(), moment.hour, moment.minute) == (day, 2, 0)
    assert now < due <= now + 7 * DAY


@given(st.integers(0, 4_000_000_000_000_000), st.integers(1, 3000))
@settings(max_examples=40, deadline=None)
def test_health_is_due_on_a_grid(now, seconds):
    due = times(study(health=f"{seconds} s"))["health"].after(now)
    assert due == (now // (seconds * 1_000_000) + 1) * seconds * 1_000_000


def test_a_job_that_is_off_is_left_out():
    assert set(times(study(report="off", maintenance="off"))) == {"download", "retrain", "health"}


@pytest.mark.parametrize(
    "wrong", ["24:00", "1", "25:00", "01:60", "noon", None, 100, "sunday 1:00"]
)
def test_a_time_must_be_one(wrong):
    with pytest.raises(ValueError, match="expected a time of the UTC day"):
        study(download=wrong)


@pytest.mark.parametrize("wrong", ["02:00", "sunday", "sundy 02:00", "sunday 24:00", "off 02:00"])
def test_a_weekly_time_must_be_one(wrong):
    with pytest.raises(ValueError, match="expected a day and a time"):
        study(maintenance=wrong)


# -- a day ---------------------------------------------------------------------------------------


async def test_a_virtual_day_takes_a_second_and_has_each_job_when_it_was_due(tmp_path):
    seen = []
    clock = ReplayClock(MONDAY, speed=86_400.0)
    jobs = made(tmp_path, clock, lambda task: seen.append((task.name, task.due)) or "fine")
    jobs.begin()
    while not (tmp_path / room.STATE).exists():
        await asyncio.sleep(0.01)
    clock.play_to(MONDAY + DAY)
    await clock.sleep_until(MONDAY + DAY)
    while jobs._doing:
        await asyncio.sleep(0.01)
    await jobs.close()
    due = {name: [at for said, at in seen if said == name] for name in NAMES}
    assert due["report"] == [MONDAY + 10 * MINUTE] and due["retrain"] == [MONDAY + 30 * MINUTE]
    assert due["download"] == [MONDAY + HOUR] and due["maintenance"] == []
    health = [row.passed + 1 for row in rows(tmp_path, "health")]
    left = jobs._turns["health"].passed
    assert sum(health) + left in (287, 288)  # each of 5 minutes, alone or among others
    assert all(row.outcome == DONE for name in NAMES for row in rows(tmp_path, name))
    state = json.loads((tmp_path / room.STATE).read_text())
    assert {job["name"]: job["done"] for job in state["jobs"]}["download"] == 1


async def test_what_was_missed_is_done_once_for_all(tmp_path):
    clock, seen = Steps(), []
    jobs = made(tmp_path, clock, lambda task: seen.append(task.due) or "", "download")
    jobs.begin()
    await clock.settled(jobs)
    await clock.set(MONDAY + 3 * DAY, jobs)
    (row,) = rows(tmp_path, "download")
    assert seen == [MONDAY + 2 * DAY + HOUR] and row.passed == 2
    await jobs.close()


async def test_a_restart_catches_up_with_what_was_due_and_repeats_nothing(tmp_path):
    seen = []
    for now in (MONDAY, MONDAY + 2 * HOUR, MONDAY + 3 * HOUR, MONDAY + DAY + 5 * HOUR):
        clock = Steps(now)
        jobs = made(tmp_path, clock, lambda task: seen.append(task.due) or "", "download")
        jobs.begin()
        await clock.settled(jobs)
        await clock.set(now + HOUR, jobs)
        await jobs.close()
    assert seen == [MONDAY + HOUR, MONDAY + DAY + HOUR]


async def test_what_a_crash_cut_off_is_said_and_done_again(tmp_path):
    Table(tmp_path).begin("download", MONDAY + HOUR, 0)  # and then the power went
    seen, clock = [], Steps(MONDAY + 5 * HOUR)
    jobs = made(tmp_path, clock, lambda task: seen.append(task.due) or "", "download")
    jobs.begin()
    await clock.settled(jobs)
    await jobs.close()
    first, second = rows(tmp_path, "download")
    assert (first.outcome, first.said) == (FAILED, "was cut off: the process ended")
    assert (second.outcome, second.attempt, seen) == (DONE, 2, [MONDAY + HOUR])


# -- never two at once, never in the way ---------------------------------------------------------


async def test_a_job_that_is_still_busy_is_not_begun_beside_itself(tmp_path):
    clock, gate, inside, most = Steps(), threading.Event(), [], []

    def slow(task):
        inside.append(task.due)
        most.append(len(inside))
        gate.wait(60)
        inside.pop()
        return ""

    jobs = made(tmp_path, clock, slow, "health")
    jobs.begin()
    await clock.settled()
    for n in range(1, 5):
        await clock.set(MONDAY + n * 5 * MINUTE)
    gate.set()
    await clock.settled(jobs)
    await clock.set(MONDAY + 25 * MINUTE, jobs)
    await jobs.close()
    first, second = rows(tmp_path, "health")
    assert most == [1, 1] and (first.passed, second.passed) == (0, 3)


async def test_heavy_jobs_take_turns_and_health_goes_on_beside_them(tmp_path):
    clock, inside, most, health = Steps(), [], [], []

    def do(task):
        if task.name == "health":
            health.append(task.due)
            return ""
        inside.append(task.name)
        most.append(list(inside))
        time.sleep(0.05)
        inside.remove(task.name)
        return ""

    jobs = made(tmp_path, clock, do)
    jobs.begin()
    await clock.settled()
    await clock.set(MONDAY + 2 * HOUR, jobs)
    await jobs.close()
    assert sorted(map(tuple, most)) == [("download",), ("report",), ("retrain",)] and health


@pytest.mark.parametrize("slow", ["the job", "begin", "end"])
async def test_the_loop_is_never_kept_waiting(tmp_path, monkeypatch, slow):
    """A job, or the disk its table lies on, takes until the loop says that it has gone on."""
    clock, gate, said = Steps(), threading.Event(), []

    def held():
        said.append(gate.wait(30))

    def do(task):
        if slow == "the job":
            held()
        return ""

    if slow != "the job":
        real = getattr(Table, slow)
        monkeypatch.setattr(Table, slow, lambda *a: held() or real(*a))
    jobs = made(tmp_path, clock, do, "report")
    jobs.begin()
    await clock.settled()
    await clock.set(MONDAY + HOUR)
    for _ in range(20):
        await asyncio.sleep(0.001)
    gate.set()
    await clock.settled(jobs)
    await jobs.close()
    assert said == [True] and rows(tmp_path, "report")[0].outcome == DONE


# -- failures ------------------------------------------------------------------------------------


async def test_failures_are_counted_tried_again_told_and_forgotten_when_it_works(tmp_path):
    clock, told, works = Steps(), Told(), []

    def do(task):
        if not works:
            raise UserError("the venue is away\nand \x1b[31mred")
        return "fine"

    jobs = made(tmp_path, clock, do, "download", told=told, failures=2)
    jobs.begin()
    await clock.settled(jobs)
    await clock.set(MONDAY + HOUR, jobs)
    assert told.alerts == []
    await clock.set(MONDAY + HOUR + 10 * MINUTE, jobs)
    assert len(rows(tmp_path, "download")) == 1  # not before a quarter of an hour
    for n in (1, 2, 3):
        await clock.set(MONDAY + HOUR + n * room.AGAIN, jobs)
    job = json.loads((tmp_path / room.STATE).read_text())["jobs"][0]
    assert (job["failed"], job["in_a_row"], job["done"]) == (4, 4, 0)
    said = "the venue is away and \\x1b[31mred"
    assert told.alerts == [
        ("job", f"job download has failed {n} times in a row: {said}") for n in (2, 4)
    ]
    works.append(1)
    await clock.set(MONDAY + HOUR + 4 * room.AGAIN, jobs)
    await jobs.close()
    job = json.loads((tmp_path / room.STATE).read_text())["jobs"][0]
    assert (job["failed"], job["in_a_row"], job["done"], job["attempt"]) == (4, 0, 1, 5)
    assert {row.due for row in rows(tmp_path, "download")} == {MONDAY + HOUR}


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), OSError(28, "disk"), MemoryError()])
async def test_whatever_a_job_raises_is_counted_and_its_trace_is_logged(tmp_path, error):
    clock, told = Steps(), Told()

    def do(task):
        raise error

    jobs = made(tmp_path, clock, do, "report", told=told)
    jobs.begin()
    await clock.settled(jobs)
    await clock.set(MONDAY + HOUR, jobs)
    await jobs.close()
    (row,) = rows(tmp_path, "report")
    assert row.outcome == FAILED and row.said.startswith(type(error).__name__)
    assert any(event == "job fault" and "Traceback" in f["traceback"] for event, _, f in told.lines)
    assert any(event == "job" and level == "warning" for event, level, _ in told.lines)


async def test_a_secret_in_a_failure_is_masked(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "t0ken-of-some-1")

    def do(task):
        raise UserError("https://x/?key=t0ken-of-some-1")

    jobs = made(tmp_path, Steps(), do, "report")
    row = await jobs.once("report")
    assert "t0ken" not in row.said and "[redacted]" in row.said


async def test_a_job_that_takes_too_long_has_failed_and_is_told_to_end(tmp_path):
    clock, ended = Steps(), []

    def slow(task):
        ended.append(task.stopping.wait(60))
        return ""

    jobs = made(tmp_path, clock, slow, "report", timeout=timedelta(seconds=0.1))
    jobs.begin()
    await clock.settled(jobs)
    await clock.set(MONDAY + HOUR, jobs)
    await jobs.close()
    (row,) = rows(tmp_path, "report")
    assert row.outcome == FAILED and "took longer than" in row.said and ended == [True]


async def test_a_deaf_job_is_given_up_but_no_second_one_begins_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "LEAVE", 0.05)
    clock, gate, begun = Steps(), threading.Event(), []

    def deaf(task):
        begun.append(task.due)
        gate.wait(60)
        return ""

    jobs = made(tmp_path, clock, deaf, "health", timeout=timedelta(seconds=0.05))
    jobs.begin()
    await clock.settled()
    await clock.set(MONDAY + 5 * MINUTE)
    while not (found := rows(tmp_path, "health")) or found[0].outcome != FAILED:
        await asyncio.sleep(0.01)
    for n in (2, 3):
        await clock.set(MONDAY + n * 5 * MINUTE)
    assert begun == [MONDAY + 5 * MINUTE]
    gate.set()
    await clock.settled(jobs)
    await clock.set(MONDAY + 20 * MINUTE, jobs)
    await jobs.close()
    assert len(begun) == 2


async def test_a_table_that_cannot_be_written_is_told_and_stops_nothing(tmp_path):
    clock, told, seen = Steps(), Told(), []
    jobs = made(tmp_path, clock, lambda task: seen.append(1) or "", "report", told=told)
    jobs.begin()
    await clock.settled(jobs)
    (tmp_path / "jobs.sqlite").write_bytes(b"rubbish" * 1000)
    await clock.set(MONDAY + HOUR, jobs)
    assert not seen and "cannot be used" in told.alerts[0][1]
    (tmp_path / "jobs.sqlite").unlink()
    await clock.set(MONDAY + HOUR + room.AGAIN, jobs)
    await jobs.close()
    assert seen == [1]


# -- the end -------------------------------------------------------------------------------------


async def test_closing_ends_a_job_in_order_and_the_next_sitting_does_it(tmp_path):
    clock, seen, begun = Steps(), [], threading.Event()

    def slow(task):
        begun.set()
        if task.stopping.wait(60):
            raise UserError("was told to end")
        return ""

    jobs = made(tmp_path, clock, slow, "report")
    jobs.begin()
    await clock.settled()
    await clock.set(MONDAY + HOUR)
    while not begun.is_set():
        await asyncio.sleep(0.005)
    await jobs.close()
    assert rows(tmp_path, "report")[0].outcome == STOPPED
    clock = Steps(MONDAY + 2 * HOUR)
    jobs = made(tmp_path, clock, lambda task: seen.append(task.due) or "", "report")
    jobs.begin()
    await clock.settled(jobs)
    await jobs.close()
    assert seen == [MONDAY + 10 * MINUTE]


async def test_what_is_done_at_last_is_done_when_nothing_else_runs(tmp_path):
    seen, clock = [], Steps()
    last = {"run": tmp_path, "closing": lambda task: seen.append(task.name) or ""}
    jobs = Jobs(study(), tmp_path, clock, [], alerts=Told(), log=Told(), **last)
    jobs.begin()
    await jobs.close()
    assert seen == ["closing"] and rows(tmp_path, "closing")[0].outcome == DONE


async def test_an_unknown_job_is_named_with_those_there_are(tmp_path):
    with pytest.raises(UserError, match=r"'helth': there is none. Did you mean 'health'"):
        await made(tmp_path, Steps(), lambda task: "").once("helth")


async def test_without_jobs_nothing_is_begun_or_written(tmp_path):
    from research import operations

    jobs = operations.start(Study(name="s"), tmp_path, Steps())
    await jobs.close()
    assert list(tmp_path.iterdir()) == []
