"""A day of operation: bars, jobs, new models, alerts and reports, with nobody looking.

The study `trend_kraken` trades on a simulated Kraken that now and then does not answer as it
should. What happens beside the bars happens by the market's clock, at the times the study states.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

from research import sim, study
from research.campaigns.paper.place import store
from research.live import alerts, folders, journal, played, proof, session
from research.live.rows import at
from research.operations import places
from research.operations.table import DONE, FAILED, Table
from research.sim import kraken

STUDY = "trend_kraken"
SPEED = 120.0
OUTAGE = 5
"""Answers in a row that one pair does not get: the fifth is an alarm. It takes a dozen real
seconds, so shorter days have none."""


def day(
    seeds: int, workers: int, *, minutes: int | None = None, speed: float = SPEED, **options: Any
) -> dict[str, Any]:
    """Run the study `trend_kraken` for so many hours on a simulated Kraken, its jobs beside it.

    `workers` is not used: there is one run.

    Parameters
    ----------
    seeds : int
        Hours of market time; in the one after a whole day its reports are written.
    minutes : int, optional
        Of market time, instead.
    speed : float
        Of market time.
    **options
        Dotted options of the study.

    Returns
    -------
    dict
        ``closes`` and ``decisions``; ``jobs`` by name, with how many attempts were ``done`` and
        ``failed``; ``models`` with when each was begun to be trained; ``alerts`` raised, by kind,
        and how many posts of them came to a web address; ``reports`` on disk; ``requests`` as the
        exchange counted them, ``struck`` by faults, and ``violations``: requests beyond its limits.
        ``parity_differences``, ``jobs_failed`` and ``violations`` should be 0.
    """
    span = 60 * seeds if minutes is None else minutes
    begun = time.perf_counter()
    with store() as place, _inbox() as inbox:
        chosen = {**_weekly(options), "live.webhook": inbox.address, **options}
        sim.faults.write(place / "faults.json", _faults(span))
        with redirect_stderr(StringIO()):
            done = session.run(
                STUDY, chosen, span=f"{span}m", speed=speed, faults=str(place / "faults.json")
            )
        took = time.perf_counter() - begun
        folder = folders.find(done["run"])
        found = {**_decided(folder), **_beside(folder), **_asked(folder)}
        found["alerts_posted"] = inbox.count
        return {"hours": round(span / 60, 2), **found, "seconds": round(took, 1), "speed": speed}


def _weekly(options: dict[str, Any]) -> dict[str, str]:
    """Let the weekly maintenance fall on the first hour after the day that is played."""
    _, start = played.bars_of(study.read(STUDY, options))
    return {"jobs.maintenance": f"{at(start) + timedelta(days=1):%A} 00:45"}


def _faults(minutes: int) -> list[sim.faults.Fault]:
    """Draw a fault of an answer for each hour, a silence, and a bar that there never was."""
    silent = {"status": 200, "body": {"error": ["EService:Unavailable"]}}
    hours = minutes // 60
    outage = sim.faults.Fault("status", at=3, target="SIM01*", args=silent, times=OUTAGE)
    gap = sim.faults.Fault("gap", at=minutes - 3, target="SIM01*", args={"length": 1})
    return [gap, *([outage] if hours else []), *kraken.plan(hours, 1, minutes)]


def _decided(folder: Path) -> dict[str, Any]:
    """Count what a run decided, and hold it against research."""
    found = proof.check(folder)
    events = journal.read(folder, kinds=("moment", "retrain", "candidate", "swap"))
    kinds = Counter(event.kind for event in events)
    trained = [f"{at(event.time):%Y-%m-%d %H:%M}" for event in events if event.kind == "retrain"]
    return {
        "closes": found.bars,
        "decisions": found.decisions,
        "trades": sum(len(e.body["trades"]) for e in events if e.kind == "moment"),
        "parity_differences": found.differences.height,
        "models": {
            "trained": kinds["candidate"],
            "took_over": kinds["swap"] - 1,  # the first one took over from nobody
            "begun_at": trained,
        },
    }


def _beside(folder: Path) -> dict[str, Any]:
    """Count what was done beside the bars."""
    jobs = {name: dict(many) for name, many in sorted(Table(folder).count().items())}
    return {
        "jobs": jobs,
        "jobs_done": sum(many[DONE] for many in jobs.values()),
        "jobs_failed": sum(many[FAILED] for many in jobs.values()),
        "alerts": alerts.counted(folder),
        "reports": sorted(path.name for path in places.reports(folder).iterdir()),
    }


def _asked(folder: Path) -> dict[str, Any]:
    """Count what the exchange was asked, and what of it was too much."""
    lines = (folder / played.EXCHANGE).read_text(encoding="utf8").splitlines()
    sent = [json.loads(line) for line in lines]
    struck = Counter(kind for entry in sent for kind in entry.get("faults", ()))
    return {
        "requests": sum(entry["kind"] == "request" for entry in sent),
        "struck": dict(sorted(struck.items())),
        "violations": sum(entry["kind"] == "limited" for entry in sent),
    }


class _Inbox:
    """A web address that takes posts, and counts them."""

    def __init__(self, port: int) -> None:
        self.address, self.count = f"http://127.0.0.1:{port}/", 0


@contextmanager
def _inbox() -> Iterator[_Inbox]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            inbox.count += 1
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        inbox = _Inbox(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield inbox
        finally:
            server.shutdown()
            thread.join()
