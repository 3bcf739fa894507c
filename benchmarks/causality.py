"""How many causality checks a second? And does every registered set pass on real bars?

A check is one feature at one bar, its value compared after a change that begins at the very next
bar. Aim: at least 1 M a second on two cores. The peer is the straightforward way: the whole table
anew for each bar. Run ``python benchmarks/causality.py`` for the race on a simulated walk, and
``python benchmarks/causality.py --real FOLDER ... --rows 1000000`` for every set on one-minute
bars in Parquet files, one per symbol (``open_time`` in Unix milliseconds).
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from research import features, schema
from research.audit.certificate import Certificate, certify
from research.errors import UserError
from research.features.warmup import canonical

MINUTE = timedelta(minutes=1)
NAIVE_BARS = 3_000


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=200_000)
    asked.add_argument("--sets", nargs="*", default=None)
    asked.add_argument("--real", type=Path, nargs="+", default=None)
    options = asked.parse_args()
    if options.real is None:
        race(options.sets or ["S1", "S2", "S4"], options.rows)
    else:
        every(options.sets or list(features.SETS), real(options.real, options.rows))


def race(names: list[str], rows: int) -> None:
    """Print checks a second of the certificate and of the straightforward way."""
    bars = canonical(rows, interval=MINUTE)
    for name in names:
        naive = straightforward(name, bars.head(NAIVE_BARS))
        found = certify(name, bars, interval=MINUTE)
        rate = show(found)
        print(f"  {rate / naive:,.0f} times the straightforward way ({naive:,.0f} checks/s)")
        assert found.ok, found.table.filter(pl.col("verdict") != "causal")


def straightforward(name: str, bars: pl.DataFrame, tries: int = 40) -> float:
    """Return checks a second of building the table anew for one bar after the other."""
    chosen = features.SETS[name]
    before = features.build(bars, chosen, interval=MINUTE)
    begun = time.perf_counter()
    for row in np.linspace(bars.height // 2, bars.height - 2, tries).astype(int).tolist():
        anew = features.build(bars.head(row + 1), chosen, interval=MINUTE)
        assert anew.row(row) == before.row(row)
    return tries * len(chosen.names) / (time.perf_counter() - begun)


def every(names: list[str], bars: pl.DataFrame) -> None:
    """Certify each set on real bars; stop at the first that looks ahead."""
    symbols = bars["symbol"].n_unique()
    print(f"{bars.height:,} bars of {symbols} symbols")
    checked = seconds = 0.0
    for name in names:
        try:
            found = certify(name, bars, interval=MINUTE)
        except UserError as error:
            print(f"{name:14} left out: {error}")
            continue
        show(found)
        assert found.found()["mismatches"] == 0, found.first
        checked, seconds = checked + found.found()["checked"], seconds + found.seconds
    print(f"all: {checked:,.0f} checks in {seconds:,.0f} s, {checked / seconds:,.0f} a second")


def show(found: Certificate) -> float:
    """Print one line; return checks a second, each (feature, bar) counted once."""
    counted = found.found()
    rate = counted["checked"] / found.seconds
    compared = 2 * rate
    print(
        f"{found.name:14} {found.verdict}: {counted['features']} features, "
        f"{counted['checked']:,} feature-bars in {found.seconds:.1f} s: {rate:,.0f} a second, "
        f"{compared:,.0f} checks a second (each after two changes); "
        f"{counted['mismatches']} mismatches",
        flush=True,
    )
    return compared


def real(folders: list[Path], rows: int) -> pl.DataFrame:
    """Read the same share of every file, so that about so many bars come together."""
    parts = [_bars(path) for folder in folders for path in sorted(folder.glob("*.parquet"))]
    share = min(rows / sum(part.height for part in parts), 1.0)
    table = pl.concat(part.head(int(share * part.height)) for part in parts)
    table = table.sort(schema.KEY).unique(schema.KEY, keep="last", maintain_order=True)
    return schema.as_table(table, schema.BARS, "bars")


def _bars(path: Path) -> pl.DataFrame:
    opened = pl.from_epoch("open_time", "ms").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    table = pl.read_parquet(path).with_columns(opened, symbol=pl.lit(path.stem))
    return table.with_columns(time=pl.col("open_time") + MINUTE).select(list(schema.BARS))


if __name__ == "__main__":
    main()
