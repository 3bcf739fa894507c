"""Tables that a stage made, kept by what they were made of.

``data/<stage>/<key>/`` holds the stage's Parquet files and a card; the key is the hash of all that
could change the result (inputs by content, settings, code). A changed part is a new key, so a stale
table is never met; the log says what changed. The card is written last: no card, no table.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import polars as pl

from research.errors import UserError
from research.store import atomic
from research.store.cards import digest

log = logging.getLogger(__name__)

Tables = dict[str, pl.DataFrame]
_SEEN: ContextVar[list[Path] | None] = ContextVar("seen", default=None)


def folder(stage: str, parts: dict[str, Any]) -> Path:
    """Return where the tables of `stage` made of `parts` are, or will be."""
    return atomic.data_root() / stage / digest(parts)


@contextmanager
def used() -> Iterator[list[Path]]:
    """Note the folder of each table that the block asks `keep` for, in their order, each once."""
    seen: list[Path] = []
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)
        for place in seen:  # whoever asked around this block sees them, too
            _note(place)


def _note(place: Path) -> None:
    seen = _SEEN.get()
    if seen is not None and place not in seen:
        seen.append(place)


def keep(
    stage: str,
    parts: dict[str, Any],
    build: Callable[[Path], Tables],
    *,
    beside: dict[str, Any] | None = None,
) -> Tables:
    """Return the tables of `stage` made of `parts`, built only if they are not stored yet.

    Parameters
    ----------
    stage : str
        Folder under ``data/``.
    parts : dict
        All that decides the result, by name: fingerprints of inputs, settings, code. JSON values.
    build : callable
        Takes the stage's folder (for what it must keep besides, such as models) and returns the
        tables by name.
    beside : dict, optional
        What the card says besides, which decides nothing. JSON values.

    Returns
    -------
    dict of str to pl.DataFrame
        As stored.

    Raises
    ------
    UserError
        If a stored file is not what its card says.
    """
    place = folder(stage, parts)
    _note(place)
    card = place / "card.json"
    if card.exists():
        return _load(place, json.loads(card.read_text()))
    # another kernel may be at the same table: then this one waits for it, and reads it
    with atomic.only_one(f"{stage}-{place.name}", wait=True):
        if card.exists():
            return _load(place, json.loads(card.read_text()))
        log.info("%s: building %s (%s)", stage, place.name, _what_changed(place, parts))
        return _store(place, {"stage": stage, "parts": parts, **(beside or {})}, build(place))


def _store(place: Path, card: dict[str, Any], tables: Tables) -> Tables:
    for name, table in tables.items():
        atomic.write_parquet(place / f"{name}.parquet", table)
    files = {name: atomic.sha256(place / f"{name}.parquet") for name in tables}
    rows = {name: table.height for name, table in tables.items()}
    atomic.write_json(place / "card.json", {**card, "sha256": files, "rows": rows})
    # in one piece, as they are read back: the last bit of a sum depends on how it is cut
    return {name: table.rechunk() for name, table in tables.items()}


def _load(place: Path, card: dict[str, Any]) -> Tables:
    tables = {}
    for name, expected in card["sha256"].items():
        path = place / f"{name}.parquet"
        if not path.exists() or atomic.sha256(path) != expected:
            state = "is not what was written" if path.exists() else "is missing"
            raise UserError(
                f"{path} {state} (its card says sha256 {expected[:12]}). Delete the folder "
                f"{place}, or rebuild with --recompute."
            )
        tables[name] = pl.read_parquet(path).rechunk()
    return tables


def _what_changed(place: Path, parts: dict[str, Any]) -> str:
    """Compare with the nearest stored relative, so that a rebuild explains itself."""
    others = [json.loads(p.read_text())["parts"] for p in place.parent.glob("*/card.json")]
    if not others:
        return "first of its kind"
    now = _flat(parts)
    changes = [[k for k in sorted(now | o) if now.get(k) != o.get(k)] for o in map(_flat, others)]
    return "changed: " + ", ".join(sorted(changes, key=len)[0])


def _flat(parts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in parts.items():
        nested = (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
        flat |= nested
    return flat
