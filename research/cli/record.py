"""The commands of order books: record them, and see their features while they happen."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from research.flags import Debug, Json

Venue = Annotated[str, typer.Option(help="binance_usdm, binance_spot or bybit.")]
Simulated = Annotated[
    bool,
    typer.Option(
        "--simulated", help="Of a simulated exchange on this machine, over real sockets; offline."
    ),
]


def record(
    venue: Venue = "binance_usdm",
    symbols: Annotated[
        str | None,
        typer.Option(
            help="As the venue writes them, comma between them. Absent: BTCUSDT.",
            show_default=False,
        ),
    ] = None,
    streams: Annotated[
        str | None,
        typer.Option(
            help="depth, depth20, bookTicker, aggTrade, trade, kline_1m ...; of Bybit "
            "orderbook.50, publicTrade ... Absent: book, quotes and trades.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        str | None, typer.Option(help="As in 10min. Absent: until stopped.", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="Absent: data/recordings/[simulated/]VENUE.", show_default=False
        ),
    ] = None,
    simulated: Simulated = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Record order books and trades, every frame as it came, with an account of what is missing.

    Frames go into segments that survive a kill, then into Parquet: top 20 levels, all changes,
    quotes, trades. What was missed stands in gaps.jsonl. ctrl-C or SIGTERM ends it cleanly; started
    again on the same folder it goes on. A second recorder there leaves with exit code 75.
    ./run report order_flow -o data.source=recording -o data.path=DIR studies it.
    """
    from research.cli import _set_up_log

    _set_up_log(debug)
    names = _words(symbols) if symbols else [_usual(simulated)]
    told, place = asyncio.run(
        _recorded(venue, names, _words(streams or ""), duration, folder, simulated)
    )
    if sys.stderr.isatty():
        typer.echo("\r\x1b[K", err=True, nl=False)  # the summary takes the place of what ran there
    found = {**told.to_dict(), "folder": str(place)}
    typer.echo(json.dumps(found, allow_nan=False) if as_json else f"{told.text()}\n  in {place}")


async def _recorded(
    venue: str,
    symbols: Sequence[str],
    streams: Sequence[str],
    length: str | None,
    folder: Path | None,
    simulated: bool,
) -> tuple[Any, Path]:
    from research import recorder
    from research.order_flow.live import STREAMS
    from research.recorder.folder import probe
    from research.store import atomic

    recorder.venue(venue)
    kept = atomic.data_root() / "recordings" / ("simulated" if simulated else "")
    place = folder or kept / venue
    if (in_use := probe(place)) is not None:  # what is wrong with it is told before a venue starts
        in_use.close()
    async with AsyncExitStack() as held:
        network = await _reached(held, simulated, venue, length, symbols)
        told = await recorder.capture(
            venue,
            symbols,
            streams or STREAMS[venue],
            place,
            length=length,
            progress=_teller(),
            network=network,
            signals=True,
        )
    return told, place


def features_live(
    symbol: Annotated[
        str | None,
        typer.Option(help="As the venue writes it. Absent: BTCUSDT.", show_default=False),
    ] = None,
    venue: Venue = "binance_usdm",
    duration: Annotated[
        str, typer.Option(help="Seconds, or as in 10min.", show_default=True)
    ] = "60",
    every: Annotated[str, typer.Option(help="How far rows are apart.")] = "1s",
    simulated: Simulated = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a symbol's order-flow features as they happen, a row each second.

    They are those of the notebooks, by the same steps; with --json each row is a JSON object on a
    line of its own. What comes of books is shown from the first proven book on.
    """
    from research.cli import _set_up_log

    _set_up_log(debug)
    length = f"{duration} s" if duration.isdigit() else duration
    asyncio.run(_show(venue, symbol or _usual(simulated), length, every, simulated, as_json))


async def _show(
    venue: str, symbol: str, length: str, every: str, simulated: bool, as_json: bool
) -> None:
    from research.order_flow import live

    async with AsyncExitStack() as held:
        network = await _reached(held, simulated, venue, length, [symbol])
        async for row in live.follow(venue, symbol, length=length, every=every, network=network):
            typer.echo(json.dumps(row, allow_nan=False) if as_json else live.line(row))


async def _reached(
    held: AsyncExitStack, simulated: bool, venue: str, length: str | None, symbols: Sequence[str]
) -> Any:
    """Return how a venue is reached: None for the real one."""
    if not simulated:
        return None
    from research.order_flow.offline import check, exchange
    from research.units import duration

    check(symbols)
    typer.echo("starting a simulated exchange on this machine", err=True)
    span = None if length is None else duration(length)
    return await held.enter_async_context(exchange(venue, length=span, symbols=len(symbols)))


def _usual(simulated: bool) -> str:
    return "SIM01USDT" if simulated else "BTCUSDT"


def _teller() -> Callable[[Any], None]:
    """Return what shows a recording's statistics on stderr: each second, in a log each minute.

    While the end is packed it says for how long; a log is told at once, then every ten seconds.
    """
    in_terminal, told, packing = sys.stderr.isatty(), time.monotonic(), 0.0

    def tell(statistics: Any) -> None:
        nonlocal told, packing
        now, line = time.monotonic(), statistics.line()
        if statistics.packing:
            told, packing = (told, packing) if packing else (0.0, now)
            line += f", {now - packing:.0f} s"
        if in_terminal:
            typer.echo(f"\r\x1b[K{line}", err=True, nl=False)
        elif now - told >= (10 if packing else 60):
            told = now
            typer.echo(line, err=True)

    return tell


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


COMMANDS = (record, features_live)
