"""Heads: how long the ledger was, and what its last row, when something was made.

Each run's ``summary.json`` and each stored backtest's card carries one, and one lies beside the
ledger itself. A ledger that is shorter than a head, or has another row there, is not the ledger of
what lies here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from research.errors import UserError
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


def keep(rows: int, last: str) -> None:
    """Write down how long the ledger is; after a crash in between, one row less than it is."""
    content = json.dumps({"ledger": {"rows": rows, "hash": last}})
    atomic.write_text(_beside(), content)


def _beside() -> Path:
    return atomic.data_root() / "ledger" / "head.json"


def found() -> Iterator[Head]:
    """Yield every head that lies under data and reports."""
    data = atomic.data_root()
    yield from _in(_beside(), "the head beside it", None)
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
        match = _HEAD.search(text)
        head = json.loads(match[1]) if match else {}
        seen = Head(int(head.get("rows", 0)), str(head.get("hash", "")), where)
    except FileNotFoundError:  # none yet, or another process has just deleted it
        return
    except OSError as error:
        raise UserError(
            f"ledger: cannot read {file}: {error.strerror}. "
            "Mend that, or name another folder in ALPHABOOK_DATA."
        ) from error
    except (ValueError, TypeError) as error:
        raise UserError(
            f"ledger: {where} must say which trials it has seen, but {file} cannot be read. Put it "
            "back as it was, or delete what it belongs to."
        ) from error
    if seen.rows and place in (None, head.get("home")):
        yield seen
