"""The recorder's own files: frames as they were received, in blocks that prove themselves.

A segment is a row of blocks, each with a head (magic, counts, sizes, CRC-32) and a body packed by
zstd: an array of `RECORD`, then the frames, each followed by a line feed. The first block holds the
segment's facts as JSON. A process may be killed while it writes: `sound_end` says up to where a
file is whole and `mend` cuts the rest off; all before it is read back byte for byte.

While one connection hands over to the next, both are recorded: what stands there a second time has
its `repeat` set, and without those records each stream is in the venue's order, each message once.

>>> from tempfile import TemporaryDirectory
>>> with TemporaryDirectory() as place:
...     path = Path(place) / "one.seg"
...     pages = Pages()
...     with Writer(path, {"venue": "binance", "streams": ["", "btcusdt@trade"]}) as writer:
...         pages.add(b'{"t":1}', received_ns=5, monotonic_ns=7, connection=1, sequence=0, stream=1)
...         _ = writer.append(*pages.take())
...     facts(path)["venue"], [(b.records["received_ns"][0], b.frames()) for b in blocks(path)]
('binance', [(np.int64(5), [b'{"t":1}'])])
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from research.errors import UserError

FRAME, SNAPSHOT, REPLY, OTHER = range(4)
"""Kinds of a record: a frame of a stream; a book that was asked for, as it was answered; a venue's
answer to us; a frame that belongs to no stream we know."""
RECORD = np.dtype(
    [
        ("received_ns", "<i8"),
        ("monotonic_ns", "<i8"),
        ("sequence", "<i8"),
        ("connection", "<u4"),
        ("length", "<u4"),
        ("stream", "<u2"),
        ("kind", "u1"),
        ("repeat", "u1"),
    ]
)
"""One frame: when it came by the wall clock and by the monotonic one, its number on its connection,
its length in bytes without the line feed, its place in the facts' ``streams``, its kind, and 1
where another connection had brought the same."""

SUFFIX = ".seg"
_HEAD, _BODY = b"ABH1", b"ABB1"
_FIELDS = struct.Struct("<4sIIII")  # magic, records, bytes, bytes packed, CRC of all else
_RECORD = struct.Struct("<qqqIIHBB")
_LARGEST = 1 << 30  # a size beyond is damage, not a block


class Damaged(UserError):
    """A segment without readable facts."""


class Block(NamedTuple):
    """Some frames, in the order of their receipt."""

    records: np.ndarray
    """Shape (n,), of `RECORD`."""
    payload: bytes
    """The frames, each followed by a line feed."""

    def bounds(self) -> np.ndarray:
        """Return where each frame begins in `payload`, and the end: shape (n + 1,)."""
        lengths = self.records["length"].astype(np.int64) + 1
        return np.concatenate(([0], np.cumsum(lengths)))

    def frames(self) -> list[bytes]:
        """Return the frames."""
        edges = self.bounds().tolist()
        return [self.payload[a : b - 1] for a, b in pairwise(edges)]


class Pages:
    """Frames on their way to the disk."""

    def __init__(self) -> None:
        self._index, self._payload = bytearray(), bytearray()
        self.count = 0

    def add(
        self,
        frame: bytes,
        *,
        received_ns: int,
        monotonic_ns: int,
        connection: int,
        sequence: int,
        stream: int,
        kind: int = FRAME,
        repeat: int = 0,
    ) -> None:
        """Take in one frame; `stream` is its place in the facts' ``streams``, 0 for none."""
        self._index += _RECORD.pack(
            received_ns, monotonic_ns, sequence, connection, len(frame), stream, kind, repeat
        )
        self._payload += frame
        self._payload += b"\n"
        self.count += 1

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self._index) + len(self._payload)

    def take(self) -> tuple[int, bytearray]:
        """Return how many frames there are and their block, unpacked; then hold none."""
        body, count = self._index, self.count
        body += self._payload
        self._index, self._payload, self.count = bytearray(), bytearray(), 0
        return count, body


