"""The order-book side as a process of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from research.sim.child import Venue, launch
from research.sim.faults import Fault
from research.sim.flow.faults import book_faults


def start(
    recording: Path | None = None,
    *,
    minutes: int = 10,
    symbols: int = 1,
    venue: str = "binance",
    market: str = "um",
    speed: float = 1.0,
    live: bool = False,
    faults: Iterable[Fault | Mapping[str, Any]] = (),
    seed: int = 0,
    port: int = 0,
    log: Path | None = None,
) -> Venue:
    """Run a simulated exchange of order books as a child process that ends with this one.

    Parameters
    ----------
    recording : Path or None
        What `research.sources.recordings.read` reads; None: a simulated market is played.
    minutes, symbols, venue, market
        Of the simulated market, as `research.sources.simulated.flow.market` has them.
    speed, live, faults, seed, port, log
        As `FlowExchange` has them; `log` is a file.

    Returns
    -------
    Venue
        Listening.

    Raises
    ------
    UserError
        If it does not come up; says what it said.
    """
    options: dict[str, Any] = {"--speed": speed, "--seed": seed, "--port": port}
    options |= {"--recording": recording, "--log": log, "--live": live}
    if recording is None:
        options |= {"--simulated": minutes, "--symbols": symbols}
        options |= {"--venue": venue, "--market": market}
    return launch("research.sim.flow", options, book_faults(faults))
