"""How fast is feature set S2, against TA-Lib called directly and a plain pandas reading of it?

Aims: 1.0x and 15x in wall time, equal results, memory added at most 3x the output. Run
``python benchmarks/features.py`` (about three minutes). Every contender computes the 18 columns of
S2 from the same bars; runs are interleaved in pairs, so that a busy machine is busy for both.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import talib

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from research import features
from research.features.warmup import canonical

MINUTE = timedelta(minutes=1)
S2 = features.SETS["S2"]
SYMBOLS = 4
SETTLED = 1_000
PRICES = ["open", "high", "low", "close", "volume"]


def market(rows: int) -> pl.DataFrame:
    """`rows` bars over four symbols: the canonical walk, begun at different places."""
    each = rows // SYMBOLS
    walk = canonical(each + 1_000 * SYMBOLS, interval=MINUTE)
    times = walk.head(each).select("time", "open_time")
    numbers = pl.exclude("symbol", "time", "open_time")
    parts = [
        walk.slice(1_000 * k, each).select(pl.lit(f"S{k}").alias("symbol"), numbers).hstack(times)
        for k in range(SYMBOLS)
    ]
    return pl.concat(parts, rechunk=True).select(walk.columns)


def ours(bars: pl.DataFrame) -> pl.DataFrame:
    return features.evaluate(bars, S2)


def in_days(bars: pl.DataFrame) -> pl.DataFrame:
    return features.evaluate(bars, features.SETS["S2_day"])


def anchored(bars: pl.DataFrame) -> pl.DataFrame:
    return features.build(bars, S2, interval=MINUTE)


def with_talib(bars: pl.DataFrame) -> list[dict[str, np.ndarray]]:
    """TA-Lib on numpy arrays, symbol by symbol, as a careful user writes it."""
    return [talib_columns(*arrays(one)) for one in bars.partition_by("symbol")]


def arrays(one: pl.DataFrame) -> list[np.ndarray]:
    return [one[name].to_numpy() for name in PRICES]


def talib_columns(
    o: np.ndarray, h: np.ndarray, low: np.ndarray, c: np.ndarray, v: np.ndarray
) -> dict[str, np.ndarray]:
    columns = {}
    for k in range(1, 11):
        columns[f"ret_{k}"] = ret = np.full(len(c), np.nan)
        np.divide(c[k - 1 :], o[: len(o) - k + 1], out=ret[k - 1 :])
        ret -= 1
    slowk, slowd = talib.STOCH(h, low, c, 14, 3, 0, 3, 0)
    return columns | {
        "bop": talib.BOP(o, h, low, c),
        "cci": talib.CCI(h, low, c, 14),
        "mfi": talib.MFI(h, low, c, v, 14),
        "rsi": talib.RSI(c, 14),
        "stochrsi": talib.STOCHRSI(c, 14, 14, 3, 0)[0],
        "slowk": slowk,
        "slowd": slowd,
        "natr": talib.NATR(h, low, c, 14),
    }


def with_pandas(bars: pd.DataFrame) -> pd.DataFrame:
    """S2 as it reads: returns shifted within symbol and UTC date, the rest by symbol."""
    returns = pd.DataFrame(index=bars.index)
    opens = bars.groupby(["symbol", bars["open_time"].dt.date])["open"]
    for k in range(1, 11):
        returns[f"ret_{k}"] = bars["close"] / opens.shift(k - 1) - 1
    rest = bars.groupby("symbol", group_keys=False)[PRICES].apply(pandas_indicators)
    return pd.concat([returns, rest], axis=1)


def pandas_indicators(b: pd.DataFrame) -> pd.DataFrame:
    f = pd.DataFrame(index=b.index)
    f["bop"] = (b.close - b.open) / (b.high - b.low)
    price = (b.high + b.low + b.close) / 3
    away = price - price.rolling(14).mean()
    f["cci"] = away / (0.015 * away.abs().rolling(14).mean())
    flow, step = price * b.volume, price.diff()
    up = flow.where(step > 0, 0.0).rolling(14).sum()
    f["mfi"] = 100 * up / (up + flow.where(step < 0, 0.0).rolling(14).sum())
    move = b.close.diff()
    gain = move.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    loss = (-move.clip(upper=0)).ewm(alpha=1 / 14, adjust=False).mean()
    f["rsi"] = 100 * gain / (gain + loss)
    low, high = f["rsi"].rolling(14).min(), f["rsi"].rolling(14).max()
    f["stochrsi"] = 100 * (f["rsi"] - low) / (high - low)
    low, high = b.low.rolling(14).min(), b.high.rolling(14).max()
    f["slowk"] = (100 * (b.close - low) / (high - low)).rolling(3).mean()
    f["slowd"] = f["slowk"].rolling(3).mean()
    before = b.close.shift()
    reach = pd.concat([b.high - b.low, (b.high - before).abs(), (b.low - before).abs()], axis=1)
    f["natr"] = 100 * reach.max(axis=1).ewm(alpha=1 / 14, adjust=False).mean() / b.close
    return f


def measured(call: Callable[[Any], object], given: Any) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call(given)
    return time.perf_counter() - wall, time.process_time() - cpu


def race(
    title: str,
    one: Callable[[pl.DataFrame], object],
    other: Callable[[Any], object],
    inputs: tuple[Any, Any],
    pairs: int,
) -> None:
    """Print how many times faster `one` is than `other`: median and range, and best to best."""
    one(inputs[0]), other(inputs[1])  # load and touch everything once
    laps = [(measured(one, inputs[0]), measured(other, inputs[1])) for _ in range(pairs)]
    for i, kind in enumerate(("wall", "CPU")):
        mine, theirs = ([lap[side][i] for lap in laps] for side in (0, 1))
        ratios = [b / a for a, b in zip(mine, theirs)]
        print(
            f"{title:28} {kind:4} {statistics.median(mine):7.3f} s against "
            f"{statistics.median(theirs):7.3f} s: {statistics.median(ratios):6.2f}x "
            f"({min(ratios):.2f} to {max(ratios):.2f}, {pairs} pairs), "
            f"best to best {min(theirs) / min(mine):.2f}x"
        )


def agree(bars: pl.DataFrame) -> None:
    """Print, by peer, the largest difference after warm-up; stop where it exceeds 1e-9."""
    theirs = pl.concat(pl.DataFrame(one) for one in with_talib(bars))
    off = differences(ours(bars), theirs, ~unsettled(bars))
    del off["cci"]  # S2's variant on purpose
    worst = {"TA-Lib": max(float(o.max()) for o in off.values())}
    theirs = pl.from_pandas(with_pandas(bars.to_pandas()), nan_to_null=False)
    off = differences(in_days(bars), theirs, ~unsettled(bars) & ~flat(bars))
    mfi = off.pop("mfi")
    worst["pandas"] = max(float(o.max()) for o in off.values())
    for peer, number in worst.items():
        print(f"{peer}: largest difference {number:.1e} of a column's spread")
        assert number <= 1e-9, f"{peer} disagrees"
    print(f"pandas: MFI differs on {int((mfi > 1e-9).sum())} of {mfi.len():,} bars (ties)")


def differences(mine: pl.DataFrame, theirs: pl.DataFrame, rows: pl.Series) -> dict[str, pl.Series]:
    known = [pl.when(pl.col(n).is_finite()).then(pl.col(n)) for n in S2.names]
    mine, theirs = mine.filter(rows).select(known), theirs.filter(rows).select(known)
    for name in S2.names:
        assert (mine[name].is_null() == theirs[name].is_null()).all(), f"{name}: nulls differ"
    return {n: ((mine[n] - theirs[n]).abs() / mine[n].std()).drop_nulls() for n in S2.names}


def unsettled(bars: pl.DataFrame) -> pl.Series:
    """The first bars of each symbol: pandas begins its exponential means otherwise."""
    return bars.select(pl.int_range(pl.len()).over("symbol") < SETTLED).to_series()


def flat(bars: pl.DataFrame) -> pl.Series:
    """Bars within 45 of one without range or volume: 0/0 is NaN in pandas, or any number near."""
    still = (pl.col("high") == pl.col("low")) | (pl.col("volume") == 0)
    near = still.cast(pl.Int8).rolling_max(45, min_samples=1).over("symbol") > 0
    return bars.select(near).to_series()


def memory(contender: str, rows: int) -> float:
    """MiB that a fresh process adds at its peak while computing."""
    command = [sys.executable, __file__, "--peak", contender, "--rows", str(rows)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak(contender: str, rows: int) -> None:
    call = {"evaluate": ours, "build": anchored, "talib": with_talib}[contender]
    bars = market(rows)
    call(bars.head(20_000))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = now("VmRSS")
    kept = call(bars)
    print(now("VmHWM") - before)
    del kept


def now(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--rows", type=int, nargs="+", default=[500_000, 2_000_000])
    parser.add_argument("--peak", choices=["evaluate", "build", "talib"])
    options = parser.parse_args()
    if options.peak:
        peak(options.peak, options.rows[0])
        return
    agree(market(100_000))
    for rows in options.rows:
        bars = market(rows)
        frame = bars.to_pandas()
        print(f"\n{rows:,} bars, {SYMBOLS} symbols, {len(S2.names)} columns")
        race("S2 in one pass / TA-Lib", ours, with_talib, (bars, bars), options.pairs)
        race("S2 anchored / TA-Lib", anchored, with_talib, (bars, bars), options.pairs)
        race("S2_day in one pass / pandas", in_days, with_pandas, (bars, frame), options.pairs)
        output = rows * len(S2.names) * 8 / 2**20
        for contender in ("evaluate", "build", "talib"):
            added = memory(contender, rows)
            print(
                f"memory added by {contender:8} {added:7.0f} MiB: {added / output:.2f}x its output"
            )


if __name__ == "__main__":
    main()
