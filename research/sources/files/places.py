"""Which files a path means, how each is opened, and a hash over all of them."""

from __future__ import annotations

import glob
import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, cast

import polars as pl

from research.errors import UserError
from research.sources.files import names

PARQUET = (".parquet", ".pq")
FEATHER = (".feather", ".arrow")
ENDINGS = (*PARQUET, *FEATHER, ".csv", ".csv.gz", ".zip")

_UNREADABLE = (
    pl.exceptions.PolarsError,
    OSError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    NotImplementedError,
    UnicodeDecodeError,
)


def fingerprint(path: str | Path) -> str:
    """Hash names and bytes of all files under `path`.

    Parameters
    ----------
    path : str or Path
        As for `history`.

    Returns
    -------
    str
        SHA-256 in hex. The same files in another folder have the same one.

    Raises
    ------
    UserError
        If nothing is there or a file cannot be read.
    """
    files = _files(path)
    root = files[0].parent if len(files) == 1 else _common(files)
    total = hashlib.sha256()
    for name, file in sorted((file.relative_to(root).as_posix(), file) for file in files):
        with reading(name), file.open("rb") as content:
            total.update(f"{name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _common(files: list[Path]) -> Path:
    shared = set(files[0].parents).intersection(*(file.parents for file in files))
    return max(shared, key=lambda folder: len(folder.parts))


@dataclass(frozen=True)
class Sheet:
    """One table: a file, or a CSV inside a zip."""

    file: Path
    ending: str
    member: str | None = None

    @property
    def label(self) -> str:
        """How errors call it."""
        return self.file.name

    @property
    def symbol(self) -> str | None:
        """Whose bars they are, where a name says it."""
        inside = names.parse(self.member)[0] if self.member else None
        return inside or names.parse(self.file.name)[0]

    @property
    def interval(self) -> timedelta | None:
        """How long a bar is, where a name says it."""
        inside = names.parse(self.member)[1] if self.member else None
        return inside or names.parse(self.file.name)[1]

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the text inside, whatever it is wrapped in."""
        if self.ending == ".csv.gz":
            with gzip.open(self.file) as text:
                yield cast(BinaryIO, text)
        elif self.member is not None:
            with zipfile.ZipFile(self.file) as archive, archive.open(self.member) as text:
                yield cast(BinaryIO, text)
        else:
            with self.file.open("rb") as text:
                yield text


def sheets(path: str | Path) -> list[Sheet]:
    """List every table under `path`, sorted by path; see `files.history`."""
    return [sheet for file in _files(path) for sheet in _inside(file)]


def _inside(file: Path) -> list[Sheet]:
    ending = _ending(file)
    if ending != ".zip":
        return [Sheet(file, ending)]
    _check_sum(file)
    with reading(file.name), zipfile.ZipFile(file) as archive:
        members = sorted(name for name in archive.namelist() if name.lower().endswith(".csv"))
    if not members:
        raise UserError(f"{file.name}: no CSV inside. Leave it out or fetch it again.")
    return [Sheet(file, ending, member) for member in members]


def _check_sum(file: Path) -> None:
    beside = file.with_name(f"{file.name}.CHECKSUM")
    if not beside.exists():
        return
    with reading(beside.name), file.open("rb") as content:
        said = beside.read_text().split()[:1]
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if said != [found]:
        raise UserError(f"{file.name}: its bytes differ from {beside.name}. Fetch both again.")


def _files(path: str | Path) -> list[Path]:
    path = Path(path).expanduser()
    if path.is_file():
        if not _ending(path):
            raise UserError(f"{path}: unknown ending. Known: {', '.join(ENDINGS)}.")
        return [path]
    if not path.is_dir() and not glob.has_magic(str(path)):
        raise UserError(f"{path}: there is no such file or folder. Check the path.")
    tops = [path] if path.is_dir() else _matching(path)
    found = {file for top in tops for file in _below(top) if file.is_file() and _ending(file)}
    if not found:
        raise UserError(f"{path}: no files with bars there. Known endings: {', '.join(ENDINGS)}.")
    return sorted(found)


def _matching(pattern: Path) -> list[Path]:
    fixed = Path(pattern.anchor)
    for part in pattern.relative_to(fixed).parts:
        if glob.has_magic(part):
            break
        fixed /= part
    return list(fixed.glob(str(pattern.relative_to(fixed))))


def _below(top: Path) -> Iterable[Path]:
    if not top.is_dir():
        return [top]
    inside = top.rglob("*")
    return (x for x in inside if not any(p.startswith(".") for p in x.relative_to(top).parts))


def _ending(file: Path) -> str:
    return max((e for e in ENDINGS if file.name.lower().endswith(e)), key=len, default="")


@contextmanager
def reading(label: str) -> Iterator[None]:
    """Turn what a reader refuses into one line for the user."""
    try:
        yield
    except _UNREADABLE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"{label}: cannot be read ({reason}). Copy or fetch the file again, or leave it out."
        ) from error
