"""How fast are fractional differences, against scipy's overlap-add and numpy's convolution?

Aims, at d = 0.4 and weights down to 1e-5 (a window of 1,458) on a month of one-minute bars: 1x
``scipy.signal.oaconvolve`` and 5x ``np.convolve``, equal to both and to streaming within 1e-12.
Run ``python benchmarks/fracdiff.py`` (seconds). Times are the processor's, the best of five in a
row, as timeit has it; rounds are interleaved and ratios taken round by round, so that a busy
machine is busy for all. Beside it: the batch that is bit-equal to streaming, one value at a time,
and the fractal dimension of the regime.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy.signal import oaconvolve

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from research.features import fracdiff, regime

D = 0.4
LIVE = 20_000


def walk(rows: int) -> np.ndarray:
    """Log prices of a random walk."""
    return np.log(60_000.0) + np.cumsum(np.random.default_rng(1).standard_normal(rows) * 1e-3)


def seconds(call: Callable[[], object], *, best_of: int = 1) -> float:
    """Time of the processor: each way runs on one core, and others may be on it too."""
    took = []
    for _ in range(best_of):
        start = time.thread_time()
        call()
        took.append(time.thread_time() - start)
    return min(took)


def check_equal(series: np.ndarray, threshold: float) -> float:
    """Refuse differences of more than 1e-12; return the largest."""
    weight = fracdiff.weights(D, threshold)
    ours = fracdiff.ffd(series, D, threshold=threshold)
    exact = fracdiff.ffd_exact(series, D, threshold=threshold)
    live = fracdiff.stream(D, threshold=threshold)
    streamed = np.array([live.update(value) for value in series[:LIVE]])
    assert np.array_equal(exact[:LIVE], streamed, equal_nan=True), "batch is not streaming"
    others = [exact[len(weight) - 1 :]]
    others += [how(series, weight, "valid") for how in (np.convolve, oaconvolve)]
    apart = max(float(np.abs(ours[len(weight) - 1 :] - other).max()) for other in others)
    assert apart <= 1e-12 and np.isnan(ours[: len(weight) - 1]).all(), f"apart by {apart}"
    return apart


def compared(series: np.ndarray, threshold: float, rounds: int) -> None:
    weight = fracdiff.weights(D, threshold)
    apart = check_equal(series, threshold)
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: fracdiff.ffd(series, D, threshold=threshold),
        "oaconvolve": lambda: oaconvolve(series, weight, "valid"),
        "np.convolve": lambda: np.convolve(series, weight, "valid"),
        "bit-equal": lambda: fracdiff.ffd_exact(series, D, threshold=threshold),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, call in ways.items():
            took[name].append(seconds(call, best_of=5))
    told = "  ".join(
        f"{name} {statistics.median(times) * 1e3:.2f} ms ({against(times, took['ours']):.2f}x ours)"
        for name, times in took.items()
    )
    print(f"weights to {threshold:g}, window {len(weight)}, equal within {apart:.0e}: {told}")


def against(theirs: list[float], ours: list[float]) -> float:
    """Median over rounds of their time over ours in the same round."""
    return statistics.median(other / mine for other, mine in zip(theirs, ours, strict=True))


def one_at_a_time(series: np.ndarray) -> None:
    fdi = regime.dimension(series, window=30)
    live = {
        "fracdiff.update, window 1458": fracdiff.stream(D, threshold=1e-5),
        "fdi.update, window 30": regime.stream(window=30),
    }
    for name, one in live.items():
        took = seconds(lambda one=one: [one.update(value) for value in series[:LIVE]])
        print(f"{name}: {took / LIVE * 1e6:.1f} us a value")
    took = seconds(lambda: regime.dimension(series, window=30))
    again = regime.stream(window=30)
    streamed = [again.update(value) for value in series[:LIVE]]
    assert np.array_equal(fdi[:LIVE], streamed, equal_nan=True), "batch is not streaming"
    print(f"regime.dimension, window 30: {len(series) / took / 1e6:.1f} M values a second")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=45_031)
    parser.add_argument("--rounds", type=int, default=21)
    chosen = parser.parse_args()
    series = walk(chosen.rows)
    print(f"{datetime.now(UTC):%Y-%m-%d} {chosen.rows} values, d = {D}")
    for threshold in (1e-5, 1e-4, 1e-3):
        compared(series, threshold, chosen.rounds)
    one_at_a_time(series)


if __name__ == "__main__":
    main()
