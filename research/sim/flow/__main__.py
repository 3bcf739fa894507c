"""The simulated exchange of order books from a shell: says in a line of JSON where it listens."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from research.schema import Recording
from research.sim import serving
from research.sim.flow import faults
from research.sim.flow.exchange import FlowExchange

PLAIN = 30
"""Minutes of market, of all symbols together, made sooner than numba has compiled the loops."""


def _options() -> argparse.Namespace:
    parser = serving.parser("python -m research.sim.flow", __doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--recording", type=Path, help="a recording to play")
    what.add_argument("--simulated", type=int, metavar="MINUTES", help="a made market to play")
    parser.add_argument("--symbols", type=int, default=1, help="of a made market")
    parser.add_argument("--venue", default="binance", help="of a made market: binance or bybit")
    parser.add_argument("--market", default="um", help="um or spot; linear for bybit")
    parser.add_argument("--speed", type=float, default=1.0, help="times real time, or inf")
    parser.add_argument("--live", action="store_true", help="move its times to now")
    return parser.parse_args()


def _recording(options: argparse.Namespace) -> Recording:
    if options.recording is not None:
        from research.sources.recordings import read

        return read(options.recording)
    if options.simulated * options.symbols <= PLAIN:
        os.environ["NUMBA_DISABLE_JIT"] = "1"  # as long as nothing has imported numba yet
    from research.sources.simulated.flow import market

    return market(
        symbols=options.symbols,
        minutes=options.simulated,
        seed=options.seed,
        venue=options.venue,
        market=options.market,
    ).recording


def _exchange(options: argparse.Namespace) -> FlowExchange:
    return FlowExchange(
        _recording(options),
        speed=options.speed,
        faults=faults.read(options.faults) if options.faults else (),
        seed=options.seed,
        port=options.port,
        live=options.live,
        log=options.log,
        record=False,
    )


def main() -> int:
    """Run until told to stop; 2 for a user's mistake."""
    options = _options()
    return serving.main(lambda: _exchange(options), with_parent=options.with_parent)


if __name__ == "__main__":
    sys.exit(main())
