"""All guards in the order of the stages, and what they say of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from research.audit.guards import desk, features, forecasts, lessons, second, tables
from research.audit.guards.seen import Seen

Guard = Callable[[Seen], Iterator[str]]
"""Yields a line of evidence for each fault, at best one that names symbol, moment and values."""

GUARDS: dict[str, Guard] = {
    guard.__name__: guard
    for guard in (
        tables.keys,
        tables.bars,
        tables.universe,
        features.certificate,
        features.later_bars,
        features.other_coins,
        tables.labels,
        tables.folds,
        lessons.lesson,
        lessons.sealed_room,
        second.second_lesson,
        forecasts.forecasts,
        forecasts.cut_points,
        desk.decisions,
        desk.fills,
        desk.costs,
        desk.equity,
    )
}


class Alarm(NamedTuple):
    """What a guard found.

    Attributes
    ----------
    guard : str
        Its name.
    evidence : str
        The first fault, with its place and values.
    """

    guard: str
    evidence: str


def law(name: str) -> str:
    """Return what a guard holds true, in one sentence."""
    return str(GUARDS[name].__doc__).splitlines()[0]


def alarms(seen: Seen, *, without: Collection[str] = ()) -> list[Alarm]:
    """Ask every guard about a run.

    Parameters
    ----------
    seen : Seen
        From `look`.
    without : collection of str
        Guards that are not asked.

    Returns
    -------
    list of Alarm
        One per guard that found a fault, in the order of the stages. Where the pipeline itself
        refused to go on, that is an alarm called ``pipeline``, and guards of what it did not
        make are silent.
    """
    found = []
    if seen.refused is not None and "pipeline" not in without:
        found.append(Alarm("pipeline", seen.refused))
    for name, ask in GUARDS.items():
        evidence = None if name in without else next(ask(seen), None)
        if evidence is not None:
            found.append(Alarm(name, evidence))
    return found
