"""What goes wrong with a venue that is only asked: plans of faults for Kraken."""

from __future__ import annotations

from random import Random
from typing import Any

from research.sim.faults import Fault

_TEXTS = ("EService:Unavailable", "EService:Busy", "EGeneral:Internal error")
_LIMITS = ("EAPI:Rate limit exceeded", "EGeneral:Too many requests")
RECOVERABLE: dict[str, tuple[dict[str, Any], ...]] = {
    "status": (
        *({"status": 200, "body": {"error": [text]}} for text in (*_TEXTS, *_LIMITS)),
        *({"status": code} for code in (500, 502, 503, 504)),
        {"status": 429, "retry_after": 1},
        {"status": 520, "body": "<html><body>Web server is returning an unknown error</body>"},
    ),
    "bad_json": ({},),
    "rest_rst": ({},),
    "hang": ({"seconds": 1},),
    "rest_lag": ({}, {"us": 200_000_000}),
    "bad_row": ({"column": 4, "value": "NaN"}, {"column": 2, "value": "-1"}, {"column": 6}),
}
"""Kinds, with the arguments to draw from, after which a correct client has every bar all the
same."""


def plan(count: int, seed: int, bars: int) -> list[Fault]:
    """Draw a plan of `count` faults of requests for candles, over the first `bars` played bars.

    Examples
    --------
    >>> made = plan(60, 1, 100)
    >>> len(made), {fault.kind for fault in made} == set(RECOVERABLE)
    (60, True)
    """
    rng = Random(f"{seed}|{count}|{bars}|kraken")
    order: list[str] = []
    while len(order) < count:
        order += rng.sample(sorted(RECOVERABLE), len(RECOVERABLE))
    drawn = ((rng.randrange(bars), kind, rng.choice(RECOVERABLE[kind])) for kind in order[:count])
    made = [Fault(kind, at=at, target="*/OHLC", args=dict(args)) for at, kind, args in drawn]
    return sorted(made, key=lambda fault: (fault.at or 0, fault.kind))
