"""What jobs were begun and what came of them: a small SQLite file, durable, read by anyone."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from research.errors import UserError

FILE = "jobs.sqlite"
BEGUN, DONE, FAILED, STOPPED = "begun", "done", "failed", "stopped"
_WAIT = 5.0
_TABLE = """CREATE TABLE IF NOT EXISTS jobs (
    name TEXT NOT NULL, due INTEGER NOT NULL, attempt INTEGER NOT NULL, began INTEGER NOT NULL,
    ended INTEGER, passed INTEGER NOT NULL, outcome TEXT NOT NULL, said TEXT NOT NULL,
    PRIMARY KEY (name, due, attempt)) STRICT"""


class Row(NamedTuple):
    """One attempt at one job."""

    name: str
    due: int
    """By the clock of the market, microseconds since 1970 UTC."""
    attempt: int
    """From 1."""
    began: int
    """Real time, microseconds since 1970 UTC."""
    ended: int | None
    passed: int
    """Earlier times at which it was due and that this one stands for."""
    outcome: str
    """``begun``, ``done``, ``failed`` or ``stopped``: with the process that did it, in order."""
    said: str
    """In one line, what was done or why it failed."""


class Table:
    """The jobs of one folder; every call stands alone, so any thread may make it.

    Raises
    ------
    UserError
        By each call: the file cannot be written, or is no such table.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def begin(self, name: str, due: int, passed: int) -> Row:
        """Write down that a job begins, and return its row."""
        with self._open() as file:
            earlier = file.execute(
                "SELECT max(attempt) FROM jobs WHERE name = ? AND due = ?", (name, due)
            ).fetchone()[0]
            row = Row(name, due, (earlier or 0) + 1, _now(), None, passed, BEGUN, "")
            file.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        return row

    def end(self, row: Row, outcome: str, said: str) -> Row:
        """Write down what came of a job, and return its row."""
        ended = row._replace(ended=_now(), outcome=outcome, said=said)
        with self._open() as file:
            file.execute(
                "UPDATE jobs SET ended = ?, outcome = ?, said = ? "
                "WHERE name = ? AND due = ? AND attempt = ?",
                (ended.ended, outcome, said, row.name, row.due, row.attempt),
            )
        return ended

    def newest(self, name: str, *, count: int = 1) -> list[Row]:
        """Return the newest attempts at a job, the newest first."""
        asked = "SELECT * FROM jobs WHERE name = ? ORDER BY began DESC, rowid DESC LIMIT ?"
        with self._open() as file:
            return [Row(*found) for found in file.execute(asked, (name, count))]

    def behind(self, name: str) -> int | None:
        """Return up to which time a job is done; None: nothing was ever asked of it."""
        asked = """SELECT coalesce(max(due) FILTER (WHERE outcome = 'done'), min(due) - 1)
            FROM jobs WHERE name = ?"""
        with self._open() as file:
            found: int | None = file.execute(asked, (name,)).fetchone()[0]
        return found

    def count(self) -> dict[str, dict[str, int]]:
        """Return by job how many attempts came to what."""
        asked = "SELECT name, outcome, count(*) FROM jobs GROUP BY name, outcome"
        found: dict[str, dict[str, int]] = {}
        with self._open() as file:
            for name, outcome, many in file.execute(asked):
                found.setdefault(name, {DONE: 0, FAILED: 0})[outcome] = many
        return found

    def failures(self, name: str) -> int:
        """Return how many attempts at a job have failed since it was last done."""
        asked = """SELECT count(*) FROM jobs WHERE name = ?1 AND outcome = 'failed' AND began >
            coalesce((SELECT max(began) FROM jobs WHERE name = ?1 AND outcome = 'done'), -1)"""
        with self._open() as file:
            return int(file.execute(asked, (name,)).fetchone()[0])

    def cut_off(self) -> list[Row]:
        """Say of jobs that a crash cut off that they have failed, and return them."""
        with self._open() as file:
            asked = "SELECT * FROM jobs WHERE outcome = 'begun'"
            left = [Row(*found) for found in file.execute(asked)]
        return [self.end(row, FAILED, "was cut off: the process ended") for row in left]

    def forget(self, name: str, before: int) -> int:
        """Drop what is known of a job from before a real time, its newest row apart."""
        with self._open() as file:
            return file.execute(
                "DELETE FROM jobs WHERE name = ?1 AND began < ?2 AND began <> "
                "(SELECT max(began) FROM jobs WHERE name = ?1)",
                (name, before),
            ).rowcount

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            file = sqlite3.connect(self._path, timeout=_WAIT)
            try:
                with file:
                    file.execute(_TABLE)
                    yield file
            finally:
                file.close()
        except sqlite3.Error as error:
            raise UserError(
                f"jobs: {self._path.name} in {self._path.parent.name} cannot be used ({error}). "
                "Free space, or put the file aside: a new one is begun."
            ) from error


def _now() -> int:
    return time.time_ns() // 1000
