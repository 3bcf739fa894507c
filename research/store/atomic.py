"""Writing to disk so that a reader sees the old file or the new one, never a part of either."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from research.errors import UserError

PROJECT = Path(__file__).resolve().parent.parent.parent


def data_root() -> Path:
    """Return the folder of all stored data: ``data/``, or ``$ALPHABOOK_DATA``."""
    return Path(os.environ.get("ALPHABOOK_DATA") or PROJECT / "data")


def reports_root() -> Path:
    """Return the folder of all reports: ``reports/``, or ``$ALPHABOOK_REPORTS``."""
    return Path(os.environ.get("ALPHABOOK_REPORTS") or PROJECT / "reports")


def write_bytes(path: Path, content: bytes) -> bool:
    """Write `content` to `path` in one step; return whether the file changed."""
    return _replace(path, lambda part: part.write_bytes(content))


def write_text(path: Path, content: str) -> bool:
    """Write UTF-8 `content` to `path` in one step; return whether the file changed."""
    return write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> bool:
    """Write `content` as indented JSON with sorted keys; NaN is refused."""
    return write_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_parquet(path: Path, table: pl.DataFrame) -> bool:
    """Write `table` as zstd Parquet in one step; return whether the file changed."""
    return _replace(path, lambda part: table.write_parquet(part, compression="zstd"))


def _replace(path: Path, write: Callable[[Path], object]) -> bool:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(part)
            if path.exists() and filecmp.cmp(part, path, shallow=False):
                return False
            sync(part)
            part.replace(path)
            sync(path.parent)
        finally:
            part.unlink(missing_ok=True)
    return True


def sync(path: Path) -> None:
    """Make sure that a file's bytes, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into one line for the user."""
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        # a full disk reaches polars' own writer as an "underlying IO error: No space left ..."
        _, told, cause = str(error).rpartition("IO error: ")
        if not isinstance(error, OSError) and not told:
            raise
        raise UserError(
            f"cannot write {path}: {error.strerror if isinstance(error, OSError) else cause}. "
            "Free space or mend its permissions, or name another folder in ALPHABOOK_DATA."
        ) from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def only_one(name: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock called `name` while the block runs.

    Parameters
    ----------
    name : str
        A file under ``data/locks/``.
    wait : bool
        Wait for the turn instead of raising.

    Raises
    ------
    BlockingIOError
        If another process holds it. The system frees it when that process ends, however it ends.
    """
    if os.name != "posix":  # Windows has no flock: there two runs may work at once
        yield
        return
    import fcntl

    path = data_root() / "locks" / name
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("w")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BlockingIOError(f"{name}; wait for it, or stop it") from None
        yield
