"""The count of trials: every distinct configuration evaluated on one lineage of data.

A result that was picked among a hundred tries is worth less than one that was tried once, so the
count stands beside every result. Running the same configuration again adds a row, not a trial.
"""

from __future__ import annotations

import json
import os
from typing import Any

from research.store import atomic
from research.store.cards import digest

_NOT_A_CHOICE = (
    "name",
    "question",
    "twin",
    "threads",
    "workers",
    "data.path",
    "data.archive",
    "data.rest",
    "evaluation.draws",
)
_HOW_IT_RUNS = ("live.", "retrain.")


def record(settings: dict[str, Any], *, lineage: str, **evidence: Any) -> int:
    """Append one evaluation and return the trials on its lineage so far.

    Parameters
    ----------
    settings : dict of str to value
        Every setting of the study by dotted name; names, paths, threads and how it runs on paper
        do not count.
    lineage : str
        Which data: venue, market and interval.
    **evidence : JSON values
        What was found, for whoever reads the file later.

    Returns
    -------
    int
        Distinct configurations evaluated on `lineage`, this one included.
    """
    chosen = {k: v for k, v in settings.items() if _is_choice(k)}
    row = {"lineage": lineage, "config": digest(chosen), **evidence}
    path = atomic.data_root() / "trials.jsonl"
    with atomic.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        line = (json.dumps(row, sort_keys=True, allow_nan=False) + "\n").encode()
        # one write of one line with O_APPEND: rows of two processes never interleave
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)
    return count(lineage)


def count(lineage: str) -> int:
    """Return how many distinct configurations were evaluated on `lineage`."""
    path = atomic.data_root() / "trials.jsonl"
    if not path.exists():
        return 0
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return len({row["config"] for row in rows if row["lineage"] == lineage})


def _is_choice(key: str) -> bool:
    return key not in _NOT_A_CHOICE and not key.startswith(_HOW_IT_RUNS)
