"""The one writer of a run's journal: an event is durable when `append` returns."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from research.live import folders
from research.live.journal.chain import JournalError, Link, canonical, follow
from research.live.journal.files import (
    INSERT,
    Head,
    database,
    fresh,
    keep_intents_single,
    writing,
)
from research.live.journal.mend import verify
from research.store.atomic import writing as disk

_KIND = re.compile("[a-z_]+")


def _pass(step: str) -> None:
    """Nothing: what a test puts in its place may end the process at any step."""


class Journal:
    """A run's journal, open for writing; made by `Journal.open`.

    Attributes
    ----------
    folder : Path
        The run's.
    at : callable
        Told the name of each step of an append as it is reached.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from research.live.journal import read
    >>> with TemporaryDirectory() as place:
    ...     with Journal.open(Path(place)) as journal:
    ...         last = journal.append(("start", {"run": "r", "time": 5}), ("stop", {"why": "end"}))
    ...     last, [(event.kind, event.time) for event in read(Path(place))]
    (2, [('start', 5), ('stop', 5)])
    """

    def __init__(self, folder: Path, lock: IO[str], link: Link) -> None:
        self.folder = folder
        self.at: Callable[[str], None] = _pass
        self._lock, self._link, self._failure = lock, link, ""
        self._head, self._connection = Head(folder), writing(folder)

    @classmethod
    def open(cls, folder: Path) -> Journal:
        """Open the journal of a run, a new one where there is none, for this process alone.

        All of it is checked: the file as SQLite sees it, then each link from the first event on.

        Raises
        ------
        BlockingIOError
            Within a second, if another process has it.
        UserError
            If it is damaged, shorter than it was, of another version or no journal; or the disk
            refuses.
        """
        lock = folders.hold(folder)
        try:
            with disk(database(folder)):
                fresh(folder)
                link = verify(folder)
                keep_intents_single(folder)
                return cls(folder, lock, link)
        except BaseException:
            lock.close()
            raise

    @property
    def seq(self) -> int:
        """Number of the last event; 0: none yet."""
        return self._link.seq

    @property
    def time(self) -> int:
        """Its time, in microseconds since 1970 UTC."""
        return self._link.time

    def append(self, *events: tuple[str, dict[str, Any]]) -> int:
        """Write events, all or none, and return the number of the last.

        Parameters
        ----------
        *events : tuple of str and dict
            Kind and body. The event's time is the body's ``time``; without one that of the event
            before.

        Raises
        ------
        JournalError
            If they could not be made durable, and at each call from then on.
        """
        if self._failure:
            raise JournalError(f"journal of {self.folder.name}: {self._failure}")
        rows, link = [], self._link
        for kind, body in events:
            if not _KIND.fullmatch(kind):
                raise ValueError(f"journal: {kind!r} is no kind of event")
            time, text = int(body.get("time", link.time)), canonical(body)
            link = follow(link, kind.encode(), time, text.encode())
            rows.append((link.seq, kind, time, text, link.hash))
        try:
            self._write(rows, link)
        except (sqlite3.Error, OSError) as error:
            self._failure = f"cannot be written: {error}"
            with suppress(sqlite3.Error):
                self._connection.rollback()
            raise JournalError(f"journal of {self.folder.name}: {self._failure}") from error
        self._link = link
        return link.seq

    def _write(self, rows: list[tuple], link: Link) -> None:
        self.at("begin")
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(INSERT, rows)
        self.at("inserted")
        self._connection.execute("COMMIT")
        self.at("committed")
        self._head.write(link)
        self.at("done")

    def close(self) -> None:
        """Leave one whole file behind and let go of the run; the second time does nothing."""
        if self._lock.closed:
            return
        with suppress(sqlite3.Error):  # what is in the log beside it is durable all the same
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        self._head.close()
        self._failure = "is closed"
        self._lock.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()
