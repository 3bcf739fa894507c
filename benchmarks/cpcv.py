"""Combinatorial purged cross-validation: our splits and paths against skfolio's, index by index.

    python benchmarks/cpcv.py                  # installs skfolio into a throwaway environment
    python benchmarks/cpcv.py --peer PYTHON    # or uses an interpreter that has it

skfolio purges by a number of rows, so both can agree only where all labels have one length and
rows one distance; there every training row, every tested row and every path must be the same. Then
labels of any length: how many training rows skfolio would leave in whose answers meet a test, when
told the usual length. CPU seconds of one process and one thread, each shape cut by both in turn.
It is no dependency of this project: it lives in its own environment and its own process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import peers

ROOT = Path(__file__).resolve().parent.parent
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
SHAPES = ((6, 2), (10, 2), (8, 3), (16, 2))
PAUSES = ((0, 0), (10, 0), (10, 300))
"""Rows to a label's answer, and of embargo."""
START, MINUTE = datetime(2024, 1, 1, tzinfo=UTC), timedelta(minutes=1)


def labels(known: np.ndarray) -> Any:
    """Return a table of one row a minute, each known at the minute of that number."""
    import polars as pl

    epoch = int(START.timestamp()) * 1_000_000
    minutes = {"time": np.arange(len(known)), "known_at": known}
    kind = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {name: pl.Series(epoch + 60_000_000 * m).cast(kind) for name, m in minutes.items()}
    )


def split_ours(known: np.ndarray, shape: tuple[int, int], embargo: int) -> dict[str, Any]:
    """Cut by time and answers; return rows to train and test per split, path by path."""
    from research.validation import combinatorial

    table, end = labels(known), START + len(known) * MINUTE
    begun = time.process_time()
    splits = combinatorial(
        START, end, groups=shape[0], test_groups=shape[1], embargo=embargo * MINUTE
    )
    masks = [(split.train(table), split.test(table)) for split in splits]
    rows = [tuple(mask.arg_true().to_numpy() for mask in both) for both in masks]
    spent = time.process_time() - begun
    paths = splits.paths().sort("split", "group")["path"].to_list()
    return {"cpu": spent, "rows": rows, "paths": paths}


def split_theirs(n: int, shape: tuple[int, int], label: int, embargo: int) -> dict[str, Any]:
    """Cut by numbers of rows."""
    from skfolio.model_selection import CombinatorialPurgedCV

    cv = CombinatorialPurgedCV(*shape, purged_size=label, embargo_size=embargo)
    X = np.zeros((n, 1))
    begun = time.process_time()
    rows = [(train, np.concatenate(tests)) for train, tests in cv.split(X)]
    spent = time.process_time() - begun
    return {"cpu": spent, "rows": rows, "paths": (cv.get_path_ids() + 1).ravel().tolist()}


def digests(made: dict[str, Any]) -> list[list[str]]:
    """Return a fingerprint of the rows that each split trains on, and of those it tests."""
    return [
        [sha256(np.asarray(rows, dtype=np.int64).tobytes()).hexdigest() for rows in both]
        for both in made["rows"]
    ]


def serve(folder: Path) -> None:
    """Cut what each line on stdin asks for; say what it took and gave, rows in a file if asked."""
    for line in sys.stdin:
        asked = json.loads(line)
        shape = (int(asked["shape"][0]), int(asked["shape"][1]))
        made = split_theirs(asked["n"], shape, asked["label"], asked["embargo"])
        if asked["rows"]:
            arrays = {
                f"{k}-{n}": a for k, both in enumerate(made["rows"]) for n, a in zip("ab", both)
            }
            np.savez(folder / "theirs.npz", **arrays)
        told = {"cpu": made["cpu"], "paths": made["paths"], "digests": digests(made)}
        print(json.dumps(told), flush=True)


