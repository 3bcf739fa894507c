"""Runs killed in every state of their orders: at most one order per intent, positions equal."""

from __future__ import annotations

from collections import Counter
from typing import Any

from research import batch
from research.campaigns import live_orders
from research.campaigns.paper.place import served

SHARD = 100
"""Kills at one exchange, of one run's orders."""
PER_RESTART = 10
"""For so many kills, a broker that holds a position is cut off and begun again at each venue."""
VENUES = ("binance", "bybit", "kraken")


def order_kills(
    count: int, workers: int = 1, *, venues: tuple[str, ...] = VENUES, seed: int = 1
) -> dict[str, Any]:
    """Kill `count` runs by SIGKILL, each at another point of its orders' lives.

    After each the next run reconciles, and what it holds and has sent is compared with the
    exchange's own ledger and log. Beside it, brokers that hold a position are cut off and begun
    again, see `live_orders.restarts`.

    Parameters
    ----------
    count : int
        Kills, a third at each venue.
    workers : int
        Processes; each has an exchange of its own.
    venues : tuple of str
        Where.
    seed : int
        Of what runs do and of the moments.

    Returns
    -------
    dict
        ``kills``; ``orders`` at the venues; ``states``: how many kills found orders in each state,
        see `points.state_of`; ``points``: how many came while events of each kind were written
        (``time``: at a random moment); ``with_position``: runs that began with one; ``sent``:
        orders that a reconciliation meant by itself, 0; ``restarts`` of brokers.

    Raises
    ------
    AssertionError
        If an order was doubled, lost or never meant, or a position is not what fills say.
    UserError
        If a run ended by itself or hung.
    """
    jobs, watch, done = _jobs(count, venues, seed), batch.progress(f"orders: {count} kills"), 0
    found: Counter[str] = Counter()
    states: Counter[str] = Counter()
    points: Counter[str] = Counter()
    for job, made in zip(jobs, batch.each(_shard, jobs, workers=workers), strict=True):
        states.update(made.pop("states"))
        points.update(made.pop("points"))
        found.update(made)
        done += job["kills"]
        watch(done, count, "")
    again: Counter[str] = Counter()
    held = [(venue, count, seed) for venue in venues]
    for made in batch.each(_restarts, held, workers=workers):
        again.update(made)
    wrong = {name: again[name] for name in ("twice", "unequal", "added", "halted") if again[name]}
    assert not wrong, wrong
    counts = {"states": dict(sorted(states.items())), "points": dict(sorted(points.items()))}
    return {**found, **counts, "restarts": dict(again)}


def _restarts(job: tuple[str, int, int]) -> dict[str, int]:
    venue, kills, seed = job
    return live_orders.restarts(-(-kills // PER_RESTART), seed, venue)


def _jobs(count: int, venues: tuple[str, ...], seed: int) -> list[dict[str, Any]]:
    """Cut the kills into shards, each with its share of the points.

    >>> [(job["venue"], job["first"], job["kills"]) for job in _jobs(150, ("binance",), 1)]
    [('binance', 0, 100), ('binance', 100, 50)]
    """
    jobs, first = [], 0
    for number, venue in enumerate(venues):
        end = count * (number + 1) // len(venues)
        while first < end:
            kills = min(SHARD, end - first)
            jobs.append({"venue": venue, "first": first, "kills": kills, "seed": seed})
            first += kills
    return jobs


def _shard(job: dict[str, Any]) -> dict[str, Any]:
    """Let a server of its own process kill the shard's runs."""
    said = served("research.campaigns.orders.forks", job)
    if said["wrong"]:
        raise AssertionError(said["wrong"])
    found: dict[str, Any] = said["found"]
    return found
