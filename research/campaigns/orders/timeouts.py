"""Orders that are accepted and not acknowledged: one order and one position each."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from research import batch
from research.campaigns.orders.stage import Stage
from research.orders import reconcile
from research.venues.words import Side

KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("accept_then_503", {}),
    ("ack_rst", {}),
    ("hold_after_accept", {"seconds": 0.6}),
    ("late_accept", {"us": 2_000_000}),
)
_A_STAGE = 200
_BARS_EACH = 60
_TIMEOUT = 0.3


def order_timeouts(
    count: int, workers: int = 1, *, venues: tuple[str, ...] = ("binance", "bybit", "kraken")
) -> dict[str, Any]:
    """Send `count` orders that are taken and never acknowledged.

    The answer is a 503, a reset connection, silence, or a 503 for an order that is taken only
    later. Each order must be at the venue once and be found, and the position must be what was
    meant, after each of them.

    Parameters
    ----------
    count : int
        Orders, a third at each venue.
    workers : int
        Processes; each has an exchange of its own.
    venues : tuple of str
        Where.

    Returns
    -------
    dict
        ``orders``, by venue and kind of silence; ``events`` in the journals.

    Raises
    ------
    AssertionError
        If an order was doubled or lost, or a position is not the sum of its orders.
    """
    watch = batch.progress(f"timeouts: {count} orders")
    met: Counter[str] = Counter()
    events = 0
    for some, told in batch.each(_met, _jobs(count, venues), workers=workers):
        met += some
        events += told
        watch(met.total(), count, "")
    return {"orders": met.total(), "met": dict(sorted(met.items())), "events": events}


def _jobs(count: int, venues: tuple[str, ...]) -> list[tuple[str, int, int]]:
    """Cut the orders into stages: the venue, how many, and how many there were before."""
    jobs, done = [], 0
    for number, venue in enumerate(venues):
        end = count * (number + 1) // len(venues)
        while done < end:
            jobs.append((venue, min(_A_STAGE, end - done), done))
            done += jobs[-1][1]
    return jobs


def _met(job: tuple[str, int, int]) -> tuple[Counter[str], int]:
    venue, count, done = job
    with tempfile.TemporaryDirectory(prefix="alphabook-") as place:
        return asyncio.run(_stage(venue, Path(place), count, done))


async def _stage(venue: str, folder: Path, count: int, done: int) -> tuple[Counter[str], int]:
    met: Counter[str] = Counter()
    bars = 100 + _BARS_EACH * count
    async with Stage(venue, folder, n_bars=bars, timeout=_TIMEOUT) as stage:
        for number in range(count):
            kind, args = KINDS[(done + number) % len(KINDS)]
            await _one(stage, venue, number, kind, args)
            met[f"{venue} {kind}"] += 1
        report = await reconcile(stage.run.account, [stage.run.symbol])
        assert not report.halted, report.text("orders")
        return met, stage.run.journal.seq


async def _one(stage: Stage, venue: str, number: int, kind: str, args: dict[str, Any]) -> None:
    """Send one order; positions go up and down again."""
    side: Side = "buy" if number % 2 == 0 else "sell"
    run = stage.run
    before, orders = run.book.held(run.symbol), stage.exchange.accounts[venue].history.accepted
    meant = run.meant(side, Decimal(1), "ioc", "1.1" if side == "buy" else "0.9")
    stage.exchange.strike(kind, times=1, **args)
    playing = asyncio.create_task(stage.clockwork.run())
    try:
        async with asyncio.timeout(60):
            known = await run.sender.send(meant)
    finally:
        playing.cancel()
        with suppress(asyncio.CancelledError):
            await playing
    moved = run.book.held(run.symbol) - before
    assert known.settled and known.answer == "accepted", (kind, known)
    assert moved == (1 if side == "buy" else -1), (kind, moved)
    assert stage.exchange.accounts[venue].history.accepted == orders + 1, kind
    assert not stage.broken(), (kind, stage.broken())
