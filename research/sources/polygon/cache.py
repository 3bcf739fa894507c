"""Files that were fetched, and which of their rows were stored: both survive a kill."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from research.sources.binance.net import Broken
from research.sources.binance.venue import read_json, write_atomic
from research.sources.polygon import flat
from research.sources.polygon.bucket import Entry


class Cache:
    """The folder `root`: day files as the store names them, a note beside each, one of all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known: dict[str, dict[str, list[Any]]] = read_json(root / "known.json")

    def read(self, day: date, entry: Entry) -> pl.DataFrame | None:
        """Return the rows of a day's file if it is here whole and as the store has it now."""
        path = self._path(day)
        if read_json(_beside(path)) != {"size": entry.size, "tag": entry.tag}:
            return None
        try:
            return flat.rows(path.read_bytes(), path.name)
        except (FileNotFoundError, Broken):
            return None  # as good as not there: it is fetched again

    def write(self, day: date, content: bytes, entry: Entry) -> None:
        """Keep a day's file; the note comes last, so that without it nothing is trusted."""
        path = self._path(day)
        _beside(path).unlink(missing_ok=True)
        write_atomic(path, content)
        write_atomic(_beside(path), orjson.dumps({"size": entry.size, "tag": entry.tag}))

    def stored_rows(self, symbol: str, day: date, entry: Entry) -> int | None:
        """Tell how many bars of a symbol this very file gave; None if it was not stored yet."""
        tag, rows = self.known.get(symbol, {}).get(str(day), (None, 0))
        return rows if tag == entry.tag else None

    def note(self, symbol: str, day: date, entry: Entry, rows: int) -> None:
        """Remember that a file's rows of a symbol are stored."""
        self.known.setdefault(symbol, {})[str(day)] = [entry.tag, rows]

    def keep(self) -> None:
        """Write down what was noted."""
        write_atomic(self.root / "known.json", orjson.dumps(self.known))

    def _path(self, day: date) -> Path:
        return self.root / flat.key(day)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".json")
