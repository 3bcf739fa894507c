"""Did a disturbed run come to what an undisturbed one came to? Nothing of polars is in here."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from research import models
from research.errors import UserError
from research.live import journal, state


def differing(calm: Path, wild: Path) -> list[str]:
    """Return in words what of two runs' journals is not equal; empty: they did the same.

    Compared are the decision logs (reasons, positions, equity and round trips, byte for byte), what
    was paid, the states of control, the models in force, the account in the end, and whether the
    registry of models says what the journal says.
    """
    try:
        journal.verify(wild)
    except UserError as error:
        return [f"{wild.name}: {error}"]
    one, two = _told(calm), _told(wild)
    found = [name for name in one if one[name] != two[name]]
    if journal.decisions(calm) != journal.decisions(wild):
        found.append("decisions")
    times = [event.time for event in journal.read(wild, kinds=("moment",))]
    if any(later <= earlier for earlier, later in pairwise(times)):
        found.append("a moment twice")
    return [f"{wild.name}: {name}" for name in found]


def _told(folder: Path) -> dict[str, Any]:
    events = journal.read(folder)
    known = state.fold(events)
    bodies = [event.body for event in events if event.kind == "moment"]
    controls = [event.body for event in events if event.kind == "control"]
    kept = models.Registry(folder / "models")
    return {
        "fills": [trade for body in bodies for trade in body["trades"]],
        "costs": [body["flows"] for body in bodies],
        "equity": [body["equity"] for body in bodies],
        "controls": [(body["time"], body["state"], body["why"], body["by"]) for body in controls],
        "models": [_model(event) for event in events if event.kind in _OF_MODELS],
        "account": known.desk.snapshot(),
        "registry": (kept.champion == known.champion, kept.challenger == known.challenger),
    }


_OF_MODELS = ("swap", "candidate", "challenger", "expired", "rejected_model", "train_failed")


def _model(event: journal.Event) -> tuple[Any, ...]:
    return event.kind, event.time, event.body.get("model"), event.body.get("at")
