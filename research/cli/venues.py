"""The commands of venues."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from research.flags import Debug, Json, Name, Settings, read_options


def doctor(
    name: Name = None,
    venue: Annotated[
        str | None,
        typer.Option(help="binance, bybit or kraken. Absent: the study's.", show_default=False),
    ] = None,
    simulated: Annotated[
        bool,
        typer.Option(
            "--simulated", help="An account of a simulated exchange on this machine; offline."
        ),
    ] = False,
    settings: Settings = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check whether an account can be traded, line by line, and say what to do where it cannot.

    As in ./run doctor trend, or ./run doctor --venue kraken: clock, symbols, keys and their rights,
    position mode, funds, feed, disk. Nothing is ordered and nothing is set. Keys come from
    ALPHABOOK_KRAKEN_KEY and ALPHABOOK_KRAKEN_SECRET (BINANCE, BYBIT), set or in .env (chmod 600).
    Exit code 1: something is to be mended.
    """
    from research.cli import _set_up_log
    from research.venues import doctor as room

    _set_up_log(debug)
    found = room.run(name, read_options(settings), venue=venue, simulated=simulated)
    typer.echo(json.dumps(found.to_dict(), allow_nan=False) if as_json else found.text())
    if not found.well:
        raise typer.Exit(1)


COMMANDS = (doctor,)
