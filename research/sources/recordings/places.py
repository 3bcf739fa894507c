"""Which files a path means, what each holds, and its text piece by piece, however it is packed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from research.errors import UserError
from research.sources.recordings import frames

GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
READ = 1 << 18

Piece = TypeVar("Piece")


class CutShort(Exception):
    """A packed file ends, or breaks, before its end; all that came out before is whole."""


def files(path: str | Path) -> list[Path]:
    """List the files a path means: a file, all of a folder but hidden ones, or a glob pattern."""
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    if place.is_dir():
        found = sorted(place.rglob("*"))
        root = place
    else:
        found, root = _matching(place), None
    kept = [file for file in found if file.is_file() and not _hidden(file, root)]
    if not kept:
        what = "holds no file" if place.is_dir() else "is not there"
        raise UserError(f"recording: {path} {what}. Name a file, a folder or a pattern like *.gz.")
    return kept


def _matching(pattern: Path) -> list[Path]:
    """List what a pattern means; the folders before its first star are taken as they are."""
    parts = pattern.parts
    stars = [i for i, part in enumerate(parts) if set(part) & set("*?[")]
    if not stars:
        return []
    return sorted(Path(*parts[: stars[0]]).glob("/".join(parts[stars[0] :])))


def _hidden(file: Path, root: Path | None) -> bool:
    parts = file.relative_to(root).parts if root else (file.name,)
    return any(part.startswith(".") for part in parts)


class Source:
    """One file of lines, plain or packed.

    Attributes
    ----------
    position, size : int
        Bytes of the file read so far, and all of them.
    archive : bool
        Whether it is a zip, as a venue's own archive is.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.position, self.size = file, 0, file.stat().st_size
        with _opened(file) as content:
            self._magic = content.read(4)
        self.archive = self._magic == ZIP

    def pieces(self) -> Iterator[bytes]:
        """Yield whole lines, some `frames.CHUNK` bytes at a time.

        Raises
        ------
        CutShort
            After the last whole line, if the packed file ends too soon.
        """
        return frames.lines(self._blocks())

    def _blocks(self) -> Iterator[bytes]:
        if self.archive:
            yield from self._zipped()
            return
        with _opened(self.file) as content:
            if self._magic.startswith(GZIP):
                yield from self._unpacked(content)
            else:
                while block := content.read(frames.CHUNK):
                    self.position = content.tell()
                    yield block

    def _unpacked(self, content: IO[bytes]) -> Iterator[bytes]:
        inflate = zlib.decompressobj(wbits=31)
        begun, held = False, b""
        while data := held or content.read(READ):
            self.position = content.tell()
            if inflate.eof:  # a recorder that was started again appends a member of its own
                data = data.lstrip(b"\0")
                inflate, begun = zlib.decompressobj(wbits=31), False
            begun, before = begun or bool(data), inflate.copy()
            try:
                block = inflate.decompress(data, frames.CHUNK)
            except zlib.error as error:
                yield _before_damage(before, data)
                raise CutShort from error
            yield block
            held = inflate.unconsumed_tail or inflate.unused_data
        if begun and not inflate.eof:
            raise CutShort

    def _zipped(self) -> Iterator[bytes]:
        try:
            with zipfile.ZipFile(self.file) as archive:
                for name in sorted(archive.namelist()):
                    with archive.open(name) as content:
                        while block := content.read(frames.CHUNK):
                            yield block
            self.position = self.size
        except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
            raise UserError(
                f"recording: {self.file.name} is a damaged archive ({error}). Download it again."
            ) from error


def _before_damage(inflate: Any, data: bytes) -> bytes:
    """Unpack little by little what comes before the place that cannot be unpacked."""
    found = []
    with suppress(zlib.error):
        for start in range(0, len(data), 16):
            found.append(inflate.decompress(data[start : start + 16]))
    return b"".join(found)


def _opened(file: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except OSError as error:
        raise UserError(f"recording: {file} cannot be read: {error.strerror}.") from error


def ahead(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yield `pieces` while the next is already made on another thread: unpacking needs no lock."""
    iterator = iter(pieces)
    with ThreadPoolExecutor(1) as thread:
        end = object()
        waiting = thread.submit(next, iterator, end)
        while (piece := waiting.result()) is not end:
            waiting = thread.submit(next, iterator, end)
            yield piece  # type: ignore[misc]
