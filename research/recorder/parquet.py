"""A closed segment into Parquet, in one step for whoever reads: before it, or after it.

Each file is written beside its place, synced, read back and counted, then renamed; then comes a
line in the manifest, then the segment goes. Interrupted anywhere and started again, it comes to the
same files: their names are those of the segment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from research.errors import UserError
from research.order_book import Builder
from research.recorder import folder as folders
from research.sources.recordings import Decoder, frames, segments
from research.store import atomic

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

DONE = "done"
_GROUP = 1 << 16
"""Frames decoded and written at a time: what memory holds grows with it alone."""


def convert(
    folder: Path | str, *, progress: Callable[[int, int, str], object] | None = None
) -> list[dict[str, Any]]:
    """Convert all segments of a recording that nobody records to.

    Parameters
    ----------
    folder : Path
        The recording's.
    progress : callable, optional
        Called as ``progress(done, total, segment)``.

    Returns
    -------
    list of dict
        The manifest's line of each segment: files with their rows and SHA-256.

    Raises
    ------
    UserError
        If a segment cannot be read, or what was written does not read back as what was recorded;
        the segment stays.
    BlockingIOError
        If a recorder has the folder.
    """
    where, lines = Path(folder), []
    with folders.open_folder(where), folders.alone(where, "converting"):
        folders.recover(where)
        folders.sweep(where)
        names = sorted(path.name for path in where.glob(f"segments/*{segments.SUFFIX}"))
        conversion = Conversion(where)
        for done, name in enumerate(names, 1):
            lines.append(conversion.convert(name))
            if progress is not None:
                progress(done, len(names), name)
    return lines


class Conversion:
    """Converts closed segments in their order; the books of one go on in the next.

    Parameters
    ----------
    folder : Path
        The recording's.
    """

    def __init__(self, folder: Path) -> None:
        from research.recorder.tables import Tables

        self.folder = folder
        self._make = Tables
        self._tables: Tables | None = None

    def compile(self, venue: str, market: str) -> None:
        """Load or compile what reads a venue's frames, which takes up to half a minute once."""
        decoder = Decoder(venue=venue, market=market)
        for batch in frames.batches([(0, 0, b"{}")]):
            decoder.take(batch)
        nothing = decoder.recording()
        Builder(venue=venue, market=market).add(nothing.messages, nothing.levels)

    def convert(self, segment: str) -> dict[str, Any]:
        """Convert one closed segment, by its name under ``segments/``; return its line."""
        path = self.folder / "segments" / segment
        facts = segments.facts(path)
        if segments.damage(path):
            raise UserError(
                f"recorder: segment {segment} is damaged on disk; it stays as it is, and what can "
                "be read of it is read. The damage is declared in gaps.jsonl."
            )
        if self._tables is None:
            self._tables = self._make(facts["exchange"])
            self._prime(path, facts)
        with _Files(self.folder, facts["exchange"], path.stem) as files:
            rows = self._write(path, facts, files)
            made = files.put()
        line = {"segment": path.stem, "rows": rows, "files": made}
        folders.note(self.folder, **line)
        path.unlink()
        return line

    def _prime(self, path: Path, facts: dict[str, Any]) -> None:
        """Hear the part before, so that the books at the start of this one are known."""
        before = [part for part in segments.parts(self.folder) if part.stem < path.stem][-1:]
        for part in before:
            told = segments.read_facts(part)
            if (told["venue"], told["market"]) == (facts["venue"], facts["market"]):
                for block in segments.read_blocks(part):
                    self._tell(block, told, None)

    def _write(self, path: Path, facts: dict[str, Any], files: _Files) -> int:
        rows = 0
        for block in _grouped(segments.blocks(path)):
            files.raw(block, facts)
            self._tell(block, facts, files)
            rows += len(block.records)
        return rows

    def _tell(self, block: segments.Block, facts: dict[str, Any], files: _Files | None) -> None:
        decoder = Decoder(venue=facts["venue"], market=facts["market"])
        decoder.take(segments.decodable(block, facts))
        assert self._tables is not None
        for kind, symbol, table in self._tables.read(decoder.recording()):
            if files is not None:
                for (day,), rows in table.partition_by("day", as_dict=True).items():
                    files.table(kind, symbol, str(day), rows.drop("day"))


