"""Recorders killed at random moments: what is on disk, what is lost, and is all of it declared?

A venue of its own sends numbered messages at a steady pace. Recorders of one folder, forked from
this process, follow one another; each is killed by SIGKILL, the last one ends in order.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from research import batch

_SYMBOL, _STREAM = "BTCUSDT", "btcusdt@trade"
_SHORTEST = 0.1
_UP = 10.0


class _Kept(NamedTuple):
    """What was recorded, in order: numbers, and when each was received (ns)."""

    numbers: np.ndarray
    received: np.ndarray
    unreadable: int


def run(
    kills: int, workers: int = 1, *, rate: float = 2000.0, longest: float = 1.5, seed: int = 1
) -> dict[str, Any]:
    """Kill recorders of one recording `kills` times, and account for every message.

    Parameters
    ----------
    kills : int
        How many.
    workers : int
        Not used: the moments of the kills are the point, and they want a quiet machine.
    rate : float
        Messages a second.
    longest : float
        Seconds that a recorder lives at most once it has written something.
    seed : int
        Of the moments.

    Returns
    -------
    dict
        ``kills``, ``messages`` recorded, ``lost`` (sent while a recorder lived, and not recorded),
        ``undeclared`` of all that are missing, ``repeated`` and ``unreadable`` (must be 0), the
        longest time from the last recorded message to the kill in seconds (must be at most 1), and
        ``said``: restarts that declared the kill before them.
    """
    from research import recorder  # loaded before the forks, so that a start costs milliseconds
    from research.sources.recordings import segments

    assert recorder.VENUES

    with tempfile.TemporaryDirectory(prefix="alphabook-") as name:
        place = Path(name)
        (place / "recording").mkdir()
        venue = _fork(lambda: asyncio.run(_venue(place, rate)))
        try:
            moments = _killed(place, kills, longest, random.Random(seed))
        finally:
            os.kill(venue, signal.SIGKILL)
            os.waitpid(venue, 0)
        kept, gaps = _kept(place / "recording"), segments.gaps(place / "recording")
    return {"kills": kills} | _account(kept, gaps, moments)


def _killed(place: Path, kills: int, longest: float, dice: random.Random) -> list[int]:
    """Start and kill one recorder after another; return when each was killed (ns)."""
    _wait(place / "venue.json")
    moments = []
    watch = batch.progress(f"recorder: {kills} kills")
    for number in range(kills + 1):
        before = _size(place)
        child = _fork(partial(_record, place))
        _grown(place, before)
        time.sleep(dice.uniform(_SHORTEST, longest))
        if number < kills:
            moments.append(time.time_ns())
            os.kill(child, signal.SIGKILL)
        else:
            os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise RuntimeError(f"recorder: the one of kill {number} failed by itself")
        watch(number, kills, "")
    return moments


def _fork(work: Any) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def _record(place: Path) -> None:
    import structlog

    from research.live.net import Network
    from research.recorder import record

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    told = orjson.loads((place / "venue.json").read_bytes())
    record(
        *("binance_usdm", [_SYMBOL], ["trade"], place / "recording"),
        network=Network(told["port"], told["ca"]),
        convert=False,
    )


def _wait(path: Path) -> None:
    until = time.monotonic() + _UP
    while not path.exists():
        if time.monotonic() > until:
            raise RuntimeError(f"recorder: {path.name} did not appear")
        time.sleep(0.01)


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in (place / "recording").glob("segments/*.seg"))


def _grown(place: Path, size: int) -> None:
    """Return when a recorder has written its first block."""
    until = time.monotonic() + _UP
    while _size(place) <= size and time.monotonic() < until:
        time.sleep(0.005)


def _kept(folder: Path) -> _Kept:
    from research.sources.recordings import segments

    numbers, received, unreadable = [], [], 0
    for part in segments.parts(folder):
        unreadable += segments.sound_end(part) != part.stat().st_size
        for block in segments.read_blocks(part):
            trades = block.records["kind"] == segments.FRAME
            found = [orjson.loads(f)["data"]["t"] for f in np.array(block.frames(), object)[trades]]
            numbers += found
            received.append(block.records["received_ns"][trades])
    return _Kept(np.array(numbers), np.concatenate(received), unreadable)


def _account(kept: _Kept, gaps: Any, moments: list[int]) -> dict[str, Any]:
    after = np.searchsorted(kept.received, np.array(moments))
    silent = (np.array(moments) - kept.received[after - 1]) / 1e9
    holes = np.flatnonzero(np.diff(kept.numbers) != 1)
    starts, ends = gaps["start_ns"].to_numpy(), gaps["end_ns"].to_numpy()
    undeclared = [
        int(kept.numbers[i])
        for i in holes
        if not ((starts <= kept.received[i]) & (ends >= kept.received[i + 1])).any()
    ]
    killed = gaps.filter(gaps["reason"] == "the recorder was killed")
    rate = [
        (b - a) / max((tb - ta) / 1e9, 1e-9)
        for (a, ta), (b, tb) in pairwise(zip(kept.numbers[::1000], kept.received[::1000]))
    ]
    return {
        "messages": len(kept.numbers),
        "lost": int(silent.sum() * (np.median(rate) if rate else 0)),
        "undeclared": undeclared,
        "repeated": len(kept.numbers) - len(np.unique(kept.numbers)),
        "unreadable": kept.unreadable,
        "longest_loss_s": round(float(silent.max()), 3),
        "said": killed.height,
    }


async def _venue(place: Path, rate: float) -> None:
    """Send numbered trades to whoever listens; the numbers go on while nobody does."""
    from aiohttp import web

    from research.sim import tls
    from research.store import atomic

    listening: set[web.WebSocketResponse] = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.json_response({"lastUpdateId": 1, "bids": [], "asks": []})
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        listening.add(socket)
        try:
            async for _ in socket:
                pass
        finally:
            listening.discard(socket)
        return socket

    context, ca = tls.server(place)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    atomic.write_json(place / "venue.json", {"port": runner.addresses[0][1], "ca": str(ca)})
    began, number = time.monotonic(), 0
    while True:
        await asyncio.sleep(0.002)
        while number < (time.monotonic() - began) * rate:
            number += 1
            text = _trade(number)
            for socket in list(listening):
                try:
                    await socket.send_str(text)
                except ConnectionError:
                    listening.discard(socket)


def _trade(number: int) -> str:
    now = time.time_ns() // 1_000_000
    body = {"e": "trade", "E": now, "T": now, "s": _SYMBOL, "t": number}
    body |= {"p": "61800.20", "q": "0.006", "X": "MARKET", "m": False}
    return orjson.dumps({"stream": _STREAM, "data": body}).decode()