class Writer:
    """A segment that grows: blocks are appended, never changed.

    Parameters
    ----------
    path : Path
        A file that is not there yet.
    facts : dict
        What is recorded: ``venue``, ``market``, ``streams`` and ``symbols`` (of each stream), as
        JSON can say it.

    Raises
    ------
    OSError
        As the disk says.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self.size = 0
        """Bytes written."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._put(_HEAD, 0, json.dumps(facts).encode())
        self.sync()

    def append(self, count: int, body: bytes | bytearray) -> int:
        """Append a block that `Pages.take` gave, and return its size on disk; no sync yet.

        Raises
        ------
        OSError
            As the disk says; the file then ends with the block before.
        """
        return self._put(_BODY, count, body)

    def _put(self, magic: bytes, count: int, body: bytes | bytearray) -> int:
        packed = _codec().compress(body, asbytes=True)
        head = _FIELDS.pack(magic, count, len(body), len(packed), 0)
        sum_ = zlib.crc32(packed, zlib.crc32(head))
        try:
            self._write(head[:-4] + sum_.to_bytes(4, "little") + packed)
        except OSError:
            os.ftruncate(self._file, self.size)  # a full disk takes half a block
            raise
        self.size += len(head) + len(packed)
        return len(head) + len(packed)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def sync(self) -> None:
        """Return when all that was appended is on the disk itself."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Sync and let go; the second time does nothing."""
        if self._file >= 0:
            file, self._file = self._file, -1
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


@cache
def _codec() -> Any:
    import pyarrow as pa

    return pa.Codec("zstd", compression_level=1)


# -- reading a segment ----------------------------------------------------------------------------


class _Found(NamedTuple):
    start: int
    end: int
    magic: bytes
    records: int
    body: bytes


def _found(path: Path, *, unpack: bool = True) -> Iterator[_Found]:
    """Yield the blocks that prove themselves; whatever lies between two of them is passed over."""
    import mmap

    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        while 0 <= at <= len(data) - _FIELDS.size:
            found = _block(data, at, unpack=unpack)
            if found is not None:
                yield found
                at = found.end
                continue
            nexts = [i for magic in (_HEAD, _BODY) if (i := data.find(magic, at + 1)) >= 0]
            at = min(nexts, default=-1)


def _block(data: Any, at: int, *, unpack: bool) -> _Found | None:
    if len(data) - at < _FIELDS.size:
        return None
    magic, count, size, packed, told = _FIELDS.unpack_from(data, at)
    end = at + _FIELDS.size + packed
    fits = magic in (_HEAD, _BODY) and size < _LARGEST and end <= len(data)
    if not fits or (magic == _BODY and count * RECORD.itemsize > size):
        return None
    body = data[at + _FIELDS.size : end]
    head = _FIELDS.pack(magic, count, size, packed, 0)
    if zlib.crc32(body, zlib.crc32(head)) != told:
        return None
    raw = _codec().decompress(body, decompressed_size=size, asbytes=True) if unpack else b""
    return _Found(at, end, magic, count, raw)


def facts(path: Path) -> dict[str, Any]:
    """Return what a segment says of itself.

    Raises
    ------
    Damaged
        If its first block cannot be read.
    """
    first = next(_found(path), None)
    if first is None or first.start or first.magic != _HEAD:
        raise Damaged(
            f"segment {path.name}: its facts cannot be read. "
            "Move it out of the recording, or restore it."
        )
    told: dict[str, Any] = json.loads(first.body)
    return told


def blocks(path: Path) -> Iterator[Block]:
    """Yield a segment's blocks of frames; a damaged one is passed over.

    Memory holds one block at a time. Frames after a torn tail, or of a block that is being written,
    are not there.
    """
    for found in _found(path):
        if found.magic == _BODY:
            cut = found.records * RECORD.itemsize
            yield Block(np.frombuffer(found.body[:cut], RECORD), found.body[cut:])


def is_begun(path: Path) -> bool:
    """Return whether a segment has a whole block; a recorder may be killed before the first."""
    return next(_found(path, unpack=False), None) is not None


def sound_end(path: Path) -> int:
    """Return where the last whole block ends, in bytes."""
    end = 0
    for found in _found(path, unpack=False):
        end = found.end
    return end


def damage(path: Path) -> list[tuple[int, int]]:
    """Return the receipts (ns) before and after each stretch that cannot be read.

    A stretch at the end is a torn tail, not damage: see `mend`. 0 stands for no frame before.
    """
    found, end, last = [], 0, 0
    for block in _found(path):
        times = np.frombuffer(block.body, RECORD, block.records)["received_ns"]
        if len(times):
            if block.start > end:
                found.append((last, int(times[0])))
            last = int(times[-1])
        end = block.end
    return found


def mend(path: Path) -> int:
    """Cut off what follows the last whole block, and return how many bytes that was."""
    end, size = sound_end(path), path.stat().st_size
    if end < size:
        with path.open("rb+") as file:
            file.truncate(end)
            os.fsync(file.fileno())
    return size - end
