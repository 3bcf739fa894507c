"""The ledger's file: canonical JSON lines, each bound to the one before it by a hash.

A line holds ``n``, its number from 1; ``prev``, the hash of the line before it; what was written
down; and last ``sha256`` of all that stands before. So a row that is edited, taken out, put in or
moved is named when the file is next read. A line that a crash cut off has no end of line: before
the next row is written it is set aside into a file of its own, and a row says so.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from research.errors import UserError
from research.store import atomic
from research.store.ledger import heads

log = logging.getLogger(__name__)

Row = dict[str, Any]
FIRST = "0" * 64
"""What stands for the hash of the row before the first."""
_END = re.compile(rb',"sha256":"([0-9a-f]{64})"\}\Z')
LOCK = threading.RLock()
"""Held by a thread that reads or writes; other processes wait at a file."""


@dataclass
class Chain:
    """What has been read of one ledger, and checked."""

    path: Path
    rows: list[Row] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    size: int = 0
    """Bytes of whole rows; what follows is a line cut off, or being written."""
    stamp: tuple[int, ...] = ()
    """Of the file when it was read: inode, bytes, moment of change."""

    @property
    def last(self) -> str:
        """Hash of the last row."""
        return self.hashes[-1] if self.hashes else FIRST


_known: dict[Path, Chain] = {}


def place() -> Path:
    """Return the path of the ledger: ``data/ledger/trials.jsonl``."""
    return atomic.data_root() / "ledger" / "trials.jsonl"


def read() -> Chain:
    """Return the ledger, checked as far as it has grown since it was last read.

    The first reading in a process checks every row, and holds the ledger against all heads that
    lie under data and reports.

    Raises
    ------
    UserError
        If a row does not fit, or the ledger is not the one that a head has seen.
    """
    path = place()
    with LOCK:
        before = _known.get(path)
        # heads first: what another process adds after them only makes the ledger longer
        seen = list(heads.found()) if before is None else []
        try:
            now = _read(path, before)
        except OSError as error:
            raise UserError(f"ledger {path}: cannot be read: {error.strerror}.") from error
        for head in seen:
            _hold(now, head)
        _known[path] = now
        return now


def append(body: Row) -> tuple[int, str]:
    """Write one row, on the disk when this returns; return its number and hash.

    Parameters
    ----------
    body : dict
        JSON values. ``n``, ``prev``, ``time`` and ``sha256`` are added.
    """
    path = place()
    with LOCK, atomic.only_one("ledger", wait=True), atomic.writing(path):
        chain = read()
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            _set_aside(chain)
        number, digest = _write(chain, body)
        heads.keep(number, digest)
        return number, digest


def _write(chain: Chain, body: Row) -> tuple[int, str]:
    number = len(chain.rows) + 1
    moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    row = _plain({**body, "n": number, "prev": chain.last, "time": moment})
    line, digest = _line(row)
    new = not chain.path.exists()
    with chain.path.open("ab", buffering=0) as file:
        file.write(line)
        os.fsync(file.fileno())
        found = os.fstat(file.fileno())
    if new:
        atomic.sync(chain.path.parent)
    chain.rows.append(row)
    chain.hashes.append(digest)
    chain.size, chain.stamp = chain.size + len(line), _stamp(found)
    return number, digest


def _line(row: Row) -> tuple[bytes, str]:
    """Return a row's line and its hash: that of the one JSON text of all it says.

    >>> line, digest = _line({"n": 1, "kind": "begun"})
    >>> line[:22], digest[:8], len(digest)
    (b'{"kind":"begun","n":1,', '8a6acd4d', 64)
    """
    text = json.dumps(row, sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text[:-1]},"sha256":"{digest}"}}\n'.encode(), digest


def _plain(value: Any) -> Any:
    """Turn numpy's scalars into plain ones, and what is not finite into null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path, before: Chain | None) -> Chain:
    try:
        found = path.stat()
    except FileNotFoundError:
        if before is not None and before.rows:
            _refuse(f"it held {len(before.rows)} rows a moment ago and is gone")
        return before or Chain(path)
    if before is not None and before.stamp == _stamp(found):
        return before
    # a file that only grew is read on from where it ended; any other is read anew
    if before is not None and before.stamp[:1] == (found.st_ino,) and before.size < found.st_size:
        return _fold(before, found)
    now = _fold(Chain(path), found)
    if before is not None and before.hashes:
        _hold(now, heads.Head(len(before.hashes), before.last, "this very process"))
    return now


def _fold(chain: Chain, found: os.stat_result) -> Chain:
    """Check the whole rows that follow what `chain` knows, and take them in."""
    with chain.path.open("rb") as file:
        file.seek(chain.size)
        content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    rows, hashes, last = [], [], chain.last
    for number, line in enumerate(whole.split(b"\n")[:-1], len(chain.rows) + 1):
        row, last = _checked(line, number, last)
        rows.append(row)
        hashes.append(last)
    chain.rows += rows
    chain.hashes += hashes
    chain.size, chain.stamp = chain.size + len(whole), _stamp(found)
    return chain


def _checked(line: bytes, number: int, before: str) -> tuple[Row, str]:
    end = _END.search(line)
    digest = hashlib.sha256(line[: end.start()] + b"}").hexdigest() if end else ""
    try:
        row = json.loads(line)
    except ValueError:
        _refuse(f"row {number} cannot be read")
    if end is None or digest.encode() != end[1]:
        _refuse(f"row {number} is not what was written: it was changed since")
    if row["n"] != number or row["prev"] != before:
        _refuse(
            f"row {number} does not follow the row before it: a row was taken out, put in or moved"
        )
    return row, digest


def _hold(chain: Chain, head: heads.Head) -> None:
    """Hold the ledger against what somebody saw of it."""
    if len(chain.rows) < head.rows:
        _refuse(f"it holds {len(chain.rows)} rows, but {head.where} has seen {head.rows}")
    if chain.hashes[head.rows - 1] != head.hash:
        _refuse(f"its row {head.rows} is not the one that {head.where} has seen")


def _refuse(found: str) -> NoReturn:
    raise UserError(
        f"ledger {place()}: every trial must stand in it as it was written, but {found}. Put the "
        f"file back as it was; only without all of {atomic.data_root()} and "
        f"{atomic.reports_root()} does a new count begin."
    ) from None


def _set_aside(chain: Chain) -> None:
    """Cut off what a crash left of a last line, keep it in a file beside, and say so in a row."""
    with chain.path.open("rb") as file:
        file.seek(chain.size)
        left = file.read()
    if not left:
        return
    name = f"torn-after-{len(chain.rows)}-{hashlib.sha256(left).hexdigest()[:8]}.torn"
    atomic.write_bytes(chain.path.with_name(name), left)
    os.truncate(chain.path, chain.size)
    log.warning(
        "ledger: the line after row %d was cut off, as by a crash; it is kept in %s",
        len(chain.rows),
        name,
    )
    _write(chain, {"kind": "torn", "file": name, "bytes": len(left)})
