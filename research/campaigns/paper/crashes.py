"""Runners killed by SIGKILL and started again: is anything lost, doubled, or decided otherwise?"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import Any

from research import batch
from research.campaigns.paper.place import left, market, only_run, served, store, trade, words
from research.errors import UserError

SHARD = 50
"""Kills on one market, of which there is one undisturbed run to compare with."""
ON_SOCKETS = 50
"""One kill in so many is of a whole process that trades over sockets."""
STYLES = ("plain", "plain", "plain", "always", "evidence")
"""What is traded on the markets in turn: without and with new models."""
_DAY = 1440
LIMIT, SOON = {"risk.daily_loss": "5 %"}, {"risk.daily_loss": "1 %"}
"""A limit that halts late in a day, if at all; and one that is surely met, to be killed there."""


def crash(
    seeds: int,
    workers: int,
    *,
    minutes: int = _DAY,
    styles: tuple[str, ...] = STYLES,
    soon: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Kill runners `seeds` times, start them again each time, and compare with undisturbed runs.

    Most are forked and trade a replay feed: killed at each enumerated step of the journal, of the
    registry and of training, and at random moments. The others are whole processes that trade over
    sockets, killed at random moments.

    Parameters
    ----------
    seeds : int
        Kills.
    workers : int
        Processes.
    minutes : int
        Market time of each run.
    styles : tuple of str
        Keys of `forks.STYLES`, for the markets in turn.
    soon : dict, optional
        The limit that is met where enumerated steps are; absent: `SOON`.

    Returns
    -------
    dict
        ``differing`` names runs that did not come to what the undisturbed one came to, and
        ``not_met`` the enumerated steps at which nobody could be killed; both should be empty.
    """
    sockets = -(-seeds // ON_SOCKETS)
    kills = max(seeds - sockets, 0)
    shards = [
        {
            "seed": number + 1,
            "kills": min(SHARD, kills - first),
            "minutes": minutes,
            "style": styles[number % len(styles)],
        }
        for number, first in enumerate(range(0, kills, SHARD))
    ]
    begun, watch = time.perf_counter(), batch.progress(f"crash: {seeds} kills")
    watch(0, seeds, "")
    found, done = [_sockets(sockets, seeds, minutes)], sockets
    watch(done, seeds, "")
    jobs = _with_points(shards, SOON if soon is None else soon)
    for shard, made in zip(jobs, batch.each(_shard, jobs, workers=workers), strict=True):
        found.append(made)
        done += shard["kills"]
        watch(min(done, seeds), seeds, "")
    return _summed(found, time.perf_counter() - begun)


def _summed(found: list[dict[str, Any]], took: float) -> dict[str, Any]:
    forked = found[1:]
    seconds = sum(part["seconds"] for part in forked)
    return {
        "kills": sum(part["kills"] for part in found),
        "kills_on_sockets": found[0]["kills"],
        "steps": sum(part["points"] for part in forked),
        "not_met": [point for part in forked for point in part["not_met"]],
        "runs": sum(part["lives"] for part in found),
        "differing": [word for part in found for word in part["differing"]],
        "kills_per_second_of_a_worker": _rate(sum(part["kills"] for part in forked), seconds),
        "kills_per_second": _rate(sum(part["kills"] for part in found), took),
        "seconds": round(took, 1),
    }


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 2) if seconds else 0.0


def _with_points(shards: list[dict[str, Any]], soon: dict[str, Any]) -> list[dict[str, Any]]:
    """Deal out the enumerated steps of each style among its shards, as many as each has kills."""
    from research.campaigns.paper import forks

    dealt: dict[str, list[Any]] = {}
    for shard in shards:
        style = shard["style"]
        if style not in dealt:
            dealt[style] = [list(point) for point in forks.points(style)]
            random.Random(shard["seed"]).shuffle(dealt[style])
        count = shard["kills"]
        shard["points"], dealt[style] = dealt[style][:count], dealt[style][count:]
        shard["options"] = soon if shard["points"] else LIMIT
    return shards


def _shard(job: dict[str, Any]) -> dict[str, Any]:
    """Let a server of its own process kill the shard's runners."""
    found: dict[str, Any] = served("research.campaigns.paper.forks", job)["found"]
    return found


# -- whole processes on sockets --------------------------------------------------------------------


def _sockets(kills: int, seed: int, minutes: int) -> dict[str, Any]:
    """Kill processes that trade over sockets, until so many were killed; then let the run end."""
    from research.campaigns.paper.equal import differing

    options, dice = market(seed), random.Random(seed)
    begun, found = time.perf_counter(), {"kills": 0, "points": 0, "lives": 0}
    wrong: list[str] = []
    while found["kills"] < kills:
        with store():
            _kill_on(options, minutes, kills, found, dice)
            wild = only_run()
            wrong += differing(trade(options, minutes), wild)
        found["lives"] += 1
    took = time.perf_counter() - begun
    return {**found, "differing": wrong, "not_met": [], "seconds": took}


def _kill_on(
    options: dict[str, Any], minutes: int, kills: int, found: dict[str, int], dice: random.Random
) -> None:
    """Kill the sittings of one run until enough were killed or it has come to its end."""
    from research.live import folders

    while not folders.runs() or left(only_run(), minutes) > 0:
        more = minutes if not folders.runs() else left(only_run(), minutes)
        which = ["--continue", only_run().name] if folders.runs() else ["demo", *words(options)]
        command = [sys.executable, "-m", "research", "live", *which, "--for", f"{more}m"]
        with subprocess.Popen(
            [*command, "--speed", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            if found["kills"] < kills:
                _kill_sometime(process, minutes, more, dice)
            _, said = process.communicate()
        if process.returncode not in (0, -9):
            raise UserError(f"crash: a runner ended with {process.returncode}: {said[-2000:]!r}")
        found["kills"] += process.returncode == -9


def _kill_sometime(
    process: subprocess.Popen[bytes], minutes: int, more: int, dice: random.Random
) -> None:
    """Kill a process while it begins, or, as often, some time after it has decided a bar."""
    from research.live import folders

    wait = dice.uniform(0.0, 3.0)
    if dice.random() < 0.5:
        while process.poll() is None and not _decided(folders.runs(), minutes, more):
            time.sleep(0.02)
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        process.kill()


def _decided(runs: list[str], minutes: int, more: int) -> bool:
    return bool(runs) and left(only_run(), minutes) < more
