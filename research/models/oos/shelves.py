"""Where the models of a walk-forward are kept: a folder each, or packs where there are many.

Few models lie in folders that one can open: ``<fold>/card.json`` and the model's own text. From
`MANY` on they are packed, `SIZE` to a file: gzip members one after the other, each a card on one
line and the model's text below it, in the order of the walk. A pack only grows, so a kill leaves
whole models and at most a torn last one, which is cut off and trained again. Either way a model
made of the same is loaded instead of trained, and the same inputs give the same bytes.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol
from urllib.parse import quote

from research.errors import UserError
from research.models import contract, learners
from research.models.oos.rows import Fold

MANY = 500
"""Models from which on they are packed."""
SIZE = 128
"""Models in a pack: what a power cut may cost, for a pack is synced to disk when it is full."""
_CHUNK = 1 << 16


class Shelf(Protocol):
    """A place for the models of one walk, asked in the walk's order."""

    def find(self, fold: Fold, symbol: str | None, card: dict[str, Any]) -> contract.Model | None:
        """Return the stored model of the fold if its card says the same."""
        ...

    def keep(self, fold: Fold, symbol: str | None, model: contract.Model) -> None:
        """Store the model of the fold, which was not found."""
        ...

    def close(self) -> None:
        """Bring what was stored to the disk."""
        ...


def shelf(
    folder: Path,
    own_folder: Path | None,
    *,
    models: int,
    only: range | None = None,
    continued: int = 0,
) -> Shelf:
    """Return the place for so many models, or for those grown from them; `only` for a share."""
    stem = f"continued_{continued}" if continued else ""
    if models < MANY:
        return Folders(folder, own_folder, stem)
    first = only.start if only else 0
    return Packs(folder, own_folder, stem or "models", passed=first, alone=only is None)


