"""How fast is feature set S4, against TA-Lib and numpy called directly?

Aims: 52 columns at 2 M rows/s or more and 1.0x in wall time, equal results. Run
``python benchmarks/s4.py`` (about two minutes). The peer is what a careful user writes: TA-Lib for
what it has, plain numpy for the rest, each intermediate computed once. Runs are interleaved in
pairs, so that a busy machine is busy for both; the load is printed beside them, and each one's
best lap against the other's, which others on the machine disturb least.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
import polars as pl
import talib
from features import MINUTE, SETTLED, SYMBOLS, flat, market, race, unsettled

from research import features

S4 = features.SETS["S4"]
OBV = 480
COLUMNS = ["open", "high", "low", "close", "volume", "trades"]
# where both are a rounding away from equal the sign is anybody's
SIGNS = ("ema9_ema21_cross", "ema21_ema50_cross", "trend_direction")


def ours(bars: pl.DataFrame) -> pl.DataFrame:
    return features.evaluate(bars, S4)


def anchored(bars: pl.DataFrame) -> pl.DataFrame:
    return features.build(bars, S4, interval=MINUTE)


def with_talib(bars: pl.DataFrame) -> list[dict[str, np.ndarray]]:
    return [talib_columns(*arrays(one)) for one in bars.partition_by("symbol")]


def arrays(one: pl.DataFrame) -> list[np.ndarray]:
    return [one[name].cast(pl.Float64).to_numpy() for name in COLUMNS]


def talib_columns(
    o: np.ndarray, h: np.ndarray, low: np.ndarray, c: np.ndarray, v: np.ndarray, n: np.ndarray
) -> dict[str, np.ndarray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return (
            prices(c)
            | momentum(h, low, c)
            | volatility(h, low, c)
            | volumes(c, v)
            | movement(h, low)
            | candles(o, h, low, c)
            | counts(n)
        )


def prices(c: np.ndarray) -> dict[str, np.ndarray]:
    ema = {span: talib.EMA(c, span) for span in (9, 21, 50)}
    slow = np.where(ema[21] > ema[50], 1.0, -1.0)
    return {
        **{f"ema_{span}": mean for span, mean in ema.items()},
        **{f"price_ema{span}_ratio": c / mean for span, mean in ema.items()},
        "ema9_ema21_cross": np.where(ema[9] > ema[21], 1.0, -1.0),
        "ema21_ema50_cross": slow,
        "trend_direction": slow.copy(),
        "trend_strength": np.abs(ema[21] - ema[50]) / ema[50],
    }


def momentum(h: np.ndarray, low: np.ndarray, c: np.ndarray) -> dict[str, np.ndarray]:
    change = np.diff(c, prepend=c[0])
    gain = talib.SMA(np.maximum(change, 0), 14)
    loss = talib.SMA(np.maximum(-change, 0), 14)
    macd, signal, histogram = talib.MACD(c, 12, 26, 9)
    stoch_k, stoch_d = talib.STOCHF(h, low, c, 14, 3, 0)
    return {
        "rsi": 100 - 100 / (1 + gain / loss),
        "macd": macd,
        "macd_signal": signal,
        "macd_histogram": histogram,
        "roc_5": talib.ROCP(c, 5),
        "roc_15": talib.ROCP(c, 15),
        "stoch_k": stoch_k,
        "stoch_d": stoch_d,
    }


def volatility(h: np.ndarray, low: np.ndarray, c: np.ndarray) -> dict[str, np.ndarray]:
    middle = talib.SMA(c, 20)
    band = talib.STDDEV(c, 20, 2 * np.sqrt(20 / 19))
    upper, lower = middle + band, middle - band
    reach = talib.TRANGE(h, low, c)
    reach[0] = h[0] - low[0]
    atr = talib.SMA(reach, 14)
    deviation = talib.STDDEV(np.nan_to_num(talib.ROCP(c, 1)), 60, np.sqrt(60 / 59))
    return {
        "bb_upper": upper,
        "bb_middle": middle,
        "bb_lower": lower,
        "bb_width": (upper - lower) / middle,
        "bb_position": (c - lower) / (upper - lower),
        "atr": atr,
        "volatility_60": deviation,
        "atr_price_ratio": atr / c,
        "volatility_price_ratio": deviation / c,
    }


def volumes(c: np.ndarray, v: np.ndarray) -> dict[str, np.ndarray]:
    mean = {window: talib.SMA(v, window) for window in (20, 60)}
    vwap = talib.SUM(c * v, 20) / talib.SUM(v, 20)
    total = talib.OBV(c, v)
    obv = np.full(len(c), np.nan)
    obv[OBV:] = total[OBV:] - total[:-OBV]
    return {
        **{f"volume_sma_{window}": m for window, m in mean.items()},
        **{f"volume_ratio_{window}": v / m for window, m in mean.items()},
        **{f"volume_delta_{window}": v - m for window, m in mean.items()},
        "vwap": vwap,
        "vwap_deviation": (c - vwap) / vwap,
        "obv": obv,
    }


def movement(h: np.ndarray, low: np.ndarray) -> dict[str, np.ndarray]:
    up, down = np.diff(h, prepend=h[0]), np.diff(low, prepend=low[0])
    fall = np.abs(down)
    plus = talib.SMA(np.where(up > fall, up, 0.0), 14)
    minus = talib.SMA(np.where((fall > np.abs(up)) & (down < 0), fall, 0.0), 14)
    index = 100 * np.abs(plus - minus) / (plus + minus)
    # TA-Lib's running sum never recovers from a NaN
    return {"adx": talib.SMA(np.nan_to_num(index), 14)}


def candles(o: np.ndarray, h: np.ndarray, low: np.ndarray, c: np.ndarray) -> dict[str, np.ndarray]:
    body, reach = np.abs(c - o), h - low
    upper, lower = h - np.maximum(o, c), np.minimum(o, c) - low
    ratio = body / reach
    return {
        "body_size": body,
        "upper_wick": upper,
        "lower_wick": lower,
        "total_range": reach,
        "body_ratio": ratio,
        "upper_wick_ratio": upper / reach,
        "lower_wick_ratio": lower / reach,
        "candle_type": np.where(c > o, 1.0, -1.0),
        "is_doji": (ratio < 0.1).astype(np.float64),
    }


def counts(n: np.ndarray) -> dict[str, np.ndarray]:
    mean = {window: talib.SMA(n, window) for window in (20, 60)}
    return {
        "transactions": n,
        **{f"transactions_sma_{window}": m for window, m in mean.items()},
        **{f"transactions_ratio_{window}": n / m for window, m in mean.items()},
        "transactions_trend": talib.LINEARREG_SLOPE(n, 20),
    }


def agree(bars: pl.DataFrame) -> None:
    """Print the largest difference after warm-up; stop where it exceeds 1e-9."""
    mine, theirs = ours(bars), pl.concat(pl.DataFrame(one) for one in with_talib(bars))
    rows = ~unsettled(bars) & ~flat(bars)
    mine, theirs = mine.filter(rows), theirs.filter(rows)
    worst = {
        name: float((mine[name] - theirs[name]).abs().max()) / spread(mine[name])
        for name in S4.names
        if name not in SIGNS
    }
    name = max(worst, key=lambda n: worst[n])
    print(f"TA-Lib and numpy: largest difference {worst[name]:.1e} of a column's spread ({name})")
    assert worst[name] <= 1e-9, f"{name} disagrees"
    for sign in SIGNS:
        assert (mine[sign] == theirs[sign]).mean() > 0.9999, f"{sign} disagrees"


def spread(column: pl.Series) -> float:
    return float(column.std())  # type: ignore[arg-type]


def rate(bars: pl.DataFrame, laps: int) -> None:
    for title, call in (("one pass", ours), ("anchored", anchored), ("TA-Lib", with_talib)):
        walls = []
        for _ in range(laps):
            began = time.perf_counter()
            call(bars)
            walls.append(time.perf_counter() - began)
        print(f"{title:9} {bars.height / min(walls) / 1e6:6.2f} M rows/s at best of {laps}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--rows", type=int, nargs="+", default=[500_000, 2_000_000])
    options = parser.parse_args()
    agree(market(100_000))
    assert features.warmup(S4, interval=MINUTE) < SETTLED
    for rows in options.rows:
        bars = market(rows)
        busy = os.getloadavg()[0]
        print(f"\n{rows:,} bars, {SYMBOLS} symbols, {len(S4.names)} columns, load {busy:.1f}")
        rate(bars, options.pairs)
        race("S4 in one pass / TA-Lib", ours, with_talib, (bars, bars), options.pairs)
        race("S4 anchored / TA-Lib", anchored, with_talib, (bars, bars), options.pairs)


if __name__ == "__main__":
    main()
