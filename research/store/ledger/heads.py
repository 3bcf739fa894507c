"""Heads: how long the ledger was, and what its last row, when something was made.

Each run's ``summary.json`` and each stored backtest's card carries one. A ledger that is shorter
than a head, or has another row there, is not the ledger of what lies here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from research.store import atomic
from research.store.cards import digest

_HEAD = re.compile(r'"ledger":\s*(\{[^{}]*\})')
_STAGES = ("backtest",)


class Head(NamedTuple):
    """The end of a ledger, as something has seen it."""

    rows: int
    hash: str
    where: str
    """Who has seen it."""


def home() -> str:
    """Name the folder of data that the ledger lies in, by a hash.

    Runs of several may lie in one folder of reports, and each is held against its own.
    """
    data, project = atomic.data_root().resolve(), atomic.PROJECT
    inside = data.is_relative_to(project)
    return digest(str(data.relative_to(project) if inside else data))


def found() -> Iterator[Head]:
    """Yield every head that lies under data and reports."""
    data = atomic.data_root()
    for stage in _STAGES:
        for card in sorted(data.glob(f"{stage}/*/card.json")):
            yield from _in(card, f"the {stage} {card.parent.name}", None)
    for summary in sorted(atomic.reports_root().glob("*/*/summary.json")):
        if not summary.parent.is_symlink():
            yield from _in(summary, f"the run {summary.parent.name}", home())


def _in(file: Path, where: str, place: str | None) -> Iterator[Head]:
    """Yield the head that a file holds, if any; with `place`, only of a ledger that lies there."""
    try:
        text = file.read_text(encoding="utf8")
    except FileNotFoundError:  # another process has just deleted it
        return
    match = _HEAD.search(text)
    if match is None:
        return
    head = json.loads(match[1])
    if head.get("rows") and place in (None, head.get("home")):
        yield Head(head["rows"], head["hash"], where)
