"""Quantiles by date of 2 M rows in 10 and 5,000 bins, against polars doing the same.

The peer ranks within the UTC day with `rank().over()`, makes bins of the ranks, and groups by
bin; ours is `signals.assign` with every check of its door, and the same grouping. Ten pairs in
turn, CPU seconds; the bins must be equal. Memory is what each adds to the process at its peak,
each measured in a process of its own (Linux). `python benchmarks/quantiles.py`
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from research import signals

ROWS = 2_000_000
PAIRS = 10


def forecasts(symbols: int) -> pl.DataFrame:
    n = ROWS // symbols
    minute = timedelta(minutes=1)
    start = datetime(2021, 1, 1, tzinfo=UTC)
    times = pl.datetime_range(start + minute, start + n * minute, minute, eager=True)
    times, rng = times.dt.cast_time_unit("us"), np.random.default_rng(0)
    columns = [
        {"symbol": f"S{k}", "time": times, "forecast": rng.standard_normal(n), "y": rng.random(n)}
        for k in range(symbols)
    ]
    return pl.concat([pl.DataFrame(c) for c in columns])


def grouped(binned: pl.DataFrame) -> pl.DataFrame:
    return binned.group_by("bin").agg(pl.len(), pl.col("y").mean()).sort("bin")


def ours(table: pl.DataFrame, bins: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    binned = signals.assign(table, bins=bins, scope="date")
    return binned, grouped(binned)


def peer(table: pl.DataFrame, bins: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    day = (pl.col("time") - pl.duration(microseconds=1)).dt.date()
    ranked = table.with_columns(
        rank=pl.col("forecast").rank("average").over(day), rows=pl.len().over(day)
    )
    even = ((pl.col("rank") - 0.5) * bins / pl.col("rows")).floor()
    spread = ((pl.col("rank") - 1) * (bins - 1) / (pl.col("rows") - 1)).round(mode="half_to_even")
    place = 1 + pl.when(pl.col("rows") >= bins).then(even).otherwise(spread)
    binned = ranked.with_columns(bin=place.cast(pl.Int32)).drop("rank", "rows")
    return binned, grouped(binned)


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def added(name: str, symbols: int, bins: int) -> float:
    """MiB that one call adds to the peak of a fresh process."""
    out = subprocess.run(
        [sys.executable, __file__, name, str(symbols), str(bins)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(out.stdout)


def measure_memory(name: str, symbols: int, bins: int) -> None:
    table, work = forecasts(symbols), {"ours": ours, "peer": peer}[name]
    work(table.head(10_000), bins)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far was that of making the table
    before = _status("VmRSS")
    kept = work(table, bins)
    print(_status("VmHWM") - before)
    del kept


def _status(word: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(word)) / 1024


def compare(symbols: int, bins: int) -> None:
    table = forecasts(symbols)
    (mine, mine_means), (other, other_means) = ours(table, bins), peer(table, bins)
    assert mine.equals(other), "bins differ"
    assert_frame_equal(mine_means, other_means, rel_tol=1e-12)  # sums in another order
    pairs = [(cpu(lambda: ours(table, bins)), cpu(lambda: peer(table, bins))) for _ in range(PAIRS)]
    ratio = np.array([a / b for a, b in pairs])
    a, b = np.median(pairs, axis=0)
    memory = [added(name, symbols, bins) for name in ("ours", "peer")]
    print(
        f"{symbols} symbol(s), {bins:>5} bins: ours {a:.3f} s, polars {b:.3f} s, ratio "
        f"{np.median(ratio):.2f} ({ratio.min():.2f}-{ratio.max():.2f}; at most 1.3); "
        f"memory added {memory[0]:.0f} and {memory[1]:.0f} MiB (at most 300); results equal"
    )


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure_memory(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        for symbols in (1, 7):
            for bins in (10, 5000):
                compare(symbols, bins)