class Peer:
    """The process that has skfolio."""

    def __init__(self, python: str, folder: Path) -> None:
        self.file = folder / "theirs.npz"
        self.process = subprocess.Popen(
            [python, str(Path(__file__).resolve()), "--serve", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict.fromkeys(THREADS, "1")},
        )

    def split(self, *, rows: bool = False, **asked: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        print(json.dumps(asked | {"rows": rows}), file=self.process.stdin, flush=True)
        told = json.loads(self.process.stdout.readline())
        if rows:
            kept = np.load(self.file)
            told["rows"] = [(kept[f"{k}-a"], kept[f"{k}-b"]) for k in range(len(told["digests"]))]
        return dict(told)

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> int:
    """Check that all rows and paths are the same; return how many row numbers were compared."""
    assert ours["paths"] == theirs["paths"], "paths differ"
    mine = digests(ours)
    assert len(mine) == len(theirs["digests"]), "numbers of splits differ"
    for k, both in enumerate(zip(mine, theirs["digests"], strict=True)):
        assert both[0] == both[1], f"training or test rows of split {k} differ"
    return sum(len(a) + len(b) for a, b in ours["rows"])


def leaks(rows: list[Any], known: np.ndarray, groups: int) -> int:
    """Count training rows, over all splits, whose answers meet a tested block's."""
    size, found = len(known) // groups, 0
    for train, test in rows:
        bad = np.zeros(len(train), dtype=bool)
        for block in np.unique(test // size):
            inside = slice(block * size, (block + 1) * size)
            bad |= (train <= known[inside].max()) & (known[train] >= block * size)
        found += int(bad.sum())
    return found


def measure(python: str, folder: Path, n: int) -> dict[str, Any]:
    """Cut every shape both ways, compare all of it, and time it."""
    peer, compared, ratios, spent = Peer(python, folder), 0, [], {"ours": 0.0, "theirs": 0.0}
    ahead = np.arange(n)
    split_ours(ahead, SHAPES[0], 0), peer.split(n=n, shape=SHAPES[0], label=0, embargo=0)
    for shape in SHAPES:
        for label, embargo in PAUSES:
            # the last answers are known when the data end: nothing follows that they could meet
            known = np.minimum(ahead + label, n - 1)
            mine = split_ours(known, shape, embargo)
            other = peer.split(n=n, shape=shape, label=label, embargo=embargo)
            compared += same(mine, other)
            ratios.append(other["cpu"] / mine["cpu"])
            spent["ours"] += mine["cpu"]
            spent["theirs"] += other["cpu"]
    told = {"n": n, "compared": compared, "cpu": spent, "ratio": spent["theirs"] / spent["ours"]}
    told |= {"shapes": len(ratios), "ratios": [min(ratios), median(ratios), max(ratios)]}
    told["variable"] = variable(peer, n)
    peer.end()
    return told


def variable(peer: Peer, n: int) -> dict[str, int]:
    """Count leaks where labels end when a barrier is met, up to an hour and a half later."""
    ahead = np.random.default_rng(20261121).geometric(0.05, n).clip(1, 90)
    known, shape = np.minimum(np.arange(n) + ahead, n - 1), (6, 2)
    usual = round(float(ahead.mean()))
    mine = split_ours(known, shape, 0)["rows"]
    other = peer.split(n=n, shape=shape, label=usual, embargo=0, rows=True)["rows"]
    return {
        "usual": usual,
        "ours": leaks(mine, known, shape[0]),
        "theirs": leaks(other, known, shape[0]),
    }


def show(told: dict[str, Any]) -> None:
    print(
        f"{told['n']:,} rows, {told['shapes']} cuts of {len(SHAPES)} shapes: "
        f"{told['compared']:,} row numbers and all paths identical"
    )
    low, _, high = told["ratios"]
    print(f"ours    {told['cpu']['ours']:7.2f} CPU s")
    print(f"skfolio {told['cpu']['theirs']:7.2f} CPU s")
    print(f"  ratio {told['ratio']:.1f} x (cuts {low:.1f} to {high:.1f})")
    other = told["variable"]
    print(
        f"labels of any length up to 90 rows, {other['usual']} on average: training rows whose "
        f"answers meet a test: ours {other['ours']}, skfolio purging {other['usual']} rows "
        f"{other['theirs']}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="python that has skfolio")
    parser.add_argument(
        "--rows", type=int, default=1_000_080, help="a multiple of 240, from 24,000"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve)
        return 0
    if asked.rows % 240 or asked.rows < 24_000:
        parser.error(f"--rows must be a multiple of 240 from 24,000 on, found {asked.rows:,}")
    os.environ.update(dict.fromkeys(THREADS, "1"))
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told = measure(asked.peer or peers.install(folder, "skfolio"), folder, asked.rows)
    if asked.json:
        print(json.dumps(told))
    else:
        show(told)
    return 0 if told["variable"]["ours"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
