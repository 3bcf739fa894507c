"""The recorder's folder: its frames in order, as segments or as Parquet, and its gap ledger.

::

    segments/<segment>.seg           frames as received: being written, or not yet converted
    raw/<exchange>/<day>/<segment>.parquet            the same frames, once a segment is closed
    lob|trades|quotes|depth/<exchange>/<symbol>/...   tables made of them
    gaps.jsonl                       the ledger of what is, or may be, missing
    manifest.jsonl                   sessions, and one line for each converted segment
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from research.schema import GAPS
from research.sources.recordings.frames import Frames
from research.sources.recordings.segments import packed
from research.sources.recordings.segments.packed import FRAME, RECORD, SNAPSHOT, SUFFIX, Block

if TYPE_CHECKING:
    import polars as pl

LEDGER = "gaps.jsonl"


def is_recording(folder: Path) -> bool:
    """Return whether a folder is a recording of ours."""
    return (folder / "segments").is_dir() or (folder / "raw").is_dir()


def parts(folder: Path) -> list[Path]:
    """Return a recording's files of frames, oldest first: closed ones as Parquet, or segments.

    A segment whose Parquet is there too was being removed: it is left out.
    """
    open_ = {path.stem: path for path in folder.glob(f"segments/*{SUFFIX}")}
    # in this order: what is converted between the two is found twice, not never
    closed = {path.stem: path for path in folder.glob("raw/*/*/*.parquet")}
    return [path for _, path in sorted((open_ | closed).items())]


def read_facts(part: Path) -> dict[str, Any]:
    """Return the facts of one of `parts`."""
    if part.suffix == SUFFIX:
        return packed.facts(part)
    import pyarrow.parquet as pq

    told: dict[str, Any] = json.loads(pq.read_schema(part).metadata[b"facts"])
    return told


def read_blocks(part: Path) -> Iterator[Block]:
    """Yield the frames of one of `parts`, a block at a time."""
    if part.suffix == SUFFIX:
        yield from packed.blocks(part)
        return
    import pyarrow.parquet as pq

    with pq.ParquetFile(part) as file:
        for batch in file.iter_batches(batch_size=1 << 16):
            yield _from_arrow(batch)


def read_records(part: Path) -> Iterator[np.ndarray]:
    """Yield when, whence and of which stream and kind the frames of one of `parts` came.

    Of Parquet nothing else is read: the other fields are 0.
    """
    if part.suffix == SUFFIX:
        yield from (block.records for block in packed.blocks(part))
        return
    import pyarrow.parquet as pq

    names = ["received_ns", "connection", "stream", "kind"]
    with pq.ParquetFile(part) as file:
        for batch in file.iter_batches(batch_size=1 << 16, columns=names):
            records = np.zeros(len(batch), RECORD)
            for name in names:
                records[name] = batch.column(name).to_numpy()
            yield records


def _from_arrow(batch: Any) -> Block:
    records = np.zeros(len(batch), RECORD)
    for name in batch.schema.names[:-1]:
        records[name] = batch.column(name).to_numpy()
    frames = batch.column("frame").to_pylist()
    records["length"] = np.fromiter(map(len, frames), np.uint32, len(frames))
    return Block(records, b"\n".join([*frames, b""]))


def decodable(block: Block, facts: dict[str, Any]) -> Frames:
    """Return what a `Decoder` takes: frames of the venue, each message once, in its order.

    A book that was asked for is put into an envelope that names its symbol.
    """
    kinds = block.records["kind"]
    kept = ((kinds == FRAME) | (kinds == SNAPSHOT)) & (block.records["repeat"] == 0)
    if (kinds == SNAPSHOT).any():
        block = _enveloped(block, facts["streams"])
    bounds = block.bounds()
    buffer = np.frombuffer(block.payload + b"\n" * 7, np.uint8)
    received = block.records["received_ns"][kept]
    connection = block.records["connection"][kept].astype(np.int32)
    return Frames(buffer, bounds[:-1][kept], bounds[1:][kept] - 1, received, connection)


def _enveloped(block: Block, streams: list[str]) -> Block:
    frames, records = block.frames(), block.records.copy()
    for i in np.flatnonzero(records["kind"] == SNAPSHOT):
        symbol = streams[records["stream"][i]].partition("@")[0]
        frames[i] = b'{"stream":"%b@snapshot","data":%b}' % (symbol.encode(), frames[i])
        records["length"][i] = len(frames[i])
    return Block(records, b"\n".join([*frames, b""]))


def gaps(folder: Path) -> pl.DataFrame:
    """Return a recording's gap ledger, oldest first, as `schema.GAPS`.

    `symbol` and `stream` are null where a gap is one of the whole recorder. `lost` is 0 where the
    venue's ids prove that nothing is missing, null where they cannot tell.
    """
    import polars as pl

    rows = [[line[name] for name in GAPS] for _, line in sorted(ledger(folder).items())]
    table = pl.DataFrame(rows, schema=GAPS, orient="row")
    return table.sort("start_ns", maintain_order=True)


def ledger(folder: Path) -> dict[int, dict[str, Any]]:
    """Return the ledger's gaps by their number; the last line of a number counts."""
    found: dict[int, dict[str, Any]] = {}
    path = folder / LEDGER
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            found[row["gap"]] = {name: row[name] for name in ("gap", *GAPS)}
        except (ValueError, KeyError, TypeError):
            continue  # the line that was being written when the process was killed
    return found


def new_line(file: int) -> bytes:
    r"""Return what to write first to a file of lines: ``\n`` after a line that was torn off."""
    size = os.fstat(file).st_size
    return b"\n" if size and os.pread(file, 1, size - 1) != b"\n" else b""
