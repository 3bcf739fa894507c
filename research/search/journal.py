"""What a search has tried, in one append-only file: a line is written when its trial is over.

So a search killed in the middle of a trial has lost that trial and nothing else: it is not in the
file, neither as done nor as running, and the next call draws it again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from research.errors import UserError
from research.search import space as room
from research.store import atomic

Row = dict[str, Any]
"""One trial: ``params`` as drawn, ``settings`` as the study takes them, ``value`` or null,
``error`` or null, and ``notes`` of the sampler."""


def rows(path: Path) -> list[Row]:
    """Return the trials that a search's file holds; a last line cut off by a kill is removed."""
    if not path.exists():
        return []
    found, lines = [], path.read_text(encoding="utf8").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
            whole = line.endswith("\n")
        except ValueError:
            whole = False
        if not whole and number < len(lines):
            raise UserError(f"search: line {number} of {path} cannot be read; delete the file.")
        if not whole:
            atomic.write_text(path, "".join(lines[:-1]))
            return found[: number - 1]
    return found


def append(path: Path, row: Row) -> None:
    """Write one finished trial down, whole or not at all."""
    line = (json.dumps(row, allow_nan=False) + "\n").encode()
    with atomic.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            file.write(line)
            os.fsync(file.fileno())


def go_on(
    path: Path,
    space: room.Space,
    sampler: str,
    seed: int,
    most: int,
    judge: Callable[[dict[str, Any]], float],
) -> Iterator[list[Row]]:
    """Draw, judge and write down trials until there are `most`; yield all of them after each.

    Parameters
    ----------
    path : Path
        The search's file.
    space, sampler, seed
        What is drawn, and how; the same for every call on one file.
    most : int
        Trials in all; fewer where the space has no more combinations.
    judge : callable
        Takes settings and returns their value, or raises a UserError where they cannot work.
    """
    done = rows(path)
    known, total = {_key(row): row for row in reversed(done)}, room.size(space)
    while len(done) < most and len(known) < total:
        params, notes = _draw(done, known, space, sampler, seed)
        row: Row = {"params": params, "settings": room.settings(params, space), "notes": notes}
        # drawn before: its value is known, and nothing is tried twice
        row |= _outcome(known.get(_key(row)), row["settings"], judge)
        append(path, row)
        done.append(row)
        known.setdefault(_key(row), row)
        yield done


def _outcome(
    before: Row | None, settings: dict[str, Any], judge: Callable[[dict[str, Any]], float]
) -> Row:
    if before:
        return {"value": before["value"], "error": before["error"]}
    try:
        return {"value": judge(settings), "error": None}
    except UserError as error:  # these settings cannot work: the others still can
        return {"value": None, "error": str(error)}


def _key(row: Row) -> str:
    return json.dumps(row["settings"], sort_keys=True)


def _draw(
    done: list[Row], known: dict[str, Row], space: room.Space, sampler: str, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the next trial's numbers and the sampler's notes, a function of what is given alone.

    A sampler's memory is made anew from the rows, and its seed from their number, so it does not
    matter where a search was interrupted.
    """
    if sampler == "grid":
        points = (dict(zip(space, values, strict=True)) for values in product(*space.values()))
        return next(point for point in points if _key({"settings": point}) not in known), {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawing, shapes = room.sampler(sampler, seed, len(done)), room.distributions(space)
    records = optuna.create_study(direction="maximize", sampler=drawing)
    states = optuna.trial.TrialState
    for row in done:
        told = {
            "state": states.PRUNED if row["value"] is None else states.COMPLETE,
            "value": row["value"],
            "params": row["params"],
            "system_attrs": row["notes"],
        }
        records.add_trial(optuna.trial.create_trial(distributions=shapes, **told))
    records.ask(shapes)
    drawn = records.trials[-1]
    return drawn.params, dict(drawn.system_attrs)
