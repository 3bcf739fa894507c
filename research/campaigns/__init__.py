"""Long measurements of the whole house, too long for check; each ends in numbers to quote.

``truth``: simulated markets with and without a planted edge, fixed seeds. Does the pipeline find
what is there, no more than is there, and nothing where there is nothing?
``nothing``: studies on simulated markets without an edge. Does any of them find or earn one?
``phase``: studies on planted edges of growing strength, at growing costs. Is the sign of what they
earn that of the edge less its costs?
``interruption``: reports killed at random moments and run again. Are the tables byte for byte those
of a run that nobody disturbed?
``same``: days of paper trading over real sockets, on a quiet venue and on a bad one. Is every
decision, reason and fill that of the backtest?
``crash``: runners killed at every enumerated step and at random moments, and started again. Do
they come to what one does that nobody disturbed?
``soak``: days of market time on end. Does a runner's memory grow, or anything else it holds?
``day``: a day round the clock on a simulated Kraken. Are all jobs done, models trained, reports
written, alerts told, decisions those of research, and no limit of the venue met?
``switch``: the kill switch, pulled at random moments. How soon is it latched, and does it hold?
``shadow``: challengers that are no better, better or stuck. Who is promoted?
``books``: updates of order books, some of them struck by faults. Is every gap found, none
invented, and the book equal to the truth afterwards?
``frames``: damaged messages of every venue. Is each one read alike by both readers, or counted?
``recorder``: a recorder killed again and again. Is each message on disk, or declared?
``order_timeouts``: orders whose answers never come. Is each at the venue once, and one position?
``order_kills``: a sender killed in every state of its orders. At most one order per intent?
``order_steps``: random lives of orders, faults among them. Is any law of the engine ever broken?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from research.campaigns import books, frames, orders, recorder
from research.campaigns.grid import phase
from research.campaigns.killed import SMALL, interruption
from research.campaigns.noise import nothing
from research.campaigns.paper import crash, day, same, shadow, soak, switch
from research.campaigns.planted import truth
from research.errors import UserError, nearest

__all__ = [
    "CAMPAIGNS",
    "SEEDS",
    "SMALL",
    "crash",
    "day",
    "interruption",
    "nothing",
    "phase",
    "run",
    "same",
    "shadow",
    "soak",
    "switch",
    "text",
    "truth",
]

CAMPAIGNS: dict[str, Callable[..., dict[str, Any]]] = {
    "truth": truth,
    "nothing": nothing,
    "phase": phase,
    "interruption": interruption,
    "same": same,
    "crash": crash,
    "soak": soak,
    "day": day,
    "switch": switch,
    "shadow": shadow,
    "books": lambda count, workers: books.run(count, workers=workers),
    "frames": lambda count, workers: frames.run(count, 1, workers),
    "recorder": recorder.run,
    "order_timeouts": orders.order_timeouts,
    "order_kills": orders.order_kills,
    "order_steps": orders.order_steps,
}
SEEDS = {
    "truth": 20,
    "nothing": 10,
    "phase": 1,
    "interruption": 20,
    "same": 5,
    "crash": 1000,
    "soak": 7,
    "day": 26,
    "switch": 1000,
    "shadow": 500,
    "books": 1_000_000,
    "frames": 1_000_000,
    "recorder": 500,
    "order_timeouts": 10_000,
    "order_kills": 1_000,
    "order_steps": 100_000,
}
"""How many markets of each kind, kills, days or hours, triggers, contests, updates or frames."""
_OF_STUDIES = ("nothing", "phase")
_TOO_LONG = ("markets", "cells")


def run(
    name: str, *, seeds: int | None = None, workers: int, studies: Sequence[str] = ()
) -> dict[str, Any]:
    """Run one campaign.

    Parameters
    ----------
    name : str
        A key of `CAMPAIGNS`.
    seeds : int, optional
        Markets of each kind, with seeds 1, 2, 3, ...; kills for `interruption`, `crash` and
        `recorder`, days for `soak`, hours for `day`, triggers for `switch`, contests for
        `shadow`, updates for `books`, messages for `frames`. Absent: `SEEDS`.
    workers : int
        Processes.
    studies : sequence of str
        Which studies `nothing` and `phase` measure; none named: the three of the sources. The
        other campaigns have one of their own.

    Returns
    -------
    dict
        JSON values, as the campaign itself says.

    Raises
    ------
    UserError
        If there is no such campaign or study.

    Examples
    --------
    >>> run("phrase", workers=1)
    Traceback (most recent call last):
    research.errors.UserError: campaign 'phrase': not known. Did you mean 'phase'? ...
    """
    if name not in CAMPAIGNS:
        known = list(CAMPAIGNS)
        raise UserError(f"campaign {name!r}: not known.{nearest(name, known)} Here: {known}.")
    chosen = {"studies": tuple(studies)} if studies and name in _OF_STUDIES else {}
    return CAMPAIGNS[name](SEEDS[name] if seeds is None else seeds, workers, **chosen)


def text(found: dict[str, Any]) -> str:
    """Write a campaign's numbers as lines.

    Examples
    --------
    >>> print(text({"on": {"markets": 2}, "failed": [], "grid": ["a", "b"]}))
    on                      markets                           2
    failed                                                    none
    grid
      a
      b
    """
    lines = []
    for key, value in found.items():
        if key not in _TOO_LONG:
            inside = value if isinstance(value, dict) else {"": value}
            for name, shown in inside.items():
                lines += _line(key, name, shown)
    return "\n".join(lines)


def _line(key: str, name: str, shown: Any) -> list[str]:
    if isinstance(shown, list) and shown:
        return [f"{key:24}{name}".rstrip(), *(f"  {each}" for each in shown)]
    return [f"{key:24}{name:34}{'none' if shown in ([], None) else shown}"]
