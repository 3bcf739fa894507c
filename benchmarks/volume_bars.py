"""How fast are volume bars, against two plain pandas readings of the same rule?

Aim: 20x the loop that most people write, no slower than a careful groupby, equal bars. Run
``python benchmarks/volume_bars.py`` (about a minute at 2 M rows). The readings are: a Python
loop that keeps a running sum and appends a bar when it is full; and pandas with the running sum
alone in Python over a plain list, then one ``groupby.agg``. Runs are interleaved, so that a busy
machine is busy for all.
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
import pandas as pd
import polars as pl
from polars.testing import assert_frame_equal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from research import bars
from research.schema import BARS

SYMBOLS = 4
SIZE = 15.0
SUMS = ["volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume"]


def market(rows: int) -> pl.DataFrame:
    """`rows` one-minute bars over four symbols, with a gap about once a week."""
    each, random = rows // SYMBOLS, np.random.default_rng(1)
    parts = []
    for k in range(SYMBOLS):
        minute = np.cumsum(1 + 30 * (random.random(each) < 1e-4))
        opened = (minute * 60_000_000 + 1_700_000_040_000_000).astype("datetime64[us]")
        close = 100 * np.exp(np.cumsum(random.normal(0, 1e-3, each)))
        open_ = np.concatenate([[100.0], close[:-1]])
        volume = random.exponential(1.0, each)
        parts.append(
            pl.DataFrame(
                {
                    "symbol": f"S{k}",
                    "open_time": pl.Series(opened).dt.replace_time_zone("UTC"),
                    "open": open_,
                    "high": np.maximum(open_, close) * 1.0005,
                    "low": np.minimum(open_, close) * 0.9995,
                    "close": close,
                    "volume": volume,
                    "quote_volume": volume * close,
                    "trades": random.integers(1, 500, each),
                    "taker_buy_volume": volume / 2,
                    "taker_buy_quote_volume": volume * close / 2,
                }
            )
        )
    table = pl.concat(parts).with_columns(time=pl.col("open_time") + pl.duration(minutes=1))
    return table.select(pl.col(c).cast(dtype) for c, dtype in BARS.items())


def ours(table: pl.DataFrame) -> pl.DataFrame:
    return bars.volume_bars(table, SIZE)


def with_loop(frame: pd.DataFrame) -> pd.DataFrame:
    """The loop that most people write: row after row, symbol after symbol."""
    made = []
    for symbol, one in frame.groupby("symbol", sort=False):
        bar: dict = {}
        for row in one.itertuples(index=False):
            if bar and row.open_time != bar["time"]:
                bar = {}
            if not bar:
                bar = {"symbol": symbol, "open_time": row.open_time, "open": row.open}
                bar |= {"high": row.high, "low": row.low} | dict.fromkeys(SUMS, 0.0)
            bar["time"], bar["close"] = row.time, row.close
            bar["high"], bar["low"] = max(bar["high"], row.high), min(bar["low"], row.low)
            for name in SUMS:
                bar[name] += getattr(row, name)
            if bar["volume"] >= SIZE:
                made.append(bar)
                bar = {}
    return pd.DataFrame(made)[list(BARS)]


def with_groupby(frame: pd.DataFrame) -> pd.DataFrame:
    """Number the bars by a running sum over a list, then let pandas gather them."""
    follows = frame["open_time"].eq(frame["time"].shift()) & frame["symbol"].eq(
        frame["symbol"].shift()
    )
    numbers, full, number, total = [], [], 0, 0.0
    for amount, goes_on in zip(frame["volume"].tolist(), follows.tolist(), strict=True):
        if not goes_on and total:
            number, total = number + 1, 0.0
        total += amount
        numbers.append(number)
        if total >= SIZE:
            full.append(number)
            number, total = number + 1, 0.0
    how = {"symbol": "first", "time": "last", "open_time": "first", "open": "first"}
    how |= {"high": "max", "low": "min", "close": "last"} | dict.fromkeys(SUMS, "sum")
    return frame.groupby(np.array(numbers)).agg(how).loc[full].reset_index(drop=True)


def check_equal(mine: pl.DataFrame, theirs: pd.DataFrame, exact: bool) -> None:
    other = pl.from_pandas(theirs).with_columns(pl.col(c).cast(d) for c, d in BARS.items())
    # pandas adds with compensation, so its sums may differ in the last bits
    assert_frame_equal(mine, other.select(list(BARS)), check_exact=exact, rel_tol=1e-12)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--pairs", type=int, default=5)
    chosen = parser.parse_args()
    table = market(chosen.rows)
    frame = table.to_pandas()
    made = ours(table)  # numba's code is loaded or compiled here, outside the clock
    took: dict[str, list[float]] = {"ours": [], "groupby": [], "loop": []}
    print(f"{datetime.now(UTC):%Y-%m-%d} {table.height} rows, {made.height} bars")
    check_equal(made, with_loop(frame), exact=True)
    check_equal(made, with_groupby(frame), exact=False)
    print("equal: bit for bit with the loop, to 1e-12 with groupby")
    for i in range(chosen.pairs):
        took["ours"].append(seconds(lambda: ours(table)))
        took["groupby"].append(seconds(lambda: with_groupby(frame)))
        if i == 0:
            took["loop"].append(seconds(lambda: with_loop(frame)))
    mid = {name: statistics.median(times) for name, times in took.items()}
    for name, value in mid.items():
        rate = table.height / value / 1e6
        print(f"{name:8} {value:7.3f} s  {rate:6.2f} M rows/s  {value / mid['ours']:6.1f}x ours")


if __name__ == "__main__":
    main()
