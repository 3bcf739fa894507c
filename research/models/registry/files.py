"""The registry's way with the disk: whole files or none, and one line for what goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from research.errors import UserError

_ALL = "all symbols"
"""Folder of the one model of all symbols: no quoted symbol has a blank."""


def place(symbol: str) -> str:
    """Return the folder of a symbol's model inside a version's; of ``""`` that of all symbols."""
    return quote(symbol, "") or _ALL


def text(content: Any, indent: int | None = None) -> str:
    """Return `content` as JSON, the same bytes for the same content.

    Raises
    ------
    UserError
        If it holds what JSON has no word for, NaN among it.
    """
    try:
        return json.dumps(content, sort_keys=True, allow_nan=False, indent=indent)
    except (TypeError, ValueError) as error:
        raise UserError(f"registry: facts and evidence must be JSON without NaN: {error}.") from (
            error
        )


def digest(content: str) -> str:
    """Return the first 16 digits of a text's fingerprint."""
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def sha(path: Path) -> str:
    """Return the fingerprint of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(path: Path, content: str) -> None:
    """Replace `path` whole, and bring file and folder to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf8", newline="\n") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    if os.name != "posix":  # Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(folder: Path) -> None:
    """Take a folder away whole: a kill leaves all of it, or nothing under its name."""
    gone = folder.with_name(f".gone-{folder.name}")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into one line."""
    try:
        yield
    except OSError as error:
        raise UserError(f"registry: cannot write {folder}: {error.strerror}.") from error