def _grouped(found: Iterator[segments.Block]) -> Iterator[segments.Block]:
    """Join blocks into such of some `_GROUP` frames."""
    import numpy as np

    held: list[segments.Block] = []
    for block in found:
        held.append(block)
        if sum(len(one.records) for one in held) >= _GROUP:
            yield segments.Block(
                np.concatenate([one.records for one in held]), b"".join(b.payload for b in held)
            )
            held = []
    if held:
        yield segments.Block(
            np.concatenate([one.records for one in held]), b"".join(b.payload for b in held)
        )


class _Files:
    """The Parquet files of one segment, written beside their places until all are whole."""

    def __init__(self, folder: Path, exchange: str, segment: str) -> None:
        self._folder, self._exchange, self._segment = folder, exchange, segment
        self._open: dict[Path, tuple[Any, Path, int]] = {}

    def raw(self, block: segments.Block, facts: dict[str, Any]) -> None:
        """Write frames, byte for byte."""
        first = datetime.fromtimestamp(int(block.records["received_ns"][0]) / 1e9, UTC)
        found = [place for place in self._open if place.parts[-4] == "raw"]
        day = self._folder / "raw" / self._exchange / f"{first:%Y%m%d}"
        place = found[0] if found else day / f"{self._segment}.parquet"
        self._put(place, _frames(block, facts), "zstd")

    def table(self, kind: str, symbol: str, day: str, rows: pl.DataFrame) -> None:
        """Write rows of a table to the file of their day."""
        from research.recorder.tables import KINDS

        name = f"{self._exchange}_{symbol}_{day}_{self._segment.partition('_')[0]}.parquet"
        place = self._folder / kind / self._exchange / symbol / name
        self._put(place, rows.to_arrow(), KINDS[kind])

    def _put(self, place: Path, table: pa.Table, packed: str) -> None:
        import pyarrow.parquet as pq

        if place not in self._open:
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f".{place.name}.part")
            self._open[place] = (pq.ParquetWriter(part, table.schema, compression=packed), part, 0)
        writer, part, rows = self._open[place]
        writer.write_table(table.cast(writer.schema))
        self._open[place] = (writer, part, rows + len(table))

    def put(self) -> dict[str, list[Any]]:
        """Move all files to their places once they read back whole; return rows and SHA-256."""
        made = {}
        for writer, part, rows in self._open.values():
            writer.close()
            self._check(part, rows)
        for place, (_, part, rows) in sorted(self._open.items()):
            part.replace(place)
            atomic.sync(place.parent)
            made[str(place.relative_to(self._folder))] = [rows, atomic.sha256(place)]
        self._open = {}
        return made

    def _check(self, part: Path, rows: int) -> None:
        import pyarrow.parquet as pq

        atomic.sync(part)
        found = pq.read_metadata(part).num_rows
        if found != rows:
            raise UserError(f"recorder: {part.name} reads back as {found} rows, not {rows}.")

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for writer, part, _rows in self._open.values():
            writer.close()
            part.unlink(missing_ok=True)


def _frames(block: segments.Block, facts: dict[str, Any]) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    names = [name for name in segments.RECORD.names or () if name != "length"]
    columns = [pa.array(np.ascontiguousarray(block.records[name])) for name in names]
    columns.append(pa.array(block.frames(), pa.binary()))
    return pa.table(columns, [*names, "frame"]).replace_schema_metadata(
        {"facts": json.dumps(facts)}
    )


def main() -> None:
    """Convert the segments named on standard input; the arguments are folder, venue and market."""
    folder = Path(sys.argv[1])
    with folders.alone(folder, "converting"):  # that of a killed recorder may still be at work
        folders.sweep(folder)
        conversion = Conversion(folder)
        conversion.compile(*sys.argv[2:])
        for line in sys.stdin:
            os.write(1, _said(conversion, line.strip()).encode() + b"\n")


def _said(conversion: Conversion, segment: str) -> str:
    if not (conversion.folder / "segments" / segment).exists():
        return DONE
    try:
        conversion.convert(segment)
    except (UserError, OSError) as error:
        return str(error).replace("\n", " ")[:300] or type(error).__name__
    return DONE
