"""An exchange in a process of its own: it says where it listens, and plays until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import polars as pl

from research.errors import UserError
from research.sim.exchange import Exchange


def parser(prog: str, about: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every exchange is asked from a shell."""
    words = argparse.ArgumentParser(prog=prog, description=about)
    words.add_argument("--faults", type=Path, help="JSON file of what goes wrong")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--port", type=int, default=0, help="0 takes a free one")
    words.add_argument("--log", type=Path, help="file for everything sent, JSON lines")
    words.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)
    return words


def main(made: Callable[[], Exchange], *, with_parent: bool) -> int:
    """Make an exchange and run it until told to stop; 2 for a user's mistake.

    With `with_parent` it ends when its parent does, or closes stdin.
    """
    try:
        asyncio.run(_serve(made, with_parent))
    except (UserError, OSError, pl.exceptions.PolarsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


async def _serve(made: Callable[[], Exchange], with_parent: bool) -> None:
    exchange = made()
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    async with exchange:
        said = {"port": exchange.port, "ca": str(exchange.ca), "pid": os.getpid()}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        if with_parent:
            loop.add_reader(sys.stdin.fileno(), over.set)
        parent = os.getppid()
        while not over.is_set() and (not with_parent or os.getppid() == parent):
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.5)
