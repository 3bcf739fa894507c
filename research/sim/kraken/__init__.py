"""Kraken spot on the simulated exchange: names, public REST and its limits."""

from research.sim.kraken.names import Pair, asset, coins, name, pair, plain
from research.sim.kraken.pace import TOO_OFTEN, Pace
from research.sim.kraken.plans import plan
from research.sim.kraken.rest import REST, ROUTES, Invalid, answer, error, found, lane, rules_of

__all__ = [
    "REST",
    "ROUTES",
    "TOO_OFTEN",
    "Invalid",
    "Pace",
    "Pair",
    "answer",
    "asset",
    "coins",
    "error",
    "found",
    "lane",
    "name",
    "pair",
    "plain",
    "plan",
    "rules_of",
]
