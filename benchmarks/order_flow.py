"""How fast is order-flow imbalance with z-scores, against a plain class that is fed quote by quote?

Aims: 1.5 M quotes a second on one core for all four windows together, 200x the class, equal values
where the two say the same. Run ``python benchmarks/order_flow.py`` (about a minute). The class is
what many a project has: it keeps the last minute in a deque and sums each window afresh at every
quote. It sums the *change of standing quantities*, which is `depth_delta` here; z-scores it takes
over its last 1,000 sums, the present one included. Compared by value are the windows' sums; times
are of one process's CPU, so that a busy machine is counted for neither.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from research.features.order_flow import HALF_LIFE, WINDOWS
from research.features.order_flow.events import ofi_memory, ofi_rules, windowed_ofi
from research.features.order_flow.windows import microseconds, window_memory, window_sum
from research.steps import scan

SPANS = [microseconds(window) for window in WINDOWS]
COLUMNS = tuple[np.ndarray, ...]


class PlainImbalance:
    """Sums of the last spans, added up afresh at each quote; z-scores over the last 1,000 sums."""

    def __init__(self) -> None:
        self.before: tuple[float, float] | None = None
        self.history: deque[tuple[int, float]] = deque()
        self.sums: list[deque[float]] = [deque(maxlen=1_000) for _ in SPANS]

    def update(self, now: int, bid_quantity: float, ask_quantity: float) -> list[float]:
        old = self.before or (bid_quantity, ask_quantity)
        self.before = bid_quantity, ask_quantity
        self.history.append((now, (bid_quantity - old[0]) - (ask_quantity - old[1])))
        while self.history[0][0] < now - 60_000_000:
            self.history.popleft()
        said = []
        for span, sums in zip(SPANS, self.sums):
            total = sum(value for moment, value in self.history if moment > now - span)
            sums.append(total)
            mean = sum(sums) / len(sums)
            spread = (sum(x * x for x in sums) / len(sums) - mean * mean) ** 0.5
            said += [total, (total - mean) / max(spread.real, 1e-8)]
        return said


def market(rows: int) -> COLUMNS:
    """Quotes of a wandering book, as many a second as a busy perpetual has: about 190."""
    random = np.random.default_rng(1)
    moment = 1_700_000_000_000_000 + np.cumsum(random.exponential(5_200, rows)).astype(np.int64)
    tick = 600_000 + np.cumsum(random.choice([-1, 0, 1], rows, p=[0.1, 0.8, 0.1]))
    bought, sold = np.round(random.exponential(4, (2, rows)) + 0.001, 3)
    return moment, tick * 0.1, bought, tick * 0.1 + 0.1, sold


def ours(columns: COLUMNS) -> list[np.ndarray]:
    """Flow, z-score, momentum and acceleration of all four windows."""
    rules = [ofi_rules(window, HALF_LIFE) for window in WINDOWS]
    return [scan(windowed_ofi, ofi_memory(), columns, rule)[1] for rule in rules]


def same_sums(columns: COLUMNS) -> list[np.ndarray]:
    """What the plain class sums: changes of standing quantities over the same windows."""
    stock = columns[2] - columns[4]
    values = columns[0], np.diff(stock, prepend=stock[:1])
    return [scan(window_sum, window_memory(), values, span)[1][:, 0] for span in SPANS]


def plain(columns: COLUMNS) -> np.ndarray:
    live, rows = PlainImbalance(), zip(*(columns[c].tolist() for c in (0, 2, 4)))
    return np.array([live.update(*row) for row in rows])


def seconds(work: Callable[[COLUMNS], object], columns: COLUMNS) -> float:
    start = time.process_time()
    work(columns)
    return time.process_time() - start


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--plain-rows", type=int, default=8_000)
    options.add_argument("--runs", type=int, default=5)
    chosen = options.parse_args()
    many = market(chosen.rows)
    few = tuple(column[: chosen.plain_rows] for column in many)
    ours(few), same_sums(few)  # compiled, or loaded
    found, known = plain(few)[:, ::2], [np.isfinite(column) for column in same_sums(few)]
    for place, (column, full) in enumerate(zip(same_sums(few), known)):
        assert full.any() or place == 3
        assert np.allclose(column[full], found[full, place], rtol=0, atol=1e-9)
    print(f"equal window sums of {len(few[0]):,} quotes, to 1e-9")
    pairs = [(seconds(ours, many), seconds(plain, few)) for _ in range(chosen.runs)]
    speed = [len(many[0]) / mine for mine, _ in pairs]
    ratio = [s / (len(few[0]) / theirs) for s, (_, theirs) in zip(speed, pairs)]
    middle, least = statistics.median(speed), min(speed)
    print(f"four windows with z-scores: {middle / 1e6:.2f} M quotes/s on one core, aim 1.5")
    print(f"the slowest run: {least / 1e6:.2f} M quotes/s")
    print(f"plain class: {middle / statistics.median(ratio):,.0f} quotes/s")
    print(f"ratio: {statistics.median(ratio):,.0f}x (aim 200, least {min(ratio):,.0f})")


if __name__ == "__main__":
    main()
