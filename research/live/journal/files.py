"""A journal's files: the database, its head, and how they are opened, made and refused.

The head, ``journal.head``, keeps the last link a second time. A database that has lost its newest
rows, or its whole write-ahead log, is still a valid chain; only the head tells.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

from research.errors import UserError
from research.live.journal.chain import Link
from research.store import atomic

APPLICATION, VERSION = 0x414C424B, 1
"""What a journal's file says it is, and in which version of its layout."""

_TABLE = (
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, time INTEGER NOT NULL, "
    "body TEXT NOT NULL, hash BLOB NOT NULL) STRICT"
)
_ONCE = (
    "CREATE UNIQUE INDEX IF NOT EXISTS intents ON events (json_extract(body, '$.cid')) "
    "WHERE kind = 'intent'"
)
"""No order is meant twice under one id, whoever asks for it. It is no part of the layout's version:
a journal that was made without it is given it when it is next opened."""
INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?)"
_SLOT = 128
_REFUSED = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
"""Errors of the disk or of others at work, not of the file."""


def database(folder: Path) -> Path:
    """Return the path of a run's journal."""
    return folder / "journal.sqlite"


def files(folder: Path) -> list[Path]:
    """Return the files that belong to a journal, whether they are there or not."""
    base = database(folder)
    return [base, Path(f"{base}-wal"), Path(f"{base}-shm"), folder / "journal.head"]


def damaged(folder: Path, found: object) -> UserError:
    """Return the one error of every journal that cannot be trusted, or of the disk it lies on."""
    name, code = folder.name, getattr(found, "sqlite_errorcode", 0) & 0xFF
    if code in _REFUSED:
        return UserError(
            f"journal of run {name}: cannot be opened for writing: {found}. "
            "Free space, mend its permissions, or end what else has it open."
        )
    return UserError(
        f"journal of run {name}: must be whole to be used, found: {found}. "
        f"./run repair {name} keeps this file aside and writes a new one of what is valid."
    )


def empty(folder: Path) -> bool:
    """Tell whether no event was ever written; of what cannot be read that is not known: False."""
    head = read_head(folder)
    if head is not None and head.seq:
        return False
    if not database(folder).exists():
        return True
    try:
        with closing(reading(folder)) as connection:
            return connection.execute("SELECT 1 FROM events LIMIT 1").fetchone() is None
    except sqlite3.Error:
        return False


def reading(folder: Path) -> sqlite3.Connection:
    """Return a connection that can only read, and never makes the writer wait."""
    path = database(folder).resolve()
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5.0, isolation_level=None)


def writing(folder: Path) -> sqlite3.Connection:
    """Return a connection that forces to the disk what it commits."""
    return _connected(database(folder))


def keep_intents_single(folder: Path) -> None:
    """Have the database itself refuse a second intent of one id.

    Raises
    ------
    UserError
        If a journal that has no such rule yet cannot be given it.
    """
    try:
        with closing(writing(folder)) as connection:
            connection.execute(_ONCE)
    except sqlite3.Error as error:
        raise damaged(folder, error) from error


def _connected(path: Path) -> sqlite3.Connection:
    # another thread of the runner's may write, one at a time
    found = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    found.execute("PRAGMA synchronous=FULL")
    return found


def fresh(folder: Path) -> None:
    """Make an empty journal, unless there is one.

    The head comes first, as it tells a new journal from a lost one; the database is put in its
    place whole.
    """
    head = read_head(folder)
    if head is None and not any(path.exists() for path in files(folder)):
        new_head(folder, head := Link())
    if head is None or head.seq > 0 or database(folder).exists():
        return  # there is something: for others to judge
    part = folder / ".journal.part"
    for name in ("", "-wal", "-shm", "-journal"):
        part.with_name(part.name + name).unlink(missing_ok=True)
    try:
        _lay_out(part)
    except sqlite3.DatabaseError as error:
        raise damaged(folder, error) from error
    atomic.sync(part)
    part.replace(database(folder))
    atomic.sync(folder)


def _lay_out(path: Path) -> None:
    with closing(_connected(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_TABLE)
        connection.execute(_ONCE)
        connection.execute(f"PRAGMA application_id={APPLICATION}")
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")


def new_head(folder: Path, link: Link) -> None:
    """Put a head that says `link` into the folder, in one step."""
    part = folder / ".journal.head.part"
    part.write_bytes(_place(link) * 2)
    atomic.sync(part)
    part.replace(folder / "journal.head")
    atomic.sync(folder)


class Head:
    """A journal's head, open for its writer.

    It has two places, of which the older is written over: a write that is cut off leaves the
    other. It is written after the commit and not forced to the disk: after a power cut it may be
    older than the journal, never newer.
    """

    def __init__(self, folder: Path) -> None:
        first, second = _places(folder)
        self._turn = int(first is not None and (second is None or second < first))
        self._handle = os.open(folder / "journal.head", os.O_WRONLY)

    def write(self, link: Link) -> None:
        """Write the end of the chain.

        Raises
        ------
        OSError
            If the disk refuses.
        """
        if os.pwrite(self._handle, _place(link), self._turn * _SLOT) != _SLOT:
            raise OSError("the head was written in part")
        self._turn = 1 - self._turn

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)


def read_head(folder: Path) -> Link | None:
    """Return the newest link that the head knows; None where it is missing or unreadable."""
    return max((link for link in _places(folder) if link), default=None)


def _places(folder: Path) -> tuple[Link | None, Link | None]:
    try:
        content = (folder / "journal.head").read_bytes()
    except FileNotFoundError:
        return None, None
    return _slot(content[:_SLOT]), _slot(content[_SLOT : 2 * _SLOT])


def _place(link: Link) -> bytes:
    text = b"%020d %s" % (link.seq, link.hash.hex().encode())
    return _checked(text).ljust(_SLOT - 1) + b"\n"


def _slot(content: bytes) -> Link | None:
    text = content.rstrip()[:-9]
    if len(content) != _SLOT or _checked(text) != content.rstrip():
        return None
    seq, digest = text.split(b" ")
    return Link(int(seq), bytes.fromhex(digest.decode()))


def _checked(text: bytes) -> bytes:
    return text + b" %08x" % zlib.crc32(text)
