"""Whole books, asked for by REST and kept as they were answered; never more than the venue allows.

A chain of depth messages says what changes; what it changes must be known once. So a book is asked
for when a depth stream begins, and again after each break. Bybit sends it with the stream: there
the stream is asked for anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp
import orjson

from research.errors import UserError
from research.live.feed.limits import Limits, Pauses
from research.live.feed.rest import Host, Refused, Unanswered
from research.recorder.chain import snapshot_id
from research.recorder.intake import Intake
from research.recorder.venues import Venue, subscribe
from research.recorder.wire import Wire

_TRIES = 5
_LOOK = 0.05


class Answers(Host):
    """A venue's REST server; `get` returns the answer read, and its bytes."""

    def _judge(self, status: int, body: bytes, headers: dict[str, str]) -> Any:
        return super()._judge(status, body, headers), body


async def check_symbols(host: Host, venue: Venue, symbols: Iterable[str], limits: Limits) -> None:
    """Return if the venue knows all symbols.

    Raises
    ------
    UserError
        If it does not know one, or does not answer.
    """
    for symbol in dict.fromkeys(symbols):
        pauses = Pauses(limits)
        for last in (False, False, True):
            try:
                told, _ = await host.get(venue.snapshot(symbol, levels=5))
                break
            except Refused as no:
                raise UserError(
                    f"recorder: {venue.name} does not know {symbol} ({no}). "
                    "Write it as the venue does, as in BTCUSDT."
                ) from no
            except Unanswered as error:
                if last:
                    raise UserError(
                        f"recorder: {venue.base} does not answer ({error}). Try again later."
                    ) from error
                await asyncio.sleep(pauses.next())
        _known(venue, symbol, told)


def _known(venue: Venue, symbol: str, told: Any) -> None:
    """Bybit answers for a symbol it does not know as if for one without a book."""
    result = told.get("result") if venue.venue == "bybit" and type(told) is dict else None
    if type(result) is dict and not result.get("s"):
        raise UserError(
            f"recorder: {venue.name} does not know {symbol}. "
            "Write it as the venue does, as in BTCUSDT."
        )


class Books:
    """Asks for the books that `Intake.wanted` names, one after another.

    Parameters
    ----------
    host : Answers
        Keeps to the weight that a minute allows.
    wires : iterable of Wire
        The connections, for a venue that sends books there.
    """

    def __init__(self, intake: Intake, host: Answers, wires: Iterable[Wire], limits: Limits):
        self._intake, self._host, self._limits = intake, host, limits
        self._wires = {name: wire for wire in wires for name in wire.route.streams}
        self.kept = 0
        """Books recorded."""
        self.failed = 0
        """Books that could not be had in five tries; the next break asks again."""

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            while not self._intake.wanted:
                await asyncio.sleep(_LOOK)
            name = next(iter(self._intake.wanted))
            reach = self._intake.wanted.pop(name)
            if self._intake.venue.venue == "bybit":
                await self._again(name)
            else:
                await self._ask(name, reach)

    async def _ask(self, name: str, reach: int) -> None:
        """Ask until a book is as new as the stream's first message, id `reach`."""
        known, pauses = self._intake.named(name), Pauses(self._limits)
        for _ in range(_TRIES):
            try:
                told, body = await self._host.get(self._intake.venue.snapshot(known.stream.symbol))
            except (Unanswered, Refused):
                await asyncio.sleep(pauses.next())
                continue
            found = snapshot_id(told)
            kept = self._intake.snapshot(known, body)
            if kept and found is not None and found + 1 >= self._intake.wanted.get(name, reach):
                self.kept += 1
                self._intake.wanted.pop(name, None)
                return
            await asyncio.sleep(pauses.next())
        self.failed += 1

    async def _again(self, name: str) -> None:
        """Ask for a stream anew: its first message is the whole book."""
        socket = self._wires[name].socket
        if socket is None or socket.closed:
            return  # the next connection begins with one
        leave = orjson.dumps({"op": "unsubscribe", "args": [name]}).decode()
        try:
            await socket.send_str(leave)
            await socket.send_str(subscribe(name))
            self.kept += 1
        except (aiohttp.ClientError, OSError):
            return
        await asyncio.sleep(1.0)  # a stream that keeps breaking is not asked for in a rush
