"""The simulated exchange as a process of its own, and the handle its parent holds."""

from __future__ import annotations

import json
import math
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import polars as pl

from research.errors import UserError
from research.sim import faults as plans
from research.sim.faults import Fault

READY = 60
"""Seconds a child may take to listen."""


@dataclass
class Venue:
    """A running exchange.

    Attributes
    ----------
    port : int
        Where it listens on 127.0.0.1.
    ca : Path
        The certificate a client must trust.
    process : subprocess.Popen
        The child; it ends with its parent.
    """

    port: int
    ca: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    folder: tempfile.TemporaryDirectory[str] = field(repr=False)

    def stop(self) -> None:
        """End it; harmless when it has ended."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    bars: pl.DataFrame | Path,
    *,
    speed: float = math.inf,
    start: int | None = None,
    faults: Iterable[Fault] = (),
    seed: int = 0,
    port: int = 0,
    interval_us: int | None = None,
    log: Path | None = None,
    names: Mapping[str, str] | None = None,
) -> Venue:
    """Run an exchange as a child process that ends with this one.

    Parameters
    ----------
    bars : pl.DataFrame or Path
        As `schema.BARS`, or a Parquet file of such.
    speed, start, seed, port, interval_us, log, names
        As `research.sim.Exchange` has them; `log` is a file.
    faults : iterable of Fault
        What goes wrong.

    Returns
    -------
    Venue
        Listening.

    Raises
    ------
    UserError
        If it does not come up; says what it said.
    """
    with tempfile.TemporaryDirectory(prefix="simulated-bars-") as given:
        path = bars if isinstance(bars, Path) else Path(given) / "bars.parquet"
        if isinstance(bars, pl.DataFrame):
            bars.write_parquet(path)
        options = {"--bars": path, "--speed": speed, "--seed": seed, "--port": port}
        options |= {"--start": start, "--interval": interval_us, "--log": log}
        options["--names"] = json.dumps(names) if names else None
        return launch("research.sim", options, faults)


def launch(module: str, options: Mapping[str, Any], faults: Iterable[Fault]) -> Venue:
    """Run ``python -m module`` until it listens.

    Of `options` those that are None or False are left out; one that is True is a switch.

    Raises
    ------
    UserError
        If it does not come up; says what it said.
    """
    folder = tempfile.TemporaryDirectory(prefix="simulated-exchange-")
    place = Path(folder.name)
    plans.write(place / "faults.json", faults)
    command = [sys.executable, "-m", module, "--with-parent"]
    command += ["--faults", str(place / "faults.json")]
    for name, value in options.items():
        if value is not None and value is not False:
            command += [name] if value is True else [name, str(value)]
    with (place / "stderr.txt").open("wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    said = _first_line(process)
    venue = Venue(0, place, process, folder)
    if not said:
        why = (place / "stderr.txt").read_text().strip().splitlines()
        venue.stop()
        raise UserError(f"Simulated exchange: did not start. {why[-1] if why else 'No reason.'}")
    venue.port, venue.ca = said["port"], Path(said["ca"])
    return venue


def _first_line(process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
    out = process.stdout
    if out is None or not select.select([out], [], [], READY)[0]:
        return None
    line = out.readline()
    return json.loads(line) if line.startswith(b"{") else None
