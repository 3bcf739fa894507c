"""What a search may choose from: settings with their choices or ranges, and who draws them."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from research.errors import UserError, nearest
from research.study import literal

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "random", "grid", "genetic")
FACTS = (
    "costs.",
    "simulated.",
    "simulated_flow.",
    "seed",
    "sizing.maintenance",
    "backtest.capital",
    *(f"data.{k}" for k in ("source", "path", "venue", "market", "symbols", "start", "end")),
)
"""Keys that begin so are facts of the market: the kindest of them would always win."""
_RANGE = re.compile(r"(-?[\d.]+(?:e-?\d+)?)(.*?)\.\.(-?[\d.]+(?:e-?\d+)?)(.*?)(:log)?")
_POPULATION = 10
_SHOWN = "as in -s labels.horizon='5 min,10 min'"

Space = dict[str, Any]
"""By key: a list of choices, or ``(low, high, unit, log)``."""


def read(entries: list[str], known: dict[str, Any]) -> Space:
    """Read a search space and refuse what cannot be searched.

    Parameters
    ----------
    entries : list of str
        As `parse` takes them.
    known : dict of str to value
        The study's settings.

    Raises
    ------
    UserError
        If there is no entry, one cannot be read, or a key is unknown, named twice or a fact.
    """
    space: Space = {}
    for key, values in map(parse, entries):
        if key not in known:
            raise UserError(f"search: unknown key {key!r}.{nearest(key, list(known))}")
        if key in space:
            raise UserError(f"search: {key} is named twice; put all its choices into one -s.")
        if key.startswith(FACTS):
            raise UserError(
                f"search: {key} is a fact of the market, not a choice: the kindest one would "
                "always win. Set it with -o; ./run sweep shows how much hangs on it."
            )
        space[key] = values
    if not space:
        raise UserError(f"search: name at least one setting, {_SHOWN}")
    return space


def parse(entry: str) -> tuple[str, Any]:
    """Read one entry of a search space: a key with its choices, or its range.

    >>> parse("model.name=ridge,lightgbm")
    ('model.name', ['ridge', 'lightgbm'])
    >>> parse("backtest.enter=5 bps..30 bps")
    ('backtest.enter', (5, 30, ' bps', False))
    """
    key, equals, text = (part.strip() for part in entry.partition("="))
    if not equals or not text:
        raise UserError(f"-s {entry!r}: expected KEY=V1,V2 or KEY=LOW..HIGH, {_SHOWN}.")
    found = _RANGE.fullmatch(text)
    if not found:
        return key, list(dict.fromkeys(literal(choice.strip()) for choice in text.split(",")))
    low, unit, high, same, log_scale = found.groups()
    if unit.strip() not in ("", same.strip()):
        raise UserError(
            f"-s {entry!r}: both ends must be in one unit, found {unit.strip()} and {same.strip()}."
        )
    ends = literal(low), literal(high)
    if isinstance(ends[0], str) or isinstance(ends[1], str):
        raise UserError(f"-s {entry!r}: the ends of a range must be numbers, as in 1..10.")
    if not ends[0] < ends[1]:
        raise UserError(f"-s {entry!r}: the low end must lie below the high one.")
    if log_scale and not ends[0] > 0:
        raise UserError(f"-s {entry!r}: with :log the low end must be above 0.")
    return key, (*ends, same, bool(log_scale))


def check_sampler(name: str, space: Space) -> None:
    """Refuse an unknown way to draw, and a grid over a range."""
    if name not in SAMPLERS:
        known = list(SAMPLERS)
        raise UserError(
            f"search: no sampler {name!r}.{nearest(name, known)} Here: {', '.join(known)}."
        )
    if name == "grid" and size(space) == math.inf:
        raise UserError("search: a grid needs choices, KEY=V1,V2; a range has no end of values.")


def size(space: Space) -> float:
    """Return how many combinations there are; infinite with a range.

    >>> size({"a": [1, 2], "b": ["x", "y", "z"]}), size({"a": (0.1, 1.0, "", False)})
    (6, inf)
    """
    counts = [len(v) if isinstance(v, list) else math.inf for v in space.values()]
    return math.prod(counts)


def distributions(space: Space) -> dict[str, Any]:
    """Return the space as optuna's distributions."""
    from optuna import distributions as kinds

    found: dict[str, Any] = {}
    for key, values in space.items():
        if isinstance(values, list):
            found[key] = kinds.CategoricalDistribution(values)
            continue
        low, high, unit, log_scale = values
        whole = isinstance(low, int) and isinstance(high, int) and not unit and not log_scale
        kind: Any = kinds.IntDistribution if whole else kinds.FloatDistribution
        found[key] = kind(low, high, log=log_scale)
    return found


def settings(params: dict[str, Any], space: Space) -> dict[str, Any]:
    """Write drawn numbers as a study takes them, with their units.

    >>> settings({"backtest.enter": 7}, {"backtest.enter": (5, 30, " bps", False)})
    {'backtest.enter': '7 bps'}
    """
    found = {}
    for key, value in params.items():
        unit = "" if isinstance(space[key], list) else space[key][2]
        found[key] = f"{value:.6g}{unit}" if unit else value
    return found


def sampler(name: str, seed: int, done: int) -> optuna.samplers.BaseSampler:
    """Return what draws the trial that follows `done` others.

    It is seeded by both numbers, so a search that was interrupted draws what it would have drawn.
    """
    import numpy as np
    from optuna import samplers

    drawn = int(np.random.SeedSequence([done, seed]).generate_state(1)[0])
    if name == "genetic":
        return samplers.NSGAIISampler(seed=drawn, population_size=_POPULATION)
    return samplers.TPESampler(seed=drawn) if name == "tpe" else samplers.RandomSampler(drawn)
