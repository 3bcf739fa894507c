"""What a runner and its proof both make of a study: its venue, and fingerprints."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from research import charges
from research.live.rows import at
from research.store import cards
from research.study import Study
from research.trading.account import Venue, new_venue

FUNDED_AHEAD = timedelta(days=400)
"""How far beyond its start a run knows the moments of funding."""


def venue(study: Study, symbols: list[str], start: int) -> Venue:
    """Return the steps and the funding that the desk goes by from `start`, in microseconds, on."""
    begin = at(start)
    steps = charges.filters(study, symbols)
    due = charges.funding(study, symbols, begin, begin + FUNDED_AHEAD)
    return new_venue(len(symbols), lot=steps["lot"], tick=steps["tick"], funding=due)


def streams(study: Study) -> dict[str, Any]:
    """Return what a feed must stream beside the bars, as `feed.open` takes it."""
    late = charges.latency(study) % study.data.interval // timedelta(microseconds=1)
    booked = study.costs.fill == "book"
    return {"prints": study.live.check_trades, "book_delay": late if booked else None}


def code() -> dict[str, str]:
    """Fingerprint all that decides: who differs here may decide otherwise."""
    rooms = ("features", "models", "signals", "trading", "charges", "tape.py")
    return cards.code(*rooms, "live/forecaster.py")


def config(study: Study) -> str:
    """Fingerprint a study's settings."""
    return cards.digest(study.settings())


def registry_key(study: Study) -> dict[str, Any]:
    """Return what a model must have been made for to trade this study."""
    keys = ("features", "labels", "model", "validation", "data", "simulated")
    plain = study.model_dump(mode="json")
    return {key: plain[key] for key in keys}
