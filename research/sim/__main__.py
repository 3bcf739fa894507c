"""The simulated exchange from a shell: says where it listens in one line of JSON, then plays."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import polars as pl

from research.errors import UserError
from research.sim import faults
from research.sim.exchange import Exchange


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m research.sim", description=__doc__)
    parser.add_argument("--bars", type=Path, required=True, help="Parquet file of bars")
    parser.add_argument("--speed", type=float, default=float("inf"), help="times real time, or inf")
    parser.add_argument("--start", type=int, help="bars closed by then are history (us UTC)")
    parser.add_argument("--faults", type=Path, help="JSON file of what goes wrong")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--interval", type=int, help="bars a client acknowledges (us)")
    parser.add_argument("--log", type=Path, help="file for everything sent, JSON lines")
    parser.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


async def _run(options: argparse.Namespace) -> None:
    bars = pl.read_parquet(options.bars)
    exchange = Exchange(
        bars,
        start=options.start,
        speed=options.speed,
        faults=faults.read(options.faults) if options.faults else (),
        seed=options.seed,
        port=options.port,
        interval_us=options.interval,
        log=options.log,
        record=False,
    )
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    async with exchange:
        said = {"port": exchange.port, "ca": str(exchange.ca), "pid": os.getpid()}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        if options.with_parent:
            loop.add_reader(sys.stdin.fileno(), over.set)
        parent = os.getppid()
        while not over.is_set() and (not options.with_parent or os.getppid() == parent):
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.5)


def main() -> int:
    """Run until told to stop; 2 for a user's mistake."""
    try:
        asyncio.run(_run(_options()))
    except (UserError, OSError, pl.exceptions.PolarsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
