"""One live decision: features and forecast of a closed bar beside pandas, then its record.

    python benchmarks/live.py [--bars 400] [--quiet]

One symbol, a buffer of 4,320 bars, S1's 19 features, a LightGBM model of S1's size. Ours: the bar
is taken in, features, forecast and what a fill would pay; then the desk's decision and the
journal's commit on this disk, which the peer has none of, so they stand on a line of their own.
Peer: the same 19 features in plain pandas on the same buffer and LightGBM's prediction of a
one-row DataFrame. Interleaved, bar by bar; features must agree to 1e-9. Meanwhile two processes of
low rank keep both cores busy, as a training would (`--quiet`: none). Goals: features and forecast
20 times quicker than the peer; all of it within 5 ms at p50 and 50 ms at p99.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import polars as pl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "features"))

import sources  # noqa: E402  (the plain pandas reading that the tests compare with)

from research import features, models, schema, tape  # noqa: E402
from research import study as studies  # noqa: E402
from research.live import rows  # noqa: E402
from research.live.desk import Desk  # noqa: E402
from research.live.forecaster import Forecaster  # noqa: E402
from research.live.journal import Journal  # noqa: E402
from research.sources import simulated  # noqa: E402
from research.trading.account import new_venue  # noqa: E402

# as one writes it in pandas; the tests' own looks at each window afresh, which takes twice as long
sources.deviation = lambda column, window: column.rolling(window).std()

MINUTE, BUFFER, WARM = timedelta(minutes=1), 4_320, 20
BUSY = "import os\nos.nice(10)\nwhile True: pass"


def market() -> pl.DataFrame:
    """Eight days of one symbol without a hole."""
    how = {"ic": 0.05, "horizon": 10 * MINUTE, "half_life": 10 * MINUTE, "seed": 1}
    raw = simulated.market(symbols=1, days=8, **how).bars.upsample("open_time", every="1m")
    full = raw.with_columns(pl.all().forward_fill())
    return full.with_columns((pl.col("open_time") + MINUTE).alias("time")).select(*schema.BARS)


def model(study: studies.Study, bars: pl.DataFrame) -> models.Model:
    """A model of S1's size on all rows: its bits do not matter here, its size does."""
    chosen = features.resolve("S1")
    table = features.build(bars, chosen, interval=MINUTE).drop_nulls()
    y = np.random.default_rng(0).normal(size=table.height)
    learner = models.learner("lightgbm")
    X = table.select(chosen.names)
    params = {"rounds": 200, "num_leaves": 64, "early_stopping": 0, "threads": 1}
    known = {k: v for k, v in params.items() if k in learner.PARAMS}
    made = learner.fit(X, y, seed=1, params=known)
    return models.Model({**made.card, "target": "scaled", "horizon_bars": 10}, made.core)


def peer(window: pl.DataFrame, booster, names: list[str]) -> tuple[np.ndarray, float]:
    """Features of the whole buffer in pandas, and the forecast of its last row."""
    frame = pd.DataFrame({n: window[n].to_numpy() for n in (*schema.PRICES, "volume")})
    row = sources.s1(frame)[names].tail(1)
    return row.to_numpy()[0], float(booster.predict(row)[0])


class Taken(NamedTuple):
    """Seconds, bar by bar."""

    scored: list[float]
    recorded: list[float]
    peer: list[float]


def measure(count: int) -> Taken:
    """Take ours and the peer through the same bars."""
    import lightgbm as lgb

    study = studies.read("demo", {"features.set": "S1", "backtest.enter": "1 bps"})
    bars, chosen = market(), features.resolve("S1")
    found = model(study, bars)
    booster = lgb.Booster(model_str=found.core.text)
    start = bars.height - count - 700
    known, later = bars[:start], rows.moments(bars[start : start + count])
    forecaster = Forecaster(study, known, {"": found})
    desk = Desk(tape.rules(study), new_venue(1), ["SIM01USDT"], 10_000.0)
    taken = Taken([], [], [])
    with tempfile.TemporaryDirectory() as place, Journal.open(Path(place)) as journal:
        for k, moment in enumerate(later):
            begun = time.perf_counter()
            scored = forecaster.score(moment)
            taken.scored.append(time.perf_counter() - begun)
            step = desk.step(moment.time, scored)
            body = {"time": moment.time, "row": scored[0]._asdict() | {"bar": scored[0].bar}}
            journal.append(("moment", {**body, "reasons": step.reasons, "equity": step.equity}))
            taken.recorded.append(time.perf_counter() - begun)
            window = bars[start + k + 1 - BUFFER : start + k + 1]
            begun = time.perf_counter()
            expected, _ = peer(window, booster, chosen.names)
            taken.peer.append(time.perf_counter() - begun)
            seen = forecaster.rows.select(chosen.names).to_numpy()[0]
            # EMAs remember their beginning: the buffer's is not that of the anchored window
            assert np.allclose(seen, expected, rtol=1e-9, atol=1e-9), (k, seen - expected)
    return Taken(*(seconds[WARM:] for seconds in taken))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bars", type=int, default=400)
    parser.add_argument("--quiet", action="store_true", help="leave the cores to us")
    given = parser.parse_args()
    busy = [] if given.quiet else [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2)]
    try:
        taken = measure(given.bars + WARM)
    finally:
        for process in busy:
            process.kill()
    names = ("ours, features and forecast", "ours, with decision and record", "pandas and LightGBM")
    for name, seconds in zip(names, taken):
        p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
        print(f"{name:34}p50 {p50:7.2f} ms   p99 {p99:7.2f} ms")
    ratio = np.median(taken.peer) / np.median(taken.scored)
    print(f"  features and forecast {ratio:.1f} times quicker than pandas (goal 20)")
    p50, p99 = np.quantile(taken.recorded, [0.5, 0.99]) * 1e3
    met = "met" if p50 <= 5 and p99 <= 50 else "MISSED"
    cores = "free" if given.quiet else "busy"
    print(f"  a decision on disk within 5 ms at p50 and 50 ms at p99: {met}; both cores {cores}")


if __name__ == "__main__":
    main()
