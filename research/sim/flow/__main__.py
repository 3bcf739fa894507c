"""The simulated exchange of order books from a shell: says in a line of JSON where it listens."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from research.errors import UserError
from research.schema import Recording
from research.sim.flow import faults
from research.sim.flow.exchange import FlowExchange


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m research.sim.flow", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--recording", type=Path, help="a recording to play")
    what.add_argument("--simulated", type=int, metavar="MINUTES", help="a made market to play")
    parser.add_argument("--symbols", type=int, default=1, help="of a made market")
    parser.add_argument("--venue", default="binance", help="of a made market: binance or bybit")
    parser.add_argument("--market", default="um", help="um or spot; linear for bybit")
    parser.add_argument("--speed", type=float, default=1.0, help="times real time, or inf")
    parser.add_argument("--live", action="store_true", help="move its times to now")
    parser.add_argument("--faults", type=Path, help="JSON file of what goes wrong")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--log", type=Path, help="file for everything sent, JSON lines")
    parser.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _recording(options: argparse.Namespace) -> Recording:
    if options.recording is not None:
        from research.sources.recordings import read

        return read(options.recording)
    from research.sources.simulated.flow import market

    return market(
        symbols=options.symbols,
        minutes=options.simulated,
        seed=options.seed,
        venue=options.venue,
        market=options.market,
    ).recording


async def _run(options: argparse.Namespace) -> None:
    exchange = FlowExchange(
        _recording(options),
        speed=options.speed,
        faults=faults.read(options.faults) if options.faults else (),
        seed=options.seed,
        port=options.port,
        live=options.live,
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
    except (UserError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
