"""Runs made by hand, for whoever shows them: a folder, a journal, a heartbeat."""

import json
import os

from research.live import folders
from research.live.journal import Journal

MINUTE = 60_000_000
START = 1_705_104_000_000_000
SMALL = {
    "simulated.days": 10,
    "simulated.symbols": 2,
    "live.days": 1,
    "validation.train": "7 d",
    "validation.test": "2 d",
    "backtest.enter": "1 bps",
}
"""Settings of a study that trades within seconds."""
CANARY = "can4ry-In-the-M1ne"


def folder(place, name="2026-11-21_0700_demo_abcd", **facts):
    """Make a run's folder with a `run.json`."""
    made = place / name
    (made / "commands").mkdir(parents=True)
    told = {"run": name, "study": {"name": "demo"}, "feed": "simulated", "mode": "paper", **facts}
    (made / "run.json").write_text(json.dumps(told))
    return made


def begun(**more):
    """Return a run's first two events."""
    start = {"run": "r", "study": {"name": "demo"}, "capital": 10_000.0, "time": START, **more}
    swap = {"model": "ridge-1", "was": None, "at": START, "why": "first", "evidence": {}}
    return ("start", start), ("swap", {"time": START, **swap})


def row(symbol="AUSDT", *, reason="hold", position=0.5, close=100.0, **more):
    """Return one row of a moment."""
    bar = {"symbol": symbol, "open": close, "high": close, "low": close, "close": close}
    bar |= {"open_time": 0, "volume": 1.0, "source": "stream"}
    made = {"features": "f", "model": "ridge-1", "forecast": 0.001, "told": 0.001, "bin": 0}
    made |= {"sigma": 0.001, "half_spread": 0.0, "impact": 0.0, "challenger": None}
    return {**bar, **made, "reason": reason, "position": position, **more}


def moment(n, *rows, equity=10_000.0, trades=()):
    """Return the n-th moment, from 1 on."""
    body = {"time": START + n * MINUTE, "late": False, "control": 0, "equity": equity, "flows": {}}
    took = {"close_to_known": 1, "features": 900, "forecast": 100, "decide": 50}
    return "moment", {**body, "rows": [*rows] or [row()], "trades": [*trades], "latency": took}


def write(place, *events):
    """Append events to a run's journal, as a process that is gone."""
    with Journal.open(place) as journal:
        journal.append(*events)
    (place / "journal.lock").unlink()


def beat(place, age=0.0, **more):
    """Write a heartbeat that is `age` seconds old."""
    feed = [{"name": "a@kline_1m", "state": "live", "last_us": START, "messages": 7}]
    facts = {"run": place.name, "time": START, "now": START + 90_000_000, "feed": feed, **more}
    folders.beat(place, facts)
    path = place / "heartbeat.json"
    when = path.stat().st_mtime - age
    os.utime(path, (when, when))
