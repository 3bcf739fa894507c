"""Recorded markets for the tests of paper trading: the desk's own, as rows of moments."""

import numpy as np

from research.live.moments import Bar, Scored
from research.trading.account import new_venue
from research.trading.rules import REASONS

from ..trading.markets import random_charges, random_market, random_venue
from ..trading.strategies import any_rule

SYMBOLS = ("ADA", "BTC", "ETH")
CAPITAL = 10_000.0


def market(seed, n_times=150):
    """Return arrays and keywords as `loop.run` takes them, and rules: any that can be made."""
    arrays = random_market(seed, n_times=n_times)
    charges = random_charges(seed + 1, arrays)
    venue = random_venue(seed + 2, int(arrays[0][-1]))
    return arrays, {**charges, "venue": venue}, any_rule(seed + 3)


def moments(arrays, charges, interval):
    """Return the same market as (time, rows) per moment."""
    time, symbol, *prices, told, bins = arrays
    extra = [charges.get(n, np.zeros(len(time))) for n in ("sigma", "half_spread", "impact")]
    found = {}
    for k in range(len(time)):
        opened = int(time[k] - interval)
        bar = Bar(SYMBOLS[symbol[k]], opened, *(float(p[k]) for p in prices))
        forecast = None if np.isnan(told[k]) else float(told[k])
        costs = (float(column[k]) for column in extra)
        row = Scored(bar, "f" * 8, "m1", forecast, float(told[k]), int(bins[k]), *costs)
        found.setdefault(int(time[k]), []).append(row)
    return list(found.items())


def body(time, rows, step, *, control=0):
    """Return the record of a moment as the runner writes it."""
    said = [
        {**row.bar._asdict(), **{n: v for n, v in row._asdict().items() if n != "bar"}}
        | {"reason": reason, "position": position}
        for row, reason, position in zip(rows, step.reasons, step.positions)
    ]
    facts = {"time": time, "late": False, "control": control, "equity": step.equity}
    latency = {"close_to_known": 0, "decide": 3}
    return {**facts, "rows": said, "trades": step.trades, "flows": step.flow, "latency": latency}


def start(desk):
    """Return the first event of a run of this desk."""
    return "start", {"time": 0, "run": "r", "desk": desk.constants(), "resumed": False}


def still(n_symbols=3):
    """Return a venue that asks for nothing."""
    return new_venue(n_symbols)


__all__ = ["CAPITAL", "REASONS", "SYMBOLS", "body", "market", "moments", "start", "still"]
