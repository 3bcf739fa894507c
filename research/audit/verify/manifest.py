"""The seal of a run: the hash of every file of its folder, and of every stored file it came from.

``manifest.json`` is written last and ends with the hash of its own content, so that no byte of a
run, of the tables it was made of, of their cards or of the manifest itself can change unseen.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from research import datasets, pipeline, training
from research.audit.verify.artefacts import Artefact, kind_of
from research.errors import UserError
from research.order_flow.short import untrained
from research.store import atomic, cards, lake, ledger, where
from research.store.ledger import chain
from research.store.shelf import open_shelf
from research.study import Study

MANIFEST = "manifest.json"


def seal(study: Study, folder: Path, stored: Iterable[Path]) -> str:
    """Write the manifest of a run whose files are all there; nothing may be written after it.

    Parameters
    ----------
    study : Study
        As it was run.
    folder : Path
        The run's.
    stored : iterable of Path
        Folders of the stored tables that the run was made of, as `tables.used` notes them.

    Returns
    -------
    str
        The manifest's seal: SHA-256 in hex.
    """
    root = atomic.data_root()
    content = {
        "code": {**cards.whole_package(), "python": platform.python_version()},
        "stages": {name: cards.fingerprint(table) for name, table in outputs(study)},
        "stored": _hashes(root, [*_bars(study), *_tables(stored)]),
        "files": _hashes(folder, [path for path in _whole(folder) if path.name != MANIFEST]),
    }
    atomic.write_text(folder / MANIFEST, _text(content))
    return _seal(content)


def outputs(study: Study) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield what each stage up to the forecasts makes, in the order it is made.

    Yields
    ------
    str, pl.DataFrame
        ``bars, features, labels, folds, models, forecasts``; a model by its text's fingerprint.
        None of a recording that is too short to be trained on.
    """
    if untrained(study) is not None:
        return
    bars = pipeline.bars(study)
    yield "bars", bars
    table = pipeline.features(study, bars)
    yield "features", table
    yield "labels", pipeline.labels(study, bars)
    yield "folds", pipeline.folds(study, bars).table()
    made = pipeline.forecasts(study, table)
    yield "models", in_force(made)
    yield "forecasts", made


def in_force(forecasts: pl.DataFrame) -> pl.DataFrame:
    """Return which model forecast whom in which fold: ``fold, symbol, model``."""
    names = ["fold", "symbol", "model"]
    return forecasts.select(names).unique().sort(names)


def _bars(study: Study) -> Iterator[Path]:
    """Name the files of the bars that a study reads, with their cards."""
    place, data = datasets.dataset(study), study.data
    if not lake.is_complete(**place.where()) and untrained(study) is not None:
        return  # nothing was traded, so there are no bars
    names = (datasets.symbols(study), data.start, data.end, None)
    for shelf, months in where.chosen(place.venue, place.market, place.interval, *names):
        yield from (shelf.folder / "card.json", *(shelf.file(month) for month in months))
    market = where.folder(place.venue, place.market, "_", place.interval, None).parent.parent
    yield from sorted(market.glob("complete-*.json"))


def _tables(places: Iterable[Path]) -> Iterator[Path]:
    seen = dict.fromkeys(folder for place in places for folder in (place, *_base(place)))
    return (path for folder in seen for path in _whole(folder))


def _base(place: Path) -> list[Path]:
    """Continued models lie beside those they continue."""
    if place.parent.name != "forecasts":
        return []
    return [training.model_folder(json.loads((place / "card.json").read_text())["parts"]).parent]


def _whole(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def _hashes(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): atomic.sha256(path) for path in paths}


def _text(content: dict[str, Any]) -> str:
    return json.dumps({**content, "seal": _seal(content)}, indent=1) + "\n"


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# -- reading it again -----------------------------------------------------------------------------


def read(folder: Path) -> dict[str, Any]:
    """Return a run's manifest.

    Raises
    ------
    UserError
        If it is not there, or not byte for byte what was sealed.
    """
    path = folder / MANIFEST
    try:
        said = path.read_bytes().decode("utf8")
        content = json.loads(said)
        is_whole = said == _text({k: v for k, v in content.items() if k != "seal"})
    except FileNotFoundError as error:
        raise UserError(
            f"{MANIFEST}: is missing, so nothing says what the run's files were."
        ) from error
    except (ValueError, AttributeError):
        is_whole = False
    if not is_whole:
        raise UserError(f"{MANIFEST}: is not what was sealed (its seal does not fit its content).")
    return content