def shares(models: int) -> list[range]:
    """Cut the numbers of so many models into shares for several processes.

    No two shares meet in one pack, so processes that train one each fill one shelf.

    >>> [len(share) for share in shares(1000)][-2:], [len(share) for share in shares(10)]
    ([128, 104], [2, 2, 2, 2, 2])
    """
    size = SIZE if models >= MANY else max(models // 5, 1)
    return [range(start, min(start + size, models)) for start in range(0, models, size)]


def stored(
    folder: Path, *, continued: int = 0, own_folder: Path | None = None
) -> Iterator[contract.Model]:
    """Read the stored models of a walk one by one, the oldest fold first.

    Parameters
    ----------
    folder : Path
        That of `out_of_sample`.
    continued : int
        Rounds added to each; 0: the models as they were trained.
    own_folder : Path, optional
        Where the module of a user's own learner lies.

    Yields
    ------
    Model
        With its card.

    Raises
    ------
    UserError
        If one is damaged.
    """
    for place in _places(folder, continued):
        yield from _models(place, own_folder)


def newest(folder: Path, *, continued: int = 0, own_folder: Path | None = None) -> contract.Model:
    """Return the stored model of the last fold: the one that has seen the most recent days.

    Parameters
    ----------
    folder, continued, own_folder
        As in `stored`; the model as it was trained where no rounds were added.

    Returns
    -------
    Model
        With its card. Of one model per symbol that of the last symbol.

    Raises
    ------
    UserError
        If there is none, or it is damaged.
    """
    for place in reversed(_places(folder, continued) or _places(folder, 0)):
        last = deque(_models(place, own_folder), maxlen=1)
        if last:
            return last[0]
    raise UserError(f"models: no stored model in {folder}. Train first: ./run train STUDY.")


@dataclass(frozen=True, slots=True)
class Folders:
    """One folder per fold, below it one per symbol where each has its own model."""

    folder: Path
    own_folder: Path | None
    below: str

    def find(self, fold: Fold, symbol: str | None, card: dict[str, Any]) -> contract.Model | None:
        """Return the stored model of the fold if its card says the same."""
        place = self._place(fold, symbol)
        if not (place / contract.CARD).exists():
            return None
        model = learners.load(place, folder=self.own_folder)
        return model if _same(model.card, card) else None

    def keep(self, fold: Fold, symbol: str | None, model: contract.Model) -> None:
        """Store the model of the fold, which was not found."""
        model.save(self._place(fold, symbol))

    def close(self) -> None:
        """Do nothing: `Model.save` synced each file."""

    def _place(self, fold: Fold, symbol: str | None) -> Path:
        return self.folder / fold.name.replace(":", "") / quote(symbol or "", "") / self.below


class _Record(NamedTuple):
    card: dict[str, Any]
    text: str
    end: int  # of its bytes in the pack


@dataclass(slots=True)
class Packs:
    """Packs that are read to where the stored models end, then grown from there.

    A stored model that was made of something else ends what is usable: it and all behind it are
    dropped when the first new model is written; behind it in its own pack alone, where other
    processes may be writing theirs.
    """

    folder: Path
    own_folder: Path | None
    stem: str
    passed: int = 0
    alone: bool = True
    end: int = 0
    records: Iterator[_Record] = field(default_factory=lambda: iter(()))
    file: BinaryIO | None = None

    def find(self, fold: Fold, symbol: str | None, card: dict[str, Any]) -> contract.Model | None:
        """Return the stored model of the fold if its card says the same."""
        if self.passed % SIZE == 0:
            self.end, self.records = 0, _read(self._path())
        record = next(self.records, None)
        if record is None or not _same(record.card, card):
            self.records = iter(())
            return None
        self.passed, self.end = self.passed + 1, record.end
        return _model(record, self.own_folder)

    def keep(self, fold: Fold, symbol: str | None, model: contract.Model) -> None:
        """Store the model of the fold, which was not found."""
        line = json.dumps(model.card, sort_keys=True)
        record = gzip.compress(f"{line}\n{model.core.text}".encode(), compresslevel=1, mtime=0)
        try:
            self.file = self.file or self._grow()
            self.file.write(record)
            self.file.flush()
            self.passed += 1
            if self.passed % SIZE == 0:
                self.close()
        except OSError as error:
            raise UserError(f"model: cannot write {self._path()}: {error.strerror}.") from error

    def close(self) -> None:
        """Bring what was stored to the disk."""
        if self.file is not None:
            os.fsync(self.file.fileno())
            self.file.close()
            self.file = None

    def _path(self) -> Path:
        return self.folder / f"{self.stem}-{self.passed // SIZE:05d}.gz"

    def _grow(self) -> BinaryIO:
        path = self._path()
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.alone:
            for stale in sorted(self.folder.glob(f"{self.stem}-*.gz"), reverse=True):
                if stale.name > path.name:
                    stale.unlink()
        file = path.open("ab")
        file.truncate(self.end)
        return file


def _read(pack: Path) -> Iterator[_Record]:
    """Read a pack's whole models; a torn last one, which a kill leaves, ends it."""
    if not pack.exists():
        return
    with pack.open("rb") as file:
        end, ahead = 0, b""
        while True:
            unpack, parts, taken = zlib.decompressobj(wbits=31), [], 0
            while not unpack.eof:
                chunk, ahead = ahead or file.read(_CHUNK), b""
                if not chunk:
                    return
                taken += len(chunk)
                parts.append(_unpacked(unpack, chunk, pack))
            ahead = unpack.unused_data
            end += taken - len(ahead)
            line, text = b"".join(parts).decode().split("\n", 1)
            yield _Record(json.loads(line), text, end)


def _unpacked(unpack: Any, chunk: bytes, pack: Path) -> bytes:
    try:
        return bytes(unpack.decompress(chunk))
    except zlib.error as error:
        raise UserError(
            f"model: {pack} is not what was written: changed or damaged ({error}). "
            "Train it anew with --retrain."
        ) from error


def _same(card: dict[str, Any], wanted: dict[str, Any]) -> bool:
    wanted = json.loads(json.dumps(wanted))  # as a card reads back: tuples are lists
    return {key: card.get(key) for key in wanted} == wanted


def _places(folder: Path, continued: int) -> list[Path]:
    """Return packs, or folders of models, in time order."""
    below = f"continued_{continued}"
    packs = sorted(folder.glob(f"{below if continued else 'models'}-*.gz"))
    cards = [path.parent for path in sorted(folder.rglob(contract.CARD))]
    plain = [path for path in cards if not path.name.startswith("continued_")]
    return packs or ([path for path in cards if path.name == below] if continued else plain)


def _models(place: Path, own_folder: Path | None) -> Iterator[contract.Model]:
    if place.is_dir():
        yield learners.load(place, folder=own_folder)
        return
    for record in _read(place):
        yield _model(record, own_folder)


def _model(record: _Record, own_folder: Path | None) -> contract.Model:
    learner = learners.learner(record.card["learner"], folder=own_folder)
    return contract.Model(record.card, learner.read(record.text))
