"""The simulated exchange from a shell: says where it listens in one line of JSON, then plays."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import polars as pl

from research.sim import faults, serving
from research.sim.exchange import Exchange


def _options() -> argparse.Namespace:
    parser = serving.parser("python -m research.sim", __doc__)
    parser.add_argument("--bars", type=Path, required=True, help="Parquet file of bars")
    parser.add_argument("--speed", type=float, default=float("inf"), help="times real time, or inf")
    parser.add_argument("--start", type=int, help="bars closed by then are history (us UTC)")
    parser.add_argument("--names", type=json.loads, help="what the venue calls symbols, JSON")
    parser.add_argument("--interval", type=int, help="bars a client acknowledges (us)")
    return parser.parse_args()


def _exchange(options: argparse.Namespace) -> Exchange:
    return Exchange(
        pl.read_parquet(options.bars),
        start=options.start,
        speed=options.speed,
        faults=faults.read(options.faults) if options.faults else (),
        seed=options.seed,
        port=options.port,
        interval_us=options.interval,
        names=options.names,
        log=options.log,
        record=False,
    )


def main() -> int:
    """Run until told to stop; 2 for a user's mistake."""
    options = _options()
    return serving.main(lambda: _exchange(options), with_parent=options.with_parent)


if __name__ == "__main__":
    sys.exit(main())
