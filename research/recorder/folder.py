"""The folder of a recording: one recorder at a time, and what the one before left in it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from research.errors import UserError
from research.sources.recordings import segments

MANIFEST = "manifest.jsonl"
DAMAGED = "damaged on disk"


class Left(NamedTuple):
    """What earlier sessions left: where the next one goes on."""

    segment: int
    connection: int
    gap: int
    opened: dict[int, dict[str, Any]]
    """Lines of the gaps that had not ended, by their number."""
    last_ns: int
    """When their last frame was received; 0: there is none."""
    heard: dict[str, tuple[str, int]]
    """By stream, its symbol and when its own last frame was received; where none was: when the
    first frame was that could have stood beside it."""
    killed: bool
    """Whether the last one ended without saying so."""
    torn: int
    """Bytes after the last whole block, cut off."""


def probe(folder: Path) -> IO[str] | None:
    """Hold a folder that a recorder has used; of another one only see whether it can be written to.

    So a mistake in what is asked for leaves no trace of itself.

    Raises
    ------
    UserError, BlockingIOError
        As `open_folder`.
    """
    if (folder / "lock").exists():
        return open_folder(folder)
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise _unwritable(folder, "not a folder that can be written to")
    return None


def open_folder(folder: Path) -> IO[str]:
    """Make the folder where there is none, and hold it for this process alone.

    Returns
    -------
    file
        Held until it is closed, or the process ends however it ends.

    Raises
    ------
    UserError
        If it cannot be written to.
    BlockingIOError
        At once, if another recorder has it.
    """
    try:
        (folder / "segments").mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+", encoding="utf8")
    except OSError as error:
        raise _unwritable(folder, error.strerror) from error
    try:
        _hold(lock, folder)
    except BaseException:
        lock.close()
        raise
    return lock


def _unwritable(folder: Path, why: str | None) -> UserError:
    return UserError(
        f"recorder: cannot write to {folder}: {why}. "
        "Mend its permissions, or name another folder with --dir."
    )


def _hold(lock: IO[str], folder: Path) -> None:
    if os.name == "posix":
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"recorder: another recorder (process {_owner(lock)}) writes to {folder}; "
                "stop it, or name another folder with --dir"
            ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Wait until no other process does the same in this folder, and keep others waiting."""
    with (folder / f"{what}.lock").open("w") as lock:
        if os.name == "posix":
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sweep(folder: Path) -> None:
    """Remove what an interrupted conversion left half written."""
    for part in folder.glob("*/*/**/.*.part"):
        part.unlink(missing_ok=True)


def _owner(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read(20).strip() or "unknown"


def recover(folder: Path) -> Left:
    """Make whole what a killed recorder left, and say where the next session goes on."""
    torn = 0
    while True:
        try:
            torn += _mend(folder)
            parts = segments.parts(folder)
            connection, last_ns = _last(parts)
            heard = _heard(parts)
            break
        except FileNotFoundError:
            continue  # the killed one's converter has just made Parquet of it
    number = max((int(path.stem.partition("_")[0]) for path in parts), default=0)
    told = _manifest(folder)
    sessions = [line for line in told if "began_ns" in line or "ended_ns" in line]
    killed = bool(sessions) and "ended_ns" not in sessions[-1]
    ledger = segments.ledger(folder)
    opened = {n: line for n, line in ledger.items() if line["end_ns"] is None}
    gap = max(ledger, default=-1) + 1
    return Left(number + 1, connection, gap, opened, last_ns, heard, killed, torn)


def _mend(folder: Path) -> int:
    """Cut off half blocks, remove segments without a frame, declare damage; return bytes cut."""
    torn = sum(segments.mend(path) for path in segments.parts(folder) if path.suffix == ".seg")
    for path in folder.glob(f"segments/*{segments.SUFFIX}"):
        if not any(True for _ in segments.blocks(path)):
            path.unlink()  # not one frame had come to it
    _declare_damage(folder)
    return torn


def _declare_damage(folder: Path) -> None:
    """Write a gap for each stretch of a segment that the disk has spoiled; once."""
    known = {(line["start_ns"], line["reason"]) for line in segments.ledger(folder).values()}
    for path in folder.glob(f"segments/*{segments.SUFFIX}"):
        for before, after in segments.damage(path):
            if (before, DAMAGED) not in known:
                number = max(segments.ledger(folder), default=-1) + 1
                line = {"gap": number, "symbol": None, "stream": None, "start_ns": before}
                _append(
                    folder / segments.LEDGER,
                    line | {"end_ns": after, "reason": DAMAGED, "lost": None},
                )


def _last(parts: list[Path]) -> tuple[int, int]:
    """Return the highest number of a connection, and when the last frame was received."""
    connection = last = 0
    for path in reversed(parts):
        for records in segments.read_records(path):
            if len(records):
                connection = max(connection, int(records["connection"].max()))
                last = max(last, int(records["received_ns"].max()))
        if last:
            break
    return connection, last


def _heard(parts: list[Path]) -> dict[str, tuple[str, int]]:
    """Return, by stream, its symbol and last receipt; reads no more files than it must."""
    found: dict[str, tuple[str, int]] = {}
    silent: dict[str, tuple[str, int]] = {}
    for path in reversed(parts):
        told = _told(path)
        missing = {place: pair for place, pair in told.items() if pair[0] not in found}
        if not missing:
            continue
        last, first = _receipts(path)
        for place, (name, symbol) in missing.items():
            if place in last:
                found[name] = (symbol, last[place])
            elif first:
                silent[name] = (symbol, first)
    return silent | found


def _told(path: Path) -> dict[int, tuple[str, str]]:
    """Return the streams of a part, name and symbol by place; none if it cannot be read."""
    import pyarrow as pa

    try:
        told = segments.read_facts(path)
        pairs = zip(told["streams"], told["symbols"], strict=True)
        return {place: pair for place, pair in enumerate(pairs) if place}
    except FileNotFoundError:
        raise
    except (UserError, OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return {}  # whoever reads the recording is told of it


def _receipts(path: Path) -> tuple[dict[int, int], int]:
    """Return the last receipt of each stream, by place, and the first receipt of all; 0: none."""
    import numpy as np

    last: dict[int, int] = {}
    first = 0
    for records in segments.read_records(path):
        if not first and len(records):
            first = int(records["received_ns"][0])
        frames = records[records["kind"] == segments.FRAME]
        for place in np.unique(frames["stream"]).tolist():
            newest = int(frames["received_ns"][frames["stream"] == place].max())
            last[place] = max(last.get(place, 0), newest)
    return last, first


def _manifest(folder: Path) -> list[dict[str, Any]]:
    found = []
    path = folder / MANIFEST
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # the line that was being written
    return found


def note(folder: Path, **said: Any) -> None:
    """Append a line to the manifest; it is on the disk when this returns."""
    _append(folder / MANIFEST, said)


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("ab+", buffering=0) as file:
        file.write(segments.new_line(file.fileno()) + json.dumps(line).encode() + b"\n")
        os.fsync(file.fileno())


def free(folder: Path) -> int:
    """Return the bytes that are left on the folder's disk."""
    return shutil.disk_usage(folder).free
