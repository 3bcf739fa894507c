"""Reading a journal while its runner writes on, and what two runs are compared by."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

from research.live.journal.chain import Event, canonical
from research.live.journal.files import damaged, database, reading

_DECIDED = ("symbol", "reason", "position", "forecast", "told", "bin", "model", "features")


def read(
    folder: Path, after: int = 0, *, kinds: Collection[str] = (), last: int | None = None
) -> list[Event]:
    """Return a journal's events in their order, without making its writer wait.

    Parameters
    ----------
    folder : Path
        The run's; without a journal in it there are no events.
    after : int
        Leave out the events up to this number.
    kinds : collection of str
        Return these alone; empty: all.
    last : int, optional
        Return the newest so many alone.

    Raises
    ------
    UserError
        If the file cannot be read as a journal. The chain itself is checked by `verify`.
    """
    if not database(folder).exists():
        return []
    where = f"seq > ? AND kind IN ({','.join('?' * len(kinds))})" if kinds else "seq > ?"
    newest = " DESC LIMIT ?" if last is not None else ""
    query = f"SELECT seq, kind, time, body FROM events WHERE {where} ORDER BY seq{newest}"
    asked = (after, *kinds, *(() if last is None else (last,)))
    try:
        with closing(reading(folder)) as connection:
            rows = connection.execute(query, asked).fetchall()
        return sorted(Event(seq, kind, time, json.loads(body)) for seq, kind, time, body in rows)
    except (sqlite3.Error, ValueError) as error:
        raise damaged(folder, error) from error


def decisions(folder: Path) -> bytes:
    """Return what a run decided, one line of canonical JSON per moment.

    It holds what a decision is and what led to it (reason, position, forecast, what the rule was
    told, model and hash of the features), equity and trades; not how the bars came, when, or how
    long anything took. So two runs that decided alike are equal byte for byte.
    """
    moments = read(folder, kinds=("moment",))
    return b"".join(canonical(_decided(event.body)).encode() + b"\n" for event in moments)


def _decided(body: dict[str, Any]) -> dict[str, Any]:
    rows = [{name: row.get(name) for name in _DECIDED} for row in body["rows"]]
    kept = {name: body.get(name) for name in ("time", "control", "equity", "trades")}
    return {**kept, "rows": rows}
