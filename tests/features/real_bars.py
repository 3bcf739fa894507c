"""Real one-minute bars, where they lie beside the project."""

import sys
from pathlib import Path

import polars as pl

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

import laws  # noqa: E402

from research import schema  # noqa: E402

DATA = ROOT.parent / "shared/data/klines_1m"
BINANCE_US = DATA / "binance_us_spot_2023-03/BTCUSDT.parquet"
FULL = DATA / "spot_full_2025-10-29_11-01/ETHUSDT.parquet"
KRAKEN = DATA / "kraken_ohlcvt_2023Q1/XBTUSDC_1.csv.gz"
SEVEN = DATA / "um_futures_ohlcv_2025-05_06"


def read(path, names=None):
    """Return one file as `schema.BARS`; `names` of a CSV file without a header."""
    parquet = path.suffix == ".parquet"
    table = (
        pl.read_parquet(path) if parquet else pl.read_csv(path, has_header=False, new_columns=names)
    )
    opened = pl.from_epoch("open_time", "ms" if parquet else "s")
    table = table.with_columns(
        opened.dt.cast_time_unit("us").dt.replace_time_zone("UTC"), symbol=pl.lit(path.stem)
    ).with_columns(time=pl.col("open_time") + laws.MINUTE)
    absent = [pl.lit(None).alias(c) for c in schema.BARS if c not in table.columns]
    table = table.with_columns(absent).select(pl.col(c).cast(t) for c, t in schema.BARS.items())
    return table.sort("symbol", "time")
