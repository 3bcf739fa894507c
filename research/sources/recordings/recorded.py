"""A folder of our own recorder: its frames decoded, with the gaps it declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from research.errors import UserError
from research.schema import Recording
from research.sources.recordings import segments
from research.sources.recordings.decoder import Decoder
from research.sources.recordings.frames import Frames


def load(
    folder: Path, symbols: list[str] | None, progress: Callable[[int, int, str], None] | None
) -> Recording:
    """Read a recorder's folder: closed segments and the one that is being written.

    Raises
    ------
    UserError
        If a file is damaged beyond its tail, files are of two markets, or a symbol is not there.
    """
    parts, cut = _begun(folder)
    facts = [_facts(part) for part in parts]
    whose = sorted({(fact["venue"], fact["market"]) for fact in facts})
    if len(whose) > 1:
        found = " and ".join(" ".join(pair) for pair in whose)
        raise UserError(f"recording: {folder} holds {found}. Read each market on its own.")
    decoder = Decoder(venue=whose[0][0], market=whose[0][1])
    for done, (part, fact) in enumerate(zip(parts, facts, strict=True)):
        if progress:
            progress(done, len(parts), part.name)
        for batch in _batches(part, fact):
            decoder.take(batch)
        if part.suffix == segments.SUFFIX and segments.sound_end(part) < part.stat().st_size:
            decoder.cut()
    for _ in range(cut):
        decoder.cut()
    return decoder.recording(symbols=symbols, gaps=segments.gaps(folder))


def _begun(folder: Path) -> tuple[list[Path], int]:
    """Return the files that have a frame or facts, and how many were cut off before that."""
    parts = segments.parts(folder)
    bare = [p for p in parts if p.suffix == segments.SUFFIX and not segments.is_begun(p)]
    if len(bare) == len(parts):
        raise UserError(f"recording: {folder} holds no frame yet. Let the recorder run first.")
    cut = sum(part.stat().st_size > 0 for part in bare)
    return [part for part in parts if part not in bare], cut


def _facts(part: Path) -> dict[str, Any]:
    import pyarrow as pa

    try:
        return segments.read_facts(part)
    except (OSError, KeyError, TypeError, pa.ArrowException) as error:
        raise _unreadable(part, error) from error


def _batches(part: Path, fact: dict[str, Any]) -> Iterator[Frames]:
    import pyarrow as pa

    try:
        for block in segments.read_blocks(part):
            yield segments.decodable(block, fact)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(part, error) from error


def _unreadable(part: Path, error: Exception) -> UserError:
    return UserError(
        f"recording: {part.name} cannot be read ({error}). Move it out, or restore it."
    )
