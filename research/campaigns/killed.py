"""Commands killed at random moments: do they end with the tables of one that was not?"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from research import batch
from research.store import atomic, cards

SMALL = (
    "simulated.symbols=2",
    "simulated.days=12",
    "validation.train=6 d",
    "validation.test=2 d",
    "model.rounds=20",
    "evaluation.window=1 d",
)
_IN_A_ROW = 4


def interruption(
    seeds: int, workers: int, options: tuple[str, ...] = SMALL, command: str = "report"
) -> dict[str, Any]:
    """Kill a command `seeds` times, four times in a row and then let it end; compare the tables.

    `workers` is not used: the moments of the kills are the point, and they want a quiet machine.
    """
    words = (command, *(word for option in options for word in ("-o", option)))
    with tempfile.TemporaryDirectory(prefix="alphabook-") as name:
        top, dice, moments = Path(name), random.Random(seeds), []
        began = time.monotonic()
        _run(top / "undisturbed", words, None)
        whole, expected = time.monotonic() - began, _tables(top / "undisturbed")
        differing: list[str] = []
        watch = batch.progress(f"interruption: {seeds} kills")
        for first in range(0, seeds, _IN_A_ROW):
            place = top / f"killed_{first}"
            for _ in range(min(_IN_A_ROW, seeds - first)):
                moments.append(dice.uniform(0.05, 0.95) * whole)
                _run(place, words, moments[-1])
            _run(place, words, None)
            found = _tables(place)
            differing += sorted(
                path for path in expected.keys() | found if found.get(path) != expected.get(path)
            )
            watch(len(moments), seeds, "")
    return {
        "kills": len(moments),
        "seconds_undisturbed": round(whole, 1),
        "tables": len(expected),
        "differing": differing,
    }


def _run(place: Path, words: tuple[str, ...], kill_after: float | None) -> None:
    """Run a command in a store of its own; kill it after so many seconds, or see it end well."""
    folders = {"ALPHABOOK_DATA": str(place / "data"), "ALPHABOOK_REPORTS": str(place / "reports")}
    process = subprocess.Popen(
        [sys.executable, "-m", "research", words[0], "demo", *words[1:]],
        env=os.environ | folders,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _, said = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return
    if process.returncode:
        raise RuntimeError(f"{words[0]} ended with {process.returncode}: {said.decode()[-2000:]}")


def _tables(place: Path) -> dict[str, str]:
    """Hash every stored table and card, and the tables of the newest run.

    The ledger and what a card says of it are left out: what was killed was begun more often.
    """
    data = place / "data"
    stored = [
        p
        for p in data.rglob("*")
        if p.suffix in (".parquet", ".json", ".txt") and p.is_file() and p.parent.name != "ledger"
    ]
    runs = sorted((place / "reports" / "demo").glob("2*"))[-1:]
    kept = [p for run in runs for p in run.iterdir() if p.suffix in (".parquet", ".csv")]
    hashes = {str(p.relative_to(data)): _hash(p) for p in stored}
    return hashes | {f"run/{p.name}": atomic.sha256(p) for p in kept}


def _hash(path: Path) -> str:
    if path.name != "card.json":
        return atomic.sha256(path)
    said = json.loads(path.read_text(encoding="utf8"))
    return cards.digest({key: value for key, value in said.items() if key != "ledger"})
