"""How fast does a raw file become hftbacktest's events, beside its own converter?

    python benchmarks/convert.py [--file btcusdt_20240808.gz] [--messages 50000] [--pairs 3]

Aim: at least 3x ``hftbacktest.data.utils.binancefutures.convert``, with equal events, among them
its correction of negative latencies and its order by both clocks. hftbacktest is installed into a
throwaway environment; each side runs in a process of its own, compiled code loaded before the
clock, and the two take turns. The raw file is the one beside this project where it is there, or a
made one. Timed twice: to the array of events, and to the ``.npz`` file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import peers
from decode import REAL, ROOT, made

CLOCK = """
import json, sys, time
def took(call):
    clock, busy = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - busy
raw, file, said = sys.argv[1], sys.argv[2], sys.stdout
sys.stdout = sys.stderr
for line in sys.stdin:
    said.write(json.dumps([took(events), took(store)]) + "\\n")
    said.flush()
"""
PEER = """
from hftbacktest.data.utils.binancefutures import convert
import sys
rows = int(sys.argv[3])
def events():
    return convert(sys.argv[1], None, buffer_size=rows)
def store():
    return convert(sys.argv[1], sys.argv[2], buffer_size=rows)
"""
OURS = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from research.sources import recordings
from research.sources.recordings import hftbacktest
def events():
    return hftbacktest.events(recordings.read(sys.argv[1]))
def store():
    return recordings.to_hftbacktest(recordings.read(sys.argv[1]), sys.argv[2])
"""


class Side:
    """One of the two, in a process of its own, that converts when it is told to."""

    def __init__(self, python: str, code: str, raw: Path, file: Path, rows: int) -> None:
        words = [python, "-c", code + CLOCK, str(raw), str(file), str(rows)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(words, **pipes, stderr=subprocess.DEVNULL, text=True)

    def run(self) -> list[list[float]]:
        """Return clock and processor seconds, of events alone and with the file."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compare(python: str, raw: Path, folder: Path, pairs: int) -> None:
    rows = 4_000_000
    peer = Side(python, PEER, raw, folder / "peer.npz", rows)
    mine = Side(sys.executable, OURS, raw, folder / "ours.npz", rows)
    peer.run(), mine.run()
    theirs, ours = (np.load(folder / f"{who}.npz")["data"] for who in ("peer", "ours"))
    if theirs.dtype != ours.dtype or not np.array_equal(theirs, ours):
        raise SystemExit("the events differ")
    print(f"{datetime.now(UTC):%Y-%m-%d} {raw.name}: {len(ours)} events, equal in every field")
    runs = [(mine.run(), peer.run()) for _ in range(pairs)]
    for side in (peer, mine):
        side.end()
    for what, name in enumerate(("events", "file")):
        for i, clock in enumerate(("clock", "processor")):
            a, b = (statistics.median(run[who][what][i] for run in runs) for who in (0, 1))
            print(f"{name:6} {clock:9}  ours {a:.3f} s  hftbacktest {b:.3f} s  {b / a:.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", type=Path)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--python", help="an interpreter that has hftbacktest: installs nothing")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = chosen.python or peers.install(folder, "hftbacktest>=2.4,<3")
        raw = chosen.file or (REAL if REAL.exists() else made(folder, chosen.messages))
        compare(python, raw, folder, chosen.pairs)


if __name__ == "__main__":
    main()
