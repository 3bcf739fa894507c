"""Made-up and real order flow for tests."""

import gzip
import json
from collections import namedtuple
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared/data"
RAW = SHARED / "raw/binance"
SNAPSHOTS = SHARED / "l2_snapshots/binance_um_BTCUSDT_20251202_l20.parquet"
START = 1_700_000_000_000_000
Books = namedtuple("Books", "message time_us received_ns levels proven")


def arrays(count, seed=1, *, pause=20_000):
    """Time, bid, bid quantity, ask, ask quantity of a wandering book with a tick of 0.1."""
    random = np.random.default_rng(seed)
    time = START + np.cumsum(random.integers(0, 2 * pause, count))
    tick = 1_000 + np.cumsum(random.choice([-1, 0, 1], count, p=[0.15, 0.7, 0.15]))
    ask = tick + random.choice([1, 2, 3], count, p=[0.8, 0.15, 0.05])
    bought, sold = np.round(random.exponential(3, (2, count)) + 0.001, 3)
    return time, np.round(tick * 0.1, 1), bought, np.round(ask * 0.1, 1), sold


def quotes(count=400, seed=1, *, symbol="BTCUSDT", pause=20_000):
    time, *values = arrays(count, seed, pause=pause)
    names = ("bid", "bid_quantity", "ask", "ask_quantity")
    return _table(symbol, 3 * np.arange(count), time, dict(zip(names, values)))


def trades(count=300, seed=2, *, symbol="BTCUSDT", pause=27_000):
    random = np.random.default_rng(seed)
    time = START + np.cumsum(random.integers(0, 2 * pause, count))
    values = {
        "price": np.round(100 + random.normal(0, 1, count), 1),
        "quantity": np.round(random.exponential(1, count) + 0.001, 3),
        "taker_side": random.choice([-1, 1], count).astype(np.int8),
    }
    return _table(symbol, 3 * np.arange(count) + 1, time, values)


def books(count=200, seed=3, *, depth=20, pause=40_000):
    """Books of random prices, each side in order and without a hole."""
    random = np.random.default_rng(seed)
    time, bid, _, ask, _ = arrays(count, seed, pause=pause)
    away = 0.1 * np.cumsum(random.integers(1, 3, (2, count, depth)), axis=2) - 0.1
    levels = np.zeros((count, 2, depth, 2))
    levels[:, 0, :, 0] = np.round(bid[:, None] - away[0], 1)
    levels[:, 1, :, 0] = np.round(ask[:, None] + away[1], 1)
    levels[..., 1] = np.round(random.exponential(3, (count, 2, depth)) + 0.001, 3)
    message = 6 * np.arange(count) + 2
    return Books(message, time, time * 1_000 - 7, levels, np.ones(count, bool))


def _table(symbol, message, time, values):
    stamps = pl.Series(time.astype("datetime64[us]")).dt.replace_time_zone("UTC")
    key = {"symbol": [symbol] * len(time), "message": message, "received_ns": time * 1_000 - 7}
    return pl.DataFrame({**key, "time": stamps, **values})


def gaps(*spans, symbol="BTCUSDT"):
    """Gaps between moments of receipt in nanoseconds; None for one that has not ended."""
    columns = {"symbol": pl.String, "start_ns": pl.Int64, "end_ns": pl.Int64}
    return pl.DataFrame([(symbol, *span) for span in spans], schema=columns, orient="row")


def slow_ofi(bid, bid_quantity, ask, ask_quantity):
    """The published formula, term by term."""
    e = np.zeros(len(bid))
    for n in range(1, len(bid)):
        e[n] = (
            (bid[n] >= bid[n - 1]) * bid_quantity[n]
            - (bid[n] <= bid[n - 1]) * bid_quantity[n - 1]
            - (ask[n] <= ask[n - 1]) * ask_quantity[n]
            + (ask[n] >= ask[n - 1]) * ask_quantity[n - 1]
        )
    return e


def recorded(path):
    """Quotes and trades of a raw recording of Binance."""
    quoted, traded = [], []
    with gzip.open(path) as lines:
        for number, line in enumerate(lines):
            if b"@bookTicker" not in line and b"@trade" not in line:
                continue
            received, _, body = line.partition(b" ")
            said = json.loads(body)["data"]
            key = said["s"], number, int(received), said.get("T")
            if "p" in said:
                side = -1 if said["m"] else 1
                traded.append((*key, float(said["p"]), float(said["q"]), side))
            else:
                quoted.append((*key, *(float(said[k]) for k in "bBaA")))
    names = ["symbol", "message", "received_ns", "time"]
    best = ["bid", "bid_quantity", "ask", "ask_quantity"]
    return _rows(quoted, names + best), _rows(traded, [*names, "price", "quantity", "taker_side"])


def _rows(rows, names):
    table = pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)
    stamp = pl.from_epoch(pl.col("time").cast(pl.Int64), "ms").dt.cast_time_unit("us")
    return table.with_columns(stamp.dt.replace_time_zone("UTC"))


def snapshots(path=SNAPSHOTS):
    """The top 20 levels of a recording of another project."""
    table = pl.read_parquet(path).sort("timestamp")
    levels = np.zeros((table.height, 2, 20, 2))
    for side, name in enumerate(("bid", "ask")):
        for level in range(20):
            levels[:, side, level, 0] = table[f"{name}_price_{level}"]
            levels[:, side, level, 1] = table[f"{name}_qty_{level}"]
    time, received = (table[c].cast(pl.Int64).to_numpy() for c in ("timestamp", "local_timestamp"))
    count = np.arange(table.height)
    return Books(count, time * 1_000, received * 1_000_000, levels, np.ones(len(count), bool))