def check(folder: Path, sealed: dict[str, Any]) -> list[Artefact]:
    """Compare every file that a run's manifest names, byte for byte, in the order of making.

    Parameters
    ----------
    folder : Path
        The run's.
    sealed : dict
        Its manifest, as `read` returns it.

    Returns
    -------
    list of Artefact
        ``differs`` where a byte is not the sealed one; a stored file may be ``gone``, for all of
        them can be made anew; a month of bars may have ``grown``, if its card vouches for it; a
        card may be ``renewed``, if the same table was made again;
        a file that came into the folder later is ``added``.
    """
    root = atomic.data_root()
    found = [_stored(root, name, was) for name, was in sealed["stored"].items()]
    found += [_own(folder, name, was) for name, was in sealed["files"].items()]
    known = {*sealed["files"], MANIFEST}
    names = (path.relative_to(folder).as_posix() for path in _whole(folder))
    added = [Artefact(name, "other", "bytes", "added") for name in names if name not in known]
    return sorted(found, key=lambda artefact: artefact.order) + added


def _own(folder: Path, name: str, was: str) -> Artefact:
    path, kind = folder / name, kind_of(name)
    if not path.exists():
        return Artefact(name, kind, "bytes", "differs", "is missing")
    return Artefact(name, kind, "bytes", *_compared(path, was))


def _stored(root: Path, name: str, was: str) -> Artefact:
    path, kind = root / name, kind_of(name, stored=True)
    if not path.exists():
        return Artefact(name, kind, "bytes", "gone", "not in the store any more")
    result, how = _compared(path, was)
    if result == "differs" and kind == "bars" and _vouched(path):
        return Artefact(name, kind, "bytes", "grown", "bars were added since; its card says so")
    if result == "differs" and path.name == "card.json" and _renewed(path):
        return Artefact(name, kind, "bytes", "renewed", "the same table was made again since")
    return Artefact(name, kind, "bytes", result, how)


def _compared(path: Path, was: str) -> tuple[str, str]:
    now = atomic.sha256(path)
    if now == was:
        return "same", ""
    return "differs", f"is not byte for byte what was sealed (SHA-256 {now[:12]}, was {was[:12]})"


def _vouched(path: Path) -> bool:
    """Tell whether a file of the lake is what its card, itself unharmed, says it is now."""
    card = path.parent / "card.json"
    try:
        shelf = open_shelf(path.parent)
        is_whole = shelf is not None and bool(_canonical(card))
        return is_whole and (path == card or bool(shelf.verified(path.stem)))  # type: ignore[union-attr]
    except (UserError, KeyError, TypeError, ValueError):
        return False


def _renewed(path: Path) -> bool:
    """Tell whether a card is that of the same table, made again when there were more trials."""
    try:
        card = json.loads(_canonical(path))
        head, trials = card["ledger"], chain.read()
        seen = trials.hashes[head["rows"] - 1] if head["rows"] else chain.FIRST
        tables = {name: path.with_name(f"{name}.parquet") for name in card["sha256"]}
        return (
            card.keys() == {"stage", "parts", "ledger", "sha256", "rows"}
            and (card["stage"], cards.digest(card["parts"])) == path.parts[-3:-1]
            and head == ledger.head() | {"rows": head["rows"], "hash": seen}
            and all(atomic.sha256(file) == card["sha256"][name] for name, file in tables.items())
            and all(pl.read_parquet(file).height == card["rows"][n] for n, file in tables.items())
        )
    except (UserError, OSError, KeyError, IndexError, TypeError, ValueError):
        return False


def _canonical(path: Path) -> str:
    """Return a JSON file's text; refuse one that is not written as the store writes.

    Raises
    ------
    ValueError
        If a byte of it is not where the store would put it.
    """
    text = path.read_bytes().decode("utf8")
    if text != json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n":
        raise ValueError(f"{path}: not as the store writes it")
    return text


def stored_table(sealed: dict[str, Any], stage: str) -> pl.DataFrame | None:
    """Return a stage's stored table as it was when the run was sealed, if it is still there."""
    root, tables = atomic.data_root(), []
    for name, was in sealed["stored"].items():
        path = root / name
        if name.startswith(f"{stage}/") and name.endswith(".parquet") and path.exists():
            if atomic.sha256(path) != was:
                return None
            tables.append(pl.read_parquet(path))
    if stage == "bars" and tables:
        tables = [pl.concat(tables).sort("symbol", "time")]
    fitting = (t for t in tables if cards.fingerprint(t) == sealed["stages"][stage])
    return next(fitting, None)
