"""The switch: a leak is one function of a real room, swapped while a block runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import reduce
from importlib import import_module
from typing import Any

from research.errors import UserError, nearest

Leaky = Callable[[Any], Any]
"""Takes the real function and returns the leaking one."""


@dataclass(frozen=True)
class Mutation:
    """One leak that people have had.

    Attributes
    ----------
    name : str
        By which `inject` knows it.
    does : str
        What it does, in one sentence.
    place : str
        The function it swaps: ``module:name`` or ``module:Class.method``.
    leaky : callable
        Takes the real function and returns the leaking one.
    needs : dict
        Settings without which a study does not meet it, such as a learner that stops early.
    """

    name: str
    does: str
    place: str
    leaky: Leaky
    needs: dict[str, Any] = field(default_factory=dict)


MUTATIONS: dict[str, Mutation] = {}
"""The catalogue, by name."""


def mutation(name: str, does: str, place: str, **needs: Any) -> Callable[[Leaky], Leaky]:
    """Put a leak into the catalogue (a decorator of ``leaky(real) -> function``)."""

    def note(leaky: Leaky) -> Leaky:
        words = {key.replace("__", "."): value for key, value in needs.items()}
        MUTATIONS[name] = Mutation(name, does, place, leaky, words)
        return leaky

    return note


def named(name: str) -> Mutation:
    """Return the mutation called `name`.

    Raises
    ------
    UserError
        If there is none; the message names the nearest.
    """
    if name not in MUTATIONS:
        raise UserError(
            f"mutations: no mutation {name!r}.{nearest(name, list(MUTATIONS))} "
            f"Here: {', '.join(MUTATIONS)}."
        )
    return MUTATIONS[name]


@contextmanager
def inject(*names: str) -> Iterator[None]:
    """Let the pipeline leak while the block runs, in each of the named ways at once.

    Parameters
    ----------
    *names : str
        Of `MUTATIONS`. Those of one place stand one around the other, the last outermost.

    Raises
    ------
    UserError
        If there is no such mutation.

    Notes
    -----
    Stored tables are found by what made them, and a swapped function is not in their cards: run
    the block in a store of its own (`campaigns.markets.own_store`), or leaking tables are found
    later as clean ones.

    Examples
    --------
    >>> from research import signals
    >>> real = signals.assign
    >>> with inject("full_day_quantile"):
    ...     signals.assign is real
    False
    >>> signals.assign is real
    True
    """
    chosen = [named(name) for name in names]
    with ExitStack() as stack:
        for each in chosen:
            stack.enter_context(_swapped(each.place, each.leaky))
        yield


@contextmanager
def _swapped(place: str, leaky: Leaky) -> Iterator[None]:
    module, _, path = place.partition(":")
    *owners, last = path.split(".")
    owner = reduce(getattr, owners, import_module(module))
    stands = vars(owner)[last]
    plain = stands.__func__ if isinstance(stands, (classmethod, staticmethod)) else stands
    made = leaky(plain)
    setattr(owner, last, type(stands)(made) if plain is not stands else made)
    try:
        yield
    finally:
        setattr(owner, last, stands)
