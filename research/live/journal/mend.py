"""Checking a journal from its first event on, and making a new one of what is valid."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from research.errors import UserError
from research.live import folders
from research.live.journal.chain import Link, canonical, follow
from research.live.journal.files import (
    APPLICATION,
    INSERT,
    VERSION,
    damaged,
    database,
    files,
    fresh,
    new_head,
    read_head,
    reading,
    writing,
)
from research.store.atomic import sync
from research.store.atomic import writing as disk

_ROWS = "SELECT seq, kind, time, body, hash FROM events "
Row = tuple[int, bytes, int, bytes, bytes]


class Damage(Exception):
    """What is wrong with a journal, in a few words."""


def verify(folder: Path) -> Link:
    """Check a journal whole and return its end.

    The file must be sound as SQLite sees it and of this version, each event must follow from the
    one before, and the chain must reach as far as the head says it did.

    Raises
    ------
    UserError
        If it is not; nothing is changed.
    """
    head = read_head(folder)
    try:
        if not database(folder).exists():
            raise Damage("no journal.sqlite")
        if head is None:
            raise Damage("journal.head is missing or unreadable")
        with closing(reading(folder)) as connection:
            return _check(connection, head)
    except (Damage, sqlite3.Error) as error:
        raise damaged(folder, error) from error


def _check(connection: sqlite3.Connection, head: Link) -> Link:
    connection.text_factory = bytes
    for name, wanted in (("application_id", APPLICATION), ("user_version", VERSION)):
        found = connection.execute(f"PRAGMA {name}").fetchone()[0]
        if found != wanted:
            raise Damage(f"{name} {found} where this version writes {wanted}")
    said = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if said != b"ok":
        raise Damage(" ".join(said.decode(errors="replace").split()))
    end = met = Link()
    for row in connection.execute(_ROWS + "ORDER BY seq"):
        end = _next(end, row)
        met = end if end.seq == head.seq else met
    if end.seq < head.seq:
        raise Damage(f"{end.seq} events where {head.seq} were written")
    if met[:2] != head[:2]:
        raise Damage(f"event {head.seq} is not the one that was written")
    return end


def _next(link: Link, row: Row) -> Link:
    seq, kind, time, body, digest = row
    if seq != link.seq + 1:
        raise Damage(f"event {seq} after event {link.seq}")
    found = follow(link, kind, time, body)
    if found.hash != digest:
        raise Damage(f"event {seq} does not follow from those before it")
    return found


class Repaired(NamedTuple):
    """What a repair came to."""

    kept: int
    """Events in the new journal, without the `repaired` one."""
    lost: int | None
    """Events that were written and are in it no more; None: the head could not say."""
    until: int
    """Time of the last event kept, in microseconds since 1970 UTC."""
    aside: Path
    """Folder with the damaged files, as they were."""

    def text(self) -> str:
        """Say it in one line."""
        lost = "an unknown number" if self.lost is None else str(self.lost)
        return (
            f"kept {self.kept} events, lost {lost} after market time {self.until} us; "
            f"the damaged files are in {self.aside.name}/"
        )


def repair(folder: Path) -> Repaired:
    """Make a new journal of the longest valid beginning of a damaged one.

    The damaged files are copied aside first. The new journal ends with the event `repaired`, which
    says what was kept and lost. A repair that is itself interrupted is done again by the next.

    Raises
    ------
    BlockingIOError
        If a runner has the run.
    UserError
        If the journal is whole, or the disk refuses.
    """
    with folders.hold(folder), disk(database(folder)):
        _refuse_whole(folder)
        aside = _put_aside(folder)
        head = read_head(aside)
        rows = max((_valid(place) for place in (folder, *_asides(folder))), key=len)
        lost = None if head is None else max(head.seq - len(rows), 0)
        found = Repaired(len(rows), lost, rows[-1][2] if rows else 0, aside)
        try:
            _replace(folder, rows, found)
        except sqlite3.Error as error:
            raise damaged(folder, error) from error
    return found


def _refuse_whole(folder: Path) -> None:
    try:
        verify(folder)
    except UserError:
        return
    raise UserError(f"journal of run {folder.name}: is whole, there is nothing to repair.")


def _asides(folder: Path) -> list[Path]:
    return sorted(folder.glob("damaged_*"))


def _put_aside(folder: Path) -> Path:
    aside = folder / f"damaged_{len(_asides(folder)) + 1}"
    aside.mkdir()
    for path in files(folder):
        if path.exists() and path.suffix != ".sqlite-shm":  # made anew from the log
            shutil.copy2(path, aside / path.name)
            sync(aside / path.name)
    sync(aside)
    return aside


def _valid(folder: Path) -> list[Row]:
    """Read the rows up to the first that cannot be read or does not follow."""
    rows: list[Row] = []
    end = Link()
    try:
        with closing(reading(folder)) as connection:
            connection.text_factory = bytes
            for row in _one_by_one(connection):
                end = _next(end, row)
                rows.append(row)
    except (Damage, sqlite3.Error, TypeError):
        pass  # the prefix ends here
    return rows


def _one_by_one(connection: sqlite3.Connection) -> Iterator[Row]:
    """Rows by their number: one bad page then costs only what lies behind it."""
    seq = 1
    while row := connection.execute(_ROWS + "WHERE seq = ?", (seq,)).fetchone():
        yield row
        seq += 1


def _replace(folder: Path, rows: list[Row], found: Repaired) -> None:
    """Write the new journal beside the old one, then put it in its place."""
    part = folder / ".repair"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    fresh(part)
    body = {"kept": found.kept, "lost": found.lost, "aside": found.aside.name, "time": found.until}
    end = Link(rows[-1][0], rows[-1][4], rows[-1][2]) if rows else Link()
    text = canonical(body)
    last = follow(end, b"repaired", end.time, text.encode())
    kept = [(seq, kind.decode(), time, text.decode(), h) for seq, kind, time, text, h in rows]
    with closing(writing(part)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, [*kept, (last.seq, "repaired", last.time, text, last.hash)])
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sync(database(part))
    for path in files(folder)[1:3]:  # an old log must never be played into the new file
        path.unlink(missing_ok=True)
    sync(folder)
    database(part).replace(database(folder))
    new_head(folder, last)
    shutil.rmtree(part)
