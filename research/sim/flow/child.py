"""The order-book side as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from research.errors import UserError
from research.sim.child import Venue, _first_line
from research.sim.faults import Fault, write
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
    folder = tempfile.TemporaryDirectory(prefix="simulated-exchange-")
    place = Path(folder.name)
    write(place / "faults.json", book_faults(faults))
    options: dict[str, Any] = {"--speed": speed, "--seed": seed, "--port": port}
    options |= {"--recording": recording, "--log": log, "--faults": place / "faults.json"}
    if recording is None:
        options |= {"--simulated": minutes, "--symbols": symbols}
        options |= {"--venue": venue, "--market": market}
    command = [sys.executable, "-m", "research.sim.flow", "--with-parent"]
    command += ["--live"] if live else []
    command += [text for o, v in options.items() if v is not None for text in (o, str(v))]
    with (place / "stderr.txt").open("wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    child = Venue(0, place, process, folder)
    said = _first_line(process)
    if not said:
        why = (place / "stderr.txt").read_text().strip().splitlines()
        child.stop()
        raise UserError(f"Simulated exchange: did not start. {why[-1] if why else 'No reason.'}")
    child.port, child.ca = said["port"], Path(said["ca"])
    return child
